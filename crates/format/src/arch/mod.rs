//! What of the files is a processor's: registers, signal frames, register state, instructions, system calls, features.
//!
//! Everything is reached through this module, so that another architecture is a second folder beside `x86_64`.

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub use x86_64::*;

#[cfg(not(target_arch = "x86_64"))]
compile_error!("snapshots are defined for x86-64 only: another architecture needs a folder beside arch/x86_64");
