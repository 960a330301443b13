//! A proxy in front of a registry. Each request gets at most one fault, and the proxy records what happened.

use crate::fault::{Fault, Random};
use crate::http::{self, Body, Framing, Head};
use crate::server::{Connection, Live, Server};
use crate::token::Tokens;
use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// A request that is sent twice is kept in memory; a longer one is sent once.
const MAX_DUPLICATE: u64 = 32 << 20;
/// The address of the blobs' host: another loopback address, so that it is another host.
const ELSEWHERE: &str = "127.0.0.2";

/// What became of one request.
#[derive(Clone, Debug)]
pub struct Record {
    /// Whether it went to the registry, and not to the host that blobs are redirected to.
    pub is_registry: bool,
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub target: String,
    /// The fields that tests look at.
    pub range: Option<String>,
    /// The field that must not cross hosts.
    pub authorization: Option<String>,
    /// What was done to it.
    pub fault: Option<Fault>,
    /// Bytes of its body that came from the client.
    pub sent: u64,
    /// The status that the client got; 0 for none.
    pub status: u16,
    /// Bytes of the answer's body that went to the client.
    pub received: u64,
}

type Choice = Box<dyn FnMut(&Head) -> Option<Fault> + Send>;

/// What the proxy shall do.
pub struct ProxyBuilder {
    upstream: String,
    choice: Choice,
    tokens: Option<Tokens>,
    redirects: bool,
}

impl ProxyBuilder {
    /// Sets a rule that chooses the faults.
    #[must_use]
    pub fn faults(mut self, choice: impl FnMut(&Head) -> Option<Fault> + Send + 'static) -> Self {
        self.choice = Box::new(choice);
        self
    }

    /// Faults by chance.
    #[must_use]
    pub fn random(self, mut random: Random) -> Self {
        self.faults(move |request| random.choose(request))
    }

    /// Demands Bearer tokens, each of which is valid for `uses` requests. (The registry behind must demand no
    /// credentials.)
    #[must_use]
    pub fn tokens(mut self, user: &str, password: &str, uses: u32) -> Self {
        self.tokens = Some(Tokens::start(user, password, uses));
        self
    }

    /// Redirects every blob to another host.
    #[must_use]
    pub fn redirects(mut self) -> Self {
        self.redirects = true;
        self
    }

    /// Starts it.
    #[must_use]
    pub fn start(self) -> Proxy {
        let shared = Arc::new(Shared {
            upstream: self.upstream,
            choice: Mutex::new(self.choice),
            tokens: self.tokens,
            redirects: self.redirects,
            elsewhere: OnceLock::new(),
            tickets: Mutex::default(),
            records: Mutex::default(),
            open: AtomicUsize::new(0),
        });
        let serve = |is_registry: bool| {
            let shared = Arc::clone(&shared);
            move |connection: &mut Connection, live: &Live| shared.serve(connection, live, is_registry)
        };
        let elsewhere = Server::start(ELSEWHERE, serve(false));
        let _ = shared.elsewhere.set(elsewhere.address().to_string());
        let registry = Server::start("127.0.0.1", serve(true));
        Proxy { registry, _elsewhere: elsewhere, shared }
    }
}

impl fmt::Debug for ProxyBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyBuilder").field("upstream", &self.upstream).finish_non_exhaustive()
    }
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    registry: Server,
    _elsewhere: Server,
    shared: Arc<Shared>,
}

impl Proxy {
    /// In front of `upstream`, `HOST:PORT` without TLS.
    #[must_use]
    pub fn builder(upstream: &str) -> ProxyBuilder {
        ProxyBuilder { upstream: upstream.into(), choice: Box::new(|_| None), tokens: None, redirects: false }
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn host(&self) -> String {
        self.registry.address().to_string()
    }

    /// What has happened so far.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.shared.settled().clone()
    }

    /// Returns the records and clears them for the next part of a test.
    #[must_use]
    pub fn take_records(&self) -> Vec<Record> {
        std::mem::take(&mut self.shared.settled())
    }

    /// Changes the rule for faults.
    pub fn set_faults(&self, choice: impl FnMut(&Head) -> Option<Fault> + Send + 'static) {
        *self.shared.choice.lock().unwrap() = Box::new(choice);
    }

