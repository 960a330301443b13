//! Uploads.
//!
//! ```text
//!  small   POST uploads/ → 202 Location     PUT Location?digest= with all bytes → 201
//!  large   POST uploads/ → 202 Location     PATCH Location, a piece → 202 Location, Range  …     PUT → 201
//! ```
//!
//! A broken upload goes on after the last piece that the registry has acknowledged, if it still has the upload (`GET
//! Location` reports that). docker-registry up to 2.8 drops an upload when a connection breaks *inside* a PATCH, and
//! does not accept a location older than the last PATCH (whose answer was lost). `GET` then answers 404, and the blob
//! begins anew. So pieces are small at first and grow as long as they go fast.

use crate::auth::replace_file;
use crate::client::{Access, Client, Operation};
use crate::headers;
use crate::http::{Payload, protocol};
use crate::patience::{Failure, Patience};
use crate::{Digest, Direction, Event, RegistryError};
use reqwest::blocking::Response;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RANGE};
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The first piece of an upload.
const FIRST_PIECE: u64 = 1 << 20;
/// The smallest piece that the options can choose.
const SMALLEST_PIECE: u64 = 1 << 10;
/// A piece that took less than this is followed by one of twice its size.
const FAST: Duration = Duration::from_millis(500);
/// A piece that took longer than this is followed by one of half its size.
const SLOW: Duration = Duration::from_secs(5);
/// If a registry demands pieces larger than this, it gets the blob in one.
const MAX_PIECE: u64 = 64 << 20;
/// Most bytes of a session file; real ones have a few hundred.
const MAX_REMEMBERED: u64 = 64 << 10;

/// The source of an upload. It is opened again at the position where the upload must go on.
pub trait BlobSource: Sync {
    /// The content from byte `from` on.
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>>;
}

impl BlobSource for Vec<u8> {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(self.len());
        Ok(Box::new(io::Cursor::new(self[from..].to_vec())))
    }
}

impl BlobSource for PathBuf {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut file = fs::File::open(self)?;
        io::Seek::seek(&mut file, io::SeekFrom::Start(from))?;
        Ok(Box::new(file))
    }
}

/// How an upload went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uploaded {
    /// Bytes that were sent and acknowledged, those sent twice included.
    pub bytes_sent: u64,
    /// Position at which a recorded upload went on; 0 if none did.
    pub resumed_from: u64,
}

/// An upload that the registry knows.
#[derive(Clone, Debug)]
struct Session {
    url: Url,
    /// Bytes that it has acknowledged.
    offset: u64,
    /// The smallest piece that the registry accepts.
    min_piece: u64,
}

/// The same in the form of the file.
#[derive(Serialize, Deserialize)]
struct Remembered {
    registry: String,
    repository: String,
    digest: String,
    size: u64,
    location: String,
}

/// How the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// All with the final PUT.
    Put,
    /// In pieces.
    Pieces,
    /// In one PATCH, for registries that accept no second one.
    OnePatch,
}

struct Upload<'a> {
    operation: Operation<'a>,
    digest: &'a Digest,
    size: u64,
    source: &'a dyn BlobSource,
    remember: Option<&'a Path>,
    mode: Mode,
    session: Option<Session>,
    piece: u64,
    done: Uploaded,
    /// Whether the registry may already have the blob, since the answer to a PUT was lost.
    perhaps_complete: bool,
    /// The furthest that any attempt has come.
    furthest: u64,
}

impl Client {
    /// Uploads a blob of `size` bytes. With `session`, the client records the upload in that file after each
    /// acknowledged piece, goes on from there if the file exists, and removes the file when the blob is complete. It
    /// does not check whether the registry already has the blob: see [`Client::head_blob`].
    pub fn upload_blob(
        &self,
        repository: &str,
        digest: &Digest,
        size: u64,
        source: &dyn BlobSource,
        session: Option<&Path>,
    ) -> Result<Uploaded, RegistryError> {
        let operation = self.operation(repository, Access::Push, format!("upload the blob {digest}"))?;
        let options = self.options();
        let mut upload = Upload {
            operation,
            digest,
            size,
            source,
            remember: session,
            mode: if size <= options.chunk_size { Mode::Put } else { Mode::Pieces },
            session: None,
            piece: FIRST_PIECE.min(options.chunk_size).max(SMALLEST_PIECE),
            done: Uploaded::default(),
            perhaps_complete: false,
            furthest: 0,
        };
        upload.recall();
        let direction = Direction::Upload;
        let from = upload.done.resumed_from;
        options.events.event(Event::BlobStarted { direction, repository, digest, size, from });
        let what = upload.operation.place.what.clone();
        let mut patience = Patience::new(options, &what);
        while let Err(failure) = upload.attempt() {
            patience.reached(upload.furthest);
            patience.after(failure)?;
        }
        upload.forget();
        options.events.event(Event::BlobProgress { direction, digest, position: size });
        options.events.event(Event::BlobFinished { direction, digest });
        Ok(upload.done)
    }
}

