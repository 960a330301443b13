//! The thread that makes a pool's instances.
//!
//! It starts processes until enough of them are prepared or on their way, waits until one of those on their way is
//! prepared or another thread wakes it, and looks now and then for prepared instances that have ended.

use super::{Inner, Notice};
use crate::Error;
use crate::request::Strings;
use crate::spawn::{Start, Started, message};
use crate::sys::{self, Said};
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// The pause after a failure, so that a snapshot that can no longer be restored costs little.
const PAUSE: Duration = Duration::from_millis(100);
/// The time between two searches for prepared instances that have ended, and for those that are no longer wanted.
const PATROL: Duration = Duration::from_millis(500);
/// The longest time that a preparation may take: a process that something has stopped must not count for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// A prepared instance, or one that is being prepared. When it is dropped, it is ended.
#[derive(Debug)]
pub(super) struct Parked {
    started: Option<Started>,
    since: Instant,
}

impl Parked {
    fn socket(&self) -> RawFd {
        self.started.as_ref().map_or(-1, |started| started.report.as_raw_fd())
    }

    /// Hands it over if `accepts` says that it has accepted a request.
    pub(super) fn release(&mut self, accepts: impl FnOnce(&OwnedFd) -> bool) -> Option<Started> {
        self.started.take_if(|started| accepts(&started.report))
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

/// Reports to `first` when the pool is full for the first time, or that it cannot be filled, in which case the thread
/// ends. Then keeps it full until it is closed, and stays until the released instances that are tied to it have ended.
pub(super) fn run(inner: &Inner, first: &Sender<Result<(), Error>>) {
    let mut refill = Refill { inner, preparing: Vec::new(), pause: None, full: inner.options.size == 0 };
    if refill.full {
        let _ = first.send(Ok(()));
    }
    let mut next_patrol = Instant::now() + PATROL;
    while !inner.state().closed {
        let started = refill.start();
        let finished = refill.wait(PATROL);
        match started.and(finished) {
            Ok(()) if !refill.full && inner.state().parked.len() >= inner.options.size => {
                refill.full = true;
                let _ = first.send(Ok(()));
            }
            Err(error) if !refill.full => {
                let _ = first.send(Err(error));
                return;
            }
            Ok(()) => {}
            Err(error) => {
                inner.state().failure = Some(error.to_string());
                inner.notify(Notice::Failed(&error));
                refill.pause = Some(Instant::now() + PAUSE);
            }
        }
        if next_patrol <= Instant::now() {
            next_patrol = Instant::now() + PATROL;
            inner.patrol();
        }
    }
    drop(refill);
    // The end of this thread would end those that have a request.
    while inner.options.contained && inner.state().running > 0 {
        inner.wake.wait_or(&[], PATROL.as_millis() as i32);
    }
}

struct Refill<'a> {
    inner: &'a Inner,
    preparing: Vec<Parked>,
    /// After a failure: when the next attempt may be made.
    pause: Option<Instant>,
    /// The pool has been full.
    full: bool,
}

impl Refill<'_> {
    /// Starts the processes that are missing.
    fn start(&mut self) -> Result<(), Error> {
        while self.delay().is_none() && self.inner.missing() > 0 && self.preparing.len() < self.inner.options.at_once {
            self.preparing.push(self.inner.prepare()?);
            self.inner.state().preparing = self.preparing.len();
        }
        Ok(())
    }

    /// How long the next preparation has to wait: after a failure, and after a release while others are left.
    fn delay(&self) -> Option<Duration> {
        let now = Instant::now();
        let options = &self.inner.options;
        let state = self.inner.state();
        let rested = state.released.map(|at| at + options.rest).filter(|_| !state.parked.is_empty());
        [self.pause, rested].into_iter().flatten().filter_map(|until| until.checked_duration_since(now)).max()
    }

    /// Waits until one of those in preparation is prepared or has failed, or another thread wakes this one; at most for
    /// `longest`.
    fn wait(&mut self, longest: Duration) -> Result<(), Error> {
        let wanted = self.inner.missing() > 0 && self.preparing.len() < self.inner.options.at_once;
        let time = self.delay().filter(|_| wanted).map_or(longest, |delay| delay.min(longest));
        let sockets: Vec<RawFd> = self.preparing.iter().map(Parked::socket).collect();
        let ready = self.inner.wake.wait_or(&sockets, time.as_micros().div_ceil(1000).min(1000) as i32);
        let mut result = Ok(());
        for index in (0..self.preparing.len()).rev() {
            let is_late = self.preparing[index].since.elapsed() > PATIENCE;
            if !is_late && ready.get(index) != Some(&true) {
                continue;
            }
            let parked = self.preparing.swap_remove(index);
            let prepared = match is_late {
                true => Err(Error::NotStarted { status: 125, message: "snaprun: cannot prepare in time".to_owned() }),
                false => parked.is_parked(),
            };
            let mut state = self.inner.state();
            state.preparing = self.preparing.len();
            match prepared {
                Ok(()) if state.closed => {}
                Ok(()) => {
                    self.pause = None;
                    state.failure = None;
                    state.parked.push_back(parked);
                    drop(state);
                    if self.full {
                        self.inner.notify(Notice::Prepared);
                    }
                }
                Err(error) => result = Err(error),
            }
        }
        result
    }
}

impl Inner {
    fn notify(&self, notice: Notice<'_>) {
        if let Some(notify) = &self.options.notice {
            (notify.0)(notice);
        }
    }

    /// How many more have to be started.
    fn missing(&self) -> usize {
        let state = self.state();
        let waiting = state.parked.len() + state.preparing;
        let wanted = self.options.size.max(state.demand).saturating_sub(waiting);
        wanted.min(self.options.most.saturating_sub(waiting + state.running))
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
            contained: self.options.contained,
        };
        let pid = start.spawn()?;
        Ok(Parked { started: Some(Started { pid, report }), since: Instant::now() })
    }

    /// Drops prepared instances that have ended, and one of those that are more than wanted. A prepared instance sends
    /// nothing, so if its socket is readable, it has ended.
    fn patrol(&self) {
        let gone = {
            let mut state = self.state();
            let sockets: Vec<RawFd> = state.parked.iter().map(Parked::socket).collect();
            let mut ended = sys::poll(&sockets, 0).unwrap_or_default().into_iter();
            let all = std::mem::take(&mut state.parked);
            let (gone, left): (VecDeque<_>, _) = all.into_iter().partition(|_| ended.next().unwrap_or(false));
            state.parked = left;
            let extra = state.parked.len() > self.options.size.max(state.demand);
            (gone, if extra { state.parked.pop_back() } else { None })
        };
        drop(gone);
    }
}
