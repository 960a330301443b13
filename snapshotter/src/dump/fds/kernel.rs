//! Reads the kernel's state of a descriptor of the program, through a duplicate of it in this process.
//!
//! Nothing here changes the open file description: bytes are peeked at or copied by `tee`, and the peek offset of a
//! socket is put back.
#![allow(unsafe_code)] // system calls

use crate::tracee::ptrace::Tid;
use std::fs::File;
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

fn check(value: i64) -> io::Result<i64> {
    if value < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

/// The place of the open file description of `a` in the kernel's own order, against that of `b`: 0 (the same), 1
/// (before), 2 (behind).
pub(super) fn compare(a: (Tid, u32), b: (Tid, u32)) -> io::Result<i64> {
    const KCMP_FILE: i32 = 0;
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_kcmp, a.0, b.0, KCMP_FILE, u64::from(a.1), u64::from(b.1)) })
}

/// An extended attribute: its name, zero-terminated, and its value.
pub(super) type Attribute = (Vec<u8>, Vec<u8>);

/// All extended attributes of a file.
pub(super) fn attributes(file: &File) -> io::Result<Vec<Attribute>> {
    let fd = file.as_raw_fd();
    let mut names = vec![0u8; 1 << 16];
    // SAFETY: `names` has the length that is passed.
    let len = match check(unsafe { libc::flistxattr(fd, names.as_mut_ptr().cast(), names.len()) } as i64) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(Vec::new()),
        other => other?,
    };
    names.truncate(len as usize);
    let mut out = Vec::new();
    for name in names.split_inclusive(|byte| *byte == 0) {
        let mut value = vec![0u8; 1 << 16];
        // SAFETY: a zero-terminated name, and `value` has the length that is passed.
        let read = unsafe { libc::fgetxattr(fd, name.as_ptr().cast(), value.as_mut_ptr().cast(), value.len()) };
        value.truncate(check(read as i64)? as usize);
        out.push((name.to_vec(), value));
    }
    Ok(out)
}

/// Whether descriptor `fd` is the `nth` file that epoll set `epoll` knows as number `target`; `None` where this is
/// unknown.
pub(super) fn is_epoll_target(pid: Tid, fd: u32, epoll: u32, target: u32, nth: u32) -> Option<bool> {
    const KCMP_EPOLL_TFD: i32 = 7;
    let slot = [epoll, target, nth];
    // SAFETY: `slot` is a live kcmp_epoll_slot.
    match unsafe { libc::syscall(libc::SYS_kcmp, pid, pid, KCMP_EPOLL_TFD, u64::from(fd), slot.as_ptr()) } {
        0 => Some(true),
        1.. => Some(false),
        _ => None,
    }
}

pub(super) fn fcntl(fd: &OwnedFd, command: i32) -> io::Result<i32> {
    // SAFETY: only commands without an argument are passed.
    check(i64::from(unsafe { libc::fcntl(fd.as_raw_fd(), command) })).map(|value| value as i32)
}

/// F_GETSIG: the signal that the owner of the open file description gets.
pub(super) fn signal(fd: &OwnedFd) -> io::Result<i32> {
    const F_GETSIG: i32 = 11;
    fcntl(fd, F_GETSIG)
}

/// F_SETSIG.
pub(super) fn set_signal(fd: &OwnedFd, signal: i32) -> io::Result<()> {
    const F_SETSIG: i32 = 10;
    // SAFETY: integers only.
    check(i64::from(unsafe { libc::fcntl(fd.as_raw_fd(), F_SETSIG, signal) })).map(drop)
}

/// F_GETOWN_EX: type and ID.
pub(super) fn owner(fd: &OwnedFd) -> io::Result<(i32, i32)> {
    const F_GETOWN_EX: i32 = 16;
    let mut owner = [0i32; 2];
    // SAFETY: a live struct f_owner_ex.
    check(i64::from(unsafe { libc::fcntl(fd.as_raw_fd(), F_GETOWN_EX, owner.as_mut_ptr()) }))?;
    Ok((owner[0], owner[1]))
}

