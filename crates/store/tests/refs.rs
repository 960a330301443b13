//! Tags are set atomically, and read only in the shapes that the loader accepts too.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test panics where it fails")]

mod common;

use snapfn_store::{Digest, Image, Kind, Name, Ref, Store, StoreError, Stores, Summary, collect};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

fn with_snapshot() -> (TempDir, Store, Digest) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path());
    let digest = store.begin().unwrap().put_bytes(Kind::Snap, b"snapshot").unwrap().digest;
    (dir, store, digest)
}

fn search(roots: &[&Store]) -> Stores {
    let list = roots.iter().map(|s| s.root().to_str().unwrap()).collect::<Vec<_>>().join(":");
    Stores::from_vars(|name| (name == "SNAPFN_STORE").then(|| OsString::from(&list)))
}

#[test]
fn a_tag_is_the_symlink_that_the_loader_expects() {
    let (_dir, store, digest) = with_snapshot();
    let reference = Ref::parse("fn").unwrap();
    store.begin().unwrap().set_ref(&reference, digest).unwrap();
    let link = fs::read_link(store.root().join("refs/fn/latest")).unwrap();
    assert_eq!(link.to_str().unwrap(), format!("../../snap/{digest}"));
    assert_eq!(fs::read(store.root().join("refs/fn/latest")).unwrap(), b"snapshot");
    assert_eq!(store.read_ref(&reference).unwrap(), Some(digest));
    let resolved = search(&[&store]).resolve(&reference).unwrap();
    assert_eq!((resolved.blob.digest, resolved.blob.size), (digest, 8));
}

#[test]
fn setting_again_replaces_and_removing_leaves_the_others() {
    let (_dir, store, first) = with_snapshot();
    let tx = store.begin().unwrap();
    let second = tx.put_bytes(Kind::Snap, b"another").unwrap().digest;
    let [v1, v2] = ["fn:v1", "fn:v2"].map(|text| Ref::parse(text).unwrap());
    tx.set_ref(&v1, first).unwrap();
    tx.set_ref(&v2, first).unwrap();
    tx.set_ref(&v1, second).unwrap();
    assert_eq!(store.read_ref(&v1).unwrap(), Some(second));
    assert_eq!(store.tags(&v1.name).unwrap().len(), 2);
    assert!(store.remove_ref(&v1).unwrap());
    assert!(!store.remove_ref(&v1).unwrap());
    assert_eq!(store.read_ref(&v1).unwrap(), None);
    assert_eq!(store.read_ref(&v2).unwrap(), Some(first));
    assert!(store.remove_ref(&v2).unwrap());
    assert!(!store.root().join("refs/fn").exists());
}

#[test]
fn a_tag_for_a_snapshot_that_is_not_there_is_refused() {
    let (_dir, store, _) = with_snapshot();
    let reference = Ref::parse("fn").unwrap();
    let error = store.begin().unwrap().set_ref(&reference, Digest([7; 32])).unwrap_err();
    assert!(matches!(error, StoreError::Missing { kind: Kind::Snap, .. }), "{error}");
    assert!(!store.root().join("refs/fn").exists());
}

#[test]
fn hostile_links_are_refused() {
    let (dir, store, digest) = with_snapshot();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("snap")).unwrap();
    fs::write(outside.path().join("snap").join(digest.to_string()), b"evil").unwrap();
    fs::create_dir(dir.path().join("refs/fn")).unwrap();
    let targets = [
        format!("{}/snap/{digest}", outside.path().display()),
        format!("../../../{}/snap/{digest}", outside.path().file_name().unwrap().to_str().unwrap()),
        format!("../../snap/../snap/{digest}"),
        format!("../../snap/{digest}/"),
        format!("../../snap//{digest}"),
        format!("../../snap/{}", digest.to_string().to_uppercase()),
        format!("../../code/{digest}"),
        "../../snap/".to_string(),
        "../../snap/..".to_string(),
        "nowhere".to_string(),
    ];
    for target in targets {
        let tag = dir.path().join("refs/fn/latest");
        symlink(&target, &tag).unwrap();
        let reference = Ref::parse("fn").unwrap();
        let error = search(&[&store]).resolve(&reference).unwrap_err();
        assert!(matches!(error, StoreError::BadRef { .. }), "{target}: {error}");
        assert!(store.refs().unwrap()[0].digest.is_err());
        // The remedy is to remove the link, which changes no other file.
        assert!(store.remove_ref(&reference).unwrap());
        fs::create_dir_all(dir.path().join("refs/fn")).unwrap();
    }
    assert_eq!(fs::read(outside.path().join("snap").join(digest.to_string())).unwrap(), b"evil");
}

