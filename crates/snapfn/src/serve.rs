//! The pool as a program: serves a Unix socket. docs/howto/pool.md has the protocol.
//!
//! Each client has a thread. The thread reads one request, sends it to a prepared instance (or starts an ordinary one),
//! replies with the PID, and then waits for the end of the instance or of the client. If the client goes, the instance
//! ends.

use crate::child::Child;
use crate::pool::{Pool, PoolOptions};
use crate::request::{self, Strings};
use crate::snapshot::Snapshot;
use crate::socket::{Listener, peer_user};
use crate::stdio::Stream;
use crate::{Error, spawn, sys};
use snapfn_format::FormatError;
use snapfn_format::request::{
    DESCRIPTORS_MAX, DIRECTORY, REPLY_ENDED, REPLY_REFUSED, REPLY_STARTED, Reply, RequestHeader, TEXT_MAX, UMASK_KEPT,
};
use snapfn_format::store::OVERFLOW_USER;
use snapfn_store::tells_users;
use std::ffi::CString;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use zerocopy::{FromZeros, IntoBytes};

/// A client has to send its request, and to read each reply, within this time.
const PATIENCE: Duration = Duration::from_secs(10);
/// Number of threads that wait for clients. Further threads end when they have served one client.
const IDLE_MAX: usize = 8;
/// Descriptors that a client costs.
const DESCRIPTORS_EACH: u64 = 8;
/// The stack of a thread that only copies requests.
const STACK: usize = 128 << 10;

#[derive(Debug)]
struct Server {
    pool: Pool,
    listener: Listener,
    most: usize,
    counts: Mutex<Counts>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Counts {
    waiting: usize,
    serving: usize,
}

/// Serves `socket` until a signal ends it. It then waits for running instances, until a second signal.
///
/// # Errors
/// When the snapshot cannot be used, or the socket.
pub fn serve(snapshot: &Snapshot, options: PoolOptions, socket: &Path) -> Result<(), Error> {
    sys::block_termination();
    let pool = options.build(snapshot)?;
    let size = pool.size();
    let listener = Listener::bind(socket).map_err(Error::io("listening on the socket"))?;
    let most = (sys::descriptor_limit().saturating_sub(size as u64 + 64) / DESCRIPTORS_EACH).clamp(4, 1024) as usize;
    let server = Arc::new(Server { pool, listener, most, counts: Mutex::default(), changed: Condvar::new() });
    for _ in 0..2 {
        server.spawn().map_err(Error::io("starting a thread"))?;
    }
    sys::next_signal();
    server.listener.remove();
    server.pool.close();
    thread::spawn(|| {
        sys::next_signal();
        std::process::exit(0);
    });
    let mut counts = server.counts();
    while counts.serving > 0 {
        counts = server.changed.wait(counts).unwrap_or_else(PoisonError::into_inner);
    }
    Ok(())
}

impl Server {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(self: &Arc<Self>) -> io::Result<()> {
        let server = Arc::clone(self);
        thread::Builder::new().name("client".into()).stack_size(STACK).spawn(move || server.work()).map(drop)
    }

    fn work(self: Arc<Self>) {
        loop {
            self.counts().waiting += 1;
            let accepted = self.listener.socket.accept();
            let more = {
                let mut counts = self.counts();
                counts.waiting -= 1;
                counts.serving += usize::from(accepted.is_ok());
                counts.waiting == 0 && counts.serving < self.most
            };
            let Ok((client, _)) = accepted else {
                // Most likely the process is out of descriptors, and a client ends soon.
                thread::sleep(Duration::from_millis(10));
                continue;
            };
            if more {
                // Without one, clients wait for this thread.
                let _ = self.spawn();
            }
            // If the reply cannot be sent, the client has gone.
            let _ = self.handle(&client);
            drop(client);
            let mut counts = self.counts();
            counts.serving -= 1;
            let enough = counts.waiting >= IDLE_MAX;
            self.changed.notify_all();
            if enough {
                return;
            }
        }
    }

