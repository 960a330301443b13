//! Every file in the store is whole, read-only and named by its digest, even if other processes write or die meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test panics where it fails")]

mod common;

use sha2::{Digest as _, Sha256};
use snapfn_store::{Digest, Kind, Ref, Store, StoreError};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use tempfile::TempDir;

fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path().join("new/root"));
    (dir, store)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn in_tmp(store: &Store) -> usize {
    fs::read_dir(store.root().join("tmp")).map_or(0, Iterator::count)
}

#[test]
fn stored_files_are_named_by_digest_and_read_only() {
    let (_dir, store) = store();
    let tx = store.begin().unwrap();
    let first = tx.put_bytes(Kind::Data, b"hello").unwrap();
    assert_eq!((first.digest, first.size, first.existed), (sha256(b"hello"), 5, false));
    assert_eq!(fs::read(&first.path).unwrap(), b"hello");
    assert_eq!(mode(&first.path), 0o444);
    assert_eq!(fs::metadata(&first.path).unwrap().nlink(), 1);
    let again = tx.put_bytes(Kind::Data, b"hello").unwrap();
    assert_eq!((again.path, again.existed), (first.path, true));
    assert_eq!(mode(store.root()), 0o700);
    for dir in ["code", "data", "snap", "init", "refs", "tmp"] {
        assert_eq!(mode(&store.root().join(dir)), 0o755, "{dir}");
    }
    assert_eq!(in_tmp(&store), 0);
}

#[test]
fn snapshots_are_private_unless_shared() {
    let (_dir, store) = store();
    let tx = store.begin().unwrap();
    let private = tx.put_bytes(Kind::Snap, b"memory").unwrap();
    assert_eq!(mode(&private.path), 0o600);
    assert_eq!(mode(&tx.put_bytes(Kind::Code, b"code").unwrap().path), 0o444);
    // Storing the same content for all makes the file public. Storing it privately later does not make it private:
    // another tag relies on it.
    let shared = tx.clone().share(true).put_bytes(Kind::Snap, b"memory").unwrap();
    assert_eq!((shared.path, shared.existed, mode(&private.path)), (private.path.clone(), true, 0o444));
    tx.put_bytes(Kind::Snap, b"memory").unwrap();
    assert_eq!(mode(&private.path), 0o444);
}

/// Only users who may read the original may read the copy.
#[test]
fn copies_of_private_files_are_private() {
    let (dir, store) = store();
    let tx = store.begin().unwrap();
    let original = dir.path().join("original");
    fs::write(&original, "a key").unwrap();
    let about = |mode: u32| {
        fs::set_permissions(&original, fs::Permissions::from_mode(mode)).unwrap();
        fs::metadata(&original).unwrap()
    };
    for private in [0o600, 0o640, 0o700, 0o711] {
        let about = about(private);
        let data = tx.put_file(Kind::Data, &original).unwrap();
        assert_eq!(mode(&data.path), 0o600, "{private:o}");
        let code = tx.put_bytes_of(Kind::Code, b"code", &about).unwrap();
        assert_eq!(mode(&code.path), 0o600, "{private:o}");
        assert!(tx.reuse(Kind::Code, code.digest, &about).unwrap().is_some());
        assert_eq!(mode(&code.path), 0o600, "{private:o}");
    }
    // An existing file becomes public if another original with that content is public, or if all files are shared.
    let path = |kind, content: &[u8]| store.path(kind, sha256(content));
    let public = about(0o755);
    tx.put_file(Kind::Data, &original).unwrap();
    assert!(tx.reuse(Kind::Code, sha256(b"code"), &public).unwrap().is_some());
    assert_eq!((mode(&path(Kind::Data, b"a key")), mode(&path(Kind::Code, b"code"))), (0o444, 0o444));
    fs::write(&original, "another").unwrap();
    let private = about(0o600);
    tx.clone().share(true).put_file(Kind::Data, &original).unwrap();
    assert_eq!(mode(&path(Kind::Data, b"another")), 0o444);
    tx.put_bytes_of(Kind::Init, b"data", &private).unwrap();
    tx.clone().share(true).reuse(Kind::Init, sha256(b"data"), &private).unwrap();
    assert_eq!(mode(&path(Kind::Init, b"data")), 0o444);
    // A snapshot is private, with any mode of the file that it is stored from.
    about(0o644);
    assert_eq!(mode(&tx.put_file(Kind::Snap, &original).unwrap().path), 0o600);
}

