//! From the manifest's digest to every byte in the store: if a registry breaks a link of the chain, the pull detects it
//! before a file has a name, and names the layer.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

#[path = "../../image/tests/common/mod.rs"]
mod common;

use common::{loader, noise, store_snapshot};
use serde_json::{Value, json};
use snapfn_distribution::{PullOptions, PushOptions, Repo};
use snapfn_image::{CHECKSUM_ANNOTATION, MANIFEST_TYPE, ManifestView, POSITION_ANNOTATION, TocPosition};
use snapfn_registry::{ClientOptions, Reference};
use snapfn_store::{Digest, Kind, Ref, Store, Stores};
use snapfn_testkit::{Hostile, digest};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Two versions of a snapshot in a registry, with the parts of the second that a liar needs.
struct Stage {
    dir: TempDir,
    registry: Hostile,
    manifest: Value,
    /// Index of the layer in which the second differs.
    changed: usize,
    blob: Vec<u8>,
    position: TocPosition,
    toc: Value,
    /// The chunk of it that only the second has: index in the list of the TOC, first byte and length of its frame.
    chunk: (usize, usize, usize),
    second: Digest,
}

fn repo(root: PathBuf) -> (Repo, Store) {
    let list = root.clone().into_os_string();
    let stores = Stores::from_vars(|var| (var == "SNAPFN_STORE").then(|| list.clone()));
    let client =
        ClientOptions { plain_http: true, backoff: Duration::from_millis(1), retries: 1, ..Default::default() };
    (Repo { stores, client, events: Arc::new(|_: snapfn_distribution::Event<'_>| ()) }, Store::at(root))
}

/// The index at that place of a layer.
fn toc(blob: &[u8], position: &TocPosition) -> Value {
    let compressed = &blob[position.offset as usize..][..position.len as usize];
    serde_json::from_slice(&zstd::bulk::decompress(compressed, position.json_len as usize).unwrap()).unwrap()
}

fn chunk_digests(toc: &Value) -> BTreeSet<String> {
    toc["entries"].as_array().unwrap().iter().filter_map(|e| Some(e["chunkDigest"].as_str()?.to_string())).collect()
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let registry = Hostile::start();
        let (sender, store) = repo(dir.path().join("sender"));
        let mut memory = noise(4, 3 << 20);
        store_snapshot(&store, "fn:v1", 1, &memory);
        memory[2 << 20..][..4096].copy_from_slice(&noise(99, 4096));
        let second = store_snapshot(&store, "fn:v2", 1, &memory);
        let options = PushOptions { allow_secrets: true, ..PushOptions::new(loader(dir.path())) };
        let layers = ["v1", "v2"].map(|tag| {
            let to = Reference::parse(&format!("{}/fn:{tag}", registry.host()), None).unwrap();
            sender.push(&Ref::parse(format!("fn:{tag}")).unwrap(), &to, &options).unwrap();
            ManifestView::parse(&registry.get_manifest("fn", tag).unwrap()).unwrap().layers
        });
        let is_old = |at: &usize| layers[0].iter().any(|layer| layer.digest == layers[1][*at].digest);
        // The split form differs as well, but is never pulled.
        let changed = (0..layers[1].len() - 1).find(|at| !is_old(at)).unwrap();
        let layer = &layers[1][changed];
        let blob = registry.get_blob(&format!("sha256:{}", layer.digest)).unwrap();
        let position = layer.toc().unwrap();
        let index = toc(&blob, &position);
        let known: BTreeSet<String> = layers[0]
            .iter()
            .filter_map(|layer| Some(toc(&registry.get_blob(&format!("sha256:{}", layer.digest))?, &layer.toc()?)))
            .flat_map(|toc| chunk_digests(&toc))
            .collect();
        let entries = index["entries"].as_array().unwrap();
        let new = |entry: &Value| entry["chunkDigest"].as_str().is_some_and(|digest| !known.contains(digest));
        let at = entries.iter().position(new).unwrap();
        let begin = entries[at]["offset"].as_u64().unwrap() as usize;
        let end = entries.get(at + 1).map_or(&entries[0]["endOffset"], |next| &next["offset"]).as_u64().unwrap();
        let chunk = (at, begin, end as usize - begin);
        let manifest = serde_json::from_slice(&registry.get_manifest("fn", "v2").unwrap()).unwrap();
        Stage { dir, registry, manifest, changed, blob, position, toc: index, chunk, second }
    }

    fn layer(&self) -> String {
        self.manifest["layers"][self.changed]["digest"].as_str().unwrap().to_owned()
    }

    /// Stores a manifest under a new name, in which the changed layer is this blob, with its index at this place.
    fn put(&self, tag: &str, blob: &[u8], offset: usize, index: &[u8], json_len: usize) -> String {
        let mut manifest = self.manifest.clone();
        let layer = &mut manifest["layers"][self.changed];
        layer["digest"] = json!(self.registry.blob(blob));
        layer["size"] = json!(blob.len());
        layer["annotations"][CHECKSUM_ANNOTATION] = json!(digest(index));
        layer["annotations"][POSITION_ANNOTATION] = json!(format!("{offset}:{}:{json_len}:1", index.len()));
        self.registry.manifest("fn", tag, MANIFEST_TYPE, manifest.to_string().as_bytes());
        digest(blob)
    }

    /// Pulls a version into a store that has the first (so that only chunks are fetched), or into an empty one. The
    /// pull refuses the content, names the layer, and leaves no file.
    #[track_caller]
    fn refused(&self, target: &str, layer: &str, why: &str) {
        for first in [true, false] {
            let root = self.dir.path().join("receiver");
            let (receiver, store) = repo(root.clone());
            let pull = |target: &str, name: &str| {
                let from = Reference::parse(&format!("{}/fn{target}", self.registry.host()), None).unwrap();
                let options = PullOptions { tag: Some(Ref::parse(name).unwrap()), jobs: 2, ..PullOptions::default() };
                receiver.pull(&from, &options).map_err(|error| error.to_string())
            };
            if first {
                pull(":v1", "fn:v1").unwrap();
            }
            let before = self.registry.requests().len();
            let error = pull(target, "fn:v2").unwrap_err();
            let ranged =
                self.registry.requests()[before..].iter().any(|r| r.path().contains(layer) && r.get("range").is_some());
            assert_eq!(
                ranged && !layer.is_empty(),
                first && !layer.is_empty(),
                "chunks are fetched where there is a first version"
            );
            assert!(error.contains(layer) && (error.contains(why) || !first), "{error}");
            assert!(!error.contains('\n'));
            assert_eq!(store.blob(Kind::Snap, self.second).unwrap(), None);
            assert_eq!(store.refs().unwrap().len(), usize::from(first), "no tag");
            assert_eq!(store.pulled_images().unwrap().len(), usize::from(first));
            for kind in Kind::ALL {
                for blob in store.list(kind).unwrap() {
                    store.verify(&blob, &mut |_| ()).unwrap();
                }
            }
            for dir in ["tmp", "transfers"] {
                let left = std::fs::read_dir(root.join(dir)).into_iter().flatten().map(|e| e.unwrap().file_name());
                let hex = layer.strip_prefix("sha256:").unwrap_or("sha256");
                let left: Vec<_> = left.filter(|name| dir == "tmp" || name.to_string_lossy().contains(hex)).collect();
                assert!(left.is_empty(), "{dir}: {left:?}");
            }
            let _ = std::fs::remove_dir_all(root);
        }
    }
}

#[test]
fn every_link_is_checked() {
    let stage = Stage::new();
    let layer = stage.layer();
    let (at, begin, len) = stage.chunk;
    let flip = |place: usize| {
        let mut blob = stage.blob.clone();
        blob[place] ^= 0x20;
        stage.registry.blob_as(&layer, &blob);
    };

    // The manifest itself, requested by digest, names configuration, layers and their indices.
    let honest = stage.registry.get_manifest("fn", "v2").unwrap();
    let name = digest(&honest);
    let other =
        stage.manifest.to_string().replacen("manifest-checksum\":\"sha256:", "manifest-checksum\":\"sha256:0", 1);
    stage.registry.manifest_as("fn", &name, MANIFEST_TYPE, other.as_bytes());
    stage.refused(&format!("@{name}"), "", "digest");
    stage.registry.manifest_as("fn", &name, MANIFEST_TYPE, &honest);

    // Manifest → index.
    flip(stage.position.offset as usize + 12);
    stage.refused(":v2", &layer, "the digest of its index is not the one in the manifest");
    // Index → chunk.
    flip(begin + len / 2);
    stage.refused(":v2", &layer, "the chunk at byte");
    stage.registry.blob_as(&layer, &stage.blob);

    // Configuration → file: a liar pushes another chunk, with an index and a manifest that agree with it. Noise cannot
    // be compressed, so the frame is as long as the honest one.
    let size = stage.toc["entries"][at]["chunkSize"].as_u64().unwrap() as usize;
    let content = noise(7, size);
    let frame = zstd::bulk::compress(&content, 3).unwrap();
    assert_eq!(frame.len(), len);
    let mut blob = stage.blob[..stage.position.offset as usize - 8].to_vec();
    blob[begin..begin + len].copy_from_slice(&frame);
    let mut index = stage.toc.clone();
    index["entries"][at]["chunkDigest"] = json!(digest(&content));
    let json = index.to_string();
    let compressed = zstd::bulk::compress(json.as_bytes(), 3).unwrap();
    blob.extend([0x50, 0x2a, 0x4d, 0x18]);
    blob.extend((compressed.len() as u32).to_le_bytes());
    let offset = blob.len();
    blob.extend(&compressed);
    let lie = stage.put("lie", &blob, offset, &compressed, json.len());
    stage.refused(":lie", &lie, "in it is another");

    // The honest image is still valid.
    let (receiver, store) = repo(stage.dir.path().join("honest"));
    let from = Reference::parse(&format!("{}/fn:v2", stage.registry.host()), None).unwrap();
    let pulled = receiver.pull(&from, &PullOptions { jobs: 2, ..PullOptions::default() }).unwrap();
    assert_eq!((pulled.snapshot, store.blob(Kind::Snap, stage.second).unwrap().is_some()), (stage.second, true));
}
