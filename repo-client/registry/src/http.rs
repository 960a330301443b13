//! One exchange with a registry: scheme, proxies, redirects, credentials, and the meaning of an answer.
//!
//! ```text
//!  Transport::call     authorisation, once again with a new token after a 401
//!    exchange          redirects followed by hand; only the registry itself sees credentials
//!      send            one request on one connection
//!  expect              statuses that are no success → errors, passing or final
//! ```

use crate::auth::Session;
use crate::patience::{Failure, parse_retry_after};
use crate::reference::DOCKER_HUB;
use crate::{ClientOptions, Place, RegistryError};
use reqwest::blocking::{Body, Client, Request, Response};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Certificate, Method, StatusCode, Url, redirect};
use serde::Deserialize;
use std::error::Error;
use std::io::{self, Read};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

const MAX_REDIRECTS: usize = 10;
/// Most of an error's body that is read.
const MAX_ERROR_BODY: u64 = 64 << 10;
/// A connection below this rate is given up.
const SLOWEST: u64 = 16 << 10;

/// The body of a request. It can be sent any number of times.
pub(crate) enum Payload<'a> {
    None,
    Bytes(Vec<u8>),
    /// A body of known length, which is opened for each attempt.
    Stream(u64, &'a dyn Fn() -> io::Result<Box<dyn Read + Send>>),
}

/// A request, independent of connections and credentials.
pub(crate) struct Call<'a> {
    pub(crate) place: Place,
    pub(crate) method: Method,
    pub(crate) url: Url,
    /// The scopes that a token must allow, in the form of token services.
    pub(crate) scopes: Vec<String>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) payload: Payload<'a>,
}

#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) registry: String,
    pub(crate) options: ClientOptions,
    pub(crate) session: Session,
    direct: OnceLock<Client>,
    proxied: OnceLock<Client>,
    /// "http" or "https", after the first answer.
    scheme: Mutex<Option<&'static str>>,
    /// Whether a host has answered yet.
    answered: AtomicBool,
}

impl Transport {
    pub(crate) fn new(registry: String, options: ClientOptions) -> Self {
        let session = Session::new(options.credentials.clone());
        Transport {
            registry,
            options,
            session,
            direct: OnceLock::new(),
            proxied: OnceLock::new(),
            scheme: Mutex::new(None),
            answered: AtomicBool::new(false),
        }
    }

    /// A place for errors.
    pub(crate) fn place(&self, repository: Option<&str>, what: impl Into<Box<str>>) -> Place {
        Place { registry: self.registry.as_str().into(), repository: repository.map(Box::from), what: what.into() }
    }

    /// `https://HOST/v2/PATH`, or http if that is in use.
    pub(crate) fn url(&self, place: &Place, path: &str) -> Result<Url, Failure> {
        let host = if self.registry == DOCKER_HUB { "registry-1.docker.io" } else { &self.registry };
        let scheme = self.scheme(host)?;
        Url::parse(&format!("{scheme}://{host}/v2/{path}")).map_err(|e| protocol(place, format!("no URL: {e}")))
    }

