//! Downloads. Content is returned as it arrives, and goes on where a connection broke.

use crate::client::{Access, Client, Operation};
use crate::headers;
use crate::http::{Payload, broken, protocol};
use crate::patience::{Failure, Patience};
use crate::{Digest, Direction, Event, RegistryError};
use reqwest::Method;
use reqwest::blocking::Response;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderValue, RANGE};
use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::time::Instant;

/// A transfer below this rate, in bytes a second over a whole stall time-out, counts as stalled.
const SLOWEST: u64 = 512;

/// After this many bytes the attempts are counted anew. So the client gives up a registry that cuts after each byte.
const PROGRESS: u64 = 16 << 10;

/// The answer to a range request.
#[derive(Debug)]
pub enum RangeAnswer {
    /// The requested part.
    Part(BlobReader),
    /// The registry ignores ranges: the whole blob.
    Whole(BlobReader),
}

impl Client {
    /// The content of a blob of `size` bytes, from byte `from` on.
    pub fn blob(&self, repository: &str, digest: &Digest, size: u64, from: u64) -> Result<BlobReader, RegistryError> {
        let mut reader = BlobReader::new(self, repository, digest, size, from..size);
        reader.announce();
        reader.begin()?;
        Ok(reader)
    }

    /// A range of a blob of `size` bytes. Progress is reported as for a blob, with positions within the whole.
    pub fn blob_range(
        &self,
        repository: &str,
        digest: &Digest,
        size: u64,
        range: Range<u64>,
    ) -> Result<RangeAnswer, RegistryError> {
        let mut reader = BlobReader::new(self, repository, digest, size, range.start..range.end.min(size));
        reader.whole_allowed = true;
        reader.begin()?;
        Ok(match reader.range.start == range.start && reader.range.end == range.end.min(size) {
            true => RangeAnswer::Part(reader),
            false => RangeAnswer::Whole(reader),
        })
    }
}

/// Content of a blob, as it arrives. It ends after exactly the requested bytes, or with an error. It resumes broken and
/// stalled connections itself. It compares no digest: the caller does.
///
/// An error is an [`io::Error`] around a [`RegistryError`].
pub struct BlobReader {
    client: Client,
    repository: String,
    digest: Digest,
    what: String,
    size: u64,
    /// What is to be read.
    range: Range<u64>,
    position: u64,
    /// Whether an answer with the whole blob is accepted in place of the range.
    whole_allowed: bool,
    /// Whether progress is reported.
    announced: bool,
    finished: bool,
    response: Option<Response>,
    /// Failed attempts since the last progress, and the position of the last one.
    failed: (u32, u64),
    /// The window in which the rate is measured: its time and its position.
    window: (Instant, u64),
}

impl fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = &self.digest;
        f.debug_struct("BlobReader").field("digest", digest).field("position", &self.position).finish_non_exhaustive()
    }
}

impl BlobReader {
    fn new(client: &Client, repository: &str, digest: &Digest, size: u64, range: Range<u64>) -> Self {
        BlobReader {
            client: client.clone(),
            repository: repository.to_string(),
            digest: *digest,
            what: format!("download the blob {digest}"),
            size,
            position: range.start,
            whole_allowed: false,
            announced: false,
            finished: false,
            response: None,
            failed: (0, range.start),
            range,
            window: (Instant::now(), 0),
        }
    }

    /// Position of the next byte in the blob.
    pub fn position(&self) -> u64 {
        self.position
    }

    fn announce(&mut self) {
        self.announced = true;
        self.client.options().events.event(Event::BlobStarted {
            direction: Direction::Download,
            repository: &self.repository,
            digest: &self.digest,
            size: self.size,
            from: self.position,
        });
    }

    /// Makes the first connection, so that a missing blob is an error at once.
    fn begin(&mut self) -> Result<(), RegistryError> {
        if self.range.start > self.range.end {
            let place = self.client.transport.place(Some(&self.repository), &*self.what);
            return Err(RegistryError::Protocol {
                place,
                why: format!("{:?} is no range of {} bytes", self.range, self.size),
            });
        }
        while self.response.is_none() && self.position < self.range.end {
            if let Err(failure) = self.open() {
                self.wait(failure)?;
            }
        }
        Ok(())
    }

    /// Waits before another attempt, or gives up.
    fn wait(&mut self, failure: Failure) -> Result<(), RegistryError> {
        self.response = None;
        Patience::resumed(self.client.options(), &self.what, self.failed.0).after(failure)?;
        self.failed = (self.failed.0 + 1, self.position);
        Ok(())
    }

