//! The system calls that make and complete descriptors.
#![allow(unsafe_code)] // system calls

use crate::runtime::print::with_short_path;
use crate::runtime::sys::{self, Result, nr};
use crate::runtime::task;
use core::ffi::CStr;

pub(super) const F_SETFD: u32 = 2;
pub(super) const F_SETFL: u32 = 4;
pub(super) const F_SETSIG: u32 = 10;
pub(super) const F_SETOWN: u32 = 8;
pub(super) const F_SETLEASE: u32 = 1024;
pub(super) const F_SETPIPE_SZ: u32 = 1031;
pub(super) const F_ADD_SEALS: u32 = 1033;
pub(super) const F_SETLK: u32 = 6;
pub(super) const F_OFD_SETLK: u32 = 37;
/// Value of [`F_SETFD`].
pub(super) const FD_CLOEXEC: u64 = 1;
pub(super) const TIOCGPTPEER: u64 = 0x5441;
const F_GETFD: u32 = 1;
const F_DUPFD_CLOEXEC: u32 = 1030;
const MFD_CLOEXEC: u64 = 1;
const MSG_DONTWAIT: u64 = 0x40;
const MSG_NOSIGNAL: u64 = 0x4000;
const SOL_SOCKET: u32 = 1;
/// Descriptors in one message.
const RIGHTS_MAX: usize = 253;

fn call(number: usize, args: [u64; 6]) -> Result<usize> {
    // SAFETY: every caller below passes integers, or the address and length of a live slice or local.
    unsafe { sys::raw(number, args) }
}

fn fd(number: i32) -> u64 {
    number as u64
}

pub(super) fn is_open(number: i32) -> bool {
    sys::fcntl(number, F_GETFD, 0).is_ok()
}

/// A duplicate at the lowest free number from `base` on.
pub(super) fn dup_above(number: i32, base: i32) -> Result<i32> {
    sys::fcntl(number, F_DUPFD_CLOEXEC, base as u64).map(|fd| fd as i32)
}

/// Runs `then` with the path of descriptor `number` in /proc.
pub(super) fn with_proc_path<T>(number: i32, then: impl FnOnce(&CStr) -> T) -> T {
    with_short_path(format_args!("/proc/self/fd/{number}"), then)
}

/// A file without a name in the directory `path`.
pub(super) fn temporary_file(path: &CStr) -> Result<i32> {
    const O_TMPFILE: u32 = 0o20200000;
    sys::openat(sys::AT_FDCWD, path, O_TMPFILE | sys::O_RDWR | sys::O_CLOEXEC, 0o600)
}

pub(super) fn memfd(name: &CStr, flags: u64) -> Result<i32> {
    call(nr::MEMFD_CREATE, [name.as_ptr() as u64, flags | MFD_CLOEXEC, 0, 0, 0, 0]).map(|fd| fd as i32)
}

pub(super) fn set_length(number: i32, len: u64) -> Result<()> {
    call(nr::FTRUNCATE, [fd(number), len, 0, 0, 0, 0]).map(drop)
}

pub(super) fn set_mode(number: i32, mode: u64) -> Result<()> {
    call(nr::FCHMOD, [fd(number), mode, 0, 0, 0, 0]).map(drop)
}

/// Access and modification, nanoseconds since 1970.
pub(super) fn set_times(number: i32, times: [i64; 2]) -> Result<()> {
    const SECOND: i64 = 1_000_000_000;
    let [access, modified] = times;
    let spec = [
        access.div_euclid(SECOND),
        access.rem_euclid(SECOND),
        modified.div_euclid(SECOND),
        modified.rem_euclid(SECOND),
    ];
    call(nr::UTIMENSAT, [fd(number), 0, spec.as_ptr() as u64, 0, 0, 0]).map(drop)
}

pub(super) fn set_attribute(number: i32, name: &CStr, value: &[u8]) -> Result<()> {
    let args = [fd(number), name.as_ptr() as u64, value.as_ptr() as u64, value.len() as u64, 0, 0];
    call(nr::FSETXATTR, args).map(drop)
}

/// Removes an entry of an open directory.
pub(super) fn unlink(directory: i32, entry: &CStr) -> Result<()> {
    call(nr::UNLINKAT, [fd(directory), entry.as_ptr() as u64, 0, 0, 0, 0]).map(drop)
}

