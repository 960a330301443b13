//! Options, commands and flags of the calls whose effect depends on one. An option that is not listed is refused if the
//! kernel has accepted it.

use super::{Cell, Verdict};

const fn stateless(value: u64, name: &'static str, why: &'static str) -> Cell {
    Cell { value, name, verdict: Verdict::Stateless, why }
}

const fn restored(value: u64, name: &'static str, why: &'static str) -> Cell {
    Cell { value, name, verdict: Verdict::Restored, why }
}

const fn asked(value: u64, name: &'static str, why: &'static str) -> Cell {
    Cell { value, name, verdict: Verdict::Asked, why }
}

const fn noted(value: u64, name: &'static str, why: &'static str) -> Cell {
    Cell { value, name, verdict: Verdict::Noted, why }
}

const fn refused(value: u64, name: &'static str, why: &'static str) -> Cell {
    Cell { value, name, verdict: Verdict::Refused, why }
}

/// `prctl`, by its option.
#[rustfmt::skip] // one line a row
pub(super) const PRCTL: &[Cell] = &[
    restored(1, "PR_SET_PDEATHSIG", "settings"),
    stateless(2, "PR_GET_PDEATHSIG", "a question"),
    stateless(3, "PR_GET_DUMPABLE", "a question"),
    restored(4, "PR_SET_DUMPABLE", "settings"),
    stateless(7, "PR_GET_KEEPCAPS", "a question"),
    restored(8, "PR_SET_KEEPCAPS", "settings"),
    stateless(13, "PR_GET_TIMING", "a question"),
    stateless(14, "PR_SET_TIMING", "the kernel knows one value"),
    restored(15, "PR_SET_NAME", "each thread's name"),
    stateless(16, "PR_GET_NAME", "a question"),
    stateless(21, "PR_GET_SECCOMP", "a question"),
    asked(22, "PR_SET_SECCOMP", "filters are refused, by thread"),
    stateless(23, "PR_CAPBSET_READ", "a question"),
    asked(24, "PR_CAPBSET_DROP", "changed credentials are refused"),
    stateless(25, "PR_GET_TSC", "a question"),
    restored(26, "PR_SET_TSC", "settings"),
    stateless(27, "PR_GET_SECUREBITS", "a question"),
    restored(28, "PR_SET_SECUREBITS", "settings"),
    restored(29, "PR_SET_TIMERSLACK", "each thread's timer slack"),
    stateless(30, "PR_GET_TIMERSLACK", "a question"),
    stateless(31, "PR_TASK_PERF_EVENTS_DISABLE", "performance counters are refused by number"),
    stateless(32, "PR_TASK_PERF_EVENTS_ENABLE", "performance counters are refused by number"),
    restored(33, "PR_MCE_KILL", "settings"),
    stateless(34, "PR_MCE_KILL_GET", "a question"),
    restored(35, "PR_SET_MM", "the address ranges of code, data, heap and stack"),
    restored(36, "PR_SET_CHILD_SUBREAPER", "settings"),
    stateless(37, "PR_GET_CHILD_SUBREAPER", "a question"),
    restored(38, "PR_SET_NO_NEW_PRIVS", "settings"),
    stateless(39, "PR_GET_NO_NEW_PRIVS", "a question"),
    stateless(40, "PR_GET_TID_ADDRESS", "a question"),
    restored(41, "PR_SET_THP_DISABLE", "settings"),
    stateless(42, "PR_GET_THP_DISABLE", "a question"),
    asked(47, "PR_CAP_AMBIENT", "changed credentials are refused"),
    stateless(52, "PR_GET_SPECULATION_CTRL", "a question"),
    restored(53, "PR_SET_SPECULATION_CTRL", "settings"),
    restored(57, "PR_SET_IO_FLUSHER", "settings"),
    stateless(58, "PR_GET_IO_FLUSHER", "a question"),
    asked(59, "PR_SET_SYSCALL_USER_DISPATCH", "refused, by thread"),
    asked(62, "PR_SCHED_CORE", "a core scheduling group is refused, by thread"),
    restored(65, "PR_SET_MDWE", "settings"),
    stateless(66, "PR_GET_MDWE", "a question"),
    restored(67, "PR_SET_MEMORY_MERGE", "settings"),
    stateless(68, "PR_GET_MEMORY_MERGE", "a question"),
    stateless(74, "PR_GET_SHADOW_STACK_STATUS", "a question"),
    refused(77, "PR_TIMER_CREATE_RESTORE_IDS", "makes timer_create take the timer's ID"),
    stateless(78, "PR_FUTEX_HASH", "the size of a table, which changes no result"),
    stateless(0x4155_5856, "PR_GET_AUXV", "a question"),
    stateless(0x5356_4d41, "PR_SET_VMA", "a label that only /proc/PID/maps shows; an instance has none"),
    noted(0x5961_6d61, "PR_SET_PTRACER", "no other process may trace an instance, which is the default"),
];

