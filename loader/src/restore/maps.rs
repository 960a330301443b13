//! The address space: one `mmap` per operation.

use super::RestoreError;
use crate::sys;
use core::cell::Cell;
use snapfn_format::snap::*;

/// Open descriptors of the plan's files, in table order.
#[derive(Debug)]
pub struct Sources<'f> {
    fds: &'f [Cell<i32>],
}

impl<'f> Sources<'f> {
    /// `fds`, all open.
    pub fn new(fds: &'f [Cell<i32>]) -> Self {
        Sources { fds }
    }

    pub(super) fn fd(&self, index: u16) -> i32 {
        self.fds.get(usize::from(index)).map_or(-1, Cell::get)
    }

    /// Moves the files that `wanted` names to where `to` has them, and closes all others.
    pub(super) fn keep(&self, wanted: impl Fn(usize) -> bool, to: impl Fn(i32) -> sys::Result<i32>) -> sys::Result<()> {
        for (index, slot) in self.fds.iter().enumerate() {
            let fd = slot.get();
            slot.set(if wanted(index) { to(fd)? } else { -1 });
            sys::close(fd);
        }
        Ok(())
    }

    pub(super) fn close_all(&self) {
        for fd in self.fds.iter().filter(|fd| fd.get() >= 0) {
            sys::close(fd.get());
        }
    }
}

fn error<'a>(what: &'static str, op: &Op, errno: sys::Errno) -> RestoreError<'a> {
    RestoreError::Map { what, addr: op.addr, len: op.len, errno }
}

/// Maps and reads everything.
///
/// # Safety
/// The plan is valid and this process holds nothing that its ranges name (NOREPLACE makes sure of it).
pub(super) unsafe fn map<'a>(plan: &Plan<'a>, sources: &Sources<'_>) -> Result<(), RestoreError<'a>> {
    const COMMON: u32 = sys::MAP_FIXED_NOREPLACE | sys::MAP_NORESERVE;
    for op in plan.ops {
        let prot = u32::from(op.prot);
        let sharing = if op.flags & OP_SHARED != 0 { sys::MAP_SHARED } else { sys::MAP_PRIVATE };
        // SAFETY: validated ranges, never replacing anything.
        unsafe {
            match op.kind {
                OP_MAP_FILE => {
                    let fd = sources.fd(op.file);
                    sys::mmap(op.addr, op.len, prot, COMMON | sharing, fd, op.offset)
                        .map_err(|errno| error("mmap", op, errno))?;
                }
                OP_MAP_ANON => {
                    let grows = if op.flags & OP_GROWSDOWN != 0 { sys::MAP_GROWSDOWN } else { 0 };
                    let stack = if op.flags & OP_STACK != 0 { sys::MAP_STACK | grows } else { grows };
                    let map = |sharing| {
                        sys::mmap(op.addr, op.len, prot, COMMON | sys::MAP_ANONYMOUS | sharing | stack, -1, 0)
                    };
                    match op.flags & OP_DROPPABLE {
                        0 => map(sharing),
                        // Before Linux 6.11 there is no such type; memory that is never emptied is as good.
                        _ => map(sys::MAP_DROPPABLE).or_else(|_| map(sys::MAP_PRIVATE)),
                    }
                    .map_err(|errno| error("mmap", op, errno))?;
                }
                OP_READ => read(sources.fd(op.file), op)?,
                _ => {}
            }
        }
    }
    Ok(())
}

unsafe fn read<'a>(fd: i32, op: &Op) -> Result<(), RestoreError<'a>> {
    let mut done = 0;
    while done < op.len {
        // SAFETY: inside the mapping that the last map operation made.
        match unsafe { sys::pread_raw(fd, op.addr + done, op.len - done, op.offset + done) } {
            Ok(0) => return Err(error("the file was cut short while reading the part", op, sys::Errno(5))),
            Ok(count) => done += count as u64,
            Err(sys::Errno(4)) => {}
            Err(errno) => return Err(error("read", op, errno)),
        }
    }
    Ok(())
}

/// Maps what the descriptors stand for, once they are there.
///
/// # Safety
/// As [`map`]; all descriptors have been restored.
pub(super) unsafe fn map_descriptors<'a>(plan: &Plan<'a>) -> Result<(), RestoreError<'a>> {
    const FLAGS: u32 = sys::MAP_FIXED_NOREPLACE | sys::MAP_NORESERVE | sys::MAP_SHARED;
    for op in plan.ops.iter().filter(|op| op.kind == OP_MAP_FD) {
        let fd = plan.fds.get(usize::from(op.file)).map_or(-1, |record| record.fd as i32);
        // SAFETY: validated ranges, never replacing anything.
        unsafe { sys::mmap(op.addr, op.len, u32::from(op.prot), FLAGS, fd, op.offset) }
            .map_err(|errno| error("mmap of a descriptor", op, errno))?;
    }
    Ok(())
}

/// What must come after the last write: protections, advice, locks.
///
/// # Safety
/// No patch is pending.
pub(super) unsafe fn protect<'a>(plan: &Plan<'a>) -> Result<(), RestoreError<'a>> {
    for op in plan.ops {
        // SAFETY: ranges of mappings that the plan itself made.
        unsafe {
            match op.kind {
                OP_PROTECT => {
                    sys::mprotect(op.addr, op.len, u32::from(op.prot)).map_err(|errno| error("mprotect", op, errno))?
                }
                // Advice is advice: a kernel that does not know it runs the program all the same.
                OP_ADVISE => drop(sys::madvise(op.addr, op.len, op.offset)),
                OP_LOCK => {
                    sys::mlock2(op.addr, op.len, op.offset).map_err(|errno| error("mlock", op, errno))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}
