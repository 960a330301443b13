//! From a request to its answer: check, route, body, queue, instance, protocol; and the line of the log about it.

use crate::config::{Name, Protocol, Server};
use crate::function::Function;
use crate::instance::Running;
use crate::listen::Peer;
use crate::observe::{Access, FunctionMetrics, Log, Metrics, REQUEST_ID, RequestLog, request_id, traceparent};
use crate::protocol::{Answer, Call};
use crate::request::{ALLOWED, Request, Spool, check, retarget};
use crate::response::{Body, Reason, Refusal, Response};
use crate::route::Table;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Version};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::time::Instant;

/// What answers requests. The table is exchanged when the configuration is read again.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) server: Arc<Server>,
    pub(crate) metrics: Metrics,
    pub(crate) log: Log,
    pub(crate) state: RwLock<Arc<State>>,
    pub(crate) draining: AtomicBool,
    pub(crate) running: Running,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) table: Table,
    pub(crate) functions: Vec<Arc<Function>>,
}

/// What the line of the log is made of.
struct Record {
    started: Instant,
    time: String,
    id: String,
    method: Method,
    path: String,
    version: Version,
    peer: Arc<Peer>,
    request_bytes: u64,
    queued: Duration,
    function: Option<(Name, FunctionMetrics)>,
    /// The methods that the function answers.
    allowed: &'static str,
    refused: Option<(Reason, Option<String>)>,
}

/// How often functions may pass a request on to each other.
const REDIRECTS: usize = 5;

impl App {
    pub(crate) fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Answers a request of a function's client.
    pub(crate) async fn answer(self: Arc<Self>, request: hyper::Request<Incoming>, peer: Arc<Peer>) -> Response {
        let (mut parts, body) = request.into_parts();
        let mut record = Record {
            started: Instant::now(),
            time: crate::observe::now(),
            id: request_id(&mut parts.headers),
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            version: parts.version,
            peer,
            request_bytes: 0,
            queued: Duration::ZERO,
            function: None,
            allowed: ALLOWED,
            refused: None,
        };
        let mut response = match self.run(parts, body, &mut record).await {
            Ok(response) => response,
            Err(refusal) => {
                self.metrics.refusal(record.function.as_ref().map(|(name, _)| name), refusal.reason);
                let is_http1 = record.version <= Version::HTTP_11;
                let mut response = refusal.response(is_http1, record.allowed);
                if record.method == Method::HEAD {
                    without_body(&mut response);
                }
                record.refused = Some((refusal.reason, refusal.detail));
                response
            }
        };
        if let Ok(id) = HeaderValue::from_str(&record.id) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        let status = response.status().as_u16();
        response.map(|body| body.recorded(Recorded { app: self, record, status, sent: 0, complete: false }))
    }

    async fn run(&self, mut parts: Parts, body: Incoming, record: &mut Record) -> Result<Response, Refusal> {
        let has_body = parts.headers.contains_key(CONTENT_LENGTH) || !body.is_end_stream();
        if parts.method == Method::OPTIONS && parts.uri.path() == "*" {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response.headers_mut().insert(hyper::header::ALLOW, HeaderValue::from_static(ALLOWED));
            return Ok(response);
        }
        let target = check(&mut parts, &record.peer)?;
        let trace = traceparent(&mut parts.headers);
        let state = self.state();
        let no_route = || Refusal::new(Reason::NoRoute, "there is no function at this path");
        let mut found = state.table.find(&target).ok_or_else(no_route)?;
        let set = |record: &mut Record, function: &Function| {
            record.function = Some((function.config.name.clone(), function.metrics.clone()));
            record.allowed = if function.config.protocol == Protocol::Json { "POST" } else { ALLOWED };
        };
        set(record, &found.function);
        let config = &found.function.config;
        let spool =
            Spool::read(body, config.body_max, &self.server.spool, record.started + config.body_timeout).await?;
        record.request_bytes = spool.len();
        let mut request = Request {
            method: parts.method,
            target,
            version: parts.version,
            headers: parts.headers,
            body: spool,
            has_body,
            peer: Arc::clone(&record.peer),
            id: record.id.clone(),
            trace,
        };
        for _ in 0..=REDIRECTS {
            let log = RequestLog {
                log: self.log.clone(),
                function: found.function.config.name.clone(),
                request: record.id.clone(),
            };
            let call = Call { function: &found.function, request: &request, prefix: found.prefix, log: Arc::new(log) };
            let path = match call.run(&mut record.queued).await? {
                Answer::Response(response) => return Ok(response),
                Answer::Redirect(path) => path,
            };
            request.target = retarget(&request.target, &path).map_err(Refusal::bad_answer)?;
            request.method = if request.method == Method::HEAD { Method::HEAD } else { Method::GET };
            request.body = Spool::empty();
            request.has_body = false;
            request.headers.remove(CONTENT_TYPE);
            found = state.table.find(&request.target).ok_or_else(no_route)?;
            set(record, &found.function);
        }
        Err(Refusal::bad_answer("functions redirect to each other without an end"))
    }

