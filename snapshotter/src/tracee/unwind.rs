//! Functions by an address in them, and the frames of a thread, from the unwind tables of the mapped ELF files.

use super::maps::Vma;
use super::memory::Memory;
use crate::arch::{CALL_MAX, DWARF_FRAME, DWARF_REGISTERS, DWARF_STACK, ends_with_call};
use goblin::elf::program_header::{PT_GNU_EH_FRAME, PT_LOAD};
use snapfn_format::snap::{REGS, reg};
use std::io;
use std::ops::Range;

/// Longest function that is looked through.
const LEN_MAX: u64 = 1 << 18;
/// Header of `.eh_frame_hdr`: version 1, a relative pointer, a count of 4 bytes, a table of relative pairs.
const TABLE_FORM: [u8; 4] = [1, 0x1b, 0x03, 0x3b];
const TABLE: u64 = 12;
const PHDR: u64 = 56;
/// Bytes of a record that are read.
const RECORD_MAX: u64 = 1 << 16;
/// Unwind instructions with which a whole function may begin: nop, and those that go on in its code. A part of a
/// function that the compiler has put elsewhere begins with the frame that it finds.
const NOP: u8 = 0;
const ADVANCE: [Range<u8>; 2] = [0x02..0x05, 0x40..0x80];

fn word(memory: &Memory, addr: u64) -> io::Result<i32> {
    memory.read_u32(addr).map(|word| word as i32)
}

/// An entry of the tables: the code, and the address of its record.
struct Entry {
    code: Range<u64>,
    record: u64,
    /// It is no part of a function that the compiler has put elsewhere.
    is_whole: bool,
}

/// Whether a call may have put the address `addr` on the stack: the instruction before it can be one.
pub(crate) fn is_behind_call(memory: &Memory, addr: u64) -> bool {
    let mut code = [0; CALL_MAX];
    memory.read(addr.wrapping_sub(code.len() as u64), &mut code).is_ok() && ends_with_call(&code)
}

/// The function that `pc` is in, if the tables have it and it is in one piece.
pub(crate) fn whole_function(memory: &Memory, vmas: &[Vma], pc: u64) -> io::Result<Option<Range<u64>>> {
    let is_short = |code: &Range<u64>| code.end - code.start <= LEN_MAX;
    Ok(entry_of(memory, vmas, pc)?.filter(|entry| entry.is_whole).map(|entry| entry.code).filter(is_short))
}

fn entry_of(memory: &Memory, vmas: &[Vma], pc: u64) -> io::Result<Option<Entry>> {
    let Some(header) = unwind_header(memory, vmas, pc)? else { return Ok(None) };
    let mut form = [0; 4];
    memory.read(header, &mut form)?;
    if form != TABLE_FORM {
        return Ok(None);
    }
    let entry = |index: u64| header + TABLE + 8 * index;
    let relative = |addr: u64| Ok::<_, io::Error>(header.wrapping_add_signed(i64::from(word(memory, addr)?)));
    let (mut low, mut high) = (0, u64::from(memory.read_u32(header + 8)?));
    // The last entry that begins at `pc` or before.
    while low < high {
        let middle = low.midpoint(high);
        if relative(entry(middle))? <= pc { low = middle + 1 } else { high = middle }
    }
    let Some(index) = low.checked_sub(1) else { return Ok(None) };
    let (start, record) = (relative(entry(index))?, relative(entry(index) + 4)?);
    // Length, distance of the CIE, start, length of the code, then augmentation data and instructions.
    let len = u64::from(memory.read_u32(record + 12)?);
    let mut tail = [0; 2];
    memory.read(record + 16, &mut tail)?;
    let [augmentation, mut first] = tail;
    if augmentation > 0 {
        let mut byte = [0];
        memory.read(record + 17 + u64::from(augmentation & 0x7f), &mut byte)?;
        first = byte[0];
    }
    let is_whole = augmentation < 0x80 && (first == NOP || ADVANCE.iter().any(|range| range.contains(&first)));
    let code = start..start.saturating_add(len);
    Ok(code.contains(&pc).then_some(Entry { code, record, is_whole }))
}

