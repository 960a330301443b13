//! The address space that a plan makes: its mappings with their names, and the mapping at an address.

use super::names;
pub(crate) use crate::commands::pair::path;
use crate::tracee::symbols::open_regular;
use snapfn_format::snap::*;
use snapfn_format::{PAGE, page_down, page_up};
use snapfn_store::{Kind, Stores};
use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The name of memory that belongs to no file and no thread.
pub(crate) const ANONYMOUS: &str = "[anonymous]";

/// The source of the bytes of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// A code segment file: shared by all instances of all programs.
    Code,
    /// Another file of the store.
    Data,
    /// A file of the host.
    Host,
    /// A mapping of a descriptor (memfd and the like).
    Descriptor,
    /// Pages of the snapshot, copied when written.
    Snapshot,
    /// Zeros.
    Zeros,
    /// Zeros that grow down.
    Stack,
}

impl Source {
    pub(crate) const ALL: [Source; 7] =
        [Source::Code, Source::Data, Source::Host, Source::Descriptor, Source::Snapshot, Source::Zeros, Source::Stack];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Source::Code => "code",
            Source::Data => "data",
            Source::Host => "host",
            Source::Descriptor => "descriptor",
            Source::Snapshot => "snapshot",
            Source::Zeros => "zeros",
            Source::Stack => "stack",
        }
    }
}

/// A part of a mapping that is read in from the snapshot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadIn {
    pub(crate) addr: u64,
    pub(crate) len: u64,
    pub(crate) offset: u64,
}

/// One mapping.
#[derive(Clone, Debug)]
pub(crate) struct Vma {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) prot: u16,
    pub(crate) shared: bool,
    pub(crate) source: Source,
    /// Index into the files table if the source is a file.
    pub(crate) file: Option<usize>,
    pub(crate) offset: u64,
    pub(crate) reads: Vec<ReadIn>,
    /// Number of bytes that get another protection after the last write, and that protection.
    pub(crate) protected: Option<(u64, u16)>,
    /// The path of its file, or of the program or library that it belongs to, or a name in brackets.
    pub(crate) name: String,
}

impl Vma {
    pub(crate) fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Bytes that are read in.
    pub(crate) fn read(&self) -> u64 {
        self.reads.iter().map(|read| read.len).sum::<u64>().min(self.len())
    }

    pub(crate) fn protection(&self) -> String {
        names::protection(self.prot, self.shared)
    }
}

/// The range of a program or library, its writable part included.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Image {
    start: u64,
    end: u64,
    /// What its ELF addresses are moved by.
    bias: u64,
    /// Index into the files table.
    file: usize,
    path: String,
}

/// All mappings, in order of address.
#[derive(Clone, Debug)]
pub(crate) struct Space {
    pub(crate) vmas: Vec<Vma>,
    images: Vec<Image>,
}

/// A place in memory, in terms that do not change from snapshot to snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) offset: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.name.rsplit('/').next().unwrap_or(&self.name);
        write!(f, "{name}+{:#x}", self.offset)
    }
}

/// A path or other text of the plan, without the zero byte at its end.
pub(crate) fn text(plan: &Plan<'_>, reference: BytesRef) -> String {
    let bytes = plan.bytes(reference);
    String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(bytes)).into_owned()
}

impl Space {
    /// The mappings of `plan`. Code segment files that are in a store give the length of each program or library.
    pub(crate) fn new(plan: &Plan<'_>, stores: &Stores) -> Self {
        let images = images(plan, stores);
        let namer = Namer::new(plan, &images);
        let mut vmas: Vec<Vma> = Vec::new();
        for op in plan.ops {
            match op.kind {
                OP_MAP_FILE | OP_MAP_ANON | OP_MAP_FD => vmas.push(vma(plan, op, &namer)),
                OP_READ => {
                    if let Some(vma) = vmas.last_mut() {
                        vma.reads.push(ReadIn { addr: op.addr, len: op.len, offset: op.offset });
                    }
                }
                OP_PROTECT => {
                    if let Some(vma) = vmas.last_mut() {
                        let before = vma.protected.map_or(0, |(len, _)| len);
                        vma.protected = Some((before.saturating_add(op.len).min(vma.len()), op.prot));
                    }
                }
                _ => {}
            }
        }
        Space { vmas, images }
    }

