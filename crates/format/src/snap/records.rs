//! Fixed-size records of the plan. Every table is an array of one of these.

pub use crate::arch::{REGS, reg};
use crate::linux::{
    PR_MCE_KILL, PR_SET_CHILD_SUBREAPER, PR_SET_DUMPABLE, PR_SET_IO_FLUSHER, PR_SET_KEEPCAPS, PR_SET_MDWE,
    PR_SET_MEMORY_MERGE, PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG, PR_SET_SECUREBITS, PR_SET_SPECULATION_CTRL,
    PR_SET_THP_DISABLE, PR_SET_TSC,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

macro_rules! record {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type,)* }
    };
}

pub(super) use record;

record! {
    /// A slice of the bytes table.
    BytesRef {
        /// First byte.
        offset: u32,
        /// Length in bytes.
        len: u32,
    }
}

record! {
    /// A table within the meta part.
    Table {
        /// Offset from the start of the file, a multiple of 8.
        offset: u32,
        /// Number of records (of bytes in the bytes table).
        count: u32,
    }
}

/// Index of each table in [`super::SnapHeader::tables`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum TableId {
    /// [`File`]: the files that operations map from; record 0 is the snapshot itself.
    Files = 0,
    /// [`Op`].
    Ops = 1,
    /// [`Patch`].
    Patches = 2,
    /// [`Thread`]; record 0 is the main thread.
    Threads = 3,
    /// [`Fd`].
    Fds = 4,
    /// [`SigAction`].
    SigActions = 5,
    /// [`EnvChange`].
    EnvChanges = 6,
    /// [`Setting`].
    Settings = 7,
    /// [`PendingSignal`].
    PendingSignals = 8,
    /// [`Timer`].
    Timers = 9,
    /// [`FdStep`].
    FdSteps = 10,
    /// [`HostNeeds`]: one record or none.
    HostNeeds = 13,
    /// Raw bytes: paths, XSAVE areas, contents of small descriptors.
    Bytes = 15,
}

/// Number of table slots in the header.
pub const TABLES: usize = 16;

record! {
    /// A thread.
    Thread {
        /// `struct user_regs_struct`, already rewound out of any system call.
        regs: [u64; REGS],
        /// Blocked signals.
        sigmask: u64,
        /// Alternate signal stack: base.
        altstack_addr: u64,
        /// Alternate signal stack: size.
        altstack_len: u64,
        /// Alternate signal stack: flags.
        altstack_flags: u32,
        /// TID at the snapshot.
        tid: u32,
        /// set_tid_address / CLONE_CHILD_CLEARTID.
        clear_tid: u64,
        /// Address of the 4-byte TID that the C library caches; 0 when unknown.
        tid_cache: u64,
        /// set_robust_list; 0 when none.
        robust_list: u64,
        /// Registered rseq area; 0 when none.
        rseq: u64,
        /// Its length.
        rseq_len: u32,
        /// Its signature.
        rseq_sig: u32,
        /// XSAVE area in the standard format, magic numbers included (what a signal frame holds).
        xstate: BytesRef,
        /// Name (comm).
        comm: [u8; 16],
        /// CPU affinity mask; empty: the starter's.
        affinity: BytesRef,
        /// 0: scheduled like the starter; else the policy (flags included) plus 1.
        policy: u32,
        /// Static priority of a real-time policy.
        priority: u32,
        /// Nice value of any other policy, as a two's complement number.
        nice: u32,
        /// Timer slack in nanoseconds when the program has set it, else 0.
        timer_slack: u32,
        /// The rest of the timeout of the system call that the thread restarts, in nanoseconds.
        timeout: u64,
        /// `TIMEOUT_…`.
        timeout_form: u32,
        /// Index into `regs` of the argument that holds the timeout.
        timeout_arg: u32,
    }
}

