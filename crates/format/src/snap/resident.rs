//! The small region of the loader that stays in an instance: synthetic vDSO, its slot page, one frame per thread.
//!
//! ```text
//!  resident + 0x0000   synthetic vDSO: ELF headers, tables, code   R-X, from the snapshot file
//!           + 0x1000   slots: addresses that the vDSO jumps to      R-- (filled at start)
//!           + 0x2000   gate word, then per thread: signal frame      RW-
//! ```
//!
//! The code offsets below are the contract between the snapshotter, which writes the vDSO page, and the
//! loader, which fills the slots and leaves through the stubs.

use crate::PAGE;
pub use crate::arch::MOV_EAX;
use crate::arch::nr;

/// Offset of the slot page.
pub const SLOTS: u64 = PAGE;
/// Offset of the writable part.
pub const WORK: u64 = 2 * PAGE;

/// Functions of the vDSO in slot order: name, system call number.
pub const FUNCTIONS: [(&str, u32); 5] = [
    ("__vdso_clock_gettime", nr::CLOCK_GETTIME as u32),
    ("__vdso_gettimeofday", nr::GETTIMEOFDAY as u32),
    ("__vdso_time", nr::TIME as u32),
    ("__vdso_clock_getres", nr::CLOCK_GETRES as u32),
    ("__vdso_getcpu", nr::GETCPU as u32),
];

/// Offset of the first stub in the vDSO page; everything from here on is code.
pub const CODE: u64 = 0xc00;
/// `syscall; int3`: the snapshotter's remote system calls at build time.
pub const STUB_SYSCALL: u64 = CODE;
/// Last steps of the main thread: `munmap(rdi, rsi)`, then `rt_sigreturn`.
pub const STUB_FINISH: u64 = CODE + 0x10;
/// As [`STUB_FINISH`], but in between it stores a time stamp of the processor at the address in r12 (`snaprun
/// --timing`). Its first byte is [`MOV_EAX`]. If the byte is another one, the page is older than the stub.
pub const STUB_FINISH_TIMED: u64 = CODE + 0x240;
/// As [`STUB_FINISH`], but in between it calls `prctl(PR_SET_MM, PR_SET_MM_MAP, r13)`, which makes the program's own
/// file that of /proc/self/exe, and `close(r14)`, and it opens the gate at r12. Its first byte is [`MOV_EAX`] as well.
pub const STUB_FINISH_EXE: u64 = CODE + 0x280;
/// `clone` as a function. The new thread goes on at [`STUB_THREAD`]. It never executes an instruction of the loader,
/// which may be unmapped before the thread is first scheduled.
pub const STUB_CLONE: u64 = CODE + 0x20;
/// First steps of every other thread: wait at the gate, register, then `rt_sigreturn`.
pub const STUB_THREAD: u64 = CODE + 0x40;
/// Function `i` of [`FUNCTIONS`]: `jmp *slot`.
pub const ENTRIES: u64 = CODE + 0x100;
/// Bytes between two entries.
pub const ENTRY_SIZE: u64 = 16;
/// Function `i` as a plain system call, for hosts whose vDSO lacks it.
pub const FALLBACKS: u64 = CODE + 0x180;

/// Restarts a system call with the rest of its timeout and goes on after the call: rbx points to the thread's block
/// ([`RESUME_BLOCK`]).
pub const STUB_RESUME: u64 = CODE + 0x200;
/// Offset in [`STUB_RESUME`] of its last instruction, a jump to rcx. Until then, rbx points to the block.
pub const RESUME_JUMP: u64 = 26;
/// Offset in a thread's frame of the block that [`STUB_RESUME`] works with: a `struct timespec`, then the program's own
/// rdi, rdx, r10, r8, rbx and rip. The signal frame has `siginfo` and padding there, which no code reads.
pub const RESUME_BLOCK: u64 = 320;
/// Offset of the saved registers in that block.
pub const RESUME_REGS: u64 = 16;

/// Bytes of the work area before the first frame; the gate word is its first.
pub const WORK_HEADER: u64 = 64;
/// Offset in the work area: address of the instance's argument vector.
pub const WORK_ARGV: u64 = 16;
/// Offset in the work area: address of the instance's environment vector.
pub const WORK_ENVP: u64 = 24;
/// Offset in the work area of 32 bytes for the snapshotter's remote system calls.
pub const WORK_SCRATCH: u64 = 32;
/// Bytes of a frame besides the XSAVE area: `pretcode`, `ucontext`, `siginfo`, rounded up to 64.
pub const FRAME_FIXED: u64 = 512;
/// Offset in a frame of 4 bytes at the end of its fixed part, which hold its thread's TID.
pub const FRAME_TID: u64 = 448;

/// Size in bytes of one thread's frame with an XSAVE area of `xstate` bytes (magic number 2 included).
pub const fn frame_size(xstate: u64) -> u64 {
    FRAME_FIXED + xstate.next_multiple_of(64)
}

/// Length of the work area for `threads` frames, page-aligned.
pub const fn work_len(threads: u64, xstate: u64) -> u64 {
    (WORK_HEADER + threads * frame_size(xstate)).next_multiple_of(PAGE)
}
