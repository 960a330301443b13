//! What two processes share with each other.
#![allow(unsafe_code)] // kcmp

use super::ptrace::Tid;

/// What processes can have in common (`KCMP_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Memory = 1,
    Descriptors = 2,
}

impl Kind {
    /// In words.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Memory => "memory",
            Kind::Descriptors => "descriptors",
        }
    }
}

/// Whether two processes share it; `None` if that is unknown (another user's process, or no kcmp).
pub(crate) fn is_shared(kind: Kind, a: Tid, b: Tid) -> Option<bool> {
    // SAFETY: integers only.
    match unsafe { libc::syscall(libc::SYS_kcmp, a, b, kind as i32, 0, 0) } {
        0 => Some(true),
        1.. => Some(false),
        _ => None,
    }
}
