//! The restore path (`snaprun`) and the deserializer (`snapboot`): static, without libc, without a heap.
//!
//! ```text
//!  snaprun:   start (args → store → Plan::parse, validated) → restore (maps, patch, process, fds, threads) → frame
//!             → jump
//!  snapboot:  BootRequest → Init::parse (validated) → boot::{image, stack} → int3, back to the snapshotter
//!  both:      runtime, in place of a C library: entry point, system calls, memory, output
//! ```
//!
//! `unsafe` is confined to the modules that touch memory or the kernel: `runtime`, and the steps of `start`, `restore`
//! and `boot` that write into the new image.
#![no_std]

pub mod boot;
pub mod restore;
pub mod runtime;
pub mod start;
