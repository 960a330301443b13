//! `--from SOCKET`: makes a pool release an instance with this process's arguments, environment, streams and directory.
//! This process then forwards signals to the instance, and ends as the instance ends. `--pool` executes the pool's
//! program.
#![allow(unsafe_code)] // system calls

use super::store::tells_users;
use crate::runtime::auxv::InitialStack;
use crate::runtime::print::{Out, Text};
use crate::runtime::sys::{self, Errno, nr};
use crate::runtime::task;
use crate::start::args::Args;
use core::ffi::CStr;
use core::fmt::{self, Write};
use snapfn_format::linux::PR_SET_DUMPABLE;
use snapfn_format::request::*;
use snapfn_format::store::OVERFLOW_USER;

/// Why there is no instance.
#[derive(Clone, Copy, Debug)]
pub enum PoolError {
    /// A system call of this process.
    System(&'static str, Errno),
    /// No process serves the socket.
    Unserved(Errno),
    /// Another user serves the socket.
    Stranger(u32),
    /// There are more arguments or variables than a pool accepts.
    TooLarge,
    /// The pool has ended, or its reply is not valid.
    Gone,
    /// There is no program for `--pool`.
    NoProgram(Errno),
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PoolError::System(what, errno) => write!(f, "{what}: {errno}"),
            PoolError::Unserved(Errno::NOENT | Errno::NOTDIR) => {
                f.write_str("there is no such socket, start a pool with snaprun --pool N SOCKET NAME")
            }
            PoolError::Unserved(Errno::CONNREFUSED) => {
                f.write_str("no pool serves this socket, start one with snaprun --pool N SOCKET NAME")
            }
            PoolError::Unserved(errno) => {
                write!(f, "cannot connect to a pool: {errno}, check the path and its permissions")
            }
            PoolError::Stranger(user) => {
                write!(f, "user {user} serves this socket, who is neither this user nor root; nothing was sent")
            }
            PoolError::TooLarge => f.write_str("too many arguments or variables for a pool"),
            PoolError::Gone => f.write_str("the pool has ended"),
            PoolError::NoProgram(errno) => {
                write!(f, "snappool is neither beside snaprun nor in ../libexec/snapfn: {errno}, install it")
            }
        }
    }
}

impl PoolError {
    /// The exit status that goes with it.
    pub fn status(&self) -> i32 {
        match self {
            PoolError::Unserved(Errno::NOENT | Errno::NOTDIR) => 127,
            PoolError::Unserved(_) | PoolError::Stranger(_) | PoolError::NoProgram(_) => 126,
            _ => 125,
        }
    }
}

fn call(number: usize, args: [u64; 4]) -> sys::Result<u64> {
    // SAFETY: integers, and live locals of the callers.
    unsafe { sys::raw(number, [args[0], args[1], args[2], args[3], 0, 0]) }.map(|value| value as u64)
}

/// Executes the pool's program with `[this program, N, SOCKET, MODE, NAME]` and `--allow-wx` if it was given; returns
/// only on failure.
pub fn exec_pool(size: &CStr, socket: &CStr, args: &Args, name: &CStr, initial: &InitialStack) -> PoolError {
    let mut exe = [0u8; 4096];
    let path = match sys::readlinkat(sys::AT_FDCWD, c"/proc/self/exe", &mut exe[..4000]) {
        Ok(path) => path.len(),
        Err(errno) => return PoolError::System("/proc/self/exe", errno),
    };
    let loader = exe;
    let directory = exe.get(..path).and_then(|path| path.iter().rposition(|byte| *byte == b'/')).unwrap_or(0);
    let mut last = Errno::NOENT;
    for place in [&b"/snappool\0"[..], b"/../libexec/snapfn/snappool\0"] {
        let Some(slot) = exe.get_mut(directory..directory + place.len()) else { continue };
        slot.copy_from_slice(place);
        let program = CStr::from_bytes_until_nul(&exe).unwrap_or_default();
        let loader = CStr::from_bytes_until_nul(&loader).unwrap_or_default();
        let argv = [program, loader, size, socket, args.populate.name(), name];
        let [a, b, c, d, e, f] = argv.map(|arg| arg.as_ptr().cast::<u8>());
        let allow_wx = if args.allow_wx { c"--allow-wx".as_ptr().cast() } else { core::ptr::null() };
        let argv = [a, b, c, d, e, f, allow_wx, core::ptr::null()];
        // SAFETY: both vectors end with a null pointer.
        last = unsafe { sys::execve(program, argv.as_ptr(), initial.envp as *const *const u8) };
    }
    PoolError::NoProgram(last)
}