    /// The mapping at `addr`.
    pub(crate) fn at(&self, addr: u64) -> Option<&Vma> {
        let index = self.vmas.partition_point(|vma| vma.end <= addr);
        self.vmas.get(index).filter(|vma| vma.start <= addr)
    }

    /// Every program and library: index of its code segment file, and load bias.
    pub(crate) fn images(&self) -> impl Iterator<Item = (usize, u64)> {
        self.images.iter().map(|image| (image.file, image.bias))
    }

    /// What lies at `addr`.
    pub(crate) fn place(&self, addr: u64) -> Option<Place> {
        let vma = self.at(addr)?;
        let offset = match image_at(&self.images, addr) {
            Some(image) => addr.wrapping_sub(image.bias),
            None => addr - vma.start + vma.offset * u64::from(matches!(vma.source, Source::Code | Source::Data)),
        };
        Some(Place { name: vma.name.clone(), offset })
    }

    /// The same as text, or the bare address.
    pub(crate) fn describe(&self, addr: u64) -> String {
        self.place(addr).map_or_else(|| format!("{addr:#x}"), |place| place.to_string())
    }
}

fn vma(plan: &Plan<'_>, op: &Op, namer: &Namer<'_>) -> Vma {
    let file = (op.kind == OP_MAP_FILE).then_some(usize::from(op.file));
    let record = file.and_then(|file| plan.files.get(file));
    let source = match (op.kind, record.map_or(FILE_SELF, |file| file.kind)) {
        (OP_MAP_FD, _) => Source::Descriptor,
        (OP_MAP_ANON, _) if op.flags & OP_GROWSDOWN != 0 => Source::Stack,
        (OP_MAP_ANON, _) => Source::Zeros,
        (_, FILE_CODE) => Source::Code,
        (_, FILE_DATA) => Source::Data,
        (_, FILE_HOST) => Source::Host,
        _ => Source::Snapshot,
    };
    let name = match (source, record) {
        (Source::Descriptor, _) => plan.fds.get(usize::from(op.file)).map(|fd| format!("[descriptor {}]", fd.fd)),
        (_, Some(file)) if file.kind != FILE_SELF => Some(text(plan, file.path)),
        _ => None,
    };
    Vma {
        start: op.addr,
        end: op.addr + op.len,
        prot: op.prot,
        shared: op.flags & OP_SHARED != 0,
        source,
        file,
        offset: op.offset,
        reads: Vec::new(),
        protected: None,
        name: name.filter(|name| !name.is_empty()).unwrap_or_else(|| namer.name(op, source)),
    }
}

/// Names mappings that are of no file.
struct Namer<'a> {
    images: &'a [Image],
    heap: std::ops::Range<u64>,
    resident: std::ops::Range<u64>,
    /// Stack pointers of all threads but the first, with the thread's index.
    stacks: Vec<(u64, usize)>,
}

impl<'a> Namer<'a> {
    fn new(plan: &Plan<'_>, images: &'a [Image]) -> Self {
        let p = &plan.header.process;
        let mut stacks: Vec<_> =
            plan.threads.iter().enumerate().skip(1).map(|(i, thread)| (thread.regs[reg::SP], i)).collect();
        stacks.sort_unstable();
        let largest = plan.threads.iter().map(|thread| u64::from(thread.xstate.len)).max().unwrap_or(0);
        let resident_len = resident::WORK + resident::work_len(plan.threads.len() as u64, largest);
        Namer {
            images,
            heap: page_down(p.start_brk)..page_up(p.brk).unwrap_or(p.brk),
            resident: p.resident..p.resident.saturating_add(resident_len),
            stacks,
        }
    }

