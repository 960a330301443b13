//! System calls for descriptors, messages and signals.
#![allow(unsafe_code)] // system calls

use snapfn_format::request::{DESCRIPTORS_MAX, PARKED};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Arc;

/// Waits for a child. Returns its status, or `None` if the child still runs and `only_look` is set.
pub(crate) fn wait(pid: i32, only_look: bool) -> io::Result<Option<i32>> {
    let mut status = 0;
    let options = if only_look { libc::WNOHANG } else { 0 };
    loop {
        // SAFETY: a live local.
        match unsafe { libc::waitpid(pid, &raw mut status, options) } {
            0 => return Ok(None),
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            -1 => return Err(io::Error::last_os_error()),
            _ => return Ok(Some(status)),
        }
    }
}

/// Whether a child has ended. It can still be waited for afterwards. Waits for its end unless `only_look` is set.
pub(crate) fn has_ended(pid: i32, only_look: bool) -> io::Result<bool> {
    let options = libc::WEXITED | libc::WNOWAIT | if only_look { libc::WNOHANG } else { 0 };
    // SAFETY: zeros are a valid siginfo_t, which the kernel fills; its PID is 0 if the child still runs.
    let found = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        retry(|| libc::waitid(libc::P_PID, pid.unsigned_abs(), &raw mut info, options) as isize).map(|_| info.si_pid())
    };
    found.map(|found| found != 0)
}

/// Sends a signal to a child that has not been waited for, or, if `pid` is negative, to its process group.
pub(crate) fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: integers.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// `pidfd_open` of a child that has not been waited for.
pub(crate) fn pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: integers; a new descriptor.
    unsafe { check(libc::syscall(libc::SYS_pidfd_open, pid, 0) as i32).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

/// `pidfd_send_signal`.
pub(crate) fn pidfd_kill(pidfd: &OwnedFd, signal: i32) -> io::Result<()> {
    let none = ptr::null::<libc::siginfo_t>();
    // SAFETY: integers and a null pointer.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, none, 0) as i32 }).map(drop)
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn pair(fds: [RawFd; 2]) -> (OwnedFd, OwnedFd) {
    // SAFETY: two new descriptors that the kernel has just given out.
    unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) }
}

/// A pipe: reading end, writing end. Both are close-on-exec and above the standard streams.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    // SAFETY: room for two.
    check(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) })?;
    let (reader, writer) = pair(fds);
    Ok((raise(reader, 3)?, raise(writer, 3)?))
}

/// A pair of connected sockets, the first as in [`pipe`], the second from `least` on.
pub(crate) fn socket_pair(least: RawFd) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    // SAFETY: room for two.
    check(unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0, fds.as_mut_ptr()) })?;
    let (ours, theirs) = pair(fds);
    Ok((raise(ours, 3)?, raise(theirs, least)?))
}

/// A duplicate from `least` on, close-on-exec.
pub(crate) fn duplicate(fd: &OwnedFd, least: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: integers; a new descriptor.
    unsafe { check(libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, least)).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

/// The same descriptor, or a duplicate of it if its number is too low.
pub(crate) fn raise(fd: OwnedFd, least: RawFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() >= least { Ok(fd) } else { duplicate(&fd, least) }
}

/// Whether that number is an open descriptor.
pub(crate) fn is_open(fd: RawFd) -> bool {
    // SAFETY: integers.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// Space for the control message of a request, with the alignment that the kernel needs.
#[repr(C, align(8))]
struct Control([u8; 64]);

const CONTROL_LEN: usize = {
    // SAFETY: arithmetic.
    unsafe { libc::CMSG_SPACE((DESCRIPTORS_MAX * size_of::<RawFd>()) as u32) as usize }
};
const _: () = assert!(CONTROL_LEN <= 64);

/// How long a receiver may take nothing of a message that its socket has no room for.
const STALL: i32 = 1000;

/// Sends all of `bytes` with `fds` at its first byte. A receiver that takes nothing, because something has stopped it,
/// is an error after a second: the caller may have other things to do.
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[RawFd]) -> io::Result<()> {
    let mut control = Control([0; 64]);
    let mut vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: zeros are a valid msghdr; the header of the control message lies in `control`, which has room for the
    // most descriptors of a request; the objects that the message points to outlive the call.
    let sent = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        if !fds.is_empty() {
            let len = size_of_val(fds).min(DESCRIPTORS_MAX * size_of::<RawFd>());
            message.msg_control = control.0.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(len as u32) as usize;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(len as u32) as usize;
            ptr::copy_nonoverlapping(fds.as_ptr().cast(), libc::CMSG_DATA(header), len);
        }
        when_writable(socket, || libc::sendmsg(socket.as_raw_fd(), &raw const message, SEND))?
    };
    let mut rest = bytes.get(sent..).unwrap_or_default();
    while !rest.is_empty() {
        // SAFETY: the slice.
        let sent = when_writable(socket, || unsafe {
            libc::send(socket.as_raw_fd(), rest.as_ptr().cast(), rest.len(), SEND)
        })?;
        rest = rest.get(sent..).unwrap_or_default();
    }
    Ok(())
}

