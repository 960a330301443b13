//! From a name on the command line to an open snapshot with a validated plan.

use super::text::printable;
use snapfn_format::FormatError;
use snapfn_format::snap::notes;
use snapfn_format::snap::{FILE_CODE, FILE_DATA, FILE_SELF, OP_MAP_FILE, OP_READ, Op, Plan, peek_header};
use snapfn_store::{Digest, Kind, NameError, Store, StoreError, Stores, Target, Untrusted, open_file};
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use thiserror::Error;
use zerocopy::IntoBytes;

/// Why a snapshot or this host cannot be examined, or what is wrong with it.
#[derive(Debug, Error)]
pub(crate) enum ExamineError {
    /// The argument is no name.
    #[error("{}: {source}", show(.name))]
    Name { name: OsString, source: NameError },
    /// The argument names an image in a registry.
    #[error("{0}: not in the local store, `snaprepo pull` it first")]
    Registry(String),
    /// The store has no such snapshot, or cannot be read.
    #[error("{}: {source}", show(.name))]
    Store { name: OsString, source: StoreError },
    /// The file of the store cannot be opened; the error names it.
    #[error("{0}")]
    Stored(StoreError),
    /// Another kind of file.
    #[error("{}: not a snapshot: make one with `snapshotter create -- PROGRAM ARGS…`, then name it", show(.0))]
    Foreign(PathBuf),
    /// Not a snapshot that this version reads.
    #[error("{}: {source}; name a snapshot, or make it again", show(.path))]
    Format { path: PathBuf, source: FormatError },
    /// A system call failed.
    #[error("cannot {what} {}: {}", show(.path), plain(.source))]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    /// Something else than a file.
    #[error("{}: not a regular file; name a snapshot", show(.0))]
    NotRegular(PathBuf),
    /// The plan maps a few stored pages so often that a comparison would not end.
    #[error("{}: maps its pages again and again, which no valid snapshot does; make it again", show(.0))]
    Repetitive(PathBuf),
    /// No copy for debuggers can be made.
    #[error("{}: {why}", show(.path))]
    Core { path: PathBuf, why: &'static str },
    /// A check found something.
    #[error("{0}")]
    Failed(String),
    /// Output could not be written.
    #[error("cannot write the result: {}", plain(.0))]
    Output(io::Error),
}

fn show(name: impl AsRef<OsStr>) -> String {
    printable(&name.as_ref().to_string_lossy())
}

/// The kernel's message without Rust's "(os error N)".
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error ").next().unwrap_or_default().to_string()
}

impl ExamineError {
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        move |source| ExamineError::Io { what, path: path.into(), source }
    }
}

/// An open snapshot.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) path: PathBuf,
    /// Its digest in the store; a file elsewhere has none.
    pub(crate) digest: Option<Digest>,
    /// All snapshots of its tag, this one included, if there are several.
    pub(crate) variants: Vec<Digest>,
    store: Option<Store>,
    /// Every user may read it.
    pub(crate) shared: bool,
    pub(crate) size: u64,
    file: File,
    /// The meta part, with the alignment that the format needs.
    meta: Vec<u64>,
}

impl Snapshot {
    /// Opens the snapshot `name` and validates its header and plan.
    pub(crate) fn open(stores: &Stores, name: &OsStr) -> Result<Self, ExamineError> {
        let store_error = |source| ExamineError::Store { name: name.to_owned(), source };
        let target = Target::parse(name).map_err(|source| ExamineError::Name { name: name.to_owned(), source })?;
        match target {
            Target::Registry(reference) => Err(ExamineError::Registry(reference)),
            Target::File(path) => {
                let file = open_regular(&path)?;
                Self::read(path, None, file)
            }
            Target::Local(reference) => {
                let found = stores.resolve(&reference).map_err(store_error)?;
                let variants = found.store.variants(&reference).map_err(store_error)?.unwrap_or_default();
                let mut snapshot = Self::stored(&found.store, found.blob.digest)?;
                snapshot.variants = if variants.len() > 1 { variants } else { Vec::new() };
                Ok(snapshot)
            }
        }
    }

    /// Opens a file of a store.
    fn stored(store: &Store, digest: Digest) -> Result<Self, ExamineError> {
        let path = store.path(Kind::Snap, digest);
        let file = store.open(Kind::Snap, digest).map_err(ExamineError::Stored)?;
        let mut snapshot = Self::read(path.clone(), Some(digest), file)?;
        snapshot.store = Some(store.clone());
        Ok(snapshot)
    }

    fn read(path: PathBuf, digest: Option<Digest>, file: File) -> Result<Self, ExamineError> {
        let meta = file.metadata().map_err(ExamineError::io("look at", &path))?;
        let (size, shared) = (meta.len(), meta.mode() & 0o004 != 0);
        let mut snapshot =
            Snapshot { path, digest, variants: Vec::new(), store: None, shared, size, file, meta: Vec::new() };
        snapshot.meta = snapshot.read_words(size.min(4096))?;
        let header = peek_header(snapshot.meta.as_bytes(), size).map_err(|e| snapshot.format(e))?;
        snapshot.meta = snapshot.read_words(header.meta_len)?;
        snapshot.plan()?;
        Ok(snapshot)
    }

