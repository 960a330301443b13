//! The check of every split. It reads both files again, as the loader does, and compares their memory with that of the
//! input. It reads the input with another ELF parser than the splitter's.

use super::{CodeFile, Piece, SplitError};
use goblin::container::{Container, Ctx, Endian};
use goblin::elf::program_header::{PF_W, PT_LOAD, ProgramHeader};
use snapfn_format::init::{Init, Segment, SegmentKind};

pub(super) fn check(elf: &[u8], code: &CodeFile<'_>, init: &[u8]) -> Result<(), SplitError> {
    let wrong = |what| Err(SplitError::Check(what));
    let init = Init::parse(init)?;
    let mut segments = init.segments().iter();
    let mut headers = loads(elf).ok_or(SplitError::Check("program headers"))?;
    headers.sort_by_key(|ph| ph.p_vaddr);
    for ph in headers {
        let Some(segment) = segments.next().filter(|segment| describes(segment, &ph)) else {
            return wrong("segments");
        };
        // If a segment has no bytes in the file, its offset may be any number.
        let expected = match ph.p_filesz {
            0 => Some(&[][..]),
            len => ph.p_offset.checked_add(len).and_then(|end| range(elf, ph.p_offset, end)),
        };
        let Some(expected) = expected else { return wrong("segments") };
        let same = match segment.kind() {
            SegmentKind::Code => code_equals(code, segment, expected),
            SegmentKind::Data => data_equals(&init, segment, expected),
        };
        if !same {
            return wrong("contents of a segment");
        }
    }
    match segments.next() {
        Some(_) => wrong("segments"),
        None if code.len() != elf.len() as u64 => wrong("length of the code segment file"),
        None => Ok(()),
    }
}

fn loads(elf: &[u8]) -> Option<Vec<ProgramHeader>> {
    let header = goblin::elf::Elf::parse_header(elf).ok()?;
    let (offset, count) = (usize::try_from(header.e_phoff).ok()?, usize::from(header.e_phnum));
    let mut headers = ProgramHeader::parse(elf, offset, count, Ctx::new(Container::Big, Endian::Little)).ok()?;
    headers.retain(|ph| ph.p_type == PT_LOAD && ph.p_memsz != 0);
    Some(headers)
}

fn describes(segment: &Segment, ph: &ProgramHeader) -> bool {
    let kind = if ph.p_flags & PF_W != 0 { SegmentKind::Data } else { SegmentKind::Code };
    let prot = [ph.is_read(), ph.is_write(), ph.is_executable()].map(u32::from);
    segment.kind() == kind
        && segment.vaddr == ph.p_vaddr
        && segment.memsz == ph.p_memsz
        && segment.filesz == ph.p_filesz
        && segment.prot == prot[0] | prot[1] << 1 | prot[2] << 2
}

fn range(bytes: &[u8], start: u64, end: u64) -> Option<&[u8]> {
    bytes.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}

/// Whether the code segment file has `expected` at the offset that the segment is mapped from.
fn code_equals(code: &CodeFile<'_>, segment: &Segment, expected: &[u8]) -> bool {
    let mut expected = expected;
    let mut skip = segment.offset.get();
    for piece in code.pieces() {
        let len = match piece {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::Hole(len) => len,
        };
        let skipped = skip.min(len);
        skip -= skipped;
        let take = (len - skipped).min(expected.len() as u64);
        let (now, later) = expected.split_at(take as usize);
        let same = match piece {
            Piece::Bytes(bytes) => range(bytes, skipped, skipped + take) == Some(now),
            Piece::Hole(_) => is_zero(now),
        };
        if !same {
            return false;
        }
        expected = later;
    }
    expected.is_empty()
}

/// Whether zeros with the segment's runs over them are `expected`, and no run lies behind that.
fn data_equals(init: &Init<'_>, segment: &Segment, expected: &[u8]) -> bool {
    let (start, len) = (segment.vaddr.get(), expected.len() as u64);
    let mut at = 0;
    for run in init.runs_of(segment) {
        let offset = run.vaddr.get() - start;
        let end = offset.saturating_add(run.len.get());
        if !range(expected, at, offset).is_some_and(is_zero)
            || range(expected, offset, end) != Some(init.run_bytes(run))
        {
            return false;
        }
        at = end;
    }
    range(expected, at, len).is_some_and(is_zero)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(256).all(|block| block.iter().fold(0, |seen, byte| seen | byte) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split_file;
    use std::borrow::Cow;

    /// The check must find the output of a broken splitter.
    #[test]
    fn damage_is_found() {
        let elf = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let split = split_file(&std::env::current_exe().unwrap()).unwrap();
        check(&elf, &split.code, &split.init).unwrap();
        let init = Init::parse(&split.init).unwrap();

        let text = init.segments().iter().find(|segment| segment.kind() == SegmentKind::Code).unwrap();
        let mut holes = split.code.holes().to_vec();
        holes.insert(0, text.offset.get()..text.offset.get() + 8);
        let holed = CodeFile::new(Cow::Borrowed(&elf), holes);
        assert!(matches!(check(&elf, &holed, &split.init), Err(SplitError::Check("contents of a segment"))));

        let hole = split.code.holes()[0].clone();
        let mut other = elf.clone();
        other[hole.start as usize + 1] ^= 1;
        assert!(matches!(check(&other, &split.code, &split.init), Err(SplitError::Check("contents of a segment"))));

        let shorter = CodeFile::new(Cow::Borrowed(&elf[..elf.len() - 1]), split.code.holes().to_vec());
        assert!(matches!(check(&elf, &shorter, &split.init), Err(SplitError::Check(_))));
    }
}
