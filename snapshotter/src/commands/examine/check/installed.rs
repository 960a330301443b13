//! Compares the program or library that is installed here with the one in the snapshot.

use super::package;
use object::LittleEndian as LE;
use object::elf::{ELF_NOTE_GNU, FileHeader64, NT_GNU_BUILD_ID};
use object::read::elf::{FileHeader as _, ProgramHeader as _};
use serde::Serialize;
use snapfn_split::{SplitError, split_open};
use snapfn_store::{Digest, Kind, StoreError, Stores, open_file};
use std::fmt::{self, Write};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek};
use std::path::Path;

/// What lies at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Installed {
    /// A file whose code is that of the snapshot.
    Same,
    /// A file with other code.
    Other(Difference),
    /// Nothing.
    Absent,
    /// Something else.
    Unknown(String),
}

/// The difference between the file in a snapshot and the installed one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    /// Path that the program saw.
    path: String,
    /// Build-ids in hexadecimal; absent where a file has none.
    snapshot_build_id: Option<String>,
    host_build_id: Option<String>,
    /// Package and version of the host's file, if its package manager knows them.
    host_package: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let package = self.host_package.as_ref().map_or(String::new(), |package| format!(" ({package})"));
        match (&self.snapshot_build_id, &self.host_build_id) {
            (Some(one), Some(other)) if one == other => write!(
                f,
                "the snapshot and the host{package} have build-id {one}, but other bytes: stripped or changed since"
            )?,
            (one, other) => {
                let id =
                    |id: &Option<String>| id.as_ref().map_or("no build-id".to_owned(), |id| format!("build-id {id}"));
                write!(f, "the snapshot has {}, the host has {}{package}", id(one), id(other))?;
            }
        }
        f.write_str("; make the snapshot again to use that one")
    }
}

/// Splits the file at `path` as the snapshotter did, and compares the digest of its code.
pub(super) fn compare(path: &Path, code: Digest, stores: &Stores) -> Installed {
    if path.as_os_str().is_empty() {
        return Installed::Absent;
    }
    // The path comes from the snapshot, and may be any.
    let file = match open_file(path) {
        Ok(file) => file,
        Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => return Installed::Absent,
        Err(error) => return Installed::Unknown(error.to_string()),
    };
    let host_build_id = match split_open(&file, path) {
        Ok(split) if split.code_digest == code => return Installed::Same,
        Ok(_) => beginning(file).and_then(|bytes| build_id(&bytes)),
        // A file that is no longer ELF counts as another version, too.
        Err(SplitError::NotElf | SplitError::Class | SplitError::Machine(_)) => None,
        Err(error) => return Installed::Unknown(error.to_string()),
    };
    Installed::Other(Difference {
        path: path.display().to_string(),
        snapshot_build_id: stored(code, stores).and_then(|bytes| build_id(&bytes)),
        host_build_id,
        host_package: package::owner(path),
    })
}

/// The snapshot's own file: headers and notes are where they were in the original.
fn stored(code: Digest, stores: &Stores) -> Option<Vec<u8>> {
    let (store, _) = stores.locate(Kind::Code, code).ok()?;
    beginning(store.open(Kind::Code, code).ok()?)
}

/// The bytes that may have notes, at the beginning of a file. A longer file is not read to its end.
fn beginning(mut file: File) -> Option<Vec<u8>> {
    const MOST: u64 = 64 << 20;
    let mut bytes = Vec::new();
    file.rewind().ok()?;
    file.take(MOST).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// NT_GNU_BUILD_ID of an ELF file, in hexadecimal.
fn build_id(bytes: &[u8]) -> Option<String> {
    let elf = FileHeader64::<LE>::parse(bytes).ok()?;
    for header in elf.program_headers(LE, bytes).ok()? {
        let Ok(Some(mut notes)) = header.notes(LE, bytes) else { continue };
        while let Ok(Some(note)) = notes.next() {
            if note.n_type(LE) == NT_GNU_BUILD_ID && note.name() == ELF_NOTE_GNU {
                let mut hex = String::new();
                note.desc().iter().try_for_each(|byte| write!(hex, "{byte:02x}")).ok()?;
                return Some(hex);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_elf_file_has_no_build_id() {
        for bytes in [&b""[..], b"\x7fELF", &[0; 200]] {
            assert_eq!(build_id(bytes), None);
        }
        let own = std::fs::read("/proc/self/exe").unwrap_or_default();
        for cut in [64, 200, 700, 4096] {
            // The function does not fail on any input.
            let _ = build_id(own.get(..cut).unwrap_or_default());
        }
    }

    #[test]
    fn differences_in_words() {
        let id = |id: &str| Some(id.to_owned());
        let mut difference =
            Difference { snapshot_build_id: id("aa"), host_build_id: id("bb"), ..Difference::default() };
        difference.host_package = Some("libc6 2.36-9".into());
        assert!(
            difference
                .to_string()
                .starts_with("the snapshot has build-id aa, the host has build-id bb (libc6 2.36-9);")
        );
        difference.host_build_id = None;
        assert!(difference.to_string().contains("the host has no build-id (libc6"), "{difference}");
        difference.host_build_id = id("aa");
        assert!(difference.to_string().contains("have build-id aa, but other bytes"), "{difference}");
    }
}
