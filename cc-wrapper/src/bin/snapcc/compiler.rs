//! Chooses the compiler, and adds the directory of `<snap.h>` to its arguments.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The search path of the shell if PATH is not set.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// A compiler command, found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Compiler {
    /// The file to execute.
    pub(crate) file: PathBuf,
    /// Its `argv[0]`, its name in its own messages.
    pub(crate) name: OsString,
    /// Arguments that are part of the command.
    pub(crate) args: Vec<OsString>,
}

/// Why there is no compiler to run.
#[derive(Debug, Error)]
pub(crate) enum FindError {
    #[error("{0}: no such program, set {1} to the compiler to use")]
    Missing(String, &'static str),
    #[error("{0}: not executable, set {1} to the compiler to use")]
    NotRunnable(String, &'static str),
    #[error("{0}: is snapcc itself, set {1} to the compiler to use")]
    Own(String, &'static str),
}

impl FindError {
    /// The status of a shell that cannot run a command.
    pub(crate) fn status(&self) -> i32 {
        match self {
            FindError::Missing(..) => 127,
            FindError::NotRunnable(..) | FindError::Own(..) => 126,
        }
    }
}

/// The compiler for a driver that was called as `argv0`: a name that ends in `++` is the C++ driver.
pub(crate) fn find(argv0: &OsStr) -> Result<Compiler, FindError> {
    let plus = argv0.as_bytes().ends_with(b"++");
    let (variable, default) = if plus { ("SNAPFN_CXX", "c++") } else { ("SNAPFN_CC", "cc") };
    let command = env::var_os(variable).filter(|value| !value.is_empty()).unwrap_or_else(|| default.into());
    let shown = || command.to_string_lossy().into_owned();

    // A path may contain spaces, so the whole comes first; then a command with arguments, such as `ccache gcc`.
    let failure = match locate(&command) {
        Ok((file, name)) => return Ok(Compiler { file, name, args: Vec::new() }),
        Err(failure) => failure,
    };
    let mut parts = command.as_bytes().split(u8::is_ascii_whitespace).filter(|part| !part.is_empty());
    if let (Some(program), Some(first)) = (parts.next(), parts.next())
        && let Ok((file, name)) = locate(OsStr::from_bytes(program))
    {
        let args = std::iter::once(first).chain(parts).map(|part| OsStr::from_bytes(part).to_owned()).collect();
        return Ok(Compiler { file, name, args });
    }
    Err(match failure {
        Failure::Missing => FindError::Missing(shown(), variable),
        Failure::NotRunnable => FindError::NotRunnable(shown(), variable),
        Failure::Own => FindError::Own(shown(), variable),
    })
}

/// Why a program was not found: the last reason that a search meets, where `Missing` ranks last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Failure {
    Missing,
    NotRunnable,
    Own,
}

/// Finds `program` as a shell would, but never snapcc itself, which may be in PATH under the compiler's name. Returns
/// the file and the `argv[0]` to give it.
fn locate(program: &OsStr) -> Result<(PathBuf, OsString), Failure> {
    let own = fs::metadata("/proc/self/exe").ok();
    if program.as_bytes().contains(&b'/') {
        let file = PathBuf::from(program);
        runnable(&file, own.as_ref())?;
        return Ok((file, program.to_owned()));
    }
    let path = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let mut failure = Failure::Missing;
    for directory in path.as_bytes().split(|&byte| byte == b':') {
        let directory = if directory.is_empty() { OsStr::new(".") } else { OsStr::from_bytes(directory) };
        let file = Path::new(directory).join(program);
        match runnable(&file, own.as_ref()) {
            // gcc searches its parts beside the program that PATH has under its name. If that program is snapcc, gcc
            // needs the path of its own file.
            Ok(()) if failure == Failure::Own => return Ok((file.clone(), file.into())),
            Ok(()) => return Ok((file, program.to_owned())),
            Err(Failure::Missing) => {}
            Err(other) => failure = other,
        }
    }
    Err(failure)
}

fn runnable(file: &Path, own: Option<&Metadata>) -> Result<(), Failure> {
    let meta = fs::metadata(file).map_err(|_| Failure::Missing)?;
    if own.is_some_and(|own| (own.dev(), own.ino()) == (meta.dev(), meta.ino())) {
        return Err(Failure::Own);
    }
    if !meta.is_file() || meta.permissions().mode() & 0o111 == 0 {
        return Err(Failure::NotRunnable);
    }
    Ok(())
}

/// The directory with `snap.h`: `$SNAPFN_INCLUDE` (none if that is empty), the installed one, that of the source tree.
pub(crate) fn include_directory() -> Option<PathBuf> {
    if let Some(directory) = env::var_os("SNAPFN_INCLUDE") {
        return (!directory.is_empty()).then(|| directory.into());
    }
    let installed = fs::read_link("/proc/self/exe").ok().and_then(|exe| {
        let prefix = exe.parent()?.parent()?;
        Some(prefix.join("include/snapfn"))
    });
    let source_tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    installed.into_iter().chain([source_tree]).find(|directory| directory.join("snap.h").is_file())
}
