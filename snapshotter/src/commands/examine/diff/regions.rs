//! Compares memory region by region.
//!
//! A region is a row of mappings that belong together: a program or library with its data, the heap, the stack, or
//! anonymous memory without a gap. It is cut into pieces where the source of the bytes changes. One sweep goes over the
//! cuts of two regions, so that the cost follows the pieces and the stored pages, not the size.

use super::pages::{Content, PageHashes};
use crate::commands::examine::space::{ANONYMOUS, Source, Space, Vma};
use serde::Serialize;
use snapfn_format::PAGE;
use snapfn_format::snap::Plan;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Pages of one region.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct RegionRow {
    /// Path, or name in brackets. Further regions with the same name get ` #2` and so on.
    pub(super) name: String,
    pub(super) same: u64,
    pub(super) changed: u64,
    pub(super) only_a: u64,
    pub(super) only_b: u64,
}

impl RegionRow {
    pub(super) fn is_same(&self) -> bool {
        self.changed == 0 && self.only_a == 0 && self.only_b == 0
    }
}

/// The source of the bytes of a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Bytes {
    Zeros,
    /// Pages of the snapshot, from this offset on.
    Stored(u64),
    /// Some other file, from this offset on.
    File(String, u64),
}

#[derive(Clone, Debug)]
struct Piece {
    /// Relative to the region's anchor.
    start: i64,
    end: i64,
    bytes: Bytes,
}

/// The pieces of a region in order, without overlap.
type Region = Vec<Piece>;

/// A snapshot as this module needs it.
pub(super) type View<'a> = (&'a Plan<'a>, &'a Space, &'a PageHashes);

/// Compares all regions, in order of name.
pub(super) fn compare(a: View<'_>, b: View<'_>) -> Vec<RegionRow> {
    let (regions_a, regions_b) = (regions(a.0, a.1), regions(b.0, b.1));
    let names: BTreeSet<&String> = regions_a.keys().chain(regions_b.keys()).collect();
    let none = Region::new();
    let row = |name: &String| {
        let (region_a, region_b) = (regions_a.get(name).unwrap_or(&none), regions_b.get(name).unwrap_or(&none));
        RegionRow { name: name.clone(), ..sweep((region_a, a.2), (region_b, b.2)) }
    };
    names.into_iter().map(row).collect()
}

fn regions(plan: &Plan<'_>, space: &Space) -> BTreeMap<String, Region> {
    let mut seen: HashMap<&str, u32> = HashMap::new();
    let mut regions = BTreeMap::new();
    for group in space.vmas.chunk_by(|a, b| a.name == b.name && (a.end == b.start || a.name != ANONYMOUS)) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let count = seen.entry(&first.name).or_default();
        *count += 1;
        let name = if *count == 1 { first.name.clone() } else { format!("{} #{count}", first.name) };
        let anchor = if first.source == Source::Stack { last.end } else { first.start };
        regions.insert(name, group.iter().flat_map(|vma| pieces(plan, vma, anchor)).collect());
    }
    regions
}

/// The pieces of one mapping.
fn pieces(plan: &Plan<'_>, vma: &Vma, anchor: u64) -> Vec<Piece> {
    let relative = |addr: u64| addr.wrapping_sub(anchor) as i64;
    let base = match vma.source {
        Source::Zeros | Source::Stack => Bytes::Zeros,
        Source::Snapshot => Bytes::Stored(vma.offset),
        // The same digest means the same bytes, even if the paths differ.
        Source::Code | Source::Data => {
            let digest = vma.file.and_then(|file| plan.files.get(file)).map(|file| file.digest.to_string());
            Bytes::File(digest.unwrap_or_default(), vma.offset)
        }
        Source::Host | Source::Descriptor => Bytes::File(vma.name.clone(), vma.offset),
    };
    let mut reads = vma.reads.clone();
    reads.sort_by_key(|read| read.addr);
    let mut out = Vec::new();
    let mut at = vma.start;
    for read in reads {
        // If reads overlap, which only a forged plan has, the first counts.
        let (start, end) = (read.addr.max(at), read.addr + read.len);
        if start >= end {
            continue;
        }
        if at < start {
            out.push(Piece { start: relative(at), end: relative(start), bytes: base.clone() });
        }
        let bytes = Bytes::Stored(read.offset + (start - read.addr));
        out.push(Piece { start: relative(start), end: relative(end), bytes });
        at = end;
    }
    if at < vma.end {
        let bytes = base.advanced((at - vma.start) as i64);
        out.push(Piece { start: relative(at), end: relative(vma.end), bytes });
    }
    out
}

impl Bytes {
    /// The source of the bytes that lie `by` bytes further on.
    fn advanced(&self, by: i64) -> Self {
        match self {
            Bytes::Zeros => Bytes::Zeros,
            Bytes::Stored(offset) => Bytes::Stored(offset.wrapping_add_signed(by)),
            Bytes::File(name, offset) => Bytes::File(name.clone(), offset.wrapping_add_signed(by)),
        }
    }

    fn content(&self, hashes: &PageHashes, page: u64) -> Content {
        match self {
            Bytes::Stored(offset) => hashes.at(offset + page * PAGE),
            _ => None,
        }
    }
}

/// Counts the pages of two regions; the name is left empty.
fn sweep(a: (&Region, &PageHashes), b: (&Region, &PageHashes)) -> RegionRow {
    let mut row = RegionRow::default();
    let (mut rest_a, mut rest_b) = (a.0.as_slice(), b.0.as_slice());
    let mut at = i64::MIN;
    loop {
        let piece_a = rest_a.first().filter(|piece| piece.start <= at);
        let piece_b = rest_b.first().filter(|piece| piece.start <= at);
        let edge = |rest: &[Piece]| rest.first().map(|piece| if piece.start > at { piece.start } else { piece.end });
        let Some(next) = edge(rest_a).into_iter().chain(edge(rest_b)).min() else { return row };
        // Before the first piece there are no pages to count, and there is no distance.
        if piece_a.is_some() || piece_b.is_some() {
            let pages = (next - at) as u64 / PAGE;
            let bytes = |piece: &Piece| piece.bytes.advanced(at - piece.start);
            match (piece_a.map(bytes), piece_b.map(bytes)) {
                (Some(left), Some(right)) => {
                    let same = same_pages((&left, a.1), (&right, b.1), pages);
                    row.same += same;
                    row.changed += pages - same;
                }
                (Some(_), None) => row.only_a += pages,
                _ => row.only_b += pages,
            }
        }
        at = next;
        rest_a = skip(rest_a, at);
        rest_b = skip(rest_b, at);
    }
}

/// The pieces from `at` on.
fn skip(rest: &[Piece], at: i64) -> &[Piece] {
    match rest {
        [first, tail @ ..] if first.end <= at => tail,
        _ => rest,
    }
}

fn same_pages(a: (&Bytes, &PageHashes), b: (&Bytes, &PageHashes), pages: u64) -> u64 {
    match (a.0, b.0) {
        (Bytes::Zeros, Bytes::Zeros) => pages,
        (Bytes::File(..), _) | (_, Bytes::File(..)) => pages * u64::from(a.0 == b.0),
        _ => (0..pages).filter(|page| a.0.content(a.1, *page) == b.0.content(b.1, *page)).count() as u64,
    }
}
