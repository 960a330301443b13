//! The store changes while instances are started: each start sees one store, and no file but that store's own.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use snapfn_tests::run::{Outcome, Run};
use snapfn_tests::workspace::Workspace;

const STARTS: usize = 150;

/// One of two programs, which prints its name from its code and from its memory.
fn program(word: &str) -> String {
    format!(
        r#"
        #include <snap.h>
        #include <stdio.h>
        static char kept[] = "{word}";
        const char *code(void) {{ return "{word}"; }}
        int main(void) {{
            snap_ready();
            printf("%s %s\n", kept, code());
            return 7;
        }}"#
    )
}

/// A store below `out/` with a snapshot `fn` of a program that prints `word`.
fn store(workspace: &Workspace, word: &str) -> PathBuf {
    let exe = workspace.compile(&format!("fn-{word}"), &program(word), &["-O1"]);
    let store = workspace.out().join(format!("store-{word}"));
    // As in the store of a test, another user starts the instances.
    fs::create_dir(&store).unwrap();
    let mut create = workspace.command("snapshotter", &["create", "--share", "--tag", "fn", "--", &exe]);
    create.env = env(workspace, &store);
    let made = create.run();
    assert_eq!(made.status, "0", "{made}");
    store
}

fn env(workspace: &Workspace, store: &Path) -> Vec<(String, String)> {
    let mut env = workspace.env(&[]);
    env.retain(|(name, _)| name != "SNAPFN_STORE");
    env.push(("SNAPFN_STORE".to_owned(), store.to_string_lossy().into_owned()));
    env
}

fn start(workspace: &Workspace, store: &Path) -> Outcome {
    Run { env: env(workspace, store), ..workspace.snaprun(&["fn"]) }.run()
}

/// Starts instances while another thread does `change` again and again.
fn starts_while(workspace: &Workspace, store: &Path, change: impl Fn(usize) + Sync) -> Vec<Outcome> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| (0..).take_while(|_| !done.load(Ordering::Relaxed)).for_each(&change));
        let outcomes = (0..STARTS).map(|_| start(workspace, store)).collect();
        done.store(true, Ordering::Relaxed);
        outcomes
    })
}

/// Replaces `at`, of any type, by a link to that target, at once.
fn relink(target: &Path, at: &Path) {
    let new = at.with_extension("new");
    let _ = fs::remove_file(&new);
    symlink(target, &new).unwrap();
    fs::rename(&new, at).unwrap();
}

fn only(outcome: &Outcome, words: &[&str]) -> bool {
    words.iter().any(|word| outcome.out() == format!("{word} {word}\n") && outcome.status == "7")
}

/// The root is exchanged between the steps of a start (for example two versions of a deployment). Tag, snapshot and
/// code belong to one of both, and are never missing.
#[test]
fn a_root_that_is_exchanged() {
    let workspace = Workspace::new();
    let stores = [store(&workspace, "one"), store(&workspace, "two")];
    let root = workspace.out().join("current");
    relink(&stores[0], &root);
    let outcomes = starts_while(&workspace, &root, |round| relink(&stores[round % 2], &root));
    for outcome in &outcomes {
        assert!(only(outcome, &["one", "two"]), "{outcome}");
    }
    for word in ["one", "two"] {
        let count = outcomes.iter().filter(|outcome| only(outcome, &[word])).count();
        assert!(count > 0, "no start has met {word}, so nothing was exchanged");
    }
}

/// The files of `store/kind` in a directory of the same names, each with `from` in the place of `to`.
fn planted(store: &Path, kind: &str, from: &[u8], to: &[u8]) -> PathBuf {
    let dir = store.with_extension(kind);
    fs::create_dir(&dir).unwrap();
    for entry in fs::read_dir(store.join(kind)).unwrap() {
        let entry = entry.unwrap();
        let mut bytes = fs::read(entry.path()).unwrap();
        let mut at = 0;
        while let Some(found) = bytes[at..].windows(from.len()).position(|window| window == from) {
            bytes[at + found..at + found + to.len()].copy_from_slice(to);
            at += found + from.len();
        }
        let file = dir.join(entry.file_name());
        fs::write(&file, bytes).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
    }
    dir
}

