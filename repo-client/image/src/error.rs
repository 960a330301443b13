//! Why a snapshot cannot be made an image, or an image a snapshot.

use snapfn_store::{Digest, Ref, StoreError, SummaryError};
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why an operation on an image fails.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A snapshot cannot be read.
    #[error("snapshot {digest}: {source}; make it again")]
    Snapshot {
        /// Which.
        digest: Digest,
        /// Why.
        source: SummaryError,
    },
    /// The content of a file does not have the digest in its name.
    #[error("{} is damaged: its content has the digest {actual}; `snaprepo verify` prints what needs it", .path.display())]
    Damaged {
        /// Where.
        path: PathBuf,
        /// What it hashes to.
        actual: Digest,
    },
    /// A system call on a file that an image is made from.
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        /// What was tried, as a verb.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// The layer cannot be written.
    #[error("cannot write a layer: {0}")]
    Write(#[source] io::Error),
    /// Too much for one image.
    #[error("{reference} is too large for an image: {what}")]
    TooLarge {
        /// The snapshot.
        reference: Ref,
        /// Which limit.
        what: &'static str,
    },
    /// The `snaprun` is not a program that an image can hold.
    #[error("{} cannot be the loader of an image: {why}", .path.display())]
    Loader {
        /// Which file.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// The reader does not accept the split form of a snapshot.
    #[error("cannot cut {digest} into layers: {source}")]
    Split {
        /// The snapshot.
        digest: Digest,
        /// The reader's error.
        source: snapfn_format::FormatError,
    },
    /// A manifest or configuration that is not one of an image with snapshots.
    #[error("the image's {what}: {why}")]
    Document {
        /// `manifest`, `configuration`, `index of layers`, ….
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The image is an ordinary one.
    #[error("the image holds no snapshot; it was not made by `snaprepo push`")]
    NoSnapshot,
    /// A layer differs from the manifest.
    #[error("layer {layer}: {why}")]
    Layer {
        /// Digest of the layer as the manifest names it.
        layer: String,
        /// What is wrong with it.
        why: String,
    },
}

impl ImageError {
    pub(crate) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        ImageError::Io { what, path: path.to_path_buf(), source }
    }

    pub(crate) fn document(what: &'static str, why: impl ToString) -> Self {
        ImageError::Document { what, why: why.to_string() }
    }
}

/// A fault in a layer's content, without the name of the layer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LayerFault {
    /// Not what it must be.
    #[error("{0}")]
    Content(String),
    /// The compressed bytes cannot be read or decompressed.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    /// The receiver of the content failed.
    #[error(transparent)]
    Sink(#[from] StoreError),
}

impl LayerFault {
    pub(crate) fn content(why: impl ToString) -> Self {
        LayerFault::Content(why.to_string())
    }

    /// Names the layer.
    pub fn in_layer(self, layer: impl ToString) -> ImageError {
        match self {
            LayerFault::Sink(error) => ImageError::Store(error),
            other => ImageError::Layer { layer: layer.to_string(), why: other.to_string() },
        }
    }
}
