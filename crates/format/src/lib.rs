//! On-disk records of snapfn, and the rules of its stores. This crate is the authority on what programs accept.
//!
//! Every reader works on a byte slice, allocates no memory and never panics on input: it returns a [`FormatError`]
//! instead. Writers need the `alloc` feature. All numbers are little-endian. `FORMAT.md` has the tables of bytes.
//!
//! ```text
//!  fn.code   an ELF whose writable bytes are a hole          (without a record; named by its SHA-256)
//!  fn.init   init::InitHeader + records                      (init)
//!  fn.snap   ELF core file, plan in a note at a fixed offset (snap, plan)
//! ```
#![cfg_attr(not(test), no_std)]

#[cfg(feature = "alloc")]
extern crate alloc;

pub mod arch;
pub mod boot;
mod checksum;
mod digest;
mod error;
pub mod init;
pub mod layout;
pub mod linux;
pub mod request;
pub mod requirements;
pub mod snap;
pub mod store;
pub mod vdso;

use core::ops::Range;

pub use arch::cpu;
pub use checksum::{Checksum, checksum};
pub use digest::Digest;
pub use error::FormatError;

/// `e_machine` of the only architecture that is supported (EM_X86_64).
pub const ARCH_X86_64: u16 = arch::MACHINE;

/// Size of a page in every file of this version, in bytes.
pub const PAGE: u64 = 4096;

/// Rounds `value` down to a page boundary.
pub const fn page_down(value: u64) -> u64 {
    value & !(PAGE - 1)
}

/// Writes zeros over the parts of `ranges` of a file that lie in `bytes`, the first of which is at `base`.
pub fn clear_ranges(bytes: &mut [u8], base: u64, ranges: &[Range<u64>]) {
    let end = base + bytes.len() as u64;
    for range in ranges {
        let (from, to) = (range.start.clamp(base, end), range.end.clamp(base, end));
        if let Some(part) = bytes.get_mut((from - base) as usize..(to - base) as usize) {
            part.fill(0);
        }
    }
}

/// Rounds `value` up to a page boundary; `None` when that overflows.
pub const fn page_up(value: u64) -> Option<u64> {
    match value.checked_add(PAGE - 1) {
        Some(v) => Some(page_down(v)),
        None => None,
    }
}
