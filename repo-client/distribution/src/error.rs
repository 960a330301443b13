//! Why a verb fails.

use crate::SignatureError;
use snapfn_image::ImageError;
use snapfn_registry::RegistryError;
use snapfn_scan::{Finding, ScanError};
use snapfn_store::StoreError;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why an operation on a registry's images fails.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RepoError {
    /// The local store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The signature.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// This machine cannot run the snapshot in the image.
    #[error("this machine cannot run it: {}; `snaprepo pull --force` pulls it anyway", .0.join(", "))]
    Unfit(Vec<String>),
    /// Memory of a snapshot is writable and executable at once, which the options do not allow.
    #[error(
        "has memory that is writable and executable at once and is not pulled; --allow-wx pulls it, if its program needs that"
    )]
    WritableCode,
    /// An image is stored under a tag.
    #[error("an image is pushed to a tag, and not to a digest")]
    NoTag,
    /// The last part of a repository's path cannot be the name of a snapshot.
    #[error("{0} cannot be the name of a local snapshot; give one with --tag")]
    NoName(String),
    /// The content is not that of the requested digest.
    #[error("{what} {digest} came with other content; nothing of it was kept, try again or ask who runs the registry")]
    Digest {
        /// `layer` or `configuration`.
        what: &'static str,
        /// Its digest.
        digest: String,
    },
    /// The layers agree with the manifest, but do not make the snapshot that it names.
    #[error("the image's layers do not make what it names: {0}")]
    Content(StoreError),
    /// The image lacks files that its snapshot needs.
    #[error("the image does not have all that its snapshot needs ({0}); no tag was set, it must be pushed again")]
    Incomplete(String),
    /// No init data file can be pushed with the snapshot.
    #[error("no init data file can be pushed with it: {0}")]
    Export(String),
    /// The image has no init data file.
    #[error("the image has no init data file; `snaprepo push --init` pushes one with the snapshot")]
    NoInit,
    /// The image names an init data file that the registry lacks.
    #[error(
        "the registry does not have the init data file that the image names; push it again with --init, or copy the image with what refers to it (oras copy -r)"
    )]
    InitGone,
    /// The init data file in the registry is not one of the image's snapshot.
    #[error("the init data file is not that of the image's snapshot: {0}; it must be pushed again, nothing was kept")]
    OtherInit(String),
    /// A file is in the way.
    #[error("{}: exists and is not of an export; choose another name", .0.display())]
    InTheWay(PathBuf),
    /// The search for credentials in the snapshot has failed.
    #[error("cannot look for credentials: {0}")]
    Scan(#[from] ScanError),
    /// There are, or so it seems.
    #[error("holds bytes that look like credentials ({}) and is not pushed; --allow-secrets pushes it anyway", .0.len())]
    Secrets(Vec<Finding>),
    /// The base image cannot be used.
    #[error("base {reference}: {source}")]
    Base {
        /// Which.
        reference: String,
        /// Why it cannot be one.
        source: Box<RepoError>,
    },
    /// A file of a transfer.
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        /// What was tried, as a verb.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// Another layer failed first, and this one was cancelled.
    #[error("given up, since another layer failed")]
    Stopped,
}
