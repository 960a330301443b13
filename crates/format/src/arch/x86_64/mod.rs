//! x86-64.

pub mod cpu;
pub mod frame;
pub mod nr;
pub mod xstate;

use core::ops::Range;

/// `e_machine` of its ELF files (EM_X86_64).
pub const MACHINE: u16 = 62;

/// The interface of its system calls, as the kernel names it to tracers and filters (AUDIT_ARCH_X86_64): the 64-bit
/// one, or x32.
pub const AUDIT_ARCH: u32 = 0xc000_003e;

/// The instruction that makes a system call, `syscall`.
pub const SYSCALL: [u8; 2] = [0x0f, 0x05];
/// Its length in bytes.
pub const SYSCALL_LEN: u64 = SYSCALL.len() as u64;
/// A system call as the last instruction of a function: `syscall; ret`.
pub const SYSCALL_RET: [u8; 3] = [0x0f, 0x05, 0xc3];
/// The instruction that stops for a tracer, `int3`.
pub const BREAKPOINT: [u8; 1] = [0xcc];
/// First byte of `mov eax, NUMBER`.
pub const MOV_EAX: u8 = 0xb8;

/// Offset of the stack canary from the thread pointer ([`reg::TLS`]), for all C libraries.
pub const CANARY: u64 = 0x28;

/// [`reg::CALL`] of a task that is in no system call: the kernel then restarts none.
pub const NO_CALL: u64 = u64::MAX;

/// Registers that hold the arguments of a system call, the first argument first.
pub const ARGUMENTS: [usize; 6] =
    [user_regs::RDI, user_regs::RSI, user_regs::RDX, user_regs::R10, user_regs::R8, user_regs::R9];

/// Registers that no function keeps for its caller.
pub const SCRATCH: [usize; 9] = [
    user_regs::RAX,
    user_regs::RCX,
    user_regs::RDX,
    user_regs::RSI,
    user_regs::RDI,
    user_regs::R8,
    user_regs::R9,
    user_regs::R10,
    user_regs::R11,
];

/// Takes a task that is inside a system call, or has just come out of it, back to before the call: its next instruction
/// makes system call `number`, with the arguments in `regs`.
pub fn rewind(regs: &mut [u64; REGS], number: u64) {
    regs[reg::PC] = regs[reg::PC].wrapping_sub(SYSCALL_LEN);
    regs[reg::NUMBER] = number;
    regs[reg::CALL] = NO_CALL;
}

/// Whether the instruction that begins with `code` calls a function: `call` with a distance, or through a register or
/// memory.
pub fn is_call(code: &[u8; 3]) -> bool {
    let [first, second, _] = *code;
    first == 0xe8 || (first == 0xff && matches!((second >> 3) & 7, 2 | 3)) || [first, second] == [0x41, 0xff]
}

/// Registers that hold the timeout of some system call: its first, third, fourth or fifth argument.
pub const TIMEOUT_ARGUMENTS: [usize; 4] = [user_regs::RDI, user_regs::RDX, user_regs::R10, user_regs::R8];

/// Number of words in `struct user_regs_struct`.
pub const REGS: usize = 27;

/// Indices into [`Thread::regs`](crate::snap::Thread::regs) by what a register is for. Code outside the architecture's
/// own folders uses these.
pub mod reg {
    use super::user_regs;

    /// The address of the next instruction.
    pub const PC: usize = user_regs::RIP;
    /// The stack pointer.
    pub const SP: usize = user_regs::RSP;
    /// The frame pointer, in functions that have one.
    pub const FRAME: usize = user_regs::RBP;
    /// The thread pointer.
    pub const TLS: usize = user_regs::FS_BASE;
    /// The number of the system call that a task is in, or [`NO_CALL`](super::NO_CALL).
    pub const CALL: usize = user_regs::ORIG_RAX;
    /// The number of a system call that the next instruction makes.
    pub const NUMBER: usize = user_regs::RAX;
    /// The result of a system call.
    pub const RESULT: usize = user_regs::RAX;
}

/// Registers that hold the first arguments of a function.
pub const PARAMETERS: [usize; 3] = [user_regs::RDI, user_regs::RSI, user_regs::RDX];

/// Registers that may hold a value of the program's, as opposed to an address of code, the stack or the thread.
pub const GENERAL: Range<usize> = user_regs::R15..user_regs::RDI + 1;

/// Registers that the kernel loads only if they hold an address of user space.
pub const ADDRESSES: [usize; 3] = [user_regs::FS_BASE, user_regs::GS_BASE, user_regs::RIP];

/// Registers that the stub which finishes a system call with the rest of its timeout
/// ([`resident::STUB_RESUME`](crate::snap::resident::STUB_RESUME)) puts back, in the order of its block. The place of
/// the next instruction follows them there.
pub const RESUME_SAVED: [usize; 5] = [user_regs::RDI, user_regs::RDX, user_regs::R10, user_regs::R8, RESUME_BLOCK];
/// The register that holds the address of that block while the stub runs.
pub const RESUME_BLOCK: usize = user_regs::RBX;
/// The register that holds the address to which the stub jumps at its end.
pub const RESUME_TARGET: usize = user_regs::RCX;

/// The registers of a task at the first instruction of its program, at `pc` with the stack pointer `sp`. The selectors
/// are those of `old`, the registers of some task of this kernel.
pub fn at_start(old: &[u64; REGS], pc: u64, sp: u64) -> [u64; REGS] {
    /// Interrupts are on; the bit with the value 2 is always set.
    const FLAGS: u64 = 0x202;
    let mut regs = [0; REGS];
    regs[user_regs::CS] = old[user_regs::CS];
    regs[user_regs::SS] = old[user_regs::SS];
    regs[user_regs::EFLAGS] = FLAGS;
    regs[reg::PC] = pc;
    regs[reg::SP] = sp;
    regs[reg::CALL] = NO_CALL;
    regs
}

/// Indices into [`Thread::regs`](crate::snap::Thread::regs), in the order of `struct user_regs_struct`.
#[allow(missing_docs)]
pub mod user_regs {
    pub const R15: usize = 0;
    pub const R14: usize = 1;
    pub const R13: usize = 2;
    pub const R12: usize = 3;
    pub const RBP: usize = 4;
    pub const RBX: usize = 5;
    pub const R11: usize = 6;
    pub const R10: usize = 7;
    pub const R9: usize = 8;
    pub const R8: usize = 9;
    pub const RAX: usize = 10;
    pub const RCX: usize = 11;
    pub const RDX: usize = 12;
    pub const RSI: usize = 13;
    pub const RDI: usize = 14;
    pub const ORIG_RAX: usize = 15;
    pub const RIP: usize = 16;
    pub const CS: usize = 17;
    pub const EFLAGS: usize = 18;
    pub const RSP: usize = 19;
    pub const SS: usize = 20;
    pub const FS_BASE: usize = 21;
    pub const GS_BASE: usize = 22;
}
