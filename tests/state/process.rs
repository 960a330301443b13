//! Signals, timers and attributes of a process: programs in `state/` that prepare something, call `snap_ready()` and
//! check themselves, each in an ordinary run, in an instance with the tests' own rights, and in one of a plain user
//! without capabilities.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics where it fails")]

use snapfn_tests::place;
use snapfn_tests::run::{Outcome, Run, is_root};
use snapfn_tests::state::MUSL;
use snapfn_tests::workspace::Workspace;

/// A compiled program of `state/`.
struct Program {
    workspace: Workspace,
    name: &'static str,
    exe: String,
}

impl Program {
    fn new(name: &'static str, flags: &[&str]) -> Self {
        let workspace = Workspace::new();
        let dir = place::tests().join("state");
        let source = std::fs::read_to_string(dir.join(format!("{name}.c"))).unwrap();
        let include = format!("-I{}", dir.display());
        let mut all = vec!["-O2", "-pthread", "-Wall", "-Wextra", "-Werror", &include];
        all.extend(flags);
        let exe = workspace.compile(name, &source, &all);
        Program { workspace, name, exe }
    }

    /// `snapshotter create`, with the words of `wrapper` before it.
    fn create(&self, wrapper: &[&str], args: &[&str]) -> Outcome {
        let snapshotter = place::binary("snapshotter");
        let mut argv: Vec<String> = wrapper.iter().map(|word| (*word).to_owned()).collect();
        argv.push(snapshotter.to_string_lossy().into_owned());
        argv.extend(["create", "--share", "--tag", self.name, "--at", "ready", "--", &self.exe].map(str::to_owned));
        argv.extend(args.iter().map(|arg| (*arg).to_owned()));
        self.run(argv, true)
    }

    fn snapshot(&self, args: &[&str]) {
        let created = self.create(&[], args);
        assert_eq!(created.status, "0", "{created}");
    }

    fn run(&self, argv: Vec<String>, privileged: bool) -> Outcome {
        let run = Run { argv, env: self.workspace.env(&[]), cwd: self.workspace.work(), privileged, ..Run::default() };
        run.run()
    }

    fn ordinary(&self, args: &[&str]) -> Outcome {
        let argv = [self.exe.as_str()].iter().chain(args).map(|word| (*word).to_owned()).collect();
        self.run(argv, false)
    }

    /// `snaprun OPTIONS NAME ARGS`, with the words of `wrapper` before it.
    fn instance(&self, wrapper: &[&str], options: &[&str], args: &[&str], privileged: bool) -> Outcome {
        let words: Vec<&str> = options.iter().chain(&[self.name]).chain(args).copied().collect();
        let snaprun = self.workspace.snaprun(&words);
        let argv = wrapper.iter().map(|word| (*word).to_owned()).chain(snaprun.argv).collect();
        Run { argv, privileged, ..self.workspace.snaprun(&[]) }.run()
    }

    /// Every way to run it prints `ok`; the last one gets `last`.
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
    // The last instance removes the kernel's objects, which all of them share.
    Program::new("sig_restart", &[]).checks_itself(&[], &["remove"]);
}

#[test]
fn calls_blocked_on_descriptors() {
    checks_itself("sig_restart_fds");
}

/// Both by the list of cleanup functions that C keeps, and by unwinding the stack as C++ does.
#[test]
fn cancellation_of_a_restarted_call() {
    checks_itself("sig_cancel");
    Program::new("sig_cancel", &["-fexceptions"]).checks_itself(&[], &[]);
    // musl cancels only where the program counter is in its own function around the call.
    if place::has_program("musl-gcc") {
        Program::new("sig_cancel", MUSL).checks_itself(&[], &[]);
    } else {
        assert!(!place::strict(), "needs musl-gcc");
    }
}

#[test]
fn threads_are_joined_cancelled_and_signalled() {
    checks_itself("thread_join");
    if place::has_program("musl-gcc") {
        Program::new("thread_join", MUSL).checks_itself(&[], &[]);
    } else {
        assert!(!place::strict(), "needs musl-gcc");
    }
}

#[test]
fn children_that_have_ended() {
    checks_itself("child_zombie");
}

#[test]
fn generations() {
    let program = Program::new("sig_generations", &[]);
    program.checks_itself(&[], &[]);
    let snaprun = place::binary("snaprun").to_string_lossy().into_owned();
    let mut name = program.name.to_owned();
    for generation in 2..=4 {
        let next = format!("g{generation}");
        let made =
            program.workspace.snapshotter(&["create", "--tag", &next, "--at", "ready", "--", &snaprun, &name, "on"]);
        assert_eq!(made.status, "0", "{made}");
        let run = program.workspace.snaprun(&[&next]).run();
        assert_eq!((run.out().as_str(), run.status.as_str()), ("ok\n", "0"), "generation {generation}: {run}");
        name = next;
    }
}

/// A signal that only the snapshotter ignores is not ignored in the program. A signal that an instance's starter
/// ignores is ignored.
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

