//! Validation of descriptors and the steps that complete them.

use super::fd_steps::*;
use super::fds::*;
use super::records::BytesRef;
use super::{META_MAX, Plan};
use crate::FormatError;

/// The most records that exist only while descriptors are restored.
const MAX_TEMPORARY: u32 = 4096;
/// Size of `struct sockaddr_un`, the longest address.
const ADDRESS_MAX: usize = 110;
/// The most descriptors in one message (SCM_MAX_FD).
const RIGHTS_MAX: usize = 253;
/// Size of the longest name of an extended attribute, with its terminator, and of the longest value.
const ATTRIBUTE_NAME_MAX: usize = 256;
const ATTRIBUTE_MAX: u32 = 65536;
/// Size of the longest path below a thread's directory in /proc, with its terminator.
const THREAD_PATH_MAX: usize = 64;
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
const SOCK_DGRAM: u64 = 2;
/// What flags of a socket's type leave.
const SOCK_TYPE_MASK: u64 = 0xf;
const TCSETS: u64 = 0x5402;
const TIOCSWINSZ: u64 = 0x5414;
const TIOCPKT: u64 = 0x5420;
const TIOCSPTLCK: u64 = 0x4004_5431;
const TFD_IOC_SET_TICKS: u64 = 0x4008_5400;
/// The only requests of [`Step::Ioctl`], and the number of bytes that each reads.
const REQUESTS: [(u64, usize); 5] =
    [(TCSETS, 36), (TIOCSWINSZ, 8), (TIOCPKT, 4), (TIOCSPTLCK, 4), (TFD_IOC_SET_TICKS, 8)];