    fn handle(&self, client: &UnixStream) -> io::Result<()> {
        client.set_write_timeout(Some(PATIENCE))?;
        // In a user namespace that number may be anybody's, this user's included.
        let peer = peer_user(client.as_fd())?;
        if peer != sys::user() || (peer == OVERFLOW_USER && !tells_users()) {
            return refuse(client, 126, "this pool is another user's");
        }
        let (header, strings, fds) = match read_request(client) {
            Ok(request) => request,
            Err(why) => return refuse(client, 125, &why.to_string()),
        };
        let mut strings = Strings::received(&header, &strings, self.pool.snapshot().name());
        let started = self.start(&header, &mut strings, &fds);
        drop(fds);
        let mut child = match started {
            Ok(child) => child,
            Err(error) => return refuse(client, error.exit_status(), &error.to_string()),
        };
        let pidfd = child.pidfd()?;
        let began = reply(client, REPLY_STARTED, child.id(), b"", &[pidfd.as_raw_fd()]);
        // The client sends nothing more: any further byte, or its end, means the end of the instance.
        let gone = began.is_err() || sys::poll(&[client.as_raw_fd(), pidfd.as_raw_fd()], -1)?.first() == Some(&true);
        if gone {
            sys::pidfd_kill(&pidfd, libc::SIGKILL)?;
        }
        match child.wait() {
            Ok(status) => reply(client, REPLY_ENDED, status.into_raw() as u32, b"", &[]),
            Err(Error::NotStarted { status, message }) => refuse(client, status, &message),
            Err(error) => refuse(client, 125, &error.to_string()),
        }
    }

    /// A prepared instance, else an ordinary one.
    fn start(&self, header: &RequestHeader, strings: &mut Strings, fds: &[OwnedFd]) -> Result<Child, Error> {
        let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let umask = (header.umask != UMASK_KEPT).then_some(header.umask);
        if strings.fits()
            && let Some((started, lease)) = self.pool.send(strings.request(header.flags, umask), &numbers)
        {
            return Ok(Child::new(started, [Stream::NONE; 3], Some(lease)));
        }
        let mut numbers = numbers.into_iter();
        let mut next = |index| if header.flags & request::flag(index) != 0 { numbers.next() } else { None };
        let streams = [next(0), next(1), next(2)].map(|fd| fd.unwrap_or(-1));
        let directory = next(3).and_then(|fd| CString::new(format!("/proc/self/fd/{fd}")).ok());
        let started = spawn::start(self.pool.snapshot(), c"--report", strings, streams, directory.as_deref(), umask)?;
        Ok(Child::new(started, [Stream::NONE; 3], Some(self.pool.lease())))
    }
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{0}")]
    Format(#[from] FormatError),
    #[error("the request does not come with the descriptors that it names")]
    Descriptors,
    #[error("the request is not complete: {0}")]
    Io(#[from] io::Error),
}

/// Reads a request. It checks the length before it reserves memory, and holds no more descriptors than one request may
/// have.
fn read_request(client: &UnixStream) -> Result<(RequestHeader, Vec<u8>, Vec<OwnedFd>), Refused> {
    let deadline = Instant::now() + PATIENCE;
    let mut fds = Vec::new();
    let mut read = |buffer: &mut [u8]| -> Result<(), Refused> {
        let mut done = 0;
        while done < buffer.len() {
            let left = deadline.saturating_duration_since(Instant::now());
            client.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            match sys::receive(client.as_fd(), &mut buffer[done..], &mut fds)? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                count => done += count,
            }
            if fds.len() > DESCRIPTORS_MAX {
                return Err(Refused::Descriptors);
            }
        }
        Ok(())
    };
    let mut header = RequestHeader::new_zeroed();
    read(header.as_mut_bytes())?;
    header.check()?;
    let mut strings = vec![0; header.strings as usize];
    read(&mut strings)?;
    header.check_strings(&strings)?;
    let directory = header.flags & DIRECTORY == 0 || fds.last().is_some_and(|fd| is_directory(fd).unwrap_or(false));
    if fds.len() != header.descriptors() || !directory {
        return Err(Refused::Descriptors);
    }
    Ok((header, strings, fds))
}

fn is_directory(fd: &OwnedFd) -> io::Result<bool> {
    Ok(fs::File::from(fd.try_clone()?).metadata()?.is_dir())
}

fn refuse(client: &UnixStream, status: i32, why: &str) -> io::Result<()> {
    let text = why.as_bytes();
    reply(client, REPLY_REFUSED, status.unsigned_abs(), &text[..text.len().min(TEXT_MAX as usize)], &[])
}

fn reply(mut client: &UnixStream, kind: u32, value: u32, text: &[u8], fds: &[RawFd]) -> io::Result<()> {
    let reply = Reply { kind, value, text: text.len() as u32, reserved: 0 };
    sys::send(client.as_fd(), reply.as_bytes(), fds)?;
    client.write_all(text)
}
