//! Processes, descriptors and messages. Beside `socket` the only module with unsafe code, which is that of system calls.
//!
//! A child is made by `clone(CLONE_VM | CLONE_VFORK)` on a stack of its own: it borrows this process's memory, and this
//! thread waits, until it has executed `snaprun`; nothing is copied. Until then it may only make system calls. All
//! signals are blocked meanwhile, or a handler of this process would run in it; it stays so over the `execve`, since the
//! snapshot's own mask is what the instance gets.
#![allow(unsafe_code)] // system calls

use crate::Error;
use crate::request::Strings;
use crate::snapshot::{Inner, Snapshot};
use snapfn_format::request::{DESCRIPTORS_MAX, DIRECTORY, PARKED};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Arc;

/// What is to be executed, and with what.
pub(crate) struct Start<'a> {
    pub(crate) snapshot: &'a Inner,
    /// More options of `snaprun`.
    pub(crate) options: &'a [&'a CStr],
    /// The option and the descriptor for what `snaprun` has to say.
    pub(crate) report: (&'a CStr, &'a OwnedFd),
    /// The first argument is the snapshot's name.
    pub(crate) strings: &'a Strings,
    /// Descriptors of the standard streams, all of them above 2 or at their place. A prepared instance gets them later, and no
    /// others of this process.
    pub(crate) streams: Option<[RawFd; 3]>,
    pub(crate) directory: Option<&'a CStr>,
    pub(crate) umask: Option<u32>,
}

/// A process that has been started.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) pid: i32,
    pub(crate) report: OwnedFd,
}

/// What the child works with, in this process's memory.
struct Job<'a> {
    start: &'a Start<'a>,
    /// Those that `snaprun` gets.
    files: &'a [Arc<File>],
    argv: *const *const c_char,
    envp: *const *const c_char,
    /// What failed, and how.
    failed: (&'static str, c_int),
}

/// The child needs little; there is no guard, as it calls nothing but the C library's wrappers.
const STACK: usize = 32 << 10;

/// Starts an ordinary instance; a negative number stands for a stream that it does not get.
pub(crate) fn start(
    snapshot: &Snapshot,
    strings: &Strings,
    streams: [RawFd; 3],
    directory: Option<&CStr>,
    umask: Option<u32>,
) -> Result<Started, Error> {
    let snapshot = &*snapshot.inner;
    let (report, theirs) = pipe().map_err(Error::io("pipe"))?;
    let theirs = raise(theirs, snapshot.free).map_err(Error::io("duplicating a pipe"))?;
    let report_to = (c"--report", &theirs);
    let start = Start { snapshot, options: &[], report: report_to, strings, streams: Some(streams), directory, umask };
    Ok(Started { pid: start.spawn()?, report })
}

impl Start<'_> {
    /// Starts it: the PID.
    pub(crate) fn spawn(&self) -> Result<i32, Error> {
        let number = |fd: RawFd| CString::new(fd.to_string()).unwrap_or_default();
        let report = number(self.report.1.as_raw_fd());
        let variant = self.snapshot.variant();
        let mut before = vec![c"snaprun".as_ptr(), c"--fds".as_ptr(), variant.list.as_ptr()];
        before.extend([self.report.0.as_ptr(), report.as_ptr()]);
        before.extend(self.snapshot.allow_wx.then_some(c"--allow-wx".as_ptr()));
        before.extend(self.options.iter().map(|option| option.as_ptr()));
        before.push(c"--".as_ptr());
        let [argv, envp] = self.strings.vectors(&before);
        let mut job =
            Job { start: self, files: &variant.files, argv: argv.as_ptr(), envp: envp.as_ptr(), failed: ("", 0) };
        let mut stack: Vec<MaybeUninit<u128>> = Vec::with_capacity(STACK / size_of::<u128>());
        let mut before = u64::MAX;
        // SAFETY: the child runs on `stack`, whose end is aligned to 16 bytes, and is done with it and with everything
        // that `job` points to when clone returns (CLONE_VFORK). The masks are of the kernel's size.
        let pid = unsafe {
            set_mask(&u64::MAX, &mut before);
            let top = stack.as_mut_ptr().add(stack.capacity());
            let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
            let pid = libc::clone(child, top.cast(), flags, (&raw mut job).cast());
            let error = io::Error::last_os_error();
            set_mask(&before, ptr::null_mut());
            if pid < 0 {
                return Err(Error::System { what: "clone", source: error });
            }
            pid
        };
        // SAFETY: written by the child, which shares the memory, while this thread waited.
        let (what, errno) = unsafe { (&raw const job.failed).read_volatile() };
        if errno != 0 {
            let _ = wait(pid, false);
            return Err(Error::System { what, source: io::Error::from_raw_os_error(errno) });
        }
        Ok(pid)
    }
}

/// # Safety
/// `old` is null or writable.
unsafe fn set_mask(new: &u64, old: *mut u64) {
    // SAFETY: the kernel's own mask has 8 bytes. Not through the C library, which would leave its own signals out.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, ptr::from_ref(new), old, 8usize) };
}

