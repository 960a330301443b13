//! `snaprun REF` for an image that is not there: pull it, then start `snaprun` again.
//!
//! `snaprun` executes this program with its own arguments, but for the name in front, which is `snaprun-pull:N`: N is the
//! index of REF. Messages and exit statuses are `snaprun`'s: 125 where pulling fails, 127 where there is no such thing.

use crate::output::printable;
use snapfn_repo::Config;
use snapfn_store::{Image, Kind, StoreError, Stores};
use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

const NAME: &str = "snaprun-pull:";

/// The arguments that `snaprun` was given, and the index of REF among them, if it is `snaprun` that calls.
pub(crate) fn requested() -> Option<(Vec<OsString>, usize)> {
    let args: Vec<OsString> = env::args_os().collect();
    let index = args.first()?.to_str()?.strip_prefix(NAME)?.parse().ok()?;
    (1..args.len()).contains(&index).then_some((args, index))
}

/// Why nothing is started: the exit status, and what has not been said yet.
struct Failure(u8, Option<String>);

/// Pulls what is missing and becomes `snaprun`.
pub(crate) fn run(args: Vec<OsString>, index: usize) -> ExitCode {
    let name = args.get(index).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Failure(status, why) = match start(args, index, &name) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    if let Some(why) = why {
        eprintln!("snaprun: {}", printable(&format!("{name}: {why}")));
    }
    ExitCode::from(status)
}

fn start(mut args: Vec<OsString>, index: usize, name: &str) -> Result<std::convert::Infallible, Failure> {
    let config = Config::load().map_err(|error| Failure(125, Some(error.to_string())))?;
    let reference = config.reference(name).map_err(|error| Failure(127, Some(error.to_string())))?;
    let image = Image::parse(&reference.to_string()).map_err(|error| Failure(127, Some(error.to_string())))?;
    let stores = Stores::from_env();
    if !is_there(&stores, &image)? {
        pull(&reference.to_string())?;
    }
    if !is_there(&stores, &image)? {
        return Err(Failure(125, Some("was pulled and is not there; run snaprepo gc only when no pull runs".into())));
    }
    if let Some(slot) = args.get_mut(index) {
        *slot = image.to_string().into();
    }
    let error = exec(Path::new("snaprun"), args.get(1..).unwrap_or_default());
    Err(Failure(127, Some(format!("snaprun is neither beside snaprepo nor in PATH ({error}); install it"))))
}

/// Whether the image was pulled, and all its snapshots are still there.
fn is_there(stores: &Stores, image: &Image) -> Result<bool, Failure> {
    let failed = |error: StoreError| Failure(125, Some(error.to_string()));
    let snapshots = stores.pulled(image).map_err(failed)?;
    Ok(snapshots.is_some_and(|all| all.iter().all(|digest| stores.find(Kind::Snap, *digest).is_some())))
}

/// The same as a person would type; it says itself what goes wrong. The program's output is not to be mixed with it.
fn pull(reference: &str) -> Result<(), Failure> {
    let own = env::current_exe().unwrap_or_else(|_| "snaprepo".into());
    let status = Command::new(own)
        .args(["pull", "--untagged", "--", reference])
        .stdin(Stdio::null())
        .stdout(io::stderr())
        .status()
        .map_err(|error| Failure(125, Some(format!("cannot run snaprepo pull: {error}"))))?;
    match status.success() {
        true => Ok(()),
        false => Err(Failure(125, None)),
    }
}

/// Becomes `program`, the one beside this program or else the first in `$PATH`. It is not to come back here.
fn exec(program: &Path, args: &[OsString]) -> io::Error {
    let beside = env::current_exe().ok().and_then(|own| Some(own.parent()?.join(program)));
    let beside = beside.filter(|path| path.is_file());
    let path: &OsStr = beside.as_ref().map_or(program.as_os_str(), |path| path.as_os_str());
    Command::new(path).arg0(program).arg("--local").args(args).exec()
}
