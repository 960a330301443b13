//! Initialisations that come to no snapshot: a clear error with the program's status and last output, no process and
//! no file left behind.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs::{self, DirEntry};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use snapfn_tests::bench::Bench;
use snapfn_tests::run::Outcome;

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
fn refused(bench: &Bench, options: &[&str], command: &[&str]) -> Outcome {
    let before = bench.stored();
    let mut args = vec!["create", "--tag", "never"];
    args.extend(options);
    args.push("--");
    args.extend(command);
    let outcome = bench.snapshotter(&args).unwrap();
    assert!(outcome.status.parse::<u8>().is_ok_and(|code| code != 0), "{outcome}");
    assert!(!outcome.stderr.is_empty() && !outcome.err().contains("panicked"), "{outcome}");
    assert_eq!(bench.stored(), before, "files are left in the store\n{outcome}");
    assert_eq!(running(command[0]), Vec::<PathBuf>::new(), "a process is left\n{outcome}");
    outcome
}

#[track_caller]
fn says(outcome: &Outcome, words: &[&str]) {
    for word in words {
        assert!(outcome.err().contains(word), "`{word}` is missing\n{outcome}");
    }
}

fn program(bench: &Bench, body: &str) -> String {
    let source = format!(
        "#include <signal.h>\n#include <snap.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n\
         int main(void) {{ {body} snap_ready(); return 0; }}"
    );
    bench.compile("subject", &source, &["-O1"]).unwrap()
}