/// The child. It returns only if something fails, which its parent then finds in the job.
extern "C" fn child(job: *mut c_void) -> c_int {
    let job = job.cast::<Job<'_>>();
    // SAFETY: `spawn`'s job, which lives until this process has executed another program or ended; only system calls.
    unsafe {
        let start = (*job).start;
        let fail = |what: &'static str| {
            (&raw mut (*job).failed).write_volatile((what, *libc::__errno_location()));
            libc::_exit(127)
        };
        // Rust programs ignore it, which execve would hand on.
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        if let Some(directory) = start.directory
            && libc::chdir(directory.as_ptr()) != 0
        {
            fail("entering the working directory");
        }
        if let Some(mask) = start.umask {
            libc::umask(mask);
        }
        if start.streams.is_none() {
            // It waits for long: what another thread has just opened without close-on-exec (the end of a pipe whose closing
            // somebody waits for) must not stay open in it. Before Linux 5.11 it does, as in any child.
            libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
        }
        for fd in (*job).files.iter().map(|file| file.as_raw_fd()).chain([start.report.1.as_raw_fd()]) {
            if libc::fcntl(fd, libc::F_SETFD, 0) != 0 {
                fail("passing a descriptor on");
            }
        }
        for (number, fd) in (0..).zip(start.streams.iter().flatten()) {
            if *fd < 0 {
                libc::close(number);
            } else if *fd != number && libc::dup2(*fd, number) < 0 {
                fail("placing the standard streams");
            }
        }
        libc::execve(start.snapshot.loader.as_ptr(), (*job).argv, (*job).envp);
        fail("executing snaprun")
    }
}

/// Waits for a child: its status, or none if it still runs and `only_look`.
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

/// Sends a signal to a child that has not been waited for.
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

/// A pipe, both ends close-on-exec and above the standard streams: reading end, writing end.
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

/// Space for the control message of a request, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([u8; 64]);

const CONTROL_LEN: usize = {
    // SAFETY: arithmetic.
    unsafe { libc::CMSG_SPACE((DESCRIPTORS_MAX * size_of::<RawFd>()) as u32) as usize }
};
const _: () = assert!(CONTROL_LEN <= 64);

/// Sends all of `bytes` with `fds` at its first byte.
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[RawFd]) -> io::Result<()> {
    let mut control = Control([0; 64]);
    let mut vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: all zeroes is a valid msghdr; the header of the control message lies in `control`, which has room for as
    // many descriptors as there may be; what the message points to outlives the call.
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
        retry(|| libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL))?
    };
    let mut rest = bytes.get(sent..).unwrap_or_default();
    while !rest.is_empty() {
        // SAFETY: the slice.
        let sent =
            retry(|| unsafe { libc::send(socket.as_raw_fd(), rest.as_ptr().cast(), rest.len(), libc::MSG_NOSIGNAL) })?;
        rest = rest.get(sent..).unwrap_or_default();
    }
    Ok(())
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

/// What a parked instance has said: nothing yet, that it waits, or something else (it has failed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Nothing,
    Parked,
    Failed,
}

/// Looks at the first byte; takes it away only if it is [`PARKED`].
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

/// Waits until one of `fds` is readable or hung up; with a timeout in milliseconds, or −1. Tells which.
pub(crate) fn poll(fds: &[RawFd], timeout: i32) -> io::Result<Vec<bool>> {
    let mut list: Vec<_> = fds.iter().map(|&fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
    // SAFETY: the list.
    retry(|| unsafe { libc::poll(list.as_mut_ptr(), list.len() as libc::nfds_t, timeout) as isize })?;
    Ok(list.iter().map(|entry| entry.revents != 0).collect())
}

/// A counter that wakes a poller.
pub(crate) fn event() -> io::Result<OwnedFd> {
    // SAFETY: integers; a new descriptor.
    unsafe { check(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

/// Raises it.
pub(crate) fn notify(event: &OwnedFd) {
    let one = 1u64;
    // SAFETY: 8 bytes. A counter that is full wakes all the same.
    let _ = unsafe { libc::write(event.as_raw_fd(), (&raw const one).cast(), 8) };
}

/// Takes it back to zero.
pub(crate) fn take(event: &OwnedFd) {
    let mut count = 0u64;
    // SAFETY: 8 bytes.
    let _ = unsafe { libc::read(event.as_raw_fd(), (&raw mut count).cast(), 8) };
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

/// Blocks the signals that end a server in this thread and those that it makes; [`next_signal`] gets them.
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

/// A random number of the kernel's; 0 where it gives none.
pub(crate) fn random() -> u16 {
    let mut bytes = [0u8; 2];
    // SAFETY: a live local of that length.
    unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    u16::from_ne_bytes(bytes)
}

/// Bit of a request's flags for descriptor `index` of those that may come with it.
pub(crate) const fn flag(index: usize) -> u16 {
    1 << index
}

const _: () = assert!(flag(DESCRIPTORS_MAX - 1) == DIRECTORY);
