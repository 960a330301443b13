//! Duplicates of the program's descriptors where `pidfd_getfd` is forbidden.
//!
//! Docker's default profile forbids it without CAP_SYS_PTRACE, and kernels before 5.6 do not have it. The program
//! itself then sends its descriptors to a socket of the snapshotter (SCM_RIGHTS), by system calls that one of its
//! stopped tasks runs. It has the socket for these calls only, and the page with their arguments as well.

use super::kernel;
use super::open::OpenFd;
use crate::dump::scratch::Scratch;
use crate::tracee::{Frozen, Tracer};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io;
use std::os::fd::OwnedFd;

/// The most descriptors of one message (SCM_MAX_FD).
const MOST: usize = 253;
/// What the kernel names a descriptor that no socket carries since Linux 6.7.
const RING: &str = "anon_inode:[io_uring]";

/// A soft limit of open files that is raised for a while.
#[derive(Debug)]
pub(super) struct Room {
    soft: u64,
    hard: u64,
}

impl Room {
    fn raise() -> io::Result<Room> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        Ok(Room { soft, hard })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Back to what it was, which is always allowed.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, self.soft, self.hard);
    }
}

/// Has the program send its descriptors, unless this process may take duplicates by itself. The soft limit of open
/// files stays raised while the result lives.
pub(super) fn duplicates(tracer: &Tracer, task: Option<&Frozen>, all: &mut [OpenFd]) -> io::Result<Option<Room>> {
    let Some(error) = all.first().and_then(|open| open.duplicate().err()) else { return Ok(None) };
    if !matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) {
        return Ok(None);
    }
    let task = task.ok_or_else(|| io::Error::new(error.kind(), format!("pidfd_getfd: {error}")))?;
    let room = Room::raise()?;
    let mut sent: Vec<&mut OpenFd> = all.iter_mut().filter(|open| open.name() != RING).collect();
    let sender = Sender::new(tracer, task)?;
    let result = sent.chunks_mut(MOST).try_for_each(|some| sender.send(some));
    sender.finish()?;
    result.map(|()| Some(room))
}

/// The program's side.
struct Sender<'a> {
    tracer: &'a Tracer,
    scratch: Scratch<'a>,
    /// A page for the arguments.
    page: u64,
    socket: u64,
    mailbox: OwnedFd,
    address: Vec<u8>,
}

impl<'a> Sender<'a> {
    fn new(tracer: &'a Tracer, task: &Frozen) -> io::Result<Self> {
        let (mailbox, address) = kernel::mailbox()?;
        let scratch = Scratch::new(tracer, task).map_err(io::Error::other)?;
        let protection = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        let kind = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
        let socket = (libc::SOCK_DGRAM | libc::SOCK_CLOEXEC) as u64;
        let made = scratch.value(libc::SYS_mmap, &[0, 4096, protection, kind, u64::MAX, 0]).and_then(|page| {
            match scratch.value(libc::SYS_socket, &[libc::AF_UNIX as u64, socket, 0]) {
                Ok(socket) => Ok((page, socket)),
                Err(error) => scratch.value(libc::SYS_munmap, &[page, 4096]).and(Err(error)),
            }
        });
        match made {
            Ok((page, socket)) => Ok(Sender { tracer, scratch, page, socket, mailbox, address }),
            Err(error) => scratch.finish().map_err(io::Error::other).and(Err(error)),
        }
    }

    fn send(&self, some: &mut [&mut OpenFd]) -> io::Result<()> {
        // From the start of the page: struct msghdr, struct iovec, one byte of data, the address, the descriptors.
        const VECTOR: u64 = 64;
        const DATA: u64 = 96;
        const ADDRESS: u64 = 128;
        const CONTROL: u64 = 512;
        let control_len = 16 + 4 * some.len() as u64;
        let mut page = vec![0u8; (CONTROL + control_len) as usize];
        let mut put = |at: u64, bytes: &[u8]| page[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
        let header = [
            self.page + ADDRESS,
            self.address.len() as u64,
            self.page + VECTOR,
            1,
            self.page + CONTROL,
            control_len.next_multiple_of(8),
            0,
        ];
        put(0, &header.map(u64::to_le_bytes).concat());
        put(VECTOR, &[self.page + DATA, 1].map(u64::to_le_bytes).concat());
        put(ADDRESS, &self.address);
        put(CONTROL, &control_len.to_le_bytes());
        put(CONTROL + 8, &[libc::SOL_SOCKET, libc::SCM_RIGHTS].map(i32::to_le_bytes).concat());
        for (open, index) in some.iter().zip(0..) {
            put(CONTROL + 16 + 4 * index, &open.at.1.to_le_bytes());
        }
        self.tracer.memory.write(self.page, &page)?;
        let flags = (libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) as u64;
        self.scratch.value(libc::SYS_sendmsg, &[self.socket, self.page, flags])?;
        let received = loop {
            let message = kernel::receive(&self.mailbox, 0)?.ok_or_else(|| io::Error::other("nothing was sent"))?;
            // Any process can write to the address.
            if message.sender == Some(self.tracer.pid) {
                break message.rights;
            }
        };
        if received.len() != some.len() {
            return Err(io::Error::other("the limit of open files (ulimit -n) is too low for them"));
        }
        for (open, fd) in some.iter_mut().zip(received) {
            open.received = Some(fd);
        }
        Ok(())
    }

    fn finish(self) -> io::Result<()> {
        self.scratch.value(libc::SYS_close, &[self.socket])?;
        self.scratch.value(libc::SYS_munmap, &[self.page, 4096])?;
        self.scratch.finish().map_err(io::Error::other)
    }
}