/// An `ioctl` that fills `N` bytes.
pub(super) fn ioctl<const N: usize>(fd: &OwnedFd, request: u64) -> io::Result<[u8; N]> {
    let mut out = [0u8; N];
    // SAFETY: callers pass requests that write `N` bytes.
    check(i64::from(unsafe { libc::ioctl(fd.as_raw_fd(), request, out.as_mut_ptr()) }))?;
    Ok(out)
}

/// Bytes that a read would find (FIONREAD).
pub(super) fn readable_bytes(fd: &OwnedFd) -> u32 {
    ioctl::<4>(fd, libc::FIONREAD).map_or(0, u32::from_ne_bytes)
}

/// The ports that the kernel gives to sockets that ask for none.
pub(super) fn given_ports() -> Option<RangeInclusive<u16>> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut bounds = text.split_whitespace().map(|bound| bound.parse().ok());
    Some(bounds.next()??..=bounds.next()??)
}

/// Events of `poll` without waiting.
pub(super) fn poll(fd: &OwnedFd) -> i16 {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN | libc::POLLRDHUP, revents: 0 };
    // SAFETY: one live pollfd.
    unsafe { libc::poll(&raw mut poll, 1, 0) };
    poll.revents
}

/// `timerfd_gettime`, after which fdinfo shows the expirations so far: interval and remaining time, seconds and ns.
pub(super) fn timer(fd: &OwnedFd) -> io::Result<[u64; 4]> {
    let mut spec = [0u64; 4];
    // SAFETY: a live struct itimerspec.
    check(unsafe { libc::syscall(libc::SYS_timerfd_gettime, fd.as_raw_fd(), spec.as_mut_ptr()) })?;
    Ok(spec)
}

/// The data that waits in a pipe, packet by packet where `packets`; the data stays in the pipe.
pub(super) fn pipe_content(pipe: &File, capacity: i32, packets: bool) -> io::Result<Vec<Vec<u8>>> {
    let (mut reader, writer) = io::pipe()?;
    let mut out = Vec::new();
    // SAFETY: integers only.
    unsafe {
        libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, capacity);
        libc::fcntl(reader.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK);
    }
    // SAFETY: integers only.
    let copied = unsafe { libc::tee(pipe.as_raw_fd(), writer.as_raw_fd(), i32::MAX as usize, libc::SPLICE_F_NONBLOCK) };
    match check(copied as i64) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(out),
        other => other?,
    };
    drop(writer);
    let mut buffer = vec![0u8; 1 << 16];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(out),
            len if packets => out.push(buffer[..len].to_vec()),
            len => match out.last_mut() {
                Some(all) => all.extend_from_slice(&buffer[..len]),
                None => out.push(buffer[..len].to_vec()),
            },
        }
    }
}

/// A socket option; `None` where the socket has no such option.
pub(super) fn socket_option(fd: &OwnedFd, level: i32, name: i32, room: usize) -> Option<Vec<u8>> {
    let mut value = vec![0u8; room];
    let mut len = room as libc::socklen_t;
    // SAFETY: `value` has `len` bytes.
    let result = unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &raw mut len) };
    value.truncate(len as usize);
    (result == 0).then_some(value)
}

/// Whether a filter is attached: the kernel returns its length, or refuses to.
pub(super) fn has_filter(fd: &OwnedFd) -> bool {
    let mut len: libc::socklen_t = 0;
    // SAFETY: no room is given, so nothing is written but the length.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_GET_FILTER, std::ptr::null_mut(), &raw mut len)
    };
    // ENOPROTOOPT and the like: the kernel has no such filters.
    let untold = [Some(libc::EACCES), Some(libc::EPERM)].contains(&io::Error::last_os_error().raw_os_error());
    if result < 0 { untold } else { len != 0 }
}

pub(super) fn socket_number(fd: &OwnedFd, level: i32, name: i32) -> Option<u32> {
    Some(u32::from_ne_bytes(socket_option(fd, level, name, 4)?.try_into().ok()?))
}

/// Sets an `int` among the options of sockets.
pub(super) fn set_number(fd: &OwnedFd, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: a live integer.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, name, (&raw const value).cast(), 4) };
    check(i64::from(result)).map(drop)
}

