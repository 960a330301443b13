//! What completes descriptors once all of them exist.

use super::super::RestoreError;
use super::{Context, calls};
use crate::runtime::sys::{self, Errno};
use core::ffi::CStr;
use snapfn_format::snap::*;

const TIOCGPTPEER: u64 = 0x5441;
const O_RDWR_NOCTTY: u64 = 0o402 | sys::O_CLOEXEC as u64;
const IN_DONT_FOLLOW: u64 = 0x0200_0000;

impl<'a> Context<'a, '_> {
    pub(super) fn step(&self, index: usize, step: &FdStep) -> Result<(), RestoreError<'a>> {
        let plan = self.plan;
        let Some(record) = plan.fds.get(step.fd as usize) else { return Ok(()) };
        let fd = self.number(record);
        let data = plan.bytes(step.data);
        let fail = |what| move |errno| RestoreError::Fd(record.fd, what, errno);
        match step.kind {
            // Done when the file was made.
            STEP_CONTENT | STEP_LENGTH | STEP_SEAL => Ok(()),
            STEP_SEND => self.send(fd, record, step, data),
            STEP_PIPE_SIZE => sys::fcntl(fd, calls::F_SETPIPE_SZ, step.a).map(drop).map_err(fail("the pipe's size")),
            STEP_OPTION | STEP_BIND | STEP_LISTEN => self.socket_step(step, record, data),
            STEP_SHUTDOWN => calls::shutdown(fd, step.a).map_err(fail("shutdown")),
            STEP_IOCTL => calls::ioctl(fd, step.a, data.as_ptr() as u64).map(drop).map_err(fail("ioctl")),
            STEP_HANG_UP => {
                let other = calls::ioctl(fd, TIOCGPTPEER, O_RDWR_NOCTTY).map_err(fail("its terminal"))?;
                sys::close(other as i32);
                Ok(())
            }
            STEP_WATCH => self.watch(index, fd, step, data),
            STEP_EPOLL => {
                let target = self.number_of(step.a as u32);
                calls::epoll_add(fd, target, step.b as u32, step.c).map_err(fail("adding to the epoll set"))
            }
            STEP_LOCK => {
                let exclusive = step.a >> 32 == 1;
                let path = plan.bytes(record.path);
                let locked = match step.a as u32 {
                    LOCK_FLOCK => calls::flock(fd, exclusive),
                    LOCK_POSIX => calls::record_lock(fd, calls::F_SETLK, exclusive, step.b, step.c),
                    _ => calls::record_lock(fd, calls::F_OFD_SETLK, exclusive, step.b, step.c),
                };
                match locked {
                    Err(Errno::AGAIN | Errno::ACCES) => {
                        Err(RestoreError::Locked(path.split_last().map_or(path, |(_, p)| p)))
                    }
                    other => other.map_err(fail("its lock")),
                }
            }
            STEP_LEASE => sys::fcntl(fd, calls::F_SETLEASE, step.a).map(drop).map_err(fail("its lease")),
            STEP_OWNER => {
                sys::fcntl(fd, calls::F_SETOWN, calls::own_pid()).map_err(fail("its owner"))?;
                match step.a {
                    0 => Ok(()),
                    signal => sys::fcntl(fd, calls::F_SETSIG, signal).map(drop).map_err(fail("its signal")),
                }
            }
            _ => Ok(()),
        }
    }

    fn send(&self, fd: i32, record: &Fd, step: &FdStep, data: &[u8]) -> Result<(), RestoreError<'a>> {
        const SOCK_STREAM: u64 = 1;
        let fail = |errno| RestoreError::Fd(record.fd, "putting back what was in flight", errno);
        let rights = self.plan.bytes(step.extra);
        let mut rest = data;
        loop {
            let passed = rights.chunks_exact(4).take(if rest.len() == data.len() { rights.len() } else { 0 });
            let numbers = passed.map(|at| self.number_of(at.try_into().map_or(u32::MAX, u32::from_le_bytes)));
            let sent = match record.kind {
                FD_SOCKETPAIR => calls::send(fd, rest, numbers),
                _ => sys::write(fd, rest),
            }
            .map_err(fail)?;
            rest = rest.get(sent..).unwrap_or_default();
            let whole = record.kind == FD_SOCKETPAIR && record.a & 0xf != SOCK_STREAM;
            if rest.is_empty() || whole {
                return Ok(());
            }
            if sent == 0 {
                return Err(fail(Errno::AGAIN));
            }
        }
    }

    /// Watch numbers are given out in ascending order: those that the program has given up are used up again.
    fn watch(&self, index: usize, fd: i32, step: &FdStep, data: &'a [u8]) -> Result<(), RestoreError<'a>> {
        let path = CStr::from_bytes_with_nul(data).unwrap_or_default();
        let fail = |errno| RestoreError::Path("cannot watch", path.to_bytes(), errno);
        loop {
            let watch = calls::add_watch(fd, path, step.a | IN_DONT_FOLLOW).map_err(fail)?;
            if watch == step.b {
                break;
            }
            if watch > step.b {
                return Err(fail(Errno::EXIST));
            }
            calls::remove_watch(fd, watch).map_err(fail)?;
        }
        // Giving up a watch is an event, too.
        let more = self.plan.fd_steps.get(index + 1).is_some_and(|next| next.kind == STEP_WATCH && next.fd == step.fd);
        if !more {
            calls::drain(fd);
        }
        Ok(())
    }
}
