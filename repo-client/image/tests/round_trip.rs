//! From a store to layers and back.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test panics where it fails")]

mod common;

use common::{loader, noise, store_snapshot};
use proptest::prelude::*;
use snapfn_format::snap::{FILE_DATA, OP_MAP_FILE, OP_READ};
use snapfn_image::*;
use snapfn_store::{Digest, Kind, Ref, SnapshotMeta, Store, Stores};
use std::path::Path;

fn stores(root: &Path) -> (Store, Stores) {
    let list = root.as_os_str().to_os_string();
    let stores = Stores::from_vars(|name| (name == "SNAPFN_STORE").then(|| list.clone()));
    (Store::at(root), stores)
}

/// Memory with noise, repetitions and a large hole.
fn memory() -> Vec<u8> {
    let mut bytes = noise(7, 5 << 20);
    bytes.extend(vec![0; 9 << 20]);
    bytes.extend(noise(8, 3 << 20));
    bytes
}

struct Image {
    plan: ImagePlan,
    layers: Vec<(Vec<u8>, WrittenLayer)>,
    manifest: Document,
    config: Document,
}

fn image(stores: &Stores, inputs: &[Input], loader: &Path, compression: Compression) -> Image {
    let plan = plan(stores, inputs, loader, &mut |_| ()).unwrap();
    let layers: Vec<_> = plan
        .layers
        .iter()
        .map(|layer| {
            let mut bytes = Vec::new();
            let written = layer.write(compression, &mut bytes, &mut |_| ()).unwrap();
            (bytes, written)
        })
        .collect();
    let list: Vec<_> = plan.layers.iter().zip(&layers).map(|(plan, (_, layer))| (plan.kind, layer.clone())).collect();
    let (config, manifest) = documents(&plan.index, &list, None).unwrap();
    Image { plan, layers, manifest, config }
}

fn input(name: &str, digest: Digest) -> Input {
    Input { reference: Ref::parse(name).unwrap(), digest }
}

#[test]
fn what_goes_in_comes_out() {
    let dir = tempfile::tempdir().unwrap();
    let (store, stores) = stores(&dir.path().join("store"));
    let digest = store_snapshot(&store, "fn", 1, &memory());
    for compression in [Compression::Zstd, Compression::Gzip] {
        let image = image(&stores, &[input("fn", digest)], &loader(dir.path()), compression);
        let view = ManifestView::parse(&image.manifest.bytes).unwrap().image(&image.config.bytes).unwrap();
        assert_eq!(view.index, image.plan.index);
        assert!(view.layers.len() <= MAX_LAYERS && view.index.snapshots[0].parts.len() > 1);

        let into = Store::at(dir.path().join(compression.media_type().replace('/', "_")));
        let transaction = into.begin().unwrap();
        let mut snapshot = Filler::new(transaction.writer(Kind::Snap).unwrap());
        for (index, (bytes, written)) in image.layers.iter().enumerate() {
            assert_eq!(written.digest, view.layers[index].digest);
            let expected = view.index.expected(index);
            if expected.is_empty() {
                continue;
            }
            let files: Vec<_> = view.index.files.iter().filter(|file| file.layer == index).collect();
            let mut contents = vec![Vec::new(); expected.len()];
            unpack(&bytes[..], &expected, &mut |at, bytes| {
                contents[at].extend_from_slice(bytes);
                Ok(())
            })
            .unwrap();
            for (at, content) in contents.iter().enumerate() {
                match files.get(at) {
                    None => snapshot.append(content).unwrap(),
                    Some(file) => {
                        let stored = transaction.put_bytes(file.kind().unwrap(), content).unwrap();
                        assert_eq!(stored.digest, file.digest.0);
                    }
                }
            }
            check_index(&view.layers[index], bytes, &expected, &contents, compression);
        }
        let stored = snapshot.commit_as(digest).unwrap();
        assert!(into.blob(Kind::Snap, digest).unwrap().unwrap().allocated < stored.size - (5 << 20), "the hole stays");
    }
}