pub(super) fn set_peek_offset(fd: &OwnedFd, offset: i32) -> io::Result<()> {
    set_number(fd, libc::SO_PEEK_OFF, offset)
}

/// The kinds of time stamps that a socket may add to what it receives.
const STAMPS: [i32; 4] = [libc::SO_TIMESTAMP, libc::SO_TIMESTAMPNS, 63, 64];

/// Has a socket add time stamps to what is received; whether it did not before.
///
/// A sequenced-packet socket answers 0 both for a message without bytes and, for ever, at the end of its queue when its
/// peer has shut down. Only the message has a time stamp. The Unix sockets of all kernels since 2.6.36 behave so.
pub(super) fn stamp(fd: &OwnedFd) -> io::Result<bool> {
    if STAMPS.iter().any(|name| socket_number(fd, libc::SOL_SOCKET, *name).is_some_and(|on| on != 0)) {
        return Ok(false);
    }
    set_number(fd, libc::SO_TIMESTAMP, 1).map(|()| true)
}

pub(super) fn socket(family: u32, kind: u32, protocol: u32) -> io::Result<OwnedFd> {
    // SAFETY: integers only.
    let fd = unsafe { libc::socket(family as i32, kind as i32 | libc::SOCK_CLOEXEC, protocol as i32) };
    // SAFETY: a new descriptor that only this code has.
    check(i64::from(fd)).map(|_| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A datagram socket for Unix addresses, at an abstract address that the kernel chooses: the socket, its address.
pub(super) fn mailbox() -> io::Result<(OwnedFd, Vec<u8>)> {
    let fd = socket(libc::AF_UNIX as u32, libc::SOCK_DGRAM as u32, 0)?;
    set_number(&fd, libc::SO_PASSCRED, 1)?;
    let family = libc::AF_UNIX as libc::sa_family_t;
    // SAFETY: an address of its family alone, of that length.
    check(i64::from(unsafe { libc::bind(fd.as_raw_fd(), (&raw const family).cast(), size_of_val(&family) as u32) }))?;
    let name = socket_name(&fd).ok_or_else(io::Error::last_os_error)?;
    Ok((fd, name))
}

fn name_of(
    fd: &OwnedFd,
    call: unsafe extern "C" fn(i32, *mut libc::sockaddr, *mut libc::socklen_t) -> i32,
) -> Option<Vec<u8>> {
    let mut address = vec![0u8; 128];
    let mut len = 128;
    // SAFETY: `address` has `len` bytes.
    let result = unsafe { call(fd.as_raw_fd(), address.as_mut_ptr().cast(), &raw mut len) };
    address.truncate(len as usize);
    (result == 0).then_some(address)
}

/// The address that a socket is bound to.
pub(super) fn socket_name(fd: &OwnedFd) -> Option<Vec<u8>> {
    name_of(fd, libc::getsockname)
}

/// The address that a socket is connected to.
pub(super) fn peer_name(fd: &OwnedFd) -> Option<Vec<u8>> {
    name_of(fd, libc::getpeername)
}

/// A message in a socket's queue.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) data: Vec<u8>,
    /// Descriptors passed along.
    pub(super) rights: Vec<OwnedFd>,
    /// It did not fit.
    pub(super) cut: bool,
    /// It came with a time stamp.
    pub(super) has_time: bool,
    /// The process that has sent it, if the socket asks for that (SO_PASSCRED).
    pub(super) sender: Option<Tid>,
}

/// Peeks at the next message from the peek offset on; `None` at the end of the queue.
pub(super) fn peek(fd: &OwnedFd) -> io::Result<Option<Message>> {
    receive(fd, libc::MSG_PEEK)
}

/// Receives the next message, with further flags of `recvmsg`; `None` at the end of the queue.
pub(super) fn receive(fd: &OwnedFd, flags: i32) -> io::Result<Option<Message>> {
    const ROOM: usize = 1 << 20;
    let mut data = vec![0u8; ROOM];
    let mut control = [0u64; 256];
    let mut vector = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: ROOM };
    // SAFETY: an all-zero msghdr is valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    let flags = flags | libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: every pointer in `message` is to a live buffer of the length beside it.
    let len = match check(unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, flags) } as i64) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        other => other? as usize,
    };
    let (mut rights, mut has_time, mut sender) = (Vec::new(), false, None);
    // SAFETY: the kernel has filled `control` as the macros expect; descriptors in it are ours alone.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let count = ((*header).cmsg_len - libc::CMSG_LEN(0) as usize) / 4;
                for index in 0..count {
                    let number = libc::CMSG_DATA(header).cast::<RawFd>().add(index).read_unaligned();
                    rights.push(OwnedFd::from_raw_fd(number));
                }
            }
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_CREDENTIALS {
                sender = Some(libc::CMSG_DATA(header).cast::<libc::ucred>().read_unaligned().pid);
            }
            has_time |= (*header).cmsg_level == libc::SOL_SOCKET && STAMPS.contains(&(*header).cmsg_type);
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    let cut = message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0;
    data.truncate(len);
    Ok(Some(Message { data, rights, cut, has_time, sender }))
}

