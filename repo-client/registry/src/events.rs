//! What a client tells while it works, for progress bars and logs.

use crate::Digest;
use std::time::Duration;

/// Which way a blob goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the registry.
    Download,
    /// To the registry.
    Upload,
}

/// Something that happened.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A blob's content begins to move.
    BlobStarted {
        /// Which way.
        direction: Direction,
        /// Whose blob.
        repository: &'a str,
        /// Which blob.
        digest: &'a Digest,
        /// Its size in bytes.
        size: u64,
        /// Bytes that were there before.
        from: u64,
    },
    /// Content has moved. The position is absolute; it goes back when an upload must begin again.
    BlobProgress {
        /// Which way.
        direction: Direction,
        /// Which blob.
        digest: &'a Digest,
        /// Bytes of the blob that have moved, those before `from` included.
        position: u64,
    },
    /// All of a blob's content has moved.
    BlobFinished {
        /// Which way.
        direction: Direction,
        /// Which blob.
        digest: &'a Digest,
    },
    /// A request failed and will be made again.
    Retry {
        /// What is being done, as a phrase ("upload a blob").
        what: &'a str,
        /// How many attempts have failed so far.
        failed: u32,
        /// How long it will wait before the next.
        wait: Duration,
        /// Why the last attempt failed.
        why: &'a str,
    },
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

/// Takes no notice.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Events for Silent {
    fn event(&self, _: Event<'_>) {}
}