/// The digest of an image whose content is always the same. Registries and hosts share what has equal digests, so a
/// change of a layer's bytes makes all of them fetch it again: it belongs in CHANGELOG.md. Another version of zstd
/// changes them, too.
#[test]
fn an_image_of_the_same_content_keeps_its_digest() {
    const MANIFEST: &str = "86c849cf71c8fd2f07894a20095c8efc97608fbc3982287a57853bb658011af3";
    let dir = tempfile::tempdir().unwrap();
    let (store, stores) = stores(&dir.path().join("store"));
    let digest = store_snapshot(&store, "fn", 1, &memory());
    let image = image(&stores, &[input("fn", digest)], &loader(dir.path()), Compression::Zstd);
    let layers: Vec<String> = image.layers.iter().map(|(_, layer)| layer.digest.to_string()).collect();
    assert_eq!(image.manifest.digest.to_string(), MANIFEST, "{layers:#?}");
}

/// The index of a layer leads to every chunk of its files.
fn check_index(
    blob: &BlobRef,
    bytes: &[u8],
    expected: &[ExpectedFile],
    contents: &[Vec<u8>],
    compression: Compression,
) {
    let Some(position) = blob.toc() else {
        assert_eq!(compression, Compression::Gzip);
        return;
    };
    let toc = Toc::parse(&bytes[position.offset as usize..][..position.len as usize], &position).unwrap();
    assert_eq!(toc.files.len(), expected.len());
    for ((file, expected), content) in toc.files.iter().zip(expected).zip(contents) {
        assert_eq!((&file.name, file.size), (&expected.name, expected.size));
        let mut whole = Vec::new();
        for chunk in &file.chunks {
            let frame = &bytes[chunk.blob_offset as usize..][..chunk.blob_len as usize];
            whole.extend(decode_chunk(frame, chunk).unwrap());
        }
        assert!(whole == *content);
    }
}

#[test]
fn the_same_input_gives_the_same_image() {
    let dir = tempfile::tempdir().unwrap();
    let loader = loader(dir.path());
    let digests: Vec<_> = ["a", "b"]
        .map(|name| {
            let (store, stores) = stores(&dir.path().join(name));
            let digest = store_snapshot(&store, "fn:v1", 1, &memory());
            image(&stores, &[input("fn:v1", digest)], &loader, Compression::Zstd).manifest.digest
        })
        .into();
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn the_split_form_names_the_parts() {
    let dir = tempfile::tempdir().unwrap();
    let (store, stores) = stores(&dir.path().join("store"));
    let digest = store_snapshot(&store, "fn", 1, &memory());
    let plan = plan(&stores, &[input("fn", digest)], &loader(dir.path()), &mut |_| ()).unwrap();
    let parts: Vec<Part> = plan.index.snapshots[0]
        .parts
        .iter()
        .scan(0, |offset, part| {
            let found = Part { offset: *offset, len: part.size, digest: part.digest.0 };
            *offset += part.size;
            Some(found)
        })
        .collect();
    let meta = SnapshotMeta::read(&store.open(Kind::Snap, digest).unwrap()).unwrap();
    let original = std::fs::read(store.path(Kind::Snap, digest)).unwrap();
    let split = split_form(&meta.plan().unwrap(), digest, &parts).unwrap();
    let path = dir.path().join("split");
    std::fs::write(&path, &split).unwrap();
    let split = SnapshotMeta::read(&std::fs::File::open(&path).unwrap()).unwrap();
    let (before, after) = (meta.plan().unwrap(), split.plan().unwrap());
    // The new place of each byte of the original.
    let first = before.files.len();
    let part = |file: u16, offset: u64, len: u64| {
        let part = &parts[usize::from(file) - first];
        assert_eq!(
            (after.files[usize::from(file)].kind, after.files[usize::from(file)].digest),
            (FILE_DATA, part.digest)
        );
        assert!(offset + len <= part.len);
        original[(part.offset + offset) as usize..][..len as usize].to_vec()
    };
    let stored = |op: &&snapfn_format::snap::Op| op.kind == OP_READ || op.kind == OP_MAP_FILE && op.file == 0;
    for op in before.ops.iter().filter(stored) {
        let pieces = after.ops.iter().filter(|piece| {
            piece.kind == op.kind && piece.addr >= op.addr && piece.addr + piece.len <= op.addr + op.len
        });
        let bytes: Vec<u8> = pieces.flat_map(|piece| part(piece.file, piece.offset, piece.len)).collect();
        assert!(bytes == original[op.offset as usize..][..op.len as usize]);
    }
    let content = |plan: &snapfn_format::snap::Plan<'_>| plan.fd_steps.iter().filter(|step| step.kind == 1).count();
    assert!(content(&before) == 1 && content(&after) > 1, "the content crosses parts");
}

#[test]
fn libraries_have_layers_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let (store, stores) = stores(&dir.path().join("store"));
    let loader = loader(dir.path());
    let images = ["one", "two"].map(|name| {
        let digest = store_snapshot(&store, name, name.len() as u64 + u64::from(name == "two"), &noise(9, 1 << 20));
        image(&stores, &[input(name, digest)], &loader, Compression::Zstd)
    });
    let loaders = images.each_ref().map(|image| image.layers[0].1.digest);
    assert_eq!(loaders[0], loaders[1]);
}

