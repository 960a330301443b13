//! Helper processes of an experiment.
#![allow(unsafe_code)] // fork

use nix::errno::Errno;

use crate::sys;

/// A forked child; killed and reaped when dropped.
pub(crate) struct Child(i32);

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

impl Child {
    /// Runs `body` in a child, which exits with the result of `body`.
    pub(crate) fn spawn(body: impl FnOnce() -> i32) -> Result<Self, Errno> {
        // SAFETY: experiments run in a process with one thread, so the child is a full copy.
        let pid = Errno::result(unsafe { libc::fork() })?;
        if pid == 0 {
            sys::die_with_parent();
            sys::exit_now(body());
        }
        Ok(Self(pid))
    }

    /// Runs `body` in a child, which stays until it is dropped; returns once `body` has run.
    pub(crate) fn parked(body: impl FnOnce()) -> Result<Self, Errno> {
        let (ready, tell) = sys::pipe()?;
        let child = Self::spawn(|| {
            body();
            if nix::unistd::write(&tell, &[1]).is_err() {
                return 1;
            }
            loop {
                sys::pause();
            }
        })?;
        // After this close only the child has the writing end, so its death is the end of the file.
        drop(tell);
        match sys::read(&ready, &mut [0])? {
            1 => Ok(child),
            _ => Err(Errno::ECHILD),
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.0
    }

    /// Waits for the end.
    pub(crate) fn end(self) -> Result<End, Errno> {
        let status = sys::wait4(self.0, libc::__WALL)?.1;
        std::mem::forget(self);
        Ok(if libc::WIFEXITED(status) {
            End::Exited(libc::WEXITSTATUS(status))
        } else {
            End::Killed(libc::WTERMSIG(status))
        })
    }

    /// Gives up the child: the caller reaps it.
    pub(crate) fn release(self) -> i32 {
        let pid = self.0;
        std::mem::forget(self);
        pid
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = sys::kill(self.0, libc::SIGKILL);
        while let Ok((_, status)) = sys::wait4(self.0, libc::__WALL) {
            if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
                break;
            }
        }
    }
}

/// How a child that runs `body`, which may crash, ends.
pub(crate) fn fate_of(body: impl FnOnce()) -> Result<End, Errno> {
    Child::spawn(|| {
        sys::crash_silently();
        body();
        0
    })?
    .end()
}
