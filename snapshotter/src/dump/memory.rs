//! Memory: from VMAs to parts of the image.
//!
//! Read-only pages that equal a file's become mappings of that file; zero pages stay holes; everything else is
//! stored. The comparison is by content, never by page flags: whatever ld.so, a debugger or a breakpoint has
//! changed is found.

use super::elf_store::{ElfStore, StoredFile};
use super::refuse::{Blocker, DumpError};
use super::threads::ThreadState;
use crate::cli::Memory as MemoryMode;
use crate::tracee::maps::Vma;
use crate::tracee::{TraceError, Tracer, symbols};
use snapfn_format::snap::{PROT_EXEC, PROT_READ, PROT_WRITE, reg, resident};
use snapfn_format::{PAGE, page_down};
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Zero pages between two stored pages that are stored, too: a page costs less than two more mappings.
const CLOSE_HOLES: u64 = 64;
/// Bytes read from the program at a time.
const CHUNK: u64 = 2 << 20;

/// VmFlags that say nothing a restore must repeat.
const PLAIN_FLAGS: &[&str] =
    &["rd", "wr", "ex", "sh", "mr", "mw", "me", "ms", "gd", "ac", "nr", "sd", "mm", "ar", "sf", "nl", "dw", "??"];
/// VmFlags that are repeated by `madvise`, with the advice.
pub(super) const ADVICE_FLAGS: &[(&str, u64)] = &[
    ("sr", 2),  // MADV_SEQUENTIAL
    ("rr", 1),  // MADV_RANDOM
    ("dc", 10), // MADV_DONTFORK
    ("dd", 16), // MADV_DONTDUMP
    ("hg", 14), // MADV_HUGEPAGE
    ("nh", 15), // MADV_NOHUGEPAGE
    ("mg", 12), // MADV_MERGEABLE
    ("wf", 18), // MADV_WIPEONFORK
];
/// VmFlags that are refused: flag, what it is, remedy.
const REFUSED_FLAGS: &[(&str, &str, &str)] = &[
    ("io", "memory of a device", "close the device before the snapshot point"),
    ("pf", "memory of a device", "close the device before the snapshot point"),
    ("um", "watched by userfaultfd", "unregister it before the snapshot point"),
    ("uw", "write-protected by userfaultfd", "unregister it before the snapshot point"),
    ("ui", "watched by userfaultfd", "unregister it before the snapshot point"),
    ("ht", "huge pages of hugetlbfs", "use transparent huge pages (madvise) instead"),
    ("ss", "a shadow stack", "run with GLIBC_TUNABLES=glibc.cpu.x86_shstk=off"),
    ("sl", "sealed memory (mseal)", "do not seal memory before the snapshot point"),
];

/// A part of the image; parts are disjoint, page-aligned, in ascending order of address.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) addr: u64,
    pub(super) len: u64,
    pub(super) prot: u16,
    pub(super) content: Content,
    /// Index into [`Image::areas`].
    pub(super) area: usize,
}

/// Where the content of a part comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Zero,
    /// Stored pages, mapped.
    Map,
    /// Stored pages, read into anonymous memory.
    Read,
    /// `Image::files[index]` at this offset.
    File(usize, u64),
}

/// What a part belongs to.
#[derive(Clone, Debug)]
pub(super) struct Area {
    pub(super) stack: bool,
    /// Of the main thread, where `stack`.
    stack_pointer: u64,
    pub(super) shared: bool,
    pub(super) name: String,
    /// `madvise` values.
    pub(super) advice: Vec<u64>,
    /// `mlock2` flags.
    pub(super) lock: Option<u64>,
}

/// The whole image.
#[derive(Debug, Default)]
pub(super) struct Image {
    pub(super) parts: Vec<Part>,
    pub(super) areas: Vec<Area>,
    pub(super) files: Vec<StoredFile>,
}

impl Image {
    pub(super) fn data_pages(&self) -> u64 {
        self.pages(|content| matches!(content, Content::Map | Content::Read))
    }

    pub(super) fn code_pages(&self) -> u64 {
        self.pages(|content| matches!(content, Content::File(..)))
    }

    fn pages(&self, wanted: impl Fn(Content) -> bool) -> u64 {
        self.parts.iter().filter(|part| wanted(part.content)).map(|part| part.len / PAGE).sum()
    }
}

