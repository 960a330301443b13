//! Copies of the stack canary, which is new in every instance: that of each thread's TLS block, and those in live
//! frames.
//!
//! A word of the program's own data may have the same value: it stays. A return address identifies a frame: the
//! compilers put the canary above all variables, and above it lie only saved registers, padding and the return address.
//! So canaries on the stacks of suspended coroutines are found, too. Where unwind tables describe a frame, it has a
//! canary only if its function checks one.
//!
//! ```text
//!  variables │ canary │ padding, saved registers │ return address
//! ```

use super::memory::{AreaKind, Content, Image, read_image};
use super::refuse::DumpError;
use super::threads::ThreadState;
use crate::arch;
use crate::tracee::Tracer;
use crate::tracee::maps::Vma;
use crate::tracee::unwind::{self, Frame};
use snapfn_format::arch::CANARY;
use snapfn_format::snap::{PROT_EXEC, REGS, reg};
use std::ops::Range;

/// More frames are not followed.
const FRAMES: usize = 1 << 16;

/// Words behind a canary in which the return address of its function is, on the stack of a thread: six saved registers,
/// what a realigned frame saves, and padding up to an alignment of 64 bytes and more.
const NEAR_LIVE: usize = 32;
/// The same elsewhere.
const NEAR: usize = 24;
/// Words behind it in which any address of code counts: functions that no code calls (handlers, coroutines) return to
/// code that no call precedes.
const ENTERED: usize = 12;
const WORD: u64 = 8;

/// Decides which copies are patched.
struct Frames<'a> {
    tracer: &'a Tracer,
    code: Vec<Range<u64>>,
    /// From the stack pointer of a thread to the end of its stack.
    live: Vec<Live>,
    vmas: &'a [Vma],
    values: Vec<u64>,
}

/// Addresses of all copies in stored memory.
pub(super) fn words(
    tracer: &Tracer,
    vmas: &[Vma],
    image: &Image,
    threads: &[ThreadState],
) -> Result<Vec<u64>, DumpError> {
    let mut values: Vec<u64> = threads.iter().map(|thread| thread.canary).filter(|canary| *canary != 0).collect();
    values.sort_unstable();
    values.dedup();
    if values.is_empty() {
        return Ok(Vec::new());
    }
    let executable = |vma: &&Vma| vma.prot & PROT_EXEC != 0;
    let frames = Frames {
        tracer,
        code: vmas.iter().filter(executable).map(|vma| vma.start..vma.end).collect(),
        live: threads.iter().filter_map(|thread| live_stack(tracer, vmas, &thread.record.regs)).collect(),
        vmas,
        values,
    };
    let own = threads.iter().filter(|thread| thread.canary != 0);
    let mut found: Vec<u64> = own.map(|thread| thread.record.regs[reg::TLS] + CANARY).collect();
    for part in image.parts.iter().filter(|part| matches!(part.content, Content::Map | Content::Read)) {
        if image.areas[part.area].kind != AreaKind::Resident {
            frames.scan(part.addr, part.len, &mut found)?;
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The stack that a thread is on.
struct Live {
    range: Range<u64>,
    /// Its innermost frames, as far as the unwind tables lead.
    frames: Vec<Frame>,
}

/// The used part of the stack that the thread is on; a TLS block above it is no part of it.
fn live_stack(tracer: &Tracer, vmas: &[Vma], regs: &[u64; REGS]) -> Option<Live> {
    let (start, tls) = (regs[reg::SP], regs[reg::TLS]);
    let vma = vmas.iter().find(|vma| vma.contains(start))?;
    let end = if (start..vma.end).contains(&tls) { tls } else { vma.end };
    Some(Live { range: start..end, frames: unwind::frames(&tracer.memory, vmas, regs, FRAMES) })
}

impl Frames<'_> {
    fn scan(&self, start: u64, len: u64, found: &mut Vec<u64>) -> Result<(), DumpError> {
        let mut buffer = vec![0; (len.min(1 << 20)) as usize];
        let mut at = start;
        while at < start + len {
            let size = (start + len - at).min(buffer.len() as u64) as usize;
            let bytes = &mut buffer[..size];
            read_image(self.tracer, at, bytes)?;
            for (index, word) in bytes.as_chunks::<8>().0.iter().enumerate() {
                let addr = at + WORD * index as u64;
                if self.values.contains(&u64::from_le_bytes(*word)) && self.is_in_frame(addr) {
                    found.push(addr);
                }
            }
            at += size as u64;
        }
        Ok(())
    }

    /// Whether the word at `addr` is followed by a return address.
    fn is_in_frame(&self, addr: u64) -> bool {
        let stack = self.live.iter().find(|stack| stack.range.contains(&addr));
        let frame = stack.and_then(|stack| stack.frames.iter().find(|frame| frame.range.contains(&addr)));
        if let Some(frame) = frame {
            return self.is_its_canary(frame, addr);
        }
        let near = if stack.is_some() { NEAR_LIVE } else { NEAR };
        (1..=near).any(|index| match self.tracer.memory.read_u64(addr + WORD * index as u64) {
            Ok(word) => self.is_code(word) && (index <= ENTERED || unwind::is_behind_call(&self.tracer.memory, word)),
            Err(_) => false,
        })
    }

    /// Whether the word at `addr` is a canary of `frame`: the function checks one, and has not saved a register of its
    /// caller there. Another word of the frame with the same value counts as a canary, too.
    fn is_its_canary(&self, frame: &Frame, addr: u64) -> bool {
        !frame.saved.contains(&addr) && may_check(self.tracer, self.vmas, frame.pc)
    }

    fn is_code(&self, addr: u64) -> bool {
        self.code.iter().any(|range| range.contains(&addr))
    }
}

/// Whether the function at `pc` compares a copy of the canary; true where this is unknown, so a copy in the frame of a
/// function that the tables do not describe is renewed.
fn may_check(tracer: &Tracer, vmas: &[Vma], pc: u64) -> bool {
    let checks = || {
        let code = unwind::whole_function(&tracer.memory, vmas, pc).ok().flatten()?;
        let bytes = tracer.memory.read_vec(code.start, code.end - code.start).ok()?;
        Some(arch::CanaryUses::count(&bytes).checks())
    };
    checks().unwrap_or(true)
}
