//! `scripts/install.sh`, with stubs for the binaries of the other crates.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test panics where it fails")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A release directory: `snaprepo` itself, and scripts that print their names.
fn release() -> TempDir {
    let target = tempfile::tempdir().unwrap();
    let dir = target.path().join("release");
    fs::create_dir(&dir).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_snaprepo"), dir.join("snaprepo")).unwrap();
    for name in ["libsnapfn_c.a", "libsnapfn_c.so"] {
        fs::write(dir.join(name), "").unwrap();
    }
    for name in ["snapcc", "snaprun", "snapboot", "snappool", "snapshotter", "snapserve"] {
        let generate = r#"
            name=${0##*/}
            case $1 in generate | --generate) ;; *) echo "$0"; exit ;; esac
            case $2 in
                man) touch "$3/$name.1" ;;
                bash) touch "$3/$name.bash" ;;
                zsh) touch "$3/_$name" ;;
                fish) touch "$3/$name.fish" ;;
            esac"#;
        fs::write(dir.join(name), format!("#!/bin/sh{generate}\n")).unwrap();
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    target
}

fn script(target: &Path) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/install.sh");
    let mut command = Command::new(script);
    command.env("CARGO_TARGET_DIR", target).env_remove("DESTDIR");
    command
}

fn ok(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

/// Everything but directories below `dir`, relative to it.
fn files(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(at) = todo.pop() {
        for entry in fs::read_dir(dir.join(&at)).unwrap() {
            let entry = entry.unwrap();
            let path = at.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => todo.push(path),
                false => drop(found.insert(path.to_str().unwrap().to_string())),
            }
        }
    }
    found
}

#[test]
fn installs_and_uninstalls_exactly_its_own_files() {
    let target = release();
    let dir = tempfile::tempdir().unwrap();
    let prefix = dir.path().join("with space");
    fs::create_dir_all(prefix.join("bin")).unwrap();
    fs::write(prefix.join("bin/other"), "").unwrap();
    let before = files(&prefix);

    ok(script(target.path()).arg("--prefix").arg(&prefix));
    let installed = files(&prefix);
    for file in [
        "bin/snapcc",
        "bin/snapc++",
        "bin/snapshotter",
        "bin/snaprun",
        "bin/snaprepo",
        "bin/snapserve",
        "libexec/snapfn/snapboot",
        "libexec/snapfn/snappool",
        "lib/libsnapfn.a",
        "lib/libsnapfn.so",
        "lib/libsnapfn.so.0",
        "include/snapfn/snap.h",
        "include/snapfn/snapfn.h",
        "share/man/man1/snaprun.1",
        "share/man/man1/snapcc.1",
        "share/man/man1/snapc++.1",
        "share/man/man1/snaprepo.1",
        "share/man/man1/snaprepo-gc.1",
        "share/man/man1/snapshotter.1",
        "share/bash-completion/completions/snaprepo",
        "share/man/man1/snapserve.1",
        "share/bash-completion/completions/snapshotter",
        "share/bash-completion/completions/snapserve",
        "share/zsh/site-functions/_snapserve",
        "share/fish/vendor_completions.d/snapserve.fish",
        "lib/systemd/system/snapserve.service",
        "lib/systemd/system/snapserve.socket",
        "lib/systemd/user/snapserve.service",
        "share/zsh/site-functions/_snaprepo",
        "share/fish/vendor_completions.d/snaprepo.fish",
    ] {
        assert!(installed.contains(file), "{file} is not among {installed:?}");
    }
    assert!(!installed.iter().any(|file| file.contains(".new.")), "{installed:?}");
    assert_eq!(fs::read_link(prefix.join("bin/snapc++")).unwrap(), Path::new("snapcc"));
    assert_eq!(fs::metadata(prefix.join("bin/snaprepo")).unwrap().mode() & 0o777, 0o755);
    assert_eq!(fs::metadata(prefix.join("include/snapfn/snap.h")).unwrap().mode() & 0o777, 0o644);
    ok(Command::new(prefix.join("bin/snaprepo")).arg("--version"));
    let unit = |manager: &str| {
        let text = fs::read_to_string(prefix.join(format!("lib/systemd/{manager}/snapserve.service"))).unwrap();
        assert!(text.contains("\nType=notify\n") && text.contains("\nWatchdogSec=") && !text.contains('@'), "{text}");
        text
    };
    // The manager of a user cannot make users.
    assert!(unit("system").contains("\nDynamicUser=yes\n") && !unit("user").contains("DynamicUser"));

    // Again, over itself and over a file that this version no longer has.
    fs::write(prefix.join("bin/snapold"), "").unwrap();
    let manifest = prefix.join("libexec/snapfn/manifest");
    let list = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, format!("{list}bin/snapold\n../outside\n/etc/hostname\n")).unwrap();
    fs::write(dir.path().join("outside"), "").unwrap();
    ok(script(target.path()).arg(format!("--prefix={}", prefix.display())));
    assert_eq!(files(&prefix), installed);

    fs::write(&manifest, format!("{list}../outside\n")).unwrap();
    ok(script(target.path()).arg("--uninstall").arg("--prefix").arg(&prefix));
    assert_eq!(files(&prefix), before);
    assert!(dir.path().join("outside").exists());
    let again = script(target.path()).arg("--uninstall").arg("--prefix").arg(&prefix).output().unwrap();
    assert_eq!(again.status.code(), Some(1));
}

#[test]
fn a_destdir_comes_before_the_prefix() {
    let target = release();
    let dir = tempfile::tempdir().unwrap();
    ok(script(target.path()).args(["--prefix", "/opt/snapfn"]).env("DESTDIR", dir.path()));
    assert!(dir.path().join("opt/snapfn/bin/snaprun").exists());
    let manifest = fs::read_to_string(dir.path().join("opt/snapfn/libexec/snapfn/manifest")).unwrap();
    assert!(!manifest.contains("opt"), "{manifest}");
}

#[test]
fn a_running_binary_is_replaced() {
    let target = release();
    let dir = tempfile::tempdir().unwrap();
    ok(script(target.path()).arg("--prefix").arg(dir.path()));
    // A native program that runs until its input ends.
    let snaprun = dir.path().join("bin/snaprun");
    fs::remove_file(&snaprun).unwrap();
    fs::copy("/bin/cat", &snaprun).unwrap();
    let mut running = Command::new(&snaprun).stdin(Stdio::piped()).spawn().unwrap();
    ok(script(target.path()).arg("--prefix").arg(dir.path()));
    assert!(fs::read(&snaprun).unwrap().starts_with(b"#!/bin/sh"));
    assert!(running.try_wait().unwrap().is_none());
    drop(running.stdin.take());
    assert!(running.wait().unwrap().success());
}

#[test]
fn a_failure_leaves_the_prefix_alone() {
    let target = release();
    fs::write(target.path().join("release/snapshotter"), "#!/bin/sh\nexit 3\n").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let output = script(target.path()).arg("--prefix").arg(dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("snapshotter cannot write its man files"));
    assert!(files(dir.path()).is_empty());
    assert_eq!(script(target.path()).arg("--what").output().unwrap().status.code(), Some(2));
}
