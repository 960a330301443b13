//! x86-64.

pub mod cpu;
pub mod frame;
pub mod nr;
pub mod xstate;

/// `e_machine` of its ELF files (EM_X86_64).
pub const MACHINE: u16 = 62;

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

/// Offset of the stack canary from the thread pointer ([`reg::FS_BASE`]), for all C libraries.
pub const CANARY: u64 = 0x28;

/// Registers that hold the arguments of a system call, the first argument first.
pub const ARGUMENTS: [usize; 6] = [reg::RDI, reg::RSI, reg::RDX, reg::R10, reg::R8, reg::R9];

/// Registers that no function keeps for its caller.
pub const SCRATCH: [usize; 9] =
    [reg::RAX, reg::RCX, reg::RDX, reg::RSI, reg::RDI, reg::R8, reg::R9, reg::R10, reg::R11];

/// Takes a task that is inside a system call, or has just come out of it, back to before the call: its next instruction
/// makes system call `number`, with the arguments in `regs`.
pub fn rewind(regs: &mut [u64; REGS], number: u64) {
    regs[reg::RIP] = regs[reg::RIP].wrapping_sub(SYSCALL_LEN);
    regs[reg::RAX] = number;
    regs[reg::ORIG_RAX] = u64::MAX;
}

/// Registers that hold the timeout of some system call: its first, third, fourth or fifth argument.
pub const TIMEOUT_ARGUMENTS: [usize; 4] = [reg::RDI, reg::RDX, reg::R10, reg::R8];

/// Number of words in `struct user_regs_struct`.
pub const REGS: usize = 27;

/// Indices into [`Thread::regs`], in the order of `struct user_regs_struct`.
#[allow(missing_docs)]
pub mod reg {
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