    fn name(&self, op: &Op, source: Source) -> String {
        let first = self.stacks.partition_point(|(sp, _)| *sp < op.addr);
        let thread = self.stacks.get(first).filter(|(sp, _)| *sp < op.addr + op.len);
        match thread {
            _ if source == Source::Stack => "[stack]".to_string(),
            _ if self.heap.contains(&op.addr) => "[heap]".to_string(),
            _ if self.resident.contains(&op.addr) => "[snapfn]".to_string(),
            Some((_, index)) => format!("[stack of thread {index}]"),
            None => match image_at(self.images, op.addr) {
                Some(image) => image.path.clone(),
                None => ANONYMOUS.to_string(),
            },
        }
    }
}

/// The last image that begins at or before `addr` and reaches beyond it.
fn image_at(images: &[Image], addr: u64) -> Option<&Image> {
    let after = images.partition_point(|image| image.start <= addr);
    images.get(after.checked_sub(1)?).filter(|image| addr < image.end)
}

/// The ranges of programs and libraries, by the program headers of their code segment files. A file that cannot be read
/// or is not valid is left out: names are a convenience.
fn images(plan: &Plan<'_>, stores: &Stores) -> Vec<Image> {
    let loads: Vec<Vec<Load>> = plan
        .files
        .iter()
        .map(|file| match file.kind {
            FILE_CODE => stores.find(Kind::Code, file.digest).and_then(|path| loads(&path)).unwrap_or_default(),
            _ => Vec::new(),
        })
        .collect();
    let mut images = BTreeSet::new();
    for op in plan.ops.iter().filter(|op| op.kind == OP_MAP_FILE) {
        let Some(loads) = loads.get(usize::from(op.file)).filter(|loads| !loads.is_empty()) else { continue };
        let Some(load) = loads.iter().find(|load| (page_down(load.offset)..load.end()).contains(&op.offset)) else {
            continue;
        };
        let bias = op.addr.wrapping_sub(load.vaddr.wrapping_sub(load.offset).wrapping_add(op.offset));
        let start = loads.iter().map(|load| page_down(load.vaddr)).min().unwrap_or(0).wrapping_add(bias);
        let end = loads.iter().filter_map(|load| page_up(load.vaddr.checked_add(load.memsz)?)).max();
        let end = end.unwrap_or(0).wrapping_add(bias);
        if start <= op.addr && op.addr < end {
            let path = plan.files.get(usize::from(op.file)).map(|file| text(plan, file.path)).unwrap_or_default();
            images.insert(Image { start, end, bias, file: usize::from(op.file), path });
        }
    }
    images.into_iter().collect()
}

/// A PT_LOAD.
struct Load {
    offset: u64,
    vaddr: u64,
    filesz: u64,
    memsz: u64,
}

impl Load {
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.filesz)
    }
}

/// The PT_LOADs of an ELF file whose program headers lie in its first page.
fn loads(path: &Path) -> Option<Vec<Load>> {
    use goblin::elf::program_header::{PT_LOAD, ProgramHeader};
    let mut start = vec![0; PAGE as usize];
    let file = open_regular(path).ok()?;
    let len = file.read_at(&mut start, 0).ok()?;
    let start = start.get(..len)?;
    let header = goblin::elf::Elf::parse_header(start).ok()?;
    let context = goblin::container::Ctx::new(goblin::container::Container::Big, header.endianness().ok()?);
    let headers = ProgramHeader::parse(start, header.e_phoff as usize, usize::from(header.e_phnum), context).ok()?;
    let loads = headers.iter().filter(|header| header.p_type == PT_LOAD);
    Some(loads.map(|h| Load { offset: h.p_offset, vaddr: h.p_vaddr, filesz: h.p_filesz, memsz: h.p_memsz }).collect())
}
