//! Parsers of files in /proc. All of them are functions of bytes, so that they can be fuzzed. Only `maps` and `status`
//! also read their file, since all callers need that, and `pagemap` uses an ioctl.
//!
//! The crate `procfs` parses `/proc/PID/stat`. For the other files it reports less than these parsers. Its status is an
//! error if a thread's name is not UTF-8, and has no `Seccomp_filters`, `x86_Thread_features`, `untag_mask` and
//! `Kthread`. Its list of tasks leaves out those that it cannot open. Its memory maps drop unknown flags. It does not
//! read fdinfo.
//!
//! The program chooses some of the text: names of threads and paths. It need not be UTF-8.

pub(crate) mod fdinfo;
pub(crate) mod maps;
pub(crate) mod pagemap;
pub(crate) mod status;
pub(crate) mod timers;

/// ID of a process or thread.
pub(crate) type Tid = i32;