/// Address of `.eh_frame_hdr` of the file whose image `pc` is in.
fn unwind_header(memory: &Memory, vmas: &[Vma], pc: u64) -> io::Result<Option<u64>> {
    let Some(code) = vmas.iter().find(|vma| vma.contains(pc)) else { return Ok(None) };
    let is_image = |vma: &&Vma| vma.name == code.name && vma.offset == 0 && vma.start <= pc;
    let Some(image) = vmas.iter().rfind(is_image).filter(|image| image.has_file()) else { return Ok(None) };
    let (start, count) = (memory.read_u64(image.start + 32)?, memory.read_u32(image.start + 56)? & 0xffff);
    let (mut bias, mut header) = (None, None);
    for at in (0..u64::from(count)).map(|index| image.start + start + PHDR * index) {
        let vaddr = memory.read_u64(at + 16)?;
        match memory.read_u32(at)? {
            PT_LOAD if bias.is_none() => bias = Some(image.start.wrapping_sub(vaddr & !4095)),
            PT_GNU_EH_FRAME => header = Some(vaddr),
            _ => {}
        }
    }
    Ok(bias.zip(header).map(|(bias, header)| bias.wrapping_add(header)))
}

/// A frame on the stack of a thread, from its lowest word up to its return address, and where its function goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) range: Range<u64>,
    /// An address in its function.
    pub(crate) pc: u64,
    /// Where the function has saved registers of its caller's.
    pub(crate) saved: Vec<u64>,
}

/// The frames of a thread, innermost first, as far as the unwind tables lead, `max` at most.
pub(crate) fn frames(memory: &Memory, vmas: &[Vma], regs: &[u64; REGS], max: usize) -> Vec<Frame> {
    let (mut pc, mut sp, mut bp) = (regs[reg::PC], regs[reg::SP], regs[reg::FRAME]);
    let mut found: Vec<Frame> = Vec::new();
    while found.len() < max {
        // A return address lies behind its call, which may be the last instruction of the function.
        let at = if found.is_empty() { pc } else { pc - 1 };
        let Ok(Some(rule)) = rule_at(memory, vmas, at) else { break };
        let base = if rule.is_bp { bp } else { sp };
        let cfa = base.wrapping_add(rule.offset);
        let Some(slot) = cfa.checked_sub(8).filter(|slot| *slot >= sp && slot.is_multiple_of(8)) else { break };
        let place = |offset: i64| cfa.wrapping_add_signed(offset);
        let saved = rule.saved.iter().flatten().map(|offset| place(*offset)).collect();
        found.push(Frame { range: sp..slot, pc: at, saved });
        let saved = rule.saved[DWARF_FRAME as usize].map(|offset| memory.read_u64(place(offset)));
        let (Ok(caller), Ok(saved)) = (memory.read_u64(slot), saved.unwrap_or(Ok(bp))) else { break };
        if caller == 0 {
            break;
        }
        (pc, sp, bp) = (caller, cfa, saved);
    }
    found
}

/// Where the caller's frame begins, and where registers are saved, from there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rule {
    /// From the frame pointer, else from the stack pointer.
    is_bp: bool,
    offset: u64,
    saved: [Option<i64>; DWARF_REGISTERS],
}

fn rule_at(memory: &Memory, vmas: &[Vma], pc: u64) -> io::Result<Option<Rule>> {
    let Some(Entry { code, record, .. }) = entry_of(memory, vmas, pc)? else { return Ok(None) };
    let common = (record + 4).wrapping_sub(u64::from(memory.read_u32(record + 4)?));
    let read = |addr: u64| memory.read_vec(addr + 4, u64::from(memory.read_u32(addr)?).min(RECORD_MAX));
    Ok(evaluate(&read(common)?, &read(record)?, pc - code.start))
}

/// Evaluates the two records of a function, without their lengths, at `distance` bytes from its start. `None` for what
/// only rare functions have: expressions, signal frames.
fn evaluate(common: &[u8], record: &[u8], distance: u64) -> Option<Rule> {
    let mut head = Bytes(common.get(4..)?);
    let version = head.byte()?;
    let end = head.0.iter().position(|byte| *byte == 0)?;
    let augmentation = head.take(end + 1)?;
    if !augmentation.starts_with(b"z") || augmentation.contains(&b'S') || !matches!(version, 1 | 3) {
        return None;
    }
    let align = head.unsigned()?;
    let data_align = head.signed()?;
    head.unsigned()?; // the column of the return address
    let len = head.unsigned()?;
    head.take(len as usize)?;
    let mut body = Bytes(record.get(12..)?);
    let len = body.unsigned()?;
    body.take(len as usize)?;
    let mut state = State { align, data_align, at: 0, rule: Rule::default(), kept: Vec::new() };
    state.run(head, distance)?;
    state.run(body, distance)?;
    Some(state.rule)
}

/// The machine that unwind instructions describe, as far as frames and saved registers go.
struct State {
    align: u64,
    data_align: i64,
    at: u64,
    rule: Rule,
    kept: Vec<Rule>,
}