    /// HTTPS, unless the caller allows plain HTTP or the registry is on this machine and does not speak TLS.
    fn scheme(&self, host: &str) -> Result<&'static str, Failure> {
        if self.options.plain_http {
            return Ok("http");
        }
        let probe = Url::parse(&format!("https://{host}/v2/")).ok().filter(is_loopback);
        let Some(probe) = probe else { return Ok("https") };
        let mut known = self.scheme.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scheme) = *known {
            return Ok(scheme);
        }
        let client = self.client(&probe)?;
        let scheme = match client.execute(Request::new(Method::GET, probe)) {
            Err(error) if is_refused(&error) => return Ok("https"),
            Err(error) if certificate_error(&error).is_none() => "http",
            _ => "https",
        };
        *known = Some(scheme);
        Ok(scheme)
    }

    /// The HTTP client for a URL. A host on this machine is not asked through a proxy.
    fn client(&self, url: &Url) -> Result<&Client, Failure> {
        let (cell, direct) = if is_loopback(url) { (&self.direct, true) } else { (&self.proxied, false) };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let client = self.build(direct)?;
        Ok(cell.get_or_init(|| client))
    }

    fn build(&self, direct: bool) -> Result<Client, RegistryError> {
        let options = &self.options;
        let mut builder = Client::builder()
            .user_agent(concat!("snapfn/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .referer(false)
            .connect_timeout(options.connect_timeout)
            // The limit is for each wait: for the head of an answer, and for each piece of its body.
            .timeout(options.stall_timeout);
        if direct {
            builder = builder.no_proxy();
        }
        if let Some(path) = &options.ca {
            let bad = |why: String| RegistryError::Config { path: path.clone(), why };
            let pem = std::fs::read(path).map_err(|e| bad(format!("cannot read the certificates: {e}")))?;
            let certificates =
                Certificate::from_pem_bundle(&pem).map_err(|e| bad(format!("holds no PEM certificates: {e}")))?;
            for certificate in certificates {
                builder = builder.add_root_certificate(certificate);
            }
        }
        builder.build().map_err(|error| RegistryError::Config {
            path: std::env::var_os("SSL_CERT_FILE").unwrap_or_else(|| "the system's certificates".into()).into(),
            why: format!("cannot prepare TLS: {}; check SSL_CERT_FILE and SSL_CERT_DIR", chain(&error)),
        })
    }

    /// Sends `call` with the credentials that it needs. The answer's status is never a redirect, a 401, or one that
    /// asks to come again.
    pub(crate) fn call(&self, call: &Call<'_>) -> Result<Response, Failure> {
        let own = self.url(&call.place, "")?.origin();
        // The attempts are: without a token, with one, and with a new one if that has just expired.
        for last in [false, false, true] {
            let header = self.session.header(self, &call.place, &call.scopes)?;
            let (response, at) = self.exchange(call, &|url| header.clone().filter(|_| url.origin() == own))?;
            let authorized = header.is_some();
            if response.status() != StatusCode::UNAUTHORIZED {
                return unless_busy(&call.place, response, &self.options);
            }
            if at.origin() != own {
                let why = format!("{} wants credentials of its own", host(&at));
                return Err(Failure::Final(unauthorized(&call.place, why, "ask the registry's administrator".into())));
            }
            self.session.refused(self, call, response, authorized, last)?;
        }
        // This is not reached: after the last attempt `refused` returns an error.
        Err(Failure::Final(unauthorized(&call.place, "still refused".into(), self.login_remedy())))
    }

    /// The remedy for wrong or missing credentials.
    pub(crate) fn login_remedy(&self) -> String {
        format!("log in with `snaprepo login {}`", self.registry)
    }

    /// Sends `call` and follows redirects. `authorization` gives the header for each host. Returns the last URL as
    /// well.
    pub(crate) fn exchange(
        &self,
        call: &Call<'_>,
        authorization: &dyn Fn(&Url) -> Option<HeaderValue>,
    ) -> Result<(Response, Url), Failure> {
        let mut url = call.url.clone();
        let mut method = call.method.clone();
        let mut with_payload = true;
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(call, &method, &url, with_payload, authorization(&url))?;
            let status = response.status();
            if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok((response, url));
            }
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let location = location.ok_or_else(|| protocol(&call.place, "redirects to nowhere".into()))?;
            let next = self.resolve(&call.place, &url, location)?;
            if !matches!(method, Method::GET | Method::HEAD) && !matches!(status.as_u16(), 307 | 308) {
                if method == Method::POST && status == StatusCode::SEE_OTHER {
                    (method, with_payload) = (Method::GET, false);
                } else {
                    return Err(protocol(&call.place, format!("redirects a {method} by status {}", status.as_u16())));
                }
            }
            url = next;
        }
        Err(protocol(&call.place, format!("redirects more than {MAX_REDIRECTS} times")))
    }

    /// The URL of `location`, which the answer from `from` has: HTTP or HTTPS, never from TLS to plain HTTP, and
    /// without a password.
    pub(crate) fn resolve(&self, place: &Place, from: &Url, location: &str) -> Result<Url, Failure> {
        let mut url =
            from.join(location).map_err(|e| protocol(place, format!("names a location that is no URL: {e}")))?;
        // The registry is behind a TLS proxy, and does not know that.
        if from.scheme() == "https" && url.scheme() == "http" && url.host() == from.host() {
            let port = if url.port().is_none() { from.port() } else { url.port() };
            // Both succeed for a URL with a host.
            let _ = url.set_scheme("https");
            let _ = url.set_port(port);
        }
        let allowed = match url.scheme() {
            "https" => true,
            "http" => from.scheme() == "http" && (self.options.plain_http || is_loopback(&url)),
            _ => false,
        };
        if !allowed || url.host().is_none() {
            let shown: String = url.as_str().chars().take(60).collect();
            return Err(protocol(place, format!("redirects to {}, which is not allowed", printable(&shown))));
        }
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_fragment(None);
        Ok(url)
    }

    /// One request on one connection.
    pub(crate) fn send(
        &self,
        call: &Call<'_>,
        method: &Method,
        url: &Url,
        with_payload: bool,
        authorization: Option<HeaderValue>,
    ) -> Result<Response, Failure> {
        let mut request = Request::new(method.clone(), url.clone());
        for (name, value) in &call.headers {
            request.headers_mut().insert(name, value.clone());
        }
        if let Some(authorization) = authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization);
        }
        let (body, len) = match &call.payload {
            _ if !with_payload => (None, 0),
            // A length of 0 must be in the header: some proxies refuse a PUT without a length.
            Payload::None if matches!(*method, Method::GET | Method::HEAD | Method::DELETE) => (None, 0),
            Payload::None => (Some(Body::from("")), 0),
            Payload::Bytes(bytes) => (Some(Body::from(bytes.clone())), bytes.len() as u64),
            Payload::Stream(len, open) => {
                let source = |source| Failure::Final(RegistryError::Source { place: call.place.clone(), source });
                (Some(Body::sized(open().map_err(source)?, *len)), *len)
            }
        };
        if let Some(body) = body {
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(len));
            *request.body_mut() = Some(body);
            if len > 0 {
                // The client's time limit would include the time to send all of it, even on a slow line.
                let whole = self.options.stall_timeout.saturating_add(Duration::from_secs(len / SLOWEST));
                *request.timeout_mut() = Some(whole);
            }
        }
        let answer = self.client(url)?.execute(request);
        let answered = self.answered.fetch_or(answer.is_ok(), Ordering::Relaxed);
        answer.map_err(|error| unreachable(&call.place, url, error, answered))
    }
}

