//! From regions to parts.

use super::contents::{for_pages, is_zero, populated};
use super::regions::{Kind, Region};
use super::{Area, AreaKind, Content, Image, Part};
use crate::dump::refuse::DumpError;
use crate::proc::pagemap::{Run, State};
use crate::tracee::{TraceError, Tracer};
use snapfn_format::linux::MADV_WIPEONFORK;
use snapfn_format::snap::{PROT_EXEC, PROT_READ, PROT_WRITE};
use snapfn_format::{PAGE, page_down};
use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// So many zero pages between two stored pages are stored, too: a page costs less than two more mappings.
const CLOSE_HOLES: u64 = 64;
/// So many pages are read into one anonymous mapping where two would be needed otherwise.
const FEW: u64 = 4;

/// Facts that the classification of every region needs.
pub(super) struct Context<'a> {
    pub(super) tracer: &'a Tracer,
    /// Stack pointer of the main thread.
    pub(super) main_sp: u64,
    /// Read anonymous memory in instead of mapping it.
    pub(super) copy: bool,
    pub(super) elf_ranges: Vec<(u64, u64)>,
}

/// The size in a malloc header at the start of `page`, if it is one of a chunk that malloc has mapped by itself.
fn mapped_chunk(page: &[u8]) -> Option<u64> {
    let word = |at: usize| page.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
    let size = word(8) & !7;
    (word(0) == 0 && word(8) & 7 == 2 && size > 0 && size % PAGE == 0).then_some(size)
}

/// Runs of stored pages, as `[first, last)` page indices, with small holes closed.
fn close_holes(pages: &[u64]) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for &page in pages {
        match runs.last_mut() {
            Some((_, end)) if page - *end <= CLOSE_HOLES => *end = page + 1,
            _ => runs.push((page, page + 1)),
        }
    }
    runs
}

/// Zero pages at either end of an area are cheaper as pages of the same run than as a mapping of their own; but an
/// area whose end may be remapped ends with the zero pages that it has.
fn widen(mut runs: Vec<(u64, u64)>, pages: u64, to_the_end: bool) -> Vec<(u64, u64)> {
    if let Some(first) = runs.first_mut().filter(|run| run.0 <= CLOSE_HOLES) {
        first.0 = 0;
    }
    if let Some(last) = runs.last_mut().filter(|run| to_the_end && pages - run.1 <= CLOSE_HOLES) {
        last.1 = pages;
    }
    runs
}

/// Whether the pages of `runs` are cheaper to read than to map as `mapped`: reading a page costs about what copying it
/// at its first write does, and every further mapping costs as much as another page.
fn are_few(runs: &[(u64, u64)], mapped: &[Part]) -> bool {
    let mappings = mapped.iter().filter(|part| part.content != Content::Read).count();
    mappings > 1 && runs.iter().map(|(first, last)| last - first).sum::<u64>() <= FEW
}

/// Stores the read-only data of small images, so that it makes one mapping with what ld.so has relocated behind it.
/// `parts` are in ascending order.
pub(super) fn join_small_constants(parts: &mut Vec<Part>, areas: &[Area]) {
    join(parts, areas, |constants, relocated| {
        let joins = matches!(constants.content, Content::File(..))
            && relocated.content == Content::Map
            && constants.prot == PROT_READ
            && relocated.prot == PROT_READ
            && constants.len <= FEW * PAGE;
        joins.then_some((Content::Map, PROT_READ))
    });
}

/// Makes one mapping of consecutive pages of a file of which some are code, executable as a whole, as linkers laid
/// programs out before `-z separate-code`. `parts` are in ascending order.
pub(super) fn join_segments(parts: &mut Vec<Part>, areas: &[Area]) {
    join(parts, areas, |first, second| {
        let (Content::File(file, offset), Content::File(next, next_offset)) = (first.content, second.content) else {
            return None;
        };
        let prot = first.prot | second.prot;
        let joins = file == next
            && offset + first.len == next_offset
            && prot == PROT_READ | PROT_EXEC
            && (first.prot & second.prot) & PROT_READ != 0;
        joins.then_some((first.content, prot))
    });
}

