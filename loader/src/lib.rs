//! The restore path (`snaprun`) and the deserializer (`snapboot`): static, without libc, without a heap.
//!
//! ```text
//!  snaprun:   args → store → Plan::parse (validated) → restore::{maps, patch, process, fds, threads} → frame → jump
//!  snapboot:  BootRequest → Init::parse (validated) → boot::{image, stack} → int3, back to the snapshotter
//! ```
//!
//! `unsafe` is confined to the modules that touch memory or the kernel: `sys`, `rt`, `memory`, and the
//! steps of `restore` and `boot` that write into the new image.
#![no_std]

pub mod address;
pub mod args;
pub mod auxv;
pub mod boot;
pub mod cpu;
pub mod dry_run;
pub mod fallback;
pub mod from;
pub mod memory;
pub mod print;
pub mod pull;
pub mod restore;
#[cfg(not(fuzzing))] // a fuzz target has the entry, allocator and panic handler of an ordinary program
pub mod rt;
pub mod store;
pub mod sys;
pub mod timens;
pub mod timing;
pub mod vdso;
