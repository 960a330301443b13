//! Opens stored files safely while other processes exchange names, and checks their owners.

use crate::store::{absent, describe, directories};
use crate::{Digest, Kind, Store, StoreError, Stores};
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;
use snapfn_format::store::{OTHERS_WRITE, Untrusted, check_trust, maps_all_users};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

impl Store {
    /// The root. Its own path may have symbolic links, since the user has named it so. Below it, no link is followed.
    fn open_root(&self) -> io::Result<OwnedFd> {
        Ok(openat(AT_FDCWD, self.root(), DIRECTORY, Mode::empty())?)
    }

    /// The root and the directories in it that group or others may write to, with their modes. Users with that right
    /// can exchange one file for another.
    pub fn writable_directories(&self) -> Vec<(PathBuf, u32)> {
        let all = [self.root().to_path_buf()].into_iter().chain(directories().map(|dir| self.root().join(dir)));
        let mode = |path: PathBuf| path.metadata().ok().map(|meta| (path, meta.mode() & 0o7777));
        all.filter_map(mode).filter(|(_, mode)| mode & OTHERS_WRITE != 0).collect()
    }

    fn open_below(&self, kind: Kind, digest: Digest) -> io::Result<File> {
        let directory = openat(self.open_root()?, kind.dir(), DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty())?;
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        Ok(openat(directory, digest.to_string().as_str(), flags, Mode::empty())?.into())
    }

    /// Opens the file of that name; never follows a symlink below the root and never waits on a FIFO.
    pub fn open(&self, kind: Kind, digest: Digest) -> Result<File, StoreError> {
        let path = self.path(kind, digest);
        let not_a_file = |found| StoreError::NotAFile { path: path.clone(), found };
        let opened = self.open_below(kind, digest).and_then(|file| file.metadata().map(|meta| (file, meta)));
        match opened {
            Ok((file, meta)) if meta.is_file() => Ok(file),
            Ok((_, meta)) => Err(not_a_file(describe(meta.file_type()))),
            // What lies there, for the message alone.
            Err(e) => match path.symlink_metadata() {
                Ok(meta) if !meta.is_file() => Err(not_a_file(describe(meta.file_type()))),
                Ok(_) if path.parent().is_some_and(Path::is_symlink) => Err(not_a_file("behind a symbolic link")),
                _ if absent(&e) => Err(StoreError::Missing { kind, digest }),
                _ => Err(StoreError::reading(&path, e)),
            },
        }
    }
}

const DIRECTORY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

impl Stores {
    /// Opens a file from the first store that has it, for an instance. Its contents decide what a process does, so it
    /// must be trusted.
    pub fn open_trusted(&self, kind: Kind, digest: Digest) -> Result<File, StoreError> {
        let (store, blob) = self.locate(kind, digest)?;
        let file = store.open(kind, digest)?;
        let meta = file.metadata().map_err(|e| StoreError::io("look at", &blob.path, e))?;
        self.trust(&meta).map_err(|why| StoreError::Untrusted { path: blob.path, why })?;
        Ok(file)
    }

    /// Whether an open file of a store may be used to start instances, by the rule of [`check_trust`].
    pub fn trust(&self, meta: &Metadata) -> Result<(), Untrusted> {
        let is_store_of = |store: &Store, uid| {
            let root = store.open_root().map(File::from).and_then(|root| root.metadata());
            root.is_ok_and(|root| root.uid() == uid && root.mode() & OTHERS_WRITE == 0)
        };
        let own = Some(nix::unistd::geteuid().as_raw());
        let owns_store = |uid| self.iter().any(|store| is_store_of(store, uid));
        check_trust(meta.mode(), meta.uid(), own, owns_store, tells_users)
    }
}

/// Whether every user has a number in the user namespace of this process. Without /proc nobody knows.
pub fn tells_users() -> bool {
    std::fs::read("/proc/self/uid_map").is_ok_and(|map| maps_all_users(&map))
}
