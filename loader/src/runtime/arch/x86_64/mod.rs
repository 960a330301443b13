//! x86-64.

mod abi;
#[cfg(not(fuzzing))] // as in `entry`
mod copy;
pub mod cpu;
mod frame;

use crate::runtime::sys::MmMap;
pub(in crate::runtime) use abi::RawStat;
pub use abi::{O_DIRECT, O_DIRECTORY, O_NOFOLLOW};
use core::arch::asm;
pub use frame::{resume_with_timeout, write_frame};
use snapfn_format::arch::{REGS, user_regs};

pub use snapfn_format::arch::nr;

/// # Safety
/// As the system call demands.
pub(in crate::runtime) unsafe fn syscall6(number: usize, args: [usize; 6]) -> usize {
    let result;
    // SAFETY: the kernel clobbers rax, rcx and r11 only; memory is what the caller answers for.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r9") args[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

// The entry point of the loader's binaries; a fuzz target has that of its C library.
#[cfg(not(fuzzing))]
core::arch::global_asm!(
    ".section .text._start,\"ax\",@progbits",
    ".globl _start",
    "_start:",
    "xor ebp, ebp",  // the outermost frame, as the ABI asks
    "mov rdi, rsp",  // argc, argv, envp, auxv as the kernel laid them out
    "and rsp, -16",  // the ABI's stack alignment
    "call {entry}",  // never returns
    "ud2",
    entry = sym crate::runtime::entry::enter,
);

/// Whether the instructions that load the FS and GS bases may be used in user mode, by AT_HWCAP2.
pub fn has_base_instructions(hwcap2: u64) -> bool {
    const HWCAP2_FSGSBASE: u64 = 2;
    hwcap2 & HWCAP2_FSGSBASE != 0
}

/// Loads the FS and GS bases of `regs`, by instructions where `fsgsbase` says that they may be used.
///
/// # Safety
/// Nothing in the loader uses thread-local storage; the values must be canonical.
pub unsafe fn set_bases(regs: &[u64; REGS], fsgsbase: bool) {
    let (fs, gs) = (regs[user_regs::FS_BASE], regs[user_regs::GS_BASE]);
    const ARCH_SET_GS: u32 = 0x1001;
    const ARCH_SET_FS: u32 = 0x1002;
    if fsgsbase {
        // SAFETY: allowed by the kernel (AT_HWCAP2), values checked by the caller.
        unsafe {
            asm!("wrfsbase {}", in(reg) fs, options(nostack, nomem));
            asm!("wrgsbase {}", in(reg) gs, options(nostack, nomem));
        }
    } else {
        // SAFETY: as above.
        unsafe {
            syscall6(nr::ARCH_PRCTL, [ARCH_SET_FS as usize, fs as usize, 0, 0, 0, 0]);
            syscall6(nr::ARCH_PRCTL, [ARCH_SET_GS as usize, gs as usize, 0, 0, 0, 0]);
        }
    }
}

/// Asks for the right to use register state `component`, which the kernel does not give to every process.
pub fn request_state(component: u64) -> crate::runtime::sys::Result<()> {
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    // SAFETY: integers only.
    crate::runtime::sys::check(unsafe {
        syscall6(nr::ARCH_PRCTL, [ARCH_REQ_XCOMP_PERM, component as usize, 0, 0, 0, 0])
    })
    .map(drop)
}

/// XCR0: the state components that the kernel has enabled. Not CPUID, which traps in a virtual machine.
///
/// # Safety
/// The CPU must have XSAVE enabled (any x86-64 whose snapshot holds an XSAVE area does).
pub unsafe fn xcr0() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: XCR0 is readable in user mode.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nostack, nomem)) };
    u64::from(high) << 32 | u64::from(low)
}

/// Values that a new thread needs besides its frame, in registers that `clone` keeps.
#[derive(Clone, Copy, Debug)]
pub struct ThreadStart {
    /// Address of [`snapfn_format::snap::resident::STUB_CLONE`].
    pub stub: u64,
    /// Stack pointer for `rt_sigreturn`: frame + 8.
    pub sp: u64,
    /// The gate word.
    pub gate: u64,
    /// Robust list head or 0.
    pub robust_list: u64,
    /// rseq area or 0.
    pub rseq: u64,
    /// Its length, and its signature in the upper half.
    pub rseq_args: u64,
    /// FS base.
    pub tls: u64,
    /// Where the kernel stores the TID.
    pub parent_tid: u64,
    /// CLONE_CHILD_CLEARTID address.
    pub clear_tid: u64,
}

