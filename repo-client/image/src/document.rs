//! Configuration and manifest of an image.
//!
//! The information for `snaprepo pull` is in one label of the configuration: engines that store an image anew keep the
//! configuration, but not the annotations of the manifest.

use crate::ImageError;
use crate::layer::{LayerKind, WrittenLayer};
use crate::plan::{MAX_LAYERS, STORE, stored};
use crate::tar::ExpectedFile;
use crate::toc::TocPosition;
use oci_spec::image::{Descriptor, ImageConfiguration, ImageManifest, MediaType};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use snapfn_format::snap::HostNeeds;
use snapfn_store::{Digest, Kind, Ref};
use std::collections::{BTreeMap, BTreeSet};
use zerocopy::FromBytes;

/// Label of the configuration that holds the [`Index`] as JSON.
pub const INDEX_LABEL: &str = "dev.snapfn.image";
/// Media type of a manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of a list of manifests for several platforms.
pub const LIST_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// Docker's names of these two types. Engines that store an image anew may use them.
pub const DOCKER_TYPES: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
/// Media type of a configuration.
pub const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";

/// Most bytes of a configuration.
pub const CONFIG_MAX: u64 = 2 << 20;
/// Engines stop at about that many layers.
const MAX_ALL_LAYERS: usize = 127;
const MAX_FILES: usize = 4096;
/// Largest exported init data file, in bytes, as `snapshotter create --init` reads it.
const INIT_MAX: u64 = 16 << 30;
/// Bytes of a layer beside those of a file that cannot be compressed.
const LAYER_ROOM: u64 = 1 << 20;
const MAX_SNAPSHOTS: usize = MAX_LAYERS;

/// A digest as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hex(pub Digest);

impl From<Digest> for Hex {
    fn from(digest: Digest) -> Self {
        Hex(digest)
    }
}

impl From<Hex> for String {
    fn from(hex: Hex) -> Self {
        hex.0.to_string()
    }
}

impl TryFrom<String> for Hex {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Digest::from_hex(text.as_bytes()).map(Hex).ok_or("not a SHA-256 in lower-case hexadecimal digits")
    }
}

/// What is in an image's layers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// [`Index::VERSION`].
    pub version: u32,
    /// `x86_64`.
    pub arch: String,
    /// Page size of the snapshots, bytes.
    pub page_size: u64,
    /// Number of layers that it describes: the last ones of the image. Indices of layers count from the first of them.
    pub layers: usize,
    /// The snapshots.
    pub snapshots: Vec<SnapshotEntry>,
    /// Code segment files and other files that the snapshots map, in the order of the layers.
    pub files: Vec<FileEntry>,
    /// The exported init data file of the only snapshot, if it was pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<InitEntry>,
}

/// An exported init data file. Its layer is in an artifact of its own, so that container engines do not fetch it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitEntry {
    /// Digest of the file.
    pub digest: Hex,
    /// Its size.
    pub size: u64,
    /// Digest of the layer that holds it.
    pub layer: Hex,
    /// Size of the layer.
    pub layer_size: u64,
}

impl InitEntry {
    /// The file in a layer that has been written.
    pub fn new(digest: Digest, size: u64, layer: &WrittenLayer) -> Self {
        InitEntry { digest: digest.into(), size, layer: layer.digest.into(), layer_size: layer.size }
    }

    /// The layer. It is fetched as a whole: the index of its chunks is not recorded.
    pub fn blob(&self) -> BlobRef {
        BlobRef { digest: self.layer.0, size: self.layer_size, media_type: String::new(), annotations: BTreeMap::new() }
    }

    /// What the layer must hold.
    pub fn expected(&self) -> ExpectedFile {
        ExpectedFile { name: stored(Kind::Init, self.digest.0), size: self.size }
    }

