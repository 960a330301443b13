//! The places of the built binaries, the corpus and the scratch directories.

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The directory with `snapcc`, `snapshotter`, `snaprun`: `$SNAPFN_BIN`, else the release directory next to the one
/// that the tests were built into.
#[must_use]
pub fn bin() -> PathBuf {
    if let Some(dir) = env::var_os("SNAPFN_BIN") {
        return PathBuf::from(dir);
    }
    // target/PROFILE/deps/TEST
    let exe = env::current_exe().unwrap_or_default();
    exe.ancestors().nth(3).map(|target| target.join("release")).unwrap_or_default()
}

/// This crate's directory.
#[must_use]
pub fn tests() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The workspace.
#[must_use]
pub fn root() -> PathBuf {
    let tests = tests();
    tests.parent().map(Path::to_owned).unwrap_or(tests)
}

/// The path of one of the project's binaries.
///
/// # Panics
/// When it has not been built: a test that cannot find its subject must fail.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let path = bin().join(name);
    assert!(
        path.exists(),
        "{} does not exist; run `cargo build --release --workspace` or set SNAPFN_BIN",
        path.display()
    );
    path
}

/// The C or C++ driver. Cargo cannot name a binary `snapc++`: it is a link to `snapcc`, which this function makes if it
/// is missing.
#[must_use]
pub fn driver(cxx: bool, scratch: &Path) -> PathBuf {
    let snapcc = binary("snapcc");
    if !cxx {
        return snapcc;
    }
    let installed = snapcc.with_file_name("snapc++");
    if installed.exists() {
        return installed;
    }
    let link = scratch.join("snapc++");
    if !link.exists() {
        let _ = std::os::unix::fs::symlink(&snapcc, &link);
    }
    link
}

/// Whether every user may search all directories above `path`.
#[must_use]
pub fn is_reachable_by_all(path: &Path) -> bool {
    path.ancestors().skip(1).all(|dir| dir.metadata().is_ok_and(|m| m.permissions().mode() & 0o001 != 0))
}

/// Whether a program is in `$PATH`.
#[must_use]
pub fn has_program(name: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|dir| dir.join(name).is_file()))
}

/// `SNAPFN_ORACLE=ordinary` compiles with the plain compiler and makes the ordinary runs only: for writing programs.
#[must_use]
pub fn ordinary_only() -> bool {
    env::var_os("SNAPFN_ORACLE").is_some_and(|mode| mode == "ordinary")
}

/// `SNAPFN_ORACLE=one` checks each program in one of the ways that it asks for: for a loop of edits.
#[must_use]
pub fn one_way_only() -> bool {
    env::var_os("SNAPFN_ORACLE").is_some_and(|mode| mode == "one")
}

/// `SNAPFN_STRICT_TESTS=1`: a test that cannot run here fails instead of being skipped.
#[must_use]
pub fn strict() -> bool {
    env::var_os("SNAPFN_STRICT_TESTS").is_some_and(|v| v == "1")
}

/// Prints why a test cannot run here. In strict mode, fails the test.
///
/// # Panics
/// Where [`strict`] says so.
pub fn skip(why: &str) {
    assert!(!strict(), "cannot run here: {why}");
    eprintln!("skipped: {why}");
}

/// The distribution's own.
pub const PYTHON: &str = "/usr/bin/python3";

/// Whether the tool is installed; else the test is skipped.
#[must_use]
pub fn has_python() -> bool {
    let is_there = Path::new(PYTHON).exists();
    if !is_there {
        skip("python3 is not installed");
    }
    is_there
}
