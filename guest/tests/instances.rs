//! `examples/greet.rs`, run in the ordinary way and from a snapshot.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use snapfn_tests::workspace::Workspace;
use std::collections::HashSet;
use std::path::PathBuf;
use std::process::Command;

/// Cargo builds a package's examples before its tests.
fn greet() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("examples/greet")
}

#[test]
fn an_ordinary_run_is_an_ordinary_run() {
    let output = Command::new(greet()).args(["you", "me"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "prepared, 17984 primes\nhello you\nhello me\n");
}

#[test]
fn an_instance_has_arguments_hooks_and_no_secret() {
    let workspace = Workspace::new();
    let exe = greet();
    // There is no --at: the note in the executable selects the point.
    workspace.created(&["--tag", "greet", "--", exe.to_str().unwrap(), "nobody"]);
    for (args, greetings) in [(&["greet"][..], ""), (&["greet", "you", "me"], "hello you\nhello me\n")] {
        let outcome = workspace.snaprun(args).run();
        assert_eq!(outcome.out(), format!("first hook\n17984 primes\n{greetings}"), "{outcome}");
    }
}

#[test]
fn no_two_instances_have_one_generation() {
    let workspace = Workspace::new();
    let exe = greet();
    let ordinary = Command::new(&exe).arg("--generation").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ordinary.stdout), "prepared, None\n");
    workspace.created(&["--tag", "greet", "--", exe.to_str().unwrap()]);
    let generations: HashSet<_> = (0..4).map(|_| workspace.snaprun(&["greet", "--generation"]).run().out()).collect();
    assert_eq!(generations.len(), 4, "{generations:?}");
    assert!(generations.iter().all(|out| out.starts_with("first hook\nSome(")), "{generations:?}");
}