    /// Whether the sizes are possible. A layer has at most a little more bytes than what it holds.
    fn is_possible(&self) -> bool {
        self.size <= INIT_MAX && self.layer_size <= self.size + self.size / 64 + LAYER_ROOM
    }
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotEntry {
    /// Its name.
    pub name: String,
    /// Its tag.
    pub tag: String,
    /// Digest of the snapshot file.
    pub digest: Hex,
    /// Its size.
    pub size: u64,
    /// Path of the program; empty: unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub program: String,
    /// Time at which it was made, in seconds since 1970; 0: unknown.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub created: u64,
    /// Register state (bits of XCR0) that the host must have.
    #[serde(default)]
    pub xstate: u64,
    /// Whether it has memory that is writable and executable at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wx: bool,
    /// Its record of host requirements, in hexadecimal digits; empty: it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub needs: String,
    /// What it is made of, in order.
    pub parts: Vec<PartEntry>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartEntry {
    /// Index of its layer.
    pub layer: usize,
    /// Its digest.
    pub digest: Hex,
    /// Its size.
    pub size: u64,
}

/// A file that snapshots map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Index of its layer.
    pub layer: usize,
    /// `code` or `data`.
    pub kind: String,
    /// Its digest.
    pub digest: Hex,
    /// Its size.
    pub size: u64,
}

impl FileEntry {
    /// The kind, checked.
    pub fn kind(&self) -> Option<Kind> {
        [Kind::Code, Kind::Data].into_iter().find(|kind| kind.dir() == self.kind)
    }
}

impl SnapshotEntry {
    /// The requirements of the snapshot on a host; `None` if it has no record of them.
    ///
    /// # Errors If the record is not valid.
    pub fn host_needs(&self) -> Result<Option<HostNeeds>, ImageError> {
        if self.needs.is_empty() {
            return Ok(None);
        }
        let bytes = self.needs.as_bytes().chunks(2).map(|pair| {
            let pair = core::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()))?;
            u8::from_str_radix(pair, 16).ok()
        });
        let bytes: Option<Vec<u8>> = bytes.collect();
        let needs = bytes.and_then(|bytes| HostNeeds::read_from_bytes(&bytes).ok());
        needs.map(Some).ok_or_else(|| ImageError::Document {
            what: "record of what a snapshot needs of a host",
            why: "not one of this version; push it again with this snaprepo".to_owned(),
        })
    }

    /// The name, checked.
    pub fn reference(&self) -> Option<Ref> {
        Ref::parse(format!("{}:{}", self.name, self.tag)).ok()
    }
}

impl Index {
    /// The version that this crate writes and reads.
    pub const VERSION: u32 = 1;

    fn parse(text: &str) -> Result<Self, ImageError> {
        let bad = |why: &str| ImageError::document("index of layers", why);
        let index: Index = serde_json::from_str(text).map_err(|e| bad(&e.to_string()))?;
        if index.version != Self::VERSION {
            return Err(bad(&format!("version {} is not known; use a newer snaprepo", index.version)));
        }
        if index.layers > MAX_LAYERS || index.snapshots.len() > MAX_SNAPSHOTS || index.files.len() > MAX_FILES {
            return Err(bad("it names more than an image can hold"));
        }
        if index.snapshots.is_empty() {
            return Err(ImageError::NoSnapshot);
        }
        for file in &index.files {
            if file.layer >= index.layers || file.kind().is_none() || file.size > i64::MAX as u64 {
                return Err(bad("a file in it is not one of a snapshot"));
            }
        }
        if index.init.as_ref().is_some_and(|init| index.snapshots.len() != 1 || !init.is_possible()) {
            return Err(bad("the init data file in it is too large, or is one of several snapshots"));
        }
        let mut part_layers = BTreeMap::new();
        for snapshot in &index.snapshots {
            if snapshot.reference().is_none() {
                return Err(bad("a snapshot in it has a name that is not one"));
            }
            let size = snapshot.parts.iter().try_fold(0u64, |sum, part| sum.checked_add(part.size));
            if size != Some(snapshot.size) || snapshot.size > i64::MAX as u64 || snapshot.parts.is_empty() {
                return Err(bad("the parts of a snapshot do not have its size"));
            }
            for part in &snapshot.parts {
                let in_files = index.files.iter().any(|file| file.layer == part.layer);
                let same = *part_layers.entry(part.layer).or_insert((part.digest.0, part.size));
                if part.layer >= index.layers || in_files || same != (part.digest.0, part.size) || part.size == 0 {
                    return Err(bad("a part in it is not one of a snapshot"));
                }
            }
            if snapshot.parts.len() > MAX_LAYERS {
                return Err(bad("a snapshot has more parts than an image has layers"));
            }
        }
        Ok(index)
    }

