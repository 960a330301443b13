//! What this server answers itself, instead of a function. docs/reference/snapserve.md lists all of it.

use super::{Body, Response};
use hyper::StatusCode;
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use std::borrow::Cow;

/// Why there is no answer of a function.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    /// What the client reads: it tells nothing of the inside.
    text: Cow<'static, str>,
    /// What the log has beyond that.
    pub(crate) detail: Option<String>,
}

/// The kinds of refusals: the label `reason` of metrics and of lines of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    BadRequest,
    NoRoute,
    Method,
    BodyTimeout,
    BodyTooLarge,
    MediaType,
    Expectation,
    Coding,
    Queue,
    QueueTimeout,
    Resources,
    BadAnswer,
    Failed,
    Timeout,
}

impl Reason {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Reason::BadRequest => "bad-request",
            Reason::NoRoute => "no-route",
            Reason::Method => "method",
            Reason::BodyTimeout => "body-timeout",
            Reason::BodyTooLarge => "body-too-large",
            Reason::MediaType => "media-type",
            Reason::Expectation => "expectation",
            Reason::Coding => "transfer-coding",
            Reason::Queue => "queue-full",
            Reason::QueueTimeout => "queue-timeout",
            Reason::Resources => "resources",
            Reason::BadAnswer => "bad-answer",
            Reason::Failed => "failed",
            Reason::Timeout => "timeout",
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Reason::BadRequest => StatusCode::BAD_REQUEST,
            Reason::NoRoute => StatusCode::NOT_FOUND,
            Reason::Method => StatusCode::METHOD_NOT_ALLOWED,
            Reason::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Reason::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Reason::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Reason::Expectation => StatusCode::EXPECTATION_FAILED,
            Reason::Coding => StatusCode::NOT_IMPLEMENTED,
            Reason::Queue | Reason::QueueTimeout | Reason::Resources => StatusCode::SERVICE_UNAVAILABLE,
            Reason::BadAnswer => StatusCode::BAD_GATEWAY,
            Reason::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            Reason::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The connection cannot go on: what comes next may be the rest of the request.
    fn closes(self) -> bool {
        matches!(
            self,
            Reason::BadRequest | Reason::BodyTimeout | Reason::BodyTooLarge | Reason::Expectation | Reason::Coding
        )
    }
}

impl Refusal {
    pub(crate) fn new(reason: Reason, text: impl Into<Cow<'static, str>>) -> Self {
        Refusal { reason, text: text.into(), detail: None }
    }

    /// With something that only the log tells.
    pub(crate) fn detail(mut self, detail: impl ToString) -> Self {
        self.detail = Some(detail.to_string());
        self
    }

    pub(crate) fn bad_request(text: &'static str) -> Self {
        Refusal::new(Reason::BadRequest, text)
    }

    pub(crate) fn bad_answer(detail: impl ToString) -> Self {
        Refusal::new(Reason::BadAnswer, "the function gave no valid answer").detail(detail)
    }

    pub(crate) fn resources(detail: impl ToString) -> Self {
        Refusal::new(Reason::Resources, "the server lacks something for this request; try again").detail(detail)
    }

    pub(crate) fn timeout(detail: &'static str) -> Self {
        Refusal::new(Reason::Timeout, "the function did not answer in time").detail(detail)
    }

    pub(crate) fn response(&self, is_http1: bool, allowed: &'static str) -> Response {
        let mut response = Response::new(Body::whole(format!("{}\n", self.text)));
        *response.status_mut() = self.reason.status();
        let headers = response.headers_mut();
        let mut set = |name: HeaderName, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
        set(CONTENT_TYPE, "text/plain; charset=utf-8");
        set(CACHE_CONTROL, "no-store");
        match self.reason {
            Reason::Queue | Reason::QueueTimeout | Reason::Resources => drop(set(RETRY_AFTER, "1")),
            Reason::Method => drop(set(ALLOW, allowed)),
            _ => {}
        }
        if is_http1 && self.reason.closes() {
            set(CONNECTION, "close");
        }
        response
    }
}
