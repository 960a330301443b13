//! Writing to a store, under its shared lock.

use crate::lock::StoreLock;
use crate::refs::Tagged;
use crate::store::{Store, open_regular};
use crate::{BlobWriter, Digest, Kind, Ref, StoreError, Stored, copy, roots};
use std::path::Path;
use std::sync::Arc;

/// The right to write to a store. While it or a [`BlobWriter`] of it lives, nothing is collected, so hold one
/// from the first file of a snapshot to its tag.
#[derive(Clone, Debug)]
pub struct Transaction {
    store: Store,
    lock: Arc<StoreLock>,
    shared: bool,
}

impl Transaction {
    pub(crate) fn new(store: Store, lock: StoreLock) -> Self {
        Transaction { store, lock: Arc::new(lock), shared: false }
    }

    /// The store that is written to.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Lets all users read the snapshots that are stored from now on (0444 instead of 0600). They hold what was in
    /// memory; other files are public in any case, as the programs and libraries that they come from.
    #[must_use]
    pub fn share(mut self, shared: bool) -> Self {
        self.shared = shared;
        self
    }

    pub(crate) fn lock(&self) -> Arc<StoreLock> {
        Arc::clone(&self.lock)
    }

    /// A file of `kind` that gets its name when it is committed.
    pub fn writer(&self, kind: Kind) -> Result<BlobWriter, StoreError> {
        BlobWriter::create(&self.store, Arc::clone(&self.lock), kind, self.shared)
    }

    /// Stores `bytes`.
    pub fn put_bytes(&self, kind: Kind, bytes: &[u8]) -> Result<Stored, StoreError> {
        let mut writer = self.writer(kind)?;
        writer.append(bytes)?;
        writer.commit()
    }

    /// Stores a copy of a regular file; its holes stay holes.
    pub fn put_file(&self, kind: Kind, source: &Path) -> Result<Stored, StoreError> {
        let file = open_regular(source, 0)?;
        let mut writer = self.writer(kind)?;
        copy::copy(&file, source, &mut writer)?;
        writer.commit()
    }

    /// Points a tag at a snapshot that is in this store, atomically.
    pub fn set_ref(&self, reference: &Ref, snapshot: Digest) -> Result<(), StoreError> {
        Tagged::from(reference).set(&self.store, &[snapshot])
    }

    /// Points a tag at several snapshots of this store, atomically: every start takes any of them.
    pub fn set_variants(&self, reference: &Ref, snapshots: &[Digest]) -> Result<(), StoreError> {
        Tagged::from(reference).set(&self.store, snapshots)
    }

    /// Keeps the files that a snapshot outside the store needs, for as long as that snapshot exists.
    pub fn keep_for(&self, snapshot: &Path) -> Result<(), StoreError> {
        roots::add(&self.store, snapshot)
    }
}
