//! Digests of the stored pages.

use crate::commands::examine::source::{ExamineError, Snapshot};
use crate::commands::examine::space::{Source, Space};
use sha2::{Digest as _, Sha256};
use snapfn_format::PAGE;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

/// Content of a page: `None` if it is all zeros.
pub(super) type Content = Option<[u8; 32]>;

/// The content of every page of a snapshot file that is mapped or read in, by its offset.
#[derive(Debug)]
pub(super) struct PageHashes(BTreeMap<u64, Content>);

/// A forged plan may name a page of the file many times. Files below this size are not checked for that.
const REPEATED: u64 = 1 << 16;

impl PageHashes {
    /// Reads all those pages once.
    pub(super) fn new(snapshot: &Snapshot, space: &Space) -> Result<Self, ExamineError> {
        let mapped = space.vmas.iter().filter(|vma| vma.source == Source::Snapshot).map(|vma| (vma.offset, vma.len()));
        let read = space.vmas.iter().flat_map(|vma| &vma.reads).map(|read| (read.offset, read.len));
        // A mapping may lie behind the end of the file, and then has no bytes.
        let end = |offset: u64, len| offset.saturating_add(len).min(snapshot.size);
        let ranges: Vec<_> = mapped.chain(read).map(|(offset, len)| offset..end(offset, len)).collect();
        let pages = |range: &Range<u64>| range.end.saturating_sub(range.start) / PAGE;
        let total = ranges.iter().map(pages).fold(0, u64::saturating_add);
        if total > 2 * (snapshot.size / PAGE) + REPEATED {
            return Err(ExamineError::Repetitive(snapshot.path.clone()));
        }
        let mut hashes = BTreeMap::new();
        let mut page = [0u8; PAGE as usize];
        for range in ranges {
            for offset in range.step_by(PAGE as usize) {
                if let Entry::Vacant(entry) = hashes.entry(offset) {
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