    /// The files that the layer with that index must hold: none if no snapshot needs the layer.
    pub fn expected(&self, layer: usize) -> Vec<ExpectedFile> {
        let files = self
            .files
            .iter()
            .filter(|file| file.layer == layer)
            .filter_map(|file| Some(ExpectedFile { name: stored(file.kind()?, file.digest.0), size: file.size }));
        let part = self.snapshots.iter().flat_map(|snapshot| &snapshot.parts).find(|part| part.layer == layer);
        let part = part.map(|part| ExpectedFile { name: stored(Kind::Data, part.digest.0), size: part.size });
        files.chain(part).collect()
    }
}

/// A blob as a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobRef {
    /// Its digest.
    pub digest: Digest,
    /// Its size.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

impl BlobRef {
    /// Position of the index of its chunks, if it has one.
    pub fn toc(&self) -> Option<TocPosition> {
        TocPosition::from_annotations(|name| self.annotations.get(name).map(String::as_str), self.size)
    }

    fn parse(descriptor: &Descriptor) -> Result<Self, ImageError> {
        let bad = |why| ImageError::document("manifest", why);
        let text = descriptor.digest().to_string();
        let digest = text.strip_prefix("sha256:").and_then(|hex| Digest::from_hex(hex.as_bytes()));
        let annotations = descriptor.annotations().clone().unwrap_or_default();
        Ok(BlobRef {
            digest: digest.ok_or_else(|| bad("a digest in it is not a SHA-256"))?,
            size: Some(descriptor.size())
                .filter(|size| *size <= i64::MAX as u64)
                .ok_or_else(|| bad("a size is too large"))?,
            media_type: descriptor.media_type().to_string(),
            annotations: annotations.into_iter().collect(),
        })
    }
}

/// A manifest, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestView {
    /// The configuration.
    pub config: BlobRef,
    /// All layers.
    pub layers: Vec<BlobRef>,
}

impl ManifestView {
    /// Parses and validates a manifest.
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        let manifest: ImageManifest = serde_json::from_slice(bytes).map_err(|e| ImageError::document("manifest", e))?;
        if manifest.layers().len() > MAX_ALL_LAYERS {
            return Err(ImageError::document("manifest", "it has too many layers"));
        }
        let config = BlobRef::parse(manifest.config())?;
        if config.size > CONFIG_MAX {
            return Err(ImageError::document("manifest", "the configuration is too large"));
        }
        let layers = manifest.layers().iter().map(BlobRef::parse).collect::<Result<_, _>>()?;
        Ok(ManifestView { config, layers })
    }

    /// The snapshots in an image, from its configuration (whose digest has been checked), with the layers that they are
    /// in.
    pub fn image(&self, config: &[u8]) -> Result<ImageView, ImageError> {
        let config: ImageConfiguration =
            serde_json::from_slice(config).map_err(|e| ImageError::document("configuration", e))?;
        let labels = config.config().as_ref().and_then(|config| config.labels().as_ref());
        let index = labels.and_then(|labels| labels.get(INDEX_LABEL)).ok_or(ImageError::NoSnapshot)?;
        let index = Index::parse(index)?;
        let first = self.layers.len().checked_sub(index.layers);
        let layers = first.map(|first| self.layers[first..].to_vec());
        let layers: Vec<BlobRef> = layers.ok_or_else(|| ImageError::document("manifest", "it has too few layers"))?;
        // Each transfer is locked by its digest, so a layer that the manifest names twice would wait for itself.
        let mut seen = BTreeSet::new();
        let holding = layers.iter().enumerate().filter(|(at, _)| !index.expected(*at).is_empty());
        if !holding.map(|(_, blob)| blob.digest.0).all(|digest| seen.insert(digest)) {
            return Err(ImageError::document("manifest", "it has a layer twice"));
        }
        let of_init = index.init.as_ref().map(|init| init.layer.0);
        if self.layers.iter().any(|blob| Some(blob.digest) == of_init) {
            return Err(ImageError::document("index of layers", "the layer of the init data file is another's, too"));
        }
        Ok(ImageView { index, layers })
    }
}

