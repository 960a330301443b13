//! Events that are reported while a verb runs.

use snapfn_image::LayerKind;
use snapfn_registry::Digest;

/// Something that happened. Sizes are bytes.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The search of the snapshots for credentials begins.
    Scanning {
        /// Bytes that will be read.
        total: u64,
    },
    /// Reading and cutting the snapshots begins.
    Reading {
        /// Bytes that will be read.
        total: u64,
    },
    /// Bytes of the snapshots have been read or, after [`Event::Layers`], bytes of content that goes into layers.
    Read {
        /// Bytes since the last such event.
        bytes: u64,
    },
    /// The number and size of the layers are known.
    Layers {
        /// Their number.
        count: usize,
        /// Bytes in them. A push counts content (without a base), a pull counts blobs.
        total: u64,
    },
    /// A layer needs no transfer.
    Present {
        /// Its index.
        layer: usize,
        /// Its purpose.
        kind: Option<LayerKind>,
        /// Its digest.
        digest: &'a Digest,
        /// Bytes that need not be sent.
        size: u64,
        /// Why it need not be sent.
        how: Present,
    },
    /// A layer has been transferred.
    Transferred {
        /// Its index.
        layer: usize,
        /// Its purpose.
        kind: Option<LayerKind>,
        /// Its digest.
        digest: &'a Digest,
        /// Its size.
        size: u64,
        /// Bytes that moved now.
        moved: u64,
    },
    /// An event of the registry's client about a transfer.
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
