//! Finds the Python that a program runs with, and the file that a name means.

use crate::options::{Options, Target};
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf, absolute};

/// A Python.
#[derive(Debug)]
pub(crate) struct Interpreter {
    /// Not resolved: a link in `bin` of a virtual environment is what makes it one.
    pub(crate) path: PathBuf,
    /// Its own options, from a `#!` line.
    pub(crate) options: Vec<OsString>,
    /// The reason why it has to start in the ordinary way.
    pub(crate) unfit: Option<String>,
}

/// The interpreter and the file of a program.
pub(crate) fn resolve(options: &Options) -> Result<(Interpreter, Target), String> {
    let default = || options.python.as_deref().map_or_else(default, named);
    let Target::Script(word) = &options.target else { return Ok((checked(default()?, None), options.target.clone())) };
    let is_path = word.is_file() || word.is_dir() || word.as_os_str().as_bytes().contains(&b'/');
    let path = match command(word, default().ok().as_deref()).filter(|_| !is_path) {
        Some(path) => path,
        None if is_path || word.extension().is_some_and(|extension| extension == "py") => word.clone(),
        None => return Err(format!("{}: there is no such script or command", word.display())),
    };
    let head = match head(&path) {
        Ok(head) => head,
        // The interpreter has its own words for it.
        Err(_) => return Ok((checked(default()?, None), Target::Script(path))),
    };
    if head.starts_with(b"\x7fELF") {
        return Err(format!(
            "{}: it is no Python script; snapshotter create takes programs of other kinds",
            path.display()
        ));
    }
    let interpreter = match (first_line(&head), &options.python) {
        (Some((program, argument)), None) if !is_env(&program) => {
            if !program.file_name().is_some_and(|name| name.as_bytes().starts_with(b"python")) {
                return Err(format!("{}: its first line names {}, not Python", path.display(), program.display()));
            }
            checked(program, argument)
        }
        _ => checked(default()?, None),
    };
    Ok((interpreter, Target::Script(path)))
}

fn is_env(program: &Path) -> bool {
    program.file_name() == Some(OsStr::new("env"))
}

fn head(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if !path.is_dir() {
        File::open(path)?.take(1024).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Program and argument of a `#!` line; also of the form that pip writes where the line would be too long.
fn first_line(head: &[u8]) -> Option<(PathBuf, Option<OsString>)> {
    let mut lines = head.split(|byte| *byte == b'\n');
    let line = lines.next()?.strip_prefix(b"#!")?.trim_ascii();
    let (program, argument) = match line.iter().position(|byte| byte.is_ascii_whitespace()) {
        Some(end) => (&line[..end], line[end..].trim_ascii()),
        None => (line, &b""[..]),
    };
    if program == b"/bin/sh"
        && let Some(quoted) = lines.next().and_then(|line| line.strip_prefix(b"'''exec' "))
    {
        let path = match quoted.strip_prefix(b"\"") {
            Some(rest) => rest.split(|byte| *byte == b'"').next()?,
            None => quoted.split(|byte| *byte == b' ').next()?,
        };
        return Some((OsStr::from_bytes(path).into(), None));
    }
    let argument = (!argument.is_empty()).then(|| OsStr::from_bytes(argument).to_owned());
    Some((OsStr::from_bytes(program).into(), argument))
}

/// A command that pip has installed: beside the interpreter, in the active environment, beside this program, in `PATH`.
fn command(name: &Path, interpreter: Option<&Path>) -> Option<PathBuf> {
    let active = env::var_os("VIRTUAL_ENV").map(|root| Path::new(&root).join("bin"));
    let beside = interpreter.and_then(Path::parent).map(Path::to_owned);
    let own = env::current_exe().ok().and_then(|own| own.parent().map(Path::to_owned));
    beside
        .into_iter()
        .chain(active)
        .chain(own)
        .map(|folder| folder.join(name))
        .find(is_executable)
        .or_else(|| in_path(name))
}

fn is_executable(path: &PathBuf) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn in_path(name: &Path) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).filter(|folder| folder.is_absolute()).map(|folder| folder.join(name)).find(is_executable)
}