/// Turns statuses that ask to come again into passing failures.
pub(crate) fn unless_busy(place: &Place, response: Response, options: &ClientOptions) -> Result<Response, Failure> {
    let status = response.status().as_u16();
    if !matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504) {
        return Ok(response);
    }
    let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let asked = asked.and_then(|text| parse_retry_after(text, SystemTime::now()));
    let remedy = match status {
        429 => "it limits how often it is asked; try again later, or log in",
        _ => "try again later, or ask its administrator",
    };
    let detail = error_detail(response, options);
    Err(Failure::Passing(RegistryError::Status { place: place.clone(), status, detail, remedy }, asked))
}

/// The response if its status is one of `expected`, else the error.
pub(crate) fn expect(
    place: &Place,
    response: Response,
    expected: &[u16],
    options: &ClientOptions,
) -> Result<Response, Failure> {
    let status = response.status().as_u16();
    if expected.contains(&status) {
        return Ok(response);
    }
    let place = place.clone();
    let detail = error_detail(response, options);
    let remedy = match status {
        404 => return Err(Failure::Final(RegistryError::NotFound { place, detail })),
        403 => "the account may not do this; log in with another, or ask the registry's administrator",
        405 => "the registry does not allow this operation; its administrator can",
        413 => "the registry, or a proxy before it, limits the size of requests",
        100..=399 => {
            return Err(protocol(&place, format!("the registry answers {status}, which is not expected here")));
        }
        _ => "see the registry's log",
    };
    Err(Failure::Final(RegistryError::Status { place, status, detail, remedy }))
}