#[test]
fn a_crash_names_the_signal_and_the_last_output() {
    let bench = Bench::new().unwrap();
    let exe = program(&bench, r#"puts("last words"); fflush(stdout); *(volatile int *)8 = 1;"#);
    says(&refused(&bench, &["--at", "ready"], &[&exe]), &["SIGSEGV", "last words"]);
}

#[test]
fn an_early_exit_names_the_status_and_the_last_output() {
    let bench = Bench::new().unwrap();
    let exe = program(&bench, r#"fprintf(stderr, "cannot open the table\n"); exit(3);"#);
    says(&refused(&bench, &["--at", "ready"], &[&exe]), &["3", "cannot open the table"]);
}

#[test]
fn a_program_that_ends_before_its_point_is_an_error_even_with_status_0() {
    let bench = Bench::new().unwrap();
    let exe = program(&bench, "exit(0);");
    refused(&bench, &["--at", "ready"], &[&exe]);
    refused(&bench, &["--at", "syscall:accept4"], &[&exe]);
}

#[test]
fn a_signal_that_kills_is_named() {
    let bench = Bench::new().unwrap();
    let exe = program(&bench, "raise(SIGTERM);");
    says(&refused(&bench, &["--at", "ready"], &[&exe]), &["SIGTERM"]);
    let exe = program(&bench, "abort();");
    says(&refused(&bench, &["--at", "ready"], &[&exe]), &["SIGABRT"]);
}

#[test]
fn a_program_that_does_not_get_there_is_stopped_at_the_timeout() {
    let bench = Bench::new().unwrap();
    let exe = program(&bench, r#"puts("still loading"); fflush(stdout); for (;;) pause();"#);
    says(&refused(&bench, &["--at", "ready", "--timeout", "1"], &[&exe]), &["still loading"]);
    let exe = program(&bench, "signal(SIGTERM, SIG_IGN); signal(SIGINT, SIG_IGN); for (;;) {}");
    refused(&bench, &["--at", "ready", "--timeout", "1"], &[&exe]);
}

#[test]
fn children_of_a_failed_initialisation_are_not_left_stopped() {
    let bench = Bench::new().unwrap();
    // The child ends when its parent does: what must not happen is that it stays stopped or traced.
    let exe = program(
        &bench,
        "int p[2]; pipe(p); if (!fork()) { close(p[1]); char c; read(p[0], &c, 1); _exit(0); } close(p[0]); exit(4);",
    );
    let outcome = bench.snapshotter(&["create", "--tag", "never", "--at", "ready", "--", &exe]).unwrap();
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
    let bench = Bench::new().unwrap();
    let exe = program(&bench, "");
    says(&refused(&bench, &["--at", "symbol:no_such_function"], &[&exe]), &["no_such_function"]);
    says(&refused(&bench, &["--at", "syscall:no_such_call"], &[&exe]), &["no_such_call"]);
    says(&refused(&bench, &["--at", "nonsense"], &[&exe]), &["nonsense"]);
}

#[test]
fn what_is_no_program_is_refused() {
    let bench = Bench::new().unwrap();
    let out = bench.out();
    let path = |name: &str| out.join(name).to_string_lossy().into_owned();
    says(&refused(&bench, &[], &[&path("missing")]), &["missing"]);
    refused(&bench, &[], &[&out.to_string_lossy()]);
    fs::write(path("plain"), "just text").unwrap();
    refused(&bench, &[], &[&path("plain")]);
    fs::write(path("text"), "just text").unwrap();
    fs::set_permissions(path("text"), fs::Permissions::from_mode(0o755)).unwrap();
    refused(&bench, &[], &[&path("text")]);
    let exe = program(&bench, "");
    let mut foreign = fs::read(&exe).unwrap();
    foreign[18] = 183; // e_machine: AArch64
    fs::write(path("foreign"), &foreign).unwrap();
    fs::set_permissions(path("foreign"), fs::Permissions::from_mode(0o755)).unwrap();
    refused(&bench, &[], &[&path("foreign")]);
    let whole = fs::read(&exe).unwrap();
    for length in [0, 1, 63, 64, 200, 1000, whole.len() / 2] {
        fs::write(path("cut"), &whole[..length]).unwrap();
        fs::set_permissions(path("cut"), fs::Permissions::from_mode(0o755)).unwrap();
        refused(&bench, &["--at", "ready"], &[&path("cut")]);
    }
}

#[test]
fn a_connected_socket_is_refused_by_name_and_the_program_survives() {
    let bench = Bench::new().unwrap();
    let source = r#"
        #include <arpa/inet.h>
        #include <snap.h>
        #include <stdio.h>
        #include <sys/socket.h>
        #include <unistd.h>
        int main(void) {
            struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
            socklen_t len = sizeof a;
            int l = socket(AF_INET, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0);
            bind(l, (struct sockaddr *)&a, len);
            listen(l, 1);
            getsockname(l, (struct sockaddr *)&a, &len);
            if (connect(c, (struct sockaddr *)&a, len)) return 9;
            dup2(c, 77);
            close(c);
            snap_ready();
            return 0;
        }"#;
    let exe = bench.compile("connected", source, &["-O1"]).unwrap();
    says(&refused(&bench, &["--at", "ready"], &[&exe]), &["77", "socket"]);
}

#[test]
fn a_store_that_cannot_be_written_is_an_error_and_stays_as_it_was() {
    let bench = Bench::new().unwrap();
    let exe = program(&bench, "");
    fs::remove_dir(bench.store()).unwrap();
    fs::write(bench.store(), "a file is in the way").unwrap();
    let outcome = bench.snapshotter(&["create", "--tag", "never", "--", &exe]).unwrap();
    assert_ne!(outcome.status, "0", "{outcome}");
    assert_eq!(fs::read(bench.store()).unwrap(), b"a file is in the way");
}

#[test]
fn a_failure_leaves_the_name_as_it_was() {
    let bench = Bench::new().unwrap();
    let good = program(&bench, "");
    let made = bench.snapshotter(&["create", "--tag", "never", "--at", "main", "--", &good]).unwrap();
    assert_eq!(made.status, "0", "{made}");
    let bad = bench.compile("other", "int main(void) { return 5; }", &[]).unwrap();
    refused(&bench, &["--at", "ready"], &[&bad]);
    let run = bench.snaprun(&["never"]).run().unwrap();
    assert_eq!((run.status.as_str(), run.err().as_str()), ("0", ""));
}

/// A snapshot whose files are not all there could not be started: it gets no name, and the tag stays what it was.
#[test]
fn what_was_written_is_looked_at_before_it_has_a_name() {
    let bench = Bench::new().unwrap();
    let first = program(&bench, "");
    assert_eq!(bench.snapshotter(&["create", "--tag", "kept", "--", &first]).unwrap().status, "0");
    let tag = || fs::read_link(bench.store().join("refs/kept/latest")).unwrap();
    // Large enough for its code segment files to be taken away while it is being written.
    let body = "long *all = malloc(256 << 20); for (long i = 0; i < 32 << 20; i++) all[i] = i | 1;";
    let exe = program(&bench, body);
    let (kept, before) = (tag(), bench.stored());
    for output in [&["--tag", "kept"][..], &["-o", "never.snap"]] {
        let done = AtomicBool::new(false);
        let made = std::thread::scope(|scope| {
            scope.spawn(|| {
                let in_dir = |dir| fs::read_dir(bench.store().join(dir)).into_iter().flatten().flatten();
                let is_long = |entry: DirEntry| entry.metadata().is_ok_and(|meta| meta.len() > 16 << 20);
                while !done.load(Ordering::Relaxed) && !in_dir("tmp").any(is_long) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                in_dir("code").for_each(|entry| fs::remove_file(entry.path()).unwrap());
            });
            let made = bench.snapshotter(&[&["create"], output, &["--", &exe]].concat());
            done.store(true, Ordering::Relaxed);
            made.unwrap()
        });
        assert_eq!(made.status, "1", "{made}");
        says(&made, &["code/", "which the snapshot needs for ", "is not there"]);
        assert_eq!((tag(), bench.stored()), (kept.clone(), before.clone()));
        assert!(!bench.work().join("never.snap").exists());
        assert_eq!(running(&exe), Vec::<PathBuf>::new());
    }
}
