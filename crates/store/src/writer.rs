//! Writes one file: temporary name, digest, fsync, final name.

use crate::lock::StoreLock;
use crate::store::{describe, sync_dir};
use crate::verify::{CHUNK, hash_file};
use crate::{Digest, Kind, Store, StoreError};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File, OpenOptions, Permissions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file on its way into the store. If it is dropped without a commit, it is removed.
///
/// There are two ways to write, which may be mixed: [`append`](Self::append) and [`skip`](Self::skip) go front to back
/// and hash on the way; [`write_at`](Self::write_at) and [`truncate`](Self::truncate) go anywhere, and the commit then
/// reads the file back. On ext4, writes of at least 2 MiB at 2 MiB-aligned offsets get 2 MiB folios in the page cache.
#[derive(Debug)]
pub struct BlobWriter {
    store: Store,
    kind: Kind,
    temp: Temp,
    file: File,
    /// Where the next `append` goes.
    end: u64,
    /// Digest of the first `end` bytes; `None` after a write out of order.
    running: Option<Sha256>,
    /// Of the finished file.
    mode: u32,
    _lock: Arc<StoreLock>,
}

/// Mode of a file that all users may read.
const PUBLIC: u32 = 0o444;

/// A file that is in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub digest: Digest,
    /// Where it lies.
    pub path: PathBuf,
    /// Its length in bytes.
    pub size: u64,
    /// Whether it was there already.
    pub existed: bool,
}

impl BlobWriter {
    pub(crate) fn create(store: &Store, lock: Arc<StoreLock>, kind: Kind, public: bool) -> Result<Self, StoreError> {
        let (temp, file) = Temp::create(store, |path| {
            // The mode is 0600 until the file is complete, since no other process needs it before.
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
        })?;
        let mode = if public { PUBLIC } else { 0o600 };
        let (store, running) = (store.clone(), Some(Sha256::new()));
        Ok(BlobWriter { store, kind, temp, file, end: 0, running, mode, _lock: lock })
    }

    /// Writes `bytes` after what was appended before.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.write_all_at(bytes, self.end)?;
        if let Some(running) = &mut self.running {
            running.update(bytes);
        }
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Leaves a hole of `len` bytes after what was appended before.
    pub fn skip(&mut self, len: u64) -> Result<(), StoreError> {
        let end = self.end.checked_add(len).ok_or_else(|| self.too_large())?;
        if self.len()? < end {
            self.set_len(end)?;
        }
        if let Some(running) = &mut self.running {
            let zeros = vec![0u8; CHUNK.min(len as usize)];
            let mut left = len as usize;
            while left > 0 {
                let now = left.min(zeros.len());
                running.update(&zeros[..now]);
                left -= now;
            }
        }
        self.end = end;
        Ok(())
    }

    /// Writes `bytes` at `offset`. Ranges before the end of the file that are never written become holes.
    pub fn write_at(&mut self, bytes: &[u8], offset: u64) -> Result<(), StoreError> {
        self.running = None;
        self.write_all_at(bytes, offset)
    }

    /// Makes the file `len` bytes long.
    pub fn truncate(&mut self, len: u64) -> Result<(), StoreError> {
        self.running = None;
        self.end = self.end.min(len);
        self.set_len(len)
    }

