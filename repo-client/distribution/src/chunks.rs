//! Chunks of the local store's snapshots, which need not be fetched.

use crate::{Repo, RepoError};
use snapfn_image::Chunks;
use snapfn_store::{Digest, Kind, Name, Store};
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Snapshots that are examined.
const MAX_SNAPSHOTS: usize = 8;

/// Where chunks lie in local files.
#[derive(Debug, Default)]
pub(crate) struct LocalChunks {
    files: Vec<File>,
    /// By digest: index of the file, offset, length.
    places: HashMap<Digest, (usize, u64, u64)>,
}

impl LocalChunks {
    /// Cuts the newest snapshots with that name as for an image.
    pub(crate) fn of(repo: &Repo, name: &Name) -> Result<Self, RepoError> {
        let mut found = LocalChunks::default();
        let mut snapshots: Vec<(Store, Digest)> = Vec::new();
        for store in repo.stores.iter() {
            let mut tags = store.tags(name)?;
            tags.sort_by_key(|entry| std::cmp::Reverse(entry.modified));
            snapshots.extend(tags.into_iter().flat_map(|entry| entry.variants).map(|digest| (store.clone(), digest)));
        }
        let mut seen = BTreeSet::new();
        snapshots.retain(|(_, digest)| seen.insert(*digest));
        for (store, digest) in snapshots.into_iter().take(MAX_SNAPSHOTS) {
            // A snapshot that is gone or damaged is skipped.
            if let Ok(file) = store.open(Kind::Snap, digest) {
                let _ = found.add(file);
            }
        }
        Ok(found)
    }

    fn add(&mut self, file: File) -> std::io::Result<()> {
        use sha2::Digest as _;
        let size = file.metadata()?.len();
        let mut offset = 0;
        let mut chunks = Chunks::new(&file, 0, size);
        while let Some(chunk) = chunks.next()? {
            let digest = Digest(sha2::Sha256::digest(chunk).into());
            self.places.entry(digest).or_insert((self.files.len(), offset, chunk.len() as u64));
            offset += chunk.len() as u64;
        }
        self.files.push(file);
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether there is a chunk with that digest and length.
    pub(crate) fn has(&self, digest: Digest, len: u64) -> bool {
        self.places.get(&digest).is_some_and(|(.., found)| *found == len)
    }

    /// The chunk's bytes. They are not compared with the digest here.
    pub(crate) fn read(&self, digest: Digest) -> Option<Vec<u8>> {
        let (file, offset, len) = *self.places.get(&digest)?;
        let mut bytes = vec![0; usize::try_from(len).ok()?];
        self.files.get(file)?.read_exact_at(&mut bytes, offset).ok()?;
        Some(bytes)
    }
}
