//! Validation of descriptors and the steps that complete them.

use super::Plan;
use super::records::*;
use crate::FormatError;

/// Records that exist only while descriptors are restored.
const MAX_TEMPORARY: u32 = 4096;
/// Size of `struct sockaddr_un`, the longest address.
const ADDRESS_MAX: usize = 110;
/// Descriptors in one message (SCM_MAX_FD).
const RIGHTS_MAX: usize = 253;
/// The only `ioctl` requests of [`STEP_IOCTL`], and the size of what each reads.
const REQUESTS: &[(u64, usize)] = &[
    (0x5402, 36),     // TCSETS
    (0x5414, 8),      // TIOCSWINSZ
    (0x5420, 4),      // TIOCPKT
    (0x4004_5431, 4), // TIOCSPTLCK
    (0x4008_5400, 8), // TFD_IOC_SET_TICKS
];

/// Records of a lower rank are restored first.
fn rank(plan: &Plan<'_>, index: usize) -> Option<u32> {
    plan.fds.get(index).map(|fd| fd.rank(index))
}

impl Fd {
    /// Descriptors are restored in three rounds: those that need no other, those made from one, duplicates.
    pub fn rank(&self, index: usize) -> u32 {
        match self.kind {
            FD_DUP => 2,
            FD_REOPEN => 1,
            FD_PTY if self.source as usize != index => 1,
            _ => 0,
        }
    }
}

impl Plan<'_> {
    pub(super) fn validate_fds(&self) -> Result<(), FormatError> {
        let mut previous = None;
        for (index, fd) in self.fds.iter().enumerate() {
            let ordered = previous.is_none_or(|previous| fd.fd > previous) && fd.fd < FD_TEMPORARY + MAX_TEMPORARY;
            let refs = self.bytes_ok(fd.path) && self.bytes_ok(fd.data);
            if !ordered || !refs || !self.fd_ok(index, fd) {
                return Err(FormatError::InvalidRecord { what: "descriptor", index: index as u32 });
            }
            previous = Some(fd.fd);
        }
        for (index, step) in self.fd_steps.iter().enumerate() {
            let refs = self.bytes_ok(step.data) && self.bytes_ok(step.extra);
            if !refs || !self.fds.get(step.fd as usize).is_some_and(|fd| self.step_ok(fd, step)) {
                return Err(FormatError::InvalidRecord { what: "descriptor step", index: index as u32 });
            }
        }
        Ok(())
    }

    fn fd_ok(&self, index: usize, fd: &Fd) -> bool {
        let source = fd.source as usize;
        let from_earlier_round = || rank(self, source).is_some_and(|of| of < fd.rank(index));
        let is_other_end = || {
            source != index && self.fds.get(source).is_some_and(|of| of.kind == fd.kind && of.source as usize == index)
        };
        match fd.kind {
            FD_INHERIT => fd.source < 3,
            FD_DUP => from_earlier_round() && self.fds[source].kind != FD_CLOSED,
            FD_REOPEN => {
                from_earlier_round() && matches!(self.fds[source].kind, FD_PATH | FD_DELETED | FD_MEMFD | FD_PIPE)
            }
            FD_PTY => source == index || self.is_master(source),
            FD_PIPE | FD_SOCKETPAIR => is_other_end(),
            FD_PATH | FD_DELETED => self.path_ok(fd.path),
            FD_MEMFD => {
                let name = self.bytes(fd.data);
                name.len() <= 250 && name.iter().position(|b| *b == 0) == Some(name.len().wrapping_sub(1))
            }
            FD_TIMER => fd.data.len == 32,
            FD_SOCKET => {
                let address = self.bytes(fd.data);
                let family = address.get(..2).map(|b| u64::from(u16::from_le_bytes([b[0], b[1]])));
                address.len() <= ADDRESS_MAX && (address.is_empty() || family == Some(fd.a))
            }
            FD_EVENT | FD_SIGNAL | FD_EPOLL | FD_INOTIFY | FD_CLOSED | FD_PIDFD_SELF => true,
            _ => false,
        }
    }

    fn is_master(&self, index: usize) -> bool {
        self.fds.get(index).is_some_and(|fd| fd.kind == FD_PTY && fd.source as usize == index)
    }

    /// Whether the bytes that a [`STEP_CONTENT`] copies are there.
    fn content_ok(&self, step: &FdStep) -> bool {
        let (file, offset) = step.content_source();
        let file = self.files.get(usize::from(file)).filter(|file| file.is_content());
        file.is_some_and(|file| offset.checked_add(step.b).is_some_and(|end| end <= file.size))
    }

    fn step_ok(&self, fd: &Fd, step: &FdStep) -> bool {
        let data = self.bytes(step.data);
        let is_file = matches!(fd.kind, FD_DELETED | FD_MEMFD);
        let is_socket = matches!(fd.kind, FD_SOCKET | FD_SOCKETPAIR);
        let only = |with_data: bool, with_extra: bool| {
            (with_data || step.data.len == 0) && (with_extra || step.extra.len == 0)
        };
        match step.kind {
            STEP_CONTENT => {
                only(false, false)
                    && is_file
                    && self.content_ok(step)
                    && step.a.checked_add(step.b).is_some_and(|end| end <= i64::MAX as u64)
            }
            STEP_LENGTH => only(false, false) && is_file && step.a <= i64::MAX as u64,
            STEP_SEND => {
                let rights = self.bytes(step.extra);
                let known = |index: &[u8]| {
                    let index = index.try_into().map_or(u32::MAX, u32::from_le_bytes);
                    (index as usize) < self.fds.len()
                };
                matches!(fd.kind, FD_PIPE | FD_SOCKETPAIR | FD_PATH)
                    && rights.len() % 4 == 0
                    && rights.len() <= 4 * RIGHTS_MAX
                    && (rights.is_empty() || fd.kind == FD_SOCKETPAIR)
                    && rights.chunks(4).all(known)
            }
            STEP_PIPE_SIZE => only(false, false) && matches!(fd.kind, FD_PIPE | FD_PATH) && step.a <= i32::MAX as u64,
            STEP_SEAL => only(false, false) && fd.kind == FD_MEMFD && step.a <= u64::from(u32::MAX),
            STEP_OPTION => only(true, false) && is_socket && data.len() <= 1024,
            STEP_BIND => only(false, false) && fd.kind == FD_SOCKET && fd.data.len > 0 && step.a <= 0o7777,
            STEP_LISTEN => only(false, false) && fd.kind == FD_SOCKET && step.a <= i32::MAX as u64,
            STEP_SHUTDOWN => only(false, false) && is_socket && step.a <= 2,
            STEP_IOCTL => only(true, false) && REQUESTS.contains(&(step.a, data.len())),
            STEP_HANG_UP => only(false, false) && fd.kind == FD_PTY,
            STEP_WATCH => only(true, false) && fd.kind == FD_INOTIFY && self.path_ok(step.data) && step.b < 1 << 20,
            STEP_EPOLL => only(false, false) && fd.kind == FD_EPOLL && (step.a as usize) < self.fds.len(),
            STEP_LOCK => only(false, false) && step.a as u32 <= LOCK_OFD && step.a >> 32 <= 1,
            STEP_LEASE => only(false, false) && step.a <= 1,
            STEP_OWNER => only(false, false) && step.a <= 64,
            _ => false,
        }
    }
}