/// The registry's message about an error, in one line.
fn error_detail(response: Response, options: &ClientOptions) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    // A body that cannot be read in full counts as none.
    let Ok(body) = read_body(response, MAX_ERROR_BODY, options) else { return String::new() };
    match serde_json::from_slice::<Errors>(&body) {
        Ok(Errors { errors }) => {
            let lines = errors
                .iter()
                .take(3)
                .map(|entry| printable(format!("{}: {}", entry.code, entry.message).trim_matches([':', ' '])));
            lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ")
        }
        // A proxy's page in HTML is of no use in a message.
        Err(_) if body.starts_with(b"<") => String::new(),
        Err(_) => printable(String::from_utf8_lossy(&body).trim().lines().next().unwrap_or_default()),
    }
}

/// Why a body could not be read.
#[derive(Debug)]
pub(crate) enum BodyError {
    TooLong,
    Io(io::Error),
}

/// A whole body of at most `max` bytes, which must arrive within a few time-outs.
pub(crate) fn read_body(mut response: Response, max: u64, options: &ClientOptions) -> Result<Vec<u8>, BodyError> {
    let deadline = Instant::now() + options.stall_timeout.saturating_mul(2);
    let mut body = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match response.read(&mut buffer) {
            Ok(0) => return Ok(body),
            Ok(len) => body.extend_from_slice(&buffer[..len]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(BodyError::Io(e)),
        }
        if body.len() as u64 > max {
            return Err(BodyError::TooLong);
        }
        if Instant::now() > deadline {
            return Err(BodyError::Io(io::ErrorKind::TimedOut.into()));
        }
    }
}

/// A whole body, with errors that name the place.
pub(crate) fn body(place: &Place, response: Response, max: u64, options: &ClientOptions) -> Result<Vec<u8>, Failure> {
    read_body(response, max, options).map_err(|error| match error {
        BodyError::TooLong => protocol(place, format!("the answer is longer than {max} bytes")),
        BodyError::Io(error) => broken(place, &error),
    })
}

/// The connection ended in the middle.
pub(crate) fn broken(place: &Place, error: &io::Error) -> Failure {
    let remedy = "check the network, then run the command again: it goes on where it ended";
    Failure::Passing(RegistryError::Unreachable { place: place.clone(), why: io_text(error), remedy }, None)
}

/// An answer that does not make sense.
pub(crate) fn protocol(place: &Place, why: String) -> Failure {
    Failure::Final(RegistryError::Protocol { place: place.clone(), why })
}

pub(crate) fn unauthorized(place: &Place, why: String, remedy: String) -> RegistryError {
    RegistryError::Unauthorized { place: place.clone(), why, remedy }
}

/// The error for no answer. `answered`: the registry has answered before.
fn unreachable(place: &Place, url: &Url, error: reqwest::Error, answered: bool) -> Failure {
    let place = place.clone();
    let at = host(url);
    if let Some(certificate) = certificate_error(&error) {
        let why = format!("the certificate of {at} is not accepted: {certificate}");
        let remedy = "if it is from an authority of your own, name that one's certificate in SSL_CERT_FILE";
        return Failure::Final(RegistryError::Unreachable { place, why, remedy });
    }
    let remedy = match () {
        () if is_plain(&error) => "it seems to speak plain HTTP; if that is meant so: --plain-http",
        () if error.is_connect() => "check the name, the network and the proxy settings",
        () => "check the network, then run the command again: it goes on where it ended",
    };
    let why = match error.is_timeout() {
        true => format!("no answer from {at} in time"),
        false => format!("{at}: {}", chain(&error)),
    };
    let nobody = error.is_connect() && !error.is_timeout() && !answered;
    let error = RegistryError::Unreachable { place, why, remedy };
    if nobody { Failure::Nobody(error) } else { Failure::Passing(error, None) }
}

