//! x86-64.

use core::arch::asm;

/// System call numbers.
#[allow(missing_docs)]
pub mod nr {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const FSTAT: usize = 5;
    pub const POLL: usize = 7;
    pub const LSEEK: usize = 8;
    pub const MMAP: usize = 9;
    pub const MPROTECT: usize = 10;
    pub const MUNMAP: usize = 11;
    pub const RT_SIGACTION: usize = 13;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const RT_SIGRETURN: usize = 15;
    pub const IOCTL: usize = 16;
    pub const PREAD64: usize = 17;
    pub const PWRITE64: usize = 18;
    pub const MADVISE: usize = 28;
    pub const DUP: usize = 32;
    pub const SETITIMER: usize = 38;
    pub const GETPID: usize = 39;
    pub const SENDFILE: usize = 40;
    pub const SOCKET: usize = 41;
    pub const CONNECT: usize = 42;
    pub const SENDMSG: usize = 46;
    pub const RECVMSG: usize = 47;
    pub const SHUTDOWN: usize = 48;
    pub const BIND: usize = 49;
    pub const LISTEN: usize = 50;
    pub const GETSOCKNAME: usize = 51;
    pub const SOCKETPAIR: usize = 53;
    pub const SETSOCKOPT: usize = 54;
    pub const GETSOCKOPT: usize = 55;
    pub const CLONE: usize = 56;
    pub const VFORK: usize = 58;
    pub const EXECVE: usize = 59;
    pub const WAIT4: usize = 61;
    pub const KILL: usize = 62;
    pub const FCNTL: usize = 72;
    pub const FLOCK: usize = 73;
    pub const FTRUNCATE: usize = 77;
    pub const CHDIR: usize = 80;
    pub const FCHDIR: usize = 81;
    pub const FCHMOD: usize = 91;
    pub const UMASK: usize = 95;
    pub const GETRUSAGE: usize = 98;
    pub const GETUID: usize = 102;
    pub const GETGID: usize = 104;
    pub const GETEUID: usize = 107;
    pub const SETPGID: usize = 109;
    pub const GETPPID: usize = 110;
    pub const SETSID: usize = 112;
    pub const GETPGID: usize = 121;
    pub const CAPGET: usize = 125;
    pub const CAPSET: usize = 126;
    pub const RT_SIGQUEUEINFO: usize = 129;
    pub const PERSONALITY: usize = 135;
    pub const SETPRIORITY: usize = 141;
    pub const SCHED_SETSCHEDULER: usize = 144;
    pub const PRCTL: usize = 157;
    pub const SETRLIMIT: usize = 160;
    pub const GETTID: usize = 186;
    pub const FUTEX: usize = 202;
    pub const SCHED_SETAFFINITY: usize = 203;
    pub const SET_TID_ADDRESS: usize = 218;
    pub const TIMER_CREATE: usize = 222;
    pub const TIMER_SETTIME: usize = 223;
    pub const TIMER_DELETE: usize = 226;
    pub const CLOCK_GETTIME: usize = 228;
    pub const EXIT_GROUP: usize = 231;
    pub const EPOLL_CTL: usize = 233;
    pub const TGKILL: usize = 234;
    pub const IOPRIO_SET: usize = 251;
    pub const INOTIFY_ADD_WATCH: usize = 254;
    pub const INOTIFY_RM_WATCH: usize = 255;
    pub const OPENAT: usize = 257;
    pub const UNLINKAT: usize = 263;
    pub const READLINKAT: usize = 267;
    pub const UNSHARE: usize = 272;
    pub const SET_ROBUST_LIST: usize = 273;
    pub const TIMERFD_CREATE: usize = 283;
    pub const TIMERFD_SETTIME: usize = 286;
    pub const SIGNALFD4: usize = 289;
    pub const EVENTFD2: usize = 290;
    pub const EPOLL_CREATE1: usize = 291;
    pub const DUP3: usize = 292;
    pub const PIPE2: usize = 293;
    pub const INOTIFY_INIT1: usize = 294;
    pub const RT_TGSIGQUEUEINFO: usize = 297;
    pub const PRLIMIT64: usize = 302;
    pub const SETNS: usize = 308;
    pub const GETRANDOM: usize = 318;
    pub const MEMFD_CREATE: usize = 319;
    pub const MLOCK2: usize = 325;
    pub const RSEQ: usize = 334;
    pub const PIDFD_SEND_SIGNAL: usize = 424;
    pub const PIDFD_OPEN: usize = 434;
    pub const OPENAT2: usize = 437;
    pub const PROCESS_MADVISE: usize = 440;
}

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

/// Loads the FS and GS bases. AT_HWCAP2 bit 1 says that the instructions may be used in user mode.
///
/// # Safety
/// Nothing in the loader uses thread-local storage; the values must be canonical.
pub unsafe fn set_bases(fs: u64, gs: u64, fsgsbase: bool) {
    const ARCH_SET_GS: u32 = 0x1001;
    const ARCH_SET_FS: u32 = 0x1002;
    const ARCH_PRCTL: usize = 158;
    if fsgsbase {
        // SAFETY: allowed by the kernel (AT_HWCAP2), values checked by the caller.
        unsafe {
            asm!("wrfsbase {}", in(reg) fs, options(nostack, nomem));
            asm!("wrgsbase {}", in(reg) gs, options(nostack, nomem));
        }
    } else {
        // SAFETY: as above.
        unsafe {
            syscall6(ARCH_PRCTL, [ARCH_SET_FS as usize, fs as usize, 0, 0, 0, 0]);
            syscall6(ARCH_PRCTL, [ARCH_SET_GS as usize, gs as usize, 0, 0, 0, 0]);
        }
    }
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

/// What a new thread needs besides its frame; passed in registers that `clone` keeps.
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
    // CLONE_VM | FS | FILES | SIGHAND | THREAD | SYSVSEM | SETTLS | PARENT_SETTID | CHILD_CLEARTID
    const FLAGS: u64 = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000 | 0x80000 | 0x100000 | 0x200000;
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
    // SAFETY: the child shares this stack and does not touch it: everything it needs is in registers.
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
            "mov eax, 59", // execve
            "syscall",
            "mov edi, 125",
            "mov eax, 231", // exit_group
            "syscall",
            "ud2",
            "2:",
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

/// Jumps to the resident stub that unmaps `[base, base + len)` (the loader) and loads the frame at `sp - 8`. The stub that
/// takes a time stamp puts it to `stamp`.
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

/// Stops for the tracer.
pub fn breakpoint() {
    // SAFETY: int3 changes nothing; the tracer sees a SIGTRAP.
    unsafe { asm!("int3", options(nostack, nomem)) };
}
