//! What files of /proc say. Everything is a function of bytes, so that it can be fuzzed; only `maps` and `status` also
//! read their file, which is the same for all who need it, and `pagemap` asks the kernel with an ioctl.
//!
//! `/proc/PID/stat` is the crate `procfs`'s. What it has of the other files says less than these parsers: its status is
//! an error where a thread's name is not UTF-8 and has no `Seccomp_filters`, `x86_Thread_features`, `untag_mask` and
//! `Kthread`; its list of tasks leaves out those that it cannot open; its memory maps drop flags that it does not know;
//! it does not read fdinfo.
//!
//! Some text is chosen by the program: names of threads and paths. It need not be UTF-8.

pub(crate) mod fdinfo;
pub(crate) mod maps;
pub(crate) mod pagemap;
pub(crate) mod status;
pub(crate) mod timers;

/// ID of a process or thread.
pub(crate) type Tid = i32;
