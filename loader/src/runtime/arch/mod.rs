//! The instructions of this architecture: system calls, threads, signal frames, the jump into the program, probes of
//! the CPU. `snapfn_format::arch` has the definitions that files contain, too.
#![allow(unsafe_code)] // instructions

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub use x86_64::*;

#[cfg(not(target_arch = "x86_64"))]
compile_error!("the loader is written for x86-64 only: another architecture needs a folder beside arch/x86_64");
