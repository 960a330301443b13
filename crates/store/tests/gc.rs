//! Garbage collection and verification, on snapshot files of the real format.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test panics where it fails")]

mod common;

use common::snapshot;
use snapfn_store::{Damage, Digest, Kind, Ref, Store, StoreError, collect, summarize};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use tempfile::TempDir;

struct Filled {
    _dir: TempDir,
    store: Store,
    code: Digest,
    data: Digest,
    snap: Digest,
}

/// One tagged snapshot with one code and one data file, and one file of each kind that no tag needs.
fn filled() -> Filled {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path().join("store"));
    let tx = store.begin().unwrap();
    let code = tx.put_bytes(Kind::Code, b"code").unwrap().digest;
    let data = tx.put_bytes(Kind::Data, b"data").unwrap().digest;
    let bytes = snapshot("/usr/bin/fn", &[(Kind::Code, code), (Kind::Data, data)], 1);
    let snap = tx.put_bytes(Kind::Snap, &bytes).unwrap().digest;
    tx.set_ref(&Ref::parse("fn").unwrap(), snap).unwrap();
    for kind in Kind::ALL {
        tx.put_bytes(kind, b"not needed").unwrap();
    }
    drop(tx);
    Filled { _dir: dir, store, code, data, snap }
}

#[test]
fn all_variants_of_a_tag_are_kept_and_their_set_goes_with_it() {
    let f = filled();
    let tx = f.store.begin().unwrap();
    let bytes = snapshot("/usr/bin/fn", &[(Kind::Code, f.code)], 2);
    let second = tx.put_bytes(Kind::Snap, &bytes).unwrap().digest;
    let reference = Ref::parse("fn").unwrap();
    tx.set_variants(&reference, &[f.snap, second]).unwrap();
    drop(tx);
    let sets = || fs::read_dir(f.store.root().join("sets")).unwrap().count();
    assert_eq!(collect(&f.store, &summarize, false).unwrap().garbage.len(), 4);
    assert_eq!((count(&f.store), sets()), (4, 1));
    f.store.remove_ref(&reference).unwrap();
    assert_eq!(collect(&f.store, &summarize, false).unwrap().garbage.len(), 5);
    assert_eq!((count(&f.store), sets()), (0, 0));
}

fn count(store: &Store) -> usize {
    Kind::ALL.map(|kind| store.list(kind).unwrap().len()).into_iter().sum()
}

#[test]
fn a_snapshot_is_summarized() {
    let f = filled();
    let summary = summarize(&f.store.open(Kind::Snap, f.snap).unwrap()).unwrap();
    assert_eq!(summary.program.as_deref(), Some("/usr/bin/fn"));
    assert_eq!(summary.files, [(Kind::Code, f.code), (Kind::Data, f.data)]);
    let since_epoch = summary.created.unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(since_epoch.as_secs(), 1_700_000_000);
}

#[test]
fn what_a_tag_needs_is_kept() {
    let f = filled();
    let dry = collect(&f.store, &summarize, true).unwrap();
    assert_eq!((dry.garbage.len(), dry.kept), (4, 3));
    assert_eq!(count(&f.store), 7);
    assert_eq!(collect(&f.store, &summarize, false).unwrap(), dry);
    assert_eq!(count(&f.store), 3);
    for (kind, digest) in [(Kind::Code, f.code), (Kind::Data, f.data), (Kind::Snap, f.snap)] {
        assert!(f.store.blob(kind, digest).unwrap().is_some());
    }
    f.store.remove_ref(&Ref::parse("fn").unwrap()).unwrap();
    assert_eq!(collect(&f.store, &summarize, false).unwrap().garbage.len(), 3);
    assert_eq!(count(&f.store), 0);
}

#[test]
fn nothing_is_collected_while_somebody_writes() {
    let f = filled();
    let tx = f.store.begin().unwrap();
    assert!(matches!(collect(&f.store, &summarize, false), Err(StoreError::Busy { .. })));
    let writer = tx.writer(Kind::Code).unwrap();
    drop(tx);
    assert!(matches!(collect(&f.store, &summarize, false), Err(StoreError::Busy { .. })));
    drop(writer);
    assert_eq!(count(&f.store), 7);
    collect(&f.store, &summarize, false).unwrap();
}

