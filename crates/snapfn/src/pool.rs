//! Prepared instances.
//!
//! Each is a process of its own that has restored the snapshot and waits on a socket before the jump. A request removes
//! one from the list and sends it arguments, environment and streams. The pool never uses an instance twice; a thread
//! prepares another one. The thread also detects prepared instances that have ended.

use crate::Error;
use crate::request::{self, Strings};
use crate::snapshot::Snapshot;
use crate::spawn::{Start, Started, message};
use crate::stdio::Stream;
use crate::sys::{self, Event, Said};
use std::collections::VecDeque;
use std::ffi::CStr;
use std::fs::{self, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The pages that a prepared instance populates before it waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Populate {
    /// Only those that the restore writes: least memory.
    None,
    /// Page tables for all mappings, and own copies of small writable mappings (up to 1 MiB in all).
    #[default]
    Auto,
    /// Own copies of all writable pages: no page fault after the release, and the memory of an ordinary process.
    All,
}

impl Populate {
    fn option(self) -> &'static CStr {
        match self {
            Populate::None => c"none",
            Populate::Auto => c"auto",
            Populate::All => c"all",
        }
    }
}

/// How a [`Pool`] is made.
#[derive(Clone, Debug)]
pub struct PoolOptions {
    size: usize,
    populate: Populate,
    rest: Duration,
}

impl PoolOptions {
    /// A pool of `size` instances.
    #[must_use]
    pub fn new(size: usize) -> Self {
        PoolOptions { size, populate: Populate::default(), rest: Duration::from_micros(500) }
    }

    /// Sets the pages that the instances populate before they wait.
    #[must_use]
    pub fn populate(mut self, populate: Populate) -> Self {
        self.populate = populate;
        self
    }

    /// Sets the shortest time between a release and the preparation of the next instance, while others are left. So the
    /// released instance has the processor first. The default is half a millisecond.
    #[must_use]
    pub fn rest(mut self, rest: Duration) -> Self {
        self.rest = rest;
        self
    }

    /// Prepares the instances.
    ///
    /// # Errors
    /// When one cannot be prepared.
    pub fn build(self, snapshot: &Snapshot) -> Result<Pool, Error> {
        let wake = Event::new().map_err(Error::io("eventfd"))?;
        let (snapshot, state) = (snapshot.clone(), Mutex::default());
        let inner = Arc::new(Inner { snapshot, options: self, wake, directory: here(), state });
        let mut parked = VecDeque::new();
        for _ in 0..inner.options.size {
            parked.push_back(inner.prepare()?);
        }
        for instance in &parked {
            instance.is_parked()?;
        }
        inner.state().parked = parked;
        let thread = {
            let inner = Arc::clone(&inner);
            thread::Builder::new().name("snapfn-pool".into()).spawn(move || inner.refill())
        };
        let thread = Some(thread.map_err(Error::io("starting a thread"))?);
        Ok(Pool { shared: Arc::new(Shared { inner, thread }) })
    }
}

/// Prepared instances of a snapshot. Clones are the same pool. When the last clone is dropped, all instances that still
/// wait end.
///
/// A prepared instance has this process's resource limits, user, groups and umask as they were when it was prepared.
/// The working directory is that of the request.
#[derive(Clone, Debug)]
pub struct Pool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Inner {
    snapshot: Snapshot,
    options: PoolOptions,
    /// Wakes the thread that prepares instances.
    wake: Event,
    /// Device and number of the directory in which instances have been prepared.
    directory: Option<(u64, u64)>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    parked: VecDeque<Parked>,
    closed: bool,
    released: Option<Instant>,
    failure: Option<String>,
}

/// A prepared instance. When it is dropped, its socket closes, and so the instance ends.
#[derive(Debug)]
struct Parked {
    started: Option<Started>,
}

impl Parked {
    fn socket(&self) -> RawFd {
        self.started.as_ref().map_or(-1, |started| started.report.as_raw_fd())
    }

    /// Waits until it is prepared.
    fn is_parked(&self) -> Result<(), Error> {
        let Some(started) = &self.started else { return Ok(()) };
        match sys::said(&started.report, true).map_err(Error::io("waiting for a prepared instance"))? {
            Said::Parked => Ok(()),
            _ => {
                let message = message(&started.report).unwrap_or_else(|| "snaprun: ended while preparing".to_owned());
                Err(Error::NotStarted { status: 125, message })
            }
        }
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        if let Some(started) = self.started.take() {
            // It may be anywhere in its preparations.
            let _ = sys::kill(started.pid, libc::SIGKILL);
            let _ = sys::wait(started.pid, false);
        }
    }
}