#[test]
fn variants_share_an_image() {
    let dir = tempfile::tempdir().unwrap();
    let (store, stores) = stores(&dir.path().join("store"));
    let digests = [10, 11].map(|seed| store_snapshot(&store, "fn", 1, &noise(seed, 2 << 20)));
    let inputs = digests.map(|digest| input("fn", digest));
    let image = image(&stores, &inputs, &loader(dir.path()), Compression::Zstd);
    let view = ManifestView::parse(&image.manifest.bytes).unwrap().image(&image.config.bytes).unwrap();
    assert_eq!(view.index.snapshots.iter().map(|snapshot| snapshot.digest.0).collect::<Vec<_>>(), digests);

    // In another manifest, one part's layer takes the place of another's.
    let [first, last] = [0, 1].map(|snapshot| &view.layers[view.index.snapshots[snapshot].parts[0].layer]);
    let text = String::from_utf8(image.manifest.bytes.clone()).unwrap();
    let doubled = text.replace(&last.digest.to_string(), &first.digest.to_string());
    assert_ne!(doubled, text);
    let error = ManifestView::parse(doubled.as_bytes()).unwrap().image(&image.config.bytes).unwrap_err();
    assert!(error.to_string().contains("a layer twice"), "{error}");
}

#[test]
fn damage_in_the_store_is_found_before_anything_is_sent() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (store, stores) = stores(&dir.path().join("store"));
    let digest = store_snapshot(&store, "fn", 1, &memory());
    let path = store.path(Kind::Snap, digest);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = plan(&stores, &[input("fn", digest)], &loader(dir.path()), &mut |_| ()).unwrap_err();
    assert!(matches!(error, ImageError::Damaged { .. }), "{error}");
}

/// Digests of the parts of some bytes.
fn cut(bytes: &[u8], count: usize) -> Vec<Part> {
    let file = tempfile::tempfile().unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, bytes, 0).unwrap();
    let (parts, _) = parts(&file, Path::new("x"), bytes.len() as u64, count, &mut |_| ()).unwrap();
    let mut at = 0;
    for part in &parts {
        assert_eq!((part.offset, part.offset % 4096), (at, 0));
        at += part.len;
    }
    assert_eq!(at, bytes.len() as u64);
    assert!(parts.len() <= count);
    parts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    /// If few pages change or are inserted, at any place, few parts change.
    #[test]
    fn cutting_is_stable(seed in any::<u64>(), page in 0usize..6000, insert in any::<bool>()) {
        let before = noise(seed, 24 << 20);
        let mut after = before.clone();
        let at = page * 4096;
        match insert {
            true => drop(after.splice(at..at, noise(!seed, 3 * 4096))),
            false => after[at..at + 4096].copy_from_slice(&noise(!seed, 4096)),
        }
        let (before, after) = (cut(&before, 40), cut(&after, 40));
        let new = after.iter().filter(|part| !before.iter().any(|known| known.digest == part.digest)).count();
        prop_assert!(new <= 4, "{new} of {} parts are new", after.len());
    }

    #[test]
    fn there_are_never_too_many_parts(seed in any::<u64>(), mib in 0usize..12, count in 1usize..50) {
        cut(&noise(seed, mib << 20), count);
    }
}