/// The interpreter that `--python` names.
fn named(word: &Path) -> Result<PathBuf, String> {
    let path = match word.as_os_str().as_bytes().contains(&b'/') {
        true => absolute(word).ok().filter(is_executable),
        false => in_path(word),
    };
    path.ok_or(format!("{}: there is no such interpreter", word.display()))
}

/// The active environment's, else that of the environment that this program is installed in, unless it has an
/// environment to itself, else the first in `PATH`.
fn default() -> Result<PathBuf, String> {
    let active = env::var_os("VIRTUAL_ENV").map(|root| Path::new(&root).join("bin/python3")).filter(is_executable);
    let own = || {
        let exe = env::current_exe().ok()?;
        let root = exe.parent()?.parent()?;
        let is_shared = root.join("pyvenv.cfg").exists()
            && !root.join("pipx_metadata.json").exists()
            && !root.join("uv-receipt.toml").exists();
        Some(root.join("bin/python3")).filter(|path| is_shared && is_executable(path))
    };
    active.or_else(own).or_else(|| in_path(Path::new("python3"))).ok_or("there is no python3 in PATH".to_owned())
}

/// Replaces a shim of pyenv by its target, and checks whether snapshots of this interpreter can be made.
fn checked(path: PathBuf, option: Option<OsString>) -> Interpreter {
    let path = pyenv(&path).unwrap_or(path);
    let unfit = match head(&path) {
        Ok(head) if head.starts_with(b"\x7fELF") => None,
        Ok(_) => Some(format!("{} is a script; name the interpreter itself with --python", path.display())),
        Err(error) => Some(format!("{}: {error}", path.display())),
    };
    let is_text = |text: &OsStr| text.to_str().is_some_and(|text| !text.contains(char::is_control));
    let unfit =
        unfit.or_else(|| (!is_text(path.as_os_str())).then(|| "the interpreter's path is no plain text".to_owned()));
    Interpreter { path, options: option.into_iter().collect(), unfit }
}

/// `$PYENV_ROOT/shims/python3` looks for the version in this order: `PYENV_VERSION`, `.python-version` in the working
/// directory or above it, `$PYENV_ROOT/version`.
fn pyenv(shim: &Path) -> Option<PathBuf> {
    let folder = shim.parent().filter(|folder| folder.file_name() == Some(OsStr::new("shims")))?;
    let root = folder.parent()?;
    let versions = root.join("versions");
    let read = |path: PathBuf| fs::read_to_string(path).ok();
    let set = env::var("PYENV_VERSION").ok().map(|list| list.replace(':', "\n"));
    let local = || env::current_dir().ok()?.ancestors().find_map(|folder| read(folder.join(".python-version")));
    let list = set.or_else(local).or_else(|| read(root.join("version")))?;
    let names = list.split_whitespace().filter(|word| !word.starts_with('#'));
    names
        .map(|name| versions.join(name).join("bin").join(shim.file_name()?).into())
        .find_map(|path: Option<PathBuf>| path.filter(is_executable))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_names_the_interpreter() {
        let parsed =
            |text: &str| first_line(text.as_bytes()).map(|(path, option)| (path.display().to_string(), option));
        assert_eq!(parsed("#!/v/bin/python3 -sE\n"), Some(("/v/bin/python3".into(), Some("-sE".into()))));
        assert_eq!(parsed("#! /v/bin/python\nimport x\n"), Some(("/v/bin/python".into(), None)));
        assert_eq!(
            parsed("#!/bin/sh\n'''exec' \"/a b/python\" \"$0\" \"$@\"\n' '''\n"),
            Some(("/a b/python".into(), None))
        );
        assert_eq!(parsed("#!/bin/sh\n'''exec' /a/python \"$0\" \"$@\"\n"), Some(("/a/python".into(), None)));
        assert_eq!(parsed("import x\n"), None);
    }
}