impl State {
    fn run(&mut self, mut code: Bytes<'_>, distance: u64) -> Option<()> {
        while !code.0.is_empty() {
            let byte = code.byte()?;
            let low = u64::from(byte & 0x3f);
            match byte {
                0x00 => {}
                0x02 | 0x03 | 0x04 | 0x40..=0x7f => {
                    let delta = match byte {
                        0x02 => code.fixed(1)?,
                        0x03 => code.fixed(2)?,
                        0x04 => code.fixed(4)?,
                        _ => low,
                    };
                    self.at += delta * self.align;
                    if self.at > distance {
                        return Some(());
                    }
                }
                0x0a => self.kept.push(self.rule),
                0x0b => self.rule = self.kept.pop()?,
                0x0c => {
                    self.base(code.unsigned()?)?;
                    self.rule.offset = code.unsigned()?;
                }
                0x0d => self.base(code.unsigned()?)?,
                0x0e => self.rule.offset = code.unsigned()?,
                0x05 => {
                    let register = code.unsigned()?;
                    self.saved(register, code.unsigned()?);
                }
                0x80..=0xbf => self.saved(low, code.unsigned()?),
                0xc0..=0xff => self.restored(low),
                0x06 => {
                    let register = code.unsigned()?;
                    self.restored(register);
                }
                0x2e => drop(code.unsigned()?),
                _ => return None,
            }
        }
        Some(())
    }

    fn base(&mut self, register: u64) -> Option<()> {
        self.rule.is_bp = register == DWARF_FRAME;
        matches!(register, DWARF_FRAME | DWARF_STACK).then_some(())
    }

    fn saved(&mut self, register: u64, factor: u64) {
        if let Some(saved) = self.rule.saved.get_mut(register as usize) {
            *saved = Some(factor as i64 * self.data_align);
        }
    }

    fn restored(&mut self, register: u64) {
        if let Some(saved) = self.rule.saved.get_mut(register as usize) {
            *saved = None;
        }
    }
}

/// Bytes of a record that are still to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// A little-endian number of `len` bytes.
    fn fixed(&mut self, len: usize) -> Option<u64> {
        Some(self.take(len)?.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// ULEB128.
    fn unsigned(&mut self) -> Option<u64> {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            shift += 7;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
    }

    /// SLEB128.
    fn signed(&mut self) -> Option<i64> {
        let before = self.0;
        let value = self.unsigned()?;
        let len = before.len() - self.0.len();
        let bits = 7 * len as u32;
        let is_negative = before.get(len - 1)? & 0x40 != 0 && bits < u64::BITS;
        Some(if is_negative { (value | u64::MAX << bits) as i64 } else { value as i64 })
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_both_kinds() {
        // Version 1, "zR", alignments 1 and -8, return address 16, one byte of data: rsp + 8.
        let common = [0, 0, 0, 0, 1, b'z', b'R', 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1];
        let record = |code: &[u8]| [&[0; 12][..], &[0], code].concat();
        let at = |code: &[u8], distance| evaluate(&common, &record(code), distance);
        let saved = |register: u64| {
            let mut saved = [None; DWARF_REGISTERS];
            saved[register as usize] = Some(-16);
            saved
        };
        let none = [None; DWARF_REGISTERS];
        let rsp = |offset, saved| Some(Rule { is_bp: false, offset, saved });
        // push rbx at 0; sub rsp, 0x190 at 1.
        let pushed = [0x41, 0x0e, 16, 0x83, 2, 0x47, 0x0e, 0xa0, 0x03];
        assert_eq!(
            (at(&pushed, 0), at(&pushed, 1), at(&pushed, 8)),
            (rsp(8, none), rsp(16, saved(3)), rsp(0x1a0, saved(3)))
        );
        // push rbp; mov rbp, rsp; and the epilogue, behind which the state is as before.
        let framed = [0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, 6, 0x50, 0x0a, 0xc6, 0x0c, 7, 8, 0x41, 0x0b];
        assert_eq!(at(&framed, 2), rsp(16, saved(DWARF_FRAME)));
        assert_eq!(at(&framed, 4), Some(Rule { is_bp: true, offset: 16, saved: saved(DWARF_FRAME) }));
        assert_eq!(at(&framed, 20), rsp(8, none));
        assert_eq!(at(&framed, 30), Some(Rule { is_bp: true, offset: 16, saved: saved(DWARF_FRAME) }));
        // An expression, and one that breaks off.
        assert_eq!((at(&[0x0f, 1, 0], 0), at(&[0x0e], 0), at(&[0x0e, 0x80], 0)), (None, None, None));
    }
}
