//! Numbers of the kernel's interface that records hold: options of `prctl(2)` and advice of `madvise(2)`, by the
//! kernel's own names. They are the same on all architectures that snapshots may come to.
#![allow(missing_docs)] // the kernel's manual pages describe them

pub const PR_SET_PDEATHSIG: u32 = 1;
pub const PR_SET_DUMPABLE: u32 = 4;
pub const PR_SET_KEEPCAPS: u32 = 8;
pub const PR_SET_TSC: u32 = 26;
pub const PR_SET_SECUREBITS: u32 = 28;
pub const PR_MCE_KILL: u32 = 33;
pub const PR_SET_CHILD_SUBREAPER: u32 = 36;
pub const PR_SET_NO_NEW_PRIVS: u32 = 38;
pub const PR_SET_THP_DISABLE: u32 = 41;
pub const PR_SET_SPECULATION_CTRL: u32 = 53;
pub const PR_SET_IO_FLUSHER: u32 = 57;
/// Keeps memory that was writable from becoming executable.
pub const PR_SET_MDWE: u32 = 65;
pub const PR_SET_MEMORY_MERGE: u32 = 67;

pub const MADV_RANDOM: u64 = 1;
pub const MADV_SEQUENTIAL: u64 = 2;
pub const MADV_DONTFORK: u64 = 10;
pub const MADV_MERGEABLE: u64 = 12;
pub const MADV_HUGEPAGE: u64 = 14;
pub const MADV_NOHUGEPAGE: u64 = 15;
pub const MADV_DONTDUMP: u64 = 16;
pub const MADV_WIPEONFORK: u64 = 18;
/// Makes private copies of all pages at once.
pub const MADV_POPULATE_WRITE: u64 = 23;
/// From then on an access is SIGSEGV.
pub const MADV_GUARD_INSTALL: u64 = 102;
