//! The test splits and rebuilds every ELF file in the usual places of this machine. A refusal must have an expected
//! reason.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod split_common;

use snapfn_split::{SplitError, split_elf};
use split_common::assert_rebuilds;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const PLACES: [&str; 6] =
    ["/usr/bin", "/usr/sbin", "/usr/lib/x86_64-linux-gnu", "/usr/lib/gcc", "/usr/lib/python3", "/usr/libexec"];

/// Largest file that the test splits. The few larger ones are compilers' libraries, made by the same linkers.
const LARGEST: u64 = 40 << 20;

fn files(place: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(place) else { return };
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path(), found),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
}

#[test]
fn sweep() {
    let mut paths = Vec::new();
    PLACES.iter().for_each(|place| files(Path::new(place), &mut paths));
    let (mut split, mut large, mut refused) = (0, 0, BTreeMap::<String, Vec<PathBuf>>::new());
    for path in paths {
        let Ok(metadata) = path.metadata() else { continue };
        if metadata.len() > LARGEST {
            large += 1;
            continue;
        }
        let Ok(elf) = fs::read(&path) else { continue };
        if !elf.starts_with(b"\x7fELF") {
            continue;
        }
        match split_elf(&elf) {
            Ok(parts) => {
                assert_rebuilds(&elf, &parts.code.to_vec(), &parts.init);
                split += 1;
            }
            // Object files, and files for other machines.
            Err(error @ (SplitError::Type(1) | SplitError::Class | SplitError::Machine(_))) => {
                refused.entry(error.to_string()).or_default().push(path);
            }
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }
    println!("{split} files split and rebuilt, {large} left out for their size");
    for (why, paths) in &refused {
        println!("{} refused: {why} ({} …)", paths.len(), paths[0].display());
    }
    assert!(split > 100, "only {split} ELF files found");
}
