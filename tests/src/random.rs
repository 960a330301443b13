//! Programs that make random kernel state: `soak/random/random.c`, which is another program for each seed.
//!
//! Each gets an ordinary run, a snapshot and an instance, as a plain user. If an instance prints another output than
//! the ordinary run, that is a silent difference. A program may be refused, if that is by name and the program goes on.

use std::fmt;
use std::ops::Range;
use std::time::Instant;

use crate::run::{Outcome, Run};
use crate::state::State;
use crate::workspace::WorkFile;
use crate::{must, place};

/// What came of the programs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// Programs whose instance is the same.
    pub same: u64,
    /// Programs that were refused by name.
    pub refused: u64,
    seconds: u64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { same, refused, seconds } = self;
        write!(f, "{} programs in {seconds} s: {same} the same, {refused} refused by name", same + refused)
    }
}

/// A program, and its output in an ordinary run.
struct Program<'a> {
    state: &'a State,
    exe: &'a str,
    seed: String,
    expected: Outcome,
}

/// Checks the programs of all these seeds; every fiftieth is reported to standard error unless `quiet`.
///
/// # Panics
/// At the first program that is neither the same nor refused by name, with its seed.
#[must_use]
pub fn run(seeds: Range<u64>, quiet: bool) -> Figures {
    let state = State::new();
    let source = place::tests().join("soak/random/random.c");
    let include = format!("-I{}", must(source.parent().ok_or("no folder"), "soak/random").display());
    let text = must(std::fs::read_to_string(&source), source.display());
    let exe =
        state.workspace.compile("random", &text, &[&include, "-O1", "-Wall", "-pthread", "-Wl,--no-as-needed", "-lm"]);
    let started = Instant::now();
    let mut figures = Figures::default();
    for seed in seeds {
        let program = Program::new(&state, &exe, seed);
        if program.is_refused() {
            figures.refused += 1
        } else {
            figures.same += 1
        }
        figures.seconds = started.elapsed().as_secs();
        if !quiet && (figures.same + figures.refused).is_multiple_of(50) {
            eprintln!("{figures}");
        }
    }
    figures
}

impl<'a> Program<'a> {
    fn new(state: &'a State, exe: &'a str, seed: u64) -> Self {
        let seed = seed.to_string();
        state.workspace.set_work(&[]);
        let argv = vec![exe.to_owned(), seed.clone()];
        let expected = Run { argv, ..state.command("snaprun", &[]) }.run();
        assert!(expected.status == "0", "the ordinary run of seed {seed} is not its own\n{expected}");
        Self { state, exe, seed, expected }
    }

    /// Whether `create` refuses it; else its instance is the same.
    fn is_refused(&self) -> bool {
        let Self { state, exe, seed, expected } = self;
        state.workspace.set_work(&[]);
        let created = state.create("random", &[exe, seed]);
        if created.status == "1" && created.err().contains("holds what a snapshot cannot carry") {
            let last = expected.out().lines().last().unwrap_or_default().to_owned();
            assert!(created.err().contains(&last), "refused, the program of seed {seed} no longer ends\n{created}");
            return true;
        }
        assert!(created.status == "0", "no snapshot of seed {seed}\n{created}\n{expected}");
        let at_snapshot: Vec<WorkFile> = state.workspace.work_files();
        for _ in 0..2 {
            state.workspace.set_work(&at_snapshot);
            let instance = state.snaprun(&["random"]);
            assert!(instance == *expected, "an instance of seed {seed} differs: {instance}\nordinary: {expected}");
        }
        false
    }
}
