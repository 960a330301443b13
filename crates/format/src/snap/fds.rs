//! Descriptors: the records on disk, and what they mean.
//!
//! The meaning of some fields depends on the record's kind. Only [`Fd::descriptor`] reads these fields,
//! and only [`Fd::new`] writes them. `fd_steps` has the steps that complete a descriptor.

use super::records::{BytesRef, record};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// [`Fd::kind`]: inherited from the starter; `source` is the standard stream there (0, 1 or 2).
pub const FD_INHERIT: u32 = 0;
/// [`Fd::kind`]: the same open file description as the record `source`.
pub const FD_DUP: u32 = 1;
/// [`Fd::kind`]: opened again at `path`, then sought to `offset`. If `b` is not 0, the file must still have `a` bytes
/// and the modification time `b` (nanoseconds).
pub const FD_PATH: u32 = 2;
/// [`Fd::kind`]: a file without a name in the directory `path` (if that fails, in another one); `a` = permission bits.
pub const FD_DELETED: u32 = 3;
/// [`Fd::kind`]: an end of a pipe; `source` names the record of the other end.
pub const FD_PIPE: u32 = 4;
/// [`Fd::kind`]: eventfd; `a` = count, `b` = flags.
pub const FD_EVENT: u32 = 5;
/// [`Fd::kind`]: timerfd; `a` = clock, `data` = `itimerspec` with the remaining time.
pub const FD_TIMER: u32 = 6;
/// [`Fd::kind`]: signalfd; `a` = mask.
pub const FD_SIGNAL: u32 = 7;
/// [`Fd::kind`]: epoll.
pub const FD_EPOLL: u32 = 8;
/// [`Fd::kind`]: memfd; `a` = `memfd_create` flags, `data` = its name, zero-terminated.
pub const FD_MEMFD: u32 = 9;
/// [`Fd::kind`]: inotify.
pub const FD_INOTIFY: u32 = 10;
/// [`Fd::kind`]: an end of a Unix socket pair; `source` names the record of the other end, `a` = type.
pub const FD_SOCKETPAIR: u32 = 11;
/// [`Fd::kind`]: a socket without a peer; `a` = family, `b` = type, `offset` = protocol, `data` = the address that
/// it is bound to.
pub const FD_SOCKET: u32 = 12;
/// [`Fd::kind`]: closed in the instance, although the starter has it open (the program closed it).
pub const FD_CLOSED: u32 = 13;
/// [`Fd::kind`]: pidfd of the process itself.
pub const FD_PIDFD_SELF: u32 = 14;
/// [`Fd::kind`]: a pseudo-terminal: the master if `source` is its own index, else the other side of that master.
pub const FD_PTY: u32 = 15;
/// [`Fd::kind`]: the file of the record `source` opened once more, with `flags` and `offset` of its own.
pub const FD_REOPEN: u32 = 16;
/// [`Fd::kind`]: a file of the directory that /proc has of the thread `source`; `path` is the rest of its path, `/` for
/// the directory itself. See [`super::FEATURE_DESCRIPTORS`].
pub const FD_OF_THREAD: u32 = 17;

/// [`Fd::fd`]: records from this number on exist only while descriptors are restored.
pub const FD_TEMPORARY: u32 = 1 << 20;

record! {
    /// A file descriptor. The records are in ascending order of `fd`.
    Fd {
        /// Number in the program, or [`FD_TEMPORARY`] and up.
        fd: u32,
        /// `FD_…`.
        kind: u32,
        /// Status flags (`O_…`), O_CLOEXEC included.
        flags: u32,
        /// Meaning by kind.
        source: u32,
        /// File offset.
        offset: u64,
        /// Meaning by kind.
        a: u64,
        /// Meaning by kind.
        b: u64,
        /// Path.
        path: BytesRef,
        /// Meaning by kind.
        data: BytesRef,
    }
}

