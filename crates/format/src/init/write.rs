//! The writer of init data files.

use super::{FEATURE_EXPORTED, HeapRun, Init, InitHeader, MAGIC, MAX_HEAP_RUNS, MAX_INTERP, MAX_RUNS, MAX_SEGMENTS};
use super::{MAX_STATE, Run, Segment, VERSION, whole_checksum};
use crate::{ARCH_X86_64, FormatError, PAGE, page_up};
use alloc::vec::Vec;
use core::ffi::CStr;
use core::mem::{offset_of, size_of};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

/// The contents of a file. The writer fills in the fields that follow from the rest: magic, version, architecture,
/// features, counts, lengths, image span, largest alignment, offsets, checksum.
#[derive(Clone, Debug, Default)]
pub struct InitSource<'a> {
    /// Identity, entry, TLS and the like.
    pub header: InitHeader,
    /// Segments by address, each with its `run_count`.
    pub segments: Vec<Segment>,
    /// Address and bytes of each run, by address.
    pub runs: Vec<(u64, &'a [u8])>,
    /// Address, protection and pages outside every segment, by address.
    pub heap: Vec<(u64, u32, &'a [u8])>,
    /// The program interpreter.
    pub interp: Option<&'a CStr>,
    /// The state of the process, in an exported file.
    pub state: Option<&'a [u8]>,
}

/// Writes the one file that has these contents. The function gives it to the reader, which must accept it.
pub fn encode(source: &InitSource<'_>) -> Result<Vec<u8>, FormatError> {
    let interp = source.interp.map(CStr::to_bytes_with_nul).unwrap_or_default();
    let state = source.state.unwrap_or_default();
    let mut header = InitHeader {
        magic: MAGIC,
        version: U16::new(VERSION),
        arch: U16::new(ARCH_X86_64),
        segment_count: count(source.segments.len(), MAX_SEGMENTS, "number of segments")?,
        run_count: count(source.runs.len(), MAX_RUNS, "number of runs")?,
        heap_count: count(source.heap.len(), MAX_HEAP_RUNS, "number of heap runs")?,
        incompatible: U64::new(match source.state {
            Some(_) => source.header.incompatible.get() | FEATURE_EXPORTED,
            None => source.header.incompatible.get() & !FEATURE_EXPORTED,
        }),
        state_len: count(state.len(), MAX_STATE, "length of the state")?,
        interp_len: count(interp.len(), MAX_INTERP, "length of the interpreter's path")?,
        image_start: U64::new(source.segments.first().map_or(0, Segment::page_start)),
        image_end: U64::new(source.segments.last().map_or(0, Segment::page_end)),
        max_align: U64::new(source.segments.iter().map(|segment| segment.align.get()).max().unwrap_or(0)),
        checksum: U64::ZERO,
        ..source.header
    };
    let mut offset = (InitHeader::LEN
        + source.segments.len() * size_of::<Segment>()
        + source.runs.len() * size_of::<Run>()
        + source.heap.len() * size_of::<HeapRun>()
        + interp.len().next_multiple_of(8)
        + state.len().next_multiple_of(8)) as u64;
    let mut tables = Vec::new();
    let mut first_run = U32::ZERO;
    for segment in &source.segments {
        tables.extend_from_slice(Segment { first_run, ..*segment }.as_bytes());
        first_run += segment.run_count;
    }
    for (vaddr, bytes) in &source.runs {
        let run = Run { vaddr: U64::new(*vaddr), len: U64::new(bytes.len() as u64), offset: U64::new(offset) };
        tables.extend_from_slice(run.as_bytes());
        offset += bytes.len() as u64;
    }
    let data_end = offset;
    if !source.heap.is_empty() {
        offset = page_up(offset).ok_or(FormatError::TooLarge("length of the file"))?;
    }
    for (addr, prot, bytes) in &source.heap {
        let (addr, len) = (U64::new(*addr), U64::new(bytes.len() as u64));
        let run = HeapRun { addr, len, offset: U64::new(offset), prot: U32::new(*prot), reserved: U32::ZERO };
        tables.extend_from_slice(run.as_bytes());
        offset += bytes.len() as u64;
    }
    header.file_len = U64::new(offset);

    let mut file =
        Vec::with_capacity(usize::try_from(offset).map_err(|_| FormatError::TooLarge("length of the file"))?);
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(&tables);
    file.extend_from_slice(interp);
    file.resize(file.len().next_multiple_of(8), 0);
    file.extend_from_slice(state);
    file.resize(file.len().next_multiple_of(8), 0);
    source.runs.iter().for_each(|(_, bytes)| file.extend_from_slice(bytes));
    if !source.heap.is_empty() {
        debug_assert_eq!(file.len() as u64, data_end);
        file.resize(file.len().next_multiple_of(PAGE as usize), 0);
        source.heap.iter().for_each(|(_, _, bytes)| file.extend_from_slice(bytes));
    }
    seal(&mut file);
    Init::parse(&file)?;
    Ok(file)
}

/// Puts the checksum of `file` into its field. The rest of the file need not be valid.
pub fn seal(file: &mut [u8]) {
    const AT: usize = offset_of!(InitHeader, checksum);
    let sum = whole_checksum(file);
    if let (Some(sum), Some(field)) = (sum, file.get_mut(AT..AT + 8)) {
        field.copy_from_slice(&sum.to_le_bytes());
    }
}

fn count(len: usize, limit: u32, what: &'static str) -> Result<U32, FormatError> {
    match u32::try_from(len) {
        Ok(len) if len <= limit => Ok(U32::new(len)),
        _ => Err(FormatError::TooLarge(what)),
    }
}