    /// Reads back what was written.
    pub fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), StoreError> {
        self.file.read_exact_at(bytes, offset).map_err(|e| StoreError::io("read", self.temp.path(), e))
    }

    /// The file's length so far.
    pub fn len(&self) -> Result<u64, StoreError> {
        self.file.metadata().map(|meta| meta.len()).map_err(|e| StoreError::io("look at", self.temp.path(), e))
    }

    /// Where the file is until it gets its name.
    pub fn path(&self) -> &Path {
        self.temp.path()
    }

    /// Whether the file is still empty.
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        self.len().map(|len| len == 0)
    }

    /// Gives the file its name. When this returns, the file is whole and on disk.
    pub fn commit(self) -> Result<Stored, StoreError> {
        self.finish(None)
    }

    /// As [`commit`](Self::commit), for content that must have the digest `expected`. If it has another, the file is
    /// removed.
    pub fn commit_as(self, expected: Digest) -> Result<Stored, StoreError> {
        self.finish(Some(expected))
    }

    fn finish(mut self, expected: Option<Digest>) -> Result<Stored, StoreError> {
        let temp = self.temp.path();
        let size = self.len()?;
        let digest = match self.running.take() {
            Some(running) if self.end == size => Digest(running.finalize().into()),
            _ => hash_file(&self.file, &mut |_| ()).map_err(|e| StoreError::io("read", temp, e))?,
        };
        if let Some(expected) = expected.filter(|expected| *expected != digest) {
            return Err(StoreError::Digest { kind: self.kind, expected, actual: digest });
        }
        let path = self.store.path(self.kind, digest);
        let mut existed = present(&path, size)?;
        if !existed {
            self.file
                .set_permissions(Permissions::from_mode(self.mode))
                .map_err(|e| StoreError::io("set the mode of", temp, e))?;
            self.file.sync_all().map_err(|e| StoreError::io("sync", temp, e))?;
            existed = place(&mut self.temp, &path, size)?;
        }
        if existed && self.mode == PUBLIC {
            widen(&path)?;
        }
        // This is needed even if the file existed: the process that made it may not have synced the directory yet.
        sync_dir(&self.store.root().join(self.kind.dir()))?;
        Ok(Stored { digest, path, size, existed })
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<(), StoreError> {
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > i64::MAX as u64) {
            return Err(self.too_large());
        }
        self.file.write_all_at(bytes, offset).map_err(|e| StoreError::io("write", self.temp.path(), e))
    }

    fn set_len(&self, len: u64) -> Result<(), StoreError> {
        self.file.set_len(len).map_err(|e| StoreError::io("resize", self.temp.path(), e))
    }

    fn too_large(&self) -> StoreError {
        StoreError::io("write", self.temp.path(), io::Error::from_raw_os_error(libc::EFBIG))
    }
}

/// Same as [`BlobWriter::append`], for code that writes to any [`Write`].
impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.append(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(StoreError::Io { source, .. } | StoreError::NoSpace { source, .. }) => Err(source),
            Err(other) => Err(io::Error::other(other)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether the file at `path` exists with the right size. If it was cut short (by a disk that lost data), it counts as
/// missing and will be replaced.
fn present(path: &Path, size: u64) -> Result<bool, StoreError> {
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.is_file() => {
            Err(StoreError::NotAFile { path: path.to_path_buf(), found: describe(meta.file_type()) })
        }
        Ok(meta) => Ok(meta.len() == size),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(StoreError::io("look at", path, e)),
    }
}

/// Makes a private file public if it is now stored for all. A public file never becomes private: another tag may rely
/// on it.
pub(crate) fn widen(path: &Path) -> Result<(), StoreError> {
    let meta = fs::symlink_metadata(path).map_err(|e| StoreError::io("look at", path, e))?;
    if meta.is_file() && meta.permissions().mode() & PUBLIC != PUBLIC {
        fs::set_permissions(path, Permissions::from_mode(PUBLIC))
            .map_err(|e| StoreError::io("set the mode of", path, e))?;
    }
    Ok(())
}

/// Gives `temp` its name. Returns whether another process came first.
///
/// It makes a link and does not rename: an existing twin stays, so that all its instances share one page cache.
fn place(temp: &mut Temp, path: &Path, size: u64) -> Result<bool, StoreError> {
    match fs::hard_link(temp.path(), path) {
        Ok(()) => Ok(false),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && present(path, size)? => Ok(true),
        // The twin was cut short, or the file system has no hard links.
        Err(e) if matches!(e.raw_os_error(), Some(libc::EEXIST | libc::EPERM | libc::EOPNOTSUPP | libc::EMLINK)) => {
            temp.rename(path).map(|()| false)
        }
        Err(e) => Err(StoreError::writing(path, e)),
    }
}

/// A number for a name that no other process chooses. RandomState is keyed by the kernel's random numbers.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A name in `tmp/` that is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Temp {
    path: PathBuf,
    moved: bool,
}

impl Temp {
    /// Calls `make` with fresh names until a name is free.
    pub(crate) fn create<T>(
        store: &Store,
        mut make: impl FnMut(&Path) -> io::Result<T>,
    ) -> Result<(Self, T), StoreError> {
        loop {
            // O_EXCL excludes the collisions that remain.
            let random = random();
            let path = store.root().join("tmp").join(format!("{}.{random:016x}", std::process::id()));
            match make(&path) {
                Ok(made) => return Ok((Temp { path, moved: false }, made)),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => (),
                Err(e) => return Err(StoreError::writing(&path, e)),
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is still there.
    pub(crate) fn exists(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok()
    }

    /// Moves it to `path`, and replaces an existing file.
    pub(crate) fn rename(&mut self, path: &Path) -> Result<(), StoreError> {
        fs::rename(&self.path, path).map_err(|e| StoreError::io("create", path, e))?;
        self.moved = true;
        Ok(())
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.moved {
            // A failure does no harm: the next garbage collection removes the name.
            let _ = crate::sets::remove(&self.path);
        }
    }
}