/// Memory that is none of the program's: the kernel's stack and vDSO, the resident region.
fn is_ours(tracer: &Tracer, vma: &Vma) -> bool {
    let kernels = tracer.booted.kernel_ranges.iter().any(|(start, end)| vma.start < *end && *start < vma.end);
    let resident = tracer.booted.request.resident;
    let own = (resident..resident + resident::WORK + tracer.booted.request.work_len).contains(&vma.start);
    kernels || own || vma.name == "[vsyscall]"
}

/// Adds a blocker for each VMA that cannot be carried.
pub(super) fn check(vmas: &[Vma], tracer: &Tracer, blockers: &mut Vec<Blocker>) {
    for vma in vmas.iter().filter(|vma| !is_ours(tracer, vma)) {
        let subject = format!("memory {:x}-{:x} {}", vma.start, vma.end, vma.name).trim_end().to_owned();
        let mut add = |what: String, remedy| blockers.push(Blocker { subject: subject.clone(), what, remedy });
        for flag in &vma.flags {
            if let Some((_, what, remedy)) = REFUSED_FLAGS.iter().find(|(name, ..)| name == flag) {
                add((*what).to_owned(), remedy);
                break;
            }
            let known = PLAIN_FLAGS.contains(&flag.as_str())
                || ADVICE_FLAGS.iter().any(|(name, _)| name == flag)
                || matches!(flag.as_str(), "lo" | "lf" | "dp");
            if !known {
                add(format!("has the unknown flag '{flag}'"), "report it with the kernel's version");
            }
        }
        if vma.shared && vma.prot & PROT_WRITE != 0 {
            add("shared writable memory".to_owned(), "unmap it before the snapshot point");
        } else if vma.shared && vma.name.starts_with("/dev/") && !vma.name.starts_with("/dev/shm/") {
            add("memory of a device".to_owned(), "close the device before the snapshot point");
        }
    }
}

/// How a VMA's pages are classified.
enum Kind {
    /// Pages may equal those of a file at this offset; where its image starts in memory.
    File(usize, u64, Option<u64>),
    /// Zero or stored.
    Private,
}

/// Adjacent VMAs with the same treatment.
struct Region {
    start: u64,
    end: u64,
    prot: u16,
    area: Area,
    kind: Kind,
    has_file: bool,
}

/// Pages that must be anonymous because the program may `mremap` what ends there: growing a mapping of the snapshot
/// file would show the file's next pages, or end in SIGBUS; across two mappings `mremap` fails, and the C libraries
/// then copy. These are the last page of every anonymous area, and of every chunk that glibc's malloc has mapped by
/// itself (a page-aligned header with its size and flag bit 1, IS_MMAPPED).
fn may_be_remapped(region: &Region, elf_ranges: &[(u64, u64)], page: u64) -> bool {
    let addr = region.start + page * PAGE;
    let in_elf = elf_ranges.iter().any(|(start, end)| (*start..*end).contains(&addr));
    !in_elf && !region.has_file && region.area.name != "[heap]" && region.prot & PROT_WRITE != 0
}

/// The size in a malloc header at the start of `page`, if it is one of a chunk that malloc has mapped by itself.
fn mapped_chunk(page: &[u8]) -> Option<u64> {
    let word = |at: usize| page.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
    let size = word(8) & !7;
    (word(0) == 0 && word(8) & 7 == 2 && size > 0 && size % PAGE == 0).then_some(size)
}

/// Reads and classifies all memory.
pub(super) fn gather(
    tracer: &Tracer,
    vmas: &[Vma],
    threads: &[ThreadState],
    elves: &mut ElfStore,
    mode: MemoryMode,
) -> Result<Image, DumpError> {
    let mut image = Image::default();
    let copy = match mode {
        MemoryMode::Copy => true,
        MemoryMode::Map => false,
        MemoryMode::Auto => relies_on_zeroes(vmas),
    };
    let main_sp = threads.first().map_or(0, |thread| thread.record.regs[reg::RSP]);
    let mut regions: Vec<Region> = Vec::new();
    let mut bases: HashMap<String, u64> = HashMap::new();
    for vma in vmas.iter().filter(|vma| !is_ours(tracer, vma)) {
        if vma.has_file() && vma.offset == 0 {
            bases.insert(vma.name.clone(), vma.start);
        }
        let region = region_of(vma, main_sp, bases.get(&vma.name).copied(), elves, &mut image);
        match regions.last_mut() {
            Some(last) if mergeable(last, &region) => {
                last.end = region.end;
                last.has_file &= region.has_file;
            }
            _ => regions.push(region),
        }
    }
    resident_parts(tracer, threads, &mut image);
    let elf_ranges = elf_ranges(tracer, vmas, elves);
    for region in regions {
        let area = image.areas.len();
        image.areas.push(region.area.clone());
        let parts = match region.kind {
            Kind::File(file, offset, base) => file_parts(tracer, &region, (file, offset, base), area, &image)?,
            Kind::Private => private_parts(tracer, &region, area, copy, &elf_ranges)?,
        };
        image.parts.extend(parts);
    }
    image.parts.sort_by_key(|part| part.addr);
    Ok(image)
}