/// Copies from `from` at `offset` to the current offset of `to`: how many bytes.
pub(super) fn copy(to: i32, from: i32, offset: u64, len: u64) -> Result<usize> {
    let mut offset = offset;
    call(nr::SENDFILE, [fd(to), fd(from), &raw mut offset as u64, len, 0, 0])
}

pub(super) fn pipe(flags: u32) -> Result<[i32; 2]> {
    let mut ends = [0i32; 2];
    call(nr::PIPE2, [ends.as_mut_ptr() as u64, u64::from(flags), 0, 0, 0, 0])?;
    Ok(ends)
}

pub(super) fn eventfd(flags: u64) -> Result<i32> {
    call(nr::EVENTFD2, [0, flags, 0, 0, 0, 0]).map(|fd| fd as i32)
}

pub(super) fn timerfd(clock: u64) -> Result<i32> {
    call(nr::TIMERFD_CREATE, [clock, u64::from(sys::O_CLOEXEC), 0, 0, 0, 0]).map(|fd| fd as i32)
}

/// `spec`: a `struct itimerspec`.
pub(super) fn set_timer(number: i32, spec: &[u8]) -> Result<()> {
    call(nr::TIMERFD_SETTIME, [fd(number), 0, spec.as_ptr() as u64, 0, 0, 0]).map(drop)
}

pub(super) fn signalfd(mask: u64) -> Result<i32> {
    call(nr::SIGNALFD4, [u64::MAX, &raw const mask as u64, 8, u64::from(sys::O_CLOEXEC), 0, 0]).map(|fd| fd as i32)
}

pub(super) fn epoll() -> Result<i32> {
    call(nr::EPOLL_CREATE1, [u64::from(sys::O_CLOEXEC), 0, 0, 0, 0, 0]).map(|fd| fd as i32)
}

pub(super) fn epoll_add(set: i32, number: i32, events: u32, data: u64) -> Result<()> {
    // struct epoll_event is packed on x86-64.
    let mut event = [0u8; 12];
    event[..4].copy_from_slice(&events.to_le_bytes());
    event[4..].copy_from_slice(&data.to_le_bytes());
    const EPOLL_CTL_ADD: u64 = 1;
    call(nr::EPOLL_CTL, [fd(set), EPOLL_CTL_ADD, fd(number), event.as_ptr() as u64, 0, 0]).map(drop)
}

pub(super) fn inotify() -> Result<i32> {
    call(nr::INOTIFY_INIT1, [u64::from(sys::O_CLOEXEC | sys::O_NONBLOCK), 0, 0, 0, 0, 0]).map(|fd| fd as i32)
}

pub(super) fn add_watch(number: i32, path: &CStr, mask: u64) -> Result<u64> {
    call(nr::INOTIFY_ADD_WATCH, [fd(number), path.as_ptr() as u64, mask, 0, 0, 0]).map(|watch| watch as u64)
}

pub(super) fn remove_watch(number: i32, watch: u64) -> Result<()> {
    call(nr::INOTIFY_RM_WATCH, [fd(number), watch, 0, 0, 0, 0]).map(drop)
}

/// Reads all that can be read without waiting.
pub(super) fn drain(number: i32) {
    let mut buffer = [0u8; 4096];
    while let Ok(1..) = call(nr::READ, [fd(number), buffer.as_mut_ptr() as u64, buffer.len() as u64, 0, 0, 0]) {}
}

pub(super) fn pidfd_self(flags: u64) -> Result<i32> {
    call(nr::PIDFD_OPEN, [u64::from(task::pid()), flags, 0, 0, 0, 0]).map(|fd| fd as i32)
}

pub(super) fn ioctl(number: i32, request: u64, arg: u64) -> Result<usize> {
    call(nr::IOCTL, [fd(number), request, arg, 0, 0, 0])
}

pub(super) fn socket(family: u64, kind: u64, protocol: u64) -> Result<i32> {
    let kind = kind | u64::from(sys::O_CLOEXEC);
    call(nr::SOCKET, [family, kind, protocol, 0, 0, 0]).map(|fd| fd as i32)
}

pub(super) fn socket_pair(kind: u64) -> Result<[i32; 2]> {
    const AF_UNIX: u64 = 1;
    let mut ends = [0i32; 2];
    let kind = kind | u64::from(sys::O_CLOEXEC);
    call(nr::SOCKETPAIR, [AF_UNIX, kind, 0, ends.as_mut_ptr() as u64, 0, 0])?;
    Ok(ends)
}

