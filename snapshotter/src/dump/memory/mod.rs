//! Memory: from VMAs to parts of the image.
//!
//! ```text
//!  check     what cannot be carried                     regions   VMAs → regions with one treatment each
//!  guards    pages that must not be touched
//!  contents  reading pages, page table flags            parts     regions → parts: zero, stored, mapped from a file
//! ```
//! Read-only pages that equal a file's become mappings of that file; zero pages stay holes; everything else is stored.
//! The comparison is by content, never by page flags: it finds every change by ld.so, a debugger or a breakpoint.

mod check;
mod contents;
mod guards;
mod parts;
mod regions;

pub(super) use check::check;
pub(super) use contents::{dontdump, each_piece, read_image, shared_with_files, written};
pub(super) use guards::{check_data, cut};

use super::DumpOptions;
use super::elf_store::{ElfStore, StoredFile};
use super::refuse::DumpError;
use super::threads::ThreadState;
use crate::options::{Memory as MemoryMode, Segments};
use crate::tracee::maps::{Special, Vma};
use crate::tracee::{Tracer, symbols};
use snapfn_format::PAGE;
use snapfn_format::snap::{PROT_EXEC, PROT_READ, PROT_WRITE, reg, resident};
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;

/// A part of the image; parts are page-aligned, in ascending order of address, and disjoint. Only [`Content::Read`]
/// lies within the part before it.
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
    /// `Image::host_files[index]` at this offset, shared.
    Host(usize, u64),
    /// The open file behind this descriptor of the program, at this offset, shared.
    Descriptor(u32, u64),
    /// Pages behind the end of a file: an access is SIGBUS.
    Beyond,
    /// MADV_GUARD_INSTALL: an access is SIGSEGV.
    Guard,
}

/// The area that a part belongs to: one VMA, or several with the same attributes.
#[derive(Clone, Debug, Default)]
pub(super) struct Area {
    /// A mapping that grows down.
    pub(super) stack: bool,
    pub(super) shared: bool,
    /// MAP_DROPPABLE: empty in an instance.
    pub(super) droppable: bool,
    pub(super) kind: AreaKind,
    /// `madvise` values.
    pub(super) advice: Vec<u64>,
    /// `mlock2` flags.
    pub(super) lock: Option<u64>,
    /// Guard pages, as ranges of addresses.
    pub(super) guards: Vec<Range<u64>>,
}

/// What memory an area is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum AreaKind {
    /// Memory without a file: the kernel gives it no name, or one in brackets.
    #[default]
    Anonymous,
    /// What `brk` has made.
    Heap,
    /// The resident region, which the loader fills.
    Resident,
    /// Mapped from a file or a device.
    Mapped,
}

impl AreaKind {
    /// By the name that /proc/PID/smaps has.
    fn of(name: &str) -> Self {
        match Special::of(name) {
            Some(Special::Heap) => AreaKind::Heap,
            _ if name.is_empty() || name.starts_with('[') => AreaKind::Anonymous,
            _ => AreaKind::Mapped,
        }
    }
}

/// A file of the host that stays mapped shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostFile {
    pub(super) path: PathBuf,
    pub(super) writable: bool,
}

/// The whole image.
#[derive(Debug, Default)]
pub(super) struct Image {
    pub(super) parts: Vec<Part>,
    pub(super) areas: Vec<Area>,
    pub(super) files: Vec<StoredFile>,
    pub(super) host_files: Vec<HostFile>,
}

impl Image {
    pub(super) fn data_pages(&self) -> u64 {
        self.pages(|content| matches!(content, Content::Map | Content::Read))
    }

    pub(super) fn code_pages(&self) -> u64 {
        self.pages(|content| matches!(content, Content::File(..)))
    }

    /// Stored memory, adjacent parts joined.
    pub(super) fn stored_ranges(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for part in self.parts.iter().filter(|part| matches!(part.content, Content::Map | Content::Read)) {
            match ranges.last_mut() {
                Some(last) if last.end == part.addr => last.end += part.len,
                _ => ranges.push(part.addr..part.addr + part.len),
            }
        }
        ranges
    }

    fn pages(&self, wanted: impl Fn(Content) -> bool) -> u64 {
        self.parts.iter().filter(|part| wanted(part.content)).map(|part| part.len / PAGE).sum()
    }
}

/// Memory that is not the program's: the kernel's stack and vDSO, the resident region.
fn is_ours(tracer: &Tracer, vma: &Vma) -> bool {
    let kernels = tracer.booted.kernel_ranges.iter().any(|(start, end)| vma.start < *end && *start < vma.end);
    let resident = tracer.booted.request.resident;
    let own = (resident..resident + resident::WORK + tracer.booted.request.work_len).contains(&vma.start);
    kernels || own || vma.is(Special::Vsyscall)
}

/// Reads and classifies all memory.
pub(super) fn gather(
    tracer: &Tracer,
    vmas: &[Vma],
    threads: &[ThreadState],
    elves: &mut ElfStore,
    options: &DumpOptions,
) -> Result<Image, DumpError> {
    let mut image = Image::default();
    let main_sp = threads.first().map_or(0, |thread| thread.record.regs[reg::SP]);
    let regions = regions::find(tracer, vmas, elves, &mut image)?;
    let context = parts::Context {
        tracer,
        main_sp,
        copy: match options.memory {
            MemoryMode::Copy => true,
            MemoryMode::Map => false,
            MemoryMode::Auto => relying_on_zeroes(vmas) > tracer.zero_questions.asked(),
        },
        elf_ranges: regions::elf_ranges(tracer, vmas, elves),
    };
    resident_parts(tracer, threads, &mut image);
    for region in regions {
        let area = image.areas.len();
        let parts = context.parts_of(&region, area, &image)?;
        image.areas.push(region.area);
        image.parts.extend(parts);
    }
    image.parts.sort_by_key(|part| part.addr);
    if options.segments == Segments::Joined {
        parts::join_segments(&mut image.parts, &image.areas);
    }
    parts::join_small_constants(&mut image.parts, &image.areas);
    Ok(image)
}

/// How many copies of jemalloc there are, which hand out dropped memory as if it were zero. On a mapping of the
/// snapshot file the file's bytes would come back instead, so such programs get their memory read in, unless each copy
/// has been told that (`tracee::questions`).
fn relying_on_zeroes(vmas: &[Vma]) -> usize {
    let code = vmas.iter().filter(|vma| vma.prot & PROT_EXEC != 0 && vma.has_file());
    let files: BTreeSet<PathBuf> = code.map(Vma::path).collect();
    let has_allocator = |path: &&PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.contains("jemalloc") || symbols::find(path, &["mallctl", "je_mallctl", "_rjem_mallctl"]).is_some()
    };
    files.iter().filter(has_allocator).count()
}

/// The vDSO page is stored; slots and work area are zero, as many as the instance's threads need.
fn resident_parts(tracer: &Tracer, threads: &[ThreadState], image: &mut Image) {
    let base = tracer.booted.request.resident;
    let largest = threads.iter().map(|thread| thread.xstate.len() as u64).max().unwrap_or(0);
    let area = image.areas.len();
    image.areas.push(Area { kind: AreaKind::Resident, ..Area::default() });
    let code = PROT_READ | PROT_EXEC;
    image.parts.push(Part { addr: base, len: PAGE, prot: code, content: Content::Map, area });
    let len = resident::WORK - resident::SLOTS + resident::work_len(threads.len() as u64, largest);
    let prot = PROT_READ | PROT_WRITE;
    image.parts.push(Part { addr: base + resident::SLOTS, len, prot, content: Content::Zero, area });
}
