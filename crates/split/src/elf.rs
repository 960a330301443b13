//! Parses an ELF file as the kernel does.
//!
//! Only program headers count, as for the kernel; section headers may be missing. If a header type that should occur
//! once occurs twice, the first PT_INTERP counts and the last PT_GNU_STACK, as for the kernel, and the last of those
//! that glibc reads.

use super::SplitError;
use super::marks;
use object::LittleEndian as LE;
use object::elf::{self, FileHeader64, ProgramHeader64};
use object::read::elf::{FileHeader as _, ProgramHeader as _};
use snapfn_format::init::{self, InitHeader};
use snapfn_format::layout::USER_END;
use snapfn_format::{PAGE, page_down, page_up};
use std::ffi::CStr;
use std::ops::Range;
use zerocopy::little_endian::{U16, U32, U64};

/// One PT_LOAD with memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) vaddr: u64,
    pub(super) memsz: u64,
    pub(super) filesz: u64,
    pub(super) offset: u64,
    pub(super) align: u64,
    pub(super) prot: u32,
}

/// A valid ELF file, with what the splitter needs of it.
#[derive(Debug)]
pub(super) struct Image<'a> {
    pub(super) bytes: &'a [u8],
    /// Digests and sizes are still zero.
    pub(super) header: InitHeader,
    /// By address; no two share a page.
    pub(super) loads: Vec<Load>,
    pub(super) interp: Option<&'a CStr>,
    /// Bytes of the file that stay in any segment: ELF header and program headers.
    kept: [Range<u64>; 2],
}

impl Load {
    pub(super) fn writable(&self) -> bool {
        self.prot & init::PROT_WRITE != 0
    }

    fn file_range(&self) -> Range<u64> {
        self.offset..self.offset + self.filesz
    }
}

impl<'a> Image<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Image<'a>, SplitError> {
        let elf = file_header(bytes)?;
        let headers = elf.program_headers(LE, bytes).map_err(|_| SplitError::Invalid("program headers"))?;
        let phdrs_len = headers.len() as u64 * u64::from(init::PHENTSIZE);
        let phdrs = elf.e_phoff(LE)..elf.e_phoff(LE).saturating_add(phdrs_len);
        let loads = loads(headers, bytes.len() as u64)?;
        let mut header = InitHeader {
            elf_type: U16::new(elf.e_type(LE)),
            phnum: U16::new(elf.e_phnum(LE)),
            entry: U64::new(elf.e_entry(LE)),
            phdr: U64::new(phdr_address(headers, phdrs.start)),
            main: U64::new(marks::main_address(elf, bytes, headers)),
            ..InitHeader::default()
        };
        let mut flags = 0;
        let mut interp = None;
        for (index, ph) in headers.iter().enumerate() {
            let (vaddr, memsz) = (U64::new(ph.p_vaddr(LE)), U64::new(ph.p_memsz(LE)));
            match ph.p_type(LE) {
                elf::PT_INTERP if interp.is_none() => interp = Some(interpreter(ph, bytes, index)?),
                elf::PT_TLS => {
                    flags |= init::FLAG_TLS;
                    (header.tls_vaddr, header.tls_memsz) = (vaddr, memsz);
                    header.tls_filesz = U64::new(ph.p_filesz(LE));
                    header.tls_align = U64::new(ph.p_align(LE).max(1));
                }
                elf::PT_GNU_RELRO => {
                    flags |= init::FLAG_RELRO;
                    (header.relro_vaddr, header.relro_len) = (vaddr, memsz);
                }
                elf::PT_DYNAMIC => {
                    flags |= init::FLAG_DYNAMIC;
                    (header.dynamic_vaddr, header.dynamic_len) = (vaddr, memsz);
                }
                elf::PT_GNU_STACK => {
                    flags = flags & !init::FLAG_STACK_EXEC | init::FLAG_STACK;
                    if ph.p_flags(LE) & elf::PF_X != 0 {
                        flags |= init::FLAG_STACK_EXEC;
                    }
                }
                _ => {}
            }
        }
        if marks::ready_mark(elf, bytes, headers) {
            flags |= init::FLAG_READY_MARK;
        }
        header.flags = U32::new(flags);
        Ok(Image { bytes, header, loads, interp, kept: [0..size_of::<FileHeader64<LE>>() as u64, phdrs] })
    }

    /// The bytes of the file that a writable segment has in memory; empty for another segment.
    pub(super) fn data(&self, load: &Load) -> &'a [u8] {
        let range = load.file_range();
        match load.writable() {
            true => self.bytes.get(range.start as usize..range.end as usize).unwrap_or_default(),
            false => &[],
        }
    }

    /// The ranges of the file that only writable segments use, in order and apart from each other.
    pub(super) fn holes(&self) -> Vec<Range<u64>> {
        let ranges = |writable| self.loads.iter().filter(move |load| load.writable() == writable).map(Load::file_range);
        let writable = merge(ranges(true).collect());
        let kept = merge(ranges(false).chain(self.kept.iter().cloned()).collect());
        subtract(&writable, &kept)
    }
}

