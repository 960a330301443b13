//! Why a file is refused.

use thiserror::Error;

/// Why a file is refused. Every variant names the field, so that a message says what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The file ends before the named part.
    #[error("truncated: {0} lies beyond the end of the file")]
    Truncated(&'static str),
    /// The magic number is not that of the format.
    #[error("not {0}: wrong magic number")]
    Magic(&'static str),
    /// Made for another machine (`e_machine`).
    #[error("made for another architecture (e_machine {0})")]
    Architecture(u16),
    /// Written by a version that this reader does not know.
    #[error("format version {0} is not known to this program")]
    Version(u16),
    /// Uses features without which the file cannot be understood.
    #[error("needs unknown features {0:#x}")]
    Features(u64),
    /// The file's size is not the recorded one.
    #[error("the file has {actual} bytes, its header says {recorded}")]
    Size {
        /// Bytes recorded in the header.
        recorded: u64,
        /// Bytes that are there.
        actual: u64,
    },
    /// The checksum does not match.
    #[error("damaged: the checksum of {0} does not match")]
    Checksum(&'static str),
    /// A reserved byte is not zero.
    #[error("reserved bytes in {0} are not zero")]
    Reserved(&'static str),
    /// A length or count is above its cap.
    #[error("{0} is above its limit")]
    TooLarge(&'static str),
    /// A value that the format does not allow.
    #[error("invalid {0}")]
    Invalid(&'static str),
    /// A value that the format does not allow, in the record with that index.
    #[error("invalid {what} in record {index}")]
    InvalidRecord {
        /// The field.
        what: &'static str,
        /// Index of the record in its table.
        index: u32,
    },
}