/// The meaning of a descriptor's record. Numbers of records are indices of the descriptors table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descriptor {
    /// The standard stream 0, 1 or 2 of the process that starts the instance.
    Inherited {
        /// Its number there.
        stream: u32,
    },
    /// The same open file description as another descriptor.
    Duplicate {
        /// The record of that one.
        of: u32,
    },
    /// Opened again at [`Fd::path`].
    Path {
        /// File offset in bytes.
        offset: u64,
        /// The file must still have this size and modification time.
        unchanged: Option<Unchanged>,
        /// It is a FIFO: opening it must not wait for the other end.
        fifo: bool,
    },
    /// A file without a name in the directory [`Fd::path`] or, if that fails, in another one.
    Deleted {
        /// Permission bits.
        mode: u64,
        /// File offset in bytes.
        offset: u64,
    },
    /// An end of a pipe.
    Pipe {
        /// The record of the other end.
        other: u32,
    },
    /// An eventfd.
    Event {
        /// Its count.
        count: u64,
        /// `EFD_…` flags.
        flags: u64,
    },
    /// A timerfd; [`Fd::data`] is a `struct itimerspec` with the remaining time.
    Timer {
        /// `CLOCK_…`.
        clock: u64,
    },
    /// A signalfd.
    Signal {
        /// The signals that it reads.
        mask: u64,
    },
    /// An epoll set.
    Epoll,
    /// A memfd; [`Fd::data`] is its name, zero-terminated.
    Memory {
        /// `MFD_…` flags.
        flags: u64,
        /// File offset in bytes.
        offset: u64,
    },
    /// An inotify instance.
    Inotify,
    /// An end of a Unix socket pair.
    SocketPair {
        /// The record of the other end.
        other: u32,
        /// `SOCK_…` type.
        kind: u64,
    },
    /// A socket without a peer; [`Fd::data`] is the address that it is bound to.
    Socket {
        /// `AF_…` family.
        family: u64,
        /// `SOCK_…` type.
        kind: u64,
        /// Protocol.
        protocol: u64,
    },
    /// Closed in the instance, although its starter has it open.
    Closed,
    /// A pidfd of the process itself.
    OwnPidfd,
    /// A pseudo-terminal: a master if `master` is its own record, else the other side of that master.
    Terminal {
        /// The record of the master.
        master: u32,
    },
    /// The file of another descriptor opened once more.
    Reopened {
        /// The record of that one.
        of: u32,
        /// File offset in bytes.
        offset: u64,
    },
    /// A file of the directory that /proc has of a thread; [`Fd::path`] is the rest of its path. It is opened when the
    /// threads exist.
    OfThread {
        /// Index of the thread.
        thread: u32,
        /// File offset in bytes.
        offset: u64,
    },
}

/// Properties that a file which was open for reading must still have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unchanged {
    /// Size in bytes.
    pub size: u64,
    /// Modification time in nanoseconds, not 0.
    pub modified: u64,
}

/// [`Fd::source`] of a [`FD_PATH`] that names a FIFO.
const FIFO: u32 = 1;

impl Fd {
    /// A record for descriptor `fd` with the status flags `flags`.
    pub fn new(fd: u32, flags: u32, descriptor: Descriptor) -> Self {
        Fd { fd, flags, ..Fd::default() }.with(descriptor)
    }

    /// This record with another meaning. Number, flags and references stay.
    pub fn with(self, descriptor: Descriptor) -> Self {
        let Fd { fd, flags, path, data, .. } = self;
        let of_kind = |kind| Fd { fd, kind, flags, path, data, ..Fd::default() };
        match descriptor {
            Descriptor::Inherited { stream } => Fd { source: stream, ..of_kind(FD_INHERIT) },
            Descriptor::Duplicate { of } => Fd { source: of, ..of_kind(FD_DUP) },
            Descriptor::Path { offset, unchanged, fifo } => {
                let Unchanged { size: a, modified: b } = unchanged.unwrap_or(Unchanged { size: 0, modified: 0 });
                Fd { offset, a, b, source: if fifo { FIFO } else { 0 }, ..of_kind(FD_PATH) }
            }
            Descriptor::Deleted { mode, offset } => Fd { a: mode, offset, ..of_kind(FD_DELETED) },
            Descriptor::Pipe { other } => Fd { source: other, ..of_kind(FD_PIPE) },
            Descriptor::Event { count, flags } => Fd { a: count, b: flags, ..of_kind(FD_EVENT) },
            Descriptor::Timer { clock } => Fd { a: clock, ..of_kind(FD_TIMER) },
            Descriptor::Signal { mask } => Fd { a: mask, ..of_kind(FD_SIGNAL) },
            Descriptor::Epoll => of_kind(FD_EPOLL),
            Descriptor::Memory { flags, offset } => Fd { a: flags, offset, ..of_kind(FD_MEMFD) },
            Descriptor::Inotify => of_kind(FD_INOTIFY),
            Descriptor::SocketPair { other, kind } => Fd { source: other, a: kind, ..of_kind(FD_SOCKETPAIR) },
            Descriptor::Socket { family, kind, protocol } => {
                Fd { a: family, b: kind, offset: protocol, ..of_kind(FD_SOCKET) }
            }
            Descriptor::Closed => of_kind(FD_CLOSED),
            Descriptor::OwnPidfd => of_kind(FD_PIDFD_SELF),
            Descriptor::Terminal { master } => Fd { source: master, ..of_kind(FD_PTY) },
            Descriptor::Reopened { of, offset } => Fd { source: of, offset, ..of_kind(FD_REOPEN) },
            Descriptor::OfThread { thread, offset } => Fd { source: thread, offset, ..of_kind(FD_OF_THREAD) },
        }
    }

