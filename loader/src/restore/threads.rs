//! Threads: a signal frame each, `clone` for all but the first, `rt_sigreturn` into the program.
//!
//! The frames lie in the resident region, never on a program's stack: coroutine stacks are small.

use super::RestoreError;
use super::attributes::{self, Inherited};
use super::instance::Vectors;
use super::patch;
use crate::runtime::arch::{self, ThreadStart};
use crate::runtime::memory::{read_u32, write_u32, write_u64};
use crate::runtime::sys;
use snapfn_format::arch::frame;
use snapfn_format::snap::*;

/// The bits of a futex word that hold its owner's TID.
const FUTEX_TID_MASK: u32 = 0x3fff_ffff;
/// The lowest bits of the ID of a CPU clock: which of the three clocks, and whether it is a thread's.
const CLOCK_BITS: u32 = 3;

/// The frames, by thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frames {
    first: u64,
    size: u64,
}

impl Frames {
    /// Where the frames of `plan` go.
    pub(super) fn of(plan: &Plan<'_>) -> Self {
        let largest = plan.threads.iter().map(|thread| thread.xstate.len).max().unwrap_or(0);
        let first = plan.header.process.resident + resident::WORK + resident::WORK_HEADER;
        Frames { first, size: resident::frame_size(u64::from(largest)) }
    }

    fn at(&self, index: usize) -> u64 {
        self.first + self.size * index as u64
    }

    /// The TID of thread `index` in this instance.
    ///
    /// # Safety
    /// [`start`] has made the thread.
    pub(super) unsafe fn tid(&self, index: usize) -> u32 {
        // SAFETY: inside the work area.
        unsafe { read_u32(self.at(index) + resident::FRAME_TID) }
    }
}

/// Makes all frames and all threads but the first; returns the stack pointer for the main thread's `rt_sigreturn`.
///
/// # Safety
/// Memory, descriptors and dispositions are complete; all signals are blocked if there is more than one thread.
pub(super) unsafe fn start<'a>(
    plan: &Plan<'a>,
    vectors: &Vectors,
    canary: u64,
    fsgsbase: bool,
) -> Result<u64, RestoreError<'a>> {
    let resident = plan.header.process.resident;
    let gate = resident + resident::WORK;
    let frames = Frames::of(plan);
    let mut inherited = Inherited::new();
    let mut register_patches = plan.patches.iter().filter(|patch| patch.place == PATCH_REGISTER).peekable();
    let has_register_patches = register_patches.peek().is_some();
    // SAFETY: validated addresses; each frame is complete before its thread exists.
    unsafe {
        for (index, thread) in plan.threads.iter().enumerate() {
            let mut regs = thread.regs;
            if has_register_patches {
                for patch in register_patches.clone().filter(|patch| patch.arg as usize == index) {
                    regs[patch.addr as usize] = patch::value(patch.kind, vectors, canary);
                }
            }
            if thread.timeout_form != TIMEOUT_NONE {
                arch::resume_with_timeout(thread, &mut regs, frames.at(index), resident);
            }
            arch::write_frame(frames.at(index), thread, &regs, plan.bytes(thread.xstate));
        }
        for (index, thread) in plan.threads.iter().enumerate().skip(1) {
            let own_tid = frames.at(index) + resident::FRAME_TID;
            let parent_tid = if thread.tid_cache != 0 { thread.tid_cache } else { own_tid };
            inherited.become_like(thread);
            arch::set_bases(&thread.regs, fsgsbase);
            let start = ThreadStart {
                stub: resident + resident::STUB_CLONE,
                sp: frames.at(index) + 8,
                gate,
                robust_list: thread.robust_list,
                rseq: thread.rseq,
                rseq_args: u64::from(thread.rseq_len) | u64::from(thread.rseq_sig) << 32,
                tls: thread.regs[reg::TLS],
                parent_tid,
                clear_tid: thread.clear_tid,
            };
            let tid = arch::spawn_thread(&start).map_err(|errno| RestoreError::System("clone", errno))?;
            write_u32(own_tid, tid);
            patch_tid(plan, index, tid);
            attributes::thread(plan, index, tid)?;
        }
        let Some(main) = plan.threads.first() else { return Err(RestoreError::System("threads", sys::Errno::INVAL)) };
        let tid = sys::set_tid_address(main.clear_tid);
        if main.tid_cache != 0 {
            write_u32(main.tid_cache, tid);
        }
        write_u32(frames.at(0) + resident::FRAME_TID, tid);
        patch_tid(plan, 0, tid);
        inherited.become_like(main);
        attributes::thread(plan, 0, tid)?;
        if main.robust_list != 0 {
            sys::set_robust_list(main.robust_list).map_err(|errno| RestoreError::System("set_robust_list", errno))?;
        }
        if main.rseq != 0 {
            sys::rseq(main.rseq, main.rseq_len, main.rseq_sig).map_err(|errno| RestoreError::System("rseq", errno))?;
        }
        arch::set_bases(&main.regs, fsgsbase);
    }
    Ok(frames.at(0) + 8)
}

/// Updates registers whose values depend on the request: the argument count, and the environment of a program without a
/// C library.
///
/// # Safety
/// [`start`] has written the frames, and no thread has left them.
pub(super) unsafe fn patch_counts(plan: &Plan<'_>, vectors: &Vectors) {
    let frames = Frames::of(plan);
    for patch in plan.patches.iter().filter(|patch| patch.place == PATCH_REGISTER) {
        let place = frame::ORDER.iter().position(|register| *register as u64 == patch.addr);
        if let (true, Some(place)) = (patch.is_count() || patch.kind == PATCH_ENVP, place) {
            let slot = frames.at(patch.arg as usize) + frame::register(place);
            // SAFETY: inside the work area.
            unsafe { write_u64(slot, patch::value(patch.kind, vectors, 0)) };
        }
    }
}

/// Writes the new TID of a thread to all places of the old one.
unsafe fn patch_tid(plan: &Plan<'_>, index: usize, tid: u32) {
    for patch in plan.patches.iter().filter(|patch| patch.place == PATCH_MEMORY && patch.arg as usize == index) {
        // SAFETY: validated addresses.
        unsafe {
            match patch.kind {
                PATCH_TID => write_u32(patch.addr, tid),
                PATCH_TID_FUTEX => write_u32(patch.addr, read_u32(patch.addr) & !FUTEX_TID_MASK | tid),
                PATCH_CLOCK => {
                    write_u32(patch.addr, !tid << CLOCK_BITS | read_u32(patch.addr) & ((1 << CLOCK_BITS) - 1))
                }
                _ => {}
            }
        }
    }
}