/// Where the images of the program and its libraries lie, .bss included.
fn elf_ranges(tracer: &Tracer, vmas: &[Vma], elves: &mut ElfStore) -> Vec<(u64, u64)> {
    let request = &tracer.booted.request;
    let mut ranges: Vec<(u64, u64)> = vmas
        .iter()
        .filter(|vma| vma.has_file() && vma.offset == 0 && !vma.deleted && vma.prot & PROT_WRITE == 0)
        .filter_map(|vma| Some((vma.start, vma.start + elves.lookup(&vma.path(), vma.inode)?.span)))
        .collect();
    let header = &tracer.booted.header;
    let at = |addr: u64| request.bias.wrapping_add(addr);
    ranges.push((at(header.image_start.get()), at(header.image_end.get())));
    ranges
}

/// jemalloc hands out memory after MADV_DONTNEED as if it were zero. On a mapping of the snapshot file the file's
/// bytes would come back instead, so such programs get their memory read in.
fn relies_on_zeroes(vmas: &[Vma]) -> bool {
    vmas.iter().filter(|vma| vma.prot & PROT_EXEC != 0 && vma.has_file()).any(|vma| {
        vma.name.contains("jemalloc")
            || symbols::find(&vma.path(), &["mallctl", "je_mallctl", "_rjem_mallctl"]).is_some()
    })
}

fn mergeable(last: &Region, next: &Region) -> bool {
    let same =
        |a: &Area, b: &Area| !a.stack && !b.stack && a.shared == b.shared && a.advice == b.advice && a.lock == b.lock;
    matches!((&last.kind, &next.kind), (Kind::Private, Kind::Private))
        && last.end == next.start
        && last.prot == next.prot
        && same(&last.area, &next.area)
}

fn region_of(vma: &Vma, main_sp: u64, base: Option<u64>, elves: &mut ElfStore, image: &mut Image) -> Region {
    let stored = (vma.has_file() && vma.prot & PROT_WRITE == 0 && !vma.deleted)
        .then(|| elves.lookup(&vma.path(), vma.inode))
        .flatten();
    let kind = match stored {
        Some(file) => {
            let known = image.files.iter().position(|known| known.digest == file.digest);
            let index = known.unwrap_or_else(|| {
                image.files.push(file);
                image.files.len() - 1
            });
            Kind::File(index, vma.offset, base)
        }
        None => Kind::Private,
    };
    let locked = vma.has("lo").then(|| u64::from(vma.has("lf")));
    let area = Area {
        stack: vma.has("gd") && vma.contains(main_sp),
        stack_pointer: main_sp,
        shared: false,
        name: vma.name.clone(),
        advice: ADVICE_FLAGS.iter().filter(|(flag, _)| vma.has(flag)).map(|(_, advice)| *advice).collect(),
        lock: locked,
    };
    Region { start: vma.start, end: vma.end, prot: vma.prot, area, kind, has_file: vma.has_file() }
}

/// The vDSO page is stored; slots and work area are zero, as many as the instance's threads need.
fn resident_parts(tracer: &Tracer, threads: &[ThreadState], image: &mut Image) {
    let base = tracer.booted.request.resident;
    let largest = threads.iter().map(|thread| thread.xstate.len() as u64).max().unwrap_or(0);
    let area = image.areas.len();
    let name = "[resident]".to_owned();
    image.areas.push(Area { stack: false, stack_pointer: 0, shared: false, name, advice: Vec::new(), lock: None });
    let code = PROT_READ | PROT_EXEC;
    image.parts.push(Part { addr: base, len: PAGE, prot: code, content: Content::Map, area });
    let len = resident::WORK - resident::SLOTS + resident::work_len(threads.len() as u64, largest);
    let prot = PROT_READ | PROT_WRITE;
    image.parts.push(Part { addr: base + resident::SLOTS, len, prot, content: Content::Zero, area });
}

