//! Steps that complete descriptors when all of them exist: the records on disk, and what they mean.
//!
//! The meaning of some fields depends on the record's kind. Only [`FdStep::step`] reads these fields, and only
//! [`FdStep::new`] writes them.

use super::records::{BytesRef, record};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// [`FdStep::kind`]: copies `b` bytes to offset `a` of the file; `c` names the source ([`FdStep::content_source`]).
pub const STEP_CONTENT: u32 = 1;
/// [`FdStep::kind`]: sets the file's length to `a`.
pub const STEP_LENGTH: u32 = 2;
/// [`FdStep::kind`]: writes `data` to a pipe, or sends it as one message, with the descriptors that `extra` lists
/// (4 bytes each, indices of records).
pub const STEP_SEND: u32 = 3;
/// [`FdStep::kind`]: sets the capacity of a pipe to `a` bytes.
pub const STEP_PIPE_SIZE: u32 = 4;
/// [`FdStep::kind`]: adds the seals `a`.
pub const STEP_SEAL: u32 = 5;
/// [`FdStep::kind`]: sets socket option `b` of level `a` to `data`.
pub const STEP_OPTION: u32 = 6;
/// [`FdStep::kind`]: binds to the address of the record; a Unix socket's file gets the permission bits `a`.
pub const STEP_BIND: u32 = 7;
/// [`FdStep::kind`]: listens with backlog `a`.
pub const STEP_LISTEN: u32 = 8;
/// [`FdStep::kind`]: `shutdown(a)`.
pub const STEP_SHUTDOWN: u32 = 9;
/// [`FdStep::kind`]: `ioctl(a)` with a pointer to `data`; only the requests that validation names.
pub const STEP_IOCTL: u32 = 10;
/// [`FdStep::kind`]: opens and closes the other side of a pseudo-terminal, which then reads as hung up.
pub const STEP_HANG_UP: u32 = 11;
/// [`FdStep::kind`]: inotify watch `b` of the path `data` for the events `a`.
pub const STEP_WATCH: u32 = 12;
/// [`FdStep::kind`]: adds the record `a` to an epoll set: events `b`, user data `c`.
pub const STEP_EPOLL: u32 = 13;
/// [`FdStep::kind`]: takes a lock again: `a` = `LOCK_…` and, in the upper half, F_RDLCK or F_WRLCK; from `b`, `c`
/// bytes.
pub const STEP_LOCK: u32 = 14;
/// [`FdStep::kind`]: takes a lease of type `a`.
pub const STEP_LEASE: u32 = 15;
/// [`FdStep::kind`]: this process gets the signals for I/O; signal `a` instead of SIGIO if it is not 0.
pub const STEP_OWNER: u32 = 16;
/// [`FdStep::kind`]: sets the permission bits of a memory file to `a`. See [`super::FEATURE_HIDDEN`].
pub const STEP_MODE: u32 = 17;
/// [`FdStep::kind`]: sets the times of a file: access `a`, modification `b`, nanoseconds since 1970, two's complement.
/// See [`super::FEATURE_HIDDEN`].
pub const STEP_TIMES: u32 = 18;
/// [`FdStep::kind`]: sets the extended attribute `data` (a name, zero-terminated) to `extra`. See
/// [`super::FEATURE_HIDDEN`].
pub const STEP_XATTR: u32 = 19;
/// [`FdStep::kind`]: connects a datagram socket to the address `data`. See [`super::FEATURE_DESCRIPTORS`].
pub const STEP_CONNECT: u32 = 20;

/// [`STEP_LOCK`]: `flock`.
pub const LOCK_FLOCK: u32 = 0;
/// [`STEP_LOCK`]: a lock of the process (F_SETLK).
pub const LOCK_POSIX: u32 = 1;
/// [`STEP_LOCK`]: a lock of the open file description (F_OFD_SETLK).
pub const LOCK_OFD: u32 = 2;

record! {
    /// A step that completes a descriptor when all of them exist. The loader performs the steps in order.
    FdStep {
        /// Index of the descriptor's record.
        fd: u32,
        /// `STEP_…`.
        kind: u32,
        /// Meaning by kind.
        a: u64,
        /// Meaning by kind.
        b: u64,
        /// Meaning by kind.
        c: u64,
        /// Meaning by kind.
        data: BytesRef,
        /// Meaning by kind.
        extra: BytesRef,
    }
}

