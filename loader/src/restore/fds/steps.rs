//! Completes descriptors once all of them exist.

use super::super::RestoreError;
use super::sockets::SOCK_TYPE_MASK;
use super::{Context, calls};
use crate::runtime::sys::{self, Errno};
use crate::runtime::task;
use core::ffi::CStr;
use snapfn_format::snap::*;

const O_RDWR_NOCTTY: u64 = 0o402 | sys::O_CLOEXEC as u64;
const IN_DONT_FOLLOW: u64 = 0x0200_0000;

impl<'a> Context<'a, '_> {
    pub(super) fn step(&self, index: usize, step: &FdStep) -> Result<(), RestoreError<'a>> {
        let plan = self.plan;
        let Some(record) = plan.fds.get(step.fd as usize) else { return Ok(()) };
        let fd = self.number(record);
        let data = plan.bytes(step.data);
        let fail = |what| move |errno| RestoreError::Fd(record.fd, what, errno);
        let Some(what) = step.step() else { return Ok(()) };
        match what {
            // Done when the file was made.
            Step::Content { .. } | Step::Length(_) | Step::Seal(_) => Ok(()),
            Step::Mode(_) | Step::Times { .. } | Step::Attribute => Ok(()),
            Step::Send => self.send(fd, record, step, data),
            Step::PipeSize(size) => {
                sys::fcntl(fd, calls::F_SETPIPE_SZ, size).map(drop).map_err(fail("the pipe's size"))
            }
            Step::Option { .. } | Step::Bind { .. } | Step::Listen { .. } => {
                self.socket_step(step.fd, what, record, data)
            }
            Step::Connect => calls::connect(fd, data).map_err(fail("connecting to its peer")),
            Step::Shutdown(how) => calls::shutdown(fd, how).map_err(fail("shutdown")),
            Step::Ioctl { request } => calls::ioctl(fd, request, data.as_ptr() as u64).map(drop).map_err(fail("ioctl")),
            Step::HangUp => {
                let other = calls::ioctl(fd, calls::TIOCGPTPEER, O_RDWR_NOCTTY).map_err(fail("its terminal"))?;
                sys::close(other as i32);
                Ok(())
            }
            Step::Watch { events, number } => self.watch(index, fd, (events, number), data),
            Step::Epoll { target, events, data } => {
                calls::epoll_add(fd, self.number_of(target), events, data).map_err(fail("adding to the epoll set"))
            }
            Step::Lock { kind, exclusive, start, len } => {
                let path = plan.bytes(record.path);
                let locked = match kind {
                    LockKind::Flock => calls::flock(fd, exclusive),
                    LockKind::Posix => calls::record_lock(fd, calls::F_SETLK, exclusive, start, len),
                    LockKind::Ofd => calls::record_lock(fd, calls::F_OFD_SETLK, exclusive, start, len),
                };
                match locked {
                    Err(Errno::AGAIN | Errno::ACCES) => {
                        Err(RestoreError::Locked(path.split_last().map_or(path, |(_, p)| p)))
                    }
                    other => other.map_err(fail("its lock")),
                }
            }
            Step::Lease(kind) => sys::fcntl(fd, calls::F_SETLEASE, kind).map(drop).map_err(fail("its lease")),
            Step::Owner { signal } => {
                sys::fcntl(fd, calls::F_SETOWN, task::pid().into()).map_err(fail("its owner"))?;
                match signal {
                    0 => Ok(()),
                    signal => sys::fcntl(fd, calls::F_SETSIG, signal).map(drop).map_err(fail("its signal")),
                }
            }
        }
    }

    fn send(&self, fd: i32, record: &Fd, step: &FdStep, data: &[u8]) -> Result<(), RestoreError<'a>> {
        const SOCK_STREAM: u64 = 1;
        let fail = |errno| RestoreError::Fd(record.fd, "putting back what was in flight", errno);
        let socket_type = match record.descriptor() {
            Some(Descriptor::SocketPair { kind, .. }) => Some(kind & SOCK_TYPE_MASK),
            _ => None,
        };
        let rights = self.plan.bytes(step.extra);
        let mut rest = data;
        loop {
            let passed = rights.chunks_exact(4).take(if rest.len() == data.len() { rights.len() } else { 0 });
            let numbers = passed.map(|at| self.number_of(at.try_into().map_or(u32::MAX, u32::from_le_bytes)));
            let sent = match socket_type {
                Some(_) => calls::send(fd, rest, numbers),
                None => sys::write(fd, rest),
            }
            .map_err(fail)?;
            rest = rest.get(sent..).unwrap_or_default();
            let whole = socket_type.is_some_and(|kind| kind != SOCK_STREAM);
            if rest.is_empty() || whole {
                return Ok(());
            }
            if sent == 0 {
                return Err(fail(Errno::AGAIN));
            }
        }
    }

    /// The kernel assigns watch numbers in ascending order, so the numbers that the program has removed are used up
    /// again.
    fn watch(
        &self,
        index: usize,
        fd: i32,
        (events, number): (u64, u64),
        data: &'a [u8],
    ) -> Result<(), RestoreError<'a>> {
        let path = CStr::from_bytes_with_nul(data).unwrap_or_default();
        let fail = |errno| RestoreError::Path("cannot watch", path.to_bytes(), errno);
        loop {
            let watch = calls::add_watch(fd, path, events | IN_DONT_FOLLOW).map_err(fail)?;
            if watch == number {
                break;
            }
            if watch > number {
                return Err(fail(Errno::EXIST));
            }
            calls::remove_watch(fd, watch).map_err(fail)?;
        }
        // Removing a watch is an event, too.
        let steps = self.plan.fd_steps;
        let more = match (steps.get(index), steps.get(index + 1)) {
            (Some(this), Some(next)) => next.fd == this.fd && matches!(next.step(), Some(Step::Watch { .. })),
            _ => false,
        };
        if !more {
            calls::drain(fd);
        }
        Ok(())
    }
}
