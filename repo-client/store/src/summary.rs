//! What the store has to know about a snapshot file: its program and the files that it needs.

use crate::{Digest, Kind, SummaryError};
use std::fs::File;

/// What `snaprepo` shows of a snapshot, and what a garbage collection keeps for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Path of the program at the time of the snapshot.
    pub program: Option<String>,
    /// The files that the snapshot maps.
    pub files: Vec<(Kind, Digest)>,
}

/// How a snapshot file is read; a parameter so that the store's own tests need no snapshots.
pub type Summarize<'a> = &'a dyn Fn(&File) -> Result<Summary, SummaryError>;

/// Reads the program and the needed files of a snapshot file.
pub fn summarize(_snapshot: &File) -> Result<Summary, SummaryError> {
    Err(SummaryError::Unsupported)
}
