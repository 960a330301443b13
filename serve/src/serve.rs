//! The life of the server: start, signals, configuration read again, drain, end.

use crate::answer::{App, State};
use crate::cli::Cli;
use crate::config::Config;
use crate::function::{Follower, Function};
use crate::instance::Running;
use crate::listen::{Listener, Shared, accept};
use crate::observe::{Log, Metrics, Open};
use crate::route::Table;
use hyper_util::server::graceful::GracefulShutdown;
use sd_notify::NotifyState;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often names are looked at that may lead to other snapshots.
const LOOK: Duration = Duration::from_secs(1);

pub(crate) async fn run(cli: Cli, inherited: Vec<OwnedFd>) -> Result<(), String> {
    // Before any other thread exists: signals must not take their default action anywhere.
    let catch = |kind| signal(kind).map_err(|error| format!("signals: {error}"));
    let (mut term, mut int, mut hup) =
        (catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?, catch(SignalKind::hangup())?);
    let log = Log::new().map_err(|error| format!("starting a thread: {error}"))?;
    let config = Config::load(&cli).map_err(|error| error.to_string())?;
    let app = Arc::new(App {
        server: Arc::new(config.server.clone()),
        metrics: Metrics::new(),
        log: log.clone(),
        state: RwLock::new(Arc::new(State { table: Table::new(&[]), functions: Vec::new() })),
        draining: AtomicBool::new(false),
        running: Running::default(),
    });
    let cli = Arc::new(cli);
    let config = Arc::new(config);
    let (to, wanted) = (Arc::clone(&app), Arc::clone(&config));
    spawn_blocking(move || install(&to, &wanted)).await.map_err(|error| error.to_string())??;
    if cli.check {
        return Ok(());
    }
    let graceful = Arc::new(Mutex::new(Some(GracefulShutdown::new())));
    let tasks = listen(&app, &config, inherited, &graceful).await?;
    notify(&[NotifyState::Ready]);

    let follower = Arc::new(Mutex::new(Follower::default()));
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watchdog = sd_notify::watchdog_enabled().map(|time| time / 2);
    let mut pats = interval(watchdog.unwrap_or(Duration::from_secs(3600)));
    let mut looking: Option<JoinHandle<()>> = None;
    let mut reloading: Option<JoinHandle<Result<Arc<Config>, String>>> = None;
    // SIGHUP has come while an earlier one was obeyed.
    let mut again = false;
    let mut current = config;
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = int.recv() => break,
            _ = hup.recv() => {
                again = reloading.is_some();
                if !again {
                    reloading = Some(begin_reload(&app, &cli, &current, &follower));
                }
            }
            result = finished(&mut reloading) => {
                match result {
                    Ok(config) => {
                        app.metrics.reloads.inc();
                        log.line("info", None, "the configuration has been read again");
                        current = config;
                    }
                    Err(why) => log.line("error", None, &format!("the configuration stays as it was: {why}")),
                }
                reloading = again.then(|| begin_reload(&app, &cli, &current, &follower));
                again = false;
                if reloading.is_none() {
                    notify(&[NotifyState::Ready]);
                }
            }
            _ = looks.tick() => {
                if looking.as_ref().is_none_or(JoinHandle::is_finished) {
                    let (app, follower) = (Arc::clone(&app), Arc::clone(&follower));
                    looking = Some(spawn_blocking(move || {
                        let state = app.state();
                        follower.lock().unwrap_or_else(PoisonError::into_inner).look(&state.functions);
                    }));
                }
            }
            _ = pats.tick(), if watchdog.is_some() => notify(&[NotifyState::Watchdog]),
        }
    }
    app.draining.store(true, Ordering::Relaxed);
    notify(&[NotifyState::Stopping]);
    log.line("info", None, "no new connections are accepted; requests that have begun are finished");
    tasks.into_iter().for_each(|task| task.abort());
    let drained = async {
        tokio::select! {
            done = timeout(app.server.drain_timeout, drain(&app, graceful.lock().unwrap_or_else(PoisonError::into_inner).take())) => done.is_ok(),
            _ = term.recv() => false,
            _ = int.recv() => false,
        }
    };
    if !drained.await {
        log.line("warn", None, "the requests that are left are cut");
    }
    log.flush();
    Ok(())
}

