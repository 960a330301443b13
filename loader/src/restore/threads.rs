//! Threads: a signal frame each, `clone` for all but the first, `rt_sigreturn` into the program.
//!
//! The frames lie in the resident region, never on a program's stack: coroutine stacks are small.

use super::RestoreError;
use super::attributes::{self, Inherited};
use super::instance::Vectors;
use super::patch;
use crate::runtime::memory::{read_u32, write_bytes, write_u32, write_u64};
use crate::runtime::sys::{self, ThreadStart};
use snapfn_format::snap::*;

/// UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS
const UC_FLAGS: u64 = 1 | 2 | 4;
/// Offset of the `ucontext` in a frame, and of the machine context, whose registers are in the order below.
const UC: u64 = 8;
const MC: u64 = UC + 40;
const ORDER: [usize; 18] = [
    reg::R8,
    reg::R9,
    reg::R10,
    reg::R11,
    reg::R12,
    reg::R13,
    reg::R14,
    reg::R15,
    reg::RDI,
    reg::RSI,
    reg::RBP,
    reg::RBX,
    reg::RDX,
    reg::RAX,
    reg::RCX,
    reg::RSP,
    reg::RIP,
    reg::EFLAGS,
];

/// Writes the frame of thread `index` at `frame`.
///
/// # Safety
/// The frame lies in the work area.
unsafe fn write_frame(frame: u64, thread: &Thread, regs: &[u64; REGS], xstate: &[u8]) {
    let fpstate = frame + resident::FRAME_FIXED;
    // SAFETY: the caller's promise; the rest of the frame is zero already.
    unsafe {
        write_u64(frame + UC, UC_FLAGS);
        write_u64(frame + UC + 16, thread.altstack_addr);
        write_u64(frame + UC + 24, u64::from(thread.altstack_flags));
        write_u64(frame + UC + 32, thread.altstack_len);
        for (i, register) in ORDER.iter().enumerate() {
            write_u64(frame + MC + 8 * i as u64, regs[*register]);
        }
        // cs, gs, fs, ss as 16-bit fields: user code and stack selectors, fs and gs selectors 0.
        write_u64(frame + MC + 144, regs[reg::CS] & 0xffff | (regs[reg::SS] & 0xffff) << 48);
        write_u64(frame + MC + 184, fpstate);
        write_u64(frame + MC + 256, thread.sigmask);
        write_bytes(fpstate, xstate);
    }
}

/// The frames, by thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frames {
    first: u64,
    size: u64,
}

impl Frames {
    /// Offset of 4 unused bytes at the end of a frame's fixed part, where its thread's TID is kept.
    const TID: u64 = 448;

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
        unsafe { read_u32(self.at(index) + Self::TID) }
    }
}

/// A thread that was stopped in a system call with a timeout goes on with what is left of it. The call's argument
/// must not be overwritten for good, neither in memory (a constant, or used again) nor in the register (which the
/// program may count on): the thread starts in [`resident::STUB_RESUME`], which puts everything back. Where the call is
/// the last instruction of a function, its registers are dead, and the thread stays there: musl and glibc (2.41) look
/// whether a cancellation arrives between two addresses around that call.
///
/// # Safety
/// The frame lies in the work area.
unsafe fn resume_with_timeout(thread: &Thread, regs: &mut [u64; REGS], frame: u64, resident: u64) {
    const SAVED: [usize; 5] = [reg::RDI, reg::RDX, reg::R10, reg::R8, reg::RBX];
    const SYSCALL_LEN: u64 = 2;
    let block = frame + resident::RESUME_BLOCK;
    let saved = block + resident::RESUME_REGS;
    // SAFETY: the caller's promise.
    unsafe {
        for (i, register) in SAVED.iter().enumerate() {
            write_u64(saved + 8 * i as u64, regs[*register]);
        }
        write_u64(saved + 8 * SAVED.len() as u64, regs[reg::RIP] + SYSCALL_LEN);
        write_u64(block, thread.timeout / 1_000_000_000);
        write_u64(block + 8, thread.timeout % 1_000_000_000);
    }
    regs[thread.timeout_arg as usize] = match thread.timeout_form & !TIMEOUT_DEAD {
        TIMEOUT_TIMESPEC => block,
        _ => thread.timeout.div_ceil(1_000_000),
    };
    if thread.timeout_form & TIMEOUT_DEAD == 0 {
        regs[reg::RBX] = block;
        regs[reg::RIP] = resident + resident::STUB_RESUME;
    }
}

