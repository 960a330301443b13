//! Is the program or library that is installed here the one in the snapshot?

use snapfn_split::{SplitError, split_file};
use snapfn_store::Digest;
use std::path::Path;

/// What lies at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Installed {
    /// A file whose code is that of the snapshot.
    Same,
    /// A file with other code.
    Other,
    /// Nothing.
    Absent,
    /// Something else.
    Unknown(String),
}

/// Splits the file at `path` as the snapshotter did, and compares the digest of its code.
pub(super) fn compare(path: &Path, code: Digest) -> Installed {
    if path.as_os_str().is_empty() || !path.exists() {
        return Installed::Absent;
    }
    match split_file(path) {
        Ok(split) if split.code_digest == code => Installed::Same,
        // What is no ELF any more is another version, too.
        Ok(_) | Err(SplitError::NotElf | SplitError::Class | SplitError::Machine(_)) => Installed::Other,
        Err(error) => Installed::Unknown(error.to_string()),
    }
}
