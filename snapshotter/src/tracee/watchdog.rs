//! Ends a program that does not come to its point in time.

use super::TraceError;
use super::ptrace::{self, Tid};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Kills the program when its time is up.
pub(super) struct Watchdog {
    expired: Arc<AtomicBool>,
    done: mpsc::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Watchdog {
    pub(super) fn start(pid: Tid, limit: Duration) -> Result<Self, TraceError> {
        let expired = Arc::new(AtomicBool::new(false));
        let (done, signal) = mpsc::channel::<()>();
        let flag = Arc::clone(&expired);
        let thread = thread::Builder::new().spawn(move || {
            if signal.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                flag.store(true, Ordering::SeqCst);
                ptrace::kill(pid, libc::SIGKILL);
            }
        });
        let thread = thread.map_err(TraceError::system("starting a thread"))?;
        Ok(Watchdog { expired, done, thread })
    }

    /// Whether it had to act.
    pub(super) fn stop(self) -> bool {
        let _ = self.done.send(());
        let _ = self.thread.join();
        self.expired.load(Ordering::SeqCst)
    }
}