#[test]
fn every_way_to_write_gives_the_same_digest() {
    let (_dir, store) = store();
    let tx = store.begin().unwrap();
    let mut content = vec![7u8; 300_000];
    content[100_000..200_000].fill(0);
    let expected = sha256(&content);

    let mut front_to_back = tx.writer(Kind::Code).unwrap();
    front_to_back.write_all(&content[..100_000]).unwrap();
    front_to_back.skip(100_000).unwrap();
    front_to_back.append(&content[200_000..]).unwrap();
    assert_eq!(front_to_back.commit().unwrap().digest, expected);

    let mut anywhere = tx.writer(Kind::Data).unwrap();
    anywhere.write_at(&content[200_000..], 200_000).unwrap();
    anywhere.write_at(&content[..100_000], 0).unwrap();
    assert_eq!(anywhere.commit().unwrap().digest, expected);

    // Appended, then overwritten and cut: the running digest must not be used.
    let mut mixed = tx.writer(Kind::Init).unwrap();
    mixed.append(&vec![9u8; 400_000]).unwrap();
    mixed.truncate(300_000).unwrap();
    mixed.write_at(&content, 0).unwrap();
    assert_eq!(mixed.commit().unwrap().digest, expected);
}

#[test]
fn a_copied_file_keeps_its_holes() {
    let (dir, store) = store();
    let source = dir.path().join("sparse");
    let file = File::create(&source).unwrap();
    file.set_len(64 << 20).unwrap();
    file.write_all_at(&[1; 5000], 0).unwrap();
    // Across the 4 MiB boundary at which the copy cuts its writes.
    file.write_all_at(&vec![2; 3 << 20], (11 << 20) + 123).unwrap();
    let stored = store.begin().unwrap().put_file(Kind::Code, &source).unwrap();
    let bytes = fs::read(&source).unwrap();
    assert_eq!(stored.digest, sha256(&bytes));
    assert!(fs::read(&stored.path).unwrap() == bytes);
    let used = |path: &Path| fs::metadata(path).unwrap().blocks();
    // A file system without holes gives both the full size.
    assert!(used(&stored.path) <= used(&source), "{} > {}", used(&stored.path), used(&source));
}

#[test]
fn only_regular_files_are_copied() {
    let (dir, store) = store();
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let tx = store.begin().unwrap();
    for (path, found) in [(&*fifo, "a FIFO"), (dir.path(), "a directory")] {
        let error = tx.put_file(Kind::Code, path).unwrap_err();
        assert!(matches!(error, StoreError::NotAFile { found: f, .. } if f == found), "{error}");
    }
    assert_eq!(in_tmp(&store), 0);
}

#[test]
fn an_uncommitted_writer_leaves_nothing() {
    let (_dir, store) = store();
    let mut writer = store.begin().unwrap().writer(Kind::Snap).unwrap();
    writer.append(b"half").unwrap();
    assert_eq!(in_tmp(&store), 1);
    drop(writer);
    assert_eq!(in_tmp(&store), 0);
    assert!(store.list(Kind::Snap).unwrap().is_empty());
}

#[test]
fn a_file_cut_short_on_disk_is_replaced() {
    let (_dir, store) = store();
    let tx = store.begin().unwrap();
    let stored = tx.put_bytes(Kind::Code, b"some code").unwrap();
    fs::remove_file(&stored.path).unwrap();
    fs::write(&stored.path, b"some").unwrap();
    assert!(!tx.put_bytes(Kind::Code, b"some code").unwrap().existed);
    assert_eq!(fs::read(&stored.path).unwrap(), b"some code");
}

#[test]
fn a_directory_in_place_of_a_file_is_refused() {
    let (_dir, store) = store();
    let tx = store.begin().unwrap();
    let path = store.path(Kind::Code, sha256(b"x"));
    fs::create_dir(&path).unwrap();
    let error = tx.put_bytes(Kind::Code, b"x").unwrap_err();
    assert!(matches!(error, StoreError::NotAFile { found: "a directory", .. }), "{error}");
    assert!(matches!(store.blob(Kind::Code, sha256(b"x")), Err(StoreError::NotAFile { .. })));
    assert_eq!(in_tmp(&store), 0);
}