/// `arch_prctl`, by its option.
#[rustfmt::skip] // one line a row
pub(super) const ARCH_PRCTL: &[Cell] = &[
    restored(0x1001, "ARCH_SET_GS", "registers"),
    restored(0x1002, "ARCH_SET_FS", "registers"),
    stateless(0x1003, "ARCH_GET_FS", "a question"),
    stateless(0x1004, "ARCH_GET_GS", "a question"),
    stateless(0x1011, "ARCH_GET_CPUID", "a question"),
    asked(0x1012, "ARCH_SET_CPUID", "CPUID faulting is refused, by thread"),
    stateless(0x1021, "ARCH_GET_XCOMP_SUPP", "a question"),
    stateless(0x1022, "ARCH_GET_XCOMP_PERM", "a question"),
    asked(0x1023, "ARCH_REQ_XCOMP_PERM", "the permission to use AMX is refused"),
    stateless(0x1024, "ARCH_GET_XCOMP_GUEST_PERM", "a question"),
    stateless(0x1025, "ARCH_REQ_XCOMP_GUEST_PERM", "of use to virtual machines only, which are refused by number"),
    refused(0x2001, "ARCH_MAP_VDSO_X32", "maps the kernel's vDSO once more"),
    refused(0x2002, "ARCH_MAP_VDSO_32", "maps the kernel's vDSO once more"),
    refused(0x2003, "ARCH_MAP_VDSO_64", "maps the kernel's vDSO once more"),
    stateless(0x4001, "ARCH_GET_UNTAG_MASK", "a question"),
    asked(0x4002, "ARCH_ENABLE_TAGGED_ADDR", "tagged addresses are refused"),
    stateless(0x4003, "ARCH_GET_MAX_TAG_BITS", "a question"),
    refused(0x4004, "ARCH_FORCE_TAGGED_SVA", "lets devices use tagged addresses"),
    asked(0x5001, "ARCH_SHSTK_ENABLE", "shadow stacks are refused"),
    asked(0x5002, "ARCH_SHSTK_DISABLE", "shadow stacks are refused"),
    asked(0x5003, "ARCH_SHSTK_LOCK", "shadow stacks are refused; ld.so locks the absence of one in every process"),
    asked(0x5004, "ARCH_SHSTK_UNLOCK", "shadow stacks are refused"),
    stateless(0x5005, "ARCH_SHSTK_STATUS", "a question"),
];

