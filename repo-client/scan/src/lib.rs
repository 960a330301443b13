//! Finds credentials of well-known forms in the bytes of a snapshot, or of any file that will be published with one.
//!
//! ```text
//!  patterns   the forms of credentials          place   from an offset in the file to an address of the program
//!  scan_file  4 MiB at a time, for files of any size
//! ```
//! The search is only for forms that no other text has, so that a finding is worth a stop. A password has no form. No
//! finding contains the whole credential.

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod patterns;
mod place;

use patterns::{LONGEST, Patterns};
pub use place::Place;
use place::Places;
use serde::Serialize;
use snapfn_format::snap::{FILE_CODE, FILE_DATA};
use snapfn_store::{Kind, SnapshotMeta, StoreError, Stores, SummaryError};
use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use thiserror::Error;

/// Bytes searched at a time.
const CHUNK: usize = 4 << 20;
/// Most findings that are reported.
const MAX_FINDINGS: usize = 1000;

/// Why a file could not be searched.
#[derive(Debug, Error)]
pub enum ScanError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The needs of the snapshot cannot be read.
    #[error(transparent)]
    Summary(#[from] SummaryError),
    /// What it needs is not there.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The table of patterns is wrong.
    #[error("the patterns cannot be used ({0}); this is a bug, please report it")]
    Patterns(#[from] regex::Error),
}

/// What looks like a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind of credential.
    pub kind: &'static str,
    /// How it begins, and its length.
    pub redacted: String,
    /// The stored file of the finding, if that is not the snapshot itself.
    pub file: Option<String>,
    /// Offset in the file.
    pub offset: u64,
    /// What of the program lies there.
    pub place: Place,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) in {}", self.kind, self.redacted, self.place)?;
        match &self.file {
            Some(file) => write!(f, ", offset {:#x} of {file}", self.offset),
            None => write!(f, ", offset {:#x} of the snapshot", self.offset),
        }
    }
}

/// A part of it, enough for a reader who knows it to recognise it.
fn redact(found: &[u8]) -> String {
    let shown: String = found.iter().take(8).map(|byte| char::from(*byte)).collect();
    format!("{shown}…, {} bytes", found.len())
}

/// Searches a snapshot, its program, and the files that it maps. It does not search libraries: they are as their
/// package shipped them.
pub fn scan_snapshot(
    stores: &Stores,
    snapshot: &File,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<Finding>, ScanError> {
    let mut findings = scan_file(snapshot, progress)?;
    let meta = SnapshotMeta::read(snapshot)?;
    let plan = meta.plan().map_err(SummaryError::from)?;
    let exe = plan.bytes(plan.header.process.exe);
    let searched = plan.files.iter().filter_map(|file| match file.kind {
        FILE_DATA => Some((Kind::Data, file.digest)),
        FILE_CODE if plan.bytes(file.path) == exe => Some((Kind::Code, file.digest)),
        _ => None,
    });
    for (kind, digest) in searched.collect::<BTreeSet<_>>() {
        let (store, blob) = stores.locate(kind, digest)?;
        let file = store.open(blob.kind, blob.digest)?;
        let found = scan_file(&file, progress)?;
        findings.extend(found.into_iter().map(|finding| Finding { file: Some(format!("{kind}/{digest}")), ..finding }));
    }
    Ok(findings)
}

/// Searches a file from its first byte to its last; `progress` gets the number of bytes after each read.
pub fn scan_file(file: &File, progress: &mut dyn FnMut(u64)) -> Result<Vec<Finding>, ScanError> {
    let patterns = Patterns::new()?;
    let size = file.metadata()?.len();
    let places = Places::of(file, size)?;
    let mut buffer = vec![0u8; CHUNK];
    let mut findings: Vec<Finding> = Vec::new();
    let mut at = 0;
    while at < size && findings.len() < MAX_FINDINGS {
        let len = (size - at).min(CHUNK as u64) as usize;
        let bytes = &mut buffer[..len];
        file.read_exact_at(bytes, at)?;
        let is_last = at + len as u64 == size;
        // The next piece has the whole of a finding that begins in the overlap.
        let end = if is_last { len } else { len - LONGEST };
        for (kind, range) in patterns.find(bytes).filter(|(_, range)| range.start < end) {
            let offset = at + range.start as u64;
            let redacted = redact(&bytes[range]);
            findings.push(Finding { kind, redacted, file: None, offset, place: places.at(offset) });
        }
        progress(end as u64);
        at += end as u64;
    }
    findings.truncate(MAX_FINDINGS);
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn nothing_is_lost_between_the_pieces_of_a_file() {
        let token = format!("glpat-{}", "aZ3bY4cX5dW6eV7fU8gT");
        let mut content = vec![b'.'; 3 * CHUNK];
        let places =
            [0, CHUNK - LONGEST - 3, CHUNK - 10, CHUNK + 50, 2 * CHUNK - 2 * LONGEST - 8, 3 * CHUNK - token.len()];
        for at in places {
            content[at..at + token.len()].copy_from_slice(token.as_bytes());
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        let mut read = 0;
        let found = scan_file(&file, &mut |bytes| read += bytes).unwrap();
        let offsets: Vec<_> = found.iter().map(|finding| finding.offset as usize).collect();
        assert_eq!((offsets, read), (places.to_vec(), content.len() as u64));
        assert_eq!(found[0].redacted, "glpat-aZ…, 26 bytes");
    }
}
