//! `split_output` writes both files or neither, and changes no other file.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod split_common;

use snapfn_split::{SplitError, code_path, init_path, split_output};
use split_common::{assert_rebuilds, run};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A program with a writable segment of several pages.
fn program(dir: &Path) -> PathBuf {
    fs::write(dir.join("in.c"), "int data[50000] = { [7] = 1 }; int main(void) { return 0; }").unwrap();
    run(dir, &["gcc", "-o", "program", "in.c"]);
    dir.join("program")
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn writes_both_files() {
    let dir = TempDir::new().unwrap();
    let exe = program(dir.path());
    let before = (fs::read(&exe).unwrap(), exe.metadata().unwrap().modified().unwrap());
    for _ in 0..2 {
        split_output(&exe).unwrap();
        assert_eq!(names(dir.path()), ["in.c", "program", "program.code", "program.init"]);
        let (code, init) = (dir.path().join("program.code"), dir.path().join("program.init"));
        assert_rebuilds(&before.0, &fs::read(&code).unwrap(), &fs::read(&init).unwrap());
        for path in [&code, &init] {
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777 & !0o044, 0o600);
        }
        assert!(code.metadata().unwrap().blocks() < exe.metadata().unwrap().blocks(), "the hole is not one");
    }
    assert_eq!((fs::read(&exe).unwrap(), exe.metadata().unwrap().modified().unwrap()), before);
}

#[test]
fn longest_name() {
    let dir = TempDir::new().unwrap();
    let exe = dir.path().join("x".repeat(250));
    fs::rename(program(dir.path()), &exe).unwrap();
    split_output(&exe).unwrap();
    assert!(code_path(&exe).is_file() && init_path(&exe).is_file());
    let too_long = dir.path().join("x".repeat(251));
    fs::rename(&exe, &too_long).unwrap();
    fs::remove_file(code_path(&exe)).unwrap();
    fs::remove_file(init_path(&exe)).unwrap();
    assert!(matches!(split_output(&too_long), Err(SplitError::Io { .. })));
    assert_eq!(names(dir.path()).len(), 2);
}

#[test]
fn a_failure_removes_what_no_longer_belongs() {
    let dir = TempDir::new().unwrap();
    let exe = program(dir.path());
    split_output(&exe).unwrap();
    fs::write(&exe, "not an ELF file").unwrap();
    assert!(matches!(split_output(&exe), Err(SplitError::NotElf)));
    assert_eq!(names(dir.path()), ["in.c", "program"]);
}

/// `program.code` may be a program with that name, and `program.init` any other file.
#[test]
fn other_peoples_files_stay() {
    for name in ["program.init", "program.code"] {
        for contents in [&b"mine"[..], b"\x7fELF", b""] {
            let dir = TempDir::new().unwrap();
            let exe = program(dir.path());
            fs::write(dir.path().join(name), contents).unwrap();
            assert!(matches!(split_output(&exe), Err(SplitError::Foreign(_))));
            assert_eq!(names(dir.path()), ["in.c", "program", name]);
            assert_eq!(fs::read(dir.path().join(name)).unwrap(), contents);
        }
        let dir = TempDir::new().unwrap();
        let exe = program(dir.path());
        fs::create_dir(dir.path().join(name)).unwrap();
        assert!(matches!(split_output(&exe), Err(SplitError::Foreign(_))));
        fs::remove_dir(dir.path().join(name)).unwrap();
        symlink("in.c", dir.path().join(name)).unwrap();
        assert!(matches!(split_output(&exe), Err(SplitError::Foreign(_))));
        assert_eq!(names(dir.path()), ["in.c", "program", name]);
    }
}

#[test]
fn a_directory_in_the_way_leaves_neither() {
    let dir = TempDir::new().unwrap();
    let exe = program(dir.path());
    split_output(&exe).unwrap();
    fs::remove_file(code_path(&exe)).unwrap();
    fs::create_dir(code_path(&exe)).unwrap();
    assert!(matches!(split_output(&exe), Err(SplitError::Io { .. })));
    assert_eq!(names(dir.path()), ["in.c", "program", "program.code"]);
}

#[test]
fn what_is_no_regular_file() {
    let dir = TempDir::new().unwrap();
    run(dir.path(), &["mkfifo", "fifo"]);
    for path in [Path::new("/dev/null"), Path::new("/dev/zero"), dir.path(), &dir.path().join("fifo")] {
        assert!(matches!(split_output(path), Err(SplitError::NotRegular(_))), "{}", path.display());
    }
    assert!(matches!(split_output(&dir.path().join("absent")), Err(SplitError::Io { .. })));
    assert_eq!(names(dir.path()), ["fifo"]);
}

/// A file cannot be written to its end: the test runs itself again under a limit on file sizes.
#[test]
fn a_full_disk_leaves_neither() {
    const EXE: &str = "SPLIT_UNDER_A_LIMIT";
    if let Some(exe) = std::env::var_os(EXE) {
        let error = split_output(Path::new(&exe)).unwrap_err();
        assert!(matches!(&error, SplitError::Io { action: "cannot write", .. }), "{error}");
        return;
    }
    let dir = TempDir::new().unwrap();
    let exe = program(dir.path());
    let status = Command::new("bash")
        .args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$@\"", "bash"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "a_full_disk_leaves_neither"])
        .env(EXE, exe)
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(names(dir.path()), ["in.c", "program"]);
}

#[test]
fn concurrent_splits_of_one_file() {
    let dir = TempDir::new().unwrap();
    let exe = program(dir.path());
    split_output(&exe).unwrap();
    let (code, init) = (fs::read(code_path(&exe)).unwrap(), fs::read(init_path(&exe)).unwrap());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..5).for_each(|_| split_output(&exe).unwrap()));
        }
    });
    assert_eq!((fs::read(code_path(&exe)).unwrap(), fs::read(init_path(&exe)).unwrap()), (code, init));
    assert_eq!(names(dir.path()).len(), 4);
}