#[test]
fn timers() {
    checks_itself("timer_kinds");
}

/// If the kernel accepts no ID for a timer, the loader makes timers until it gets that ID.
#[test]
fn timers_without_a_way_to_choose_their_ids() {
    let program = Program::new("timer_kinds", &[]);
    let old_kernel = Program::new("wrap_old_kernel", &[]);
    program.snapshot(&[]);
    let run = program.instance(&[&old_kernel.exe], &[], &[], false);
    assert_eq!((run.out().as_str(), run.status.as_str()), ("ok\n", "0"), "{run}");
}

#[test]
fn process_attributes() {
    checks_itself("attr_process");
}

/// Registrations for membarrier and the locking of later memory, in instances and in instances of their snapshots.
#[test]
fn hidden_state() {
    let snaprun = place::binary("snaprun").to_string_lossy().into_owned();
    for args in [&[][..], &["on-fault"]] {
        let program = Program::new("hidden_process", &[]);
        program.checks_itself(args, args);
        let command: Vec<&str> = [snaprun.as_str(), program.name].iter().chain(args).copied().collect();
        let create: Vec<&str> =
            ["create", "--tag", "second", "--at", "syscall:write", "--"].iter().chain(&command).copied().collect();
        let made = program.workspace.snapshotter(&create);
        assert_eq!(made.status, "0", "{made}");
        let second = program.workspace.snaprun(&["second"]).run();
        assert_eq!((second.out().as_str(), second.status.as_str()), ("ok\n", "0"), "{second}");
    }
}

#[test]
fn thread_attributes() {
    checks_itself("attr_threads");
}

/// An instance uses only CPUs that its starter may use. If the starter may use none of those that a thread has chosen,
/// the thread has the starter's.
#[test]
fn cpus_of_the_starter() {
    if std::thread::available_parallelism().map_or(1, |cpus| cpus.get()) < 2 {
        assert!(!place::strict(), "needs two CPUs");
        return;
    }
    let program = Program::new("attr_cpus", &[]);
    program.snapshot(&[]);
    for (cpus, printed) in
        [("0,1", "main 11, second 10\n"), ("0", "main 10, second 10\n"), ("1", "main 01, second 01\n")]
    {
        let outcome = program.instance(&["taskset", "--cpu-list", cpus], &[], &[], false);
        assert_eq!((outcome.out().as_str(), outcome.status.as_str()), (printed, "0"), "{cpus}\n{outcome}");
    }
}

#[test]
fn time_stamp_counter_and_speculation() {
    checks_itself("attr_cpu");
}

#[test]
fn session() {
    Program::new("attr_session", &[]).checks_itself(&["session"], &[]);
}

#[test]
fn process_group() {
    Program::new("attr_session", &[]).checks_itself(&["group"], &[]);
}

/// State that an instance has no right to is refused by name, and the program goes on to its end.
#[test]
fn what_cannot_be_restored_is_refused() {
    let program = Program::new("attr_refused", &[]);
    let went_on = program.workspace.work().join("went-on");
    let everyone = [
        ("thread-privileges", "its 'no new privileges' flag is not the first thread's"),
        ("thread-death-signal", "its parent death signal is not the first thread's"),
        ("clock", "POSIX timer 0: runs on the clock"),
    ];
    let root = [
        ("user", "has changed its user ID"),
        ("namespace", "has entered another namespace (uts)"),
        ("deadline", "is scheduled by deadlines"),
    ];
    let cases = everyone.iter().chain(if is_root() { root.iter() } else { [].iter() });
    for (what, why) in cases {
        let _ = std::fs::remove_file(&went_on);
        let refused = program.create(&[], &[what]);
        assert_eq!(refused.status, "1", "{what}: {refused}");
        assert!(refused.err().contains(why), "{what}: {refused}");
        assert_eq!(std::fs::read_to_string(&went_on).unwrap(), *what);
        assert_eq!(program.instance(&[], &[], &[], false).status, "127", "{what}: nothing was written");
    }
}

/// Only a starter with that right can start such an instance.
#[test]
fn rights_of_the_starter() {
    if !is_root() {
        assert!(!place::strict(), "needs root to take the snapshots");
        return;
    }
    let program = Program::new("attr_refused", &[]);
    for (what, why) in [("real-time", "scheduling policy 1: "), ("securebits", "prctl option 28: ")] {
        program.snapshot(&[what]);
        let denied = program.instance(&[], &[], &[], false);
        assert_eq!(denied.status, "125", "{what}: {denied}");
        assert!(denied.err().contains(why), "{what}: {denied}");
        let allowed =
            Run { cwd: program.workspace.work(), privileged: true, ..program.workspace.snaprun(&[program.name]) };
        assert_eq!(allowed.run().status, "0", "{what}");
    }
}