    /// What the record means; `None` for a kind or value that this version does not know.
    pub fn descriptor(&self) -> Option<Descriptor> {
        let Fd { source, offset, a, b, .. } = *self;
        Some(match self.kind {
            FD_INHERIT => Descriptor::Inherited { stream: source },
            FD_DUP => Descriptor::Duplicate { of: source },
            FD_PATH => Descriptor::Path {
                offset,
                unchanged: (b != 0).then_some(Unchanged { size: a, modified: b }),
                fifo: match source {
                    0 => false,
                    FIFO => true,
                    _ => return None,
                },
            },
            FD_DELETED => Descriptor::Deleted { mode: a, offset },
            FD_PIPE => Descriptor::Pipe { other: source },
            FD_EVENT => Descriptor::Event { count: a, flags: b },
            FD_TIMER => Descriptor::Timer { clock: a },
            FD_SIGNAL => Descriptor::Signal { mask: a },
            FD_EPOLL => Descriptor::Epoll,
            FD_MEMFD => Descriptor::Memory { flags: a, offset },
            FD_INOTIFY => Descriptor::Inotify,
            FD_SOCKETPAIR => Descriptor::SocketPair { other: source, kind: a },
            FD_SOCKET => Descriptor::Socket { family: a, kind: b, protocol: offset },
            FD_CLOSED => Descriptor::Closed,
            FD_PIDFD_SELF => Descriptor::OwnPidfd,
            FD_PTY => Descriptor::Terminal { master: source },
            FD_REOPEN => Descriptor::Reopened { of: source, offset },
            FD_OF_THREAD => Descriptor::OfThread { thread: source, offset },
            _ => return None,
        })
    }

    /// Whether it is of a kind that came with [`super::FEATURE_DESCRIPTORS`].
    pub const fn is_later(&self) -> bool {
        const AF_NETLINK: u64 = 16;
        self.kind == FD_OF_THREAD || (self.kind == FD_SOCKET && self.a == AF_NETLINK)
    }

    /// The round in which the loader restores the descriptor of record `index`: first those that need no other
    /// descriptor, then those that are made from one, then duplicates. Both ends of a pair are made by the end that
    /// comes first.
    pub fn rank(&self, index: usize) -> u32 {
        match self.descriptor() {
            Some(Descriptor::Duplicate { .. }) => 2,
            Some(Descriptor::Pipe { .. } | Descriptor::SocketPair { .. }) | None => 0,
            // A master names itself.
            Some(descriptor) => u32::from(descriptor.named().is_some_and(|named| named as usize != index)),
        }
    }
}

impl Descriptor {
    /// The index of the record that this one names, which may be its own.
    pub fn named(mut self) -> Option<u32> {
        self.reference().copied()
    }

    /// The same meaning, but with another record in place of the named one.
    pub fn naming(mut self, record: u32) -> Self {
        if let Some(named) = self.reference() {
            *named = record;
        }
        self
    }

    fn reference(&mut self) -> Option<&mut u32> {
        match self {
            Descriptor::Duplicate { of } | Descriptor::Reopened { of, .. } => Some(of),
            Descriptor::Pipe { other } | Descriptor::SocketPair { other, .. } => Some(other),
            Descriptor::Terminal { master } => Some(master),
            Descriptor::Inherited { .. }
            | Descriptor::Path { .. }
            | Descriptor::Deleted { .. }
            | Descriptor::Event { .. }
            | Descriptor::Timer { .. }
            | Descriptor::Signal { .. }
            | Descriptor::Epoll
            | Descriptor::Memory { .. }
            | Descriptor::Inotify
            | Descriptor::Socket { .. }
            | Descriptor::Closed
            | Descriptor::OwnPidfd
            | Descriptor::OfThread { .. } => None,
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
        /// Reading returns what was written, and neither changes the fields that all kinds share.
        #[test]
        fn records_keep_their_meaning(
            kind in 0..20u32, source in 0..4u32, offset in word(), a in word(), b in word(), fd in 0..9u32, flags in any::<u32>(),
        ) {
            let (path, data) = (BytesRef { offset: 8, len: 5 }, BytesRef { offset: 16, len: 7 });
            let record = Fd { fd, kind, flags, source, offset, a, b, path, data };
            prop_assert_eq!(record.descriptor().is_some(), kind <= FD_OF_THREAD && (kind != FD_PATH || source < 2));
            if let Some(descriptor) = record.descriptor() {
                let again = record.with(descriptor);
                prop_assert_eq!((again.fd, again.kind, again.flags), (fd, kind, flags));
                prop_assert_eq!((again.path, again.data, again.descriptor()), (path, data, Some(descriptor)));
                prop_assert_eq!(Fd { path, data, ..Fd::new(fd, flags, descriptor) }, again);
                if let Some(named) = descriptor.named() {
                    prop_assert_eq!((named, again.source), (source, source));
                    prop_assert_eq!(descriptor.naming(7).named(), Some(7));
                } else {
                    prop_assert_eq!(descriptor.naming(7), descriptor);
                }
            }
        }
    }
}
