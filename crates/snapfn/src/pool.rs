//! Prepared instances.
//!
//! Each is a process of its own that has restored the snapshot and waits on a socket before the jump. A request removes
//! one from the list and sends it arguments, environment and streams. The pool never uses an instance twice.
//!
//! One thread ([`refill`]) makes all of them, so that an instance can be tied to the life of that thread. The pool
//! counts what it has made: in preparation, prepared, and running until the [`Lease`] of a released instance is
//! dropped.

mod refill;

use crate::Error;
use crate::request::{self, Strings};
use crate::snapshot::Snapshot;
use crate::spawn::Started;
use crate::stdio::Stream;
use crate::sys::{self, Event};
use refill::Parked;
use std::collections::VecDeque;
use std::ffi::CStr;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
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
    most: usize,
    at_once: usize,
    contained: bool,
    notice: Option<Notify>,
}

/// What a pool reports to the function of [`PoolOptions::notice`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Notice<'a> {
    /// One more instance is prepared.
    Prepared,
    /// An instance could not be prepared. The pool tries again.
    Failed(&'a Error),
}

#[derive(Clone)]
struct Notify(Arc<dyn Fn(Notice<'_>) + Send + Sync>);

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notify")
    }
}

impl PoolOptions {
    /// A pool of `size` instances.
    #[must_use]
    pub fn new(size: usize) -> Self {
        PoolOptions {
            size,
            populate: Populate::default(),
            rest: Duration::from_micros(500),
            most: usize::MAX,
            at_once: 1,
            contained: false,
            notice: None,
        }
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

    /// Sets how many processes of the pool there are at most: those in preparation, the prepared ones, and the released
    /// ones whose [`Child`](crate::Child) has neither returned a status nor been dropped. The default is no bound.
    ///
    /// [`Command::spawn`](crate::Command::spawn) starts an ordinary instance if none is prepared, and does not ask the
    /// bound; [`Command::spawn_prepared`](crate::Command::spawn_prepared) keeps it.
    #[must_use]
    pub fn most(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// Sets how many instances may be in preparation at once. The default is 1.
    #[must_use]
    pub fn at_once(mut self, count: usize) -> Self {
        self.at_once = count.max(1);
        self
    }

    /// Sets whether nothing of an instance is left over. Each instance then leads a process group of its own, and:
    ///
    /// - what is left of the group is killed when the instance has ended and is waited for;
    /// - dropping its [`Child`](crate::Child) kills the group and waits for the instance;
    /// - the kernel kills the instance (not its children) when this process ends, in whatever way, unless the program
    ///   has set another parent death signal before its snapshot point.
    ///
    /// The pool then lives until its released instances have ended.
    #[must_use]
    pub fn contained(mut self, contained: bool) -> Self {
        self.contained = contained;
        self
    }

    /// Calls `notice` on the pool's thread whenever an instance has been prepared or could not be. The function must
    /// return soon. It is not called for instances that [`PoolOptions::build`] waits for.
    #[must_use]
    pub fn notice(mut self, notice: impl Fn(Notice<'_>) + Send + Sync + 'static) -> Self {
        self.notice = Some(Notify(Arc::new(notice)));
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
        let (report, first) = mpsc::channel();
        let thread = {
            let inner = Arc::clone(&inner);
            thread::Builder::new().name("snapfn-pool".into()).spawn(move || refill::run(&inner, &report))
        };
        let thread = thread.map_err(Error::io("starting a thread"))?;
        let shared = Arc::new(Shared { inner, thread: Some(thread) });
        // The thread reports once; if it cannot even do that, it has ended.
        first.recv().unwrap_or(Err(Error::NotStarted { status: 125, message: "the pool has ended".to_owned() }))?;
        Ok(Pool { shared })
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
    preparing: usize,
    running: usize,
    /// How many prepared ones are wanted at this moment, if that is more than the pool's size.
    demand: usize,
    closed: bool,
    released: Option<Instant>,
    failure: Option<String>,
}

/// How many processes a pool has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Those that are being prepared.
    pub preparing: usize,
    /// Those that wait for a request.
    pub prepared: usize,
    /// Those that were released and have not ended, as far as the pool knows.
    pub running: usize,
}

/// A released instance, as its pool counts it: dropped when the instance has ended.
#[derive(Debug)]
pub(crate) struct Lease {
    inner: Arc<Inner>,
    /// Keeps the pool, whose thread's end would end the instance.
    keeps: Option<Arc<Shared>>,
    woken: bool,
    counted: bool,
}

impl Lease {
    /// Whether the instance leads a group that ends with it.
    pub(crate) fn contained(&self) -> bool {
        self.keeps.is_some()
    }

    /// Wakes the thread that prepares instances.
    pub(crate) fn replenish(&mut self) {
        if !self.woken {
            self.woken = true;
            self.inner.wake.notify();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.counted {
            let mut state = self.inner.state();
            state.running = state.running.saturating_sub(1);
            // Only now the bound may allow another one, or the thread of a closed pool end.
            self.woken &= self.inner.options.most == usize::MAX && !state.closed;
        }
        self.replenish();
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

    fn close(&self) {
        let ended = {
            let mut state = self.state();
            state.closed = true;
            std::mem::take(&mut state.parked)
        };
        drop(ended);
        self.wake.notify();
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

    /// How many processes it has at this moment.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let state = self.shared.inner.state();
        Counts { preparing: state.preparing, prepared: state.parked.len(), running: state.running }
    }

    /// Asks for `count` prepared instances at this moment, for example because as many requests wait. If that is more
    /// than the pool's size, the pool grows within its bound, and shrinks again, by one each half a second, when the
    /// demand is less.
    pub fn demand(&self, count: usize) {
        let inner = &*self.shared.inner;
        let mut state = inner.state();
        let more = count > state.demand && count > state.parked.len() + state.preparing;
        state.demand = count;
        drop(state);
        if more {
            inner.wake.notify();
        }
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
    ) -> Result<Option<(Started, Lease)>, Error> {
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
    pub(crate) fn send(&self, request: &[u8], fds: &[RawFd]) -> Option<(Started, Lease)> {
        let inner = &*self.shared.inner;
        let started = loop {
            let mut parked = {
                let mut state = inner.state();
                let Some(parked) = state.parked.pop_front() else { break None };
                // It counts from here on, so that no other one takes its place within the bound.
                state.running += 1;
                parked
            };
            let mut lease = self.lease();
            lease.counted = true;
            // If the instance has ended, the pool drops it and tries another one.
            if let Some(started) = parked.release(|to| sys::send(to.as_fd(), request, fds).is_ok()) {
                break Some((started, lease));
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

    /// What wakes the thread that prepares instances, when an instance that the pool has not made has had its time. It
    /// does not keep the pool alive.
    pub(crate) fn lease(&self) -> Lease {
        let keeps = self.shared.inner.options.contained.then(|| Arc::clone(&self.shared));
        Lease { inner: Arc::clone(&self.shared.inner), keeps, woken: false, counted: false }
    }

    /// Ends all instances that wait, and prepares no more. Released instances go on.
    pub fn close(&self) {
        self.shared.inner.close();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.inner.close();
        // The function that gets notices may have held the last clone, on that thread.
        if let Some(thread) = self.thread.take_if(|thread| thread.thread().id() != thread::current().id()) {
            let _ = thread.join();
        }
    }
}