/// The kernel's record of a Unix socket.
#[derive(Clone, Debug, Default)]
pub(super) struct UnixInfo {
    /// Inode of the peer; `Some(0)` when it is closed.
    pub(super) peer: Option<u32>,
    /// Waiting bytes, or connections of a listener.
    pub(super) waiting: u32,
    /// Backlog of a listener.
    pub(super) backlog: u32,
    /// RCV_SHUTDOWN (1), SEND_SHUTDOWN (2).
    pub(super) shutdown: u8,
}

/// Asks sock_diag for the Unix socket with that inode.
pub(super) fn unix_info(inode: u32) -> io::Result<UnixInfo> {
    const NETLINK_SOCK_DIAG: u32 = 4;
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const SHOW: u32 = 0x04 | 0x10; // UDIAG_SHOW_PEER, UDIAG_SHOW_RQLEN
    let netlink = socket(libc::AF_NETLINK as u32, libc::SOCK_RAW as u32, NETLINK_SOCK_DIAG)?;
    let mut request = Vec::new();
    request.extend(40u32.to_ne_bytes()); // nlmsg_len
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend(1u16.to_ne_bytes()); // NLM_F_REQUEST
    request.extend([0; 8]); // sequence, port
    request.extend([libc::AF_UNIX as u8, 0, 0, 0]);
    request.extend(u32::MAX.to_ne_bytes()); // every state
    request.extend(inode.to_ne_bytes());
    request.extend(SHOW.to_ne_bytes());
    request.extend([0xff; 8]); // no cookie
    // SAFETY: a live buffer.
    check(unsafe { libc::send(netlink.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) } as i64)?;
    let mut answer = vec![0u8; 8192];
    // SAFETY: a live buffer.
    let len = check(unsafe { libc::recv(netlink.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0) } as i64)?;
    answer.truncate(len as usize);
    parse_unix_info(&answer).ok_or_else(|| io::Error::other("the kernel has no sock_diag for Unix sockets"))
}

fn parse_unix_info(answer: &[u8]) -> Option<UnixInfo> {
    const PEER: u16 = 2;
    const RQLEN: u16 = 4;
    const SHUTDOWN: u16 = 6;
    let word = |at: usize| Some(u32::from_ne_bytes(answer.get(at..at + 4)?.try_into().ok()?));
    let half = |at: usize| Some(u16::from_ne_bytes(answer.get(at..at + 2)?.try_into().ok()?));
    let mut info = UnixInfo::default();
    if half(4)? != 20 {
        return None;
    }
    // nlmsghdr (16), unix_diag_msg (16), attributes.
    let end = (word(0)? as usize).min(answer.len());
    let mut at = 32;
    while at + 4 <= end {
        let len = usize::from(half(at)?);
        match half(at + 2)? {
            PEER => info.peer = Some(word(at + 4)?),
            RQLEN => (info.waiting, info.backlog) = (word(at + 4)?, word(at + 8)?),
            SHUTDOWN => info.shutdown = *answer.get(at + 4)?,
            _ => {}
        }
        at += len.max(4).next_multiple_of(4);
    }
    Some(info)
}
