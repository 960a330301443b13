//! Names and files that `snaprun` must refuse: one clear line, the documented exit code, nothing changed.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use snapfn_format::checksum;
use snapfn_format::init::{Init, InitHeader};
use snapfn_format::snap::peek_header;
use snapfn_store::hash_file;
use snapfn_tests::run::Outcome;
use snapfn_tests::workspace::{Workspace, tree};
use zerocopy::IntoBytes;

const SMALL: &str = r#"
    #include <snap.h>
    #include <stdio.h>
    int main(void) { snap_ready(); puts("restored"); return 0; }"#;

fn small(workspace: &Workspace) -> PathBuf {
    workspace.snapshot("small", SMALL, &["-O1", "-static"], "ready")
}

/// The refusal: its code and one line with the usual beginning.
#[track_caller]
fn refused(workspace: &Workspace, name: &str, code: &str) -> Outcome {
    let before = tree(&workspace.store());
    let outcome = workspace.snaprun(&[name]).run();
    assert_eq!(outcome.status, code, "{name}: {outcome}");
    assert!(outcome.stdout.is_empty(), "{outcome}");
    let text = outcome.err();
    assert!(text.starts_with(&format!("snaprun: {name}: ")), "{outcome}");
    assert_eq!(text.matches('\n').count(), 1, "{outcome}");
    assert!(text.ends_with('\n'), "{outcome}");
    assert_eq!(tree(&workspace.store()), before, "the store changed");
    outcome
}

fn path(workspace: &Workspace, name: &str) -> PathBuf {
    workspace.out().join(name)
}

fn write(workspace: &Workspace, name: &str, bytes: &[u8]) -> String {
    let file = path(workspace, name);
    fs::write(&file, bytes).unwrap();
    file.to_string_lossy().into_owned()
}

#[test]
fn the_file_that_the_others_are_made_from_is_good() {
    let workspace = Workspace::new();
    let file = small(&workspace);
    for name in ["small", &*file.to_string_lossy()] {
        let outcome = workspace.snaprun(&[name]).run();
        assert_eq!((outcome.status.as_str(), outcome.out().as_str()), ("0", "restored\n"), "{outcome}");
    }
}

#[test]
fn names_that_are_not_there() {
    let workspace = Workspace::new();
    refused(&workspace, "no-such-name", "127");
    refused(&workspace, "no-such-name:tag", "127");
    refused(&workspace, "./no-such-file.snap", "127");
    refused(&workspace, "/no/such/directory/x.snap", "127");
    small(&workspace);
    refused(&workspace, "small:other", "127");
}

#[test]
fn things_that_are_no_files() {
    let workspace = Workspace::new();
    let dir = path(&workspace, "dir.snap");
    fs::create_dir(&dir).unwrap();
    refused(&workspace, &dir.to_string_lossy(), "126");
    refused(&workspace, "/dev/null", "126");
    // Opening a FIFO without a writer must not hang.
    let fifo = path(&workspace, "fifo.snap");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    fs::set_permissions(&fifo, fs::Permissions::from_mode(0o666)).unwrap();
    refused(&workspace, &fifo.to_string_lossy(), "126");
    let link = path(&workspace, "loop.snap");
    symlink(&link, &link).unwrap();
    refused(&workspace, &link.to_string_lossy(), "126");
}

#[test]
fn files_of_another_kind_or_length() {
    let workspace = Workspace::new();
    let good = fs::read(small(&workspace)).unwrap();
    refused(&workspace, &write(&workspace, "empty.snap", b""), "125");
    refused(&workspace, &write(&workspace, "text.snap", b"#!/bin/sh\n"), "125");
    refused(&workspace, &write(&workspace, "zero.snap", &vec![0; 1 << 20]), "125");
    refused(&workspace, &write(&workspace, "ones.snap", &vec![0xff; 1 << 20]), "125");
    refused(&workspace, &write(&workspace, "long.snap", &[&good[..], b"x"].concat()), "125");
    refused(&workspace, &write(&workspace, "longer.snap", &[&good[..], &good[..]].concat()), "125");
    let mut lengths: Vec<usize> = (0..600).collect();
    lengths.extend((600..good.len()).step_by(good.len() / 100));
    lengths.push(good.len() - 1);
    for length in lengths {
        refused(&workspace, &write(&workspace, "cut.snap", &good[..length]), "125");
    }
    let exe = path(&workspace, "small");
    refused(&workspace, &exe.to_string_lossy(), "125");
    refused(&workspace, &write(&workspace, "code.snap", &fs::read(exe.with_extension("code")).unwrap()), "125");
    refused(&workspace, &write(&workspace, "init.snap", &fs::read(exe.with_extension("init")).unwrap()), "125");
}

