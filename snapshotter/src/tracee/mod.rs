//! The program under the snapshotter: start it, rebuild its image, run it to its snapshot point.
//!
//! ```text
//!  spawn     fork, personality, execve; seized before its first instruction
//!  boot      at the exec stop: map snapboot, let it rebuild the image from code segment and init data files
//!  bind      has ld.so bind functions before the program runs
//!  clocks    no thread of the program enters the host's vDSO
//!  adopt instead: an instance made by snaprun, which will be snapshotted again
//!  run       until the snapshot point; errors name the program's end and its last output
//!  main_search where `main` is, in a program without symbols
//!  point     what the point is, and recognising it; idle: the point where every task waits
//!  replace   a program that executes another one: the snapshot is of what it becomes
//!  protocol  what it tells us on its way there: structures to fill, hooks, secrets; unmapping: what is gone of them
//!  ledger    what it has called, and which effects nothing can restore
//!  inputs    which files it has read
//!  surroundings what it has found out about streams, time zone, processors
//!  origins   which code has asked for the process ID
//!  strings   where a title may be written; nameless: `environ` of a program without symbols
//!  questions an allocator asks what MADV_DONTNEED does, and is told
//!  attach    instead: a process that somebody else has started, to look at it
//!  second    the initialisation once more with other vectors, to be compared at `main`
//!  freeze    all tasks stopped and taken out of their system calls; timeout: what is left of theirs
//!  unwind    functions and frames by the unwind tables; watchdog: ends a program that does not come to its point
//!  ptrace    requests and waits        remote  system calls in the tracee       memory  its memory
//!  syscalls  their numbers by name     descriptor  its descriptors in this process
//! ```

pub(crate) mod adopt;
pub(crate) mod attach;
pub(crate) mod bind;
pub(crate) mod boot;
mod breakpoint;
pub(crate) mod clocks;
mod deadline;
pub(crate) mod descriptor;
mod error;
pub(crate) mod freeze;
mod idle;
pub(crate) mod inputs;
pub(crate) mod ledger;
mod main_search;
pub(crate) mod memory;
pub(crate) mod nameless;
pub(crate) mod origins;
mod output;
mod point;
pub(crate) mod protocol;
pub(crate) mod ptrace;
pub(crate) mod questions;
pub(crate) mod remote;
mod replace;
mod run;
pub(crate) mod second;
pub(crate) mod shared;
pub(crate) mod small_ids;
mod spawn;
pub(crate) mod strings;
pub(crate) mod surroundings;
pub(crate) mod symbols;
mod syscalls;
mod timeout;
mod unmapping;
pub(crate) mod unwind;
mod watchdog;

pub(crate) use crate::proc::maps;
pub(crate) use crate::proc::status::Status;
pub(crate) use deadline::Deadline;
pub(crate) use error::TraceError;
pub(crate) use freeze::Frozen;
pub(crate) use output::Output;
pub(crate) use point::StopAt;
pub(crate) use run::{Progress, Reached, Task, Tracer};
pub(crate) use spawn::{SpawnOptions, spawn};
pub(crate) use timeout::clock_ns;
