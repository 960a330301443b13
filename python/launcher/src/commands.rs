//! The commands that do not run a program, and the making of a snapshot before a start.

use crate::index::{self, App};
use crate::interpreter::{self, Interpreter};
use crate::options::{Options, Target};
use crate::place::Place;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf, absolute};
use std::process::{Command, Stdio};

/// Makes a snapshot from the record of an earlier run. False where there is no such record.
pub(crate) fn make(interpreter: &Interpreter, place: &Place, key: &str) -> bool {
    let record = index::record(&place.root, key);
    let Some(maker) = place.maker().filter(|_| record.exists()) else { return false };
    let mut command = Command::new(&interpreter.path);
    command.args([OsStr::new("-I"), maker.as_os_str(), record.as_os_str()]).stdin(Stdio::null()).stdout(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Writes a command that runs a program: a file whose first line names this program.
pub(crate) fn install(options: &Options, dir: Option<&Path>) -> Result<(), String> {
    let (interpreter, target) = interpreter::resolve(options)?;
    let shown = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let own = env::current_exe().map_err(|error| format!("snapfn: {error}"))?;
    let dir = match (dir, env::var_os("HOME")) {
        (Some(dir), _) => dir.to_owned(),
        (None, Some(home)) => PathBuf::from(home).join(".local/bin"),
        (None, None) => return Err("name a folder for the command; HOME is not set".to_owned()),
    };
    let mut lines = vec![format!("#!{} @", own.display()), format!("--python={}", interpreter.path.display())];
    if own.as_os_str().len() > 200 || own.as_os_str().as_bytes().iter().any(u8::is_ascii_whitespace) {
        return Err(format!("{}: a first line cannot hold this path", own.display()));
    }
    if !options.preload.is_empty() {
        lines.push(format!("--preload={}", options.preload.join(",")));
    }
    let name = match &target {
        Target::Script(path) => {
            let path = absolute(path).map_err(|error| shown(path, error))?;
            lines.push(path.display().to_string());
            path.file_stem().map(OsStr::to_owned)
        }
        Target::Module(module) => {
            lines.extend(["-m".to_owned(), module.to_string_lossy().into_owned()]);
            Some(module.clone())
        }
    };
    let path = dir.join(name.ok_or("the program has no name")?);
    if fs::canonicalize(&path).is_ok_and(|found| found == own)
        || matches!(&target, Target::Script(script) if is_same(script, &path))
    {
        return Err(format!("{} is the program itself; name another folder", path.display()));
    }
    if path.symlink_metadata().is_ok() && !fs::read(&path).is_ok_and(|old| old.starts_with(b"#!") && is_ours(&old)) {
        return Err(format!("{} is there already and is no command of snapfn", path.display()));
    }
    fs::create_dir_all(&dir).map_err(|error| shown(&dir, error))?;
    fs::write(&path, lines.join("\n") + "\n").map_err(|error| shown(&path, error))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(|error| shown(&path, error))?;
    writeln!(std::io::stdout(), "{}", path.display()).map_err(|error| format!("standard output: {error}"))
}

fn is_same(a: &Path, b: &Path) -> bool {
    matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}

fn is_ours(old: &[u8]) -> bool {
    old.split(|byte| *byte == b'\n').next().is_some_and(|line| line.ends_with(b"/snapfn @"))
}

fn apps(place: &Place) -> Vec<App> {
    let entries = fs::read_dir(place.root.join("apps")).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.extension().is_none()).collect();
    paths.sort();
    paths.iter().filter_map(|path| App::parse(path)).collect()
}

fn place() -> Result<Place, String> {
    Place::find().ok_or("neither SNAPFN_STORE nor HOME names a place for snapshots".to_owned())
}

/// Prints a line for each program: its snapshots, or the reason why there is none in this environment.
pub(crate) fn list() -> Result<(), String> {
    let mut text = String::new();
    for app in apps(&place()?) {
        let fields: Vec<&str> = app.key.split('\x1f').collect();
        let [interpreter, _, kind, program, _] = fields[..] else { continue };
        let module = if kind == "module" { "-m " } else { "" };
        let state = match (app.tags.is_empty(), app.reason()) {
            (true, Some(why)) => format!("no snapshot: {why}"),
            (true, None) => "no snapshot".to_owned(),
            (false, _) => app.tags.join(" "),
        };
        text += &format!("{interpreter} {module}{program}: {state}\n");
    }
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| format!("standard output: {error}"))
}

/// Removes the index, and with it the snapshots.
pub(crate) fn clean() -> Result<(), String> {
    let place = place()?;
    let tags: Vec<String> = fs::read_dir(place.root.join("snapshots"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .collect();
    match fs::remove_dir_all(&place.root) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(format!("{}: {error}", place.root.display()));
        }
        _ => {}
    }
    let snaprepo = place.programs.join("snaprepo");
    let run = |arguments: &[&str]| Command::new(&snaprepo).args(arguments).stdout(Stdio::null()).status();
    for tag in &tags {
        // A snapshot that another process has removed already counts as removed.
        let _ = Command::new(&snaprepo).args(["rm", tag]).stderr(Stdio::null()).status();
    }
    match run(&["gc"]) {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err("snaprepo gc has failed; run it again later".to_owned()),
        Err(error) => Err(format!("{}: {error}", snaprepo.display())),
    }
}
