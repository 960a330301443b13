//! How a function gets a request and gives its answer: one module a protocol.
//!
//! Each takes an instance from the queue with the request as its input, and waits for the head of the answer. From then
//! on a [`relay`](crate::response::relay) sends the rest.

mod cgi;
mod http;
mod json;

use crate::config::Protocol;
use crate::function::Function;
use crate::observe::RequestLog;
use crate::request::Request;
use crate::response::{Refusal, Response};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What a function answers.
#[derive(Debug)]
pub(crate) enum Answer {
    Response(Response),
    /// The client is to get what a GET of this path and query gives (RFC 3875, 6.2.2).
    Redirect(String),
}

/// One request at one function.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) function: &'a Function,
    pub(crate) request: &'a Request,
    /// Length of the route in the path.
    pub(crate) prefix: usize,
    pub(crate) log: Arc<RequestLog>,
}

/// When an instance has to be where.
#[derive(Clone, Copy, Debug)]
struct Deadlines {
    released: Instant,
    first_byte: Instant,
    whole: Instant,
}

impl Deadlines {
    /// From the release of an instance on.
    fn from_now(function: &Function) -> Self {
        let released = Instant::now();
        let whole = released + function.config.timeout;
        Deadlines { released, first_byte: whole.min(released + function.config.first_byte_timeout), whole }
    }

    fn answered(&self, function: &Function) {
        function.metrics.first_byte.observe(self.released.elapsed().as_secs_f64());
    }
}

impl Call<'_> {
    /// Gives the request to an instance. `queued` hears how long it has waited for one.
    pub(crate) async fn run(&self, queued: &mut Duration) -> Result<Answer, Refusal> {
        match self.function.config.protocol {
            Protocol::Cgi => cgi::run(self, queued).await,
            Protocol::Http => http::run(self, queued).await.map(Answer::Response),
            Protocol::Json => json::run(self, queued).await.map(Answer::Response),
        }
    }

    /// An instance with what all protocols have in common; the time in the queue is added to `queued`.
    async fn instance(
        &self,
        queued: &mut Duration,
        fill: impl Fn(&mut snapfn::Command) -> Result<(), Refusal>,
    ) -> Result<(crate::instance::Instance, Deadlines), Refusal> {
        let since = Instant::now();
        let result = self.function.instance(&self.log, |command| {
            command.stderr(snapfn::Stdio::piped());
            command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
            command.env("SNAPFN_REQUEST_ID", &self.request.id).env("TRACEPARENT", &self.request.trace);
            fill(command)
        });
        let result = result.await;
        *queued += since.elapsed();
        self.function.metrics.queue_seconds.observe(since.elapsed().as_secs_f64());
        let mut instance = result?;
        instance.log_stderr().map_err(Refusal::resources)?;
        Ok((instance, Deadlines::from_now(self.function)))
    }
}

/// Why an instance that has ended has given no answer.
async fn without_answer(mut instance: crate::instance::Instance, deadlines: Deadlines, what: &str) -> Refusal {
    match tokio::time::timeout_at(deadlines.first_byte, instance.ended()).await {
        Ok(Ok(status)) => Refusal::bad_answer(format!("{what}: {status}")),
        Ok(Err(why)) => Refusal::bad_answer(format!("{what}: {why}")),
        Err(_) => Refusal::bad_answer(what),
    }
}
