//! Every example's `run.sh` works as it stands.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::process::Command;

use snapfn_tests::bench::Bench;
use snapfn_tests::place;

fn run(example: &str) {
    let bench = Bench::new().unwrap();
    let script = place::root().join("examples").join(example).join("run.sh");
    let output = Command::new("sh")
        .arg(&script)
        .env("SNAPFN_BIN", place::bin())
        .env("SNAPFN_STORE", bench.store())
        .env("OUT", bench.out())
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

#[test]
fn worker() {
    run("worker");
}

#[test]
fn lua() {
    run("lua");
}