pub(super) fn set_option(number: i32, level: u64, name: u64, value: &[u8]) -> Result<()> {
    call(nr::SETSOCKOPT, [fd(number), level, name, value.as_ptr() as u64, value.len() as u64, 0]).map(drop)
}

/// An option whose value is an integer.
pub(super) fn option(number: i32, name: u64) -> Result<u32> {
    let (mut value, mut len) = (0u32, 4u32);
    let args = [fd(number), u64::from(SOL_SOCKET), name, &raw mut value as u64, &raw mut len as u64, 0];
    call(nr::GETSOCKOPT, args)?;
    Ok(value)
}

/// The address that a socket is bound to.
pub(super) fn socket_name(number: i32, buffer: &mut [u8; 110]) -> Result<&[u8]> {
    let mut len = buffer.len() as u32;
    call(nr::GETSOCKNAME, [fd(number), buffer.as_mut_ptr() as u64, &raw mut len as u64, 0, 0, 0])?;
    Ok(buffer.get(..len as usize).unwrap_or_default())
}

pub(super) fn bind(number: i32, address: &[u8]) -> Result<()> {
    call(nr::BIND, [fd(number), address.as_ptr() as u64, address.len() as u64, 0, 0, 0]).map(drop)
}

pub(super) fn connect(number: i32, address: &[u8]) -> Result<()> {
    call(nr::CONNECT, [fd(number), address.as_ptr() as u64, address.len() as u64, 0, 0, 0]).map(drop)
}

pub(super) fn listen(number: i32, backlog: u64) -> Result<()> {
    call(nr::LISTEN, [fd(number), backlog, 0, 0, 0, 0]).map(drop)
}

pub(super) fn shutdown(number: i32, how: u64) -> Result<()> {
    call(nr::SHUTDOWN, [fd(number), how, 0, 0, 0, 0]).map(drop)
}

/// Sends one message with the descriptors `rights`; returns how many bytes of a stream it has sent.
pub(super) fn send(number: i32, data: &[u8], rights: impl Iterator<Item = i32>) -> Result<usize> {
    let mut control = [0u64; 2 + RIGHTS_MAX.div_ceil(2)];
    let mut count = 0;
    for (index, right) in rights.take(RIGHTS_MAX).enumerate() {
        if let Some(word) = control.get_mut(2 + index / 2) {
            *word |= u64::from(right as u32) << (32 * (index % 2));
        }
        count += 1;
    }
    // struct cmsghdr: length, level, type.
    control[0] = sys::rights_len(count);
    control[1] = sys::CMSG_RIGHTS;
    let vector = [data.as_ptr() as u64, data.len() as u64];
    let (control_at, control_len) = if count == 0 { (0, 0) } else { (control.as_ptr() as u64, sys::rights_len(count)) };
    // struct msghdr: name, name length, iovec, its length, control, its length, flags.
    let message = [0, 0, vector.as_ptr() as u64, 1, control_at, control_len, 0];
    call(nr::SENDMSG, [fd(number), message.as_ptr() as u64, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0, 0])
}

pub(super) fn flock(number: i32, exclusive: bool) -> Result<()> {
    const LOCK_SH: u64 = 1;
    const LOCK_EX: u64 = 2;
    const LOCK_NB: u64 = 4;
    call(nr::FLOCK, [fd(number), LOCK_NB | if exclusive { LOCK_EX } else { LOCK_SH }, 0, 0, 0, 0]).map(drop)
}

/// A record lock of the process or of the open file description; `len` 0: to the end.
pub(super) fn record_lock(number: i32, command: u32, exclusive: bool, start: u64, len: u64) -> Result<()> {
    // struct flock: type (2 bytes), whence (2 bytes), padding, start, length, pid, padding.
    const F_RDLCK: u64 = 0;
    const F_WRLCK: u64 = 1;
    let lock = [if exclusive { F_WRLCK } else { F_RDLCK }, start, len, 0];
    sys::fcntl(number, command, lock.as_ptr() as u64).map(drop)
}

/// Sets the soft limit of open files to `soft`, or to the hard one; returns the earlier one.
pub(super) fn file_limit(soft: Option<u64>) -> u64 {
    const RLIMIT_NOFILE: u32 = 7;
    let [earlier, hard] = task::limit(RLIMIT_NOFILE);
    let wanted = soft.unwrap_or(hard);
    if wanted != earlier {
        let _ = task::set_limit(RLIMIT_NOFILE, [wanted, hard]);
    }
    earlier
}
