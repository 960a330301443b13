//! What an image in a registry is, without fetching its layers.

use crate::platform::{self, MANIFESTS};
use serde::{Deserialize, Serialize};
use snapfn_registry::{Client, Digest, Reference, RegistryError};
use std::collections::BTreeMap;
use std::io::Read;
use thiserror::Error;

/// Largest configuration that is read.
const MAX_CONFIG: u64 = 4 << 20;
/// What labels and annotations of ours begin with.
const OURS: &str = "dev.snapfn.";

/// Why an image cannot be inspected.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InspectError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// It is no image that is understood.
    #[error("{0}; it is no image that can be looked into")]
    Image(String),
}

/// An image, as its manifest and configuration describe it. Strings are the registry's: unchecked, perhaps hostile.
#[derive(Clone, Debug, Serialize)]
pub struct Inspected {
    /// What was asked for.
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
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
    /// What labels and annotations say about the snapshots in it, without `dev.snapfn.`; empty if there are none.
    pub snapshot: BTreeMap<String, String>,
}

/// One layer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Layer {
    /// How it is packed.
    pub media_type: String,
    /// Its digest.
    pub digest: String,
    /// Its size, compressed.
    pub size: u64,
    /// What else is said about it.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    config: Option<Layer>,
    layers: Option<Vec<Layer>>,
    #[serde(default)]
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
    labels: Option<BTreeMap<String, String>>,
}

/// Looks into the image that `reference` names; of several for different machines, the one for this.
pub fn inspect(client: &Client, reference: &Reference) -> Result<Inspected, InspectError> {
    let repository = &reference.repository;
    let got = client.manifest(repository, &reference.target(), &MANIFESTS)?;
    let got = platform::resolve(client, repository, got, InspectError::Image)?;
    let manifest: Manifest = parse(&got.bytes, "the manifest")?;
    let (Some(config), Some(layers)) = (manifest.config, manifest.layers) else {
        return Err(InspectError::Image(format!("a {} has no configuration and layers", got.media_type)));
    };
    let config = fetch_config(client, repository, &config)?;
    let run = config.config.unwrap_or(Run { entrypoint: None, labels: None });
    let said = run.labels.into_iter().chain(manifest.annotations).flatten();
    let snapshot = said.filter_map(|(name, value)| Some((name.strip_prefix(OURS)?.to_string(), value))).collect();
    Ok(Inspected {
        reference: reference.to_string(),
        digest: got.digest.to_string(),
        media_type: got.media_type,
        os: config.os,
        architecture: config.architecture,
        entrypoint: run.entrypoint,
        size: layers.iter().fold(0, |sum: u64, layer| sum.saturating_add(layer.size)),
        layers,
        snapshot,
    })
}

fn fetch_config(client: &Client, repository: &str, config: &Layer) -> Result<Config, InspectError> {
    let digest: Digest =
        config.digest.parse().map_err(|_| InspectError::Image("its configuration has no digest".into()))?;
    if config.size > MAX_CONFIG {
        return Err(InspectError::Image(format!("its configuration has {} bytes", config.size)));
    }
    let mut bytes = Vec::new();
    let read = client.blob(repository, &digest, config.size, 0)?.read_to_end(&mut bytes);
    read.map_err(|error| InspectError::Image(format!("its configuration cannot be read: {error}")))?;
    match Digest::of(&bytes) == digest {
        true => parse(&bytes, "the configuration"),
        false => Err(InspectError::Image(format!("its configuration is not the one with the digest {digest}"))),
    }
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8], what: &str) -> Result<T, InspectError> {
    serde_json::from_slice(bytes).map_err(|error| InspectError::Image(format!("{what} cannot be read: {error}")))
}
