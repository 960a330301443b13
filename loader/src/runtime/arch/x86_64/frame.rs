//! Signal frames, from which threads start.

use crate::runtime::memory::{write_bytes, write_u64};
use snapfn_format::arch::{RESUME_BLOCK, RESUME_SAVED, SYSCALL, frame, reg};
use snapfn_format::snap::{REGS, TIMEOUT_DEAD, TIMEOUT_TIMESPEC, Thread, resident};

/// Writes the frame of `thread` with `regs` and the XSAVE area `xstate` to `at`.
///
/// # Safety
/// The frame lies in the work area, which is zero there.
pub unsafe fn write_frame(at: u64, thread: &Thread, regs: &[u64; REGS], xstate: &[u8]) {
    let xstate_at = at + resident::FRAME_FIXED;
    // SAFETY: the caller's promise.
    unsafe {
        write_u64(at + frame::FLAGS, frame::FLAGS_VALUE);
        write_u64(at + frame::ALTSTACK_ADDRESS, thread.altstack_addr);
        write_u64(at + frame::ALTSTACK_FLAGS, u64::from(thread.altstack_flags));
        write_u64(at + frame::ALTSTACK_LEN, thread.altstack_len);
        for (place, register) in frame::ORDER.iter().enumerate() {
            write_u64(at + frame::register(place), regs[*register]);
        }
        write_u64(at + frame::SELECTORS, frame::selectors(regs));
        write_u64(at + frame::XSTATE, xstate_at);
        write_u64(at + frame::SIGNAL_MASK, thread.sigmask);
        write_bytes(xstate_at, xstate);
    }
}

/// A thread that was stopped in a system call with a timeout goes on with what is left of it. The call's argument
/// must not be overwritten for good, neither in memory (a constant, or used again) nor in the register (which the
/// program may count on): the thread starts in [`resident::STUB_RESUME`], which puts everything back. Where the call is
/// the last instruction of a function, its registers are dead, and the thread stays there: musl and glibc (2.41) look
/// whether a cancellation arrives between two addresses around that call.
///
/// # Safety
/// The frame at `at` lies in the work area.
pub unsafe fn resume_with_timeout(thread: &Thread, regs: &mut [u64; REGS], at: u64, resident: u64) {
    const SECOND: u64 = 1_000_000_000;
    const MILLISECOND: u64 = 1_000_000;
    let block = at + resident::RESUME_BLOCK;
    let saved = block + resident::RESUME_REGS;
    // SAFETY: the caller's promise.
    unsafe {
        for (i, register) in RESUME_SAVED.iter().enumerate() {
            write_u64(saved + 8 * i as u64, regs[*register]);
        }
        write_u64(saved + 8 * RESUME_SAVED.len() as u64, regs[reg::PC] + SYSCALL.len() as u64);
        write_u64(block, thread.timeout / SECOND);
        write_u64(block + 8, thread.timeout % SECOND);
    }
    regs[thread.timeout_arg as usize] = match thread.timeout_form & !TIMEOUT_DEAD {
        TIMEOUT_TIMESPEC => block,
        _ => thread.timeout.div_ceil(MILLISECOND),
    };
    if thread.timeout_form & TIMEOUT_DEAD == 0 {
        regs[RESUME_BLOCK] = block;
        regs[reg::PC] = resident + resident::STUB_RESUME;
    }
}