#[test]
fn a_dangling_tag_names_what_is_missing() {
    let (dir, store, _) = with_snapshot();
    let gone = Digest([9; 32]);
    fs::create_dir(dir.path().join("refs/fn")).unwrap();
    symlink(format!("../../snap/{gone}"), dir.path().join("refs/fn/latest")).unwrap();
    let error = search(&[&store]).resolve(&Ref::parse("fn").unwrap()).unwrap_err();
    assert!(matches!(error, StoreError::Missing { kind: Kind::Snap, digest } if digest == gone), "{error}");
}

#[test]
fn other_things_in_place_of_a_tag_or_snapshot_are_refused() {
    let (dir, store, digest) = with_snapshot();
    let reference = Ref::parse("fn").unwrap();
    let snap = store.path(Kind::Snap, digest);
    store.begin().unwrap().set_ref(&reference, digest).unwrap();

    let fifo = |path: &std::path::Path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::remove_file(&snap).unwrap();
    fifo(&snap);
    let found = |expected: &str| {
        let resolved = search(&[&store]).resolve(&reference).map(|_| ());
        for result in [resolved, store.open(Kind::Snap, digest).map(|_| ())] {
            let error = result.unwrap_err();
            assert!(matches!(&error, StoreError::NotAFile { found, .. } if *found == expected), "{error}");
        }
    };
    found("a FIFO");
    fs::remove_file(&snap).unwrap();
    fs::create_dir(&snap).unwrap();
    found("a directory");
    fs::remove_dir(&snap).unwrap();
    symlink("/etc/passwd", &snap).unwrap();
    found("a symbolic link");

    let tag = dir.path().join("refs/fn/latest");
    for is_dir in [false, true] {
        fs::remove_file(&tag).unwrap();
        if is_dir {
            fs::create_dir(&tag).unwrap()
        } else {
            fs::write(&tag, b"x").unwrap()
        }
        assert!(matches!(store.read_ref(&reference), Err(StoreError::BadRef { .. })));
    }
}

#[test]
fn a_link_in_place_of_a_names_directory_is_not_followed() {
    let (dir, store, digest) = with_snapshot();
    let elsewhere = tempfile::tempdir().unwrap();
    let victim = elsewhere.path().join("latest");
    symlink(format!("../../snap/{digest}"), &victim).unwrap();
    symlink(elsewhere.path(), dir.path().join("refs/fn")).unwrap();
    let reference = Ref::parse("fn").unwrap();
    assert!(matches!(store.tags(&reference.name), Err(StoreError::BadRef { .. })));
    assert!(matches!(store.read_ref(&reference), Err(StoreError::BadRef { .. })));
    assert!(matches!(store.remove_ref(&reference), Err(StoreError::BadRef { .. })));
    assert!(store.begin().unwrap().set_ref(&reference, digest).is_err());
    assert!(fs::symlink_metadata(&victim).is_ok());
}

