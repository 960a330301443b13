//! Comparing files with their names.

use crate::{Blob, Digest, Store, StoreError};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use thiserror::Error;

/// Bytes read and written at once: two of the 2 MiB folios that large writes get.
pub(crate) const CHUNK: usize = 4 << 20;

/// What is wrong with a stored file.
#[derive(Debug, Error)]
pub enum Damage {
    /// Its content does not have the digest in its name.
    #[error("is damaged: its content has the digest {actual}; delete it and make the snapshot again")]
    Content {
        /// What it hashes to.
        actual: Digest,
    },
    /// It is missing, not a regular file, or unreadable.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Reads a stored file and compares it with its name; `progress` gets the number of bytes after each read.
    pub fn verify(&self, blob: &Blob, progress: &mut dyn FnMut(u64)) -> Result<(), Damage> {
        let file = self.open(blob.kind, blob.digest)?;
        let actual = hash_file(&file, progress).map_err(|e| StoreError::io("read", &blob.path, e))?;
        match actual == blob.digest {
            true => Ok(()),
            false => Err(Damage::Content { actual }),
        }
    }
}

/// SHA-256 of a file from its first to its last byte, independent of its position. `progress` gets the number of bytes
/// after each read.
pub fn hash_file(file: &File, progress: &mut dyn FnMut(u64)) -> io::Result<Digest> {
    let size = usize::try_from(file.metadata()?.len()).unwrap_or(CHUNK);
    let mut buffer = vec![0u8; CHUNK.min(size).max(1)];
    let mut hasher = Sha256::new();
    let mut at = 0;
    loop {
        match read_some_at(file, &mut buffer, at)? {
            0 => return Ok(Digest(hasher.finalize().into())),
            got => {
                hasher.update(&buffer[..got]);
                at += got as u64;
                progress(got as u64);
            }
        }
    }
}

/// `pread`, again after a signal.
pub(crate) fn read_some_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, at) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
            other => return other,
        }
    }
}