fn file_header(bytes: &[u8]) -> Result<&FileHeader64<LE>, SplitError> {
    if bytes.get(..4) != Some(&elf::ELFMAG) {
        return Err(SplitError::NotElf);
    }
    let class = [elf::ELFCLASS64, elf::ELFDATA2LSB, elf::EV_CURRENT];
    if bytes.get(4..7).is_some_and(|ident| ident != class) {
        return Err(SplitError::Class);
    }
    let elf = FileHeader64::<LE>::parse(bytes).map_err(|_| SplitError::Invalid("ELF header"))?;
    if elf.e_machine(LE) != snapfn_format::arch::MACHINE {
        return Err(SplitError::Machine(elf.e_machine(LE)));
    }
    if elf.e_type(LE) != elf::ET_EXEC && elf.e_type(LE) != elf::ET_DYN {
        return Err(SplitError::Type(elf.e_type(LE)));
    }
    if elf.e_phentsize(LE) != init::PHENTSIZE {
        return Err(SplitError::Invalid("size of a program header"));
    }
    // This is the kernel's own limit. PN_XNUM, which would mean that the number is elsewhere, lies above it.
    if u32::from(elf.e_phnum(LE)) > init::MAX_SEGMENTS {
        return Err(SplitError::Invalid("number of program headers"));
    }
    Ok(elf)
}

fn loads(headers: &[ProgramHeader64<LE>], file_len: u64) -> Result<Vec<Load>, SplitError> {
    let mut loads = Vec::new();
    for (index, ph) in headers.iter().enumerate() {
        if ph.p_type(LE) == elf::PT_LOAD && ph.p_memsz(LE) != 0 {
            loads.push((index, load(ph, index, file_len)?));
        }
    }
    if loads.is_empty() {
        return Err(SplitError::Invalid("no segment has memory"));
    }
    // The kernel maps the segments in the order of the table, each over earlier ones. Since no two share a page, any
    // order gives the same memory. (If two did, the first would lose its page to the second, and the program would
    // crash.)
    loads.sort_by_key(|(_, load)| load.vaddr);
    for pair in loads.windows(2) {
        if let [(_, low), (index, high)] = pair
            && page_up(low.vaddr + low.memsz).is_none_or(|end| end > page_down(high.vaddr))
        {
            return Err(SplitError::Segment { index: *index, what: "shares a page with another segment" });
        }
    }
    Ok(loads.into_iter().map(|(_, load)| load).collect())
}

fn load(ph: &ProgramHeader64<LE>, index: usize, file_len: u64) -> Result<Load, SplitError> {
    let align = ph.p_align(LE);
    let flags = ph.p_flags(LE);
    let prot = [(elf::PF_R, init::PROT_READ), (elf::PF_W, init::PROT_WRITE), (elf::PF_X, init::PROT_EXEC)];
    let load = Load {
        vaddr: ph.p_vaddr(LE),
        memsz: ph.p_memsz(LE),
        filesz: ph.p_filesz(LE),
        offset: ph.p_offset(LE),
        // The kernel ignores an alignment that is no power of two, and maps whole pages.
        align: if align.is_power_of_two() { align.max(PAGE) } else { PAGE },
        prot: prot.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, prot)| prot).sum(),
    };
    let invalid = |what| Err(SplitError::Segment { index, what });
    if load.vaddr.checked_add(load.memsz).is_none_or(|end| end > USER_END) {
        return invalid("ends above the user address space");
    }
    if load.filesz > load.memsz {
        return invalid("has more bytes in the file than in memory");
    }
    if load.filesz == 0 {
        return Ok(Load { offset: 0, ..load });
    }
    if load.offset.checked_add(load.filesz).is_none_or(|end| end > file_len) {
        return invalid("ends behind the end of the file");
    }
    if load.offset % PAGE != load.vaddr % PAGE {
        return invalid("has an address and a file offset that differ within the page");
    }
    Ok(load)
}

/// AT_PHDR, by the kernel's own rule: from the last PT_LOAD whose part of the file holds the table's beginning.
fn phdr_address(headers: &[ProgramHeader64<LE>], phoff: u64) -> u64 {
    let holds = |ph: &&ProgramHeader64<LE>| {
        let skipped = phoff.checked_sub(ph.p_offset(LE));
        ph.p_type(LE) == elf::PT_LOAD && skipped.is_some_and(|skipped| skipped < ph.p_filesz(LE))
    };
    headers.iter().rfind(holds).map_or(0, |ph| phoff.wrapping_sub(ph.p_offset(LE)).wrapping_add(ph.p_vaddr(LE)))
}

fn interpreter<'a>(ph: &ProgramHeader64<LE>, bytes: &'a [u8], index: usize) -> Result<&'a CStr, SplitError> {
    let path = ph.data(LE, bytes).ok().filter(|path| path.last() == Some(&0));
    let path = path.and_then(|path| CStr::from_bytes_until_nul(path).ok()).filter(|path| !path.is_empty());
    path.ok_or(SplitError::Segment { index, what: "has no path of an interpreter" })
}

/// Sorts ranges and joins those that touch.
fn merge(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    let mut out: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match out.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}

/// The parts of `from` that are in none of `without`. Both must be merged.
fn subtract(from: &[Range<u64>], without: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut out = Vec::new();
    for range in from {
        let mut start = range.start;
        for cut in without.iter().filter(|cut| cut.end > range.start && cut.start < range.end) {
            out.push(start..cut.start);
            start = cut.end;
        }
        out.push(start..range.end);
    }
    out.retain(|range| !range.is_empty());
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::single_range_in_vec_init, reason = "lists of one range")]
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(merge(vec![5..7, 0..2, 2..3, 6..6, 6..9]), [0..3, 5..9]);
        assert_eq!(subtract(&[0..10, 20..30], &[2..3, 9..21, 30..40]), [0..2, 3..9, 21..30]);
        assert_eq!(subtract(&[4..8], &[0..10]), []);
        assert_eq!(subtract(&[4..8], &[]), [4..8]);
    }
}
