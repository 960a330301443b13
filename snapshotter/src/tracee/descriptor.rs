//! Descriptors of the program as descriptors of this process.
//!
//! `pidfd_getfd` needs no privileges for a traced child.
#![allow(unsafe_code)] // system calls

use super::ptrace::Tid;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

fn owned(value: i64) -> io::Result<OwnedFd> {
    if value < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new, and no other code has it.
    Ok(unsafe { OwnedFd::from_raw_fd(value as RawFd) })
}

/// A duplicate of descriptor `fd` of process `pid`.
pub(crate) fn duplicate(pid: Tid, fd: u32) -> io::Result<OwnedFd> {
    // SAFETY: integers only.
    let pidfd = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: integers only.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) })
}
