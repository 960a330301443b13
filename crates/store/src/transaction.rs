//! Writing to a store, under its shared lock.

use crate::lock::StoreLock;
use crate::refs::Tagged;
use crate::store::{Store, open_regular};
use crate::writer::widen;
use crate::{Blob, BlobWriter, Digest, Kind, Ref, StoreError, Stored, copy, roots};
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// The right to write to a store. While the transaction or a [`BlobWriter`] of it lives, no garbage is collected. Hold
/// it from the first file of a snapshot to its tag.
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

    /// The writable store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Lets all users read the files that are stored from now on (0444 instead of 0600). Without it, snapshots are
    /// private, since they hold memory, and so are copies of files that not all users may read.
    #[must_use]
    pub fn share(mut self, shared: bool) -> Self {
        self.shared = shared;
        self
    }

    pub(crate) fn lock(&self) -> Arc<StoreLock> {
        Arc::clone(&self.lock)
    }

    /// Begins a file of `kind`, which gets its name when it is committed.
    pub fn writer(&self, kind: Kind) -> Result<BlobWriter, StoreError> {
        self.new_file(kind, kind != Kind::Snap)
    }

    fn new_file(&self, kind: Kind, public: bool) -> Result<BlobWriter, StoreError> {
        BlobWriter::create(&self.store, Arc::clone(&self.lock), kind, public || self.shared)
    }

    /// Stores `bytes`.
    pub fn put_bytes(&self, kind: Kind, bytes: &[u8]) -> Result<Stored, StoreError> {
        let mut writer = self.writer(kind)?;
        writer.append(bytes)?;
        writer.commit()
    }

    /// As [`writer`](Self::writer), for content that is made from a file with the metadata `original`. Only users who
    /// may read that file may read the new one.
    pub fn writer_of(&self, kind: Kind, original: &Metadata) -> Result<BlobWriter, StoreError> {
        self.new_file(kind, is_public(original))
    }

    /// Stores content that is made from a file with the metadata `original`. Only users who may read that file may read
    /// the new one.
    pub fn put_bytes_of(&self, kind: Kind, bytes: &[u8], original: &Metadata) -> Result<Stored, StoreError> {
        let mut writer = self.writer_of(kind, original)?;
        writer.append(bytes)?;
        writer.commit()
    }

    /// What [`put_bytes_of`](Self::put_bytes_of) would return, if the store has it.
    pub fn reuse(&self, kind: Kind, digest: Digest, original: &Metadata) -> Result<Option<Blob>, StoreError> {
        let found = self.store.blob(kind, digest)?;
        if let Some(blob) = found.as_ref().filter(|_| self.shared || is_public(original)) {
            widen(&blob.path)?;
        }
        Ok(found)
    }

    /// Stores a copy of a regular file. Only users who may read the file may read the copy. Its holes stay holes.
    pub fn put_file(&self, kind: Kind, source: &Path) -> Result<Stored, StoreError> {
        let file = open_regular(source, 0)?;
        let original = file.metadata().map_err(|e| StoreError::io("look at", source, e))?;
        self.copy(kind, source, &file, &original)
    }

    fn copy(&self, kind: Kind, source: &Path, file: &File, original: &Metadata) -> Result<Stored, StoreError> {
        let mut writer = self.new_file(kind, kind != Kind::Snap && is_public(original))?;
        copy::copy(file, source, &mut writer)?;
        writer.commit()
    }

    /// Points a tag at a snapshot that is in this store, atomically.
    pub fn set_ref(&self, reference: &Ref, snapshot: Digest) -> Result<(), StoreError> {
        Tagged::from(reference).set(&self.store, &[snapshot])
    }

    /// Points a tag at several snapshots of this store, atomically. Every start picks one.
    pub fn set_variants(&self, reference: &Ref, snapshots: &[Digest]) -> Result<(), StoreError> {
        Tagged::from(reference).set(&self.store, snapshots)
    }

    /// Keeps the files that a snapshot or an exported init data file outside the store needs, for as long as it exists.
    pub fn keep_for(&self, file: &Path) -> Result<(), StoreError> {
        roots::add(&self.store, file)
    }
}

/// Whether all users may read a file, by its mode alone.
fn is_public(original: &Metadata) -> bool {
    original.mode() & 0o004 != 0
}
