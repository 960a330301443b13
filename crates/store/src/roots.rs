//! Snapshots (`snapshotter create -o FILE`) and exported init data files (`snaprepo pull REF --init FILE`) outside the
//! store that need code segment files inside it.
//!
//! `roots/<sha256 of the path>` is a symlink to the file's absolute path. As long as a regular file has that path, a
//! garbage collection keeps the code segment files that this file needs. When it is gone, the collection removes the
//! root.

use crate::store::{entries, sync_dir};
use crate::writer::Temp;
use crate::{Digest, Store, StoreError};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Records that the snapshot or exported init data file at `path` needs files of this store.
pub(crate) fn add(store: &Store, path: &Path) -> Result<(), StoreError> {
    let target = fs::canonicalize(path).map_err(|e| StoreError::io("find", path, e))?;
    let name = Digest(Sha256::digest(target.as_os_str().as_bytes()).into());
    let (mut temp, ()) = Temp::create(store, |temp| symlink(&target, temp))?;
    let dir = store.root().join("roots");
    temp.rename(&dir.join(name.to_string()))?;
    sync_dir(&dir)
}

/// Every root: the link and the path it names. The path may be gone.
pub(crate) fn list(store: &Store) -> Result<Vec<(PathBuf, PathBuf)>, StoreError> {
    let dir = store.root().join("roots");
    let mut roots = Vec::new();
    for name in entries(&dir)? {
        let link = dir.join(name);
        let target = fs::read_link(&link).map_err(|e| StoreError::io("read", &link, e))?;
        roots.push((link, target));
    }
    roots.sort();
    Ok(roots)
}