/// Makes the pool release an instance with the arguments from `first` on, and ends as that does. Returns only if there
/// is no instance.
pub fn run(socket: &CStr, first: u64, initial: &InitialStack) -> PoolError {
    match start(socket, first, initial).and_then(|(socket, pidfd)| stand_for(socket, pidfd)) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

/// Sends the request and receives the first reply. Returns the connection and the instance's pidfd.
fn start(socket: &CStr, first: u64, initial: &InitialStack) -> Result<(i32, i32), PoolError> {
    let (strings, len, argc) = strings(first, initial).ok_or(PoolError::TooLarge)?;
    let mut fds = [-1i32; DESCRIPTORS_MAX];
    let mut count = 0;
    let mut flags = 0;
    let mut add = |bit: u16, fd: i32| {
        if let Some(slot) = fds.get_mut(count) {
            *slot = fd;
            (count, flags) = (count + 1, flags | bit);
        }
    };
    for stream in 0..3 {
        const F_GETFD: u64 = 1;
        if call(nr::FCNTL, [stream, F_GETFD, 0, 0]).is_ok() {
            add(1 << stream, stream as i32);
        }
    }
    if let Ok(fd) = sys::openat(sys::AT_FDCWD, c".", sys::O_PATH | sys::O_DIRECTORY | sys::O_CLOEXEC, 0) {
        add(DIRECTORY, fd);
    }
    let umask = sys::umask(0o77);
    sys::umask(umask);
    let connection = connect(socket)?;
    let header = RequestHeader {
        magic: MAGIC,
        version: VERSION,
        flags,
        umask,
        argc: argc + 1,
        envc: initial.envc as u32,
        strings: len as u32 + 1,
        reserved: 0,
    };
    // The pool fills in the name.
    let (head, name) = (header.bytes(), [0u8]);
    let mut parts = [(head.as_ptr() as u64, head.len() as u64), (name.as_ptr() as u64, 1), (strings, len)];
    let mut control = [sys::rights_len(count as u64), sys::CMSG_RIGHTS, 0, 0];
    for (index, fd) in fds.iter().take(count).enumerate() {
        if let Some(word) = control.get_mut(2 + index / 2) {
            *word |= u64::from(*fd as u32) << (32 * (index % 2));
        }
    }
    let mut control_len = if count > 0 { sys::CMSG_HEADER + 8 * count.div_ceil(2) as u64 } else { 0 };
    while parts[2].1 > 0 || parts[0].1 > 0 {
        const MSG_NOSIGNAL: u64 = 0x4000;
        let message = [0, 0, parts.as_ptr() as u64, 3, control.as_mut_ptr() as u64, control_len, 0];
        let mut sent = match call(nr::SENDMSG, [connection as u64, message.as_ptr() as u64, MSG_NOSIGNAL, 0]) {
            Ok(sent) => sent,
            Err(Errno::INTR) => continue,
            // The pool may have sent a reason.
            Err(_) => break,
        };
        control_len = 0;
        for (address, left) in &mut parts {
            let step = sent.min(*left);
            (*address, *left, sent) = (*address + step, *left - step, sent - step);
        }
    }
    fds.iter().filter(|fd| **fd > 2).for_each(|fd| sys::close(*fd));
    sys::block_signals();
    let (reply, pidfd) = receive(connection)?;
    match reply.kind {
        REPLY_STARTED if pidfd >= 0 => Ok((connection, pidfd)),
        REPLY_REFUSED => refused(connection, reply),
        _ => Err(PoolError::Gone),
    }
}

/// Address and length of all strings from argument `first` on, and the number of arguments among them. The kernel lays
/// arguments and variables one behind the other.
fn strings(first: u64, initial: &InitialStack) -> Option<(u64, u64, u32)> {
    let address = |text: &CStr| text.as_ptr() as u64;
    let argc = initial.argc - first;
    let start = initial.arg(first).or(initial.env(0)).map(address);
    let last = match initial.envc.checked_sub(1) {
        Some(last) => initial.env(last),
        None if argc > 0 => initial.arg(initial.argc - 1),
        None => None,
    };
    let end = last.map(|text| address(text) + text.count_bytes() as u64 + 1);
    let (start, end) = (start.unwrap_or(0), end.unwrap_or(0));
    let len = end - start;
    let fits = argc < u64::from(COUNT_MAX) && initial.envc <= u64::from(COUNT_MAX) && len < u64::from(STRINGS_MAX);
    fits.then_some((start, len, argc as u32))
}

fn connect(path: &CStr) -> Result<i32, PoolError> {
    const AF_UNIX: u64 = 1;
    const SOCK_STREAM_CLOEXEC: u64 = 1 | sys::O_CLOEXEC as u64;
    const F_DUPFD_CLOEXEC: u64 = 1030;
    let fail = |what| move |errno| PoolError::System(what, errno);
    let mut address = [0u8; 110];
    address[0] = AF_UNIX as u8;
    let bytes = path.to_bytes();
    match address.get_mut(2..2 + bytes.len()) {
        // One zero stays behind it.
        Some(slot) if bytes.len() < 108 => slot.copy_from_slice(bytes),
        _ => return Err(PoolError::Unserved(Errno::NAMETOOLONG)),
    }
    let socket = call(nr::SOCKET, [AF_UNIX, SOCK_STREAM_CLOEXEC, 0, 0]).map_err(fail("socket"))?;
    // The descriptor must not get the number of a stream that this process does not have.
    let socket = match socket {
        0..=2 => call(nr::FCNTL, [socket, F_DUPFD_CLOEXEC, 3, 0]).map_err(fail("socket"))?,
        _ => socket,
    };
    let len = 2 + bytes.len() as u64 + 1;
    loop {
        match call(nr::CONNECT, [socket, address.as_ptr() as u64, len, 0]) {
            Ok(_) => return check_peer(socket).map(|()| socket as i32),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(PoolError::Unserved(errno)),
        }
    }
}

/// The process that serves the socket gets the environment and the standard streams, and names the process that gets
/// this one's signals. Only this user may do that, and root, who can do it without a socket. The kernel has recorded
/// the user who called `listen`.
fn check_peer(socket: u64) -> Result<(), PoolError> {
    const SOL_SOCKET: u64 = 1;
    const SO_PEERCRED: u64 = 17;
    // struct ucred: process, user, group.
    let (mut peer, mut len) = ([0u32; 3], 12u32);
    let args = [socket, SOL_SOCKET, SO_PEERCRED, peer.as_mut_ptr() as u64, &raw mut len as u64, 0];
    // SAFETY: the array is live and has the length that is passed.
    unsafe { sys::raw(nr::GETSOCKOPT, args) }.map_err(|errno| PoolError::System("SO_PEERCRED", errno))?;
    match peer[1] {
        OVERFLOW_USER if !tells_users() => Err(PoolError::Stranger(OVERFLOW_USER)),
        0 => Ok(()),
        user if user == sys::geteuid() => Ok(()),
        user => Err(PoolError::Stranger(user)),
    }
}

/// The next reply, and the descriptor that comes with it.
fn receive(socket: i32) -> Result<(Reply, i32), PoolError> {
    const MSG_CMSG_CLOEXEC: u64 = 0x4000_0000;
    let mut reply = Reply::empty();
    let mut fd = -1;
    let mut done = 0;
    while done < size_of::<Reply>() as u64 {
        let mut control = [0u64; 4];
        let to = reply.bytes_mut();
        let vector = [to.as_mut_ptr() as u64 + done, to.len() as u64 - done];
        let message = [0, 0, vector.as_ptr() as u64, 1, control.as_mut_ptr() as u64, 32, 0];
        match call(nr::RECVMSG, [socket as u64, message.as_ptr() as u64, MSG_CMSG_CLOEXEC, 0]) {
            Ok(0) => return Err(PoolError::Gone),
            Ok(count) => done += count,
            Err(Errno::INTR) => continue,
            Err(_) => return Err(PoolError::Gone),
        }
        if control[0] >= sys::rights_len(1) && control[1] == sys::CMSG_RIGHTS {
            // No pool sends more than one.
            let more = control[0].saturating_sub(sys::rights_len(1)) / 4;
            let words = [(control[2] >> 32) as i32, control[3] as i32, (control[3] >> 32) as i32];
            words.into_iter().take(more as usize).chain([fd]).filter(|old| *old >= 0).for_each(sys::close);
            fd = control[2] as i32;
        }
    }
    Ok((reply, fd))
}

/// Prints why the pool has no instance, and ends.
fn refused(socket: i32, reply: Reply) -> ! {
    let mut text = [0u8; TEXT_MAX as usize];
    let wanted = (reply.text as usize).min(text.len());
    let mut done = 0;
    while let Some(rest) = text.get_mut(done..wanted).filter(|rest| !rest.is_empty()) {
        match call(nr::READ, [socket as u64, rest.as_mut_ptr() as u64, rest.len() as u64, 0]) {
            Ok(count @ 1..) => done += count as usize,
            Err(Errno::INTR) => {}
            _ => break,
        }
    }
    let text = text.get(..done).unwrap_or_default();
    let mut out = Out::new(2);
    let _ = writeln!(out, "snaprun: {}", Text(text.strip_prefix(b"snaprun: ").unwrap_or(text)));
    drop(out);
    sys::exit(match reply.value {
        status @ 125..=127 => status as i32,
        _ => 125,
    })
}

/// Forwards signals until the instance has ended, then ends in the same way.
fn stand_for(socket: i32, pidfd: i32) -> Result<core::convert::Infallible, PoolError> {
    const SIGCHLD: u32 = 17;
    const SIGSTOP: u64 = 19;
    const SIGTSTP: u32 = 20;
    const SIGKILL: u32 = 9;
    const POLLIN: u64 = 1;
    let all = u64::MAX;
    let signals = call(nr::SIGNALFD4, [u64::MAX, &raw const all as u64, 8, u64::from(sys::O_CLOEXEC)])
        .map_err(|errno| PoolError::System("signalfd", errno))?;
    let send = |signal: u32| call(nr::PIDFD_SEND_SIGNAL, [pidfd as u64, u64::from(signal), 0, 0]);
    loop {
        // struct pollfd: descriptor, events, what has happened.
        let mut list = [signals | POLLIN << 32, u64::from(socket as u32) | POLLIN << 32];
        if call(nr::POLL, [list.as_mut_ptr() as u64, 2, u64::MAX, 0]).is_err() {
            continue;
        }
        if list[1] >> 48 != 0 {
            let (reply, _) = receive(socket).inspect_err(|_| {
                let _ = send(SIGKILL);
            })?;
            match reply.kind {
                REPLY_ENDED => end_as(reply.value),
                REPLY_REFUSED => refused(socket, reply),
                _ => {}
            }
        }
        if list[0] >> 48 != 0 {
            let mut info = [0u8; 128];
            if call(nr::READ, [signals, info.as_mut_ptr() as u64, info.len() as u64, 0]).is_err() {
                continue;
            }
            let signal = u32::from_le_bytes([info[0], info[1], info[2], info[3]]);
            if signal != SIGCHLD {
                let _ = send(signal);
            }
            if signal == SIGTSTP {
                let _ = call(nr::KILL, [call(nr::GETPID, [0; 4]).unwrap_or(0), SIGSTOP, 0, 0]);
            }
        }
    }
}

/// Ends so that `wait` reports this status.
pub(super) fn end_as(status: u32) -> ! {
    let signal = status & 0x7f;
    if signal == 0 {
        sys::exit((status >> 8 & 0xff) as i32);
    }
    // One core file is enough.
    let _ = task::set_option(PR_SET_DUMPABLE, 0, 0);
    // SAFETY: the default action runs no code of this process.
    let _ = unsafe { sys::rt_sigaction(signal, &[0; 4]) };
    let _ = call(nr::KILL, [call(nr::GETPID, [0; 4]).unwrap_or(0), u64::from(signal), 0, 0]);
    sys::unblock_signals();
    sys::exit(128 + signal as i32)
}