    /// How many tokens were handed out.
    #[must_use]
    pub fn tokens_issued(&self) -> u64 {
        self.shared.tokens.as_ref().map_or(0, Tokens::issued)
    }
}

struct Shared {
    upstream: String,
    choice: Mutex<Choice>,
    tokens: Option<Tokens>,
    redirects: bool,
    elsewhere: OnceLock<String>,
    /// Blobs that were redirected: the original requests.
    tickets: Mutex<Vec<Head>>,
    records: Mutex<Vec<Record>>,
    /// Requests that have no record yet.
    open: AtomicUsize,
}

/// A request that has no record yet.
struct Open<'a>(&'a AtomicUsize);

impl<'a> Open<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Open(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("upstream", &self.upstream).finish_non_exhaustive()
    }
}

/// Whether the connection can serve another request.
#[derive(PartialEq, Eq)]
enum Then {
    Next,
    Close,
}

impl Shared {
    /// The records, with those of all requests whose answers a client has seen: the proxy makes a record after the
    /// answer. It does not wait for a request that a fault delays.
    fn settled(&self) -> MutexGuard<'_, Vec<Record>> {
        let end = Instant::now() + Duration::from_secs(1);
        while self.open.load(Ordering::SeqCst) > 0 && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
        self.records.lock().unwrap()
    }

    fn serve(&self, client: &mut Connection, live: &Live, is_registry: bool) -> io::Result<()> {
        while let Some(mut request) = Head::read(&mut client.from)? {
            let _open = Open::new(&self.open);
            let fault = (self.choice.lock().unwrap())(&request);
            let mut record = Record {
                is_registry,
                method: request.method().into(),
                target: request.target().into(),
                range: request.get("range").map(String::from),
                authorization: request.get("authorization").map(String::from),
                fault,
                sent: 0,
                status: 0,
                received: 0,
            };
            if request.get("expect").is_some() {
                request.remove("expect");
                client.to.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            let mut exchange = Exchange { shared: self, client, live, record: &mut record };
            let then = exchange.handle(request, fault);
            self.records.lock().unwrap().push(record);
            if then? == Then::Close {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// One request and its answer.
struct Exchange<'a> {
    shared: &'a Shared,
    client: &'a mut Connection,
    live: &'a Live,
    record: &'a mut Record,
}

impl Exchange<'_> {
    fn handle(&mut self, mut request: Head, fault: Option<Fault>) -> io::Result<Then> {
        let framing = request.request_framing();
        match fault {
            Some(Fault::CutBefore) => return Ok(Then::Close),
            Some(Fault::Delay(time)) => self.live.sleep(time),
            Some(Fault::Status { code, retry_after, reads_body }) => {
                let mut head = Head::answer(code);
                if let Some(seconds) = retry_after {
                    head = head.with("Retry-After", seconds);
                }
                if !reads_body && framing != Framing::Length(0) {
                    self.answer(head.with("Connection", "close"), b"")?;
                    return Ok(Then::Close);
                }
                self.drain(framing)?;
                self.answer(head, b"")?;
                return Ok(Then::Next);
            }
            Some(Fault::IgnoreRange) => request.remove("range"),
            _ => (),
        }
        if !self.record.is_registry {
            // A signed address together with other credentials is refused, as object stores do.
            if request.get("authorization").is_some() {
                self.answer(Head::answer(400), b"only one way to authenticate is allowed")?;
                return Ok(Then::Next);
            }
            let number = request.path().strip_prefix("/ticket/").and_then(|n| n.parse::<usize>().ok());
            let ticket = number.and_then(|n| self.shared.tickets.lock().unwrap().get(n).cloned());
            let Some(mut original) = ticket else {
                self.answer(Head::answer(404), b"")?;
                return Ok(Then::Next);
            };
            original.remove("range");
            if let Some(range) = request.get("range") {
                original.set("Range", range);
            }
            return self.forward(&original, framing, fault);
        }
        if let Some(then) = self.authorize(&mut request, framing, fault)? {
            return Ok(then);
        }
        if request.is_blob_request() && (self.shared.redirects || fault == Some(Fault::Redirect)) {
            let number = {
                let mut tickets = self.shared.tickets.lock().unwrap();
                tickets.push(request);
                tickets.len() - 1
            };
            let host = self.shared.elsewhere.get().map_or("", String::as_str);
            let head = Head::answer(307).with("Location", format!("http://{host}/ticket/{number}"));
            self.answer(head, b"")?;
            return Ok(Then::Next);
        }
        self.forward(&request, framing, fault)
    }

    /// Checks and removes the token. Returns an answer if it is refused.
    fn authorize(&mut self, request: &mut Head, framing: Framing, fault: Option<Fault>) -> io::Result<Option<Then>> {
        let Some(tokens) = &self.shared.tokens else { return Ok(None) };
        if fault == Some(Fault::ExpireToken) {
            tokens.expire(request);
        }
        if let Err(challenge) = tokens.check(request) {
            self.drain(framing)?;
            let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
            self.answer(Head::answer(401).with("WWW-Authenticate", challenge), body)?;
            return Ok(Some(Then::Next));
        }
        // A client that may not read the other repository cannot mount from it: an ordinary upload begins.
        if let (Some(_), Some(from)) = (request.query("mount"), request.query("from"))
            && !tokens.can_pull(request, &from)
        {
            request.first = format!("POST {} HTTP/1.1", request.path());
        }
        request.remove("authorization");
        Ok(None)
    }

    fn forward(&mut self, request: &Head, framing: Framing, fault: Option<Fault>) -> io::Result<Then> {
        let copies = if fault == Some(Fault::Duplicate) { self.read_whole(framing)? } else { None };
        let (mut upstream, then) = match copies {
            Some(body) => {
                drop(self.ask(request, &body)?);
                (self.ask(request, &body)?, Then::Next)
            }
            None => match self.pass_request(request, framing, fault)? {
                Some(upstream) => (upstream, Then::Next),
                None => return Ok(Then::Close),
            },
        };
        let Some(mut answer) = Head::read(&mut upstream)? else { return Ok(Then::Close) };
        let framing = answer.answer_framing(request.method());
        match fault {
            Some(Fault::LostAnswer) => return Ok(Then::Close),
            Some(Fault::LostStatus(code)) => {
                self.answer(Head::answer(code), b"")?;
                return Ok(then);
            }
            _ => (),
        }
        answer.remove("connection");
        self.record.status = answer.status();
        answer.write(&mut self.client.to)?;
        // An answer to HEAD has the length of a body that does not follow.
        let length = if let Framing::Length(length) = framing { Some(length) } else { None };
        let tap = Tap::answer(fault, length);
        let mut body = Body::new(&mut upstream, framing);
        let is_whole = tap.relay(&mut body, &mut self.client.to, framing, self.live, &mut self.record.received)?;
        Ok(if is_whole && framing != Framing::UntilEnd { then } else { Then::Close })
    }

    /// Sends a request whose body is at hand, and reads until the answer begins.
    fn ask(&self, request: &Head, body: &[u8]) -> io::Result<BufReader<TcpStream>> {
        let mut head = request.clone();
        head.remove("transfer-encoding");
        head.set("Connection", "close");
        if !matches!(request.method(), "GET" | "HEAD") {
            head.set("Content-Length", &body.len().to_string());
        }
        let mut upstream = TcpStream::connect(&self.shared.upstream)?;
        head.write(&mut upstream)?;
        // An early refusal closes the connection. The answer is more useful than the error.
        let _ = upstream.write_all(body);
        let mut upstream = BufReader::new(upstream);
        io::BufRead::fill_buf(&mut upstream)?;
        Ok(upstream)
    }

    /// Passes the request on; `None` if the fault cut the connection.
    fn pass_request(
        &mut self,
        request: &Head,
        framing: Framing,
        fault: Option<Fault>,
    ) -> io::Result<Option<BufReader<TcpStream>>> {
        let mut head = request.clone();
        head.set("Connection", "close");
        let mut upstream = TcpStream::connect(&self.shared.upstream)?;
        head.write(&mut upstream)?;
        let length = if let Framing::Length(length) = framing { Some(length) } else { None };
        let tap = Tap::request(fault, length);
        let mut body = Body::new(&mut self.client.from, framing);
        let result = tap.relay(&mut body, &mut upstream, framing, self.live, &mut self.record.sent);
        match result {
            Ok(true) => (),
            Ok(false) => return Ok(None),
            // The registry has answered early and closed the connection; the rest of the body is dropped.
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                io::copy(&mut body, &mut io::sink())?;
            }
            Err(error) => return Err(error),
        }
        Ok(Some(BufReader::with_capacity(64 << 10, upstream)))
    }

    fn read_whole(&mut self, framing: Framing) -> io::Result<Option<Vec<u8>>> {
        if matches!(framing, Framing::Length(length) if length > MAX_DUPLICATE) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        Body::new(&mut self.client.from, framing).read_to_end(&mut bytes)?;
        self.record.sent = bytes.len() as u64;
        Ok(Some(bytes))
    }

    fn drain(&mut self, framing: Framing) -> io::Result<()> {
        self.record.sent = io::copy(&mut Body::new(&mut self.client.from, framing), &mut io::sink())?;
        Ok(())
    }

    fn answer(&mut self, head: Head, body: &[u8]) -> io::Result<()> {
        self.record.status = head.status();
        head.with("Content-Length", body.len()).write(&mut self.client.to)?;
        if self.record.method != "HEAD" {
            self.client.to.write_all(body)?;
            self.record.received = body.len() as u64;
        }
        Ok(())
    }
}

/// The changes to a body on its way.
#[derive(Default)]
struct Tap {
    cut: Option<u64>,
    stall: Option<(u64, Duration)>,
    flip: Option<u64>,
    swap: Option<u64>,
}

impl Tap {
    fn request(fault: Option<Fault>, length: Option<u64>) -> Self {
        match fault {
            Some(Fault::CutRequest(at)) => Self { cut: Some(position(at, length)), ..Self::default() },
            Some(Fault::StallRequest(at, time)) => {
                Self { stall: Some((position(at, length), time)), ..Self::default() }
            }
            Some(Fault::CorruptRequest(at)) => Self { flip: Some(position(at, length)), ..Self::default() },
            _ => Self::default(),
        }
    }

    fn answer(fault: Option<Fault>, length: Option<u64>) -> Self {
        match fault {
            Some(Fault::CutAnswer(at)) => Self { cut: Some(position(at, length)), ..Self::default() },
            Some(Fault::StallAnswer(at, time)) => Self { stall: Some((position(at, length), time)), ..Self::default() },
            Some(Fault::CorruptAnswer(at)) => Self { flip: Some(position(at, length)), ..Self::default() },
            Some(Fault::SwapAnswer(at)) => Self { swap: Some(position(at, length)), ..Self::default() },
            _ => Self::default(),
        }
    }

    /// Copies a body; false if it was cut. `count` gets what was read.
    fn relay(
        mut self,
        from: &mut impl Read,
        to: &mut TcpStream,
        framing: Framing,
        live: &Live,
        count: &mut u64,
    ) -> io::Result<bool> {
        if self.cut == Some(0) {
            return Ok(false);
        }
        let mut buffer = vec![0; 64 << 10];
        loop {
            let start = *count;
            // A piece ends where something happens.
            let marks = [self.cut, self.stall.map(|(at, _)| at), self.swap];
            let next = marks.into_iter().flatten().filter(|&at| at > start).min().unwrap_or(u64::MAX);
            let want = buffer.len().min(usize::try_from(next - start).unwrap_or(usize::MAX));
            let got = from.read(&mut buffer[..want])?;
            if got == 0 {
                http::write_end(to, framing)?;
                return Ok(true);
            }
            let piece = &mut buffer[..got];
            *count += got as u64;
            if let Some(at) = self.flip.filter(|at| (start..*count).contains(at)) {
                piece[(at - start) as usize] ^= 0x20;
            }
            if self.swap.is_some_and(|at| start >= at) && got >= 2 {
                piece.rotate_left(got / 2);
                self.swap = None;
            }
            http::write_piece(to, framing, piece)?;
            if self.cut == Some(*count) {
                return Ok(false);
            }
            if let Some((_, time)) = self.stall.filter(|(at, _)| *count >= *at) {
                self.stall = None;
                live.sleep(time);
            }
        }
    }
}

/// Thousandths of a length or, if it is unknown, of a megabyte.
fn position(thousandths: u64, length: Option<u64>) -> u64 {
    length.unwrap_or(1 << 20) * thousandths / 1000
}
