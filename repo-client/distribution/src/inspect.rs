//! Describes an image in a registry, without fetching its layers.

use crate::platform::{self, MANIFESTS};
use crate::signature::{ARTIFACT_TYPE, KEY_ANNOTATION};
use serde::{Deserialize, Serialize};
use snapfn_format::cpu::{self, FeatureSet};
use snapfn_image::{ImageError, Index, LayerKind, ManifestView, SnapshotEntry};
use snapfn_registry::{Client, Digest, Reference, RegistryError};
use std::collections::BTreeMap;
use std::io::Read;
use thiserror::Error;

/// Largest configuration that is read.
const MAX_CONFIG: u64 = 4 << 20;

/// Why an image cannot be inspected.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InspectError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// It is no image that is understood.
    #[error("{0}; it is not an image that can be inspected")]
    Image(String),
}

/// An image, as its manifest and configuration describe it. Strings come from the registry, unchecked, and may be
/// hostile.
#[derive(Clone, Debug, Serialize)]
pub struct Inspected {
    /// The requested reference.
    pub reference: String,
    /// The manifest's digest.
    pub digest: String,
    /// The manifest's media type.
    pub media_type: String,
    /// The operating system that it is for.
    pub os: String,
    /// The architecture that it is for.
    pub architecture: String,
    /// What a container engine runs.
    pub entrypoint: Option<Vec<String>>,
    /// The sum of the layers' sizes.
    pub size: u64,
    /// The snapshots in it; empty if it is an ordinary image.
    pub snapshots: Vec<Snapshot>,
    /// The init data file beside the snapshot, if one was pushed.
    pub init: Option<InitFile>,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
    /// Artifacts that claim to be signatures of it. They have not been checked.
    pub signatures: Vec<Signature>,
}

/// An init data file beside a snapshot. Its layer is in an artifact of its own.
#[derive(Clone, Debug, Serialize)]
pub struct InitFile {
    /// Its digest.
    pub digest: String,
    /// Its size.
    pub size: u64,
    /// Digest of its layer.
    pub layer: String,
    /// Size of its layer, compressed.
    pub layer_size: u64,
}

/// A snapshot in an image.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// Its name, with its tag.
    pub name: String,
    /// Digest of the snapshot file.
    pub digest: String,
    /// Its size in the store.
    pub size: u64,
    /// Layers that it is cut into.
    pub parts: usize,
    /// Path of its program, if the image has it.
    pub program: Option<String>,
    /// Time at which it was made, in seconds since 1970, if the image has it.
    pub created: Option<u64>,
    /// Whether it has memory that is writable and executable at once: then `pull` and `snaprun` need `--allow-wx`.
    pub wx: bool,
    /// What it needs of a host.
    pub needs: Needs,
}

/// What a snapshot needs of a host.
#[derive(Clone, Debug, Default, Serialize, PartialEq, Eq)]
pub struct Needs {
    /// `x86_64`.
    pub arch: String,
    /// Page size, bytes.
    pub page_size: u64,
    /// Oldest kernel, such as `4.18`, if the image has it.
    pub kernel: Option<String>,
    /// Level of x86-64 that the CPU must have: 1 to 4; 1 if the image has none.
    pub cpu_level: u32,
    /// Features that the CPU must have beside those of the level.
    pub cpu_features: Vec<String>,
}