    /// Answers what asks about the server itself; `None` if it is another path.
    pub(crate) fn admin(&self, method: &Method, path: &str) -> Option<Response> {
        let (status, kind, text) = match path {
            "/healthz" => (StatusCode::OK, "text/plain; charset=utf-8", "ok\n".to_owned()),
            "/readyz" => {
                let (status, text) = self.readiness();
                (status, "text/plain; charset=utf-8", text)
            }
            "/metrics" => {
                self.state().functions.iter().for_each(|function| function.measure(&self.metrics));
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                (StatusCode::OK, kind, self.metrics.text(self.log.dropped()))
            }
            _ => return None,
        };
        let mut response = Response::new(Body::whole(text));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        match *method {
            Method::GET => {}
            Method::HEAD => without_body(&mut response),
            _ => response = Refusal::new(Reason::Method, "GET and HEAD only").response(false, "GET, HEAD"),
        }
        Some(response)
    }

    fn readiness(&self) -> (StatusCode, String) {
        if self.draining.load(Ordering::Relaxed) {
            return (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned());
        }
        let state = self.state();
        let failures = state.functions.iter().filter_map(|function| {
            function.failure().map(|why| format!("{}: no instance can be prepared: {why}\n", function.config.name))
        });
        match failures.collect::<String>() {
            none if none.is_empty() => (StatusCode::OK, "ready\n".to_owned()),
            failures => (StatusCode::SERVICE_UNAVAILABLE, failures),
        }
    }
}

/// As GET would be answered, but for the body.
fn without_body(response: &mut Response) {
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    *response.body_mut() = Body::empty();
}

/// Counts what is sent of an answer, and writes the line of the log when it is sent or given up.
pub(crate) struct Recorded {
    app: Arc<App>,
    record: Record,
    status: u16,
    sent: u64,
    complete: bool,
}

impl std::fmt::Debug for Recorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorded").field("request", &self.record.id).finish_non_exhaustive()
    }
}

impl Recorded {
    pub(crate) fn sent(&mut self, count: usize) {
        self.sent += count as u64;
    }

    pub(crate) fn complete(&mut self) {
        self.complete = true;
    }

    /// The answer ends too early.
    pub(crate) fn cut(&self) {
        // HTTP/2 resets the stream.
        if self.record.version <= Version::HTTP_11 {
            self.record.peer.cut();
        }
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let record = &self.record;
        let seconds = record.started.elapsed().as_secs_f64();
        let function = record.function.as_ref();
        self.app.metrics.request(function.map(|(name, metrics)| (name, metrics)), self.status, seconds);
        // The log says why a function could not answer even if it has no lines about answers.
        let detail = record.refused.as_ref().and_then(|(_, detail)| detail.as_deref());
        if !self.app.server.access_log && detail.is_none() {
            return;
        }
        self.app.log.put(&Access {
            time: record.time.clone(),
            level: if self.status >= 500 { "error" } else { "info" },
            request: &record.id,
            function: function.map(|(name, _)| name.as_str()),
            remote: &record.peer.remote_address(),
            method: record.method.as_str(),
            path: &record.path,
            protocol: &format!("{:?}", record.version),
            status: self.status,
            request_bytes: record.request_bytes,
            response_bytes: self.sent,
            seconds,
            queue_seconds: record.queued.as_secs_f64(),
            complete: self.complete,
            refused: record.refused.as_ref().map(|(reason, _)| reason.label()),
            detail,
        });
    }
}
