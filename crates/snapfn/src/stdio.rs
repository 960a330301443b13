//! Standard streams of an instance.

use crate::{Error, sys};
use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::sync::OnceLock;

/// The target of one of an instance's standard streams, like [`std::process::Stdio`].
#[derive(Debug)]
pub struct Stdio(pub(crate) Kind);

#[derive(Debug)]
pub(crate) enum Kind {
    Inherit,
    Null,
    Piped,
    Fd(OwnedFd),
}

impl Stdio {
    /// This process's own stream.
    #[must_use]
    pub fn inherit() -> Self {
        Stdio(Kind::Inherit)
    }

    /// `/dev/null`.
    #[must_use]
    pub fn null() -> Self {
        Stdio(Kind::Null)
    }

    /// A pipe whose other end is in the [`Child`](crate::Child).
    #[must_use]
    pub fn piped() -> Self {
        Stdio(Kind::Piped)
    }
}

macro_rules! from {
    ($($kind:ty),*) => {
        $(impl From<$kind> for Stdio {
            fn from(from: $kind) -> Self {
                Stdio(Kind::Fd(from.into()))
            }
        })*
    };
}
from!(OwnedFd, File, ChildStdin, ChildStdout, ChildStderr, std::os::unix::net::UnixStream, std::net::TcpStream);

/// The descriptor that the instance gets as stream `number`, and this process's end of a pipe.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) fd: RawFd,
    /// The descriptor that is closed after the instance has it.
    _theirs: Option<OwnedFd>,
    pub(crate) ours: Option<OwnedFd>,
}

impl Stream {
    /// A stream that this process does not provide.
    pub(crate) const NONE: Stream = Stream { fd: -1, _theirs: None, ours: None };
}

impl Kind {
    /// Opens the descriptors of stream `number`. All new descriptors are above the standard streams, since a child
    /// moves them to their numbers one after the other.
    pub(crate) fn open(&self, number: RawFd) -> Result<Stream, Error> {
        let theirs = |fd: OwnedFd, ours| Stream { fd: fd.as_raw_fd(), _theirs: Some(fd), ours };
        Ok(match self {
            Kind::Inherit => Stream { fd: number, _theirs: None, ours: None },
            Kind::Null => Stream { fd: null()?, _theirs: None, ours: None },
            Kind::Fd(fd) if fd.as_raw_fd() > 2 => Stream { fd: fd.as_raw_fd(), _theirs: None, ours: None },
            Kind::Fd(fd) => theirs(sys::duplicate(fd, 3).map_err(Error::io("duplicating a descriptor"))?, None),
            Kind::Piped => {
                let (reader, writer) = sys::pipe().map_err(Error::io("pipe"))?;
                if number == 0 { theirs(reader, Some(writer)) } else { theirs(writer, Some(reader)) }
            }
        })
    }
}

/// `/dev/null`, opened once.
fn null() -> Result<RawFd, Error> {
    static NULL: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(fd) = NULL.get() {
        return Ok(fd.as_raw_fd());
    }
    let file = OpenOptions::new().read(true).write(true).open("/dev/null").map_err(Error::io("opening /dev/null"))?;
    let fd = sys::raise(file.into(), 3).map_err(Error::io("duplicating a descriptor"))?;
    Ok(NULL.get_or_init(|| fd).as_raw_fd())
}
