//! One instance, from its release to its end. Whatever becomes of the request, the instance is ended and waited for.

mod exiting;

use crate::observe::{Opened, RequestLog};
use rustix::io::Errno;
use snapfn::Child;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::unix::pipe::Receiver;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

/// A running instance. Dropping it kills its process group; a task then waits for it.
#[derive(Debug)]
pub(crate) struct Instance {
    running: Option<(Child, AsyncFd<OwnedFd>, (Counted, Opened))>,
    pub(crate) log: Arc<RequestLog>,
}

/// How many instances of all functions, old and new, have a request or have not ended after it. Clones count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Running(Arc<AtomicUsize>);

impl Running {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn one_more(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Running);

impl Drop for Counted {
    fn drop(&mut self) {
        (self.0).0.fetch_sub(1, Ordering::Release);
    }
}

impl Instance {
    #[allow(unsafe_code)] // the descriptor that is watched
    pub(crate) fn new(child: Child, log: Arc<RequestLog>, counted: (Counted, Opened)) -> io::Result<Self> {
        // SAFETY: the descriptor stays open, and the same one, as long as the AsyncFd owns it.
        let pidfd = unsafe { AsyncFd::register_with_interest(child.pidfd()?, Interest::READABLE) }?;
        Ok(Instance { running: Some((child, pidfd, counted)), log })
    }

    /// Its standard output, if that is a pipe.
    pub(crate) fn stdout(&mut self) -> io::Result<Receiver> {
        let pipe = self.running.as_mut().and_then(|(child, ..)| child.stdout.take());
        Receiver::from_owned_fd(pipe.ok_or(io::ErrorKind::NotFound)?.into())
    }

    /// Makes lines of the log of what it writes to standard error.
    pub(crate) fn log_stderr(&mut self) -> io::Result<()> {
        let pipe = self.running.as_mut().and_then(|(child, ..)| child.stderr.take());
        let pipe = Receiver::from_owned_fd(pipe.ok_or(io::ErrorKind::NotFound)?.into())?;
        tokio::spawn(log_lines(pipe, Arc::clone(&self.log)));
        Ok(())
    }

    /// Waits for its end. What was left of its group is gone then.
    pub(crate) async fn ended(&mut self) -> Result<ExitStatus, String> {
        let Some((child, pidfd, _)) = &mut self.running else { return Err("it was waited for".to_owned()) };
        let status = ended(child, pidfd).await;
        self.running = None;
        status
    }

    /// The end of its output has been read. Returns whether that is the end of its answer: not if a signal has
    /// ended it. A program that closes its output itself may go on working; it is given to [`Instance::finish`].
    pub(crate) async fn verdict(mut self, deadline: Instant) -> Result<(), String> {
        let Some((child, ..)) = &mut self.running else { return Ok(()) };
        let is_exiting = exiting::is_exiting(child.id());
        if !is_exiting {
            self.finish(None, deadline);
            return Ok(());
        }
        let status = timeout_at(deadline, self.ended()).await.map_err(|_| "it did not end in time".to_owned())??;
        self.log_status(status);
        match status.signal() {
            Some(signal) => Err(format!("signal {signal} ended it")),
            None => Ok(()),
        }
    }

    /// Its answer is complete: it may do what it likes until the deadline. The rest of its output is thrown away.
    pub(crate) fn finish(mut self, output: Option<Receiver>, deadline: Instant) {
        tokio::spawn(async move {
            let end = async {
                if let Some(mut output) = output {
                    let mut buffer = vec![0; 8192];
                    while matches!(output.read(&mut buffer).await, Ok(1..)) {}
                }
                self.ended().await
            };
            match timeout_at(deadline, end).await {
                Ok(Ok(status)) => self.log_status(status),
                Ok(Err(why)) => self.log.line("error", &why),
                Err(_) => self.log.line("warn", "the instance has not ended by its deadline, it is killed"),
            }
        });
    }

    fn log_status(&self, status: ExitStatus) {
        if !status.success() {
            self.log.line("warn", &format!("the instance has ended: {status}"));
        }
    }
}

async fn ended(child: &mut Child, pidfd: &mut AsyncFd<OwnedFd>) -> Result<ExitStatus, String> {
    loop {
        let mut ready = pidfd.readable().await.map_err(|error| error.to_string())?;
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => ready.clear_ready(),
            Err(error) => return Err(error.to_string()),
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let Some((mut child, mut pidfd, counted)) = self.running.take() else { return };
        let _ = child.kill();
        // Without a runtime, and where the runtime ends, dropping the child waits for it.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                let _ = ended(&mut child, &mut pidfd).await;
                drop(counted);
            });
        }
    }
}

/// Longest line of a function that is kept whole, and most bytes of a request's lines.
const LINE_MAX: usize = 8 << 10;
const LINES_MAX: usize = 1 << 20;

async fn log_lines(mut pipe: Receiver, log: Arc<RequestLog>) {
    let mut buffer = Vec::with_capacity(1024);
    let mut total = 0;
    loop {
        let count = match pipe.read_buf(&mut buffer).await {
            Ok(count) => count,
            Err(error) if error.raw_os_error() == Some(Errno::INTR.raw_os_error()) => continue,
            Err(_) => 0,
        };
        total += count;
        if total > LINES_MAX {
            log.line("warn", "the function has written too much to standard error, the rest is not logged");
            // The pipe must not fill up, or the function would wait.
            let mut rest = [0; 4096];
            while matches!(pipe.read(&mut rest).await, Ok(1..)) {}
            return;
        }
        while let Some(line) = next_line(&mut buffer) {
            log.stderr(&line);
        }
        if count == 0 {
            if !buffer.is_empty() {
                log.stderr(&buffer);
            }
            return;
        }
    }
}

/// Takes the first line off the buffer, if it is complete or too long.
fn next_line(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    match buffer.iter().take(LINE_MAX).position(|byte| *byte == b'\n') {
        Some(end) => {
            let mut line: Vec<u8> = buffer.drain(..=end).collect();
            line.pop();
            Some(line)
        }
        None => (buffer.len() >= LINE_MAX).then(|| buffer.drain(..LINE_MAX).collect()),
    }
}
