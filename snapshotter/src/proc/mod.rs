//! What files of /proc say. Everything is a function of bytes, so that it can be fuzzed; only `maps` and `status` also
//! read their file, which is the same for all who need it.
//!
//! Text comes in that whoever writes a program chooses: names of threads and paths. It need not be UTF-8.

pub(crate) mod fdinfo;
pub(crate) mod maps;
pub(crate) mod stat;
pub(crate) mod status;
pub(crate) mod timers;

/// ID of a process or thread.
pub(crate) type Tid = i32;
