//! A function: its configuration, its queue, and the snapshot that answers at this moment, which may be replaced while
//! requests go on.

mod follow;

use crate::config;
use crate::instance::{Instance, Running};
use crate::observe::{FunctionMetrics, Log, Metrics, RequestLog};
use crate::queue::Queue;
use crate::response::Refusal;
use snapfn::{Command, Error, Notice, Pool, PoolOptions, Populate, Snapshot, SnapshotOptions};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

pub(crate) use follow::Follower;

#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) config: config::Function,
    pub(crate) metrics: FunctionMetrics,
    queue: Queue,
    current: RwLock<Option<Arc<Generation>>>,
    log: Log,
    running: Running,
    /// Why the last attempt to prepare an instance failed, if it did.
    failure: Mutex<Option<String>>,
}

/// A snapshot with its prepared instances.
#[derive(Debug)]
struct Generation {
    pool: Pool,
    /// The function's requests are its own; before that, its instances are nobody's.
    is_current: Arc<AtomicBool>,
}

impl Function {
    /// Opens the snapshot and prepares its first instances. It blocks.
    pub(crate) fn start(
        config: config::Function,
        metrics: &Metrics,
        log: &Log,
        running: &Running,
    ) -> Result<Arc<Self>, Error> {
        let function = Arc::new(Function {
            metrics: metrics.function(&config.name),
            config,
            queue: Queue::new(),
            current: RwLock::new(None),
            log: log.clone(),
            running: running.clone(),
            failure: Mutex::default(),
        });
        let generation = function.generation()?;
        function.switch(generation);
        Ok(function)
    }

    /// Opens the snapshot that the name leads to now, proves that it can be started, and prepares its instances.
    fn generation(self: &Arc<Self>) -> Result<Arc<Generation>, Error> {
        let snapshot = SnapshotOptions::new().allow_wx(self.config.allow_wx).open(&self.config.snapshot)?;
        // Prepared instances open their files when a request comes, and that would be too late to find one missing.
        snapshot.prove()?;
        let is_current = Arc::new(AtomicBool::new(false));
        let populate = match self.config.populate {
            config::Populate::None => Populate::None,
            config::Populate::Auto => Populate::Auto,
            config::Populate::All => Populate::All,
        };
        // A preparation waits for the kernel more than it computes, so there is one more than processors.
        let at_once = std::thread::available_parallelism().map_or(2, |count| count.get() + 1).min(8);
        let function = Arc::downgrade(self);
        let current = Arc::clone(&is_current);
        let options = PoolOptions::new(self.config.min).most(self.config.max).at_once(at_once);
        let options = options.populate(populate).rest(Duration::ZERO).contained(true);
        let pool = options.notice(move |notice| noticed(&function, &current, notice)).build(&snapshot)?;
        self.metrics.prepared.inc_by(pool.prepared() as u64);
        Ok(Arc::new(Generation { pool, is_current }))
    }

    /// Gives the requests from here on to the instances of `next`. It blocks for the end of those that waited before.
    fn switch(&self, next: Arc<Generation>) {
        let pool = next.pool.clone();
        let is_current = Arc::clone(&next.is_current);
        let last = self.current.write().unwrap_or_else(PoisonError::into_inner).replace(next);
        // An instance that is prepared meanwhile may be counted twice, which does no harm, but never not at all.
        is_current.store(true, Ordering::SeqCst);
        self.queue.add(pool.prepared());
        if let Some(last) = last {
            last.is_current.store(false, Ordering::SeqCst);
            last.pool.close();
        }
    }

    fn current(&self) -> Option<Arc<Generation>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn snapshot(&self) -> Option<Snapshot> {
        self.current().map(|generation| generation.pool.snapshot().clone())
    }

    /// Waits for an instance and gives it the request. `fill` sets streams, arguments and variables.
    pub(crate) async fn instance(
        &self,
        log: &Arc<RequestLog>,
        fill: impl Fn(&mut Command) -> Result<(), Refusal>,
    ) -> Result<Instance, Refusal> {
        let take = || {
            let Some(generation) = self.current() else { return Ok(None) };
            let mut command = generation.pool.command();
            command.env_clear().args(&self.config.arguments);
            fill(&mut command)?;
            // What is configured wins over what a request says.
            command.envs(self.config.variables.iter().map(|variable| (&variable.name, &variable.value)));
            let Some(child) = command.spawn_prepared().map_err(Refusal::resources)? else { return Ok(None) };
            self.metrics.starts.inc();
            let running = (self.running.one_more(), self.metrics.running.one_more());
            Instance::new(child, Arc::clone(log), running).map(Some).map_err(Refusal::resources)
        };
        let grow = |waiting| {
            if let Some(generation) = self.current() {
                generation.pool.demand(waiting);
            }
        };
        self.queue.take(self.config.queue, self.config.queue_timeout, grow, take).await
    }

    /// Why it cannot answer, if it cannot.
    pub(crate) fn failure(&self) -> Option<String> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let counts = self.current().map(|generation| generation.pool.counts());
        failure.filter(|_| counts.is_none_or(|counts| counts.prepared == 0))
    }

    pub(crate) fn measure(&self, metrics: &Metrics) {
        let counts = self.current().map(|generation| generation.pool.counts()).unwrap_or_default();
        metrics.set_function(&self.config.name, self.queue.waiting(), counts);
    }
}

/// What a pool reports, on its own thread.
fn noticed(function: &Weak<Function>, is_current: &AtomicBool, notice: Notice<'_>) {
    let Some(function) = function.upgrade() else { return };
    let failure = match notice {
        Notice::Failed(error) => {
            function.metrics.prepare_failures.inc();
            Some(error.to_string())
        }
        _ => {
            function.metrics.prepared.inc();
            None
        }
    };
    let is_prepared = failure.is_none();
    let mut last = function.failure.lock().unwrap_or_else(PoisonError::into_inner);
    if *last != failure {
        if let Some(why) = &failure {
            function.log.line("error", Some(&function.config.name), &format!("no instance can be prepared: {why}"));
        }
        *last = failure;
    }
    drop(last);
    if is_prepared && is_current.load(Ordering::SeqCst) {
        function.queue.add(1);
    }
}