/// Host and port, as a user writes them.
pub(crate) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or("nowhere");
    url.port().map_or_else(|| host.to_string(), |port| format!("{host}:{port}"))
}

/// Whether a URL leads to this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    match address {
        Ok(address) => address.is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// An error and all its causes.
fn sources<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        // The error that an io::Error wraps is not its source.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &'a (dyn Error + 'static)),
            None => error.source(),
        };
        Some(error)
    })
}

fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    sources(error).find_map(|error| error.downcast_ref::<rustls::Error>())
}

/// The registry speaks TLS, but is not who it should be.
fn certificate_error(error: &reqwest::Error) -> Option<String> {
    match tls_error(error)? {
        rustls::Error::InvalidCertificate(why) => Some(why.to_string()),
        _ => None,
    }
}

/// What answered is no TLS.
fn is_plain(error: &reqwest::Error) -> bool {
    matches!(tls_error(error), Some(rustls::Error::InvalidMessage(_)))
}

fn is_refused(error: &reqwest::Error) -> bool {
    let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    sources(error).any(|error| error.downcast_ref::<io::Error>().is_some_and(refused))
}

/// The messages of an error and its causes, without the URL (it may hold a signature) and without repetitions.
fn chain(error: &reqwest::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    for error in sources(error).skip(1) {
        let text = printable(&error.to_string());
        if texts.last().is_none_or(|last| !last.contains(&text)) {
            texts.push(text);
        }
    }
    match texts.is_empty() {
        true => "the exchange failed".into(),
        false => texts.join(": "),
    }
}

/// The message of an error of a body's reader.
fn io_text(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<reqwest::Error>()) {
        Some(inner) if inner.is_timeout() => "the transfer has stalled".into(),
        Some(inner) => format!("the connection broke: {}", chain(inner)),
        None if error.kind() == io::ErrorKind::TimedOut => "the transfer has stalled".into(),
        None => format!("the connection broke: {error}"),
    }
}

/// Text from another host, made safe for a message.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback() {
        for url in [
            "http://localhost/",
            "http://127.0.0.1:5000/",
            "http://127.9.9.9/",
            "http://[::1]:1/",
            "http://a.localhost/",
        ] {
            assert!(is_loopback(&Url::parse(url).unwrap()), "{url}");
        }
        for url in
            ["http://example.com/", "http://localhost.example/", "http://10.0.0.1/", "http://[::2]/", "file:///x"]
        {
            assert!(!is_loopback(&Url::parse(url).unwrap()), "{url}");
        }
    }

    #[test]
    fn where_an_answer_may_send_us() {
        let transport =
            |plain_http| Transport::new("r.example".into(), ClientOptions { plain_http, ..ClientOptions::default() });
        let place = transport(false).place(None, "x");
        let to = |plain, from: &str, location: &str| {
            transport(plain).resolve(&place, &Url::parse(from).unwrap(), location).map(|url| url.to_string()).ok()
        };
        let https = "https://r.example/v2/a?b=c";
        assert_eq!(to(false, https, "/x?y=z#f").as_deref(), Some("https://r.example/x?y=z"));
        assert_eq!(to(false, https, "https://u:p@cdn.example/x").as_deref(), Some("https://cdn.example/x"));
        assert_eq!(to(false, https, "http://r.example/x").as_deref(), Some("https://r.example/x"));
        for location in
            ["http://cdn.example/x", "file:///etc/passwd", "ftp://r.example/", "data:,x", "https://", "gopher://x/"]
        {
            assert_eq!(to(false, https, location), None, "{location}");
            assert_eq!(to(true, https, location), None, "{location}");
        }
        let http = "http://127.0.0.1:5000/v2/";
        assert_eq!(to(false, http, "http://127.0.0.1:6000/x").as_deref(), Some("http://127.0.0.1:6000/x"));
        assert_eq!(to(false, http, "http://cdn.example/x"), None);
        assert_eq!(to(true, http, "http://cdn.example/x").as_deref(), Some("http://cdn.example/x"));
        assert_eq!(to(false, http, "https://cdn.example/x").as_deref(), Some("https://cdn.example/x"));
    }
}
