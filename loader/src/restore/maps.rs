//! The address space: one `mmap` per operation.
#![allow(unsafe_code)] // reads into mappings, changes what they allow

use super::RestoreError;
use super::image::Image;
use crate::runtime::sys::{self, Errno};
use core::cell::Cell;
use snapfn_format::linux::{MADV_DONTFORK, MADV_GUARD_INSTALL, MADV_WIPEONFORK};
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

fn error<'a>(what: &'static str, op: &Op, errno: Errno) -> RestoreError<'a> {
    RestoreError::Map { what, addr: op.addr, len: op.len, errno }
}

/// Maps and reads everything but the files of descriptors. No mapping of this process is replaced.
///
/// # Safety
/// [`Plan::parse`] has returned the plan.
pub(super) unsafe fn map<'p, 'a>(plan: &'p Plan<'a>, sources: &Sources<'_>) -> Result<&'p Image<'a>, RestoreError<'a>> {
    const COMMON: u32 = sys::MAP_NORESERVE;
    let mut ahead = Ahead::new();
    for op in plan.ops {
        let prot = u32::from(op.prot);
        let sharing = if op.flags & OP_SHARED != 0 { sys::MAP_SHARED } else { sys::MAP_PRIVATE };
        match op.kind {
            OP_MAP_FILE => {
                let fd = sources.fd(op.file);
                sys::mmap_free(op.addr, op.len, prot, COMMON | sharing, fd, op.offset)
                    .map_err(|errno| error("mmap", op, errno))?;
            }
            OP_MAP_ANON => {
                let grows = if op.flags & OP_GROWSDOWN != 0 { sys::MAP_GROWSDOWN } else { 0 };
                let stack = if op.flags & OP_STACK != 0 { sys::MAP_STACK | grows } else { grows };
                let map = |sharing| {
                    sys::mmap_free(op.addr, op.len, prot, COMMON | sys::MAP_ANONYMOUS | sharing | stack, -1, 0)
                };
                match op.flags & OP_DROPPABLE {
                    0 => map(sharing),
                    // Before Linux 6.11 there is no such type. Memory that is never emptied does, too.
                    _ => map(sys::MAP_DROPPABLE).or_else(|_| map(sys::MAP_PRIVATE)),
                }
                .map_err(|errno| error("mmap", op, errno))?;
            }
            // SAFETY: validated: inside the mapping that the last map operation made.
            OP_READ => unsafe { read(sources.fd(op.file), op) }?,
            OP_ADVISE if op.populates() => ahead.add(op),
            _ => {}
        }
    }
    ahead.populate();
    // SAFETY: the plan is valid, as the caller promises, and all of its operations have succeeded.
    Ok(unsafe { Image::of(plan) })
}

/// Ranges of pages that the program will write, by its training: one system call populates them instead of a page fault
/// each (and a second one for those that are read first).
struct Ahead {
    /// As `struct iovec`.
    ranges: [[u64; 2]; Self::MAX],
    count: usize,
}

impl Ahead {
    const MAX: usize = 32;

    fn new() -> Self {
        Ahead { ranges: [[0; 2]; Self::MAX], count: 0 }
    }

    fn add(&mut self, op: &Op) {
        if self.count == Self::MAX {
            self.populate();
        }
        if let Some(range) = self.ranges.get_mut(self.count) {
            *range = [op.addr, op.len];
            self.count += 1;
        }
    }

    /// A failure only costs time later.
    #[inline(never)]
    fn populate(&mut self) {
        let ranges = self.ranges.get(..self.count).unwrap_or_default();
        self.count = 0;
        if ranges.is_empty() {
            return;
        }
        // Symptom: EBADF or EINVAL. Before Linux 6.14 there is no PIDFD_SELF, and process_madvise takes less advice. So
        // there is a call for each range then, which is still less than the faults. Goes when 6.14 is the oldest.
        if sys::populate_all(ranges).is_err() {
            for [addr, len] in ranges {
                let _ = sys::populate(*addr, *len, true);
            }
        }
    }
}

/// # Safety
/// The range of `op` lies in a mapping that the plan has made, and no reference covers it.
unsafe fn read<'a>(fd: i32, op: &Op) -> Result<(), RestoreError<'a>> {
    let mut done = 0;
    while done < op.len {
        // SAFETY: the caller's promise.
        match unsafe { sys::pread_raw(fd, op.addr + done, op.len - done, op.offset + done) } {
            Ok(0) => return Err(error("the file was cut short while reading the part", op, Errno::IO)),
            Ok(count) => done += count as u64,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(error("read", op, errno)),
        }
    }
    Ok(())
}

/// Maps the files of descriptors, once those are restored.
pub(super) fn map_descriptors<'a>(image: &Image<'a>) -> Result<(), RestoreError<'a>> {
    const FLAGS: u32 = sys::MAP_NORESERVE | sys::MAP_SHARED;
    for op in image.ops.iter().filter(|op| op.kind == OP_MAP_FD) {
        let fd = image.fds.get(usize::from(op.file)).map_or(-1, |record| record.fd as i32);
        sys::mmap_free(op.addr, op.len, u32::from(op.prot), FLAGS, fd, op.offset)
            .map_err(|errno| error("mmap of a descriptor", op, errno))?;
    }
    Ok(())
}

/// Sets everything that must come after the last write: protections, advice, locks.
///
/// # Safety
/// No word of the image that a protection covers is written any more.
pub(super) unsafe fn protect<'a>(image: &Image<'a>) -> Result<(), RestoreError<'a>> {
    for op in image.ops {
        // SAFETY: validated: ranges of mappings that the plan itself made. The caller's promise.
        unsafe {
            match op.kind {
                OP_PROTECT => {
                    sys::mprotect(op.addr, op.len, u32::from(op.prot)).map_err(|errno| error("mprotect", op, errno))?
                }
                // What an access or a fork does depends on it.
                OP_ADVISE if matches!(op.offset, MADV_DONTFORK | MADV_WIPEONFORK | MADV_GUARD_INSTALL) => {
                    sys::madvise(op.addr, op.len, op.offset).map_err(|errno| error("madvise", op, errno))?;
                }
                // Other advice may fail: a kernel that does not know it runs the program, too.
                OP_ADVISE if !op.populates() => drop(sys::madvise(op.addr, op.len, op.offset)),
                OP_LOCK => {
                    sys::mlock2(op.addr, op.len, op.offset).map_err(|errno| error("mlock", op, errno))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}
