//! What operators see: lines of the log, metrics, and IDs that tie both to a request.

mod log;
mod metrics;
mod trace;

pub(crate) use log::{Access, Log, RequestLog, now};
pub(crate) use metrics::{FunctionMetrics, Metrics, Open, Opened};
pub(crate) use trace::{REQUEST_ID, request_id, traceparent};
