//! Why a file is refused.

use core::{error, fmt};

/// Why a file is refused. Every variant names the field, so that a message says what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FormatError {
    /// The file ends before the named part.
    Truncated(&'static str),
    /// The magic number is not that of the format.
    Magic(&'static str),
    /// Made for another machine (`e_machine`).
    Architecture(u16),
    /// Written by a version that this reader does not know.
    Version(u16),
    /// Uses features without which the file cannot be understood.
    Features(u64),
    /// The file's size is not the recorded one.
    Size {
        /// Bytes recorded in the header.
        recorded: u64,
        /// Bytes that are there.
        actual: u64,
    },
    /// The checksum does not match.
    Checksum(&'static str),
    /// A reserved byte is not zero.
    Reserved(&'static str),
    /// A length or count is above its cap.
    TooLarge(&'static str),
    /// A value that the format does not allow.
    Invalid(&'static str),
    /// A value that the format does not allow, in the record with that index.
    InvalidRecord {
        /// The field.
        what: &'static str,
        /// Index of the record in its table.
        index: u32,
    },
}

// By hand: the loader has no std, and cargo builds one `thiserror` for the whole workspace, with std as soon as any crate
// asks for it.
impl error::Error for FormatError {}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            FormatError::Truncated(it) => write!(f, "truncated: {it} lies beyond the end of the file"),
            FormatError::Magic(it) => write!(f, "not {it}: wrong magic number"),
            FormatError::Architecture(it) => write!(f, "made for another architecture (e_machine {it})"),
            FormatError::Version(it) => write!(f, "format version {it} is not known to this program"),
            FormatError::Features(it) => write!(f, "needs unknown features {it:#x}"),
            FormatError::Size { recorded, actual } => {
                write!(f, "the file has {actual} bytes, its header says {recorded}")
            }
            FormatError::Checksum(it) => write!(f, "damaged: the checksum of {it} does not match"),
            FormatError::Reserved(it) => write!(f, "reserved bytes in {it} are not zero"),
            FormatError::TooLarge(it) => write!(f, "{it} is above its limit"),
            FormatError::Invalid(it) => write!(f, "invalid {it}"),
            FormatError::InvalidRecord { what, index } => write!(f, "invalid {what} in record {index}"),
        }
    }
}
