//! Snapshots in OCI registries, as a library: the operations of `snaprepo`, with the same names.
//!
//! ```text
//!  push       a snapshot of the local store → an OCI image in a registry
//!  pull       an image → the local store
//!  init       an init data file beside the snapshot
//!  base       the image below a pushed one
//!  event      events during a verb
//!  config     the configuration file
//!  key        minisign keys
//!  inspect    describes an image, without fetching its layers
//!  remove     images from a registry
//!  signature  sign an image in a registry, check its signature
//! ```

mod artifact;
mod base;
mod chunks;
mod config;
mod error;
mod event;
mod fetch;
mod host;
mod init;
mod inspect;
mod jobs;
mod key;
mod platform;
mod pull;
mod push;
mod remove;
mod signature;
mod strip;

pub use base::BaseImage;
pub use config::{Config, ConfigError, RegistrySettings};
pub use error::RepoError;
pub use event::{Event, Events, Present};
pub use init::PulledInit;
pub use inspect::{InitFile, InspectError, Inspected, Layer, Needs, Signature, Snapshot, inspect};
pub use key::{KeyError, PublicKey, SecretKey};
pub use pull::{PullOptions, Pulled};
pub use push::{PushOptions, Pushed};
pub use remove::{RemoveError, Removed, remove};
pub use signature::{SignatureError, Signed, Verified, sign, verify_reference, verify_signature};

use snapfn_registry::ClientOptions;
use snapfn_store::Stores;
use std::sync::Arc;

/// The local stores and the way to registries.
#[derive(Clone)]
pub struct Repo {
    /// The stores in which snapshots are searched, and to which they are pulled.
    pub stores: Stores,
    /// Options of the client. Its events are those of [`Repo::events`].
    pub client: ClientOptions,
    /// The receiver of events.
    pub events: Arc<dyn Events>,
}

impl std::fmt::Debug for Repo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repo").field("stores", &self.stores).field("client", &self.client).finish_non_exhaustive()
    }
}