/// Joins each two adjacent parts without attributes of their own for which `joined` returns the content and protection
/// of both.
fn join(parts: &mut Vec<Part>, areas: &[Area], joined: impl Fn(&Part, &Part) -> Option<(Content, u16)>) {
    let plain = |part: &Part| {
        areas.get(part.area).is_some_and(|area| {
            !area.shared
                && !area.stack
                && !area.droppable
                && area.advice.is_empty()
                && area.lock.is_none()
                && area.guards.is_empty()
        })
    };
    let mut all: Vec<Part> = Vec::with_capacity(parts.len());
    for part in parts.drain(..) {
        let last = all.last_mut().filter(|last| last.addr + last.len == part.addr && plain(last) && plain(&part));
        match last.and_then(|last| joined(last, &part).map(|result| (last, result))) {
            Some((last, (content, prot))) => {
                last.len += part.len;
                last.content = content;
                last.prot = prot;
                last.area = part.area;
            }
            None => all.push(part),
        }
    }
    *parts = all;
}

impl Region {
    fn pages(&self) -> u64 {
        (self.end - self.start) / PAGE
    }

    /// The runs of all pages where only guards are known.
    fn without_guards(&self) -> Vec<Run> {
        let mut runs = Vec::new();
        let mut at = self.start;
        for range in &self.area.guards {
            runs.push(Run { start: at, end: range.start, state: State::Own });
            runs.push(Run { start: range.start, end: range.end, state: State::Guard });
            at = range.end;
        }
        runs.push(Run { start: at, end: self.end, state: State::Own });
        runs.retain(|run| run.start < run.end);
        runs
    }

    fn part(&self, area: usize, first: u64, last: u64, content: Content) -> Part {
        let (addr, len) = (self.start + first * PAGE, (last - first) * PAGE);
        Part { addr, len, prot: self.prot, content, area }
    }
}