impl Plan<'_> {
    pub(super) fn validate_fds(&self) -> Result<(), FormatError> {
        let mut previous = None;
        // Many records may name the same bytes, and each is checked. The bytes of all together may not be more than a
        // plan can have.
        let mut looked_at = 0;
        let mut look = |reference: BytesRef| {
            looked_at += u64::from(reference.len);
            if looked_at > META_MAX { Err(FormatError::TooLarge("paths of descriptors")) } else { Ok(()) }
        };
        for (index, fd) in self.fds.iter().enumerate() {
            look(fd.path)?;
            look(fd.data)?;
            let ordered = previous.is_none_or(|previous| fd.fd > previous) && fd.fd < FD_TEMPORARY + MAX_TEMPORARY;
            let refs = self.bytes_ok(fd.path) && self.bytes_ok(fd.data);
            if !ordered || !refs || !self.fd_ok(index, fd) {
                return Err(FormatError::InvalidRecord { what: "descriptor", index: index as u32 });
            }
            previous = Some(fd.fd);
        }
        for (index, step) in self.fd_steps.iter().enumerate() {
            if matches!(step.step(), Some(Step::Watch { .. })) {
                look(step.data)?;
            }
            look(step.extra)?;
            let refs = self.bytes_ok(step.data) && self.bytes_ok(step.extra);
            if !refs || !self.fds.get(step.fd as usize).is_some_and(|fd| self.step_ok(fd, step)) {
                return Err(FormatError::InvalidRecord { what: "descriptor step", index: index as u32 });
            }
        }
        Ok(())
    }

    fn fd_ok(&self, index: usize, fd: &Fd) -> bool {
        let Some(descriptor) = fd.descriptor() else { return false };
        let of = |record: u32| self.fds.get(record as usize).and_then(Fd::descriptor);
        let from_earlier_round = |record: u32| {
            self.fds.get(record as usize).is_some_and(|source| source.rank(record as usize) < fd.rank(index))
        };
        let is_pair_with = |record: u32| {
            let back = of(record).and_then(|other| other.named());
            record as usize != index
                && self.fds.get(record as usize).is_some_and(|other| other.kind == fd.kind)
                && back.is_some_and(|back| back as usize == index)
        };
        match descriptor {
            Descriptor::Inherited { stream } => stream < 3,
            Descriptor::Duplicate { of: source } => {
                from_earlier_round(source) && of(source) != Some(Descriptor::Closed)
            }
            Descriptor::Reopened { of: source, .. } => {
                let is_file = matches!(
                    of(source),
                    Some(
                        Descriptor::Path { .. }
                            | Descriptor::Deleted { .. }
                            | Descriptor::Memory { .. }
                            | Descriptor::Pipe { .. }
                    )
                );
                from_earlier_round(source) && is_file
            }
            Descriptor::Terminal { master } => {
                master as usize == index || of(master) == Some(Descriptor::Terminal { master })
            }
            Descriptor::Pipe { other } | Descriptor::SocketPair { other, .. } => is_pair_with(other),
            Descriptor::Path { .. } | Descriptor::Deleted { .. } => self.path_ok(fd.path),
            Descriptor::OfThread { thread, .. } => {
                let is_short = fd.path.len as usize <= THREAD_PATH_MAX;
                (thread as usize) < self.threads.len() && fd.fd < FD_TEMPORARY && is_short && self.path_ok(fd.path)
            }
            Descriptor::Memory { .. } => {
                let name = self.bytes(fd.data);
                name.len() <= 250 && name.iter().position(|b| *b == 0) == Some(name.len().wrapping_sub(1))
            }
            Descriptor::Timer { .. } => fd.data.len == 32,
            Descriptor::Socket { family, .. } => {
                let address = self.bytes(fd.data);
                let bound = address.get(..2).map(|b| u64::from(u16::from_le_bytes([b[0], b[1]])));
                address.len() <= ADDRESS_MAX && (address.is_empty() || bound == Some(family))
            }
            Descriptor::Event { .. }
            | Descriptor::Signal { .. }
            | Descriptor::Epoll
            | Descriptor::Inotify
            | Descriptor::Closed
            | Descriptor::OwnPidfd => true,
        }
    }

    /// Whether the files have the bytes that the step copies.
    fn content_ok(&self, len: u64, from: ContentSource) -> bool {
        let file = self.files.get(usize::from(from.file)).filter(|file| file.is_content());
        file.is_some_and(|file| from.offset.checked_add(len).is_some_and(|end| end <= file.size))
    }

    fn step_ok(&self, fd: &Fd, step: &FdStep) -> bool {
        let (Some(of), Some(what)) = (fd.descriptor(), step.step()) else { return false };
        let data = self.bytes(step.data);
        let is_file = matches!(of, Descriptor::Deleted { .. } | Descriptor::Memory { .. });
        let is_socket = matches!(of, Descriptor::Socket { .. } | Descriptor::SocketPair { .. });
        let is_bindable = matches!(of, Descriptor::Socket { .. });
        let is_pipe = matches!(of, Descriptor::Pipe { .. } | Descriptor::Path { .. });
        let takes_both = matches!(what, Step::Send | Step::Attribute);
        let takes_data =
            takes_both || matches!(what, Step::Option { .. } | Step::Ioctl { .. } | Step::Watch { .. } | Step::Connect);
        let takes_extra = takes_both;
        if (step.data.len != 0 && !takes_data) || (step.extra.len != 0 && !takes_extra) {
            return false;
        }
        match what {
            Step::Content { to, len, from } => {
                is_file && self.content_ok(len, from) && to.checked_add(len).is_some_and(|end| end <= i64::MAX as u64)
            }
            Step::Length(len) => is_file && len <= i64::MAX as u64,
            Step::Send => {
                let is_pair = matches!(of, Descriptor::SocketPair { .. });
                let rights = self.bytes(step.extra);
                let known = |index: &[u8]| {
                    let index = index.try_into().map_or(u32::MAX, u32::from_le_bytes);
                    (index as usize) < self.fds.len()
                };
                (is_pipe || is_pair)
                    && rights.len() % 4 == 0
                    && rights.len() <= 4 * RIGHTS_MAX
                    && (rights.is_empty() || is_pair)
                    && rights.chunks(4).all(known)
            }
            Step::PipeSize(size) => is_pipe && size <= i32::MAX as u64,
            Step::Seal(seals) => matches!(of, Descriptor::Memory { .. }) && seals <= u64::from(u32::MAX),
            Step::Option { .. } => is_socket && data.len() <= 1024,
            Step::Bind { mode } => is_bindable && fd.data.len > 0 && mode <= 0o7777,
            Step::Listen { backlog } => is_bindable && backlog <= i32::MAX as u64,
            Step::Shutdown(how) => is_socket && how <= 2,
            Step::Ioctl { request } => REQUESTS.contains(&(request, data.len())),
            Step::HangUp => matches!(of, Descriptor::Terminal { .. }),
            Step::Watch { number, .. } => of == Descriptor::Inotify && self.path_ok(step.data) && number < 1 << 20,
            Step::Epoll { target, .. } => of == Descriptor::Epoll && (target as usize) < self.fds.len(),
            Step::Lock { .. } => true,
            Step::Lease(kind) => kind <= 1,
            Step::Owner { signal } => signal <= 64,
            Step::Mode(mode) => matches!(of, Descriptor::Memory { .. }) && mode <= 0o7777,
            Step::Times { .. } => is_file,
            Step::Connect => match of {
                Descriptor::Socket { family: family @ (AF_INET | AF_INET6), kind, .. } => {
                    let peer = data.get(..2).map(|bytes| u64::from(u16::from_le_bytes([bytes[0], bytes[1]])));
                    kind & SOCK_TYPE_MASK == SOCK_DGRAM && data.len() <= ADDRESS_MAX && peer == Some(family)
                }
                _ => false,
            },
            Step::Attribute => {
                let ends = data.iter().position(|byte| *byte == 0) == Some(data.len().wrapping_sub(1));
                is_file && ends && data.len() <= ATTRIBUTE_NAME_MAX && step.extra.len <= ATTRIBUTE_MAX
            }
        }
    }
}
