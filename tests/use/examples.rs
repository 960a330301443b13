//! Every example's `run.sh` works.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::process::Command;

use snapfn_tests::place::{self, PYTHON};
use snapfn_tests::workspace::Workspace;

fn run(example: &str) {
    let workspace = Workspace::new();
    let script = place::root().join("examples").join(example).join("run.sh");
    let output = Command::new("sh")
        .arg(&script)
        .env("SNAPFN_BIN", place::bin())
        .env("SNAPFN_STORE", workspace.store())
        .env("OUT", workspace.out())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(77) {
        assert!(!place::strict(), "{example} cannot run: {err}");
        eprintln!("skipped: {err}");
        return;
    }
    assert!(output.status.success(), "{example}: {:?}\n{out}\n{err}", output.status);
    let expected = std::fs::read_to_string(script.with_file_name("expected")).unwrap();
    assert_eq!(out, expected, "{example}\n{err}");
}

#[test]
fn hello() {
    run("hello");
}

#[test]
fn argv() {
    run("argv");
}

#[test]
fn python() {
    run("python");
}

/// Python's view of entries that are odd, doubled or without a value.
#[test]
fn python_takes_the_environment_as_at_an_ordinary_start() {
    // No library makes such a vector, so the test does.
    const EXECVE: &str = r#"if 1:
        import ctypes, sys
        def vector(words):
            return (ctypes.c_char_p * (len(words) + 1))(*words, None)
        env = [word.encode() for word in ENTRIES]
        ctypes.CDLL(None).execve(sys.argv[1].encode(), vector([word.encode() for word in sys.argv[1:]]), vector(env))
        sys.exit(3)"#;
    if !place::has_python() {
        return;
    }
    let workspace = Workspace::new();
    let script = workspace.out().join("environment.py");
    let program = "import os, sys, snapfn\nsnapfn.ready()\nprint(sorted(os.environ.items()))\n";
    std::fs::write(&script, program).unwrap();
    let script = script.to_str().unwrap();
    let path = format!("PYTHONPATH={}", place::root().join("python/src").display());
    let created =
        workspace.snapshotter(&["create", "--tag", "odd", "--env", &path, "--at", "ready", "--", PYTHON, "-B", script]);
    assert_eq!(created.status, "0", "{created}");
    let store = format!("SNAPFN_STORE={}", workspace.store().display());
    for odd in [&[][..], &["=odd"], &["TWICE=first", "TWICE=second"], &["=odd", "=other", "NOTHING", "EMPTY="]] {
        let entries = [&["LANG=C.UTF-8", &path, &store][..], odd].concat();
        let start = |words: &[&str]| {
            let mut run = workspace.snaprun(&[]);
            let prelude = EXECVE.replace("ENTRIES", &format!("{entries:?}"));
            run.argv = [&[PYTHON, "-c", &prelude][..], words].concat().into_iter().map(str::to_owned).collect();
            run.run()
        };
        let snaprun = workspace.snaprun(&[]).argv.remove(0);
        let (ordinary, instance) = (start(&[PYTHON, "-B", script]), start(&[&snaprun, "odd"]));
        assert_eq!(ordinary.status, "0", "{ordinary}");
        assert_eq!((instance.out(), &*instance.status), (ordinary.out(), "0"), "{odd:?}: {instance}");
    }
}

#[test]
fn worker() {
    run("worker");
}

#[test]
fn lua() {
    run("lua");
}
