//! Finds everything that prevents a snapshot of a process that the snapshotter has not started, without any effect on
//! it: this module changes neither its registers nor its memory nor its open files.

use super::refuse::{self, Blocker, DumpError};
use super::{attributes, fds, memory, mutexes, process, scheduling, signals, threads, timers};
use crate::tracee::TraceError;
use crate::tracee::attach::Attached;
use crate::tracee::ptrace::Tid;

/// State that only system calls of the process itself would show, in words.
pub(crate) const NOT_TOLD: &str =
    "prctl settings of single threads, NUMA memory policy, the CPUID instruction, AMX tile registers";

/// Everything that prevents a snapshot.
pub(crate) fn blockers_of_running(attached: &Attached, allow_wx: bool) -> Result<Vec<Blocker>, DumpError> {
    match look(attached, allow_wx) {
        Err(DumpError::Refused(blockers)) => Ok(blockers),
        other => other,
    }
}

fn look(attached: &Attached, allow_wx: bool) -> Result<Vec<Blocker>, DumpError> {
    let Attached { tracer, stopped, .. } = attached;
    let vmas = refuse::memory_map(tracer.pid)?;
    let mut tids: Vec<Tid> = tracer.tasks.keys().copied().collect();
    tids.sort_by_key(|tid| (*tid != tracer.pid, *tid));
    let mut blockers = Vec::new();
    threads::check_seccomp(tracer, &tids, &mut blockers)?;
    for tid in &tids {
        scheduling::check(*tid, &mut blockers).map_err(TraceError::system("scheduling"))?;
    }
    let mut pending = Vec::new();
    for (tid, number) in tids.iter().zip(0..).filter(|(tid, _)| stopped.contains(tid)) {
        pending.extend(signals::queued(tracer, *tid, number)?);
    }
    signals::check(&pending, &tids, &mut blockers);
    timers::check(tracer, &tids, &mut blockers)?;
    process::check_root(tracer.pid, &mut blockers)?;
    attributes::check(tracer, &tids, stopped, &mut blockers)?;
    // What hangs on descriptors can be looked into only where a look does not change it.
    fds::gather(tracer, &tids, None, &mut blockers)?;
    memory::check(&vmas, tracer, allow_wx, &mut blockers);
    refuse::children(tracer.pid, &mut blockers)?;
    refuse::others(tracer, &tids, &mut blockers);
    mutexes::check_any(tracer, &memory::written(tracer, &vmas), &tids, &mut blockers)?;
    Ok(blockers)
}
