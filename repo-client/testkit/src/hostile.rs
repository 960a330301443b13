//! A registry in memory. It serves the blobs and manifests that a test gives it, or the answers of the test's rule.

use crate::digest;
use crate::http::{Body, Head};
use crate::server::{Connection, Live, Server};
use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Most bytes of a request's body.
const MAX_BODY: u64 = 64 << 20;
/// An endless body ends after this many bytes, so that a client without a limit fails its test and does not fill the
/// machine.
const ENDLESS: u64 = 4 << 30;

/// An answer of the test's own.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A head and a body; `Content-Length` is added unless the head has it.
    Whole(Head, Vec<u8>),
    /// A head and a body that does not end; without a length unless the head has it.
    Endless(Head),
    /// A byte each time, for ever.
    Trickle(Head, Duration),
    /// The connection closes.
    Nothing,
}

impl Answer {
    /// Another status, and a text.
    #[must_use]
    pub fn status(code: u16, text: &str) -> Self {
        Self::Whole(Head::answer(code), text.as_bytes().to_vec())
    }

    /// Another address.
    #[must_use]
    pub fn redirect(to: &str) -> Self {
        Self::Whole(Head::answer(307).with("Location", to), Vec::new())
    }
}

type Rule = Box<dyn FnMut(&Head) -> Option<Answer> + Send>;

#[derive(Default)]
struct State {
    blobs: Mutex<HashMap<String, Vec<u8>>>,
    /// By `REPOSITORY TAG` and `REPOSITORY DIGEST`.
    manifests: Mutex<HashMap<String, (String, Vec<u8>)>>,
    rule: Mutex<Option<Rule>>,
    requests: Mutex<Vec<Head>>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

/// A running registry of lies.
#[derive(Debug)]
pub struct Hostile {
    server: Server,
    state: Arc<State>,
}

impl Hostile {
    /// Starts an empty registry.
    #[must_use]
    pub fn start() -> Self {
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let server = Server::start("127.0.0.1", move |connection, live| shared.serve(connection, live));
        Self { server, state }
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn host(&self) -> String {
        self.server.address().to_string()
    }

    /// Adds a blob to every repository, under its digest.
    pub fn blob(&self, bytes: &[u8]) -> String {
        let name = digest(bytes);
        self.blob_as(&name, bytes);
        name
    }

    /// Adds a blob under a digest that need not be its own.
    pub fn blob_as(&self, name: &str, bytes: &[u8]) {
        self.state.blobs.lock().unwrap().insert(name.into(), bytes.into());
    }

    /// Adds a manifest under a tag and its digest.
    pub fn manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) -> String {
        let name = digest(bytes);
        for reference in [tag, &name] {
            self.manifest_as(repository, reference, media_type, bytes);
        }
        name
    }

    /// Adds a manifest under a tag, or under a digest that need not be its own.
    pub fn manifest_as(&self, repository: &str, reference: &str, media_type: &str, bytes: &[u8]) {
        let mut manifests = self.state.manifests.lock().unwrap();
        manifests.insert(format!("{repository} {reference}"), (media_type.into(), bytes.into()));
    }

    /// A blob that it has.
    #[must_use]
    pub fn get_blob(&self, name: &str) -> Option<Vec<u8>> {
        self.state.blobs.lock().unwrap().get(name).cloned()
    }

    /// A manifest that it has, by tag or digest.
    #[must_use]
    pub fn get_manifest(&self, repository: &str, reference: &str) -> Option<Vec<u8>> {
        let manifests = self.state.manifests.lock().unwrap();
        manifests.get(&format!("{repository} {reference}")).map(|(_, bytes)| bytes.clone())
    }

    /// No rule any more.
    pub fn be_honest(&self) {
        *self.state.rule.lock().unwrap() = None;
    }

    /// Sets a rule, whose answers come before those of the registry.
    pub fn rule(&self, rule: impl FnMut(&Head) -> Option<Answer> + Send + 'static) {
        *self.state.rule.lock().unwrap() = Some(Box::new(rule));
    }

    /// The requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Head> {
        self.state.requests.lock().unwrap().clone()
    }
}

