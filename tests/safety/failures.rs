//! Initialisations that end without a snapshot. The error is clear, with the program's status and last output, and no
//! process and no file is left.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs::{self, DirEntry};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use snapfn_tests::run::Outcome;
use snapfn_tests::workspace::Workspace;

/// Processes that run `exe`.
fn running(exe: &str) -> Vec<PathBuf> {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|pid| fs::read_link(pid.join("exe")).is_ok_and(|target| target.to_string_lossy().starts_with(exe)))
        .collect()
}

/// Runs `snapshotter create`, which has to fail and leave nothing.
fn refused(workspace: &Workspace, options: &[&str], command: &[&str]) -> Outcome {
    let before = workspace.stored();
    let mut args = vec!["create", "--tag", "never"];
    args.extend(options);
    args.push("--");
    args.extend(command);
    let outcome = workspace.snapshotter(&args);
    assert!(outcome.status.parse::<u8>().is_ok_and(|code| code != 0), "{outcome}");
    assert!(!outcome.stderr.is_empty() && !outcome.err().contains("panicked"), "{outcome}");
    assert_eq!(workspace.stored(), before, "files are left in the store\n{outcome}");
    assert_eq!(running(command[0]), Vec::<PathBuf>::new(), "a process is left\n{outcome}");
    outcome
}

#[track_caller]
fn says(outcome: &Outcome, words: &[&str]) {
    for word in words {
        assert!(outcome.err().contains(word), "`{word}` is missing\n{outcome}");
    }
}

fn program(workspace: &Workspace, body: &str) -> String {
    let source = format!(
        "#include <signal.h>\n#include <snap.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n\
         int main(void) {{ {body} snap_ready(); return 0; }}"
    );
    workspace.compile("subject", &source, &["-O1"])
}

