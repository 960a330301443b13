//! Why a file cannot be split.

use snapfn_format::FormatError;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a file cannot be split.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SplitError {
    /// A system call on a file failed.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A directory, FIFO, device or the like.
    #[error("{} is not a regular file", .0.display())]
    NotRegular(PathBuf),
    /// A file that no split has written has the name of an output.
    #[error("{} exists and is not a file that a split has written; it stays as it is", .0.display())]
    Foreign(PathBuf),
    /// More bytes than one split handles.
    #[error("{0} bytes are too many to split")]
    TooLarge(u64),
    /// No ELF magic number.
    #[error("not an ELF file")]
    NotElf,
    /// ELF of another class, byte order or version.
    #[error("not a 64-bit little-endian ELF file")]
    Class,
    /// ELF for another machine.
    #[error("made for another architecture (e_machine {0})")]
    Machine(u16),
    /// An object file, core file or the like.
    #[error("neither an executable nor a shared library (e_type {0})")]
    Type(u16),
    /// Headers that no kernel would accept.
    #[error("invalid ELF: {0}")]
    Invalid(&'static str),
    /// A program header that the kernel would not accept, or whose segment cannot be rebuilt.
    #[error("program header {index}: {what}")]
    Segment {
        /// Its index.
        index: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// The values found do not fit into an init data file.
    #[error("cannot be described by an init data file: {0}")]
    Format(#[from] FormatError),
    /// The two files do not rebuild the input.
    #[error("the split does not reproduce its input: {0}")]
    Check(&'static str),
}

impl SplitError {
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        SplitError::Io { action, path: path.to_owned(), source }
    }
}
