//! `init + call == init + snapshot + restore + call` for every program of the corpus.
//!
//! One trial per program, compiler and variant, with all of the program's snapshot points:
//! `cargo test -p snapfn-tests --test oracle -- NAME`.
//! `SNAPFN_ORACLE=ordinary` makes the ordinary runs only, `SNAPFN_ORACLE=one` runs one trial of each program;
//! `SNAPFN_KEEP=1` keeps the scratch directories.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial as Test};
use snapfn_tests::place;
use snapfn_tests::trial::{Trial, corpus};

fn tests() -> Vec<Test> {
    let programs = corpus();
    let count = programs.len();
    let mut tests = vec![Test::test("the_corpus_is_large_enough", move || {
        if count >= 100 { Ok(()) } else { Err(format!("only {count} programs").into()) }
    })];
    let ways = if place::one_way_only() { Trial::one_of } else { Trial::of };
    for trial in programs.iter().flat_map(ways) {
        let missing = trial.variant.missing(&trial.family, trial.program.is_cxx());
        let kind = missing.clone().unwrap_or_default();
        let skip = missing.is_some() && !place::strict();
        let test = Test::test(trial.name(), move || {
            trial.check();
            Ok(())
        });
        tests.push(test.with_kind(kind).with_ignored_flag(skip));
    }
    tests
}

fn main() -> ExitCode {
    libtest_mimic::run(&Arguments::from_args(), tests()).exit_code()
}
