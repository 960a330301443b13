//! The parts of a C library that the loader needs: entry point, system calls, raw memory, the kernel's vectors, output.

pub mod arch;
pub mod auxv;
pub mod clock;
#[cfg(not(fuzzing))] // a fuzz target has the entry, allocator and panic handler of an ordinary program
pub mod entry;
pub mod memory;
pub mod print;
pub mod sys;
pub mod task;
pub mod vdso;
