//! From a snapshot to an init data file that has its memory (`export`), and from such a file to a snapshot again
//! (`deserialize`).
//!
//! ```text
//!  snapshot file ──export──▶ fn.init                                      another host
//!    head: plan, notes          state                          ┐
//!    pages of data segments     runs of non-zero bytes         │ deserialize + its own vDSO page ──▶ snapshot file
//!    all other pages            heap runs                      │
//!    page of the vDSO           —                              ┘
//! ```
//!
//! The words that every start renews by their address alone, stack canary and random bytes, are zero in the file: they
//! need not leave the host. The same snapshot always gives the same file, and so does the snapshot that is made of it.

use crate::{Piece, runs, split_file};
use snapfn_format::init::{
    self, Exported, Init, InitHeader, InitSource, NotPortable, Place, Places, Segment, SegmentKind, Stored,
    not_portable, program_file,
};
use snapfn_format::snap::{PATCH_CANARY, PATCH_MEMORY, Plan};
use snapfn_format::{FormatError, PAGE};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use thiserror::Error;
use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

const PT_NOTE: u32 = 4;
const PHDR: usize = 56;
/// Bytes behind AT_RANDOM's address.
const RANDOM: usize = 16;

/// Why a snapshot is not exported.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// It is more than a function of its memory.
    #[error("{}", reasons(.0))]
    NotPortable(Vec<NotPortable>),
    /// The init data file is not that of its program.
    #[error("the init data file is not that of the snapshot's program")]
    OtherProgram,
    /// The init data file of its program is not to be had.
    #[error("its program has changed, and the store no longer has its init data file; make the snapshot again")]
    NoProgram,
    /// Its program headers cannot be read.
    #[error("its program headers are not laid out as this version does; make the snapshot again")]
    Layout,
    /// Its pages cannot be read.
    #[error("cannot read its pages: {0}")]
    Read(#[from] io::Error),
    /// An init data file cannot hold it.
    #[error("it cannot be described by an init data file: {0}")]
    Format(#[from] FormatError),
}

fn reasons(reasons: &[NotPortable]) -> String {
    reasons.iter().map(NotPortable::to_string).collect::<Vec<_>>().join("\n")
}

/// Makes the exported init data file of the snapshot file with this `plan`. Of its executable the init data file is
/// needed: it is one of `stored`, or made of the executable if that is still the same. `read` fills a buffer from an
/// offset of the snapshot file.
pub fn export_snapshot(
    plan: &Plan<'_>,
    stored: impl Iterator<Item = File>,
    read: impl FnMut(&mut [u8], u64) -> io::Result<()>,
) -> Result<Vec<u8>, ExportError> {
    let why: Vec<NotPortable> = not_portable(plan).collect();
    if !why.is_empty() {
        return Err(ExportError::NotPortable(why));
    }
    let program = program_init(plan, stored).ok_or(ExportError::NoProgram)?;
    export(plan, &Init::parse(&program)?, read)
}

/// The init data file of the program of a snapshot.
fn program_init(plan: &Plan<'_>, stored: impl Iterator<Item = File>) -> Option<Vec<u8>> {
    let code = program_file(plan)?;
    let of_it = |bytes: &[u8]| InitHeader::read(bytes).is_ok_and(|h| h.code_digest == code.digest && !h.is_exported());
    for mut file in stored {
        let mut bytes = Vec::new();
        let start = Read::by_ref(&mut file).take(InitHeader::LEN as u64).read_to_end(&mut bytes);
        if start.is_ok() && of_it(&bytes) && file.read_to_end(&mut bytes).is_ok() {
            return Some(bytes);
        }
    }
    let path = plan.bytes(code.path);
    let path = Path::new(OsStr::from_bytes(path.strip_suffix(&[0]).unwrap_or(path)));
    split_file(path).ok().map(|split| split.init).filter(|init| of_it(init))
}

/// Makes the exported init data file of the snapshot file with this `plan`. `program` is the init data file of its
/// executable, and `read` fills a buffer from an offset of the snapshot file.
pub fn export(
    plan: &Plan<'_>,
    program: &Init<'_>,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>,
) -> Result<Vec<u8>, ExportError> {
    let mut why: Vec<NotPortable> = not_portable(plan).collect();
    let places = Places::new(program.header(), program.segments(), &plan.header.process);
    why.extend(places.is_none().then_some(NotPortable::Moved));
    let Some(places) = places.filter(|_| why.is_empty()) else { return Err(ExportError::NotPortable(why)) };
    if program.header().is_exported() || plan.files.iter().all(|file| file.digest != program.header().code_digest) {
        return Err(ExportError::OtherProgram);
    }
    let head = head(plan, &mut read)?;
    let mut memory = Memory::of(program.segments());
    for stored in Stored::of(plan) {
        for piece in places.pieces(stored) {
            let offset = stored.offset + (piece.range.start - stored.addr);
            match piece.place {
                Place::Vdso => {}
                Place::Heap => {
                    let mut bytes = vec![0; (piece.range.end - piece.range.start) as usize];
                    read(&mut bytes, offset)?;
                    memory.heap.push((piece.range.start, stored.prot, bytes));
                }
                Place::Segment(segment) => {
                    let at = piece.range.start - places.bias;
                    let bytes = memory.segment(segment, at..piece.range.end - places.bias);
                    read(bytes.ok_or(ExportError::OtherProgram)?, offset)?;
                }
            }
        }
    }
    let canaries = plan.patches.iter().filter(|patch| patch.place == PATCH_MEMORY && patch.kind == PATCH_CANARY);
    canaries.for_each(|patch| memory.clear(patch.addr, 8, places.bias));
    if plan.header.process.at_random != 0 {
        memory.clear(plan.header.process.at_random, RANDOM, places.bias);
    }
    memory.encode(program, &head)
}

/// The memory that goes into the file.
struct Memory<'a> {
    /// The segments, with all pages of the data segments.
    segments: Vec<(&'a Segment, Vec<u8>)>,
    /// Address, protection, content.
    heap: Vec<(u64, u32, Vec<u8>)>,
}

impl<'a> Memory<'a> {
    fn of(segments: &'a [Segment]) -> Self {
        let pages = |segment: &Segment| match segment.kind() {
            SegmentKind::Code => Vec::new(),
            SegmentKind::Data => vec![0; (segment.page_end() - segment.page_start()) as usize],
        };
        Memory { segments: segments.iter().map(|segment| (segment, pages(segment))).collect(), heap: Vec::new() }
    }

    /// The bytes of a segment at these addresses of the ELF file.
    fn segment(&mut self, wanted: &Segment, at: Range<u64>) -> Option<&mut [u8]> {
        let (segment, pages) = self.segments.iter_mut().find(|(segment, _)| *segment == wanted)?;
        let start = segment.page_start();
        pages.get_mut((at.start - start) as usize..(at.end - start) as usize)
    }

    /// Clears `len` bytes at `addr`, which may cross from one piece to the next.
    fn clear(&mut self, addr: u64, len: usize, bias: u64) {
        let data = self.segments.iter_mut().map(|(segment, pages)| (segment.page_start() + bias, pages));
        let heap = self.heap.iter_mut().map(|(start, _, pages)| (*start, pages));
        for (start, pages) in data.chain(heap) {
            let from = addr.max(start);
            let to = (addr + len as u64).min(start + pages.len() as u64);
            if from < to {
                pages[(from - start) as usize..(to - start) as usize].fill(0);
            }
        }
    }

    fn encode(&self, program: &Init<'_>, head: &[u64]) -> Result<Vec<u8>, ExportError> {
        let data: Vec<(u64, &[u8])> =
            self.segments.iter().map(|(segment, pages)| (segment.page_start(), &pages[..])).collect();
        let mut found = Vec::new();
        let mut segments = Vec::new();
        for ((segment, _), mine) in self.segments.iter().zip(runs::find(&data, init::MAX_RUNS as usize)) {
            let run_count = U32::new(u32::try_from(mine.len()).unwrap_or(u32::MAX));
            segments.push(Segment { run_count, ..**segment });
            found.extend(mine);
        }
        let heap = self.heap.iter().map(|(addr, prot, pages)| (*addr, *prot, &pages[..])).collect();
        let (header, interp) = (*program.header(), program.interp());
        let state = Some(head.as_bytes());
        let file = init::encode(&InitSource { header, segments, runs: found, heap, interp, state })?;
        Exported::parse(Init::parse(&file)?)?;
        Ok(file)
    }
}

/// The snapshot file up to the end of the notes for debuggers, in whole words.
fn head(plan: &Plan<'_>, read: &mut impl FnMut(&mut [u8], u64) -> io::Result<()>) -> Result<Vec<u64>, ExportError> {
    let mut elf = [0; 64];
    read(&mut elf, 0)?;
    let phdrs = u64::from_le_bytes(elf[32..40].try_into().unwrap_or_default());
    let count = usize::from(u16::from_le_bytes([elf[56], elf[57]]));
    let limit = Stored::of(plan).map(|stored| stored.offset).min().unwrap_or(plan.header.file_size);
    let mut end = plan.header.meta_len;
    let inside = |at: u64, len: u64| at.checked_add(len).filter(|end| *end <= limit).ok_or(ExportError::Layout);
    if count > 0 {
        let mut table = vec![0; count * PHDR];
        end = end.max(inside(phdrs, table.len() as u64)?);
        read(&mut table, phdrs)?;
        for header in table.chunks_exact(PHDR) {
            let word = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap_or_default());
            if u32::from_le_bytes(header[..4].try_into().unwrap_or_default()) == PT_NOTE {
                end = end.max(inside(word(8), word(32))?);
            }
        }
    }
    let mut words = vec![0; end.next_multiple_of(8).min(limit) as usize / 8];
    read(words.as_mut_bytes(), 0)?;
    Ok(words)
}