#[test]
fn the_first_store_with_the_tag_wins() {
    let (_a, first, digest) = with_snapshot();
    let (_b, second, _) = with_snapshot();
    let both = search(&[&first, &second]);
    let reference = Ref::parse("fn").unwrap();
    let error = both.resolve(&reference).unwrap_err();
    assert!(matches!(&error, StoreError::UnknownRef { .. }), "{error}");
    assert!(error.to_string().contains(second.root().to_str().unwrap()));

    second.begin().unwrap().set_ref(&reference, digest).unwrap();
    assert_eq!(both.resolve(&reference).unwrap().store, second);
    first.begin().unwrap().set_ref(&reference, digest).unwrap();
    assert_eq!(both.resolve(&reference).unwrap().store, first);
    assert_eq!(both.writable().unwrap(), &first);

    let code = second.begin().unwrap().put_bytes(Kind::Code, b"code").unwrap();
    assert_eq!(both.find(Kind::Code, code.digest), Some(code.path));
    assert_eq!(both.find(Kind::Init, code.digest), None);
}

#[test]
fn what_is_no_name_is_passed_over() {
    let (dir, store, digest) = with_snapshot();
    fs::create_dir(dir.path().join("refs/.hidden")).unwrap();
    fs::create_dir(dir.path().join("refs/with space")).unwrap();
    fs::write(dir.path().join("snap/README"), b"").unwrap();
    assert!(store.refs().unwrap().is_empty());
    assert_eq!(store.list(Kind::Snap).unwrap().len(), 1);
    assert!(store.tags(&Ref::parse("none").unwrap().name).unwrap().is_empty());
    let _: &Name = &Ref::parse("none").unwrap().tag;
    assert!(store.blob(Kind::Snap, digest).unwrap().is_some());
}

