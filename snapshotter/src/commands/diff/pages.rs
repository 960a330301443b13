//! Digests of the stored pages.

use crate::commands::source::{ExamineError, Snapshot};
use crate::commands::space::{Source, Space};
use sha2::{Digest as _, Sha256};
use snapfn_format::PAGE;
use std::collections::{BTreeMap, HashSet};

/// Content of a page: `None` if it is all zeros.
pub(super) type Content = Option<[u8; 32]>;

/// The content of every page of a snapshot file that is mapped or read in, by its offset.
#[derive(Debug)]
pub(super) struct PageHashes(BTreeMap<u64, Content>);

/// A plan may name a page of the file many times, and only a forger does. Below this, who cares.
const REPEATED: u64 = 1 << 16;

impl PageHashes {
    /// Reads all those pages once.
    pub(super) fn new(snapshot: &Snapshot, space: &Space) -> Result<Self, ExamineError> {
        let mapped = space.vmas.iter().filter(|vma| vma.source == Source::Snapshot).map(|vma| (vma.offset, vma.len()));
        let read = space.vmas.iter().flat_map(|vma| &vma.reads).map(|read| (read.offset, read.len));
        let ranges: Vec<(u64, u64)> = mapped.chain(read).collect();
        let total = ranges.iter().fold(0u64, |sum, (_, len)| sum.saturating_add(len / PAGE));
        if total > 2 * (snapshot.size / PAGE) + REPEATED {
            return Err(ExamineError::Repetitive(snapshot.path.clone()));
        }
        let mut hashes = BTreeMap::new();
        let mut page = [0u8; PAGE as usize];
        for (offset, len) in ranges {
            for offset in (offset..offset + len).step_by(PAGE as usize) {
                if let std::collections::btree_map::Entry::Vacant(entry) = hashes.entry(offset) {
                    snapshot.read_at(&mut page, offset)?;
                    entry.insert(content(&page));
                }
            }
        }
        Ok(PageHashes(hashes))
    }

    /// The content of the page at `offset`.
    pub(super) fn at(&self, offset: u64) -> Content {
        self.0.get(&offset).copied().flatten()
    }

    /// All contents but zeros.
    pub(super) fn contents(&self) -> HashSet<[u8; 32]> {
        self.0.values().copied().flatten().collect()
    }
}

fn content(page: &[u8]) -> Content {
    page.iter().any(|byte| *byte != 0).then(|| Sha256::digest(page).into())
}