#[test]
fn nothing_is_collected_when_a_snapshot_cannot_be_read() {
    for damage in ["flip", "truncate", "missing", "hostile"] {
        let f = filled();
        let path = f.store.path(Kind::Snap, f.snap);
        let mut bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        match damage {
            "flip" => bytes[300] ^= 1,
            "truncate" => bytes.truncate(1000),
            _ => (),
        }
        if damage != "missing" {
            fs::write(&path, &bytes).unwrap();
        }
        if damage == "hostile" {
            let tag = f.store.root().join("refs/fn/latest");
            fs::remove_file(&tag).unwrap();
            symlink("/etc", &tag).unwrap();
        }
        let before = count(&f.store);
        let error = collect(&f.store, &summarize, false).unwrap_err();
        assert!(matches!(error, StoreError::Unreadable { .. } | StoreError::BadRef { .. }), "{damage}: {error}");
        assert_eq!(count(&f.store), before, "{damage}");
    }
}

#[test]
fn every_flipped_bit_of_the_plan_is_noticed() {
    let bytes = snapshot("/bin/fn", &[], 1);
    let file = tempfile::NamedTempFile::new().unwrap();
    let meta_len = u64::from_le_bytes(bytes[136..144].try_into().unwrap()) as usize;
    fs::write(file.path(), &bytes).unwrap();
    summarize(file.as_file()).unwrap();
    for at in 0..meta_len.min(1500) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(file.path(), &bytes).unwrap();
        assert!(summarize(file.as_file()).is_err(), "byte {at}");
    }
}

#[test]
fn a_snapshot_outside_the_store_keeps_its_files() {
    let f = filled();
    f.store.remove_ref(&Ref::parse("fn").unwrap()).unwrap();
    let outside = f.store.root().with_file_name("fn.snap");
    fs::copy(f.store.path(Kind::Snap, f.snap), &outside).unwrap();
    f.store.begin().unwrap().keep_for(&outside).unwrap();
    collect(&f.store, &summarize, false).unwrap();
    assert!(f.store.blob(Kind::Code, f.code).unwrap().is_some());
    assert!(f.store.blob(Kind::Data, f.data).unwrap().is_some());
    assert!(f.store.blob(Kind::Snap, f.snap).unwrap().is_none());

    // A newer version's file may need anything.
    let bytes = fs::read(&outside).unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o644)).unwrap();
    let mut newer = bytes.clone();
    newer[96] = 99;
    fs::write(&outside, &newer).unwrap();
    assert!(matches!(collect(&f.store, &summarize, false), Err(StoreError::Unreadable { .. })));
    assert_eq!(count(&f.store), 2);

    // If the name is another kind of file, it has no needs.
    fs::write(&outside, b"a letter").unwrap();
    assert_eq!(collect(&f.store, &summarize, true).unwrap().garbage.len(), 2);

    fs::remove_file(&outside).unwrap();
    // Both files and the root itself.
    assert_eq!(collect(&f.store, &summarize, false).unwrap().garbage.len(), 3);
    assert_eq!(count(&f.store), 0);
    assert_eq!(fs::read_dir(f.store.root().join("roots")).unwrap().count(), 0);
}

#[test]
fn a_store_that_does_not_exist_is_empty_and_stays_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path().join("none"));
    assert_eq!(collect(&store, &summarize, false).unwrap(), Default::default());
    assert!(store.refs().unwrap().is_empty());
    assert!(store.list(Kind::Code).unwrap().is_empty());
    assert!(!store.root().exists());
}

#[test]
fn verify_finds_a_changed_byte() {
    let f = filled();
    let blob = f.store.blob(Kind::Code, f.code).unwrap().unwrap();
    let mut read = 0;
    f.store.verify(&blob, &mut |bytes| read += bytes).unwrap();
    assert_eq!(read, 4);
    fs::remove_file(&blob.path).unwrap();
    fs::write(&blob.path, b"cod3").unwrap();
    assert!(matches!(f.store.verify(&blob, &mut |_| ()), Err(Damage::Content { .. })));
    fs::remove_file(&blob.path).unwrap();
    assert!(matches!(f.store.verify(&blob, &mut |_| ()), Err(Damage::Store(StoreError::Missing { .. }))));
}