#[test]
fn concurrent_writers_agree() {
    let (_dir, store) = store();
    let shared = vec![3u8; 5 << 20];
    let reference = Ref::parse("fn:v1").unwrap();
    std::thread::scope(|scope| {
        for own in 0..8u8 {
            let (store, shared, reference) = (&store, &shared, &reference);
            scope.spawn(move || {
                for round in 0..3u8 {
                    let tx = store.begin().unwrap();
                    tx.put_bytes(Kind::Code, shared).unwrap();
                    let snap = tx.put_bytes(Kind::Snap, &[own, round]).unwrap();
                    tx.set_ref(reference, snap.digest).unwrap();
                    // This also works while others remove the name's directory.
                    let mine = Ref::parse(format!("gone:t{own}")).unwrap();
                    tx.set_ref(&mine, snap.digest).unwrap();
                    assert!(store.remove_ref(&mine).unwrap());
                }
            });
        }
    });
    let code = store.list(Kind::Code).unwrap();
    assert_eq!(code.len(), 1);
    store.verify(&code[0], &mut |_| ()).unwrap();
    assert_eq!(store.list(Kind::Snap).unwrap().len(), 24);
    let refs = store.refs().unwrap();
    assert_eq!(refs.len(), 1);
    let digest = *refs[0].digest.as_ref().unwrap();
    assert!(store.blob(Kind::Snap, digest).unwrap().is_some());
    assert_eq!(in_tmp(&store), 0);
}

/// Run by the next test in a process of its own.
#[test]
fn helper_writes_forever() {
    let Some(root) = common::helper_root() else { return };
    let tx = Store::at(root).begin().unwrap();
    let mut writer = tx.writer(Kind::Snap).unwrap();
    writer.append(&vec![1; 1 << 20]).unwrap();
    println!("writing");
    loop {
        writer.write_at(&[2; 4096], 0).unwrap();
    }
}

#[test]
fn a_killed_writer_leaves_nothing_visible_and_no_lock() {
    let (_dir, store) = store();
    let (mut child, _out) = common::start_until(&mut common::helper("helper_writes_forever", store.root()), "writing");
    let nothing = |_: &File| Ok(Default::default());
    assert!(matches!(snapfn_store::collect(&store, &nothing, false), Err(StoreError::Busy { .. })));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(store.list(Kind::Snap).unwrap().is_empty());
    assert!(store.refs().unwrap().is_empty());
    assert_eq!(in_tmp(&store), 1);
    let report = snapfn_store::collect(&store, &nothing, false).unwrap();
    assert_eq!(report.garbage.len(), 1);
    assert_eq!(in_tmp(&store), 0);
}

/// Run by the next two tests in a process of its own, where it cannot write 8 MiB.
#[test]
fn helper_fills_the_disk() {
    let Some(root) = common::helper_root() else { return };
    if std::env::var_os("STORE_TEST_FSIZE").is_some() {
        use nix::sys::{resource, signal};
        // Blocked, the signal stays pending and the write fails with EFBIG.
        let mut mask = signal::SigSet::empty();
        mask.add(signal::Signal::SIGXFSZ);
        mask.thread_block().unwrap();
        resource::setrlimit(resource::Resource::RLIMIT_FSIZE, 1 << 20, 1 << 20).unwrap();
    }
    let store = Store::at(root);
    let tx = store.begin().unwrap();
    for kind in Kind::ALL {
        let error = tx.put_bytes(kind, &vec![1; 8 << 20]).unwrap_err();
        assert!(matches!(&error, StoreError::NoSpace { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(store.root().to_str().unwrap()), "{text}");
        assert!(text.contains("snaprepo gc"), "{text}");
        assert_eq!(in_tmp(&store), 0);
        assert!(store.list(kind).unwrap().is_empty());
    }
    println!("refused");
}

#[test]
fn a_file_size_limit_leaves_nothing() {
    let (_dir, store) = store();
    let out = common::helper("helper_fills_the_disk", store.root()).env("STORE_TEST_FSIZE", "1").output().unwrap();
    assert!(out.status.success() && String::from_utf8_lossy(&out.stdout).contains("refused"), "{out:?}");
}

#[test]
fn a_full_disk_leaves_nothing() {
    let (dir, _) = store();
    // A tmpfs of 1 MiB in a mount namespace of the child's own.
    let script = r#"mount -t tmpfs -o size=1m tmpfs "$STORE_TEST_ROOT" && exec "$@""#;
    let unshare = |args: &[&std::ffi::OsStr]| {
        let mut command = std::process::Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]).args(args);
        command.env("STORE_TEST_ROOT", dir.path()).output()
    };
    match unshare(&["true".as_ref()]) {
        Ok(out) if out.status.success() => (),
        Ok(out) => {
            return common::skip("a_full_disk_leaves_nothing", String::from_utf8_lossy(&out.stderr).trim());
        }
        Err(e) => return common::skip("a_full_disk_leaves_nothing", &format!("unshare: {e}")),
    }
    let exe = std::env::current_exe().unwrap();
    let args = ["helper_fills_the_disk", "--exact", "--nocapture"].map(std::ffi::OsStr::new);
    let out = unshare(&[&[exe.as_os_str()], &args[..]].concat()).unwrap();
    assert!(out.status.success() && String::from_utf8_lossy(&out.stdout).contains("refused"), "{out:?}");
}
