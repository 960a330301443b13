//! Kinds of memory and threads: each program prepares its state, calls `snap_ready()` and checks itself.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use snapfn_tests::workspace::Workspace;

/// Compiles with both C libraries. An ordinary run and a restored one, as a plain user, must both succeed.
fn holds(name: &str, source: &str, flags: &[&str]) {
    for musl in [false, true] {
        let workspace = Workspace::new();
        let include = format!("-I{}", snapfn_tests::place::tests().join("state").display());
        let mut flags: Vec<&str> = flags.iter().copied().chain([include.as_str()]).collect();
        if musl {
            flags.extend(["-specs", "/usr/lib/x86_64-linux-musl/musl-gcc.specs"]);
            flags.retain(|flag| *flag != "-pthread");
        }
        let exe = workspace.compile(name, source, &flags);
        // One of the programs has memory that is writable and executable at once.
        workspace.created(&["--allow-wx", "--tag", name, "--at", "ready", "--", &exe]);
        for _ in 0..3 {
            let restored = workspace.snaprun(&["--allow-wx", name]).run();
            assert_eq!(restored.status, "0", "musl: {musl}: {restored}");
        }
    }
}

#[test]
fn all_kinds_of_memory() {
    holds("memory", include_str!("mem_kinds.c"), &["-O1", "-w"]);
}

#[test]
fn advice_and_locks() {
    holds("advice", include_str!("mem_advice.c"), &["-O1"]);
}

#[test]
fn guard_pages_of_every_kind_of_memory() {
    holds("guards", include_str!("mem_guards.c"), &["-O1"]);
}

/// The program has ten GiB, of which it writes one page. Both the file and an instance must be small.
#[test]
fn a_sparse_reservation_costs_nothing() {
    let workspace = Workspace::new();
    let file = workspace.snapshot("sparse", include_str!("mem_sparse.c"), &["-O1"], "ready");
    let size = std::fs::metadata(&file).unwrap().len();
    assert!(size < 4 << 20, "the snapshot has {size} bytes");
    let restored = workspace.snaprun(&["sparse"]).run();
    assert_eq!((restored.out().as_str(), restored.status.as_str()), ("ok\n", "0"), "{restored}");
}

#[test]
fn owners_of_held_mutexes() {
    holds("mutexes", include_str!("thread_mutex_owners.c"), &["-O1", "-pthread"]);
}

#[test]
fn blocked_threads_go_on() {
    holds("threads", include_str!("thread_blocked.c"), &["-O1", "-pthread"]);
}

/// An instance goes on at the abort handler, as the kernel does after any preemption.
#[test]
fn a_restartable_sequence_is_aborted() {
    holds("rseq", include_str!("thread_rseq.c"), &["-O1", "-pthread"]);
}

#[test]
fn a_held_inheritance_mutex_is_refused_and_the_program_goes_on() {
    let workspace = Workspace::new();
    let exe = workspace.compile("pi", include_str!("thread_mutex_owners.c"), &["-pthread"]);
    let refused = workspace.snapshotter(&["create", "--tag", "pi", "--", &exe, "hold"]);
    assert_eq!(refused.status, "1", "{refused}");
    assert!(refused.err().contains("priority-inheritance mutex held by thread"), "{refused}");
    assert!(refused.err().contains("robust ownerdead"), "the program did not finish: {refused}");
    assert_eq!(workspace.snaprun(&["pi"]).run().status, "127");
}

#[test]
fn ten_generations() {
    let workspace = Workspace::new();
    let exe = workspace.compile("generations", include_str!("generations.c"), &["-O1"]);
    workspace.created(&["--tag", "g1", "--", &exe]);
    let snaprun = snapfn_tests::place::binary("snaprun").to_string_lossy().into_owned();
    let mut state = "state.1".to_owned();
    for generation in 1..=10 {
        let name = format!("g{generation}");
        let run = workspace.snaprun(&[&name, "stop", &format!("arg{generation}")]).run();
        assert_eq!(run.status, generation.to_string(), "{run}");
        assert_eq!(run.out(), format!("gen {generation} {state} arg arg{generation} E=(null)\n"), "{run}");
        let next = format!("g{}", generation + 1);
        workspace.created(&["--tag", &next, "--at", "ready", "--", &snaprun, &name, "on"]);
        state = format!("{state}.{}", generation + 1);
    }
}
