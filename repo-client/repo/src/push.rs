//! From the local store to a registry.

use crate::{Repo, RepoError};
use snapfn_image::Compression;
use snapfn_registry::{Digest, Reference};
use snapfn_store::Ref;
use std::path::PathBuf;

/// How to push.
#[derive(Clone, Debug)]
pub struct PushOptions {
    /// The `snaprun` that goes into the image.
    pub loader: PathBuf,
    /// How layers are compressed.
    pub compression: Compression,
    /// An image whose layers come first.
    pub base: Option<Reference>,
    /// Layers that are made and sent at a time.
    pub jobs: usize,
}

/// What has been pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Digest of the manifest.
    pub digest: Digest,
    /// Number of layers, those of the base included.
    pub layers: usize,
    /// Bytes of all layers and the configuration.
    pub size: u64,
    /// Bytes that were sent.
    pub sent: u64,
    /// Bytes that the registry had.
    pub present: u64,
}

impl Repo {
    /// Stores the snapshot that `name` stands for as the image `to`. Only what the registry lacks is sent.
    pub fn push(&self, name: &Ref, to: &Reference, options: &PushOptions) -> Result<Pushed, RepoError> {
        let _ = options;
        Err(RepoError::Refused { what: format!("push of {name} to {to}"), why: "not in this build".into() })
    }
}