/// Waits until all requests are answered, and until their instances have ended.
async fn drain(app: &App, graceful: Option<GracefulShutdown>) {
    if let Some(graceful) = graceful {
        graceful.shutdown().await;
    }
    while app.running.count() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn listen(
    app: &Arc<App>,
    config: &Config,
    inherited: Vec<OwnedFd>,
    graceful: &Arc<Mutex<Option<GracefulShutdown>>>,
) -> Result<Vec<JoinHandle<()>>, String> {
    let mut listeners = Vec::new();
    for fd in inherited {
        listeners.push(Listener::from_fd(fd).map_err(|error| format!("LISTEN_FDS: {error}"))?);
    }
    if listeners.is_empty() {
        for address in &config.listen {
            listeners.push(Listener::bind(address).await.map_err(|error| format!("{address}: {error}"))?);
        }
    }
    let admin = match &config.admin {
        Some(address) => Some(Listener::bind(address).await.map_err(|error| format!("{address}: {error}"))?),
        None => None,
    };
    for function in &app.state().functions {
        let name = &function.config.name;
        app.log.line("info", Some(name), &format!("{} instances are prepared", function.config.min));
    }
    for (what, listener) in
        listeners.iter().map(|one| ("listening at", one)).chain(admin.iter().map(|one| ("admin at", one)))
    {
        app.log.line("info", None, &format!("{what} {}", listener.address()));
    }
    let shared = |places, open| Shared {
        log: app.log.clone(),
        server: Arc::clone(&app.server),
        places: Arc::new(Semaphore::new(places)),
        open,
    };
    let has_admin = admin.is_some();
    let all = shared(app.server.connections, app.metrics.connections.clone());
    let mut tasks = Vec::new();
    for listener in listeners {
        let app = Arc::clone(app);
        let graceful = Arc::clone(graceful);
        let watcher = move || {
            let graceful = graceful.lock().unwrap_or_else(PoisonError::into_inner);
            graceful.as_ref().map(GracefulShutdown::watcher)
        };
        let answer = move |request: hyper::Request<_>, peer| {
            let app = Arc::clone(&app);
            async move {
                if !has_admin && let Some(response) = app.admin(request.method(), request.uri().path()) {
                    return response;
                }
                app.answer(request, peer).await
            }
        };
        tasks.push(tokio::spawn(accept(listener, all.clone(), watcher, answer)));
    }
    if let Some(listener) = admin {
        /// Connections of monitors; they take none of the clients' places.
        const MONITORS: usize = 64;
        let app = Arc::clone(app);
        let unwatched = GracefulShutdown::new();
        let answer = move |request: hyper::Request<hyper::body::Incoming>, _| {
            let app = Arc::clone(&app);
            async move {
                app.admin(request.method(), request.uri().path()).unwrap_or_else(|| {
                    crate::response::Refusal::new(crate::response::Reason::NoRoute, "not found").response(false, "")
                })
            }
        };
        // Probes are answered while the server drains, so this task ends with the program.
        tokio::spawn(accept(listener, shared(MONITORS, Open::default()), move || Some(unwatched.watcher()), answer));
    }
    Ok(tasks)
}

/// Begins to read the configuration again. That takes as long as instances take to be prepared, and meanwhile signals
/// and the watchdog must not wait; so a thread does it.
fn begin_reload(
    app: &Arc<App>,
    cli: &Arc<Cli>,
    current: &Arc<Config>,
    follower: &Arc<Mutex<Follower>>,
) -> JoinHandle<Result<Arc<Config>, String>> {
    notify(&[NotifyState::Reloading, NotifyState::monotonic_usec_now().unwrap_or(NotifyState::Status(""))]);
    let (app, cli, current, follower) = (Arc::clone(app), Arc::clone(cli), Arc::clone(current), Arc::clone(follower));
    spawn_blocking(move || {
        follower.lock().unwrap_or_else(PoisonError::into_inner).forget();
        reload(&app, &cli, &current)
    })
}

/// Waits for the end of that task, and for ever if there is none.
async fn finished<T>(task: &mut Option<JoinHandle<Result<T, String>>>) -> Result<T, String> {
    let Some(running) = task else { return std::future::pending().await };
    let result = running.await;
    *task = None;
    result.map_err(|error| error.to_string())?
}

/// Reads the configuration again and puts it in force, or leaves everything as it was. It blocks.
fn reload(app: &App, cli: &Cli, current: &Config) -> Result<Arc<Config>, String> {
    let config = Config::load(cli).map_err(|error| error.to_string())?;
    if config.listen != current.listen || config.admin != current.admin || config.server != current.server {
        return Err("addresses and what stands above [functions] can change only in a new start".to_owned());
    }
    install(app, &config)?;
    Ok(Arc::new(config))
}

/// Starts the functions that are new or have changed, and gives the requests from here on to them. It blocks.
fn install(app: &App, config: &Config) -> Result<(), String> {
    let old = app.state();
    let mut functions = Vec::new();
    for wanted in &config.functions {
        let same = old.functions.iter().find(|function| function.config == *wanted);
        functions.push(match same {
            Some(same) => Arc::clone(same),
            None => Function::start(wanted.clone(), &app.metrics, &app.log, &app.running)
                .map_err(|error| format!("functions.{}: {error}", wanted.name))?,
        });
    }
    let new = Arc::new(State { table: Table::new(&functions), functions });
    *app.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&new);
    let has_gone = |old: &&Arc<Function>| new.functions.iter().all(|one| one.config.name != old.config.name);
    old.functions.iter().filter(has_gone).for_each(|old| app.metrics.forget(&old.config.name));
    // Requests that wait for a function that has gone or changed keep its instances: they are ended when the last of
    // them is answered.
    Ok(())
}

/// A service manager that cannot be reached is no reason not to serve.
fn notify(state: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(state);
}