/// [`Thread::timeout_form`]: the thread restarts no system call with a timeout.
pub const TIMEOUT_NONE: u32 = 0;
/// [`Thread::timeout_form`]: the argument points to a `struct timespec`.
pub const TIMEOUT_TIMESPEC: u32 = 1;
/// [`Thread::timeout_form`]: the argument is a number of milliseconds.
pub const TIMEOUT_MILLISECONDS: u32 = 2;
/// Added to [`Thread::timeout_form`]: the argument's register is not used after the call.
pub const TIMEOUT_DEAD: u32 = 4;

record! {
    /// A signal disposition other than the default.
    SigAction {
        /// Signal number.
        signo: u32,
        /// Zero.
        reserved: u32,
        /// Handler address, or SIG_IGN (1).
        handler: u64,
        /// `SA_…` flags.
        flags: u64,
        /// Restorer address.
        restorer: u64,
        /// Signals blocked while it runs.
        mask: u64,
    }
}

/// [`EnvChange::kind`]: the program has set this variable.
pub const ENV_SET: u32 = 1;
/// [`EnvChange::kind`]: the program has removed this variable.
pub const ENV_UNSET: u32 = 2;

record! {
    /// A change that the program made to its environment since it started.
    EnvChange {
        /// `ENV_…`.
        kind: u32,
        /// Zero.
        reserved: u32,
        /// The variable's name.
        name: BytesRef,
        /// For [`ENV_SET`]: address of `NAME=value` in the program's memory.
        addr: u64,
    }
}

record! {
    /// A process attribute other than the default: `prctl`, `setrlimit`, … by `kind`.
    Setting {
        /// `SETTING_…`.
        kind: u32,
        /// Which one of its kind (the prctl option, the resource, …).
        which: u32,
        /// First value.
        a: u64,
        /// Second value.
        b: u64,
    }
}

/// [`Setting::kind`]: `prctl(which, a, b)`.
pub const SETTING_PRCTL: u32 = 1;
/// The only options of [`SETTING_PRCTL`]; all take integers.
pub const PRCTL_OPTIONS: [u32; 13] = [
    PR_SET_PDEATHSIG,
    PR_SET_DUMPABLE,
    PR_SET_KEEPCAPS,
    PR_SET_TSC,
    PR_SET_SECUREBITS,
    PR_MCE_KILL,
    PR_SET_CHILD_SUBREAPER,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_THP_DISABLE,
    PR_SET_SPECULATION_CTRL,
    PR_SET_IO_FLUSHER,
    PR_SET_MDWE,
    PR_SET_MEMORY_MERGE,
];
/// [`Setting::kind`]: `setrlimit(which, {a, b})`; raises above the caller's hard limit only as far as the kernel
/// allows.
pub const SETTING_RLIMIT: u32 = 2;
/// [`Setting::kind`]: `ioprio_set(PROCESS, thread, a)`; `which` is the thread's index.
pub const SETTING_IOPRIO: u32 = 3;
/// [`Setting::kind`]: `personality(a)`.
pub const SETTING_PERSONALITY: u32 = 4;
/// Bit of a personality: readable mappings are executable.
pub const READ_IMPLIES_EXEC: u64 = 0x40_0000;
/// The only bits of [`SETTING_PERSONALITY`]: PER_LINUX32, UNAME26, ADDR_NO_RANDOMIZE, ADDR_COMPAT_LAYOUT,
/// [`READ_IMPLIES_EXEC`], ADDR_LIMIT_32BIT, SHORT_INODE, WHOLE_SECONDS, STICKY_TIMEOUTS, ADDR_LIMIT_3GB.
pub const PERSONALITY_BITS: u64 = 0x8
    | 0x2_0000
    | 0x4_0000
    | 0x20_0000
    | READ_IMPLIES_EXEC
    | 0x80_0000
    | 0x100_0000
    | 0x200_0000
    | 0x400_0000
    | 0x800_0000;
