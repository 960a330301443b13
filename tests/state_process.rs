//! Signals, timers and attributes of a process: programs in `state/` that prepare something, call `snap_ready()` and
//! check themselves, each in an ordinary run, in an instance with the tests' own rights, and in one of a plain user
//! without a capability to its name.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics where it fails")]

use snapfn_tests::bench::Bench;
use snapfn_tests::place;
use snapfn_tests::run::{Outcome, Run};

/// A compiled program of `state/`.
struct Program {
    bench: Bench,
    name: &'static str,
    exe: String,
}

impl Program {
    fn new(name: &'static str, flags: &[&str]) -> Self {
        let bench = Bench::new().unwrap();
        let dir = place::tests().join("state");
        let source = std::fs::read_to_string(dir.join(format!("{name}.c"))).unwrap();
        let include = format!("-I{}", dir.display());
        let mut all = vec!["-O2", "-pthread", "-Wall", "-Wextra", "-Werror", &include];
        all.extend(flags);
        let exe = bench.compile(name, &source, &all).unwrap();
        Program { bench, name, exe }
    }

    /// `snapshotter create`, with the words of `wrapper` before it.
    fn create(&self, wrapper: &[&str], args: &[&str]) -> Outcome {
        let snapshotter = place::binary("snapshotter");
        let mut argv: Vec<String> = wrapper.iter().map(|word| (*word).to_owned()).collect();
        argv.push(snapshotter.to_string_lossy().into_owned());
        argv.extend(["create", "--tag", self.name, "--at", "ready", "--", &self.exe].map(str::to_owned));
        argv.extend(args.iter().map(|arg| (*arg).to_owned()));
        self.run(argv, true)
    }

    fn snapshot(&self, args: &[&str]) {
        let created = self.create(&[], args);
        assert_eq!(created.status, "0", "{created}");
    }

    fn run(&self, argv: Vec<String>, privileged: bool) -> Outcome {
        let run = Run { argv, env: self.bench.env(&[]), cwd: self.bench.work(), privileged, ..Run::default() };
        run.run().unwrap()
    }

    fn ordinary(&self, args: &[&str]) -> Outcome {
        let argv = [self.exe.as_str()].iter().chain(args).map(|word| (*word).to_owned()).collect();
        self.run(argv, false)
    }

    /// `snaprun OPTIONS NAME ARGS`, with the words of `wrapper` before it.
    fn instance(&self, wrapper: &[&str], options: &[&str], args: &[&str], privileged: bool) -> Outcome {
        let words: Vec<&str> = options.iter().chain(&[self.name]).chain(args).copied().collect();
        let snaprun = self.bench.snaprun(&words);
        let argv = wrapper.iter().map(|word| (*word).to_owned()).chain(snaprun.argv).collect();
        Run { argv, privileged, ..self.bench.snaprun(&[]) }.run().unwrap()
    }

    /// Every way to run it says `ok`; the last one is given `last`.
    fn checks_itself(&self, args: &[&str], last: &[&str]) {
        let ok = |how: &str, outcome: Outcome| {
            assert_eq!((outcome.out().as_str(), outcome.status.as_str()), ("ok\n", "0"), "{how}\n{outcome}");
        };
        ok("ordinary", self.ordinary(args));
        self.snapshot(args);
        ok("instance of a plain user", self.instance(&[], &[], args, false));
        ok("second instance of a plain user", self.instance(&[], &[], args, false));
        ok("instance", self.instance(&[], &[], last, true));
    }
}

fn checks_itself(name: &'static str) {
    Program::new(name, &[]).checks_itself(&[], &[]);
}

#[test]
fn dispositions() {
    checks_itself("sig_dispositions");
}

#[test]
fn pending_signals() {
    checks_itself("sig_pending");
}

#[test]
fn blocked_system_calls() {
    // The last instance removes what the kernel keeps for all of them.
    Program::new("sig_restart", &[]).checks_itself(&[], &["remove"]);
}

/// What the snapshotter was told to ignore is not the program's doing; what an instance's starter ignores is ignored.
#[test]
fn ignored_signals_are_inherited_from_the_starter() {
    let program = Program::new("sig_inherited", &[]);
    let ignoring = |signals: &str| ["sh".to_owned(), "-c".to_owned(), format!("trap '' {signals}; exec \"$0\" \"$@\"")];
    let hup = ignoring("HUP");
    let created = program.create(&hup.each_ref().map(String::as_str), &[]);
    assert_eq!(created.status, "0", "{created}");
    assert_eq!(program.instance(&[], &[], &[], false).out(), "hup d int d usr1 i usr2 d\n");
    let int = ignoring("INT USR2");
    let started = program.instance(&int.each_ref().map(String::as_str), &[], &[], false);
    assert_eq!(started.out(), "hup d int i usr1 i usr2 d\n", "{started}");
}
