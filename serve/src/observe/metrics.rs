//! Metrics in the OpenMetrics format. docs/reference/snapserve.md lists them.

use crate::config::Name;
use crate::response::Reason;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

type Labels = Vec<(&'static str, String)>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// All metrics of the server.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    refusals: Family<Labels, Counter>,
    seconds: Histograms,
    first_byte: Histograms,
    queue_seconds: Histograms,
    waiting: Family<Labels, Gauge>,
    instances: Family<Labels, Gauge>,
    prepared: Family<Labels, Counter>,
    prepare_failures: Family<Labels, Counter>,
    starts: Family<Labels, Counter>,
    takeovers: Family<Labels, Counter>,
    pub(crate) connections: Open,
    pub(crate) reloads: Counter,
    log_dropped: Gauge,
}

/// Counts what is open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Open(Gauge);

impl Open {
    /// One more, until the result is dropped.
    pub(crate) fn one_more(&self) -> Opened {
        self.0.inc();
        Opened(self.0.clone())
    }
}

#[derive(Debug)]
pub(crate) struct Opened(Gauge);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Those of one function, found once.
#[derive(Clone, Debug)]
pub(crate) struct FunctionMetrics {
    pub(crate) queue_seconds: Histogram,
    pub(crate) first_byte: Histogram,
    pub(crate) prepared: Counter,
    pub(crate) prepare_failures: Counter,
    pub(crate) starts: Counter,
    /// Those that have a request or have not ended after it, whichever snapshot they are of.
    pub(crate) running: Open,
    seconds: Histogram,
    taken_over: Counter,
    rolled_back: Counter,
}

impl FunctionMetrics {
    pub(crate) fn takeover(&self, succeeded: bool) {
        if succeeded {
            self.taken_over.inc()
        } else {
            self.rolled_back.inc()
        };
    }
}

/// Label `state` of the processes of a function.
const STATES: [&str; 3] = ["preparing", "prepared", "running"];

/// From half a millisecond to a minute.
const BUCKETS: [f64; 16] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

fn of(function: &Name) -> (&'static str, String) {
    ("function", function.as_str().to_owned())
}

fn in_state(function: &Name, state: &str) -> Labels {
    vec![of(function), ("state", state.to_owned())]
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("snapserve");
        let mut metrics = Metrics {
            registry: Registry::default(),
            requests: Family::default(),
            refusals: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            first_byte: Family::new_with_constructor(histogram),
            queue_seconds: Family::new_with_constructor(histogram),
            waiting: Family::default(),
            instances: Family::default(),
            prepared: Family::default(),
            prepare_failures: Family::default(),
            starts: Family::default(),
            takeovers: Family::default(),
            connections: Open::default(),
            reloads: Counter::default(),
            log_dropped: Gauge::default(),
        };
        let m = &metrics;
        registry.register("requests", "Requests answered, by function and status", m.requests.clone());
        registry.register("refusals", "Requests that no function answered, by reason", m.refusals.clone());
        registry.register("request_duration_seconds", "From the head of a request to its last byte", m.seconds.clone());
        registry.register(
            "first_byte_seconds",
            "From the release of an instance to the head of its answer",
            m.first_byte.clone(),
        );
        registry.register("queue_seconds", "How long a request waited for an instance", m.queue_seconds.clone());
        registry.register("queue", "Requests that wait for an instance", m.waiting.clone());
        registry.register("instances", "Processes by state: preparing, prepared, running", m.instances.clone());
        registry.register("instances_prepared", "Instances that were prepared", m.prepared.clone());
        registry.register(
            "prepare_failures",
            "Attempts to prepare an instance that failed",
            m.prepare_failures.clone(),
        );
        registry.register("starts", "Instances that got a request", m.starts.clone());
        registry.register(
            "takeovers",
            "Snapshots that replaced another one, or could not, by result",
            m.takeovers.clone(),
        );
        registry.register("connections", "Open connections of clients", m.connections.0.clone());
        registry.register("reloads", "Configurations that were read again and are in force", m.reloads.clone());
        registry.register("log_lines_dropped", "Lines of the log that nothing read in time", m.log_dropped.clone());
        metrics.registry = registry;
        metrics
    }

    pub(crate) fn function(&self, name: &Name) -> FunctionMetrics {
        let label = vec![of(name)];
        let takeover = |result: &str| vec![of(name), ("result", result.to_owned())];
        FunctionMetrics {
            queue_seconds: self.queue_seconds.get_or_create_owned(&label),
            first_byte: self.first_byte.get_or_create_owned(&label),
            prepared: self.prepared.get_or_create_owned(&label),
            prepare_failures: self.prepare_failures.get_or_create_owned(&label),
            starts: self.starts.get_or_create_owned(&label),
            running: Open(self.instances.get_or_create_owned(&in_state(name, "running"))),
            seconds: self.seconds.get_or_create_owned(&label),
            taken_over: self.takeovers.get_or_create_owned(&takeover("done")),
            rolled_back: self.takeovers.get_or_create_owned(&takeover("failed")),
        }
    }

    /// A request that has been answered; `None` if it came to no function.
    pub(crate) fn request(&self, function: Option<(&Name, &FunctionMetrics)>, status: u16, seconds: f64) {
        let name = function.map_or(String::new(), |(name, _)| name.as_str().to_owned());
        self.requests.get_or_create(&vec![("function", name), ("status", status.to_string())]).inc();
        if let Some((_, metrics)) = function {
            metrics.seconds.observe(seconds);
        }
    }

    pub(crate) fn refusal(&self, function: Option<&Name>, reason: Reason) {
        let name = function.map_or(String::new(), |name| name.as_str().to_owned());
        self.refusals.get_or_create(&vec![("function", name), ("reason", reason.label().to_owned())]).inc();
    }

    /// A function has gone: what was measured last is no longer so. Its counters stay.
    pub(crate) fn forget(&self, name: &Name) {
        self.waiting.remove(&vec![of(name)]);
        for state in STATES {
            self.instances.remove(&in_state(name, state));
        }
    }

    /// What is measured at the moment of the question.
    pub(crate) fn set_function(&self, name: &Name, waiting: usize, counts: snapfn::Counts) {
        self.waiting.get_or_create(&vec![of(name)]).set(waiting as i64);
        for (state, count) in [("preparing", counts.preparing), ("prepared", counts.prepared)] {
            self.instances.get_or_create(&in_state(name, state)).set(count as i64);
        }
    }

    pub(crate) fn text(&self, log_dropped: u64) -> String {
        self.log_dropped.set(log_dropped.cast_signed());
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