/// `fcntl`, by its command.
#[rustfmt::skip] // one line a row
pub(super) const FCNTL: &[Cell] = &[
    restored(0, "F_DUPFD", "descriptors"),
    stateless(1, "F_GETFD", "a question"),
    restored(2, "F_SETFD", "descriptors"),
    stateless(3, "F_GETFL", "a question"),
    restored(4, "F_SETFL", "descriptors"),
    stateless(5, "F_GETLK", "a question"),
    restored(6, "F_SETLK", "descriptors: the lock is taken again"),
    restored(7, "F_SETLKW", "descriptors: the lock is taken again"),
    restored(8, "F_SETOWN", "descriptors: the instance; another process is refused"),
    stateless(9, "F_GETOWN", "a question"),
    restored(10, "F_SETSIG", "descriptors"),
    stateless(11, "F_GETSIG", "a question"),
    asked(15, "F_SETOWN_EX", "the instance is restored as owner; any other is refused"),
    stateless(16, "F_GETOWN_EX", "a question"),
    stateless(17, "F_GETOWNER_UIDS", "a question"),
    stateless(36, "F_OFD_GETLK", "a question"),
    restored(37, "F_OFD_SETLK", "descriptors: the lock is taken again"),
    restored(38, "F_OFD_SETLKW", "descriptors: the lock is taken again"),
    restored(1024, "F_SETLEASE", "descriptors: the lease is taken again"),
    stateless(1025, "F_GETLEASE", "a question"),
    refused(1026, "F_NOTIFY", "watches a directory by signals (dnotify); inotify is restored"),
    stateless(1027, "F_DUPFD_QUERY", "a question"),
    stateless(1028, "F_CREATED_QUERY", "a question"),
    restored(1030, "F_DUPFD_CLOEXEC", "descriptors"),
    restored(1031, "F_SETPIPE_SZ", "descriptors"),
    stateless(1032, "F_GETPIPE_SZ", "a question"),
    restored(1033, "F_ADD_SEALS", "descriptors"),
    stateless(1034, "F_GET_SEALS", "a question"),
    stateless(1035, "F_GET_RW_HINT", "a question"),
    stateless(1036, "F_SET_RW_HINT", "a hint"),
    stateless(1037, "F_GET_FILE_RW_HINT", "a question"),
    stateless(1038, "F_SET_FILE_RW_HINT", "a hint"),
    stateless(1039, "F_GETDELEG", "a question"),
    refused(1040, "F_SETDELEG", "takes a delegation of a file or directory"),
];

/// `madvise` and `process_madvise`, by their advice.
#[rustfmt::skip] // one line a row
pub(super) const MADVISE: &[Cell] = &[
    restored(0, "MADV_NORMAL", "memory"),
    restored(1, "MADV_RANDOM", "memory"),
    restored(2, "MADV_SEQUENTIAL", "memory"),
    stateless(3, "MADV_WILLNEED", "a hint"),
    restored(4, "MADV_DONTNEED", "memory, as it then is"),
    restored(8, "MADV_FREE", "memory, as it then is"),
    restored(9, "MADV_REMOVE", "memory, as it then is"),
    restored(10, "MADV_DONTFORK", "memory"),
    restored(11, "MADV_DOFORK", "memory"),
    restored(12, "MADV_MERGEABLE", "memory"),
    restored(13, "MADV_UNMERGEABLE", "memory"),
    restored(14, "MADV_HUGEPAGE", "memory"),
    restored(15, "MADV_NOHUGEPAGE", "memory"),
    restored(16, "MADV_DONTDUMP", "memory"),
    restored(17, "MADV_DODUMP", "memory"),
    restored(18, "MADV_WIPEONFORK", "memory"),
    restored(19, "MADV_KEEPONFORK", "memory"),
    stateless(20, "MADV_COLD", "a hint"),
    stateless(21, "MADV_PAGEOUT", "a hint"),
    stateless(22, "MADV_POPULATE_READ", "memory, as it then is"),
    stateless(23, "MADV_POPULATE_WRITE", "memory, as it then is"),
    restored(24, "MADV_DONTNEED_LOCKED", "memory, as it then is"),
    stateless(25, "MADV_COLLAPSE", "how pages are kept, which changes no result"),
    refused(100, "MADV_HWPOISON", "makes pages fail as broken memory does"),
    stateless(101, "MADV_SOFT_OFFLINE", "the host decides where pages lie"),
    restored(102, "MADV_GUARD_INSTALL", "memory"),
    restored(103, "MADV_GUARD_REMOVE", "memory"),
];

/// `membarrier`, by its command.
#[rustfmt::skip] // one line a row
pub(super) const MEMBARRIER: &[Cell] = &[
    stateless(0, "MEMBARRIER_CMD_QUERY", "a question"),
    stateless(1, "MEMBARRIER_CMD_GLOBAL", "nothing stays"),
    stateless(2, "MEMBARRIER_CMD_GLOBAL_EXPEDITED", "nothing stays"),
    restored(4, "MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED", "settings"),
    stateless(8, "MEMBARRIER_CMD_PRIVATE_EXPEDITED", "nothing stays"),
    restored(16, "MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED", "settings"),
    stateless(32, "MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE", "nothing stays"),
    restored(64, "MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE", "settings"),
    stateless(128, "MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ", "nothing stays"),
    restored(256, "MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ", "settings"),
    stateless(512, "MEMBARRIER_CMD_GET_REGISTRATIONS", "a question"),
];