/// Links replace stored files, and the directory that has them. They are refused and never followed, not even to files
/// of a trusted owner.
#[test]
fn links_in_the_place_of_files_and_directories() {
    let workspace = Workspace::new();
    let store = store(&workspace, "true");
    for kind in ["code", "snap"] {
        let evil = planted(&store, kind, b"true\0", b"evil\0");
        let dir = store.join(kind);
        let aside = store.join(format!("{kind}.aside"));
        let files: Vec<PathBuf> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        let refused_or_true = |outcomes: &[Outcome]| {
            for outcome in outcomes {
                let refused = matches!(outcome.status.as_str(), "125" | "126" | "127") && outcome.stdout.is_empty();
                assert!(refused || only(outcome, &["true"]), "{kind}: {outcome}");
            }
        };
        // Each file is itself, then a link to the planted one.
        let outcomes = starts_while(&workspace, &store, |round| {
            let file = &files[round / 2 % files.len()];
            let held = aside.with_extension("file");
            fs::rename(file, &held).unwrap();
            symlink(evil.join(file.file_name().unwrap()), file).unwrap();
            fs::rename(&held, file).unwrap();
        });
        refused_or_true(&outcomes);
        let outcomes = starts_while(&workspace, &store, |_| {
            fs::rename(&dir, &aside).unwrap();
            symlink(&evil, &dir).unwrap();
            fs::remove_file(&dir).unwrap();
            fs::rename(&aside, &dir).unwrap();
        });
        refused_or_true(&outcomes);
        assert!(only(&start(&workspace, &store), &["true"]));
        // The same without changes during the start.
        fs::rename(&dir, &aside).unwrap();
        symlink(&evil, &dir).unwrap();
        let refused = start(&workspace, &store);
        assert!(refused.err().contains("is a symbolic link") && refused.stdout.is_empty(), "{kind}: {refused}");
        fs::remove_file(&dir).unwrap();
        fs::rename(&aside, &dir).unwrap();
    }
}

/// A program that runs its arguments with a filter that makes `openat2` fail with the error that the first names.
const WITHOUT_OPENAT2: &str = include_str!("store_races/without_openat2.c");

/// On kernels before 5.6, and in containers whose filter does not know `openat2`, instances start, and links in place
/// of stored files are refused as well.
#[test]
fn where_openat2_is_not_to_be_had() {
    let workspace = Workspace::new();
    let store = store(&workspace, "true");
    let wrapper = workspace.compile("wrapper", WITHOUT_OPENAT2, &["-O1"]);
    const ENOSYS: i32 = 38;
    const EPERM: i32 = 1;
    let planted = ["code", "snap"].map(|kind| (kind, planted(&store, kind, b"true\0", b"evil\0")));
    for errno in [ENOSYS, EPERM] {
        let started = || {
            let mut run = Run { env: env(&workspace, &store), ..workspace.snaprun(&["fn"]) };
            run.argv.splice(0..0, [wrapper.clone(), errno.to_string()]);
            run.run()
        };
        let good = started();
        assert!(only(&good, &["true"]), "{errno}: {good}");
        for (kind, evil) in &planted {
            let mut refusals = 0;
            for entry in fs::read_dir(store.join(kind)).unwrap() {
                let file = entry.unwrap().path();
                let held = store.join("held");
                fs::rename(&file, &held).unwrap();
                symlink(evil.join(file.file_name().unwrap()), &file).unwrap();
                let outcome = started();
                fs::rename(&held, &file).unwrap();
                let refused = outcome.err().contains("is a symbolic link") && outcome.stdout.is_empty();
                // Some of the store's code segment files are not of this program.
                assert!(refused || only(&outcome, &["true"]), "{errno}, {kind}: {outcome}");
                refusals += usize::from(refused);
            }
            assert!(refusals > 0, "{errno}, {kind}: none is refused");
        }
    }
}

/// Files become shorter while they are being opened and mapped, which only their owner can do. The start is refused in
/// one line, or the instance meets a missing page and ends by SIGBUS (a system call that meets one fails with EFAULT).
/// It never goes on with other content.
#[test]
fn files_that_are_cut_short() {
    let workspace = Workspace::new();
    let store = store(&workspace, "whole");
    let files: Vec<PathBuf> = ["code", "snap"]
        .iter()
        .flat_map(|kind| fs::read_dir(store.join(kind)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    let mut cut = 0;
    for round in 0..STARTS {
        let file = &files[round % files.len()];
        let size = fs::metadata(file).unwrap().len();
        if round < files.len() {
            let truncate = format!("truncate -s 0 '{}'", file.display());
            let argv = ["sh", "-c", &truncate].map(str::to_owned).to_vec();
            let outcome = Run { argv, env: workspace.env(&[]), cwd: "/".into(), ..Run::default() }.run();
            assert_ne!(outcome.status, "0", "whoever starts instances can cut {} short", file.display());
        }
        // The owner's file: the owner has given himself the right to write.
        let (whole, victim) = (file.with_extension("whole"), file.with_extension("victim"));
        fs::copy(file, &victim).unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o644)).unwrap();
        let open = File::options().write(true).open(&victim).unwrap();
        fs::set_permissions(&victim, fs::metadata(file).unwrap().permissions()).unwrap();
        fs::rename(file, &whole).unwrap();
        fs::rename(&victim, file).unwrap();
        let outcome = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_micros(fastrand::u64(..6000)));
                open.set_len((size / 2) & !4095).unwrap();
            });
            start(&workspace, &store)
        });
        fs::rename(&whole, file).unwrap();
        let refused = outcome.status == "125" && outcome.err().lines().count() == 1;
        assert!(refused || ["SIGBUS", "7"].contains(&outcome.status.as_str()), "{outcome}");
        assert!(outcome.stdout.is_empty() || outcome.out() == "whole whole\n", "{outcome}");
        cut += usize::from(!only(&outcome, &["whole"]));
    }
    eprintln!("{cut} of {STARTS} starts have met a file that was cut");
    assert!(only(&start(&workspace, &store), &["whole"]));
}