/// Makes all frames and all threads but the first: the stack pointer for the main thread's `rt_sigreturn`.
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
                resume_with_timeout(thread, &mut regs, frames.at(index), resident);
            }
            write_frame(frames.at(index), thread, &regs, plan.bytes(thread.xstate));
        }
        for (index, thread) in plan.threads.iter().enumerate().skip(1) {
            let own_tid = frames.at(index) + Frames::TID;
            let parent_tid = if thread.tid_cache != 0 { thread.tid_cache } else { own_tid };
            inherited.become_like(thread);
            sys::set_bases(thread.regs[reg::FS_BASE], thread.regs[reg::GS_BASE], fsgsbase);
            let start = ThreadStart {
                stub: resident + resident::STUB_CLONE,
                sp: frames.at(index) + 8,
                gate,
                robust_list: thread.robust_list,
                rseq: thread.rseq,
                rseq_args: u64::from(thread.rseq_len) | u64::from(thread.rseq_sig) << 32,
                tls: thread.regs[reg::FS_BASE],
                parent_tid,
                clear_tid: thread.clear_tid,
            };
            let tid = sys::spawn_thread(&start).map_err(|errno| RestoreError::System("clone", errno))?;
            write_u32(own_tid, tid);
            patch_tid(plan, index, tid);
            attributes::thread(plan, index, tid)?;
        }
        let Some(main) = plan.threads.first() else { return Err(RestoreError::System("threads", sys::Errno::INVAL)) };
        let tid = sys::set_tid_address(main.clear_tid);
        if main.tid_cache != 0 {
            write_u32(main.tid_cache, tid);
        }
        write_u32(frames.at(0) + Frames::TID, tid);
        patch_tid(plan, 0, tid);
        inherited.become_like(main);
        attributes::thread(plan, 0, tid)?;
        if main.robust_list != 0 {
            sys::set_robust_list(main.robust_list).map_err(|errno| RestoreError::System("set_robust_list", errno))?;
        }
        if main.rseq != 0 {
            sys::rseq(main.rseq, main.rseq_len, main.rseq_sig).map_err(|errno| RestoreError::System("rseq", errno))?;
        }
        sys::set_bases(main.regs[reg::FS_BASE], main.regs[reg::GS_BASE], fsgsbase);
    }
    Ok(frames.at(0) + 8)
}

/// Brings registers up to date that hold what only the request tells: the argument count, and the environment of a
/// program without a C library.
///
/// # Safety
/// [`start`] has written the frames, and no thread has left them.
pub(super) unsafe fn patch_counts(plan: &Plan<'_>, vectors: &Vectors) {
    let frames = Frames::of(plan);
    for patch in plan.patches.iter().filter(|patch| patch.place == PATCH_REGISTER) {
        let place = ORDER.iter().position(|register| *register as u64 == patch.addr);
        if let (PATCH_ARGC | PATCH_ENVP, Some(place)) = (patch.kind, place) {
            let slot = frames.at(patch.arg as usize) + MC + 8 * place as u64;
            // SAFETY: inside the work area.
            unsafe { write_u64(slot, patch::value(patch.kind, vectors, 0)) };
        }
    }
}

/// Writes the new TID of a thread wherever the old one was found.
unsafe fn patch_tid(plan: &Plan<'_>, index: usize, tid: u32) {
    for patch in plan.patches.iter().filter(|patch| patch.place == PATCH_MEMORY && patch.arg as usize == index) {
        // SAFETY: validated addresses.
        unsafe {
            match patch.kind {
                PATCH_TID => write_u32(patch.addr, tid),
                PATCH_TID_FUTEX => write_u32(patch.addr, read_u32(patch.addr) & !0x3fff_ffff | tid),
                _ => {}
            }
        }
    }
}