/// Reads `[addr, addr + len)` as it goes into the snapshot: secrets are zero.
pub(super) fn read_image(tracer: &Tracer, addr: u64, bytes: &mut [u8]) -> Result<(), TraceError> {
    tracer.memory.read(addr, bytes).map_err(TraceError::system("reading the program's memory"))?;
    for (start, len) in &tracer.registered.secrets {
        let from = start.saturating_sub(addr).min(bytes.len() as u64);
        let to = (start + len).saturating_sub(addr).min(bytes.len() as u64);
        if *start < addr + bytes.len() as u64 && start + len > addr {
            bytes[from as usize..to as usize].fill(0);
        }
    }
    Ok(())
}

fn is_zero(page: &[u8]) -> bool {
    page.as_chunks::<16>().0.iter().all(|chunk| u128::from_ne_bytes(*chunk) == 0)
}

/// Calls `visit` with the index of each page of the range that may be non-zero, and its bytes.
fn for_pages(
    tracer: &Tracer,
    start: u64,
    end: u64,
    present: Option<&[bool]>,
    mut visit: impl FnMut(u64, &[u8]),
) -> Result<(), TraceError> {
    let mut buffer = vec![0; CHUNK as usize];
    let wanted = |index: u64| present.is_none_or(|present| present.get(index as usize).copied().unwrap_or(true));
    let pages = (end - start) / PAGE;
    let mut first = 0;
    while first < pages {
        if !wanted(first) {
            first += 1;
            continue;
        }
        let mut last = first + 1;
        while last < pages && last - first < CHUNK / PAGE && wanted(last) {
            last += 1;
        }
        let bytes = &mut buffer[..((last - first) * PAGE) as usize];
        read_image(tracer, start + first * PAGE, bytes)?;
        for (i, page) in bytes.as_chunks::<4096>().0.iter().enumerate() {
            visit(first + i as u64, page);
        }
        first = last;
    }
    Ok(())
}