    /// Asks for everything from the position on.
    fn open(&mut self) -> Result<(), Failure> {
        let client = self.client.clone();
        let operation = client.operation(&self.repository, Access::Pull, &*self.what)?;
        let url = operation.url(&format!("blobs/{}", self.digest))?;
        let whole = self.position == 0 && self.range.end == self.size;
        let mut headers = Vec::new();
        if !whole {
            let range = format!("bytes={}-{}", self.position, self.range.end.saturating_sub(1));
            headers.push((RANGE, HeaderValue::try_from(range).map_err(|e| protocol(&operation.place, e.to_string()))?));
        }
        let response = operation.send(Method::GET, url, &headers, Payload::None)?;
        let mut response = operation.expect(response, &[200, 206])?;
        let length: Option<u64> =
            response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let (expected, skip) = if response.status().as_u16() == 206 {
            self.check_range(&operation, &response)?;
            (self.range.end - self.position, 0)
        } else if self.whole_allowed && self.position == self.range.start {
            (self.range, self.position, self.failed.1) = (0..self.size, 0, 0);
            (self.size, 0)
        } else {
            (self.size, self.position)
        };
        if let Some(length) = length.filter(|length| *length != expected) {
            return Err(protocol(&operation.place, format!("the registry sends {length} bytes instead of {expected}")));
        }
        self.whole_allowed = false;
        self.skip(&operation, &mut response, skip)?;
        self.response = Some(response);
        self.window = (Instant::now(), self.position);
        Ok(())
    }

    /// Checks that a partial answer is the requested part.
    fn check_range(&self, operation: &Operation<'_>, response: &Response) -> Result<(), Failure> {
        let text = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let Some((start, end, total)) = headers::content_range(text) else {
            return Err(protocol(&operation.place, "the registry sends a part and does not say which".into()));
        };
        if let Some(total) = total.filter(|total| *total != self.size) {
            return Err(protocol(&operation.place, format!("the blob has {total} bytes instead of {}", self.size)));
        }
        match start == self.position && end.checked_add(1) == Some(self.range.end) {
            true => Ok(()),
            false => Err(protocol(
                &operation.place,
                format!("the registry sends bytes {start} to {end}, which were not asked for"),
            )),
        }
    }

    /// Skips bytes that have arrived before, if the registry begins at the beginning each time.
    fn skip(&self, operation: &Operation<'_>, response: &mut Response, len: u64) -> Result<(), Failure> {
        let skipped = io::copy(&mut response.by_ref().take(len), &mut io::sink());
        match skipped {
            Ok(skipped) if skipped == len => Ok(()),
            Ok(_) => Err(broken(&operation.place, &io::ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(broken(&operation.place, &error)),
        }
    }

    /// Reads the next bytes; returns 0 only at the end.
    fn next(&mut self, buffer: &mut [u8]) -> Result<usize, RegistryError> {
        loop {
            let left = self.range.end - self.position;
            if left == 0 || buffer.is_empty() {
                return Ok(0);
            }
            let Some(response) = &mut self.response else {
                match self.open() {
                    Ok(()) => continue,
                    Err(failure) => self.wait(failure)?,
                }
                continue;
            };
            let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let result = match response.read(&mut buffer[..want]) {
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) if self.crawls(len) => Err(io::ErrorKind::TimedOut.into()),
                other => other,
            };
            match result {
                Ok(len) => {
                    self.position += len as u64;
                    if self.position - self.failed.1 >= PROGRESS {
                        self.failed.0 = 0;
                    }
                    return Ok(len);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => {
                    let place = self.client.transport.place(Some(&self.repository), &*self.what);
                    self.wait(broken(&place, &error))?;
                }
            }
        }
    }

    /// Whether bytes arrive so slowly that no time-out ends the transfer. The caller passes the number of bytes that
    /// have just arrived.
    fn crawls(&mut self, len: usize) -> bool {
        let (since, from) = self.window;
        let elapsed = since.elapsed();
        if elapsed < self.client.options().stall_timeout {
            return false;
        }
        let moved = self.position + len as u64 - from;
        self.window = (Instant::now(), self.position + len as u64);
        moved < SLOWEST.saturating_mul(elapsed.as_secs())
    }

    fn tell(&mut self) {
        let events = &self.client.options().events;
        let direction = Direction::Download;
        events.event(Event::BlobProgress { direction, digest: &self.digest, position: self.position });
        if self.position == self.range.end && !self.finished {
            self.finished = true;
            events.event(Event::BlobFinished { direction, digest: &self.digest });
        }
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.next(buffer).map_err(io::Error::other)?;
        if self.announced && (len > 0 || (self.position == self.range.end && !self.finished)) {
            self.tell();
        }
        Ok(len)
    }
}
