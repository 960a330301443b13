//! From a registry to the local store.

use crate::{Repo, RepoError};
use snapfn_registry::{Digest, Reference};
use snapfn_store::Ref;

/// How to pull.
#[derive(Clone, Debug, Default)]
pub struct PullOptions {
    /// Name in the local store; that of the image otherwise.
    pub tag: Option<Ref>,
    /// Pull what this machine cannot run as well.
    pub force: bool,
    /// Layers that are fetched at a time.
    pub jobs: usize,
}

/// What has been pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// Its name in the local store.
    pub name: Ref,
    /// The snapshot.
    pub snapshot: snapfn_store::Digest,
    /// Digest of the manifest.
    pub digest: Digest,
    /// Bytes of all layers that are needed.
    pub size: u64,
    /// Bytes that were fetched.
    pub fetched: u64,
}

impl Repo {
    /// Brings the snapshot in the image `from`, and all that it needs, into the local store.
    pub fn pull(&self, from: &Reference, options: &PullOptions) -> Result<Pulled, RepoError> {
        let _ = options;
        Err(RepoError::Refused { what: format!("pull of {from}"), why: "not in this build".into() })
    }
}
