//! A client for registries that speak the OCI distribution protocol.
//!
//! The client does not depend on the content of blobs. It handles names, credentials, tokens, redirects, proxies,
//! attempts after failures, uploads and downloads that go on where they were cut, and registries that lie.
//!
//! ```text
//!  reference  host[:port]/path[:tag][@digest]     client    one registry; HEAD and mount of blobs
//!  digest     sha256:…                            blob      downloads            upload   uploads
//!  auth       credentials, challenges, tokens     manifest  manifests            list     tags, referrers
//!  http       one exchange                        patience  further attempts     events   what a client reports
//!  headers    parsers of headers
//! ```
//!
//! # Guarantees
//!
//! - Credentials go only to the registry and to the token service that it names. They do not go to another host (or
//!   port, or scheme) that a redirect, an upload location or a link leads to.
//! - The client uses only HTTPS, unless [`ClientOptions::plain_http`] is set or the registry is on this machine. It
//!   never goes from HTTPS to HTTP, nor to any other scheme.
//! - Every body is limited: a blob by its size, a manifest to 4 MiB, a page of a list to 4 MiB, an error to 64 KiB.
//! - Every operation ends: the client breaks connections that stall or crawl, and counts attempts. It counts them anew
//!   only when the transfer has come further than ever before.
//! - The client compares manifests with their digests, but not blobs.
//!
//! ```no_run
//! # use snapfn_registry::{Client, ClientOptions, Digest, Reference};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let image = Reference::parse("registry.example.com/team/fn:v1", None)?;
//! let client = Client::new(&image.registry, ClientOptions::default())?;
//! let blob = b"content";
//! let digest = Digest::of(blob);
//! if client.head_blob(&image.repository, &digest)?.is_none() {
//!     client.upload_blob(&image.repository, &digest, blob.len() as u64, &blob.to_vec(), None)?;
//! }
//! let accepted = ["application/vnd.oci.image.manifest.v1+json"];
//! let manifest = client.manifest(&image.repository, &image.target(), &accepted)?;
//! println!("{}", manifest.digest);
//! # Ok(()) }
//! ```

#![cfg_attr(not(feature = "client"), allow(dead_code, reason = "the client uses the rest"))]

mod auth;
#[cfg(feature = "client")]
mod blob;
#[cfg(feature = "client")]
mod client;
mod digest;
mod error;
mod events;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod headers;
#[cfg(feature = "client")]
mod http;
#[cfg(feature = "client")]
mod list;
#[cfg(feature = "client")]
mod manifest;
mod options;
mod patience;
mod reference;
#[cfg(feature = "client")]
mod upload;

pub use auth::{CredentialStore, Credentials};
#[cfg(feature = "client")]
pub use blob::{BlobReader, RangeAnswer};
#[cfg(feature = "client")]
pub use client::Client;
pub use digest::Digest;
pub use error::{Place, RegistryError};
pub use events::{Direction, Event, Events, Silent};
#[cfg(feature = "client")]
pub use list::{INDEX, Referrer};
#[cfg(feature = "client")]
pub use manifest::{MAX_MANIFEST, Manifest};
pub use options::ClientOptions;
pub use reference::{DEFAULT_TAG, Reference, ReferenceError, check_registry};
#[cfg(feature = "client")]
pub use upload::{BlobSource, Uploaded};