/// `keyctl`, by its operation.
#[rustfmt::skip] // one line a row
pub(super) const KEYCTL: &[Cell] = &[
    asked(0, "KEYCTL_GET_KEYRING_ID", "keyrings of the process are refused; others are outside of it"),
    asked(1, "KEYCTL_JOIN_SESSION_KEYRING", "a session keyring of its own is refused"),
    stateless(2, "KEYCTL_UPDATE", "a key"),
    stateless(3, "KEYCTL_REVOKE", "a key"),
    stateless(4, "KEYCTL_CHOWN", "a key"),
    stateless(5, "KEYCTL_SETPERM", "a key"),
    stateless(6, "KEYCTL_DESCRIBE", "a question"),
    stateless(7, "KEYCTL_CLEAR", "a keyring: the process's own is refused"),
    stateless(8, "KEYCTL_LINK", "a keyring: the process's own is refused"),
    stateless(9, "KEYCTL_UNLINK", "a keyring: the process's own is refused"),
    stateless(10, "KEYCTL_SEARCH", "a keyring: the process's own is refused"),
    stateless(11, "KEYCTL_READ", "a question"),
    stateless(12, "KEYCTL_INSTANTIATE", "a key"),
    stateless(13, "KEYCTL_NEGATE", "a key"),
    asked(14, "KEYCTL_SET_REQKEY_KEYRING", "another default keyring is refused, by thread"),
    stateless(15, "KEYCTL_SET_TIMEOUT", "a key"),
    refused(16, "KEYCTL_ASSUME_AUTHORITY", "gives the thread the authority over a key"),
    stateless(17, "KEYCTL_GET_SECURITY", "a question"),
    stateless(18, "KEYCTL_SESSION_TO_PARENT", "another process's keyring"),
    stateless(19, "KEYCTL_REJECT", "a key"),
    stateless(20, "KEYCTL_INSTANTIATE_IOV", "a key"),
    stateless(21, "KEYCTL_INVALIDATE", "a key"),
    stateless(22, "KEYCTL_GET_PERSISTENT", "a keyring: the process's own is refused"),
    stateless(23, "KEYCTL_DH_COMPUTE", "a question"),
    stateless(24, "KEYCTL_PKEY_QUERY", "a question"),
    stateless(25, "KEYCTL_PKEY_ENCRYPT", "a question"),
    stateless(26, "KEYCTL_PKEY_DECRYPT", "a question"),
    stateless(27, "KEYCTL_PKEY_SIGN", "a question"),
    stateless(28, "KEYCTL_PKEY_VERIFY", "a question"),
    stateless(29, "KEYCTL_RESTRICT_KEYRING", "a keyring: the process's own is refused"),
    stateless(30, "KEYCTL_MOVE", "a keyring: the process's own is refused"),
    stateless(31, "KEYCTL_CAPABILITIES", "a question"),
    refused(32, "KEYCTL_WATCH_KEY", "watches a key through a pipe"),
];

