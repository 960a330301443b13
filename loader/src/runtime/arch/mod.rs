//! The instructions of this architecture: how system calls, threads and the jump into the program are made.
#![allow(unsafe_code)] // instructions

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub use x86_64::*;

#[cfg(not(target_arch = "x86_64"))]
compile_error!("the loader is written for x86-64 only: another architecture needs a file beside arch/x86_64.rs");