/// [`Setting::kind`]: `/proc/self/oom_score_adj`, as a two's complement number.
pub const SETTING_OOM_SCORE: u32 = 5;
/// [`Setting::kind`]: the program was the leader of a session (setsid).
pub const SETTING_SETSID: u32 = 6;
/// [`Setting::kind`]: the program was the leader of a process group (setpgid).
pub const SETTING_SETPGID: u32 = 7;
/// [`Setting::kind`]: `/proc/self/coredump_filter`.
pub const SETTING_COREDUMP_FILTER: u32 = 8;
/// [`Setting::kind`]: /proc/self/cmdline shows the bytes from `a` to `b`: the program has written a title there.
pub const SETTING_ARGUMENTS: u32 = 12;
/// [`Setting::kind`]: /proc/self/environ shows the bytes from `a` to `b`. A title that does not end with a zero
/// continues there.
pub const SETTING_ENVIRONMENT: u32 = 13;

/// [`Setting::kind`]: `membarrier(a)`: the process is registered for expedited barriers. See [`super::FEATURE_HIDDEN`].
pub const SETTING_MEMBARRIER: u32 = 9;
/// [`Setting::kind`]: `mlockall(a)`: memory that is mapped from now on is locked. See [`super::FEATURE_HIDDEN`].
pub const SETTING_MLOCKALL: u32 = 10;
/// [`Setting::kind`]: asks for the permission to use component `a` of the register state
/// (`arch_prctl(ARCH_REQ_XCOMP_PERM)`). See [`super::FEATURE_HIDDEN`].
pub const SETTING_XCOMP_PERM: u32 = 11;

/// [`SETTING_MEMBARRIER`]: the commands that register a process, as a set of bits.
pub const MEMBARRIER_REGISTER: u64 = 4 | 16 | 64 | 256;
/// [`SETTING_MLOCKALL`]: memory that is mapped later (MCL_FUTURE).
pub const MCL_FUTURE: u64 = 2;
/// [`SETTING_MLOCKALL`]: locked when it is first used (MCL_ONFAULT).
pub const MCL_ONFAULT: u64 = 4;

impl Setting {
    /// Whether it is of a kind that came with [`super::FEATURE_HIDDEN`].
    pub const fn is_hidden(&self) -> bool {
        matches!(self.kind, SETTING_MEMBARRIER | SETTING_MLOCKALL | SETTING_XCOMP_PERM)
    }
}

record! {
    /// A signal that was pending.
    PendingSignal {
        /// Index of the thread, or `u32::MAX` for the process.
        thread: u32,
        /// Signal number.
        signo: u32,
        /// `siginfo_t`, 128 bytes.
        info: BytesRef,
    }
}

/// [`Timer::kind`]: `setitimer(id)`.
pub const TIMER_ITIMER: u32 = 0;
/// [`Timer::kind`]: `timer_create` with that id.
pub const TIMER_POSIX: u32 = 1;

record! {
    /// A kernel timer with its remaining time.
    Timer {
        /// `TIMER_…`.
        kind: u32,
        /// Which (ITIMER_…, or the POSIX timer's id).
        id: u32,
        /// Clock of a POSIX timer.
        clock: u32,
        /// `sigev_notify` of a POSIX timer.
        notify: u32,
        /// Signal of a POSIX timer.
        signo: u32,
        /// Thread index for SIGEV_THREAD_ID.
        thread: u32,
        /// `sigev_value`.
        value: u64,
        /// Remaining time in nanoseconds; 0 = disarmed.
        remaining: u64,
        /// Interval in nanoseconds.
        interval: u64,
        /// Zero.
        reserved: u64,
    }
}

/// Where the program was stopped.
pub const AT_MAIN: u32 = 0;
/// At `snap_ready()`.
pub const AT_READY: u32 = 1;
/// At the entry of a system call.
pub const AT_SYSCALL: u32 = 2;
/// At a symbol.
pub const AT_SYMBOL: u32 = 3;
/// A running process, stopped wherever it was.
pub const AT_ATTACH: u32 = 4;