#[test]
fn other_versions_architectures_and_features_are_named() {
    let workspace = Workspace::new();
    let good = fs::read(small(&workspace)).unwrap();
    let header = peek_header(&good[..4096], good.len() as u64).unwrap();
    let start = header.magic.as_ptr().addr() - good.as_ptr().addr();
    let field = |field: usize| field - std::ptr::from_ref(header).addr() + start;
    let version = field(std::ptr::from_ref(&header.version).addr());
    let arch = field(std::ptr::from_ref(&header.arch).addr());
    let features = field(std::ptr::from_ref(&header.incompatible).addr());
    for (at, value, word) in [(version, 9, "version"), (arch, 183, "architecture"), (features, 64, "features")] {
        let mut bad = good.clone();
        bad[at] = value;
        let outcome = refused(&workspace, &write(&workspace, "other.snap", &bad), "125");
        assert!(outcome.err().contains(word), "{outcome}");
    }
}

/// Every bit of the first 4 KiB of header and plan, and one bit of each further eighth byte.
#[test]
fn any_bit_flipped_in_header_or_plan() {
    let workspace = Workspace::new();
    let file = small(&workspace);
    let good = fs::read(&file).unwrap();
    let meta = peek_header(&good[..4096], good.len() as u64).unwrap().meta_len as usize;
    let all = (0..meta.min(4096)).flat_map(|byte| (0..8).map(move |bit| (byte, bit)));
    let sampled = (4096..meta).step_by(8).map(|byte| (byte + byte / 8 % 8, byte / 64 % 8));
    let flips: Vec<_> = all.chain(sampled).filter(|(byte, _)| *byte < meta).collect();
    assert!(flips.len() > 1000, "the plan has only {meta} bytes");
    let name = write(&workspace, "flipped.snap", &good);
    let target = File::options().write(true).open(&name).unwrap();
    let snaprun = &workspace.snaprun(&[]).argv[0];
    for (byte, bit) in flips {
        target.write_all_at(&[good[byte] ^ (1 << bit)], byte as u64).unwrap();
        let outcome = Command::new(snaprun)
            .arg(&name)
            .env("SNAPFN_STORE", workspace.store())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&outcome.stderr);
        assert_eq!(outcome.status.code(), Some(125), "byte {byte} bit {bit}: {:?} {text}", outcome.status);
        assert!(outcome.stdout.is_empty() && text.matches('\n').count() == 1, "byte {byte} bit {bit}: {text}");
        target.write_all_at(&good[byte..=byte], byte as u64).unwrap();
    }
    assert_eq!(fs::read(&name).unwrap(), good);
}

fn code_files(workspace: &Workspace) -> Vec<PathBuf> {
    tree(&workspace.store().join("code")).into_iter().filter(|p| p.is_file()).collect()
}

#[test]
fn code_segment_files_that_are_missing_cut_or_swapped() {
    let workspace = Workspace::new();
    workspace.snapshot("dynamic", SMALL, &["-O1"], "ready");
    let codes = code_files(&workspace);
    assert!(codes.len() >= 3, "program, libc and ld.so: {codes:?}");
    for code in &codes {
        let aside = path(&workspace, "aside");
        fs::rename(code, &aside).unwrap();
        refused(&workspace, "dynamic", "125");
        fs::write(code, b"").unwrap();
        refused(&workspace, "dynamic", "125");
        let whole = fs::read(&aside).unwrap();
        replace(code, &whole[..whole.len() - 1]);
        refused(&workspace, "dynamic", "125");
        replace(code, &[&whole[..], b"x"].concat());
        refused(&workspace, "dynamic", "125");
        fs::remove_file(code).unwrap();
        fs::create_dir(code).unwrap();
        refused(&workspace, "dynamic", "125");
        fs::remove_dir(code).unwrap();
        fs::rename(&aside, code).unwrap();
    }
    swap(&codes[0], &codes[1]);
    refused(&workspace, "dynamic", "125");
    swap(&codes[0], &codes[1]);
    assert_eq!(workspace.snaprun(&["dynamic"]).run().out(), "restored\n");
}

fn replace(path: &Path, bytes: &[u8]) {
    let _ = fs::remove_file(path);
    fs::write(path, bytes).unwrap();
}

