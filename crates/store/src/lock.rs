//! The lock that keeps a garbage collection away from snapshots that are being made.

use crate::StoreError;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A held lock; dropping it, or the death of the process, releases it.
#[derive(Debug)]
pub(crate) struct StoreLock {
    _held: Flock<File>,
}

impl StoreLock {
    /// Takes the lock shared: waits for a running garbage collection and keeps the next one out.
    pub(crate) fn shared(root: &Path) -> Result<Self, StoreError> {
        Self::take(root, FlockArg::LockShared)
    }

    /// Takes the lock exclusively: keeps every writer out, or fails if one is at work.
    pub(crate) fn exclusive(root: &Path) -> Result<Self, StoreError> {
        Self::take(root, FlockArg::LockExclusiveNonblock)
    }

    fn take(root: &Path, how: FlockArg) -> Result<Self, StoreError> {
        let path = root.join(".lock");
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o644)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&path)
            .map_err(|e| StoreError::writing(&path, e))?;
        loop {
            match Flock::lock(file, how) {
                Ok(held) => return Ok(StoreLock { _held: held }),
                Err((back, Errno::EINTR)) => file = back,
                Err((_, Errno::EWOULDBLOCK)) => return Err(StoreError::Busy { root: root.to_path_buf() }),
                Err((_, errno)) => return Err(StoreError::io("lock", &path, errno.into())),
            }
        }
    }
}
