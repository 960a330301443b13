//! The body of a request, complete before an instance is taken, so that a slow client holds no instance.
//!
//! A small body is in memory, and the function reads it from a memfd. A larger one is in a file without a name, which
//! is the function's standard input itself: nothing has to be copied, and no writer can block on a reader.

use crate::response::{Reason, Refusal};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use rustix::fs::{MemfdFlags, SeekFrom, memfd_create, seek};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

/// Largest body that is kept in memory.
const SMALL: usize = 64 << 10;
/// So much of a larger body is collected between two writes.
const WRITE: usize = 256 << 10;

/// A complete body.
#[derive(Debug)]
pub(crate) enum Spool {
    Small(Bytes),
    File(File, u64),
}

impl Spool {
    pub(crate) fn empty() -> Self {
        Spool::Small(Bytes::new())
    }

    pub(crate) fn len(&self) -> u64 {
        match self {
            Spool::Small(bytes) => bytes.len() as u64,
            Spool::File(_, len) => *len,
        }
    }

    /// Reads a body to its end: at most `most` bytes, until `deadline`.
    pub(crate) async fn read(body: Incoming, most: u64, folder: &Path, deadline: Instant) -> Result<Self, Refusal> {
        let too_large = || Refusal::new(Reason::BodyTooLarge, "the body is larger than this function accepts");
        if body.size_hint().lower() > most {
            return Err(too_large());
        }
        timeout_at(deadline, Self::collect(body, most, folder, too_large))
            .await
            .unwrap_or_else(|_| Err(Refusal::new(Reason::BodyTimeout, "the body did not come in time")))
    }

    async fn collect(
        mut body: Incoming,
        most: u64,
        folder: &Path,
        too_large: impl Fn() -> Refusal,
    ) -> Result<Self, Refusal> {
        let mut buffer = BytesMut::new();
        let mut file: Option<File> = None;
        let mut len = 0u64;
        let mut failed = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Refusal::bad_request("the body is not valid").detail(error))?;
            let Ok(data) = frame.into_data() else { continue };
            len += data.len() as u64;
            if len > most {
                return Err(too_large());
            }
            if failed.is_some() {
                continue;
            }
            buffer.extend_from_slice(&data);
            let limit = if file.is_some() { WRITE } else { SMALL };
            if buffer.len() > limit {
                match write(file.take(), folder, buffer.split().freeze()).await {
                    Ok(written) => file = Some(written),
                    // The rest is read all the same: a client that still writes would not see the answer.
                    Err(refusal) => failed = Some(refusal),
                }
            }
        }
        if let Some(refusal) = failed {
            return Err(refusal);
        }
        Ok(match file {
            None => Spool::Small(buffer.freeze()),
            Some(file) => Spool::File(write(Some(file), folder, buffer.freeze()).await?, len),
        })
    }

    /// The body as a function's standard input: a file at its beginning.
    pub(crate) fn stdin(&self) -> io::Result<OwnedFd> {
        match self {
            Spool::Small(bytes) if bytes.is_empty() => Ok(File::open("/dev/null")?.into()),
            Spool::Small(bytes) => {
                let mut file = File::from(memfd_create(c"request", MemfdFlags::CLOEXEC)?);
                file.write_all(bytes)?;
                seek(&file, SeekFrom::Start(0))?;
                Ok(file.into())
            }
            Spool::File(file, _) => {
                // The function may move the position of what it gets; it gets a request's file once.
                seek(file, SeekFrom::Start(0))?;
                Ok(file.try_clone()?.into())
            }
        }
    }
}

/// Appends to the file, which is made first if there is none. The disk may take its time, so a thread waits for it.
async fn write(file: Option<File>, folder: &Path, bytes: Bytes) -> Result<File, Refusal> {
    let folder = folder.to_owned();
    let written = spawn_blocking(move || {
        let mut file = match file {
            Some(file) => file,
            None => tempfile::tempfile_in(folder)?,
        };
        file.write_all(&bytes).map(|()| file)
    });
    written
        .await
        .map_err(io::Error::other)
        .and_then(|written| written)
        .map_err(|error| Refusal::resources(format!("spooling: {error}")))
}