#[test]
fn a_crash_names_the_signal_and_the_last_output() {
    let workspace = Workspace::new();
    let exe = program(&workspace, r#"puts("last words"); fflush(stdout); *(volatile int *)8 = 1;"#);
    says(&refused(&workspace, &["--at", "ready"], &[&exe]), &["SIGSEGV", "last words"]);
}

#[test]
fn an_early_exit_names_the_status_and_the_last_output() {
    let workspace = Workspace::new();
    let exe = program(&workspace, r#"fprintf(stderr, "cannot open the table\n"); exit(3);"#);
    says(&refused(&workspace, &["--at", "ready"], &[&exe]), &["3", "cannot open the table"]);
}

#[test]
fn a_program_that_ends_before_its_point_is_an_error_even_with_status_0() {
    let workspace = Workspace::new();
    let exe = program(&workspace, "exit(0);");
    refused(&workspace, &["--at", "ready"], &[&exe]);
    refused(&workspace, &["--at", "syscall:accept4"], &[&exe]);
}

#[test]
fn a_signal_that_kills_is_named() {
    let workspace = Workspace::new();
    let exe = program(&workspace, "raise(SIGTERM);");
    says(&refused(&workspace, &["--at", "ready"], &[&exe]), &["SIGTERM"]);
    let exe = program(&workspace, "abort();");
    says(&refused(&workspace, &["--at", "ready"], &[&exe]), &["SIGABRT"]);
}

#[test]
fn a_program_that_does_not_get_there_is_stopped_at_the_timeout() {
    let workspace = Workspace::new();
    let exe = program(&workspace, r#"puts("still loading"); fflush(stdout); for (;;) pause();"#);
    says(&refused(&workspace, &["--at", "ready", "--timeout", "1"], &[&exe]), &["still loading"]);
    let exe = program(&workspace, "signal(SIGTERM, SIG_IGN); signal(SIGINT, SIG_IGN); for (;;) {}");
    refused(&workspace, &["--at", "ready", "--timeout", "1"], &[&exe]);
}

#[test]
fn children_of_a_failed_initialisation_are_not_left_stopped() {
    let workspace = Workspace::new();
    // The child ends when its parent does. It must not stay stopped or traced.
    let exe = program(
        &workspace,
        "int p[2]; pipe(p); if (!fork()) { close(p[1]); char c; read(p[0], &c, 1); _exit(0); } close(p[0]); exit(4);",
    );
    let outcome = workspace.snapshotter(&["create", "--tag", "never", "--at", "ready", "--", &exe]);
    assert_ne!(outcome.status, "0", "{outcome}");
    for _ in 0..200 {
        if running(&exe).is_empty() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("still there: {:?}", running(&exe));
}

#[test]
fn points_that_do_not_exist_are_named() {
    let workspace = Workspace::new();
    let exe = program(&workspace, "");
    says(&refused(&workspace, &["--at", "symbol:no_such_function"], &[&exe]), &["no_such_function"]);
    says(&refused(&workspace, &["--at", "syscall:no_such_call"], &[&exe]), &["no_such_call"]);
    says(&refused(&workspace, &["--at", "nonsense"], &[&exe]), &["nonsense"]);
}

#[test]
fn what_is_no_program_is_refused() {
    let workspace = Workspace::new();
    let out = workspace.out();
    let path = |name: &str| out.join(name).to_string_lossy().into_owned();
    says(&refused(&workspace, &[], &[&path("missing")]), &["missing"]);
    refused(&workspace, &[], &[&out.to_string_lossy()]);
    fs::write(path("plain"), "just text").unwrap();
    refused(&workspace, &[], &[&path("plain")]);
    fs::write(path("text"), "just text").unwrap();
    fs::set_permissions(path("text"), fs::Permissions::from_mode(0o755)).unwrap();
    refused(&workspace, &[], &[&path("text")]);
    let exe = program(&workspace, "");
    let mut foreign = fs::read(&exe).unwrap();
    foreign[18] = 183; // e_machine: AArch64
    fs::write(path("foreign"), &foreign).unwrap();
    fs::set_permissions(path("foreign"), fs::Permissions::from_mode(0o755)).unwrap();
    refused(&workspace, &[], &[&path("foreign")]);
    let whole = fs::read(&exe).unwrap();
    for length in [0, 1, 63, 64, 200, 1000, whole.len() / 2] {
        fs::write(path("cut"), &whole[..length]).unwrap();
        fs::set_permissions(path("cut"), fs::Permissions::from_mode(0o755)).unwrap();
        refused(&workspace, &["--at", "ready"], &[&path("cut")]);
    }
}

#[test]
fn a_connected_socket_is_refused_by_name_and_the_program_survives() {
    let workspace = Workspace::new();
    let source = include_str!("failures/connected.c");
    let exe = workspace.compile("connected", source, &["-O1"]);
    says(&refused(&workspace, &["--at", "ready"], &[&exe]), &["77", "socket"]);
}

#[test]
fn a_store_that_cannot_be_written_is_an_error_and_stays_as_it_was() {
    let workspace = Workspace::new();
    let exe = program(&workspace, "");
    fs::remove_dir(workspace.store()).unwrap();
    fs::write(workspace.store(), "a file is in the way").unwrap();
    let outcome = workspace.snapshotter(&["create", "--tag", "never", "--", &exe]);
    assert_ne!(outcome.status, "0", "{outcome}");
    assert_eq!(fs::read(workspace.store()).unwrap(), b"a file is in the way");
}

#[test]
fn a_failure_leaves_the_name_as_it_was() {
    let workspace = Workspace::new();
    let good = program(&workspace, "");
    workspace.created(&["--tag", "never", "--at", "main", "--", &good]);
    let bad = workspace.compile("other", "int main(void) { return 5; }", &[]);
    refused(&workspace, &["--at", "ready"], &[&bad]);
    let run = workspace.snaprun(&["never"]).run();
    assert_eq!((run.status.as_str(), run.err().as_str()), ("0", ""));
}

/// A snapshot without all of its files could not be started. It gets no name, and the tag stays as it was.
#[test]
fn what_was_written_is_looked_at_before_it_has_a_name() {
    let workspace = Workspace::new();
    let first = program(&workspace, "");
    assert_eq!(workspace.snapshotter(&["create", "--tag", "kept", "--", &first]).status, "0");
    let tag = || fs::read_link(workspace.store().join("refs/kept/latest")).unwrap();
    // The snapshot is so large that the test can remove its code segment files while it is being written.
    let body = "long *all = malloc(256 << 20); for (long i = 0; i < 32 << 20; i++) all[i] = i | 1;";
    let exe = program(&workspace, body);
    let (kept, before) = (tag(), workspace.stored());
    for output in [&["--tag", "kept"][..], &["-o", "never.snap"]] {
        let done = AtomicBool::new(false);
        let made = std::thread::scope(|scope| {
            scope.spawn(|| {
                let in_dir = |dir| fs::read_dir(workspace.store().join(dir)).into_iter().flatten().flatten();
                let is_long = |entry: DirEntry| entry.metadata().is_ok_and(|meta| meta.len() > 16 << 20);
                while !done.load(Ordering::Relaxed) && !in_dir("tmp").any(is_long) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                in_dir("code").for_each(|entry| fs::remove_file(entry.path()).unwrap());
            });
            let made = workspace.snapshotter(&[&["create"], output, &["--", &exe]].concat());
            done.store(true, Ordering::Relaxed);
            made
        });
        assert_eq!(made.status, "1", "{made}");
        says(&made, &["code/", "which the snapshot needs for ", "is not there"]);
        assert_eq!((tag(), workspace.stored()), (kept.clone(), before.clone()));
        assert!(!workspace.work().join("never.snap").exists());
        assert_eq!(running(&exe), Vec::<PathBuf>::new());
    }
}
