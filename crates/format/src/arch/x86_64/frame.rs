//! The signal frame that a thread starts from (`struct rt_sigframe`, arch/x86/include/uapi/asm/sigcontext.h), by
//! offset.
//!
//! ```text
//!    0  pretcode            8  ucontext: flags, link, alternate stack (16, 24, 32)
//!   48  registers, in the order of ORDER; selectors; err, trapno, cr2
//!  232  address of the XSAVE area      304  signal mask      312  siginfo, which no code reads
//! ```

use super::user_regs;

/// Offset of the `ucontext`.
const UCONTEXT: u64 = 8;
/// Offset of its machine context.
const MACHINE_CONTEXT: u64 = UCONTEXT + 40;

/// Offset of the flags of the `ucontext`.
pub const FLAGS: u64 = UCONTEXT;
/// Their value: UC_FP_XSTATE, UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS.
pub const FLAGS_VALUE: u64 = 1 | 2 | 4;
/// Offset of the alternate signal stack's address.
pub const ALTSTACK_ADDRESS: u64 = UCONTEXT + 16;
/// Offset of its flags.
pub const ALTSTACK_FLAGS: u64 = UCONTEXT + 24;
/// Offset of its length.
pub const ALTSTACK_LEN: u64 = UCONTEXT + 32;
/// Offset of cs, gs, fs, ss: 16 bits each.
pub const SELECTORS: u64 = MACHINE_CONTEXT + 144;
/// Offset of the address of the XSAVE area.
pub const XSTATE: u64 = MACHINE_CONTEXT + 184;
/// Offset of the mask of blocked signals.
pub const SIGNAL_MASK: u64 = MACHINE_CONTEXT + 256;

/// The registers in the order of the frame.
pub const ORDER: [usize; 18] = [
    user_regs::R8,
    user_regs::R9,
    user_regs::R10,
    user_regs::R11,
    user_regs::R12,
    user_regs::R13,
    user_regs::R14,
    user_regs::R15,
    user_regs::RDI,
    user_regs::RSI,
    user_regs::RBP,
    user_regs::RBX,
    user_regs::RDX,
    user_regs::RAX,
    user_regs::RCX,
    user_regs::RSP,
    user_regs::RIP,
    user_regs::EFLAGS,
];

/// Offset of the register at `place` of [`ORDER`].
pub const fn register(place: usize) -> u64 {
    MACHINE_CONTEXT + 8 * place as u64
}

/// The word at [`SELECTORS`]: the code and stack selectors of `regs`, and 0 for gs and fs.
pub fn selectors(regs: &[u64; super::REGS]) -> u64 {
    regs[user_regs::CS] & 0xffff | (regs[user_regs::SS] & 0xffff) << 48
}
