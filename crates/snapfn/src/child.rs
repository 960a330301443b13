//! A started instance.

use crate::Error;
use crate::pool::Lease;
use crate::spawn::{Started, message};
use crate::stdio::Stream;
use crate::sys;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStderr, ChildStdin, ChildStdout, ExitStatus, Output};

/// A started instance: a child of this process, like [`std::process::Child`]. Dropping it neither ends it nor waits for
/// it, unless it came from a pool that is [contained](crate::PoolOptions::contained).
#[derive(Debug)]
pub struct Child {
    /// The other end of its standard input, if that is [piped](crate::Stdio::piped).
    pub stdin: Option<ChildStdin>,
    /// The other end of its standard output, if that is piped.
    pub stdout: Option<ChildStdout>,
    /// The other end of its standard error, if that is piped.
    pub stderr: Option<ChildStderr>,
    pid: i32,
    status: Option<ExitStatus>,
    /// The descriptor on which `snaprun` reports why there is no instance.
    report: OwnedFd,
    failure: Option<String>,
    /// What the pool counts, and wakes its thread by, until the instance has ended.
    lease: Option<Lease>,
    /// It leads a process group, which ends with it.
    contained: bool,
}

impl Child {
    pub(crate) fn new(started: Started, streams: [Stream; 3], lease: Option<Lease>) -> Self {
        let [stdin, stdout, stderr] = streams.map(|stream| stream.ours);
        Child {
            stdin: stdin.map(ChildStdin::from),
            stdout: stdout.map(ChildStdout::from),
            stderr: stderr.map(ChildStderr::from),
            pid: started.pid,
            status: None,
            report: started.report,
            failure: None,
            contained: lease.as_ref().is_some_and(Lease::contained),
            lease,
        }
    }

    /// The PID of the instance, which is the process that was started.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// A descriptor of the process, which `poll` reports as readable after the process has ended (Linux 5.3).
    ///
    /// # Errors
    /// When the kernel has none, or it has been waited for.
    pub fn pidfd(&self) -> io::Result<OwnedFd> {
        match self.status {
            Some(_) => Err(io::ErrorKind::NotFound.into()),
            None => sys::pidfd(self.pid),
        }
    }

    /// Sends `SIGKILL`, also to the other processes of the group of an instance that is
    /// [contained](crate::PoolOptions::contained). If the instance has been waited for, the call does nothing.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&mut self) -> io::Result<()> {
        match self.status {
            Some(_) => Ok(()),
            None => sys::kill(if self.contained { -self.pid } else { self.pid }, libc::SIGKILL),
        }
    }

    /// Sends a signal to the instance. If it has been waited for, the call does nothing.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn signal(&mut self, signal: i32) -> io::Result<()> {
        match self.status {
            Some(_) => Ok(()),
            None => sys::kill(self.pid, signal),
        }
    }

    /// Closes its standard input and waits for its end.
    ///
    /// # Errors
    /// [`Error::NotStarted`] if it never became an instance.
    pub fn wait(&mut self) -> Result<ExitStatus, Error> {
        drop(self.stdin.take());
        self.replenish();
        if self.status.is_none() {
            let status = self.reap(false).map_err(Error::io("waiting for the instance"))?;
            self.ended(status);
        }
        self.result().map(|status| status.unwrap_or_default())
    }

    /// The status of the instance if it has ended.
    ///
    /// # Errors
    /// As [`Child::wait`].
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>, Error> {
        if self.status.is_none() {
            let status = self.reap(true).map_err(Error::io("waiting for the instance"))?;
            self.ended(status);
        }
        self.result()
    }

    /// Waits for its end, and meanwhile reads all of its piped output.
    ///
    /// # Errors
    /// As [`Child::wait`], or when reading fails.
    pub fn wait_with_output(mut self) -> Result<Output, Error> {
        drop(self.stdin.take());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let out = self.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
        let err = self.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
        let read = |pipe: Option<Box<dyn Read + Send>>, to: &mut Vec<u8>| match pipe {
            Some(mut pipe) => pipe.read_to_end(to).map(drop),
            None => Ok(()),
        };
        // Both pipes are read at once, or the instance could wait for the one that is not read. A thread is needed only
        // for the second pipe.
        let read = if out.is_some() && err.is_some() {
            std::thread::scope(|scope| {
                let other = scope.spawn(|| read(err, &mut stderr));
                read(out, &mut stdout).and(other.join().unwrap_or(Ok(())))
            })
        } else {
            read(out, &mut stdout).and_then(|()| read(err, &mut stderr))
        };
        read.map_err(Error::io("reading the instance's output"))?;
        Ok(Output { status: self.wait()?, stdout, stderr })
    }

    /// The instance has had the processor for itself: the pool prepares the next one.
    fn replenish(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.replenish();
        }
    }

    /// The status, if it has ended. What is left of its group ends before its PID may be another process's.
    fn reap(&self, only_look: bool) -> io::Result<Option<i32>> {
        if self.contained {
            if !sys::has_ended(self.pid, only_look)? {
                return Ok(None);
            }
            let _ = sys::kill(-self.pid, libc::SIGKILL);
        }
        sys::wait(self.pid, only_look)
    }

    /// Keeps the status. If the status may be `snaprun`'s own, reads the message of `snaprun`, if there is one.
    fn ended(&mut self, status: Option<i32>) {
        self.status = status.map(ExitStatus::from_raw);
        if self.status.is_some() {
            drop(self.lease.take());
        }
        if matches!(self.status.and_then(|status| status.code()), Some(125..=127)) {
            self.failure = message(&self.report);
        }
    }

    fn result(&self) -> Result<Option<ExitStatus>, Error> {
        match (&self.failure, self.status) {
            (Some(message), Some(status)) => {
                Err(Error::NotStarted { status: status.code().unwrap_or(125), message: message.clone() })
            }
            (_, status) => Ok(status),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.contained && self.status.is_none() {
            let _ = self.kill();
            let _ = self.reap(false);
        }
    }
}
