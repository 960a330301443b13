//! The snapshotter's request to `snapboot`, and the answer of `snapboot`: one structure in the tracee's memory.
//!
//! The structure never reaches a disk. Both sides come from one build, and the magic number confirms that.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// [`BootRequest::magic`]: the number changes when the layout changes.
pub const BOOT_MAGIC: u64 = u64::from_le_bytes(*b"SNBOOT02");

/// Where the snapshotter maps the request, inside the loader's range.
pub const BOOT_REQUEST: u64 = crate::layout::LOADER_START + 0x1000_0000;
/// Length of that mapping: the structure, strings, the vDSO page, the list of ranges.
pub const BOOT_REQUEST_LEN: u64 = 256 << 10;
/// `snapboot`'s own stack, below the request.
pub const BOOT_STACK_LEN: u64 = 64 << 10;

/// [`BootRequest::status`]: done.
pub const BOOT_DONE: u32 = 1;
/// [`BootRequest::status`]: failed; see `errno` and `what`.
pub const BOOT_FAILED: u32 = 2;

/// The request and its answer. All addresses are addresses in the tracee.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BootRequest {
    /// [`BOOT_MAGIC`].
    pub magic: u64,
    /// Path of the executable's init data file (C string).
    pub exe_init: u64,
    /// Path of its code segment file.
    pub exe_code: u64,
    /// The same for the interpreter; 0 when the program has none.
    pub interp_init: u64,
    /// The same for the interpreter.
    pub interp_code: u64,
    /// Load bias of the executable (0 for ET_EXEC).
    pub bias: u64,
    /// Where its brk heap starts.
    pub brk: u64,
    /// End of the new main stack.
    pub stack_top: u64,
    /// The resident region.
    pub resident: u64,
    /// Length of its work area.
    pub work_len: u64,
    /// 4096 bytes: the synthetic vDSO.
    pub vdso_page: u64,
    /// The kernel's initial stack pointer.
    pub initial_sp: u64,
    /// Array of `[start, end]` pairs to unmap: the kernel's image.
    pub unmap: u64,
    /// Number of pairs.
    pub unmap_count: u64,

    /// `BOOT_…`.
    pub status: u32,
    /// Kernel error number of a failure, or 0.
    pub errno: i32,
    /// What failed, zero-padded.
    pub what: [u8; 96],
    /// First instruction to run.
    pub entry: u64,
    /// The program's own entry (AT_ENTRY).
    pub exe_entry: u64,
    /// Stack pointer to start with.
    pub sp: u64,
    /// Load bias of the interpreter.
    pub interp_base: u64,
    /// The rebuilt argument vector.
    pub argv: u64,
    /// The rebuilt environment vector.
    pub envp: u64,
    /// The rebuilt auxiliary vector.
    pub auxv: u64,
    /// Its length in bytes, terminator included.
    pub auxv_len: u64,
    /// The 16 random bytes.
    pub at_random: u64,
    /// PR_SET_MM_MAP: start of the code.
    pub start_code: u64,
    /// End of the code.
    pub end_code: u64,
    /// Start of the data.
    pub start_data: u64,
    /// End of the data.
    pub end_data: u64,
}
