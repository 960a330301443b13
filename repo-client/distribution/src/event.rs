//! Events that are reported while a verb runs.

use snapfn_image::LayerKind;
use snapfn_registry::Digest;

/// Something that happened. Sizes are bytes.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The snapshots are searched for credentials; so many bytes in all.
    Scanning {
        /// Bytes that will be read.
        total: u64,
    },
    /// The snapshots are read and cut; so many bytes in all.
    Reading {
        /// Bytes that will be read.
        total: u64,
    },
    /// So many of them have been read. After [`Event::Layers`], of content that goes into layers.
    Read {
        /// Bytes since the last such event.
        bytes: u64,
    },
    /// The layers are known.
    Layers {
        /// Their number.
        count: usize,
        /// Bytes in them: of content when pushing (without a base), of blobs when pulling.
        total: u64,
    },
    /// A layer needs no transfer.
    Present {
        /// Its index.
        layer: usize,
        /// What it is for.
        kind: Option<LayerKind>,
        /// Its digest.
        digest: &'a Digest,
        /// Bytes that need not be sent.
        size: u64,
        /// Why not.
        how: Present,
    },
    /// A layer has been transferred.
    Transferred {
        /// Its index.
        layer: usize,
        /// What it is for.
        kind: Option<LayerKind>,
        /// Its digest.
        digest: &'a Digest,
        /// Its size.
        size: u64,
        /// Bytes that moved now.
        moved: u64,
    },
    /// What the client says about a transfer.
    Transfer(snapfn_registry::Event<'a>),
}

/// Why a layer needs no transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Present {
    /// The repository has it already.
    InRepository,
    /// The registry had it in another repository.
    Mounted,
    /// The local store has what it holds.
    InStore,
}

/// Receives events, from several threads at once. Every closure that takes an [`Event`] is one.
pub trait Events: Send + Sync {
    /// `event` has happened.
    fn event(&self, event: Event<'_>);
}

impl<F: Fn(Event<'_>) + Send + Sync> Events for F {
    fn event(&self, event: Event<'_>) {
        self(event);
    }
}