/// What completes a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Copies bytes of a file of the plan (the snapshot or a data file) to the descriptor's file.
    Content {
        /// Offset in the descriptor's file.
        to: u64,
        /// Number of bytes.
        len: u64,
        /// Where they come from.
        from: ContentSource,
    },
    /// Sets the file's length in bytes.
    Length(u64),
    /// Writes [`FdStep::data`] to a pipe, or sends it as one message with the descriptors that [`FdStep::extra`] lists.
    Send,
    /// Sets the capacity of a pipe in bytes.
    PipeSize(u64),
    /// Adds `F_SEAL_…` seals.
    Seal(u64),
    /// Sets a socket option to [`FdStep::data`].
    Option {
        /// `SOL_…`, `IPPROTO_…`.
        level: u64,
        /// `SO_…`.
        name: u64,
    },
    /// Binds to the address of the record; a Unix socket's file gets these permission bits, if they are not 0.
    Bind {
        /// Permission bits.
        mode: u64,
    },
    /// Listens.
    Listen {
        /// How many connections may wait.
        backlog: u64,
    },
    /// `shutdown` with that argument: 0 reading, 1 writing, 2 both.
    Shutdown(u64),
    /// `ioctl` with a pointer to [`FdStep::data`].
    Ioctl {
        /// The request.
        request: u64,
    },
    /// Opens and closes the other side of a pseudo-terminal, which then reads as hung up.
    HangUp,
    /// Watches the path [`FdStep::data`].
    Watch {
        /// `IN_…` mask.
        events: u64,
        /// The watch's number.
        number: u64,
    },
    /// Adds a descriptor to an epoll set.
    Epoll {
        /// Its record.
        target: u32,
        /// `EPOLL…` mask.
        events: u32,
        /// User data.
        data: u64,
    },
    /// Takes a lock again.
    Lock {
        /// Which kind of lock.
        kind: LockKind,
        /// A write lock.
        exclusive: bool,
        /// First byte.
        start: u64,
        /// Number of bytes; 0: to the end of the file.
        len: u64,
    },
    /// Takes a lease: 0 for reading, 1 for writing.
    Lease(u64),
    /// This process gets the signals for I/O.
    Owner {
        /// The signal instead of SIGIO; 0: SIGIO.
        signal: u64,
    },
    /// Sets the permission bits of a memory file.
    Mode(u64),
    /// Sets the times of a file without a name, in nanoseconds since 1970.
    Times {
        /// Of the last access.
        access: i64,
        /// Of the last modification.
        modified: i64,
    },
    /// Sets the extended attribute [`FdStep::data`] of a file without a name to [`FdStep::extra`].
    Attribute,
    /// Connects a datagram socket to the address [`FdStep::data`].
    Connect,
}

/// Kinds of file locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// `flock`, of the open file description.
    Flock,
    /// A record lock of the process.
    Posix,
    /// A record lock of the open file description.
    Ofd,
}

/// Where bytes of a descriptor's file come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContentSource {
    /// Index of the file in the plan.
    pub file: u16,
    /// Offset in it, a multiple of the page size.
    pub offset: u64,
}

impl ContentSource {
    /// File and offset in one word: no index of a file is as large as a page.
    fn word(self) -> u64 {
        self.offset + u64::from(self.file)
    }

    fn of_word(word: u64) -> Self {
        ContentSource { file: (word % crate::PAGE) as u16, offset: word / crate::PAGE * crate::PAGE }
    }
}

impl FdStep {
    /// A step for the record `fd`.
    pub fn new(fd: u32, step: Step) -> Self {
        FdStep { fd, ..FdStep::default() }.with(step)
    }

    /// This step with another meaning. Its record and its references stay.
    pub fn with(self, step: Step) -> Self {
        let FdStep { fd, data, extra, .. } = self;
        let of_kind = |kind, a| FdStep { fd, kind, a, b: 0, c: 0, data, extra };
        match step {
            Step::Content { to, len, from } => FdStep { b: len, c: from.word(), ..of_kind(STEP_CONTENT, to) },
            Step::Length(len) => of_kind(STEP_LENGTH, len),
            Step::Send => of_kind(STEP_SEND, 0),
            Step::PipeSize(size) => of_kind(STEP_PIPE_SIZE, size),
            Step::Seal(seals) => of_kind(STEP_SEAL, seals),
            Step::Option { level, name } => FdStep { b: name, ..of_kind(STEP_OPTION, level) },
            Step::Bind { mode } => of_kind(STEP_BIND, mode),
            Step::Listen { backlog } => of_kind(STEP_LISTEN, backlog),
            Step::Shutdown(how) => of_kind(STEP_SHUTDOWN, how),
            Step::Ioctl { request } => of_kind(STEP_IOCTL, request),
            Step::HangUp => of_kind(STEP_HANG_UP, 0),
            Step::Watch { events, number } => FdStep { b: number, ..of_kind(STEP_WATCH, events) },
            Step::Epoll { target, events, data } => {
                FdStep { b: u64::from(events), c: data, ..of_kind(STEP_EPOLL, u64::from(target)) }
            }
            Step::Lock { kind, exclusive, start, len } => {
                let kind = match kind {
                    LockKind::Flock => LOCK_FLOCK,
                    LockKind::Posix => LOCK_POSIX,
                    LockKind::Ofd => LOCK_OFD,
                };
                FdStep { b: start, c: len, ..of_kind(STEP_LOCK, u64::from(kind) | u64::from(exclusive) << 32) }
            }
            Step::Lease(kind) => of_kind(STEP_LEASE, kind),
            Step::Owner { signal } => of_kind(STEP_OWNER, signal),
            Step::Mode(mode) => of_kind(STEP_MODE, mode),
            Step::Times { access, modified } => FdStep { b: modified as u64, ..of_kind(STEP_TIMES, access as u64) },
            Step::Attribute => of_kind(STEP_XATTR, 0),
            Step::Connect => of_kind(STEP_CONNECT, 0),
        }
    }

