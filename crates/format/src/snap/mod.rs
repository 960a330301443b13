//! The snapshot file: an ELF core file whose first note is the restore plan.
//!
//! ```text
//!  offset 0      ELF header (ET_CORE), 64 bytes
//!         64     note header: namesz 12, descsz, type 1, name "SNAPFN/plan\0"
//!         88     SnapHeader, then its tables          ← all that the loader reads
//!  meta_len      ── end of what the checksum covers ──
//!         …      program headers, PT_NOTE with what the snapshot was made of and the core notes for debuggers
//!         …      page runs, page-aligned; runs of 2 MiB and more lie at offset ≡ address (mod 2 MiB)
//! ```

mod fd_steps;
mod fds;
mod maps;
pub mod notes;
mod plan;
mod records;
pub mod resident;
mod space;
mod validate;
mod validate_fds;
#[cfg(feature = "alloc")]
mod write;

pub use crate::arch::xstate::live as live_state;
pub use fd_steps::*;
pub use fds::*;
pub use plan::{Plan, SnapHeader, peek_header};
pub use records::*;
pub use space::*;
#[cfg(feature = "alloc")]
pub use write::{MetaBuilder, PlanTables};

/// File offset of [`SnapHeader`].
pub const HEADER_OFFSET: usize = 88;

/// Name of the note that holds the plan, with its terminating zero byte.
pub const NOTE_NAME: &[u8; 12] = b"SNAPFN/plan\0";

/// Type of that note.
pub const NOTE_TYPE: u32 = 1;

/// Version of the snapshot file written by this crate.
pub const VERSION: u16 = 1;

/// Magic number at [`HEADER_OFFSET`].
pub const MAGIC: [u8; 8] = *b"SNAPPLAN";

/// [`SnapHeader::incompatible`]: some memory is writable and executable at once, because the program had it so.
pub const FEATURE_WX: u64 = 1;

/// [`SnapHeader::incompatible`]: there is a setting of kind 9 to 11 or a step of kind 17 to 19.
pub const FEATURE_HIDDEN: u64 = 2;

/// [`SnapHeader::incompatible`]: there are patches from [`PATCH_VECTOR`] on, or settings from [`SETTING_ARGUMENTS`] on.
pub const FEATURE_VECTORS: u64 = 4;

/// [`SnapHeader::incompatible`]: there is a descriptor of kind [`FD_OF_THREAD`], a netlink socket or a step of
/// kind [`STEP_CONNECT`].
pub const FEATURE_DESCRIPTORS: u64 = 8;
/// [`SnapHeader::compatible`]: the program looks itself up by /proc/self/exe.
pub const FEATURE_OWN_EXE: u64 = 1;

/// [`SnapHeader::incompatible`]: there are patches from [`PATCH_CLOCK`] on.
pub const FEATURE_CLOCKS: u64 = 16;

/// [`SnapHeader::incompatible`]: instances keep more arguments than argv[0] ([`Process::kept_args`]).
pub const FEATURE_KEPT_ARGS: u64 = 32;

/// All [`SnapHeader::incompatible`] features that this crate knows.
pub(crate) const FEATURES: u64 =
    FEATURE_WX | FEATURE_HIDDEN | FEATURE_VECTORS | FEATURE_DESCRIPTORS | FEATURE_CLOCKS | FEATURE_KEPT_ARGS;

/// Most arguments behind argv[0] that instances keep.
pub const KEPT_ARGS_MAX: u32 = 64;

/// No meta part is longer than this, in bytes.
pub const META_MAX: u64 = 64 << 20;
