//! What the tracer and the dump know about the processor beyond the formats ([`snapfn_format::arch`]): instructions in
//! the program's code, DWARF's numbers of registers, the code of the vDSO that snapshots get.
//!
//! Other modules use it through this one only, so that another architecture is a second folder beside `x86_64`.

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::*;