/// An image's snapshots and their layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageView {
    /// What is in the layers.
    pub index: Index,
    /// The layers that it speaks of.
    pub layers: Vec<BlobRef>,
}

/// The image that a new one is put on top of.
#[derive(Clone, Debug)]
pub struct Base {
    /// Its layers as its manifest describes them.
    layers: Vec<Value>,
    /// Its configuration.
    config: Map<String, Value>,
}

impl Base {
    /// From its manifest and configuration.
    pub fn parse(manifest: &[u8], config: &[u8]) -> Result<Self, ImageError> {
        let view = ManifestView::parse(manifest)?;
        // The values stay as they are, so that unknown fields are kept.
        let document = |what, bytes| serde_json::from_slice::<Value>(bytes).map_err(|e| ImageError::document(what, e));
        let manifest = document("manifest of the base", manifest)?;
        let config = document("configuration of the base", config)?;
        let mut layers = manifest["layers"].as_array().cloned().unwrap_or_default();
        layers.iter_mut().for_each(rename_type);
        let ids = config["rootfs"]["diff_ids"].as_array().map_or(0, Vec::len);
        if ids != view.layers.len() {
            return Err(ImageError::document("configuration of the base", "it does not have its manifest's layers"));
        }
        if config["architecture"] != "amd64" || config["os"] != "linux" {
            return Err(ImageError::document("configuration of the base", "it is for another kind of machine"));
        }
        match config {
            Value::Object(config) => Ok(Base { layers, config }),
            _ => Err(ImageError::document("configuration of the base", "it is not an object")),
        }
    }
}

/// Gives a layer of an image in docker's format OCI's media type, since an OCI manifest may have no others. The bytes
/// are the same.
fn rename_type(layer: &mut Value) {
    let oci = match layer["mediaType"].as_str() {
        Some("application/vnd.docker.image.rootfs.diff.tar.gzip") => "application/vnd.oci.image.layer.v1.tar+gzip",
        Some("application/vnd.docker.image.rootfs.diff.tar") => "application/vnd.oci.image.layer.v1.tar",
        _ => return,
    };
    layer["mediaType"] = oci.into();
}

/// A JSON document with its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Their digest.
    pub digest: Digest,
}

impl Document {
    fn new(mut value: Value) -> Self {
        // The keys are sorted, since the order of serde_json's map depends on how it was built.
        value.sort_all_objects();
        let bytes = value.to_string().into_bytes();
        Document { digest: Digest(Sha256::digest(&bytes).into()), bytes }
    }
}

