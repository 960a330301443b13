//! The address-space plan (x86-64, 47-bit user addresses).
//!
//! ```text
//!  0x0000_0040_0000               non-PIE programs keep their own addresses
//!  0x1600_0000_0000 ┐ PROGRAM     PIE executable with its brk behind it, main stack,
//!  0x2a00_0000_0000 ┘             resident region: random per snapshot
//!  0x2aaa_aaaa_a000 ┐ ARENA       every mmap(NULL) of the initialisation (compat layout),
//!  0x3aaa_aaaa_a000 ┘             bottom-up from a random start
//!  0x4800_0000_0000 ┐ LOADER      snaprun and snapboot themselves, their scratch
//!  0x4800_4000_0000 ┘             mappings; gone before the first user instruction
//!  0x5555_…  0x7f…                what the kernel places in a fresh process
//! ```

/// First address for the executable, its brk, the main stack and the resident region.
pub const PROGRAM_START: u64 = 0x1600_0000_0000;
/// End of that range.
pub const PROGRAM_END: u64 = 0x2a00_0000_0000;
/// Where `snaprun` and `snapboot` are linked.
pub const LOADER_START: u64 = 0x4800_0000_0000;
/// End of the range that the loader uses while it works and unmaps as a whole at the end.
pub const LOADER_END: u64 = 0x4800_4000_0000;
/// Where `snaprun` maps the plan. A snapshotter that snapshots the instance reads the plan there. The address is in the
/// same 2 MiB as the loader's own image, so that one page table serves both.
pub const LOADER_PLAN: u64 = LOADER_START + 0x10_0000;
/// End of user addresses with 4-level page tables.
pub const USER_END: u64 = 0x7fff_ffff_f000;
/// Lowest address that a plan may map (the kernel's default vm.mmap_min_addr).
pub const USER_START: u64 = 0x1_0000;