/// Whether each page of a private area has ever been touched, from /proc/PID/pagemap. Untouched anonymous pages
/// read as zero; not reading them keeps sparse reservations free.
fn touched(tracer: &Tracer, region: &Region) -> Result<Option<Vec<bool>>, TraceError> {
    const PRESENT_OR_SWAPPED: u64 = 3 << 62;
    if !region.area.name.is_empty() && !region.area.name.starts_with('[') {
        return Ok(None);
    }
    let file = File::open(format!("/proc/{}/pagemap", tracer.pid)).map_err(TraceError::system("/proc/PID/pagemap"))?;
    let pages = ((region.end - region.start) / PAGE) as usize;
    let mut out = Vec::with_capacity(pages);
    let mut buffer = vec![0u8; 1 << 16];
    while out.len() < pages {
        let want = ((pages - out.len()) * 8).min(buffer.len());
        let offset = (region.start / PAGE + out.len() as u64) * 8;
        let got = file.read_at(&mut buffer[..want], offset).map_err(TraceError::system("/proc/PID/pagemap"))?;
        if got < 8 {
            return Ok(None);
        }
        out.extend(
            buffer[..got / 8 * 8]
                .as_chunks::<8>()
                .0
                .iter()
                .map(|entry| u64::from_le_bytes(*entry) & PRESENT_OR_SWAPPED != 0),
        );
    }
    Ok(Some(out))
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

fn private_parts(
    tracer: &Tracer,
    region: &Region,
    area: usize,
    copy: bool,
    elf_ranges: &[(u64, u64)],
) -> Result<Vec<Part>, DumpError> {
    let part = |first: u64, last: u64, content| Part {
        addr: region.start + first * PAGE,
        len: (last - first) * PAGE,
        prot: region.prot,
        content,
        area,
    };
    if region.area.stack {
        return Ok(stack_parts(region, area));
    }
    let pages = (region.end - region.start) / PAGE;
    let wiped = region.area.advice.contains(&18);
    let mut stored = Vec::new();
    let mut headers = Vec::new();
    if !wiped {
        let present = touched(tracer, region)?;
        for_pages(tracer, region.start, region.end, present.as_deref(), |index, page| {
            if !is_zero(page) {
                stored.push(index);
                headers.extend(mapped_chunk(page).map(|size| (index, size)));
            }
        })?;
    }
    let runs = close_holes(&stored);
    let anonymous = region.area.name.is_empty() || region.area.name.starts_with('[');
    if copy && anonymous && region.prot & PROT_WRITE != 0 {
        let mut parts = vec![part(0, pages, Content::Zero)];
        parts.extend(runs.iter().map(|(first, last)| part(*first, *last, Content::Read)));
        return Ok(parts);
    }
    let remappable = |page: u64| may_be_remapped(region, elf_ranges, page);
    let tails: BTreeSet<u64> = headers
        .iter()
        .map(|(page, size)| page + size / PAGE - 1)
        .chain([pages - 1])
        .filter(|page| stored.binary_search(page).is_ok() && remappable(*page))
        .collect();
    let mut parts = Vec::new();
    let mut at = 0;
    for (first, last) in widen(runs, pages, !remappable(pages - 1)) {
        if first > at {
            parts.push(part(at, first, Content::Zero));
        }
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
    if at < pages {
        parts.push(part(at, pages, Content::Zero));
    }
    Ok(parts)
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

/// The main stack: one growing mapping, its live pages read in. What lies below the red zone is dead.
fn stack_parts(region: &Region, area: usize) -> Vec<Part> {
    let live = region.area.stack_pointer.saturating_sub(128);
    let first = page_down(live).clamp(region.start, region.end - PAGE);
    let part = |content| Part { addr: first, len: region.end - first, prot: region.prot, content, area };
    vec![part(Content::Zero), part(Content::Read)]
}

/// A mapping that mostly equals a file: the equal pages are mapped from it, the others stored.
fn file_parts(
    tracer: &Tracer,
    region: &Region,
    (file, offset, base): (usize, u64, Option<u64>),
    area: usize,
    image: &Image,
) -> Result<Vec<Part>, DumpError> {
    let Some(stored) = image.files.get(file) else { return Ok(Vec::new()) };
    let opened = File::open(&stored.path).map_err(TraceError::system("opening a code segment file"))?;
    // Beyond the file's last page there is nothing to read: an access is SIGBUS there, and unmapped in an instance.
    let reach = stored.size.next_multiple_of(PAGE).saturating_sub(offset);
    let end = region.end.min(region.start.saturating_add(reach));
    let mut classes: Vec<Content> = Vec::new();
    let mut expected = vec![0; PAGE as usize];
    for_pages(tracer, region.start, end, None, |index, page| {
        let at = offset + index * PAGE;
        expected.fill(0);
        let mut done = 0;
        while let Ok(count @ 1..) = opened.read_at(&mut expected[done..], at + done as u64) {
            done += count;
        }
        // Behind a read-only segment's own bytes, its last page shows what follows in the file: the start of .data,
        // which nobody reads there and which the code segment file lacks.
        let relative = base.map(|base| region.start + index * PAGE - base);
        let is_code = relative.is_some_and(|at| stored.code.iter().any(|range| range.contains(&at)));
        for hole in stored.holes.iter().filter(|_| is_code) {
            let from = hole.start.clamp(at, at + PAGE) - at;
            let to = hole.end.clamp(at, at + PAGE) - at;
            expected[from as usize..to as usize].copy_from_slice(&page[from as usize..to as usize]);
        }
        classes.push(if *page == *expected {
            Content::File(file, 0)
        } else if is_zero(page) {
            Content::Zero
        } else {
            Content::Map
        });
    })?;
    let mut parts: Vec<Part> = Vec::new();
    for (index, class) in classes.into_iter().enumerate() {
        let index = index as u64;
        let addr = region.start + index * PAGE;
        match parts.last_mut() {
            Some(last) if same_class(last.content, class) => last.len += PAGE,
            _ => {
                let content = match class {
                    Content::File(file, _) => Content::File(file, offset + index * PAGE),
                    other => other,
                };
                parts.push(Part { addr, len: PAGE, prot: region.prot, content, area });
            }
        }
    }
    Ok(parts)
}

fn same_class(a: Content, b: Content) -> bool {
    matches!(
        (a, b),
        (Content::File(..), Content::File(..)) | (Content::Zero, Content::Zero) | (Content::Map, Content::Map)
    )
}