record! {
    /// The process as a whole.
    Process {
        /// PR_SET_MM_MAP: start of the code.
        start_code: u64,
        /// End of the code.
        end_code: u64,
        /// Start of the data.
        start_data: u64,
        /// End of the data.
        end_data: u64,
        /// Start of the brk heap.
        start_brk: u64,
        /// Its end.
        brk: u64,
        /// An address in the main stack.
        start_stack: u64,
        /// The resident region (see [`super::resident`]).
        resident: u64,
        /// The 16 bytes that AT_RANDOM names; 0 when unknown.
        at_random: u64,
        /// The auxiliary vector on the program's stack; 0 when unknown.
        auxv: u64,
        /// Its length in bytes.
        auxv_len: u64,
        /// The program's argv[0] string, which instances keep; 0 if it had none.
        argv0: u64,
        /// The registered `struct snap_info`; 0 when none.
        info: u64,
        /// `AT_…`.
        at: u32,
        /// File mode creation mask; `u32::MAX`: the starter's.
        umask: u32,
        /// Working directory; empty: the starter's.
        cwd: BytesRef,
        /// The program's path.
        exe: BytesRef,
        /// Bytes that the instance reports as its command line at the snapshot, each argument zero-terminated.
        args: BytesRef,
        /// PID at the snapshot.
        pid: u32,
        /// How many arguments behind argv[0] instances keep in front of their own: the script of an interpreter, what a
        /// wrapper gives the program that it becomes. They lie behind `argv0`, one behind the other.
        kept_args: u32,
        /// CLOCK_MONOTONIC at the snapshot, nanoseconds.
        monotonic: u64,
        /// CLOCK_BOOTTIME at the snapshot, nanoseconds.
        boottime: u64,
        /// CLOCK_REALTIME at the snapshot, seconds.
        created: u64,
    }
}

record! {
    /// The requirements of the snapshot on a host. There is at most one record; without it, the requirements are
    /// unknown.
    HostNeeds {
        /// CPU features that code can have been selected for: [`crate::cpu::FeatureSet`].
        cpu: [u64; 2],
        /// The features of the CPU that the snapshot was made on.
        cpu_seen: [u64; 2],
        /// Register state that was enabled there (XCR0).
        xcr0: u64,
        /// `KERNEL_…` bits.
        behaviours: u64,
        /// Size of an XSAVE area with all of that state.
        xstate_size: u32,
        /// Oldest kernel: major number in the upper half, minor in the lower.
        kernel: u32,
        /// 0: code was selected for the CPU; 2, 3, 4: for that x86-64 level.
        level: u32,
        /// `HOST_…` bits.
        flags: u32,
        /// log2 of the page size.
        page_shift: u32,
        /// Width of a user address.
        address_bits: u32,
        /// Name of the CPU.
        cpu_name: BytesRef,
        /// Release of the kernel.
        release: BytesRef,
        /// Place in an XSAVE area of live register state beyond AVX, by number of the component; 0: not live.
        places: [u32; COMPONENTS],
    }
}

/// Components of register state that a snapshot can hold; numbers are those of the bits of XCR0.
pub const COMPONENTS: usize = 20;

/// [`HostNeeds::flags`]: the dynamic linker saves all register state with `XSAVE`, in an area of that host's size.
pub const HOST_XSAVE_RESOLVER: u32 = 1;

/// [`HostNeeds::behaviours`]: restartable sequences, which a thread has registered.
pub const KERNEL_RSEQ: u64 = 1;
/// [`HostNeeds::behaviours`]: `pidfd_open`.
pub const KERNEL_PIDFD: u64 = 2;
/// [`HostNeeds::behaviours`]: the flags MFD_EXEC and MFD_NOEXEC_SEAL of `memfd_create`.
pub const KERNEL_MEMFD_EXEC: u64 = 4;
/// [`HostNeeds::behaviours`]: `prctl(PR_SET_MDWE)`, memory that was writable never becomes executable.
pub const KERNEL_MDWE: u64 = 8;
