//! A client for registries that speak the OCI distribution protocol.
//!
//! It knows nothing of what the blobs hold. What it takes care of: names, credentials, tokens, redirects, attempts
//! after failures, uploads and downloads that go on where they were cut, and registries that lie.

mod auth;
mod client;
mod digest;
mod error;
mod events;
mod options;
mod reference;

pub use auth::Credentials;
pub use client::{BlobReader, BlobSource, Client, Manifest, RangeAnswer, Referrer, Uploaded};
pub use digest::Digest;
pub use error::{Place, RegistryError};
pub use events::{Direction, Event, Events, Silent};
pub use options::ClientOptions;
pub use reference::{DEFAULT_TAG, Reference, ReferenceError, check_registry};