    /// The other snapshots of its tag, each with its number in it, from 1 on.
    pub(crate) fn others(&self) -> impl Iterator<Item = (usize, Digest, Result<Snapshot, ExamineError>)> {
        let numbered = self.variants.iter().enumerate().filter(|(_, digest)| Some(**digest) != self.digest);
        numbered.filter_map(|(index, digest)| {
            self.store.as_ref().map(|store| (index + 1, *digest, Snapshot::stored(store, *digest)))
        })
    }

    /// Whether `snaprun` would use the file, if it is one of a store.
    pub(crate) fn trust(&self, stores: &Stores) -> Result<Result<(), Untrusted>, ExamineError> {
        let meta = self.file.metadata().map_err(ExamineError::io("look at", &self.path))?;
        Ok(if self.store.is_some() { stores.trust(&meta) } else { Ok(()) })
    }

    /// The validated plan.
    pub(crate) fn plan(&self) -> Result<Plan<'_>, ExamineError> {
        Plan::parse(self.meta.as_bytes(), self.size).map_err(|source| self.format(source))
    }

    /// Fills `buffer` from `offset` on.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), ExamineError> {
        self.file.read_exact_at(buffer, offset).map_err(ExamineError::io("read", &self.path))
    }

    /// The same, with the kernel's error alone.
    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    /// The word at `addr`, a multiple of 8, of an instance's memory, from this file or from one of the store. It is
    /// zero if no bytes are stored there.
    pub(crate) fn word(&self, plan: &Plan<'_>, stores: &Stores, addr: u64) -> Result<u64, ExamineError> {
        let covers = |op: &&Op| matches!(op.kind, OP_MAP_FILE | OP_READ) && (op.addr..op.addr + op.len).contains(&addr);
        // Reads into a mapping come after it.
        let Some(op) = plan.ops.iter().rfind(covers) else { return Ok(0) };
        let Some(source) = plan.files.get(usize::from(op.file)) else { return Ok(0) };
        let offset = op.offset + (addr - op.addr);
        let mut word = [0; 8];
        let stored = match source.kind {
            FILE_SELF => return self.read_at(&mut word, offset).map(|()| u64::from_le_bytes(word)),
            FILE_CODE => stores.find(Kind::Code, source.digest),
            FILE_DATA => stores.find(Kind::Data, source.digest),
            _ => None,
        };
        let Some(path) = stored else { return Ok(0) };
        open_regular(&path)?.read_exact_at(&mut word, offset).map_err(ExamineError::io("read", &path))?;
        Ok(u64::from_le_bytes(word))
    }

    /// The segment that begins with the notes about what it was made of; empty if the file has none.
    pub(crate) fn notes(&self) -> Result<Vec<u8>, ExamineError> {
        let Some(headers) = notes::note_headers(self.meta.as_bytes(), self.size) else { return Ok(Vec::new()) };
        let mut bytes = vec![0; (headers.end - headers.start) as usize];
        self.read_at(&mut bytes, headers.start)?;
        let Some(segment) = notes::notes_segment(&bytes, self.size) else { return Ok(Vec::new()) };
        let mut bytes = vec![0; (segment.end - segment.start) as usize];
        self.read_at(&mut bytes, segment.start)?;
        Ok(bytes)
    }

    /// The error that this snapshot has such a fault.
    pub(crate) fn format(&self, source: FormatError) -> ExamineError {
        match source {
            FormatError::Magic(_) => ExamineError::Foreign(self.path.clone()),
            source => ExamineError::Format { path: self.path.clone(), source },
        }
    }

    /// The first `len` bytes, padded with zeros to whole words. `len` is capped by the caller.
    fn read_words(&self, len: u64) -> Result<Vec<u64>, ExamineError> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let mut words = vec![0u64; len.div_ceil(8)];
        self.read_at(&mut words.as_mut_bytes()[..len], 0)?;
        Ok(words)
    }
}

/// Opens a file for reading if it is a regular file.
pub(crate) fn open_regular(path: &Path) -> Result<File, ExamineError> {
    open_file(path).map_err(|error| match error {
        StoreError::NotAFile { path, .. } => ExamineError::NotRegular(path),
        StoreError::Io { what, path, source } => ExamineError::Io { what, path, source },
        source => ExamineError::Store { name: path.into(), source },
    })
}

/// Writes `text` to standard output. A reader that has seen enough (`… | head`) is no failure.
pub(crate) fn print(text: impl Display) -> Result<(), ExamineError> {
    use std::io::Write;
    let mut out = io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(ExamineError::Output(error)),
        _ => Ok(()),
    }
}

/// Writes `value` to standard output as JSON.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<(), ExamineError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| ExamineError::Output(error.into()))?;
    print(text + "\n")
}