    /// What the step does; `None` for a kind or value that this version does not know.
    pub fn step(&self) -> Option<Step> {
        let FdStep { a, b, c, .. } = *self;
        Some(match self.kind {
            STEP_CONTENT => Step::Content { to: a, len: b, from: ContentSource::of_word(c) },
            STEP_LENGTH => Step::Length(a),
            STEP_SEND => Step::Send,
            STEP_PIPE_SIZE => Step::PipeSize(a),
            STEP_SEAL => Step::Seal(a),
            STEP_OPTION => Step::Option { level: a, name: b },
            STEP_BIND => Step::Bind { mode: a },
            STEP_LISTEN => Step::Listen { backlog: a },
            STEP_SHUTDOWN => Step::Shutdown(a),
            STEP_IOCTL => Step::Ioctl { request: a },
            STEP_HANG_UP => Step::HangUp,
            STEP_WATCH => Step::Watch { events: a, number: b },
            STEP_EPOLL => Step::Epoll { target: u32::try_from(a).ok()?, events: u32::try_from(b).ok()?, data: c },
            STEP_LOCK => Step::Lock {
                kind: match a as u32 {
                    LOCK_FLOCK => LockKind::Flock,
                    LOCK_POSIX => LockKind::Posix,
                    LOCK_OFD => LockKind::Ofd,
                    _ => return None,
                },
                exclusive: match a >> 32 {
                    0 => false,
                    1 => true,
                    _ => return None,
                },
                start: b,
                len: c,
            },
            STEP_LEASE => Step::Lease(a),
            STEP_OWNER => Step::Owner { signal: a },
            STEP_MODE => Step::Mode(a),
            STEP_TIMES => Step::Times { access: a as i64, modified: b as i64 },
            STEP_XATTR => Step::Attribute,
            STEP_CONNECT => Step::Connect,
            _ => return None,
        })
    }

    /// Whether [`super::FEATURE_HIDDEN`] announces its kind.
    pub const fn is_hidden(&self) -> bool {
        matches!(self.kind, STEP_MODE | STEP_TIMES | STEP_XATTR)
    }

    /// Whether it is of a kind that came with [`super::FEATURE_DESCRIPTORS`].
    pub const fn is_later(&self) -> bool {
        matches!(self.kind, STEP_CONNECT)
    }

    /// Target, length and source if the step copies content.
    pub fn content(&self) -> Option<(u64, u64, ContentSource)> {
        match self.step() {
            Some(Step::Content { to, len, from }) => Some((to, len, from)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Words at the limits of the fields, and others.
    fn word() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0), Just(1), Just(2), Just(1 << 32), Just(1 << 32 | 1), Just(u64::MAX), any::<u64>()]
    }

    proptest! {
        #[test]
        fn steps_keep_their_meaning(kind in 0..23u32, a in word(), b in word(), c in word(), fd in 0..9u32) {
            let (data, extra) = (BytesRef { offset: 8, len: 5 }, BytesRef { offset: 16, len: 8 });
            let step = FdStep { fd, kind, a, b, c, data, extra };
            let fits = match kind {
                STEP_CONTENT..=STEP_WATCH | STEP_LEASE..=STEP_CONNECT => true,
                STEP_EPOLL => a <= u64::from(u32::MAX) && b <= u64::from(u32::MAX),
                STEP_LOCK => a >> 32 <= 1 && a as u32 <= LOCK_OFD,
                _ => false,
            };
            prop_assert_eq!(step.step().is_some(), fits);
            if let Some(what) = step.step() {
                let again = step.with(what);
                prop_assert_eq!((again.fd, again.kind, again.step()), (fd, kind, Some(what)));
                prop_assert_eq!((again.data, again.extra), (data, extra));
                prop_assert_eq!(FdStep { data, extra, ..FdStep::new(fd, what) }, again);
            }
        }
    }
}