#[test]
fn variants_are_one_set_that_is_replaced_at_once() {
    let (_dir, store, first) = with_snapshot();
    let tx = store.begin().unwrap();
    let others = ["b", "c"].map(|text| tx.put_bytes(Kind::Snap, text.as_bytes()).unwrap().digest);
    let three = [first, others[0], others[1]];
    let reference = Ref::parse("fn").unwrap();
    tx.set_variants(&reference, &three).unwrap();
    assert_eq!(store.variants(&reference).unwrap().unwrap(), three);
    assert_eq!(store.read_ref(&reference).unwrap(), Some(first));
    assert_eq!(search(&[&store]).variants(&reference).unwrap(), three);
    assert_eq!(store.refs().unwrap()[0].variants, three);
    let link = fs::read_link(store.root().join("refs/fn/latest")).unwrap();
    let link = link.to_str().unwrap();
    assert!(link.starts_with("../../sets/") && link.ends_with("/2"), "{link}");
    // The link leads to a snapshot.
    assert_eq!(fs::read(store.root().join("refs/fn/latest")).unwrap(), b"c");
    // The same variants again use the existing set. Fewer make another set, and one needs no set.
    tx.set_variants(&reference, &three).unwrap();
    tx.set_variants(&Ref::parse("two").unwrap(), &others).unwrap();
    assert_eq!(fs::read_dir(store.root().join("sets")).unwrap().count(), 2);
    tx.set_variants(&reference, &others[..1]).unwrap();
    assert_eq!(store.variants(&reference).unwrap().unwrap(), others[..1]);
    for count in [0, 65] {
        let error = tx.set_variants(&reference, &vec![first; count]).unwrap_err();
        assert!(matches!(error, StoreError::Variants(wrong) if wrong == count), "{error}");
    }
    assert!(tx.set_variants(&reference, &[first, Digest([1; 32])]).is_err());
    assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_set_that_was_tampered_with_is_refused() {
    let (_dir, store, first) = with_snapshot();
    let tx = store.begin().unwrap();
    let second = tx.put_bytes(Kind::Snap, b"b").unwrap().digest;
    let reference = Ref::parse("fn").unwrap();
    tx.set_variants(&reference, &[first, second]).unwrap();
    let set = fs::read_dir(store.root().join("sets")).unwrap().next().unwrap().unwrap().path();
    for (index, target) in [("1", format!("../../snap/{first}")), ("0", "/etc/passwd".to_owned())] {
        fs::remove_file(set.join(index)).unwrap();
        assert!(matches!(store.variants(&reference), Err(StoreError::BadRef { .. })));
        symlink(target, set.join(index)).unwrap();
        assert!(matches!(store.variants(&reference), Err(StoreError::BadRef { .. })));
    }
}

#[test]
fn what_a_pulled_tag_brought_is_garbage_when_the_tag_moves() {
    let (_dir, store, first) = with_snapshot();
    let tx = store.begin().unwrap();
    let second = tx.put_bytes(Kind::Snap, b"b").unwrap().digest;
    let image = |text: &str| Image::parse(text).unwrap();
    let (tag, pinned) = (image("h.example/fn:v1"), image(&format!("h.example/fn@sha256:{}", "1".repeat(64))));
    tx.set_pulled(&tag, &[first]).unwrap();
    drop(tx);
    let kept = || collect(&store, &|_| Ok(Summary::default()), false).unwrap().kept;
    let tx = store.begin().unwrap();
    tx.set_pulled(&tag, &[second]).unwrap();
    drop(tx);
    assert_eq!((kept(), store.path(Kind::Snap, first).exists()), (1, false));
    // A snapshot that was pulled by its digest stays, also when tags change.
    let tx = store.begin().unwrap();
    tx.set_pulled(&pinned, &[second]).unwrap();
    drop(tx);
    assert!(store.remove_pulled(&tag).unwrap() && !store.remove_pulled(&tag).unwrap());
    assert_eq!((kept(), store.pulled(&pinned).unwrap()), (1, Some(vec![second])));
    assert!(store.remove_pulled(&pinned).unwrap());
    assert_eq!(kept(), 0);
}

#[test]
fn pulled_images_are_kept_and_found_like_tags() {
    let (_dir, store, first) = with_snapshot();
    let tx = store.begin().unwrap();
    let second = tx.put_bytes(Kind::Snap, b"b").unwrap().digest;
    let image = Image::parse("127.0.0.1:5000/team/fn:v1").unwrap();
    assert_eq!(store.pulled(&image).unwrap(), None);
    tx.set_pulled(&image, &[first]).unwrap();
    let link = fs::read_link(store.root().join("pulled/127.0.0.1:5000+team+fn/v1")).unwrap();
    assert_eq!(link.to_str().unwrap(), format!("../../snap/{first}"));
    let by_digest = Image::parse(&format!("127.0.0.1:5000/team/fn@sha256:{}", "0a".repeat(32))).unwrap();
    tx.set_pulled(&by_digest, &[first, second]).unwrap();
    assert_eq!(store.pulled(&image).unwrap().unwrap(), [first]);
    assert_eq!(search(&[&store]).pulled(&by_digest).unwrap().unwrap(), [first, second]);
    let all: Vec<_> = store.pulled_images().unwrap().into_iter().map(|entry| entry.image).collect();
    assert_eq!(all, [by_digest.clone(), image.clone()]);
    drop(tx);
    let kept = |store: &Store| collect(store, &|_| Ok(Summary::default()), false).unwrap().kept;
    assert_eq!(kept(&store), 2);
    assert!(store.remove_pulled(&by_digest).unwrap() && !store.remove_pulled(&by_digest).unwrap());
    assert_eq!((kept(&store), fs::read_dir(store.root().join("sets")).unwrap().count()), (1, 0));
    // A link that leads elsewhere is refused, and stops a garbage collection.
    let path = store.root().join("pulled/127.0.0.1:5000+team+fn/v1");
    fs::remove_file(&path).unwrap();
    symlink("/etc/passwd", &path).unwrap();
    assert!(matches!(store.pulled(&image), Err(StoreError::BadRef { .. })));
    assert!(collect(&store, &|_| Ok(Summary::default()), false).is_err());
}