/// A layer of one small file, with its index.
fn small_layer() -> (Vec<u8>, BlobRef, Vec<ExpectedFile>) {
    let dir = tempfile::tempdir().unwrap();
    let (store, stores) = stores(&dir.path().join("store"));
    let digest = store_snapshot(&store, "fn", 1, &noise(3, 300 << 10));
    let image = image(&stores, &[input("fn", digest)], &loader(dir.path()), Compression::Zstd);
    let view = ManifestView::parse(&image.manifest.bytes).unwrap().image(&image.config.bytes).unwrap();
    let index = view.index.snapshots[0].parts[0].layer;
    (image.layers[index].0.clone(), view.layers[index].clone(), view.index.expected(index))
}

#[test]
fn hostile_layers_write_nothing_but_what_is_expected() {
    let (bytes, _, expected) = small_layer();
    let size = expected[0].size as usize;
    let read = |layer: &[u8], expected: &[ExpectedFile]| {
        let mut len = 0;
        let result = unpack(layer, expected, &mut |_, bytes| {
            len += bytes.len();
            Ok(())
        });
        (result.map_err(|e| e.to_string()), len)
    };
    assert_eq!(read(&bytes, &expected), (Ok(()), size));
    for cut in [0, 1, 100, bytes.len() / 2] {
        let (result, len) = read(&bytes[..cut], &expected);
        assert!(result.is_err() && len <= size);
    }
    let other = [ExpectedFile { name: expected[0].name.replace("data", "code"), ..expected[0].clone() }];
    assert!(read(&bytes, &other).0.unwrap_err().contains("where var/lib/snapfn/code/"));
    let other = [ExpectedFile { size: expected[0].size - 512, ..expected[0].clone() }];
    assert!(read(&bytes, &other).0.unwrap_err().contains("does not have"));
    assert!(read(&bytes, &[]).0.unwrap_err().contains("more than it should"));
    // The reader stops at the end of the expected files, even if the stream never ends.
    struct Endless;
    impl std::io::Read for Endless {
        fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
            bytes.fill(0);
            Ok(bytes.len())
        }
    }
    assert!(unpack(Endless, &expected, &mut |_, _| Ok(())).is_err());
}

#[test]
fn a_forged_index_is_refused() {
    let (bytes, blob, _) = small_layer();
    let position = blob.toc().unwrap();
    let index = &bytes[position.offset as usize..][..position.len as usize];
    let toc = Toc::parse(index, &position).unwrap();
    assert!(toc.files[0].chunks.len() > 1);
    let mut flipped = index.to_vec();
    flipped[20] ^= 1;
    assert!(Toc::parse(&flipped, &position).is_err(), "its digest");
    let json = String::from_utf8(zstd::bulk::decompress(index, 1 << 20).unwrap()).unwrap();
    let forge = |from: &str, to: &str| {
        assert!(json.contains(from), "{from} in {json}");
        let index = zstd::bulk::compress(json.replacen(from, to, 1).as_bytes(), 3).unwrap();
        let digest = Digest(
            sha2::Digest::finalize(sha2::Digest::chain_update(<sha2::Sha256 as sha2::Digest>::new(), &index)).into(),
        );
        let position = TocPosition { len: index.len() as u64, json_len: 1 << 20, digest, ..position.clone() };
        Toc::parse(&index, &position).map_err(|e| e.to_string())
    };
    assert!(forge("\"version\":1", "\"version\":1").is_ok());
    for (from, to) in [
        ("\"version\":1", "\"version\":9"),
        ("\"type\":\"reg\"", "\"type\":\"symlink\""),
        ("\"chunkSize\":", "\"chunkSize\":9"),
        ("\"endOffset\":", "\"endOffset\":99999999"),
        ("\"chunkOffset\":", "\"chunkOffset\":7"),
        ("\"chunkDigest\":\"sha256:", "\"chunkDigest\":\"md5:"),
        ("\"size\":", "\"size\":1"),
    ] {
        assert!(forge(from, to).is_err(), "{from} → {to}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let expected = [ExpectedFile { name: "var/lib/snapfn/data/x".into(), size: 10 }];
        prop_assert!(unpack(&bytes[..], &expected, &mut |_, _| Ok(())).is_err());
        let _ = ManifestView::parse(&bytes);
    }
}
