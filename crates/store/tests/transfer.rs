//! Tests transfers that were cut short, and files that must have a certain digest.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test panics where it fails")]

mod common;

use common::{helper, helper_root, start_until};
use sha2::{Digest as _, Sha256};
use snapfn_store::{Digest, Kind, Store, StoreError, collect, summarize};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path().join("store"));
    (dir, store)
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

#[test]
fn a_transfer_goes_on_where_it_was() {
    let (_dir, store) = store();
    let tx = store.begin().unwrap();
    let first = tx.transfer("blob").unwrap();
    assert!(first.is_empty().unwrap());
    first.file().write_all_at(b"half of", 0).unwrap();
    let path = first.path().to_path_buf();
    assert_eq!(
        (path.clone(), path.metadata().unwrap().permissions().mode() & 0o777),
        (tx.transfer_path("blob").unwrap(), 0o600)
    );
    drop((first, tx));

    let tx = store.begin().unwrap();
    let second = tx.transfer("blob").unwrap();
    let mut text = String::new();
    second.file().read_to_string(&mut text).unwrap();
    assert_eq!((&*text, second.len().unwrap()), ("half of", 7));
    second.clear().unwrap();
    assert_eq!(second.len().unwrap(), 0);
    second.file().write_all_at(b"whole", 0).unwrap();
    second.remove().unwrap();
    assert!(!path.exists());
    // What is being read stays readable.
    let mut bytes = [0; 5];
    second.file().read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"whole");
}

#[test]
fn two_do_not_work_on_the_same() {
    let (_dir, store) = store();
    let tx = store.begin().unwrap();
    let first = tx.transfer("blob").unwrap();
    first.file().write_all_at(b"one", 0).unwrap();
    let other = tx.transfer("another").unwrap();
    let waiting = {
        let tx = tx.clone();
        std::thread::spawn(move || tx.transfer("blob").unwrap().len().unwrap())
    };
    // The second finds a file of its own, however late it begins to wait, since the first removes its file.
    std::thread::sleep(Duration::from_millis(50));
    assert!(!waiting.is_finished());
    first.remove().unwrap();
    drop(first);
    assert_eq!(waiting.join().unwrap(), 0);
    drop(other);
}

#[test]
fn what_nobody_works_on_is_discarded() {
    let (_dir, store) = store();
    let tx = store.begin().unwrap();
    tx.discard("blob").unwrap();
    let transfer = tx.transfer("blob").unwrap();
    tx.discard("blob").unwrap();
    assert!(transfer.path().exists(), "another process writes it");
    let path = transfer.path().to_path_buf();
    drop(transfer);
    tx.discard("blob").unwrap();
    assert!(!path.exists());
}

#[test]
fn a_link_in_place_of_a_transfer_is_not_followed() {
    let (dir, store) = store();
    let tx = store.begin().unwrap();
    let precious = dir.path().join("precious");
    fs::write(&precious, "as it was").unwrap();
    symlink(&precious, tx.transfer_path("blob").unwrap()).unwrap();
    assert!(matches!(tx.transfer("blob"), Err(StoreError::Io { .. })));
    assert_eq!(fs::read_to_string(&precious).unwrap(), "as it was");
}

#[test]
fn garbage_collection_takes_what_is_old() {
    let (_dir, store) = store();
    let tx = store.begin().unwrap();
    let paths = ["old", "new"].map(|name| {
        let transfer = tx.transfer(name).unwrap();
        transfer.file().write_all_at(&[1; 5000], 0).unwrap();
        transfer.path().to_path_buf()
    });
    drop(tx);
    let days = |days: u64| SystemTime::now() - Duration::from_secs(days * 24 * 3600);
    File::options().write(true).open(&paths[0]).unwrap().set_modified(days(8)).unwrap();
    File::options().write(true).open(&paths[1]).unwrap().set_modified(days(6)).unwrap();
    collect(&store, &summarize, true).unwrap();
    assert!(paths[0].exists(), "a dry run removes nothing");
    collect(&store, &summarize, false).unwrap();
    assert_eq!(paths.each_ref().map(|path| path.exists()), [false, true]);
    // No garbage is collected during a transfer.
    let tx = store.begin().unwrap();
    let transfer = tx.transfer("new").unwrap();
    drop(tx);
    assert!(matches!(collect(&store, &summarize, false), Err(StoreError::Busy { .. })));
    drop(transfer);
    collect(&store, &summarize, false).unwrap();
}

#[test]
fn scratch_files_leave_nothing() {
    let (_dir, store) = store();
    let tx = store.begin().unwrap();
    let scratch = tx.scratch().unwrap();
    scratch.file().write_all_at(b"x", 0).unwrap();
    let path = scratch.path().to_path_buf();
    assert!(path.starts_with(store.root().join("tmp")) && path.exists());
    drop(scratch);
    assert!(!path.exists());
}

#[test]
fn content_with_another_digest_gets_no_name() {
    let (_dir, store) = store();
    let tx = store.begin().unwrap();
    let (right, wrong) = (sha256(b"right"), sha256(b"wrong"));
    let write = |content: &[u8]| {
        let mut writer = tx.writer(Kind::Snap).unwrap();
        writer.append(content).unwrap();
        writer
    };
    match write(b"right").commit_as(wrong) {
        Err(StoreError::Digest { kind: Kind::Snap, expected, actual }) => {
            assert_eq!((expected, actual), (wrong, right))
        }
        other => panic!("{other:?}"),
    }
    for digest in [right, wrong] {
        assert_eq!(store.blob(Kind::Snap, digest).unwrap(), None);
    }
    assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
    assert_eq!(write(b"right").commit_as(right).unwrap().digest, right);
    // The same if the digest was not computed on the way.
    let mut writer = tx.writer(Kind::Data).unwrap();
    writer.write_at(b"ght", 2).unwrap();
    writer.write_at(b"ri", 0).unwrap();
    assert!(matches!(writer.commit_as(wrong), Err(StoreError::Digest { .. })));
    // A hole counts as the zeros that it reads as.
    let mut writer = tx.writer(Kind::Data).unwrap();
    writer.append(b"a").unwrap();
    writer.skip(3 << 20).unwrap();
    let mut whole = vec![0; 1 + (3 << 20)];
    whole[0] = b'a';
    assert_eq!(writer.commit_as(sha256(&whole)).unwrap().size, whole.len() as u64);
}

/// This is no test: it begins a transfer, prints a line, and waits to be killed.
#[test]
fn helper_transfer() {
    let Some(root) = helper_root() else { return };
    let tx = Store::at(root).begin().unwrap();
    let transfer = tx.transfer("blob").unwrap();
    transfer.file().write_all_at(b"half of", 0).unwrap();
    println!("transferring");
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_killed_transfer_is_taken_up() {
    let (_dir, store) = store();
    drop(store.begin().unwrap());
    let (mut child, _out) = start_until(&mut helper("helper_transfer", store.root()), "transferring");
    child.kill().unwrap();
    child.wait().unwrap();
    let tx = store.begin().unwrap();
    assert_eq!(tx.transfer("blob").unwrap().len().unwrap(), 7);
}