/// The working directory of this process.
fn here() -> Option<(u64, u64)> {
    fs::metadata(".").ok().map(|meta| (meta.dev(), meta.ino()))
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn prepare(&self) -> Result<Parked, Error> {
        let snapshot = &self.snapshot.inner;
        let (report, theirs) = sys::socket_pair(snapshot.free).map_err(Error::io("socketpair"))?;
        let mut strings = Strings::new();
        strings.arg(self.snapshot.name())?;
        let start = Start {
            snapshot,
            options: &[c"--populate", self.options.populate.option()],
            report: (c"--park", &theirs),
            strings: &strings,
            streams: None,
            directory: None,
            umask: None,
        };
        let pid = start.spawn()?;
        Ok(Parked { started: Some(Started { pid, report }) })
    }

    /// Keeps the pool full until it is closed.
    fn refill(&self) {
        /// The pause after a failure, so that a snapshot that can no longer be restored costs little.
        const PAUSE: Duration = Duration::from_millis(100);
        /// The time between two searches for prepared instances that have ended.
        const PATROL: Duration = Duration::from_millis(500);
        let mut next_patrol = Instant::now() + PATROL;
        loop {
            let (closed, missing, last) = {
                let state = self.state();
                (state.closed, self.options.size.saturating_sub(state.parked.len()), state.released)
            };
            if closed {
                return;
            }
            if missing == 0 || next_patrol <= Instant::now() {
                next_patrol = Instant::now() + PATROL;
                self.drop_ended();
            }
            if missing == 0 {
                self.sleep(PATROL);
                continue;
            }
            if let Some(wait) = last.and_then(|at| (at + self.options.rest).checked_duration_since(Instant::now()))
                && missing < self.options.size
            {
                self.sleep(wait);
                continue;
            }
            let prepared = self.prepare().and_then(|parked| parked.is_parked().map(|()| parked));
            let mut state = self.state();
            match prepared {
                Ok(_) if state.closed => return,
                Ok(parked) => {
                    state.failure = None;
                    state.parked.push_back(parked);
                }
                Err(error) => {
                    state.failure = Some(error.to_string());
                    drop(state);
                    self.sleep(PAUSE);
                }
            }
        }
    }

    /// Sleeps until another thread wakes it, or for that time.
    fn sleep(&self, time: Duration) {
        let milliseconds = time.as_micros().div_ceil(1000).min(1000) as i32;
        self.wake.wait(milliseconds);
    }

    fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.parked.clear();
        self.wake.notify();
    }

    /// A prepared instance sends nothing, so if its socket is readable, it has ended.
    fn drop_ended(&self) {
        let mut state = self.state();
        let sockets: Vec<RawFd> = state.parked.iter().map(Parked::socket).collect();
        if let Ok(ended) = sys::poll(&sockets, 0) {
            let mut ended = ended.into_iter();
            state.parked.retain(|_| !ended.next().unwrap_or(false));
        }
    }
}

impl Pool {
    /// Makes a pool that keeps `size` instances prepared. Returns when the first ones are.
    ///
    /// # Errors
    /// When one cannot be prepared.
    pub fn new(snapshot: &Snapshot, size: usize) -> Result<Self, Error> {
        PoolOptions::new(size).build(snapshot)
    }

    /// The snapshot.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.shared.inner.snapshot
    }

    /// How many it keeps prepared.
    pub(crate) fn size(&self) -> usize {
        self.shared.inner.options.size
    }

    /// How many are prepared at this moment.
    #[must_use]
    pub fn prepared(&self) -> usize {
        self.shared.inner.state().parked.len()
    }

    /// Why the last attempt to prepare an instance failed, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.shared.inner.state().failure.clone()
    }

    /// Sends a request to a prepared instance. Returns `None` if no instance is prepared.
    pub(crate) fn release(
        &self,
        strings: &mut Strings,
        streams: &[Stream; 3],
        directory: Option<&Path>,
        umask: Option<u32>,
    ) -> Result<Option<Started>, Error> {
        let inner = &*self.shared.inner;
        let directory = match directory {
            None if here() == inner.directory => None,
            path => {
                let mut options = OpenOptions::new();
                options.read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY);
                let opened = options.open(path.unwrap_or(Path::new(".")));
                Some(OwnedFd::from(opened.map_err(Error::io("entering the working directory"))?))
            }
        };
        let fds = streams.each_ref().map(|stream| Some(stream.fd)).into_iter();
        let mut fds: Vec<Option<RawFd>> = fds.chain([directory.as_ref().map(AsRawFd::as_raw_fd)]).collect();
        // If this process does not have a stream, the instance does not get it.
        fds.iter_mut().for_each(|fd| *fd = fd.filter(|fd| *fd > 2 || sys::is_open(*fd)));
        let flags = (0..).zip(&fds).filter(|(_, fd)| fd.is_some()).map(|(index, _)| request::flag(index)).sum();
        let open: Vec<RawFd> = fds.into_iter().flatten().collect();
        Ok(self.send(strings.request(flags, umask), &open))
    }

    /// Sends a request to a prepared instance. Returns `None` if no instance accepts it.
    pub(crate) fn send(&self, request: &[u8], fds: &[RawFd]) -> Option<Started> {
        let inner = &*self.shared.inner;
        let started = loop {
            let Some(mut parked) = inner.state().parked.pop_front() else { break None };
            // If the instance has ended, the pool drops it and tries another one.
            if let Some(started) = parked.started.take_if(|to| sys::send(to.report.as_fd(), request, fds).is_ok()) {
                break Some(started);
            }
        };
        let left = {
            let mut state = inner.state();
            state.released = Some(Instant::now());
            state.parked.len()
        };
        // To wake the thread that prepares the next one costs as much as all the rest. If enough instances are left,
        // that can wait until the caller waits for this one.
        if left < inner.options.size.div_ceil(2) {
            inner.wake.notify();
        }
        started
    }

    /// Wakes the thread that prepares instances when a released instance has had its time. It does not keep the pool
    /// alive.
    pub(crate) fn wake(&self) -> Event {
        self.shared.inner.wake.clone()
    }

    /// Ends all instances that wait, and prepares no more.
    pub(crate) fn close(&self) {
        self.shared.inner.close();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.inner.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