impl Context<'_> {
    /// Pages that must be anonymous because the program may `mremap` what ends there: growing a mapping of the
    /// snapshot file would show the file's next pages, or end in SIGBUS; across two mappings `mremap` fails, and the
    /// C libraries then copy. These are the last page of every anonymous area, and of every chunk that glibc's
    /// malloc has mapped by itself (a page-aligned header with its size and flag bit 1, IS_MMAPPED).
    fn may_be_remapped(&self, region: &Region, page: u64) -> bool {
        let addr = region.start + page * PAGE;
        let in_elf = self.elf_ranges.iter().any(|(start, end)| (*start..*end).contains(&addr));
        !in_elf && !region.has_file && region.area.kind != AreaKind::Heap && region.prot & PROT_WRITE != 0
    }

    /// All parts of one region; `area` is the index that its area will have.
    pub(super) fn parts_of(&self, region: &Region, area: usize, image: &Image) -> Result<Vec<Part>, DumpError> {
        let whole = |content| vec![region.part(area, 0, region.pages(), content)];
        match region.kind {
            Kind::File(file, offset, base) => self.file_parts(region, (file, offset, base), area, image),
            Kind::Host(file, offset) => Ok(whole(Content::Host(file, offset))),
            Kind::Descriptor(fd, offset) => Ok(whole(Content::Descriptor(fd, offset))),
            Kind::Private if region.untouched || region.area.droppable => Ok(whole(Content::Zero)),
            Kind::Private if region.area.stack => self.stack_parts(region, area),
            Kind::Private => self.private_parts(region, area),
        }
    }

    /// A growing mapping: its live pages are read in. Bytes below the red zone of the main thread are dead.
    fn stack_parts(&self, region: &Region, area: usize) -> Result<Vec<Part>, DumpError> {
        let mut first = 0;
        if (region.start..region.end).contains(&self.main_sp) {
            let live = page_down(self.main_sp.saturating_sub(128)).clamp(region.start, region.end - PAGE);
            first = (live - region.start) / PAGE;
        }
        let mut parts = vec![region.part(area, first, region.pages(), Content::Zero)];
        let stored: Vec<u64> = self.stored_pages(region)?.pages.into_iter().filter(|page| *page >= first).collect();
        parts.extend(close_holes(&stored).iter().map(|(from, to)| region.part(area, *from, *to, Content::Read)));
        Ok(parts)
    }

    fn stored_pages(&self, region: &Region) -> Result<Stored, DumpError> {
        let mut stored = Stored::default();
        if region.area.advice.contains(&MADV_WIPEONFORK) {
            return Ok(stored);
        }
        let runs = populated(self.tracer, region)?;
        // Of memory with a file only guards are known, which cannot be read.
        let runs = runs.or_else(|| (!region.area.guards.is_empty()).then(|| region.without_guards()));
        let end = self.end_of_file(region)?;
        stored.beyond = (end - region.start) / PAGE;
        for_pages(self.tracer, region.start, end, runs.as_deref(), |index, page| {
            if !is_zero(page) {
                stored.pages.push(index);
                stored.chunks.extend(mapped_chunk(page).map(|size| (index, size)));
            }
        })?;
        let guards = runs.iter().flatten().filter(|run| run.state == State::Guard);
        let pages = |run: &Run| (run.start - region.start) / PAGE..(run.end - region.start) / PAGE;
        stored.guards = guards.flat_map(pages).collect();
        Ok(stored)
    }

    /// Where the readable pages of a mapping of a file end: behind the file's last page an access is SIGBUS.
    fn end_of_file(&self, region: &Region) -> Result<u64, TraceError> {
        let readable = |page: u64| {
            let mut byte = [0];
            self.tracer.memory.read(region.start + page * PAGE, &mut byte).is_ok()
        };
        let (mut good, mut bad) = (0, region.pages() + 1);
        if !region.cut {
            return Ok(region.end);
        }
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            if readable(middle - 1) { good = middle } else { bad = middle }
        }
        Ok(region.start + good * PAGE)
    }

    fn private_parts(&self, region: &Region, area: usize) -> Result<Vec<Part>, DumpError> {
        let stored = self.stored_pages(region)?;
        let pages = if region.cut { stored.beyond } else { region.pages() };
        let part = |first, last, content| region.part(area, first, last, content);
        let mut parts = Vec::new();
        if pages > 0 {
            let anonymous = region.area.kind != AreaKind::Mapped;
            let readable = anonymous && region.prot & PROT_WRITE != 0;
            let runs = close_holes(&stored.pages);
            // The kernel joins anonymous memory with the .bss of a library before it, whose name the region then has.
            let is_joined = self.copy && !region.has_file && region.prot & PROT_WRITE != 0;
            let is_read = region.area.shared || (self.copy && readable) || is_joined;
            if !is_read {
                parts = self.mapped_parts(region, area, pages, &stored);
            }
            if is_read || (readable && stored.guards.is_empty() && are_few(&runs, &parts)) {
                parts = vec![part(0, pages, Content::Zero)];
                parts.extend(runs.iter().map(|(first, last)| part(*first, *last, Content::Read)));
            }
        }
        if pages < region.pages() {
            parts.push(part(pages, region.pages(), Content::Beyond));
        }
        Ok(parts)
    }

    fn mapped_parts(&self, region: &Region, area: usize, pages: u64, stored: &Stored) -> Vec<Part> {
        let part = |first, last, content| region.part(area, first, last, content);
        let remappable = |page: u64| self.may_be_remapped(region, page);
        let tails: BTreeSet<u64> = stored
            .chunks
            .iter()
            .map(|(page, size)| page + size / PAGE - 1)
            .chain([pages - 1])
            .filter(|page| stored.pages.binary_search(page).is_ok() && remappable(*page))
            .collect();
        let guards: BTreeSet<u64> = stored.guards.iter().copied().collect();
        let mut parts: Vec<Part> = Vec::new();
        // Zero or guard pages of [first, last).
        let fill = |parts: &mut Vec<Part>, first: u64, last: u64| {
            let mut at = first;
            while at < last {
                let guard = guards.contains(&at);
                let mut end = at + 1;
                if guard {
                    while end < last && guards.contains(&end) {
                        end += 1;
                    }
                } else {
                    end = guards.range(at..).next().map_or(last, |next| last.min(*next));
                }
                parts.push(part(at, end, if guard { Content::Guard } else { Content::Zero }));
                at = end;
            }
        };
        let mut at = 0;
        let runs = close_holes(&stored.pages);
        let runs = if guards.is_empty() { widen(runs, pages, !remappable(pages - 1)) } else { split_at(runs, &guards) };
        for (first, last) in runs {
            fill(&mut parts, at, first);
            let mut from = first;
            for &tail in tails.range(first..last) {
                if tail > from {
                    parts.push(part(from, tail, Content::Map));
                }
                parts.push(part(tail, tail + 1, Content::Zero));
                parts.push(part(tail, tail + 1, Content::Read));
                from = tail + 1;
            }
            if last > from {
                parts.push(part(from, last, Content::Map));
            }
            at = last;
        }
        fill(&mut parts, at, pages);
        parts
    }

    /// A mapping that mostly equals a file: the equal pages are mapped from it, the others stored.
    fn file_parts(
        &self,
        region: &Region,
        (file, offset, base): (usize, u64, Option<u64>),
        area: usize,
        image: &Image,
    ) -> Result<Vec<Part>, DumpError> {
        let Some(stored) = image.files.get(file) else { return Ok(Vec::new()) };
        let opened = File::open(&stored.path).map_err(TraceError::system("opening a code segment file"))?;
        let end = self.end_of_file(region)?;
        let mut classes: Vec<Content> = Vec::new();
        let mut expected = vec![0; PAGE as usize];
        let runs = (!region.area.guards.is_empty()).then(|| region.without_guards());
        let guard = |index: u64| {
            let addr = region.start + index * PAGE;
            region.area.guards.iter().any(|range| range.contains(&addr))
        };
        for_pages(self.tracer, region.start, end, runs.as_deref(), |index, page| {
            // Behind a guard is the file: the kernel has dropped what the program wrote there.
            while guard(classes.len() as u64) {
                classes.push(Content::File(file, offset + classes.len() as u64 * PAGE));
            }
            let at = offset + index * PAGE;
            expected.fill(0);
            let mut done = 0;
            while let Ok(count @ 1..) = opened.read_at(&mut expected[done..], at + done as u64) {
                done += count;
            }
            // Behind a read-only segment's own bytes, its last page shows the next bytes of the file: the start of
            // .data. No program reads it there, and the code segment file lacks it.
            let relative = base.map(|base| region.start + index * PAGE - base);
            let is_code = relative.is_some_and(|at| stored.code.iter().any(|range| range.contains(&at)));
            for hole in stored.holes.iter().filter(|_| is_code) {
                let from = (hole.start.clamp(at, at + PAGE) - at) as usize;
                let to = (hole.end.clamp(at, at + PAGE) - at) as usize;
                expected[from..to].copy_from_slice(&page[from..to]);
            }
            classes.push(match page {
                page if *page == *expected => Content::File(file, at),
                page if is_zero(page) => Content::Zero,
                _ => Content::Map,
            });
        })?;
        while guard(classes.len() as u64) {
            classes.push(Content::File(file, offset + classes.len() as u64 * PAGE));
        }
        let mut parts: Vec<Part> = Vec::new();
        for (index, class) in classes.into_iter().enumerate() {
            match parts.last_mut() {
                Some(last) if same_class(last.content, class) => last.len += PAGE,
                _ => parts.push(region.part(area, index as u64, index as u64 + 1, class)),
            }
        }
        let readable = (end - region.start) / PAGE;
        if readable < region.pages() {
            parts.push(region.part(area, readable, region.pages(), Content::Beyond));
        }
        Ok(parts)
    }
}

