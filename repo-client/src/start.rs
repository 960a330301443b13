//! `snaprun REF` for a missing image: pulls it, then starts `snaprun` again.
//!
//! `snaprun` executes this program with its own arguments, except for the name in front, which is `snaprun-pull:N`: N
//! is the index of REF. Messages and exit statuses are those of `snaprun`: 125 if pulling fails, 127 if there is no
//! such image.

use crate::cli::JOBS;
use crate::output::printable;
use crate::progress::Progress;
use snapfn_distribution::{Config, PullOptions, Repo};
use snapfn_registry::Reference;
use snapfn_store::{Image, Kind, StoreError, Stores};
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;

const NAME: &str = "snaprun-pull:";

/// The arguments of `snaprun`, and the index of REF among them, if `snaprun` has executed this program.
pub(crate) fn requested() -> Option<(Vec<OsString>, usize)> {
    let args: Vec<OsString> = env::args_os().collect();
    let index = args.first()?.to_str()?.strip_prefix(NAME)?.parse().ok()?;
    (1..args.len()).contains(&index).then_some((args, index))
}

/// Why no instance is started, with the exit status.
struct Failure(u8, String);

/// Pulls what is missing and becomes `snaprun`.
pub(crate) fn run(args: Vec<OsString>, index: usize) -> ExitCode {
    let name = args.get(index).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Failure(status, why) = match start(args, index, &name) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    eprintln!("snaprun: {}", printable(&format!("{name}: {why}")));
    ExitCode::from(status)
}

fn start(mut args: Vec<OsString>, index: usize, name: &str) -> Result<std::convert::Infallible, Failure> {
    let config = Config::load().map_err(|error| Failure(125, error.to_string()))?;
    let reference = config.reference(name).map_err(|error| Failure(127, error.to_string()))?;
    let image = Image::parse(&reference.to_string()).map_err(|error| Failure(127, error.to_string()))?;
    let stores = Stores::from_env();
    if !is_there(&stores, &image)? {
        let allow_wx = args.get(1..index).unwrap_or_default().iter().any(|option| option == "--allow-wx");
        pull(&stores, &config, &reference, allow_wx)?;
    }
    if !is_there(&stores, &image)? {
        return Err(Failure(125, "was pulled and is not there; run snaprepo gc only when no pull runs".into()));
    }
    if let Some(slot) = args.get_mut(index) {
        *slot = image.to_string().into();
    }
    let error = exec(Path::new("snaprun"), args.get(1..).unwrap_or_default());
    Err(Failure(127, format!("snaprun is neither beside snaprepo nor in PATH ({error}); install it")))
}

/// Whether the image was pulled, and all its snapshots are still there.
fn is_there(stores: &Stores, image: &Image) -> Result<bool, Failure> {
    let failed = |error: StoreError| Failure(125, error.to_string());
    let snapshots = stores.pulled(image).map_err(failed)?;
    Ok(snapshots.is_some_and(|all| all.iter().all(|digest| stores.find(Kind::Snap, *digest).is_some())))
}

/// Pulls as `snaprepo pull --untagged` does. Without a terminal only a failure is printed, in one line, since stderr
/// belongs to the program.
fn pull(stores: &Stores, config: &Config, reference: &Reference, allow_wx: bool) -> Result<(), Failure> {
    let failed = |error: &dyn Display| Failure(125, error.to_string());
    let keys = config.required_keys(&reference.registry).map_err(|error| failed(&error))?;
    let progress = Arc::new(Progress::for_terminals());
    let client = config.client_options(&reference.registry);
    let repo = Repo { stores: stores.clone(), client, events: Arc::clone(&progress) as _ };
    let options =
        PullOptions { untagged: true, allow_wx, require_signature: keys, jobs: JOBS, ..PullOptions::default() };
    let pulled = repo.pull(reference, &options);
    progress.finish();
    pulled.map(drop).map_err(|error| failed(&error))
}

/// Becomes `program`, the one beside this program or else the first in `$PATH`. That must not call this program again.
fn exec(program: &Path, args: &[OsString]) -> io::Error {
    let beside = env::current_exe().ok().and_then(|own| Some(own.parent()?.join(program)));
    let beside = beside.filter(|path| path.is_file());
    let path: &OsStr = beside.as_ref().map_or(program.as_os_str(), |path| path.as_os_str());
    Command::new(path).arg0(program).arg("--local").args(args).exec()
}
