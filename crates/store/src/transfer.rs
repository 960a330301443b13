//! Files on their way to or from a registry. They are kept so that a transfer that was cut short can go on.
//!
//! ```text
//!  transfers/<name>     part of a blob, session of an upload, …; the process that works on it holds a lock
//! ```
//! These files are not trusted: a process that resumes a transfer checks its content. Garbage collection removes
//! transfers that no process has used for a week.

use crate::lock::StoreLock;
use crate::store::{absent, entries, make_dir};
use crate::writer::Temp;
use crate::{Store, StoreError, Transaction};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const DIR: &str = "transfers";
const STALE: Duration = Duration::from_secs(7 * 24 * 3600);

/// A file in the store's area for transfers. No other process works on it meanwhile.
#[derive(Debug)]
pub struct Transfer {
    file: Flock<File>,
    path: PathBuf,
    _lock: Arc<StoreLock>,
}

impl Transfer {
    /// The file, for reading and writing.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length.
    pub fn len(&self) -> Result<u64, StoreError> {
        self.file.metadata().map(|meta| meta.len()).map_err(|e| StoreError::io("look at", &self.path, e))
    }

    /// Whether the file is empty.
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        self.len().map(|len| len == 0)
    }

    /// Begins anew.
    pub fn clear(&self) -> Result<(), StoreError> {
        self.file.set_len(0).map_err(|e| StoreError::io("resize", &self.path, e))
    }

    /// Removes its name, since the transfer is complete or of no use. The content can be read until this object is
    /// dropped.
    pub fn remove(&self) -> Result<(), StoreError> {
        fs::remove_file(&self.path).map_err(|e| StoreError::io("remove", &self.path, e))
    }
}

/// A file that is removed when this object is dropped.
#[derive(Debug)]
pub struct Scratch {
    temp: Temp,
    file: File,
    _lock: Arc<StoreLock>,
}

impl Scratch {
    /// The file, for reading and writing.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.temp.path()
    }
}

impl Transaction {
    /// Opens the transfer with that name, which any process may have begun. Waits while another process works on it.
    pub fn transfer(&self, name: &str) -> Result<Transfer, StoreError> {
        let path = self.transfer_path(name)?;
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
            let file = options.open(&path).map_err(|e| StoreError::io("open", &path, e))?;
            let file = Flock::lock(file, FlockArg::LockExclusive)
                .map_err(|(_, errno)| StoreError::io("lock", &path, errno.into()))?;
            // The other process may have finished and removed it.
            if file.metadata().map_err(|e| StoreError::io("look at", &path, e))?.nlink() > 0 {
                return Ok(Transfer { file, path, _lock: self.lock() });
            }
        }
    }

    /// Removes the transfer with that name, unless a process works on it. That process then removes it itself.
    pub fn discard(&self, name: &str) -> Result<(), StoreError> {
        let path = self.store().root().join(DIR).join(name);
        let file = match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(&path) {
            Err(e) if absent(&e) => return Ok(()),
            other => other.map_err(|e| StoreError::io("open", &path, e))?,
        };
        let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Err((_, Errno::EWOULDBLOCK)) => return Ok(()),
            other => other.map_err(|(_, errno)| StoreError::io("lock", &path, errno.into()))?,
        };
        // If the file has no name, it has been removed since, and the name may be that of a new file.
        match file.metadata().map_err(|e| StoreError::io("look at", &path, e))?.nlink() {
            0 => Ok(()),
            _ => fs::remove_file(&path).map_err(|e| StoreError::io("remove", &path, e)),
        }
    }

    /// The path of the transfer of that name, for callers that write it themselves.
    pub fn transfer_path(&self, name: &str) -> Result<PathBuf, StoreError> {
        let dir = self.store().root().join(DIR);
        make_dir(&dir)?;
        Ok(dir.join(name))
    }

    /// Makes an empty file that is removed in the end.
    pub fn scratch(&self) -> Result<Scratch, StoreError> {
        let (temp, file) = Temp::create(self.store(), |path| {
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
        })?;
        Ok(Scratch { temp, file, _lock: self.lock() })
    }
}

/// Transfers that no process has used for long: path and allocated bytes.
pub(crate) fn stale(store: &Store) -> Result<Vec<(PathBuf, u64)>, StoreError> {
    let dir = store.root().join(DIR);
    let mut found = Vec::new();
    for name in entries(&dir)? {
        let path = dir.join(name);
        let meta = match fs::symlink_metadata(&path) {
            Ok(meta) => meta,
            Err(e) if absent(&e) => continue,
            Err(e) => return Err(StoreError::io("look at", &path, e)),
        };
        let age = meta.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok());
        if age.is_some_and(|age| age > STALE) {
            found.push((path, meta.blocks() * 512));
        }
    }
    Ok(found)
}
