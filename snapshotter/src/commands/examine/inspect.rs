//! `inspect`: prints the content of a snapshot. docs/reference/inspect.md describes the output.
//!
//! ```text
//!  Snapshot ─▶ Plan + Space ─▶ Report ─┬─▶ JSON
//!                                      └─▶ sections ─┬─▶ text
//!                                                    └─▶ HTML, with a picture of the address space
//! ```

mod html;
mod made;
mod needs;
mod report;
mod sections;

use super::source::{ExamineError, Snapshot, print, print_json};
use super::space::Space;
use super::text::{colours, render};
use report::Report;
pub(super) use report::comm;
use snapfn_store::Stores;
use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// NAME, NAME:TAG or a file (./…, /…, *.snap)
    #[arg(value_name = "NAME|FILE")]
    name: OsString,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write an HTML page with the same content and a picture of the address space
    #[arg(long, value_name = "OUT")]
    html: Option<PathBuf>,
}

/// Writes a file that only its owner may read, even if it replaces one for all: a report has the program's arguments. A
/// file of another type (a terminal, a pipe) keeps its mode. A link to a regular file is not followed: in a directory
/// that others may write to, they could choose the file that is overwritten.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let options = |flags| File::options().write(true).custom_flags(flags).to_owned();
    let place = match File::options().read(true).custom_flags(libc::O_PATH).open(path) {
        Ok(place) if !place.metadata()?.is_file() => Some(place),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => None,
    };
    if let Some(place) = place {
        return options(0).open(format!("/proc/self/fd/{}", place.as_raw_fd()))?.write_all(bytes);
    }
    let opened = options(libc::O_NOFOLLOW | libc::O_NONBLOCK).create(true).mode(0o600).open(path);
    let mut file = opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => io::Error::other("it is a symbolic link, name the file that it leads to"),
        _ => error,
    })?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is another file by now"));
    }
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.set_len(0)?;
    file.write_all(bytes)
}

pub(crate) fn run(args: &Args) -> Result<(), ExamineError> {
    let stores = Stores::from_env();
    let snapshot = Snapshot::open(&stores, &args.name)?;
    let plan = snapshot.plan()?;
    let space = Space::new(&plan, &stores);
    let made = made::MadeOf::read(&snapshot)?;
    let report = Report::new(&snapshot, &plan, &space, &stores, made);
    if let Some(out) = &args.html {
        write_private(out, html::page(&report).as_bytes()).map_err(ExamineError::io("write", out))?;
    }
    match (args.json, &args.html) {
        (true, _) => print_json(&report),
        (false, None) => print(render(&sections::all(&report), colours())),
        (false, Some(_)) => Ok(()),
    }
}
