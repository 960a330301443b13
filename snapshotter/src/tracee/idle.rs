//! The point where every task of the program waits.

use super::ptrace::{self, Stop, Tid};
use super::run::{Reached, Tracer};
use super::{Status, TraceError};
use std::fs;
use std::time::{Duration, Instant};

/// How often it is looked whether the tasks wait.
const LOOK: Duration = Duration::from_millis(2);

impl Tracer {
    /// Waits for the next stop of a task. `None`: for `time` there was none, and every task waits in a system call.
    pub(super) fn wait_until_idle(&self, time: Duration) -> Result<Option<(Tid, Stop)>, TraceError> {
        let mut since = Instant::now();
        loop {
            if let Some(stopped) = ptrace::try_wait(-1).map_err(TraceError::system("wait4"))? {
                return Ok(Some(stopped));
            }
            // A task that computes makes no stops either.
            if !self.tasks.keys().all(|tid| self.waits(*tid)) {
                since = Instant::now();
            }
            if since.elapsed() >= time {
                return Ok(None);
            }
            std::thread::sleep(LOOK.min(time));
        }
    }

    fn waits(&self, tid: Tid) -> bool {
        let sleeps = Status::read(self.pid, tid).is_ok_and(|status| status.get("State").starts_with('S'));
        let call = fs::read_to_string(format!("/proc/{}/task/{tid}/syscall", self.pid));
        sleeps && call.is_ok_and(|call| !call.starts_with("running"))
    }

    /// Stops the first thread in the call in which it waits.
    pub(super) fn interrupt_first(&mut self) -> Result<Reached, TraceError> {
        let pid = self.pid;
        ptrace::interrupt(pid).map_err(TraceError::system("ptrace(PTRACE_INTERRUPT)"))?;
        let Some(frozen) = self.wait_stopped(pid)? else {
            let output = self.spawned.output.tail();
            return Err(TraceError::Exited { status: 0, output });
        };
        Ok(Reached {
            at_entry: frozen.at_entry,
            survivor: frozen.survivor,
            timeout: frozen.timeout,
            ..Reached::outside(pid, frozen.instance)
        })
    }
}
