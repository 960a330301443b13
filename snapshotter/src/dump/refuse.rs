//! State that a snapshot cannot carry: all reasons at once, each with its subject, description and remedy.

use super::verify::VerifyError;
use crate::tracee::maps::{self, Vma};
use crate::tracee::ptrace::Tid;
use crate::tracee::shared::{Kind, is_shared};
use crate::tracee::{Frozen, Status, TraceError, Tracer};
use procfs::ProcError;
use procfs::process::Process;
use serde::Serialize;
use snapfn_format::FormatError;
use snapfn_store::StoreError;
use std::fmt;
use std::io;
use thiserror::Error;

/// One reason not to take a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Blocker {
    /// The holder of the state: `descriptor 5`, `memory 7f…-7f…`, `child 123`.
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
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

/// The memory map, if the program's /proc files can be read: a process that is not dumpable hides them from a plain
/// user, its tracer included, and with its first thread they end.
pub(super) fn look(tracer: &Tracer, frozen: &[Frozen]) -> Result<Vec<Vma>, DumpError> {
    if !tracer.in_vfork.is_empty() {
        let blocker = |tid: &Tid| Blocker {
            subject: format!("thread {tid}"),
            what: "waits for a child process that uses its memory (vfork, posix_spawn)".to_owned(),
            remedy: "wait until it has executed its program, or end it before the snapshot point",
        };
        let mut blockers: Vec<Blocker> = tracer.in_vfork.iter().map(blocker).collect();
        children(tracer.pid, &mut blockers)?;
        return Err(DumpError::Refused(blockers));
    }
    if frozen.first().is_none_or(|task| task.tid != tracer.pid) {
        return Err(refused("its first thread has ended", "let main wait for the other threads"));
    }
    memory_map(tracer.pid)
}

fn refused(what: &str, remedy: &'static str) -> DumpError {
    DumpError::Refused(vec![Blocker { subject: "process".to_owned(), what: what.to_owned(), remedy }])
}

/// The memory map of a process, if it can be read.
pub(super) fn memory_map(pid: Tid) -> Result<Vec<Vma>, DumpError> {
    match maps::read(pid) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(refused(
            "has made itself not dumpable (PR_SET_DUMPABLE)",
            "do so after the snapshot point, or run the snapshotter with CAP_SYS_PTRACE",
        )),
        other => Ok(other.map_err(TraceError::system("/proc/PID/smaps"))?),
    }
}

/// Calls whose effect the kernel does not report and no instance can have.
pub(super) fn calls(tracer: &Tracer, accepted: &[String], blockers: &mut Vec<Blocker>) {
    for finding in tracer.ledger.findings() {
        if finding.only_noted || finding.is_accepted(accepted) {
            continue;
        }
        let on = finding.fd.map(|fd| format!(" on descriptor {fd}")).unwrap_or_default();
        blockers.push(Blocker {
            subject: format!("system call {}{on}", finding.name),
            what: finding.why,
            remedy: "call it after the snapshot point, or accept that instances lack its effect (--accept)",
        });
    }
}

/// Refuses processes that depend on the program. A process that a task of it traces would have no tracer in an
/// instance. A process that shares its memory or its descriptors changes them while the snapshotter reads them, and is
/// missing in an instance.
pub(super) fn others(tracer: &Tracer, tids: &[Tid], blockers: &mut Vec<Blocker>) {
    let program = tracer.pid;
    // Without kcmp, a process that was made to share something may still run, or a child of it may.
    for (kind, maker) in tracer.sharing.iter().filter(|(kind, _)| is_shared(*kind, program, program).is_none()) {
        blockers.push(Blocker {
            subject: format!("process {maker}"),
            what: format!("shares the program's {} (clone), or did: kcmp is forbidden here", kind.name()),
            remedy: "start it after the snapshot point, or allow kcmp in the container (CAP_SYS_PTRACE)",
        });
    }
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<Tid>().ok()) else { continue };
        for kind in [Kind::Memory, Kind::Descriptors] {
            if pid != program && is_shared(kind, program, pid) == Some(true) {
                blockers.push(Blocker {
                    subject: format!("process {pid}"),
                    what: format!("shares the program's {} (clone)", kind.name()),
                    remedy: "end it before the snapshot point",
                });
            }
        }
        let traced_by = Status::read(pid, pid).ok().and_then(|status| status.get("TracerPid").parse::<Tid>().ok());
        if let Some(tracer) = traced_by.filter(|tracer| tids.contains(tracer)) {
            blockers.push(Blocker {
                subject: format!("process {pid}"),
                what: format!("is traced by thread {tracer}"),
                remedy: "detach from it before the snapshot point",
            });
        }
    }
}

/// Living child processes are not carried.
pub(crate) fn children(pid: Tid, blockers: &mut Vec<Blocker>) -> Result<(), TraceError> {
    for entry in std::fs::read_dir(format!("/proc/{pid}/task")).map_err(TraceError::system("/proc/PID/task"))? {
        let Ok(entry) = entry else { continue };
        let Ok(list) = std::fs::read_to_string(entry.path().join("children")) else { continue };
        for child in list.split_whitespace() {
            let Ok(id) = child.parse() else { continue };
            let name = match Process::new(id).and_then(|process| process.stat()) {
                Ok(stat) if matches!(stat.state, 'Z' | 'X') => continue,
                // It has ended meanwhile.
                Err(ProcError::NotFound(_)) => continue,
                Ok(stat) => stat.comm,
                Err(_) => "?".to_owned(),
            };
            blockers.push(Blocker {
                subject: format!("child process {child}"),
                what: format!("'{name}' is running"),
                remedy: "end or wait for child processes before the snapshot point",
            });
        }
    }
    Ok(())
}