/// One layer.
#[derive(Clone, Debug, Serialize)]
pub struct Layer {
    /// How it is packed.
    pub media_type: String,
    /// Its digest.
    pub digest: String,
    /// Its size, compressed.
    pub size: u64,
    /// Its purpose: the name of a [`LayerKind`]. `None` for a layer of an ordinary image.
    pub kind: Option<&'static str>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// What claims to be a signature.
#[derive(Clone, Debug, Serialize)]
pub struct Signature {
    /// Digest of the artifact.
    pub artifact: String,
    /// ID of the key that it claims, if it names one.
    pub key: Option<String>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    config: Option<Run>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Run {
    entrypoint: Option<Vec<String>>,
}

/// Describes the image that `reference` names. If there are several for different machines, it is the one for this
/// machine.
pub fn inspect(client: &Client, reference: &Reference) -> Result<Inspected, InspectError> {
    let repository = &reference.repository;
    let named = client.manifest(repository, &reference.target(), &MANIFESTS)?;
    // A signature covers the manifest that the name leads to, which may be a list.
    let signatures = client.referrers(repository, &named.digest)?;
    let got = platform::resolve(client, repository, named, InspectError::Image)?;
    let manifest: Manifest = parse(&got.bytes, "the manifest")?;
    let (Some(config), Some(layers)) = (manifest.config, manifest.layers) else {
        return Err(InspectError::Image(format!("a {} has no configuration and layers", got.media_type)));
    };
    let bytes = fetch_config(client, repository, &config)?;
    let config: Config = parse(&bytes, "the configuration")?;
    let index = match ManifestView::parse(&got.bytes).and_then(|view| view.image(&bytes)) {
        Ok(image) => Some(image.index),
        Err(ImageError::NoSnapshot) => None,
        Err(error) => return Err(InspectError::Image(error.to_string())),
    };
    let snapshots = index.iter().flat_map(|index| index.snapshots.iter().map(|entry| snapshot(index, entry)));
    let snapshots = snapshots.collect::<Result<_, _>>().map_err(|error| InspectError::Image(error.to_string()))?;
    let count = layers.len();
    let kind = |at| index.as_ref().map(|index| kind(index, count, at).name());
    Ok(Inspected {
        reference: reference.to_string(),
        digest: got.digest.to_string(),
        media_type: got.media_type,
        os: config.os,
        architecture: config.architecture,
        entrypoint: config.config.and_then(|run| run.entrypoint),
        size: layers.iter().fold(0, |sum: u64, layer| sum.saturating_add(layer.size)),
        snapshots,
        init: index.as_ref().and_then(|index| index.init.as_ref()).map(|init| InitFile {
            digest: init.digest.0.to_string(),
            size: init.size,
            layer: format!("sha256:{}", init.layer.0),
            layer_size: init.layer_size,
        }),
        layers: layers
            .into_iter()
            .enumerate()
            .map(|(at, Descriptor { media_type, digest, size, annotations })| {
                let annotations = annotations.unwrap_or_default();
                Layer { media_type, digest, size, kind: kind(at), annotations }
            })
            .collect(),
        signatures: signatures
            .into_iter()
            .filter(|entry| entry.artifact_type.as_deref() == Some(ARTIFACT_TYPE))
            .map(|entry| Signature {
                artifact: entry.digest.to_string(),
                key: entry.annotations.get(KEY_ANNOTATION).cloned(),
            })
            .collect(),
    })
}

fn snapshot(index: &Index, entry: &SnapshotEntry) -> Result<Snapshot, ImageError> {
    let mut needs = Needs { arch: index.arch.clone(), page_size: index.page_size, cpu_level: 1, ..Needs::default() };
    if let Some(record) = entry.host_needs()? {
        let cpu = FeatureSet(record.cpu).without_hints();
        let mut levels = (2..=4).filter_map(|level| Some((level, FeatureSet::level(level)?)));
        let level = levels.rfind(|(_, set)| set.without(cpu).numbers().next().is_none());
        let beside = level.map_or(cpu, |(_, set)| cpu.without(set));
        needs.cpu_level = level.map_or(1, |(level, _)| level);
        needs.cpu_features = beside
            .numbers()
            .map(|number| cpu::name(number).map_or(format!("feature {number}"), String::from))
            .collect();
        needs.kernel = Some(format!("{}.{}", record.kernel >> 16, record.kernel & 0xffff));
    }
    Ok(Snapshot {
        name: format!("{}:{}", entry.name, entry.tag),
        digest: entry.digest.0.to_string(),
        size: entry.size,
        parts: entry.parts.len(),
        program: Some(entry.program.clone()).filter(|program| !program.is_empty()),
        created: Some(entry.created).filter(|created| *created != 0),
        wx: entry.wx,
        needs,
    })
}

/// The purpose of a layer. The annotations have it, too, but engines drop them.
fn kind(index: &Index, count: usize, at: usize) -> LayerKind {
    match at.checked_sub(count.saturating_sub(index.layers)) {
        None => LayerKind::Base,
        Some(at) if index.files.iter().any(|file| file.layer == at) => LayerKind::Files,
        Some(at) if index.snapshots.iter().any(|snapshot| snapshot.parts.iter().any(|part| part.layer == at)) => {
            LayerKind::Part
        }
        Some(0) => LayerKind::Loader,
        Some(_) => LayerKind::Split,
    }
}

fn fetch_config(client: &Client, repository: &str, config: &Descriptor) -> Result<Vec<u8>, InspectError> {
    let digest: Digest =
        config.digest.parse().map_err(|_| InspectError::Image("its configuration has no digest".into()))?;
    if config.size > MAX_CONFIG {
        return Err(InspectError::Image(format!("its configuration has {} bytes", config.size)));
    }
    let mut bytes = Vec::new();
    let read = client.blob(repository, &digest, config.size, 0)?.read_to_end(&mut bytes);
    read.map_err(|error| InspectError::Image(format!("its configuration cannot be read: {error}")))?;
    match Digest::of(&bytes) == digest {
        true => Ok(bytes),
        false => Err(InspectError::Image(format!("its configuration is not the one with the digest {digest}"))),
    }
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8], what: &str) -> Result<T, InspectError> {
    serde_json::from_slice(bytes).map_err(|error| InspectError::Image(format!("{what} cannot be read: {error}")))
}