/// The number of bytes of the snapshot file that [`deserialize`] makes.
pub fn snapshot_len(exported: &Exported<'_>) -> u64 {
    exported.plan().header.file_size
}

/// Makes the snapshot file of an exported init data file, piece by piece. `vdso` is the page of this host's synthetic
/// vDSO.
pub fn deserialize<E>(
    exported: &Exported<'_>,
    vdso: &[u8; PAGE as usize],
    mut write: impl FnMut(Piece<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let head = exported.head();
    write(Piece::Bytes(head))?;
    let mut at = head.len() as u64;
    let mut heap = exported.init().heap().iter();
    let mut buffer = Vec::new();
    for stored in exported.stored() {
        if stored.offset > at {
            write(Piece::Hole(stored.offset - at))?;
        }
        for piece in exported.places().pieces(stored) {
            match piece.place {
                Place::Vdso => write(Piece::Bytes(vdso))?,
                // The reader has checked that the runs are these pieces, in this order.
                Place::Heap => match heap.next() {
                    Some(run) => write(Piece::Bytes(exported.init().heap_bytes(run)))?,
                    None => write(Piece::Hole(piece.range.end - piece.range.start))?,
                },
                Place::Segment(segment) => {
                    let bias = exported.places().bias;
                    fill(&mut buffer, exported.init(), segment, piece.range.start - bias..piece.range.end - bias);
                    write(Piece::Bytes(&buffer))?;
                }
            }
        }
        at = stored.offset + stored.len;
    }
    match snapshot_len(exported) - at {
        0 => Ok(()),
        rest => write(Piece::Hole(rest)),
    }
}

/// The memory of a data segment at these addresses: zeros, with the runs over them.
fn fill(buffer: &mut Vec<u8>, init: Init<'_>, segment: &Segment, at: Range<u64>) {
    buffer.clear();
    buffer.resize((at.end - at.start) as usize, 0);
    let runs = init.runs_of(segment);
    let first = runs.partition_point(|run| run.vaddr.get() + run.len.get() <= at.start);
    for run in runs.iter().skip(first).take_while(|run| run.vaddr.get() < at.end) {
        let (start, bytes) = (run.vaddr.get(), init.run_bytes(run));
        let (from, to) = (start.max(at.start), (start + bytes.len() as u64).min(at.end));
        buffer[(from - at.start) as usize..(to - at.start) as usize]
            .copy_from_slice(&bytes[(from - start) as usize..(to - start) as usize]);
    }
}

/// Whether a file that begins with these bytes is an exported init data file.
pub fn is_exported(start: &[u8]) -> bool {
    InitHeader::read(start).is_ok_and(InitHeader::is_exported)
}