impl Upload<'_> {
    /// One attempt, from the position that the last one reached.
    fn attempt(&mut self) -> Result<(), Failure> {
        if self.perhaps_complete && self.operation.head(self.digest)? == Some(self.size) {
            return Ok(());
        }
        self.perhaps_complete = false;
        if let Some(session) = self.session.take() {
            self.session = self.status(session)?;
        }
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.begin()?,
        };
        self.progress(session.offset);
        // Without an answer, the state of the upload is the one before.
        self.session = Some(session.clone());
        while self.mode != Mode::Put && session.offset < self.size {
            session = self.patch(&session)?;
            self.session = Some(session.clone());
            self.furthest = self.furthest.max(session.offset);
            self.remember(&session);
            self.progress(session.offset);
        }
        self.finish(&session)
    }

    /// Begins an upload.
    fn begin(&mut self) -> Result<Session, Failure> {
        let response = self.operation.send(Method::POST, self.operation.url("blobs/uploads/")?, &[], Payload::None)?;
        let response = self.operation.expect(response, &[202])?;
        let min_piece = number(response.headers(), "oci-chunk-min-length").unwrap_or(0);
        if self.mode == Mode::Pieces && min_piece > MAX_PIECE {
            self.mode = Mode::OnePatch;
        }
        Ok(Session { url: self.location(&response)?, offset: 0, min_piece })
    }

    /// Asks for the position of an upload; `None` if the registry no longer has it.
    fn status(&self, session: Session) -> Result<Option<Session>, Failure> {
        if self.mode == Mode::Put || session.offset == 0 {
            return Ok(None);
        }
        let response = self.operation.send(Method::GET, session.url.clone(), &[], Payload::None)?;
        if response.status().as_u16() != 204 {
            return Ok(None);
        }
        let offset = acknowledged(response.headers());
        let url = self.location(&response).unwrap_or(session.url);
        Ok(offset.filter(|offset| *offset <= self.size).map(|offset| Session { url, offset, ..session }))
    }

    /// Sends the next piece.
    fn patch(&mut self, session: &Session) -> Result<Session, Failure> {
        let left = self.size - session.offset;
        let len = match self.mode {
            Mode::OnePatch => left,
            _ => self.piece.max(session.min_piece).min(left),
        };
        let range = format!("{}-{}", session.offset, session.offset + len - 1);
        let range = HeaderValue::try_from(range).map_err(|e| protocol(&self.operation.place, e.to_string()))?;
        let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")), (CONTENT_RANGE, range)];
        let open = || self.source.open(session.offset);
        let payload = match self.mode {
            Mode::OnePatch => Payload::Stream(len, &open),
            _ => Payload::Bytes(self.read(session.offset, len)?),
        };
        let begun = Instant::now();
        let response = self.operation.send(Method::PATCH, session.url.clone(), &headers, payload)?;
        let status = response.status().as_u16();
        if (400..500).contains(&status) && !matches!(status, 401 | 403) && self.mode == Mode::Pieces {
            return Err(self.refused(session, response));
        }
        let response = self.operation.expect(response, &[201, 202, 204])?;
        self.adapt(begun.elapsed());
        let offset = acknowledged(response.headers()).unwrap_or(session.offset + len);
        if offset > session.offset + len || offset <= session.offset {
            let why = format!("the registry says that it has {offset} bytes, after {}", session.offset + len);
            return Err(self.again(why));
        }
        self.done.bytes_sent += len;
        Ok(Session { url: self.location(&response)?, offset, min_piece: session.min_piece })
    }

    /// A piece was refused: either the registry no longer has the upload, or it does not accept pieces.
    fn refused(&mut self, session: &Session, response: Response) -> Failure {
        self.session = None;
        let status = response.status().as_u16();
        if status != 404 && session.offset > 0 {
            self.mode = Mode::OnePatch;
        }
        match self.operation.expect(response, &[]) {
            Err(Failure::Final(error)) => Failure::Passing(error, Some(Duration::ZERO)),
            Err(passing) => passing,
            Ok(_) => self.again(format!("a piece was refused by status {status}")),
        }
    }

    /// The blob must begin anew.
    fn again(&mut self, why: String) -> Failure {
        self.session = None;
        Failure::Passing(RegistryError::Protocol { place: self.operation.place.clone(), why }, None)
    }

    /// Makes pieces larger if they go fast, and smaller if they do not.
    fn adapt(&mut self, took: Duration) {
        if took < FAST {
            self.piece = self.piece.saturating_mul(2).min(self.operation.client.options().chunk_size).max(self.piece);
        } else if took > SLOW {
            self.piece = (self.piece / 2).max(FIRST_PIECE.min(self.piece));
        }
    }

    /// Closes the upload: the registry compares the digest.
    fn finish(&mut self, session: &Session) -> Result<(), Failure> {
        let mut url = session.url.clone();
        url.query_pairs_mut().append_pair("digest", &self.digest.to_string());
        let (payload, len) = match self.mode {
            Mode::Put => (Payload::Bytes(self.read(0, self.size)?), self.size),
            _ => (Payload::None, 0),
        };
        let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))];
        // The flag stays until the answer is there: the answer may be lost, or be that of a second arrival of the same
        // PUT.
        self.perhaps_complete = true;
        let response = self.operation.send(Method::PUT, url, &headers, payload)?;
        let status = response.status().as_u16();
        let response = match self.operation.expect(response, &[201, 204]) {
            // The blob was damaged on the way, or the registry has lost some of it: begin once more.
            Err(Failure::Final(error)) if matches!(status, 400 | 404 | 416) => {
                self.session = None;
                self.forget();
                return Err(Failure::Passing(error, None));
            }
            other => other?,
        };
        let theirs = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        if let Some(theirs) = theirs.filter(|theirs| *theirs != self.digest.to_string()) {
            let why = format!("the registry stored another blob: {}", crate::http::printable(theirs));
            return Err(protocol(&self.operation.place, why));
        }
        self.done.bytes_sent += len;
        Ok(())
    }

    /// `len` bytes of the source.
    fn read(&self, from: u64, len: u64) -> Result<Vec<u8>, Failure> {
        let failed = |source| Failure::Final(RegistryError::Source { place: self.operation.place.clone(), source });
        let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
        self.source.open(from).and_then(|source| source.take(len).read_to_end(&mut bytes)).map_err(failed)?;
        match bytes.len() as u64 == len {
            true => Ok(bytes),
            false => Err(failed(io::Error::new(io::ErrorKind::UnexpectedEof, "it is shorter than announced"))),
        }
    }

    /// Where the upload goes on.
    fn location(&self, response: &Response) -> Result<Url, Failure> {
        let place = &self.operation.place;
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location =
            location.ok_or_else(|| protocol(place, "the registry does not say where to upload to".into()))?;
        self.operation.client.transport.resolve(place, response.url(), location)
    }

    fn progress(&self, position: u64) {
        let event = Event::BlobProgress { direction: Direction::Upload, digest: self.digest, position };
        self.operation.client.options().events.event(event);
    }

    /// Resumes the upload that an earlier process has recorded. A file that is not valid is ignored.
    fn recall(&mut self) {
        let Some(path) = self.remember.filter(|_| self.mode == Mode::Pieces) else { return };
        let mut text = Vec::new();
        let read = fs::File::open(path).and_then(|file| file.take(MAX_REMEMBERED).read_to_end(&mut text));
        let Some(known) = read.ok().and_then(|_| serde_json::from_slice::<Remembered>(&text).ok()) else { return };
        let client = self.operation.client;
        let same = known.registry == client.registry()
            && known.repository == self.operation.repository
            && known.digest == self.digest.to_string()
            && known.size == self.size;
        let place = &self.operation.place;
        let url =
            client.transport.url(place, "").and_then(|base| client.transport.resolve(place, &base, &known.location));
        if let (true, Ok(url)) = (same, url)
            && let Ok(Some(session)) = self.status(Session { url, offset: 1, min_piece: 0 })
        {
            self.done.resumed_from = session.offset;
            self.furthest = session.offset;
            self.session = Some(session);
        }
    }

    /// Records where the upload goes on. A failure only means that it cannot be resumed, so the upload goes on.
    fn remember(&mut self, session: &Session) {
        let Some(path) = self.remember.filter(|_| self.mode == Mode::Pieces) else { return };
        let known = Remembered {
            registry: self.operation.client.registry().into(),
            repository: self.operation.repository.into(),
            digest: self.digest.to_string(),
            size: self.size,
            location: session.url.to_string(),
        };
        let written = serde_json::to_vec(&known).map_err(io::Error::other).and_then(|text| replace_file(path, &text));
        if let Err(error) = written {
            let why = error.to_string();
            self.operation.client.options().events.event(Event::NotRecorded { path, why: &why });
            // One report is enough.
            self.forget();
            self.remember = None;
        }
    }

    fn forget(&self) {
        if let Some(path) = self.remember {
            // It may never have been written.
            let _ = fs::remove_file(path);
        }
    }
}

fn acknowledged(headers: &HeaderMap) -> Option<u64> {
    headers::acknowledged(headers.get(RANGE)?.to_str().ok()?)
}

fn number(headers: &HeaderMap, name: &'static str) -> Option<u64> {
    headers.get(HeaderName::from_static(name))?.to_str().ok()?.parse().ok()
}
