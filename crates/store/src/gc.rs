//! Garbage collection: it marks from the tags and removes the rest.

use crate::lock::StoreLock;
use crate::refs::Tagged;
use crate::store::{absent, entries, open_regular};
use crate::{Digest, Kind, Store, StoreError, Summarize, SummaryError, roots, sets, summarize_exported, transfer};
use snapfn_format::FormatError;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// One file that no tag needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Garbage {
    /// Its path. If the run was not a dry run, the file is gone.
    pub path: PathBuf,
    /// What removing it frees, in bytes.
    pub allocated: u64,
}

/// What a garbage collection found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// What was removed, or would be.
    pub garbage: Vec<Garbage>,
    /// Files kept.
    pub kept: usize,
}

impl GcReport {
    /// Bytes freed, or that would be.
    pub fn freed(&self) -> u64 {
        self.garbage.iter().map(|garbage| garbage.allocated).sum()
    }
}

/// Removes every file that no tag needs, or with `dry_run` only lists it.
///
/// All marking is done before the first removal: if a tag or snapshot cannot be read, no file is removed.
pub fn collect(store: &Store, summarize: Summarize<'_>, dry_run: bool) -> Result<GcReport, StoreError> {
    if fs::symlink_metadata(store.root()).is_err_and(|e| absent(&e)) {
        return Ok(GcReport::default());
    }
    let _lock = StoreLock::exclusive(store.root())?;
    let needed = mark(store, summarize)?;
    let mut report = GcReport::default();
    for kind in Kind::ALL {
        for blob in store.list(kind)? {
            match needed.contains(&(kind, blob.digest)) {
                true => report.kept += 1,
                false => report.garbage.push(Garbage { path: blob.path, allocated: blob.allocated }),
            }
        }
    }
    report.garbage.extend(stale(store)?);
    if !dry_run {
        for garbage in &report.garbage {
            sets::remove(&garbage.path).map_err(|e| StoreError::io("remove", &garbage.path, e))?;
        }
    }
    Ok(report)
}

/// Everything that the tags and the snapshots outside the store need.
fn mark(store: &Store, summarize: Summarize<'_>) -> Result<BTreeSet<(Kind, Digest)>, StoreError> {
    let mut needed = BTreeSet::new();
    let mut snapshots = Vec::new();
    let mut tagged = Vec::new();
    for entry in store.refs()? {
        entry.digest?;
        tagged.extend(entry.variants);
    }
    for entry in store.pulled_images()? {
        tagged.extend(entry.variants?);
    }
    for digest in tagged {
        needed.insert((Kind::Snap, digest));
        snapshots.push(store.path(Kind::Snap, digest));
    }
    snapshots.sort();
    snapshots.dedup();
    for path in snapshots {
        needed.extend(files_of(&path, summarize).map_err(|source| StoreError::Unreadable { path, source })?);
    }
    for (_, path) in roots::list(store)?.into_iter().filter(|(_, path)| path.is_file()) {
        let other = |error: &SummaryError| {
            matches!(error, SummaryError::Format(FormatError::Magic(_) | FormatError::Truncated(_)))
        };
        let files = match files_of(&path, summarize) {
            Err(error) if other(&error) => files_of(&path, &summarize_exported),
            files => files,
        };
        match files {
            Ok(files) => needed.extend(files),
            // The path now has another file. Without a snapshot or its export there are no needs.
            Err(error) if other(&error) => (),
            Err(source) => return Err(StoreError::Unreadable { path, source }),
        }
    }
    Ok(needed)
}

/// The files that the snapshot at `path` needs.
fn files_of(path: &Path, summarize: Summarize<'_>) -> Result<Vec<(Kind, Digest)>, SummaryError> {
    match open_regular(path, libc::O_NOFOLLOW) {
        Ok(file) => Ok(summarize(&file)?.files),
        Err(StoreError::Io { source, .. }) => Err(SummaryError::Io(source)),
        Err(other) => Err(SummaryError::Io(io::Error::other(other))),
    }
}

/// Finds temporary files, which are all stale because no writer holds the lock, roots whose snapshot is gone, and sets
/// of variants that no tag names.
fn stale(store: &Store) -> Result<Vec<Garbage>, StoreError> {
    let mut found = Vec::new();
    let tmp = store.root().join("tmp");
    for name in entries(&tmp)? {
        // Only names that this crate makes: <pid>.<16 hex digits>.
        let Some((pid, random)) = name.to_str().and_then(|name| name.split_once('.')) else { continue };
        if !pid.bytes().all(|b| b.is_ascii_digit()) || random.len() != 16 || name.as_bytes().contains(&b'/') {
            continue;
        }
        let path = tmp.join(&name);
        let meta = fs::symlink_metadata(&path).map_err(|e| StoreError::io("look at", &path, e))?;
        // If there is a second link, it is the name of the finished file, and removing this one frees no bytes.
        let allocated = if meta.nlink() > 1 { 0 } else { meta.blocks() * 512 };
        found.push(Garbage { path, allocated });
    }
    found.extend(transfer::stale(store)?.into_iter().map(|(path, allocated)| Garbage { path, allocated }));
    for (link, path) in roots::list(store)? {
        if !path.is_file() {
            found.push(Garbage { path: link, allocated: 0 });
        }
    }
    let mut links = Vec::new();
    for entry in store.refs()? {
        links.extend(Tagged::from(&entry.reference).read(store)?);
    }
    for entry in store.pulled_images()? {
        links.extend(entry.image.tagged().read(store)?);
    }
    found.extend(sets::unused(store, &links)?.into_iter().map(|path| Garbage { path, allocated: 0 }));
    Ok(found)
}
