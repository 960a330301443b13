//! The places of all parts in the snapshot file. This module reads and writes nothing.
//!
//! ```text
//!  meta (ELF header, plan) │ program headers │ notes │ page runs in ascending order of address │ open files
//! ```
//! A run of 2 MiB or more lies at an offset ≡ its address (mod 2 MiB), so that the page cache can hold and map it
//! as 2 MiB folios.

use super::fds::FdTables;
use super::memory::{Content, Image, Part};
use super::refuse::DumpError;
use snapfn_format::PAGE;
use snapfn_format::arch::MACHINE;
use snapfn_format::snap::*;
use std::fs::File;
use std::ops::Range;

const HUGE: u64 = 2 << 20;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const EHDR: u64 = 64;
const PHDR: u64 = 56;

/// Pages of the program that are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) addr: u64,
    pub(super) len: u64,
    pub(super) offset: u64,
}

/// Bytes of an open file that are stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenFile<'a> {
    pub(super) file: &'a File,
    /// The ranges of the file that are stored as zeros.
    pub(super) blank: &'a [Range<u64>],
    /// Where the bytes begin in the file.
    pub(super) start: u64,
    pub(super) len: u64,
    pub(super) offset: u64,
}

/// The whole file.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    /// Everything up to the page runs.
    pub(super) head: Vec<u8>,
    /// By offset.
    pub(super) runs: Vec<Run>,
    /// By offset, behind the runs.
    pub(super) contents: Vec<OpenFile<'a>>,
    /// Length of the file.
    pub(super) end: u64,
}

/// One program header.
struct Segment {
    kind: u32,
    flags: u32,
    offset: u64,
    addr: u64,
    file_len: u64,
    mem_len: u64,
    align: u64,
}

impl Segment {
    fn to_bytes(&self) -> Vec<u8> {
        let mut out: Vec<u8> = [self.kind, self.flags].iter().flat_map(|v| v.to_le_bytes()).collect();
        let words = [self.offset, self.addr, 0, self.file_len, self.mem_len, self.align];
        out.extend(words.iter().flat_map(|v| v.to_le_bytes()));
        out
    }
}

fn elf_header(phoff: u64, phnum: u64) -> [u8; 64] {
    let mut out = [0u8; 64];
    out[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(16, &4u16.to_le_bytes()); // ET_CORE
    put(18, &MACHINE.to_le_bytes());
    put(20, &1u32.to_le_bytes());
    put(32, &phoff.to_le_bytes());
    put(52, &(EHDR as u16).to_le_bytes());
    put(54, &(PHDR as u16).to_le_bytes());
    put(56, &(phnum as u16).to_le_bytes());
    out
}

/// Program header flags are PF_X = 1, PF_W = 2, PF_R = 4.
fn flags(prot: u16) -> u32 {
    u32::from(prot & PROT_READ) << 2 | u32::from(prot & PROT_WRITE) | u32::from(prot & PROT_EXEC) >> 2
}

/// Lays the file out and sets the offsets in `tables`; `notes` are those of the second segment.
pub(super) fn layout<'a>(
    image: &Image,
    tables: &PlanTables,
    notes: &[u8],
    fds: &'a FdTables,
) -> Result<Layout<'a>, DumpError> {
    let mut tables = tables.clone();
    let is_load = |part: &&Part| !matches!(part.content, Content::Zero | Content::Guard | Content::Beyond);
    let loads = image.parts.iter().filter(is_load).count() as u64;
    let phnum = loads + 2;
    if phnum >= 0xffff {
        return Err(snapfn_format::FormatError::TooLarge("the number of memory areas").into());
    }
    let meta_len = tables.meta_len();
    let phoff = meta_len;
    let notes_at = phoff + phnum * PHDR;
    let mut end = (notes_at + notes.len() as u64).next_multiple_of(PAGE);

    // Offsets: the operations were made from the parts in the same order.
    let mut segments = vec![
        Segment { kind: PT_NOTE, flags: 4, offset: EHDR, addr: 0, file_len: meta_len - EHDR, mem_len: 0, align: 4 },
        Segment {
            kind: PT_NOTE,
            flags: 4,
            offset: notes_at,
            addr: 0,
            file_len: notes.len() as u64,
            mem_len: 0,
            align: 4,
        },
    ];
    let mut runs = Vec::new();
    let made_from_parts = |op: &&mut Op| matches!(op.kind, OP_MAP_ANON | OP_MAP_FILE | OP_MAP_FD | OP_READ);
    let mut ops = tables.ops.iter_mut().filter(made_from_parts);
    let mut beyond = Vec::new();
    for part in &image.parts {
        let Some(op) = ops.next() else { break };
        let (offset, file_len) = match part.content {
            Content::Zero | Content::Guard => continue,
            Content::Beyond => {
                beyond.push(op);
                continue;
            }
            // gdb 13 lists every thread twice when a PT_LOAD without bytes has offset 0.
            Content::File(..) | Content::Host(..) | Content::Descriptor(..) => (PAGE, 0),
            Content::Map | Content::Read => {
                if part.len >= HUGE && part.content == Content::Map {
                    end += (part.addr.wrapping_sub(end)) % HUGE;
                }
                let offset = end;
                op.offset = offset;
                runs.push(Run { addr: part.addr, len: part.len, offset });
                end += part.len;
                (offset, part.len)
            }
        };
        let (addr, mem_len, align) = (part.addr, part.len, PAGE);
        segments.push(Segment { kind: PT_LOAD, flags: flags(part.prot), offset, addr, file_len, mem_len, align });
    }
    let mut contents = Vec::new();
    for (step, state) in tables.fd_steps.iter_mut().zip(&fds.steps) {
        if let (Some(file), Some((to, len, _))) = (&state.content, step.content()) {
            *step = step.with(Step::Content { to, len, from: ContentSource { file: 0, offset: end } });
            contents.push(OpenFile { file, blank: &state.blank, start: to, len, offset: end });
            end = (end + len).next_multiple_of(PAGE);
        }
    }
    for op in beyond {
        op.offset = end;
    }
    if let Some(file) = tables.files.first_mut() {
        file.size = end;
    }
    let mut head = MetaBuilder::build(&tables, &elf_header(phoff, phnum), end);
    segments.iter().for_each(|segment| head.extend(segment.to_bytes()));
    head.extend_from_slice(notes);
    Ok(Layout { head, runs, contents, end })
}
