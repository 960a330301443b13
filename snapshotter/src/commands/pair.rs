//! The files of an export: `fn.init`, `fn.code` beside it, and the libraries' files in `fn.files`; and the paths that
//! plans have.

use snapfn_format::snap::{BytesRef, FILE_CODE, FILE_DATA, File, Plan};
use snapfn_store::{Digest, Kind};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where they are.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    /// The init data file.
    pub(crate) init: PathBuf,
    /// The program's code segment file.
    pub(crate) code: PathBuf,
    /// The directory of the other files, each under its digest. A static program has none.
    pub(crate) files: PathBuf,
}

impl Pair {
    /// Those that belong to an init data file; `None` if its name does not end in `.init`.
    pub(crate) fn of(init: &Path) -> Option<Self> {
        let is_init = init.extension() == Some(OsStr::new("init"));
        let with = |extension| init.with_extension(extension);
        is_init.then(|| Pair { init: init.to_owned(), code: with("code"), files: with("files") })
    }
}

/// A file of the store that a snapshot maps.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) kind: Kind,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// On the host of the program, as the program named it.
    pub(crate) path: PathBuf,
}

/// Those of a plan, each once.
pub(crate) fn parts(plan: &Plan<'_>) -> Vec<Part> {
    let part = |file: &File| {
        let kind = match file.kind {
            FILE_CODE => Kind::Code,
            FILE_DATA => Kind::Data,
            _ => return None,
        };
        Some(Part { kind, digest: file.digest, size: file.size, path: path(plan, file.path) })
    };
    let mut parts: Vec<Part> = plan.files.iter().filter_map(part).collect();
    parts.sort_by_key(|part| (part.kind, part.digest));
    parts.dedup_by_key(|part| (part.kind, part.digest));
    parts
}

/// A path of the plan, byte by byte, without the zero byte at its end.
pub(crate) fn path(plan: &Plan<'_>, reference: BytesRef) -> PathBuf {
    let bytes = plan.bytes(reference);
    PathBuf::from(OsStr::from_bytes(bytes.strip_suffix(&[0]).unwrap_or(bytes)))
}
