//! Tests `snaprun --timing` and `snapshotter train`. No test asserts a time.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use snapfn_tests::workspace::Workspace;

const PROGRAM: &str = include_str!("tuning/program.c");

#[test]
fn timing_tells_of_every_phase_and_changes_nothing_else() {
    let workspace = Workspace::new();
    workspace.snapshot("timed", PROGRAM, &["-O1"], "ready");
    let plain = workspace.snaprun(&["timed", "word"]).run();
    let text = workspace.snaprun(&["--timing", "timed", "word"]).run();
    let json = workspace.snaprun(&["--timing=json", "timed", "word"]).run();
    for timed in [&text, &json] {
        assert_eq!((&timed.stdout, &timed.status), (&plain.stdout, &plain.status), "{timed}");
    }
    assert!(text.err().starts_with("snaprun: timed: ") && text.err().contains("page faults"), "{text}");

    let report: serde_json::Value = serde_json::from_str(&json.err()).unwrap();
    let phases = report["phases_us"].as_object().unwrap();
    let wanted = [
        "execve",
        "setup",
        "open",
        "plan",
        "files",
        "map",
        "patch",
        "descriptors",
        "process",
        "threads",
        "protect",
        "leave",
    ];
    assert!(wanted.iter().all(|phase| phases.contains_key(*phase)) && phases.len() == wanted.len(), "{json}");
    // The phases add up to the whole time, each rounded to a tenth.
    let sum: f64 = phases.values().map(|us| us.as_f64().unwrap()).sum();
    assert!((sum - report["total_us"].as_f64().unwrap()).abs() <= 1.0, "{json}");
    assert_eq!(report["status"], 7);
    assert!(report["program_page_faults"].as_u64().unwrap() >= 16, "{json}");

    let killed = workspace.snaprun(&["--timing", "timed", "die"]).run();
    assert_eq!(killed.status, "137", "{killed}");
    let missing = workspace.snaprun(&["--timing", "nowhere"]).run();
    assert_eq!(missing.status, "127", "{missing}");
    assert_eq!(missing.err().lines().count(), 1, "{missing}");
}

#[test]
fn training_changes_no_result_and_no_other_name() {
    let workspace = Workspace::new();
    workspace.snapshot("plain", PROGRAM, &["-O1"], "ready");
    // The measurement must not decide here.
    let train = |until: &str, tag: &str| {
        let trained = workspace.snapshotter(&[
            "train",
            "plain",
            "--until",
            until,
            "--tag",
            tag,
            "--measure",
            "0",
            "--json",
            "--",
            "word",
        ]);
        assert_eq!(trained.status, "0", "{trained}");
        serde_json::from_str::<serde_json::Value>(&trained.out()).unwrap()
    };
    let report = train("output", "trained");
    // 16 of the 64 pages, and the C library's own.
    assert!(report["pages"].as_u64().unwrap() >= 16 && report["ranges"].as_u64().unwrap() >= 16, "{report}");
    assert_eq!(report["kept"], true);
    assert_eq!(train("output", "again")["digest"], report["digest"], "the same recording gives the same file");
    train("exit", "to-the-end");

    for word in ["word", "another"] {
        let plain = workspace.snaprun(&["plain", word]).run();
        for name in ["trained", "to-the-end"] {
            let trained = workspace.snaprun(&[name, word]).run();
            assert_eq!(trained, plain, "{name}");
        }
    }
    let plan = |name: &str| workspace.snaprun(&["--dry-run", name]).run().out();
    assert!(plan("trained").contains("advise 23") && !plan("plain").contains("advise 23"));
}

#[test]
fn training_that_cannot_run_leaves_nothing() {
    let workspace = Workspace::new();
    workspace.snapshot("plain", PROGRAM, &["-O1"], "ready");
    let missing = workspace.snapshotter(&["train", "nowhere", "--", "word"]);
    assert_ne!(missing.status, "0", "{missing}");
    let before = workspace.stored();
    let killed = workspace.snapshotter(&["train", "plain", "--stdin", "/nowhere/at/all"]);
    assert_ne!(killed.status, "0", "{killed}");
    assert_eq!(workspace.stored(), before);
}

/// A program that prints whether the functions that it calls are bound: whether their slots lead out of the program.
const SLOTS: &str = include_str!("tuning/slots.c");

#[test]
fn functions_of_the_program_are_bound_unless_it_is_to_stay_lazy() {
    let workspace = Workspace::new();
    for (name, flags) in [("pie", ["-O1", "-pie"]), ("fixed", ["-O1", "-no-pie"])] {
        let program = workspace.compile(name, SLOTS, &[&flags[..], &["-Wl,-z,lazy", "-fno-builtin"]].concat());
        let slots = |which: &str| {
            workspace.created(&["--tag", name, "--at", "main", "--resolve", which, "--", &program]);
            let outcome = workspace.snaprun(&[name]).run();
            assert_eq!(outcome.status, "0", "{outcome}");
            let words: Vec<usize> = outcome.out().split_whitespace().filter_map(|word| word.parse().ok()).collect();
            <[usize; 2]>::try_from(words).unwrap()
        };
        let [lazy, count] = slots("lazy");
        assert!(lazy < count, "{name}: {lazy} of {count} functions are bound");
        assert_eq!(slots("program"), [count, count], "{name}");
        assert_eq!(slots("all"), [count, count], "{name}");
    }
}

/// A program that prints the protections of the mappings that hold its headers, its code and its constants.
const SEGMENTS: &str = include_str!("tuning/segments.c");

#[test]
fn segments_are_joined_only_where_that_is_asked_for() {
    let workspace = Workspace::new();
    let program = workspace.compile("segments", SEGMENTS, &["-O1", "-Wl,-z,separate-code"]);
    let mut operations = Vec::new();
    for (how, protections) in [("apart", "r--p r-xp r--p "), ("joined", "r-xp r-xp r-xp ")] {
        workspace.created(&["--tag", how, "--at", "main", "--segments", how, "--", &program]);
        let outcome = workspace.snaprun(&[how]).run();
        assert_eq!((outcome.status.as_str(), outcome.out()), ("0", format!("{protections}{program}\n")), "{how}");
        let plan = workspace.snaprun(&["--dry-run", how]).run().out();
        operations.push(plan.lines().filter(|line| line.contains(" map file ")).count());
    }
    // Two fewer for each of the program, the C library and its dynamic linker, unless their constants are stored.
    assert!(operations[1] + 4 <= operations[0], "{operations:?}");
}
