//! Why an operation on the store fails.

use crate::{Digest, Kind, Ref, Untrusted};
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why the needs of a snapshot cannot be read.
#[derive(Debug, Error)]
pub enum SummaryError {
    /// The file cannot be read.
    #[error("{}", plain(.0))]
    Io(#[from] io::Error),
    /// The file is not a snapshot that this version reads.
    #[error(transparent)]
    Format(#[from] snapfn_format::FormatError),
}

/// Why an operation on the store fails.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A system call failed.
    #[error("cannot {what} {}: {}", .path.display(), plain(.source))]
    Io {
        /// What was tried, as a verb.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// The disk, the quota or RLIMIT_FSIZE ends here.
    #[error("cannot write {}: {}; free some space (`snaprepo gc`) or point SNAPFN_STORE at another disk",
            .path.display(), plain(.source))]
    NoSpace {
        /// The file that was being written. It has been removed.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// A file of the store may not be read, since it is another user's snapshot.
    #[error("cannot open {}: permission denied; if it is another user's, its owner must make the snapshot with \
            `snapshotter create --share`", .path.display())]
    Private {
        /// The file.
        path: PathBuf,
    },
    /// The store may not be written to.
    #[error("cannot write to the store: {}: {}; set SNAPFN_STORE to a store of your own",
            .path.display(), plain(.source))]
    ReadOnly {
        /// The file or directory that could not be made.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// No variable names a store to write to.
    #[error("no store to write to: set SNAPFN_STORE, XDG_DATA_HOME or HOME")]
    NoWritable,
    /// Something else lies where a regular file belongs.
    #[error("{} is {found}, not a regular file; remove it", .path.display())]
    NotAFile {
        /// Where.
        path: PathBuf,
        /// What lies there.
        found: &'static str,
    },
    /// A file that another user can change, or has planted.
    #[error("{} is not used: {why}", .path.display())]
    Untrusted {
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        why: Untrusted,
    },
    /// A reference that this store would never have written.
    #[error("{} is not a reference ({why}); remove it", .path.display())]
    BadRef {
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No store on the search path has that reference.
    #[error("no such snapshot in {searched}; `snaprepo ls` shows what there is")]
    UnknownRef {
        /// The reference that the caller asked for.
        reference: Ref,
        /// The roots that were searched.
        searched: String,
    },
    /// A file that a tag or a snapshot names is missing.
    #[error("{kind}/{digest} is missing from the store; make the snapshot again")]
    Missing {
        /// Its kind.
        kind: Kind,
        /// Its name.
        digest: Digest,
    },
    /// A tag has from one to [`crate::MAX_VARIANTS`] snapshots.
    #[error("a tag cannot have {0} snapshots, only 1 to {max}", max = crate::MAX_VARIANTS)]
    Variants(usize),
    /// Content from elsewhere does not have the digest that was announced.
    #[error("{kind}/{expected} came with content that has the digest {actual}; nothing of it was kept")]
    Digest {
        /// Its kind.
        kind: Kind,
        /// What it should have been.
        expected: Digest,
        /// What it was.
        actual: Digest,
    },
    /// Another process holds the lock.
    #[error("the store {} is in use by another process; try again when it has finished", .root.display())]
    Busy {
        /// Which store.
        root: PathBuf,
    },
    /// Garbage cannot be distinguished from files that are needed.
    #[error("cannot tell what {} needs ({source}); remove it first, nothing was deleted", .path.display())]
    Unreadable {
        /// The snapshot.
        path: PathBuf,
        /// Why it cannot be read.
        source: SummaryError,
    },
}

impl StoreError {
    /// Wraps what a system call on `path` returned.
    pub(crate) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => StoreError::NoSpace { path, source },
            _ => StoreError::Io { what, path, source },
        }
    }

    /// The same for opening a file of a store for reading.
    pub(crate) fn reading(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied => StoreError::Private { path: path.to_path_buf() },
            _ => StoreError::io("open", path, source),
        }
    }

    /// The same for making a file or directory in a store.
    pub(crate) fn writing(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                StoreError::ReadOnly { path: path.to_path_buf(), source }
            }
            _ => StoreError::io("create", path, source),
        }
    }
}

/// The kernel's message without Rust's "(os error N)".
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_string(),
        None => text,
    }
}