impl State {
    fn serve(&self, client: &mut Connection, live: &Live) -> io::Result<()> {
        while let Some(request) = Head::read(&mut client.from)? {
            if request.get("expect").is_some() {
                client.to.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            let mut body = Vec::new();
            Body::new(&mut client.from, request.request_framing()).take(MAX_BODY).read_to_end(&mut body)?;
            self.requests.lock().unwrap().push(request.clone());
            let ruled = self.rule.lock().unwrap().as_mut().and_then(|rule| rule(&request));
            match ruled.unwrap_or_else(|| self.honest(&request, body)) {
                Answer::Nothing => return Ok(()),
                Answer::Whole(mut head, body) => {
                    let length = head.get("content-length").map_or(body.len() as u64, |l| l.parse().unwrap_or(0));
                    head.set("Content-Length", &length.to_string());
                    head.write(&mut client.to)?;
                    if request.method() != "HEAD" {
                        client.to.write_all(&body)?;
                        if length != body.len() as u64 {
                            return Ok(());
                        }
                    }
                }
                Answer::Endless(head) => {
                    head.write(&mut client.to)?;
                    io::copy(&mut io::repeat(b' ').take(ENDLESS), &mut client.to)?;
                    return Ok(());
                }
                Answer::Trickle(head, pause) => {
                    head.write(&mut client.to)?;
                    while !live.is_over() {
                        client.to.write_all(b" ")?;
                        live.sleep(pause);
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The answer of an honest registry. It accepts uploads in one PUT, or in PATCH and PUT.
    fn honest(&self, request: &Head, body: Vec<u8>) -> Answer {
        let path = request.path().strip_prefix("/v2/").unwrap_or_default();
        if path.is_empty() {
            return Answer::status(200, "{}");
        }
        if let Some((repository, reference)) = path.split_once("/manifests/") {
            return self.honest_manifest(request, repository, reference, body);
        }
        if let Some((_, digest)) = path.split_once("/blobs/sha256:") {
            let blobs = self.blobs.lock().unwrap();
            let Some(bytes) = blobs.get(&format!("sha256:{digest}")) else { return Answer::status(404, "") };
            let range = request.get("range").and_then(|range| parse_range(range, bytes.len()));
            return match range {
                Some((start, end)) => {
                    let said = format!("bytes {start}-{}/{}", end - 1, bytes.len());
                    Answer::Whole(Head::answer(206).with("Content-Range", said), bytes[start..end].to_vec())
                }
                None if request.method() == "HEAD" => {
                    Answer::Whole(Head::answer(200).with("Content-Length", bytes.len()), Vec::new())
                }
                None => Answer::Whole(Head::answer(200), bytes.clone()),
            };
        }
        if let Some((repository, session)) = path.split_once("/blobs/uploads/") {
            let location = format!("/v2/{repository}/blobs/uploads/session");
            return match request.method() {
                "POST" if session.is_empty() => Answer::Whole(Head::answer(202).with("Location", location), Vec::new()),
                "PATCH" => {
                    let mut blobs = self.blobs.lock().unwrap();
                    let part = blobs.entry(location.clone()).or_default();
                    part.extend(body);
                    let end = part.len().saturating_sub(1);
                    let head = Head::answer(202).with("Location", location).with("Range", format!("0-{end}"));
                    Answer::Whole(head, Vec::new())
                }
                "PUT" => {
                    let mut blobs = self.blobs.lock().unwrap();
                    let mut bytes = blobs.remove(&location).unwrap_or_default();
                    bytes.extend(body);
                    let name = digest(&bytes);
                    if request.query("digest").as_ref() != Some(&name) {
                        return Answer::status(400, r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#);
                    }
                    blobs.insert(name, bytes);
                    Answer::status(201, "")
                }
                _ => Answer::status(404, ""),
            };
        }
        Answer::status(404, "")
    }

    fn honest_manifest(&self, request: &Head, repository: &str, reference: &str, body: Vec<u8>) -> Answer {
        let mut manifests = self.manifests.lock().unwrap();
        if request.method() == "PUT" {
            let media_type = request.get("content-type").unwrap_or_default().to_owned();
            let name = digest(&body);
            manifests.insert(format!("{repository} {name}"), (media_type.clone(), body.clone()));
            manifests.insert(format!("{repository} {reference}"), (media_type, body));
            return Answer::Whole(Head::answer(201).with("Docker-Content-Digest", name), Vec::new());
        }
        match manifests.get(&format!("{repository} {reference}")) {
            None => Answer::status(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#),
            Some((media_type, bytes)) => {
                let head = Head::answer(200)
                    .with("Content-Type", media_type)
                    .with("Content-Length", bytes.len())
                    .with("Docker-Content-Digest", digest(bytes));
                Answer::Whole(head, if request.method() == "HEAD" { Vec::new() } else { bytes.clone() })
            }
        }
    }
}

/// `bytes=A-B` and `bytes=A-`, as a half-open range within `length`.
fn parse_range(text: &str, length: usize) -> Option<(usize, usize)> {
    let (start, end) = text.strip_prefix("bytes=")?.split_once('-')?;
    let start: usize = start.parse().ok()?;
    let end = if end.is_empty() { length } else { end.parse::<usize>().ok()?.saturating_add(1).min(length) };
    (start < end).then_some((start, end))
}