fn swap(a: &Path, b: &Path) {
    let aside = a.with_extension("aside");
    fs::rename(a, &aside).unwrap();
    fs::rename(b, a).unwrap();
    fs::rename(&aside, b).unwrap();
}

#[test]
fn options_that_do_not_exist() {
    let workspace = Workspace::new();
    let outcome = workspace.snaprun(&["--no-such-option", "x"]).run();
    assert_eq!(outcome.status, "125", "{outcome}");
    let outcome = workspace.snaprun(&[]).run();
    assert_eq!(outcome.status, "125", "{outcome}");
    assert!(outcome.err().starts_with("snaprun: "), "{outcome}");
}

#[test]
fn a_dry_run_prints_the_plan_and_starts_nothing() {
    let workspace = Workspace::new();
    small(&workspace);
    let outcome = workspace.snaprun(&["--dry-run", "small"]).run();
    assert_eq!(outcome.status, "0", "{outcome}");
    assert!(outcome.out().lines().count() > 5 && !outcome.out().contains("restored"), "{outcome}");
}

/// A user who may write to the directory of an executable can put files beside it. Such files may have any content:
/// here the digest of the executable and that of their own code segment file, which is another program's.
#[test]
fn files_beside_an_executable_are_not_believed() {
    let workspace = Workspace::new();
    let exe = workspace.compile("beside", SMALL, &["-O1"]);
    let planted = SMALL.replace("restored", "planted!");
    let other = workspace.compile("other", &planted, &["-O1"]);
    let (code, init) = (PathBuf::from(format!("{exe}.code")), PathBuf::from(format!("{exe}.init")));
    let check = |what: &str| {
        let made = workspace.snapshotter(&["create", "--tag", "beside", "--at", "ready", "--", &exe]);
        assert_eq!(made.status, "0", "{what}: {made}");
        let run = workspace.snaprun(&["beside"]).run();
        assert_eq!((run.status.as_str(), run.out().as_str()), ("0", "restored\n"), "{what}: {run}");
    };
    let mut forged = fs::read(format!("{other}.init")).unwrap();
    let mut header = *InitHeader::read(&forged).unwrap();
    header.exe_digest = hash_file(&File::open(&exe).unwrap(), &mut |_| {}).unwrap();
    header.checksum = 0.into();
    forged[..header.as_bytes().len()].copy_from_slice(header.as_bytes());
    header.checksum = checksum(&forged).into();
    forged[..header.as_bytes().len()].copy_from_slice(header.as_bytes());
    Init::parse(&forged).unwrap();
    let other_code = fs::read(format!("{other}.code")).unwrap();
    let good_code = fs::read(&code).unwrap();
    for (what, code_bytes, init_bytes) in [
        ("another program's, forged", &other_code[..], &forged[..]),
        ("another program's", &other_code, &fs::read(format!("{other}.init")).unwrap()),
        ("empty", b"", b""),
        ("cut", &good_code[..good_code.len() / 2], &forged[..forged.len() / 2]),
        ("exchanged", &forged, &other_code),
    ] {
        replace(&code, code_bytes);
        replace(&init, init_bytes);
        check(what);
    }
    for file in [&code, &init] {
        fs::remove_file(file).unwrap();
        mkfifo(file, Mode::S_IRUSR).unwrap();
    }
    check("FIFOs");
    for file in [&code, &init] {
        fs::remove_file(file).unwrap();
        symlink("/dev/zero", file).unwrap();
    }
    check("links to /dev/zero");
}

/// A file system that is full: a small tmpfs, which only root can mount.
#[test]
fn a_store_on_a_full_disk() {
    let workspace = Workspace::new();
    let exe = workspace.compile("full", SMALL, &["-O1"]);
    let point = CString::new(workspace.store().as_os_str().as_bytes()).unwrap();
    let point = point.to_string_lossy().into_owned();
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m,mode=755", "none", &point]).output().unwrap();
    if !mounted.status.success() {
        assert!(!snapfn_tests::place::strict(), "cannot mount a tmpfs: {mounted:?}");
        eprintln!("skipped: mounting a small tmpfs needs root");
        return;
    }
    let made = workspace.snapshotter(&["create", "--tag", "full", "--at", "ready", "--", &exe]);
    let left = workspace.stored();
    let unmounted = Command::new("umount").arg(&point).status().unwrap();
    assert!(unmounted.success());
    assert_ne!(made.status, "0", "{made}");
    assert!(made.err().to_lowercase().contains("no space"), "{made}");
    assert!(left.is_empty(), "left behind: {left:?}");
}
