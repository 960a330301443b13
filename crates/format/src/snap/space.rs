//! What lies where in an instance: files, operations that map and read them, and words that are new.

use super::records::{BytesRef, READ_IMPLIES_EXEC, SETTING_PERSONALITY, Setting, record};
use crate::Digest;
use crate::linux::{
    MADV_DONTDUMP, MADV_DONTFORK, MADV_GUARD_INSTALL, MADV_HUGEPAGE, MADV_MERGEABLE, MADV_NOHUGEPAGE,
    MADV_POPULATE_WRITE, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WIPEONFORK,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// [`File::kind`]: the snapshot file itself.
pub const FILE_SELF: u16 = 0;
/// [`File::kind`]: `code/<digest>` in the store.
pub const FILE_CODE: u16 = 1;
/// [`File::kind`]: `data/<digest>` in the store.
pub const FILE_DATA: u16 = 2;
/// [`File::kind`]: not in the store: the file at `path` on the host, mapped shared.
pub const FILE_HOST: u16 = 3;

record! {
    /// A file that operations map from.
    File {
        /// Name in the store; zero for [`FILE_SELF`] and [`FILE_HOST`].
        digest: Digest,
        /// Size in bytes.
        size: u64,
        /// `FILE_…`.
        kind: u16,
        /// For [`FILE_HOST`]: 1 when it must be opened for writing.
        writable: u16,
        /// Zero.
        reserved: u32,
        /// Path that the program saw (for NT_FILE and messages).
        path: BytesRef,
    }
}

impl File {
    /// Whether the loader reads bytes of the file, and does not only map it.
    pub fn is_content(&self) -> bool {
        matches!(self.kind, FILE_SELF | FILE_DATA)
    }
}

/// [`Op::kind`]: map `len` bytes of `file` at `offset`, MAP_PRIVATE unless [`OP_SHARED`].
pub const OP_MAP_FILE: u16 = 1;
/// [`Op::kind`]: map `len` bytes of zeroes.
pub const OP_MAP_ANON: u16 = 2;
/// [`Op::kind`]: read `len` bytes of `file` (the snapshot or a data file) at `offset` into the mapping made by the last
/// map operation.
pub const OP_READ: u16 = 3;
/// [`Op::kind`]: after all patches, set the protection of a part of the last mapping.
pub const OP_PROTECT: u16 = 4;
/// [`Op::kind`]: `madvise` a part of the last mapping; `offset` is the advice.
pub const OP_ADVISE: u16 = 5;
/// The only advice of [`OP_ADVISE`]. Other advice removes pages, even from the files themselves. The loader gives
/// [`MADV_POPULATE_WRITE`] when everything is mapped, before it writes anything.
pub const ADVICE: [u64; 10] = [
    MADV_RANDOM,
    MADV_SEQUENTIAL,
    MADV_DONTFORK,
    MADV_MERGEABLE,
    MADV_HUGEPAGE,
    MADV_NOHUGEPAGE,
    MADV_DONTDUMP,
    MADV_WIPEONFORK,
    MADV_POPULATE_WRITE,
    MADV_GUARD_INSTALL,
];
/// [`Op::kind`]: `mlock2` a part of the last mapping; `offset` is the flags argument.
pub const OP_LOCK: u16 = 6;

/// [`Op::kind`]: after the descriptors are made, map the one of record `file` of the descriptors table, shared.
pub const OP_MAP_FD: u16 = 7;

/// [`Op::flags`]: MAP_GROWSDOWN, a stack.
pub const OP_GROWSDOWN: u16 = 1;
/// [`Op::flags`]: MAP_SHARED.
pub const OP_SHARED: u16 = 2;
/// [`Op::flags`]: MAP_STACK: no transparent huge pages (since Linux 6.7).
pub const OP_STACK: u16 = 4;
/// [`Op::flags`]: MAP_DROPPABLE, memory that the kernel may empty at any time (since Linux 6.11, else private).
pub const OP_DROPPABLE: u16 = 8;
/// All defined [`Op::flags`].
pub const OP_FLAGS: u16 = OP_GROWSDOWN | OP_SHARED | OP_STACK | OP_DROPPABLE;

/// Protection bits, as in `mmap(2)`.
pub const PROT_READ: u16 = 1;
/// Writable.
pub const PROT_WRITE: u16 = 2;
/// Executable.
pub const PROT_EXEC: u16 = 4;

record! {
    /// One operation on the address space. Map operations come in ascending order of address and never overlap.
    Op {
        /// `OP_…`.
        kind: u16,
        /// `PROT_…` bits.
        prot: u16,
        /// Index into the files table (map and read).
        file: u16,
        /// `OP_…` flags.
        flags: u16,
        /// First address, page-aligned.
        addr: u64,
        /// Length in bytes, page-aligned.
        len: u64,
        /// Offset into the file, page-aligned; or the advice.
        offset: u64,
    }
}

/// Whether an operation makes memory that is writable and executable at once.
pub fn is_wx(op: &Op) -> bool {
    const BOTH: u16 = PROT_WRITE | PROT_EXEC;
    matches!(op.kind, OP_MAP_FILE | OP_MAP_ANON | OP_MAP_FD | OP_PROTECT) && op.prot & BOTH == BOTH
}

/// Whether memory that is written can be executed. There are three cases: some memory is writable and executable at
/// once; a file that is mapped shared is writable in one mapping and executable in another; or all readable memory is
/// executable ([`READ_IMPLIES_EXEC`]).
///
/// All host files and descriptors count as one file, since two paths may lead to one file.
pub fn has_writable_code(files: &[File], ops: &[Op], settings: &[Setting]) -> bool {
    let (mut shared, mut written, mut executed) = (false, false, false);
    for op in ops {
        if op.is_map() {
            let of_host = || files.get(usize::from(op.file)).is_some_and(|file| file.kind == FILE_HOST);
            shared = op.kind == OP_MAP_FD || (op.kind == OP_MAP_FILE && of_host());
        }
        if is_wx(op) {
            return true;
        }
        if shared && (op.is_map() || op.kind == OP_PROTECT) {
            written |= op.prot & PROT_WRITE != 0;
            executed |= op.prot & PROT_EXEC != 0;
        }
    }
    let implied = |setting: &Setting| setting.kind == SETTING_PERSONALITY && setting.a & READ_IMPLIES_EXEC != 0;
    (written && executed) || settings.iter().any(implied)
}

impl Op {
    /// Whether it makes a mapping.
    pub const fn is_map(&self) -> bool {
        matches!(self.kind, OP_MAP_FILE | OP_MAP_ANON | OP_MAP_FD)
    }

    /// Whether the operation only brings in pages that would otherwise come one by one.
    pub const fn populates(&self) -> bool {
        self.kind == OP_ADVISE && self.offset == MADV_POPULATE_WRITE
    }
}

/// [`Patch::kind`]: the address of the new argument vector.
pub const PATCH_ARGV: u16 = 1;
/// [`Patch::kind`]: the address of the new environment vector.
pub const PATCH_ENVP: u16 = 2;
/// [`Patch::kind`]: the number of new arguments.
pub const PATCH_ARGC: u16 = 3;
/// [`Patch::kind`]: the new stack canary.
pub const PATCH_CANARY: u16 = 4;
/// [`Patch::kind`]: 4 bytes, the new TID of thread `arg` (`keep` holds the bits to be kept, as in futex words).
pub const PATCH_TID: u16 = 5;
/// [`Patch::kind`]: the lower 30 bits of 4 bytes, the new TID of thread `arg` (robust and PI futex words).
pub const PATCH_TID_FUTEX: u16 = 6;

/// [`Patch::kind`]: the address of the new vectors, argument count first: the stack pointer at `e_entry`.
pub const PATCH_STACK: u16 = 7;
/// [`Patch::kind`]: a `struct snap_info` besides the one of [`Process::info`]. Only in memory.
pub const PATCH_INFO: u16 = 8;
/// [`Patch::kind`]: the environment vector that the program uses, with room for `arg` addresses and a zero. A start
/// with as many variables writes their addresses here, and the vector keeps its address. Only in memory, at most one.
pub const PATCH_VECTOR: u16 = 9;
/// [`Patch::kind`]: 4 bytes, the number of new arguments.
pub const PATCH_ARGC_INT: u16 = 10;
/// [`Patch::kind`]: the address of the zero behind the new argument vector.
pub const PATCH_ARGV_END: u16 = 11;
/// [`Patch::kind`]: the address of the zero behind the new environment vector.
pub const PATCH_ENVP_END: u16 = 12;
/// [`Patch::kind`]: the number of new environment variables.
pub const PATCH_ENVC: u16 = 13;
/// [`Patch::kind`]: 4 bytes, the number of new environment variables.
pub const PATCH_ENVC_INT: u16 = 14;
/// [`Patch::kind`]: 4 bytes, the ID of a CPU clock of thread `arg`, or of the process if that is the first thread: the
/// new TID, inverted, above the lowest three bits, which stay.
pub const PATCH_CLOCK: u16 = 15;

/// [`Patch::place`]: `addr` is an address in memory.
pub const PATCH_MEMORY: u16 = 0;
/// [`Patch::place`]: `addr` is an index into [`Thread::regs`] of thread `arg`.
pub const PATCH_REGISTER: u16 = 1;

record! {
    /// A word that is new in every instance. Memory patches come first, in ascending order of address.
    Patch {
        /// Aligned address, or register index.
        addr: u64,
        /// `PATCH_…` value.
        kind: u16,
        /// [`PATCH_MEMORY`] or [`PATCH_REGISTER`].
        place: u16,
        /// Index of the thread, for kinds that belong to one.
        arg: u32,
    }
}

impl Patch {
    /// Bytes of a `struct snap_info` that the loader fills.
    pub const INFO_LEN: u64 = 48;

    /// Bytes that the patch writes to memory, if its kind has a fixed length; `None` for an unknown kind.
    pub const fn width(kind: u16) -> Option<u64> {
        match kind {
            PATCH_TID | PATCH_TID_FUTEX | PATCH_ARGC_INT | PATCH_ENVC_INT | PATCH_CLOCK => Some(4),
            PATCH_ARGV..=PATCH_ENVC => Some(8),
            _ => None,
        }
    }

    /// Whether the patch names a thread.
    pub const fn is_of_thread(&self) -> bool {
        self.place == PATCH_REGISTER || matches!(self.kind, PATCH_TID | PATCH_TID_FUTEX | PATCH_CLOCK)
    }

    /// Whether a prepared instance learns the value only from its request.
    pub const fn is_count(&self) -> bool {
        matches!(self.kind, PATCH_ARGC | PATCH_ARGC_INT | PATCH_ARGV_END | PATCH_ENVP_END | PATCH_ENVC | PATCH_ENVC_INT)
    }
}
