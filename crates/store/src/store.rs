//! One store root, for reading.

use crate::lock::StoreLock;
use crate::{Digest, Kind, StoreError, Transaction};
use snapfn_format::store::{PULLED, REFS, SETS};
use std::fs::{self, DirBuilder, File, FileType, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// One store root. Opening it changes nothing; the first [`Transaction`] makes the directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    root: PathBuf,
}

/// A stored file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub digest: Digest,
    /// Its path.
    pub path: PathBuf,
    /// Its length in bytes.
    pub size: u64,
    /// What it occupies on disk, in bytes.
    pub allocated: u64,
}

impl Store {
    /// The store at `root`, which need not exist.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Store { root: root.into() }
    }

    /// The root directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of a file with that name, which need not exist.
    pub fn path(&self, kind: Kind, digest: Digest) -> PathBuf {
        self.root.join(kind.dir()).join(digest.to_string())
    }

    /// The file with that name: `None` if it does not exist, an error if the name is not a regular file.
    pub fn blob(&self, kind: Kind, digest: Digest) -> Result<Option<Blob>, StoreError> {
        let path = self.path(kind, digest);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() => {
                Ok(Some(Blob { kind, digest, path, size: meta.len(), allocated: meta.blocks() * 512 }))
            }
            Ok(meta) => Err(StoreError::NotAFile { path, found: describe(meta.file_type()) }),
            Err(e) if absent(&e) => Ok(None),
            Err(e) => Err(StoreError::io("look at", &path, e)),
        }
    }

    /// All files of a kind, by name. An entry that is not a regular file is an error.
    pub fn list(&self, kind: Kind) -> Result<Vec<Blob>, StoreError> {
        let digests = self.digests(kind)?.into_iter();
        digests.filter_map(|digest| self.blob(kind, digest).transpose()).collect()
    }

    /// The names of all files of a kind. Entries whose name is not a digest are skipped.
    pub fn digests(&self, kind: Kind) -> Result<Vec<Digest>, StoreError> {
        let names = entries(&self.root.join(kind.dir()))?;
        let mut digests: Vec<_> = names.iter().filter_map(|name| Digest::from_hex(name.as_encoded_bytes())).collect();
        digests.sort();
        Ok(digests)
    }

    /// Begins to write: makes the directories, and keeps garbage collection out until the result is dropped.
    pub fn begin(&self) -> Result<Transaction, StoreError> {
        self.create_dirs()?;
        Ok(Transaction::new(self.clone(), StoreLock::shared(&self.root)?))
    }

    fn create_dirs(&self) -> Result<(), StoreError> {
        // A snapshot holds memory, perhaps secrets. A user who wants to share a store makes the root, or changes its
        // mode.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.root)
            .map_err(|e| StoreError::writing(&self.root, e))?;
        directories().try_for_each(|dir| make_dir(&self.root.join(dir)))
    }
}

/// The directories of every store.
pub(crate) fn directories() -> impl Iterator<Item = &'static str> {
    Kind::ALL.map(Kind::dir).into_iter().chain([REFS, PULLED, "roots", SETS, "tmp"])
}

/// Makes one directory of mode 0755, with any umask: only the mode of the root restricts access. Another process may
/// remove a tag's directory in the meantime, with the last tag in it. That is no error here, since setting a tag begins
/// anew if the directory is gone.
pub(crate) fn make_dir(path: &Path) -> Result<(), StoreError> {
    let checked = match fs::create_dir(path) {
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(0o755))
            .map_err(|e| StoreError::io("set the mode of", path, e)),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_dir() => Ok(()),
            Ok(_) => Err(StoreError::io("use", path, io::Error::from_raw_os_error(libc::ENOTDIR))),
            Err(e) => Err(StoreError::io("look at", path, e)),
        },
        Err(e) => return Err(StoreError::writing(path, e)),
    };
    match checked {
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Opens a file for reading if it is a regular file. The type is checked before the file is opened: to open a device
/// may have any effect, and to open a FIFO wakes its writers. The function then opens the same file, even if the name
/// now leads to another one.
pub(crate) fn open_regular(path: &Path, flags: i32) -> Result<File, StoreError> {
    let place = OpenOptions::new().read(true).custom_flags(flags | libc::O_PATH).open(path);
    let place = match place {
        Ok(place) => place,
        Err(e) => {
            return Err(match fs::symlink_metadata(path) {
                Ok(meta) if !meta.is_file() && e.raw_os_error() != Some(libc::ENOENT) => {
                    StoreError::NotAFile { path: path.to_path_buf(), found: describe(meta.file_type()) }
                }
                _ => StoreError::io("open", path, e),
            });
        }
    };
    let meta = place.metadata().map_err(|e| StoreError::io("look at", path, e))?;
    if !meta.is_file() {
        return Err(StoreError::NotAFile { path: path.to_path_buf(), found: describe(meta.file_type()) });
    }
    let found = PathBuf::from(format!("/proc/self/fd/{}", place.as_raw_fd()));
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(found);
    file.map_err(|e| StoreError::io("open", path, e))
}

/// Opens a file outside the store for reading. A file that is not a regular one is refused without waiting for it.
pub fn open_file(path: &Path) -> Result<File, StoreError> {
    open_regular(path, 0)
}

/// The names in a directory; empty if it does not exist.
pub(crate) fn entries(dir: &Path) -> Result<Vec<std::ffi::OsString>, StoreError> {
    let read = match fs::read_dir(dir) {
        Ok(read) => read,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(StoreError::io("read", dir, e)),
    };
    read.map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<_, _>>()
        .map_err(|e| StoreError::io("read", dir, e))
}

/// Makes changes of a directory survive a crash.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| StoreError::io("sync", dir, e))
}

/// Whether the error means that the name does not exist.
pub(crate) fn absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR))
}

pub(crate) fn describe(kind: FileType) -> &'static str {
    match kind {
        _ if kind.is_dir() => "a directory",
        _ if kind.is_symlink() => "a symbolic link",
        _ if kind.is_fifo() => "a FIFO",
        _ if kind.is_socket() => "a socket",
        _ if kind.is_file() => "a regular file",
        _ => "a device",
    }
}
