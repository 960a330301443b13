//! The client's reports while it works, for progress bars and logs.

use crate::Digest;
use std::path::Path;
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
pub enum Event<'a> {
    /// A blob's content begins to move.
    BlobStarted {
        /// The direction.
        direction: Direction,
        /// The blob's repository.
        repository: &'a str,
        /// The blob's digest.
        digest: &'a Digest,
        /// Its size in bytes.
        size: u64,
        /// Bytes that had arrived before.
        from: u64,
    },
    /// Content has moved. The position is absolute. It goes back when an upload must begin again.
    BlobProgress {
        /// The direction.
        direction: Direction,
        /// The blob's digest.
        digest: &'a Digest,
        /// Bytes of the blob that have moved, those before `from` included.
        position: u64,
    },
    /// All of a blob's content has moved.
    BlobFinished {
        /// The direction.
        direction: Direction,
        /// The blob's digest.
        digest: &'a Digest,
    },
    /// A request failed and will be made again.
    Retry {
        /// The action, as a phrase ("upload a blob").
        what: &'a str,
        /// Number of attempts that have failed so far.
        failed: u32,
        /// The wait before the next attempt.
        wait: Duration,
        /// Why the last attempt failed.
        why: &'a str,
    },
    /// The place of an upload could not be written down: if it is interrupted, the next one begins at its start.
    NotRecorded {
        /// The file that would have named it.
        path: &'a Path,
        /// Why it could not be written.
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

/// Ignores all events.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Events for Silent {
    fn event(&self, _: Event<'_>) {}
}