/// Configuration and manifest of an image whose layers have been written, on top of `base`.
pub fn documents(
    index: &Index,
    layers: &[(LayerKind, WrittenLayer)],
    base: Option<&Base>,
) -> Result<(Document, Document), ImageError> {
    let text = serde_json::to_string(index).map_err(|e| ImageError::document("index of layers", e))?;
    let config = config(index, text, layers, base);
    let mut list: Vec<Value> = base.map(|base| base.layers.clone()).unwrap_or_default();
    list.extend(layers.iter().map(|(kind, layer)| {
        let mut annotations = layer.annotations.clone();
        annotations.insert("dev.snapfn.layer".into(), kind.name().into());
        descriptor(layer.media_type, layer.digest, layer.size, Some(annotations))
    }));
    if list.len() > MAX_ALL_LAYERS {
        return Err(ImageError::document("base", format!("together with it there are {} layers", list.len())));
    }
    let first = index.snapshots.first().ok_or(ImageError::NoSnapshot)?;
    let manifest = Document::new(json!({
        "schemaVersion": 2,
        "mediaType": MediaType::ImageManifest.to_string(),
        "config": descriptor(CONFIG_TYPE, config.digest, config.bytes.len() as u64, None),
        "layers": list,
        "annotations": {
            "dev.snapfn.name": format!("{}:{}", first.name, first.tag),
            "dev.snapfn.snapshot": format!("sha256:{}", first.digest.0),
            "dev.snapfn.size": first.size.to_string(),
        },
    }));
    Ok((config, manifest))
}

fn descriptor(media_type: &str, digest: Digest, size: u64, annotations: Option<BTreeMap<String, String>>) -> Value {
    let mut value = json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size });
    if let Some(annotations) = annotations {
        value["annotations"] = json!(annotations);
    }
    value
}

fn config(index: &Index, text: String, layers: &[(LayerKind, WrittenLayer)], base: Option<&Base>) -> Document {
    let mut config = base.map(|base| base.config.clone()).unwrap_or_default();
    // The settings of the base that its files need stay: environment, user, directory, labels.
    config.remove("created");
    config.remove("container");
    config.remove("container_config");
    config.insert("architecture".into(), "amd64".into());
    config.insert("os".into(), "linux".into());
    let ids = layers.iter().map(|(_, layer)| json!(format!("sha256:{}", layer.diff_id)));
    let mut diff_ids = config.get("rootfs").and_then(|r| r["diff_ids"].as_array().cloned()).unwrap_or_default();
    diff_ids.extend(ids);
    config.insert("rootfs".into(), json!({ "type": "layers", "diff_ids": diff_ids }));
    if let Some(Value::Array(history)) = config.get_mut("history") {
        history
            .extend(layers.iter().map(|(kind, _)| json!({ "created_by": format!("snaprepo push: {}", kind.name()) })));
    }
    let mut run = match config.remove("config") {
        Some(Value::Object(run)) => run,
        _ => Map::new(),
    };
    run.remove("Cmd");
    let names = index.snapshots.first().map(|first| format!("{}:{}", first.name, first.tag));
    let mut entrypoint = vec!["/usr/bin/snaprun".to_owned()];
    // The maker of the image has allowed it for all users of the image.
    entrypoint.extend(index.snapshots.iter().any(|snapshot| snapshot.wx).then(|| "--allow-wx".to_owned()));
    entrypoint.extend(["--".to_owned(), names.unwrap_or_default()]);
    run.insert("Entrypoint".into(), json!(entrypoint));
    let mut env: Vec<Value> = run.get("Env").and_then(Value::as_array).cloned().unwrap_or_default();
    env.retain(|entry| !entry.as_str().is_some_and(|entry| entry.starts_with("SNAPFN_STORE=")));
    env.push(json!(format!("SNAPFN_STORE={STORE}")));
    run.insert("Env".into(), Value::Array(env));
    let mut labels = match run.remove("Labels") {
        Some(Value::Object(labels)) => labels,
        _ => Map::new(),
    };
    labels.insert(INDEX_LABEL.into(), Value::String(text));
    run.insert("Labels".into(), Value::Object(labels));
    config.insert("config".into(), Value::Object(run));
    Document::new(Value::Object(config))
}
