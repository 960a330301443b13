//! What cannot be carried: all reasons at once, each with what it is and the remedy.

use crate::tracee::TraceError;
use crate::tracee::ptrace::Tid;
use snapfn_format::FormatError;
use snapfn_store::StoreError;
use std::fmt;
use std::io;
use thiserror::Error;

/// One reason not to take a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blocker {
    /// Which one: `descriptor 5`, `memory 7f…-7f…`, `child 123`.
    pub(crate) subject: String,
    /// What it is.
    pub(crate) what: String,
    /// What to do.
    pub(crate) remedy: &'static str,
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.subject, self.what, self.remedy)
    }
}

fn list(blockers: &[Blocker]) -> String {
    blockers.iter().map(|blocker| format!("\n  {blocker}")).collect()
}

/// Why there is no snapshot.
#[derive(Debug, Error)]
pub(crate) enum DumpError {
    #[error("the program holds what a snapshot cannot carry; nothing was written:{}", list(.0))]
    Refused(Vec<Blocker>),
    #[error(transparent)]
    Trace(#[from] TraceError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the plan that was made is not valid ({0}); this is a bug, please report it")]
    Plan(#[from] FormatError),
}

/// A process that is not dumpable hides its /proc files from a plain user, its tracer included.
pub(crate) fn readable<T>(maps: io::Result<T>) -> Result<T, DumpError> {
    match maps {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(DumpError::Refused(vec![Blocker {
            subject: "process".to_owned(),
            what: "has made itself not dumpable (PR_SET_DUMPABLE)".to_owned(),
            remedy: "do so after the snapshot point, or run the snapshotter with CAP_SYS_PTRACE",
        }])),
        other => Ok(other.map_err(TraceError::system("/proc/PID/smaps"))?),
    }
}

/// Living child processes are not carried.
pub(crate) fn children(pid: Tid, blockers: &mut Vec<Blocker>) -> Result<(), TraceError> {
    for entry in std::fs::read_dir(format!("/proc/{pid}/task")).map_err(TraceError::system("/proc/PID/task"))? {
        let Ok(entry) = entry else { continue };
        let Ok(list) = std::fs::read_to_string(entry.path().join("children")) else { continue };
        for child in list.split_whitespace() {
            let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
            if matches!(state, Some('Z' | 'X') | None) {
                continue;
            }
            let name = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).map_or("?", |(name, _)| name);
            blockers.push(Blocker {
                subject: format!("child process {child}"),
                what: format!("'{name}' is running"),
                remedy: "end or wait for child processes before the snapshot point",
            });
        }
    }
    Ok(())
}