/// `clone` and `clone3`, by flag.
#[rustfmt::skip] // one line a row
pub(super) const CLONE: &[Cell] = &[
    asked(1 << 7, "CLONE_NEWTIME", "another namespace is refused, of every thread"),
    restored(1 << 8, "CLONE_VM", "threads; a running child is refused by PID"),
    asked(1 << 9, "CLONE_FS", "a thread with a working directory of its own is refused"),
    asked(1 << 10, "CLONE_FILES", "a thread with descriptors of its own is refused"),
    restored(1 << 11, "CLONE_SIGHAND", "threads"),
    asked(1 << 12, "CLONE_PIDFD", "a child's pidfd is refused by number"),
    stateless(1 << 13, "CLONE_PTRACE", "the child's"),
    stateless(1 << 14, "CLONE_VFORK", "a wait"),
    noted(1 << 15, "CLONE_PARENT", "an instance has no such sibling"),
    restored(1 << 16, "CLONE_THREAD", "threads"),
    asked(1 << 17, "CLONE_NEWNS", "another namespace is refused, of every thread"),
    restored(1 << 18, "CLONE_SYSVSEM", "adjustments at exit (SEM_UNDO) are refused"),
    restored(1 << 19, "CLONE_SETTLS", "registers"),
    stateless(1 << 20, "CLONE_PARENT_SETTID", "writes to memory"),
    restored(1 << 21, "CLONE_CHILD_CLEARTID", "each thread's address"),
    stateless(1 << 22, "CLONE_DETACHED", "no kernel of today knows it"),
    restored(1 << 23, "CLONE_UNTRACED", "threads; the snapshotter attaches to those that it was not told of"),
    stateless(1 << 24, "CLONE_CHILD_SETTID", "writes to memory"),
    asked(1 << 25, "CLONE_NEWCGROUP", "another namespace is refused, of every thread"),
    asked(1 << 26, "CLONE_NEWUTS", "another namespace is refused, of every thread"),
    asked(1 << 27, "CLONE_NEWIPC", "another namespace is refused, of every thread"),
    asked(1 << 28, "CLONE_NEWUSER", "another namespace is refused, of every thread"),
    asked(1 << 29, "CLONE_NEWPID", "another namespace is refused, of every thread"),
    asked(1 << 30, "CLONE_NEWNET", "another namespace is refused, of every thread"),
    stateless(1 << 31, "CLONE_IO", "shares a queue for disks, which changes no result"),
    restored(1 << 32, "CLONE_CLEAR_SIGHAND", "the child's"),
    stateless(1 << 33, "CLONE_INTO_CGROUP", "the child's"),
];

/// `unshare`, by flag.
#[rustfmt::skip] // one line a row
pub(super) const UNSHARE: &[Cell] = &[
    asked(1 << 7, "CLONE_NEWTIME", "another namespace is refused, of every thread"),
    stateless(1 << 8, "CLONE_VM", "allowed where nothing is shared"),
    asked(1 << 9, "CLONE_FS", "a thread with a working directory of its own is refused"),
    asked(1 << 10, "CLONE_FILES", "a thread with descriptors of its own is refused"),
    stateless(1 << 11, "CLONE_SIGHAND", "allowed where nothing is shared"),
    stateless(1 << 16, "CLONE_THREAD", "allowed where nothing is shared"),
    asked(1 << 17, "CLONE_NEWNS", "another namespace is refused, of every thread"),
    asked(1 << 18, "CLONE_SYSVSEM", "a thread with adjustments of its own (SEM_UNDO) is refused"),
    asked(1 << 25, "CLONE_NEWCGROUP", "another namespace is refused, of every thread"),
    asked(1 << 26, "CLONE_NEWUTS", "another namespace is refused, of every thread"),
    asked(1 << 27, "CLONE_NEWIPC", "another namespace is refused, of every thread"),
    asked(1 << 28, "CLONE_NEWUSER", "another namespace is refused, of every thread"),
    asked(1 << 29, "CLONE_NEWPID", "another namespace is refused, of every thread"),
    asked(1 << 30, "CLONE_NEWNET", "another namespace is refused, of every thread"),
];

/// `mlockall`, by flag.
#[rustfmt::skip] // one line a row
pub(super) const MLOCKALL: &[Cell] = &[
    restored(1, "MCL_CURRENT", "memory"),
    restored(2, "MCL_FUTURE", "settings"),
    restored(4, "MCL_ONFAULT", "memory and settings"),
];

/// `open_tree` and `open_tree_attr`, by flag.
#[rustfmt::skip] // one line a row
pub(super) const OPEN_TREE: &[Cell] = &[
    refused(1, "OPEN_TREE_CLONE", "makes a mount that only a descriptor holds"),
    refused(2, "OPEN_TREE_NAMESPACE", "makes a namespace that only a descriptor holds"),
    stateless(0x100, "AT_SYMLINK_NOFOLLOW", "how the path is read"),
    stateless(0x800, "AT_NO_AUTOMOUNT", "how the path is read"),
    stateless(0x1000, "AT_EMPTY_PATH", "how the path is read"),
    stateless(0x8000, "AT_RECURSIVE", "how the path is read"),
    restored(0o2_000_000, "OPEN_TREE_CLOEXEC", "descriptors"),
];