/// Starts a thread that runs the resident thread stub: the TID.
///
/// # Safety
/// The stub and the frame must be complete; the thread leaves through `rt_sigreturn` and never comes back here.
pub unsafe fn spawn_thread(start: &ThreadStart) -> crate::runtime::sys::Result<u32> {
    const CLONE_VM: u64 = 0x100;
    const CLONE_FS: u64 = 0x200;
    const CLONE_FILES: u64 = 0x400;
    const CLONE_SIGHAND: u64 = 0x800;
    const CLONE_THREAD: u64 = 0x10000;
    const CLONE_SYSVSEM: u64 = 0x40000;
    const CLONE_SETTLS: u64 = 0x80000;
    const CLONE_PARENT_SETTID: u64 = 0x10_0000;
    const CLONE_CHILD_CLEARTID: u64 = 0x20_0000;
    const FLAGS: u64 = CLONE_VM
        | CLONE_FS
        | CLONE_FILES
        | CLONE_SIGHAND
        | CLONE_THREAD
        | CLONE_SYSVSEM
        | CLONE_SETTLS
        | CLONE_PARENT_SETTID
        | CLONE_CHILD_CLEARTID;
    let result: usize;
    // SAFETY: the child never returns from the stub: it has its own stack pointer and goes on at STUB_THREAD.
    unsafe {
        asm!(
            "call r9", // syscall, in memory that stays
            inlateout("rax") nr::CLONE => result,
            in("rdi") FLAGS,
            in("rsi") start.sp,
            in("rdx") start.parent_tid,
            in("r10") start.clear_tid,
            in("r8") start.tls,
            in("r9") start.stub,
            in("r12") start.gate,
            in("r13") start.robust_list,
            in("r14") start.rseq,
            in("r15") start.rseq_args,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    crate::runtime::sys::check(result).map(|tid| tid as u32)
}

/// The processor's time stamp counter.
pub fn timestamp() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: readable in user mode unless prctl(PR_SET_TSC) forbids it; only `--timing` asks.
    unsafe { asm!("rdtsc", out("eax") low, out("edx") high, options(nostack, nomem)) };
    u64::from(high) << 32 | u64::from(low)
}

/// `vfork` and `execve` in one: the child's PID. The time stamp before `execve` goes to `stamp`.
///
/// # Safety
/// `path`, `argv` and `envp` as `execve` wants them; `stamp` is writable.
pub unsafe fn spawn_exec(path: u64, argv: u64, envp: u64, stamp: u64) -> crate::runtime::sys::Result<u32> {
    let result: usize;
    // SAFETY: the child shares this stack and does not touch it: all that it needs is in registers.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "rdtsc",
            "shl rdx, 32",
            "or rax, rdx",
            "mov [r12], rax",
            "mov rdi, r13",
            "mov rsi, r14",
            "mov rdx, r15",
            "mov eax, {execve}",
            "syscall",
            "mov edi, 125",
            "mov eax, {exit_group}",
            "syscall",
            "ud2",
            "2:",
            execve = const nr::EXECVE,
            exit_group = const nr::EXIT_GROUP,
            inlateout("rax") nr::VFORK => result,
            in("r12") stamp,
            in("r13") path,
            in("r14") argv,
            in("r15") envp,
            lateout("rdi") _,
            lateout("rsi") _,
            lateout("rdx") _,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    crate::runtime::sys::check(result).map(|pid| pid as u32)
}

/// Jumps to the resident stub that unmaps `[base, base + len)` (the loader) and loads the frame at `sp - 8`. The stub
/// that reads a time stamp writes it to `stamp`.
///
/// # Safety
/// The frame must be complete; nothing of the loader is used afterwards.
pub unsafe fn finish(stub: u64, sp: u64, base: u64, len: u64, stamp: u64) -> ! {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "mov rsp, {sp}",
            "jmp {stub}",
            sp = in(reg) sp,
            stub = in(reg) stub,
            in("rdi") base,
            in("rsi") len,
            in("r12") stamp,
            options(noreturn),
        )
    }
}

/// As [`finish`], through the stub that also makes `exe_fd` of `map` the process's executable, closes it, and opens the
/// gate.
///
/// # Safety
/// As [`finish`]; `map` lies in memory that stays.
pub unsafe fn finish_with_exe(stub: u64, sp: u64, base: u64, len: u64, map: &MmMap, gate: u64) -> ! {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "mov rsp, {sp}",
            "jmp {stub}",
            sp = in(reg) sp,
            stub = in(reg) stub,
            in("rdi") base,
            in("rsi") len,
            in("r12") gate,
            in("r13") map,
            in("r14") u64::from(map.exe_fd),
            options(noreturn),
        )
    }
}

/// Stops for the tracer.
pub fn breakpoint() {
    // SAFETY: int3 changes nothing; the tracer sees a SIGTRAP.
    unsafe { asm!("int3", options(nostack, nomem)) };
}
