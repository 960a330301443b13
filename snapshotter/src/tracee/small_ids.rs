//! IDs of processes and threads that are small numbers.
//!
//! A word that equals such an ID is most likely another number. In a container the program would get one of them: the
//! IDs of a new PID namespace begin at 1. The kernel gives IDs out in ascending order, so the snapshotter uses the
//! small ones up.

use super::ptrace::Tid;
use std::thread;

/// Below this, a number is as likely to be something else.
pub(crate) const DISTINCT: Tid = 1024;

/// Makes threads, which end at once, until the next process gets an ID that is not small. A namespace that has no other
/// IDs is left as it is.
pub(crate) fn use_up() {
    for _ in 0..DISTINCT {
        let thread = thread::Builder::new().spawn(|| nix::unistd::gettid().as_raw());
        match thread.ok().and_then(|thread| thread.join().ok()) {
            Some(used) if used < DISTINCT => {}
            _ => return,
        }
    }
}