/// With the right to it, /proc/self/exe is the program's own, also in a user namespace of a plain user. Otherwise it is
/// the loader's, which starts the program of its parent.
#[test]
fn its_own_executable() {
    const CAP_SYS_ADMIN: u32 = 21;
    const CAP_CHECKPOINT_RESTORE: u32 = 40;
    let program = Program::new("own_exe", &[]);
    let created = program.create(&[], &[]);
    assert_eq!(created.status, "0", "{created}");
    assert!(created.err().contains("the program names /proc/self/exe"), "{created}");
    let says = |outcome: Outcome, out: &str, status: &str| {
        assert!(outcome.out().starts_with(out) && outcome.status == status, "{outcome}");
    };
    says(program.instance(&[], &[], &[], false), "snaprun\nhelper\n", "0");
    let direct = program.instance(&["env", "DIRECT=1"], &[], &[], false);
    assert!(direct.out().contains("it meant its own program"), "{direct}");
    says(direct, "snaprun\nsnaprun: --helper: unknown option", "125");
    // Root has the right to it, and every user in their own user namespace.
    let own_namespace = ["unshare", "--user", "--map-root-user"];
    let wrapper: &[&str] = if is_root() { &[] } else { &own_namespace };
    let argv = wrapper.iter().copied().chain(["grep", "CapEff", "/proc/self/status"]).map(str::to_owned).collect();
    let capabilities = program.run(argv, true).out();
    let effective =
        capabilities.split_whitespace().nth(1).and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0);
    if effective & (1 << CAP_SYS_ADMIN | 1 << CAP_CHECKPOINT_RESTORE) == 0 {
        assert!(!place::strict(), "needs CAP_CHECKPOINT_RESTORE or user namespaces");
        return;
    }
    says(program.instance(wrapper, &[], &[], true), "own_exe\nhelper\n", "0");
}

/// The snapshot is from a host with a longer uptime than this one.
#[test]
fn clocks_do_not_run_backwards_in_a_time_namespace() {
    let program = Program::new("time_clocks", &[]);
    let ahead: &[&str] = &["unshare", "--time", "--monotonic", "1000000", "--boottime", "2000000"];
    let as_root_of_our_own = ["unshare", "--user", "--map-root-user"];
    let wrapper: Vec<&str> = match is_root() {
        true => ahead.to_vec(),
        false => as_root_of_our_own.iter().chain(ahead).copied().collect(),
    };
    let created = program.create(&wrapper, &[]);
    assert_eq!(created.status, "0", "{created}");
    for privileged in [false, true] {
        let host = program.instance(&[], &[], &[], privileged);
        assert_eq!(host.out(), "backwards\nbackwards\n", "{host}");
        let own = program.instance(&[], &["--timens"], &[], privileged);
        assert_eq!(own.out(), "forwards\nforwards\n", "{own}");
    }
}

/// In a PID namespace the instance has the ID that the program kept; statuses and signals pass through.
#[test]
fn the_process_id_of_the_snapshot() {
    let program = Program::new("same_pid", &[]);
    program.snapshot(&[]);
    const SAME: &str = "same there same_pid child 3 thread 0\n";
    for privileged in [false, true] {
        let without = program.instance(&[], &[], &[], privileged);
        assert!(without.out().starts_with("other "), "{without}");
        for (argument, status) in [("", "0"), ("exit", "7"), ("signal", "SIGUSR1")] {
            let own = program.instance(&[], &["--same-pid"], &[argument], privileged);
            assert_eq!((own.out().as_str(), own.status.as_str()), (SAME, status), "{argument}\n{own}");
        }
        // What is sent to snaprun reaches the instance, which ends by it.
        let script =
            "coproc \"$@\"; pid=$COPROC_PID; read -r line <&${COPROC[0]}; echo \"$line\"; kill -USR2 $pid; wait $pid";
        let wrapper = ["bash", "-c", script, "bash"];
        let own = program.instance(&wrapper, &["--same-pid"], &["wait"], privileged);
        assert_eq!((own.out().as_str(), own.status.as_str()), (SAME, "140"), "{own}");
    }
}

/// Lines are written at once to a terminal, whatever standard output was while the snapshot was made.
#[test]
fn buffering_fits_the_stream() {
    for flags in [&[][..], MUSL] {
        let program = Program::new("stdout_kind", flags);
        for (choice, piped) in [("default", "direct\nline\nrest\n"), ("own", "line\ndirect\nrest\n")] {
            program.snapshot(&[choice]);
            let outcome = program.instance(&[], &[], &[], true);
            assert_eq!(outcome.out(), piped, "{choice} to a pipe\n{outcome}");
            let snaprun = program.workspace.snaprun(&[program.name]).argv.join(" ");
            let script = ["script", "--quiet", "--return", "--command", &snaprun, "/dev/null"].map(str::to_owned);
            let outcome = program.run(script.to_vec(), true);
            let text = outcome.out().replace('\r', "");
            assert_eq!(text, "line\ndirect\nrest\n", "{choice} to a terminal\n{outcome}");
        }
    }
}