/// Findings in a region's pages, by page index in ascending order.
#[derive(Debug, Default)]
struct Stored {
    /// Not zero.
    pages: Vec<u64>,
    /// Headers of chunks that malloc mapped: page, size in bytes.
    chunks: Vec<(u64, u64)>,
    guards: Vec<u64>,
    /// First page behind the end of the file.
    beyond: u64,
}

/// Removes the guard pages from runs that were closed over them.
fn split_at(runs: Vec<(u64, u64)>, guards: &BTreeSet<u64>) -> Vec<(u64, u64)> {
    let mut out = Vec::new();
    for (first, last) in runs {
        let mut from = first;
        for &guard in guards.range(first..last) {
            if guard > from {
                out.push((from, guard));
            }
            from = guard + 1;
        }
        if last > from {
            out.push((from, last));
        }
    }
    out
}

fn same_class(a: Content, b: Content) -> bool {
    matches!(
        (a, b),
        (Content::File(..), Content::File(..)) | (Content::Zero, Content::Zero) | (Content::Map, Content::Map)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_closed_up_to_the_limit() {
        assert_eq!(close_holes(&[0, 1, 5]), [(0, 6)]);
        assert_eq!(close_holes(&[0, CLOSE_HOLES + 1]), [(0, CLOSE_HOLES + 2)]);
        assert_eq!(close_holes(&[0, CLOSE_HOLES + 2]), [(0, 1), (CLOSE_HOLES + 2, CLOSE_HOLES + 3)]);
    }

    #[test]
    fn ends_are_widened_only_where_nothing_can_be_remapped() {
        assert_eq!(widen(vec![(3, 5)], 10, true), [(0, 10)]);
        assert_eq!(widen(vec![(3, 5)], 10, false), [(0, 5)]);
        assert_eq!(widen(vec![(100, 105)], 300, true), [(100, 105)]);
    }

    fn parts(list: &[(u64, u64, u16, Content)]) -> Vec<Part> {
        let part = |(first, pages, prot, content): &(u64, u64, u16, Content)| Part {
            addr: first * PAGE,
            len: pages * PAGE,
            prot: *prot,
            content: *content,
            area: 0,
        };
        list.iter().map(part).collect()
    }

    #[test]
    fn few_pages_are_read_where_two_mappings_would_be_needed() {
        let two = parts(&[(0, 2, 3, Content::Map), (2, 1, 3, Content::Zero)]);
        assert!(are_few(&[(0, 2)], &two));
        assert!(!are_few(&[(0, 2)], &two[..1]));
        assert!(!are_few(&[(0, 3), (9, 11)], &two));
    }

    #[test]
    fn small_constants_are_stored_with_what_follows() {
        let file = |pages| Content::File(0, pages * PAGE);
        let image = [(1, 1, 5, file(1)), (2, 2, 1, file(2)), (4, 1, 1, Content::Map), (5, 1, 3, Content::Map)];
        let areas = [Area::default()];
        let mut small = parts(&image);
        join_small_constants(&mut small, &areas);
        let shape: Vec<_> = small.iter().map(|part| (part.addr / PAGE, part.len / PAGE, part.content)).collect();
        assert_eq!(shape, [(1, 1, file(1)), (2, 3, Content::Map), (5, 1, Content::Map)]);

        // Parts of large images, across a gap, or with advice to the kernel stay separate.
        for (constants, areas) in [
            ((0, 9, 1, file(0)), &areas),
            ((0, 1, 1, file(0)), &areas),
            ((8, 1, 1, file(0)), &[Area { advice: vec![1], ..Area::default() }]),
        ] {
            let mut list = parts(&[constants, (9, 1, 1, Content::Map)]);
            join_small_constants(&mut list, areas);
            assert_eq!(list.len(), 2, "{constants:?}");
        }
    }

    #[test]
    fn guards_cut_runs() {
        let guards = BTreeSet::from([2, 6]);
        assert_eq!(split_at(vec![(0, 4), (6, 8)], &guards), [(0, 2), (3, 4), (7, 8)]);
    }

    #[test]
    fn malloc_headers() {
        let mut page = vec![0u8; 4096];
        page[8..16].copy_from_slice(&(0x21000u64 | 2).to_le_bytes());
        assert_eq!(mapped_chunk(&page), Some(0x21000));
        page[8..16].copy_from_slice(&(0x21000u64 | 1).to_le_bytes());
        assert_eq!(mapped_chunk(&page), None);
    }
}
