//! The parts of the formats that depend on the processor: registers, signal frames, register state, instructions,
//! system calls, features.
//!
//! Other modules use them through this one only, so that another architecture is a second folder beside `x86_64`.

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub use x86_64::*;

#[cfg(not(target_arch = "x86_64"))]
compile_error!("snapshots are defined for x86-64 only: another architecture needs a folder beside arch/x86_64");