const SEND: libc::c_int = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;

/// Repeats a call that does not wait whenever the socket has room.
fn when_writable(socket: BorrowedFd<'_>, mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match retry(&mut call) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut entry = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
                // SAFETY: one entry.
                if retry(|| unsafe { libc::poll(&raw mut entry, 1, STALL) as isize })? == 0 {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            result => return result,
        }
    }
}

/// Receives up to `buffer.len()` bytes, and the descriptors that come with them.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut control = Control([0; 64]);
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: as in `send`; every descriptor that the kernel reports is new and this process's own.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = CONTROL_LEN;
        let got = retry(|| libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC))?;
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let data = libc::CMSG_DATA(header).cast::<RawFd>();
                let count = ((*header).cmsg_len - libc::CMSG_LEN(0) as usize) / size_of::<RawFd>();
                fds.extend((0..count).map(|i| OwnedFd::from_raw_fd(data.add(i).read_unaligned())));
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
        Ok(got)
    }
}

fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match call() {
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            -1 => return Err(io::Error::last_os_error()),
            count => return Ok(count as usize),
        }
    }
}

/// The report of a parked instance: none yet, that it waits, or another byte (it has failed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Nothing,
    Parked,
    Failed,
}

/// Peeks at the first byte and consumes it only if it is [`PARKED`].
pub(crate) fn said(socket: &OwnedFd, wait: bool) -> io::Result<Said> {
    let mut byte = 0u8;
    let receive = |flags: i32, byte: &mut u8| {
        // SAFETY: one byte.
        retry(|| unsafe { libc::recv(socket.as_raw_fd(), ptr::from_mut(byte).cast(), 1, flags) })
    };
    let waiting = if wait { 0 } else { libc::MSG_DONTWAIT };
    match receive(libc::MSG_PEEK | waiting, &mut byte) {
        Ok(1) if byte == PARKED => receive(0, &mut byte).map(|_| Said::Parked),
        Ok(_) => Ok(Said::Failed),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Said::Nothing),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(Said::Failed),
        Err(error) => Err(error),
    }
}

/// Waits until one of `fds` is readable or hung up, for `timeout` milliseconds at most, or without limit if that is −1.
/// Returns which are.
pub(crate) fn poll(fds: &[RawFd], timeout: i32) -> io::Result<Vec<bool>> {
    let mut list: Vec<_> = fds.iter().map(|&fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
    // SAFETY: the list.
    retry(|| unsafe { libc::poll(list.as_mut_ptr(), list.len() as libc::nfds_t, timeout) as isize })?;
    Ok(list.iter().map(|entry| entry.revents != 0).collect())
}

/// A counter that wakes a poller. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Event(Arc<OwnedFd>);

impl Event {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: integers; a new descriptor.
        let fd = unsafe {
            check(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)).map(|fd| OwnedFd::from_raw_fd(fd))
        };
        Ok(Event(Arc::new(fd?)))
    }

    /// Raises it.
    pub(crate) fn notify(&self) {
        let one = 1u64;
        // SAFETY: 8 bytes. A full counter also wakes the poller.
        let _ = unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    /// Waits until the counter is raised or one of `fds` is readable, for so many milliseconds at most, and sets the
    /// counter back to zero. Returns which of `fds` are readable.
    pub(crate) fn wait_or(&self, fds: &[RawFd], milliseconds: i32) -> Vec<bool> {
        let all: Vec<RawFd> = fds.iter().copied().chain([self.0.as_raw_fd()]).collect();
        let mut ready = poll(&all, milliseconds).unwrap_or_default();
        ready.truncate(fds.len());
        let mut count = 0u64;
        // SAFETY: 8 bytes.
        let _ = unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), 8) };
        ready
    }
}

/// How many descriptors this process may have.
pub(crate) fn descriptor_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a local.
    match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } {
        0 => limit.rlim_cur,
        _ => 0,
    }
}

/// This process's effective user.
pub(crate) fn user() -> u32 {
    // SAFETY: no arguments.
    unsafe { libc::geteuid() }
}

/// Blocks the signals that end a server, in this thread and in the threads that it makes. [`next_signal`] receives
/// them.
pub(crate) fn block_termination() {
    // SAFETY: a local set.
    unsafe {
        let set = termination();
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut());
    }
}

fn termination() -> libc::sigset_t {
    // SAFETY: a local set.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    }
}

/// Waits for one of the signals that end a server.
pub(crate) fn next_signal() -> i32 {
    let mut signal = 0;
    // SAFETY: a local set and a local.
    unsafe {
        let set = termination();
        while libc::sigwait(&raw const set, &raw mut signal) != 0 {}
    }
    signal
}

/// A random number of the kernel, or 0 if the kernel gives none.
pub(crate) fn random() -> u16 {
    let mut bytes = [0u8; 2];
    // SAFETY: a live local of that length.
    unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    u16::from_ne_bytes(bytes)
}
