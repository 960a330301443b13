//! What can go wrong.

use snapfn_store::{NameError, StoreError, SummaryError};
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why an instance could not be started or waited for.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The name is neither a name in the local store nor a path.
    #[error("{name}: {source}, use NAME[:TAG] or a path")]
    Name {
        /// What was given.
        name: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// The name is a reference to a registry.
    #[error("{0}: not in the local store, pull it first")]
    Registry(String),
    /// The store does not have the snapshot, or one of its files.
    #[error("{name}: {source}")]
    Store {
        /// The snapshot.
        name: String,
        /// What the store says.
        source: StoreError,
    },
    /// The snapshot file is damaged, or not one.
    #[error("{name}: {source}, make it again or run snaprepo verify")]
    Damaged {
        /// The snapshot.
        name: String,
        /// What is wrong with it.
        source: SummaryError,
    },
    /// Memory of the snapshot is writable and executable at once, which the options do not allow.
    #[error(
        "{0}: has memory that is writable and executable at once, allow that (SnapshotOptions::allow_wx, SNAPFN_ALLOW_WX, \
         --allow-wx) if its program needs it"
    )]
    WritableCode(String),
    /// A file that the snapshot maps cannot be used.
    #[error("{name}: {}: {why}", .path.display())]
    File {
        /// The snapshot.
        name: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// There is no `snaprun`.
    #[error("snaprun is neither in PATH nor in /usr/local/bin; install it or set SNAPFN_SNAPRUN")]
    NoLoader,
    /// An argument, a variable or a path contains a zero byte, or a variable's name is not one.
    #[error("{0} contains a zero byte or is not a variable's name")]
    Text(&'static str),
    /// Arguments and environment are larger than a prepared instance accepts.
    #[error("the arguments and variables are more than a prepared instance accepts: 65536 of each, and 2 MiB in all")]
    TooLong,
    /// A system call failed in this process, or in the child before it was `snaprun`.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// `snaprun` could not make the process an instance.
    #[error("{message}")]
    NotStarted {
        /// 125: cannot restore; 126: found but not runnable; 127: not found.
        status: i32,
        /// What it says: one line, without the line break.
        message: String,
    },
}

impl Error {
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Error::System { what, source }
    }

    /// The exit status that `snaprun` would have for it.
    pub fn exit_status(&self) -> i32 {
        match self {
            Error::NotStarted { status, .. } => *status,
            Error::Name { .. } | Error::Registry(_) | Error::Store { source: StoreError::UnknownRef { .. }, .. } => 127,
            Error::Store { source: StoreError::Io { source, .. }, .. } if source.kind() == io::ErrorKind::NotFound => {
                127
            }
            Error::Store { source: StoreError::Io { .. } | StoreError::NotAFile { .. }, .. } => 126,
            _ => 125,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::System { source, .. } => source,
            other => {
                let kind = match other.exit_status() {
                    127 => io::ErrorKind::NotFound,
                    _ => io::ErrorKind::Other,
                };
                io::Error::new(kind, other)
            }
        }
    }
}
