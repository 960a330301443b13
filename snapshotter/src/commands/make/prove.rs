//! Proof that a snapshot can be started: `snaprun` prepares one instance of the file that was written, up to the jump,
//! and drops it. No instruction of the program runs.
//!
//! The proof holds for this host, this user and these limits. It says nothing about other users of a shared snapshot or
//! about other hosts; `snapshotter check` answers there.
#![allow(unsafe_code)] // pre_exec, system calls

use crate::tracee::Deadline;
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fs::File;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use thiserror::Error;

/// Why no instance can be started.
#[derive(Debug, Error)]
pub(super) enum ProofError {
    #[error("an instance cannot be started here: {0}")]
    Refused(String),
    #[error("{} prepared no instance: {what}", snaprun.display())]
    Silent { snaprun: PathBuf, what: String },
    #[error("an instance was not prepared within {seconds} s (--timeout)")]
    Overdue { seconds: f64 },
    #[error("cannot run {}: {source}", snaprun.display())]
    System { snaprun: PathBuf, source: io::Error },
}

/// A file that may become a snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) path: &'a Path,
    /// The first number above all descriptors of an instance.
    pub(super) free: RawFd,
    pub(super) allow_wx: bool,
}

/// Prepares one instance with `snaprun`: the time from its `execve` to the jump.
pub(super) fn prove(candidate: Candidate<'_>, snaprun: &Path, deadline: Deadline) -> Result<Duration, ProofError> {
    let system = |source| ProofError::System { snaprun: snaprun.to_owned(), source };
    let path = std::path::absolute(candidate.path).map_err(system)?;
    let (mut reader, mut child) = spawn(&path, candidate, snaprun).map_err(system)?;
    let mut report = Vec::new();
    let in_time = read_until(&mut reader, &mut report, deadline);
    if !matches!(in_time, Ok(true)) {
        let _ = child.kill();
    }
    let status = child.wait().map_err(system)?;
    match in_time.map_err(system)? {
        false => Err(ProofError::Overdue { seconds: deadline.seconds() }),
        true => read_report(&report, status, &path, snaprun),
    }
}

/// Starts `snaprun --prove`, which gets the writing end of the pipe above all numbers that it needs itself.
fn spawn(path: &Path, candidate: Candidate<'_>, snaprun: &Path) -> io::Result<(PipeReader, Child)> {
    let (reader, writer) = io::pipe()?;
    let writer = above(writer.into(), candidate.free)?;
    let number = writer.as_raw_fd();
    let mut command = Command::new(snaprun);
    command.arg("--prove").arg(number.to_string()).args(candidate.allow_wx.then_some("--allow-wx"));
    command.arg("--local").arg("--").arg(path);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: only system calls between fork and execve; the descriptor is open in the child, too.
    unsafe {
        command.pre_exec(move || {
            let begin = now().to_le_bytes();
            let ready = libc::fcntl(number, libc::F_SETFD, 0) == 0
                && libc::write(number, begin.as_ptr().cast(), begin.len()) == begin.len() as isize;
            if ready { Ok(()) } else { Err(io::Error::last_os_error()) }
        });
    }
    // With the writing end, which the child alone may keep.
    let child = command.spawn()?;
    drop(writer);
    Ok((reader, child))
}

/// The descriptor at a number from `least` on. The soft limit may end below it; the program's own is in the snapshot.
fn above(fd: OwnedFd, least: RawFd) -> io::Result<OwnedFd> {
    let duplicate = || {
        // SAFETY: integers; a new descriptor is nobody else's.
        match unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, least.max(3)) } {
            -1 => Err(Errno::last()),
            // SAFETY: as above.
            number => Ok(unsafe { OwnedFd::from_raw_fd(number) }),
        }
    };
    match duplicate() {
        Err(Errno::EINVAL | Errno::EMFILE) => {
            let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
            let duplicated = duplicate();
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
            Ok(duplicated?)
        }
        duplicated => Ok(duplicated?),
    }
}

/// CLOCK_MONOTONIC in nanoseconds.
fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a live structure.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Reads to the end, which comes when the child has ended; false when the time is up before.
fn read_until(reader: &mut PipeReader, into: &mut Vec<u8>, deadline: Deadline) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    while wait_readable(reader, deadline)? {
        match reader.read(&mut buffer)? {
            0 => return Ok(true),
            count => into.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(false)
}

/// Waits until there is something to be read, or the end; false when the time is up before.
pub(super) fn wait_readable(reader: &PipeReader, deadline: Deadline) -> io::Result<bool> {
    loop {
        let mut wanted = libc::pollfd { fd: reader.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let left = deadline.left().as_millis().clamp(1, 1 << 30) as libc::c_int;
        // SAFETY: one live structure.
        match Errno::result(unsafe { libc::poll(&raw mut wanted, 1, left) }) {
            Ok(0) if deadline.left().is_zero() => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Two time stamps, or one and a message.
fn read_report(report: &[u8], status: ExitStatus, path: &Path, snaprun: &Path) -> Result<Duration, ProofError> {
    let (words, rest) = report.as_chunks::<8>();
    match (status.success(), words, rest) {
        (true, [begin, end], []) => {
            Ok(Duration::from_nanos(u64::from_le_bytes(*end).saturating_sub(u64::from_le_bytes(*begin))))
        }
        (false, [_, ..], _) if report.len() > 8 => {
            let text = String::from_utf8_lossy(&report[8..]);
            let prefix = format!("snaprun: {}: ", path.display());
            Err(ProofError::Refused(text.trim_end().trim_start_matches(&prefix).to_owned()))
        }
        _ => {
            let what = match (status.code(), status.signal()) {
                (Some(code), _) => format!("it ended with status {code} and no message; is it of another version?"),
                (None, signal) => format!("signal {} ended it", signal.unwrap_or(0)),
            };
            Err(ProofError::Silent { snaprun: snaprun.to_owned(), what })
        }
    }
}

/// `snaprun` beside this program, in ../bin, or in the search path.
pub(in crate::commands) fn find_snaprun() -> Option<PathBuf> {
    let own = std::env::current_exe().unwrap_or_default();
    let dir = own.parent().unwrap_or(Path::new("/"));
    let beside = [dir.join("snaprun"), dir.join("../bin/snaprun")];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates = beside.into_iter().chain(std::env::split_paths(&path).map(|dir| dir.join("snaprun")));
    candidates.into_iter().find(|path| File::open(path).is_ok() && path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(report: &[u8], status: i32) -> Result<Duration, ProofError> {
        read_report(report, ExitStatus::from_raw(status), Path::new("/s/tmp/1"), Path::new("snaprun"))
    }

    #[test]
    fn a_report_is_two_time_stamps_or_a_message() {
        let stamps = [1000u64.to_le_bytes(), 1_501_000u64.to_le_bytes()].concat();
        assert_eq!(report(&stamps, 0).unwrap(), Duration::from_micros(1500));
        let message = [&stamps[..8], b"snaprun: /s/tmp/1: no room\n"].concat();
        let refused = report(&message, 125 << 8).unwrap_err().to_string();
        assert_eq!(refused, "an instance cannot be started here: no room");
        for (bytes, status) in [(&stamps[..8], 0), (&stamps[..8], 9), (&stamps[..], 9 << 8), (&[], 0)] {
            assert!(report(bytes, status).is_err(), "{bytes:?} {status}");
        }
    }
}
