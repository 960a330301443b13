//! Compares `snapcc` with the compilers whose place it takes.
#![allow(clippy::unwrap_used, reason = "all of this is a test, not only the functions that say so")]

mod builds;
mod compare;
mod process;
mod sidecars;
mod snap_h;
mod support;
