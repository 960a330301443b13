//! Why a program did not reach its snapshot point.

use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a program did not reach its snapshot point.
#[derive(Debug, Error)]
pub(crate) enum TraceError {
    #[error("cannot run {}: {source}{}", path.display(), remedy(path, source))]
    Exec { path: PathBuf, source: io::Error },
    #[error("{what}: {source}")]
    System { what: &'static str, source: io::Error },
    #[error("the program exited with status {status} before its snapshot point{output}")]
    Exited { status: i32, output: String },
    #[error("the program was killed by {signal} before its snapshot point{output}")]
    Killed { signal: String, output: String },
    #[error("the program did not reach its snapshot point within {seconds} s (--timeout){output}")]
    Timeout { seconds: f64, output: String },
    #[error("no snapshot could be taken within {seconds} s (--timeout)")]
    Overdue { seconds: f64 },
    #[error("thread {tid} is in a system call that cannot be interrupted (--timeout)")]
    Stuck { tid: i32 },
    #[error("the program executed another one while it was being stopped at its snapshot point: try again")]
    Replaced,
    #[error("the program executed {}, which cannot be followed there: {why}. Name that program and its arguments, or \
            the point with --at", path.display())]
    NotFollowed { path: PathBuf, why: &'static str },
    #[error("{} is set-user-ID or set-group-ID, and a traced program does not get those rights: run the snapshotter as \
            that user", .0.display())]
    OtherRights(PathBuf),
    #[error("snapboot, the deserializer: {what}{}", errno_text(*.errno))]
    Boot { what: String, errno: i32 },
    #[error("snapboot is not installed: looked for {}", .0.display())]
    NoSnapboot(PathBuf),
    #[error("no function or object '{0}' in the program or the libraries that it loaded")]
    NoSymbol(String),
    #[error("'{0}' is not the name of a system call")]
    NoSyscall(String),
    #[error("there is no process {0}")]
    NoProcess(i32),
    #[error("process {pid} cannot be checked: {why}")]
    NotAttachable { pid: i32, why: String },
    #[error("{0}")]
    Split(String),
}

impl TraceError {
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> TraceError {
        move |source| TraceError::System { what, source }
    }
}

/// The remedy for a file that the kernel does not execute.
fn remedy(path: &Path, source: &io::Error) -> String {
    match source.raw_os_error() {
        Some(libc::ENOEXEC) => "; it is neither an ELF program nor a script with a first line #!".to_owned(),
        Some(libc::EACCES) if path.is_file() => {
            "; make it executable, or name its interpreter in front of it".to_owned()
        }
        _ => String::new(),
    }
}

fn errno_text(errno: i32) -> String {
    if errno == 0 { String::new() } else { format!(": {}", io::Error::from_raw_os_error(errno)) }
}
