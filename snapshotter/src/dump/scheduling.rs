//! The scheduling of a thread, where the program has changed it.

use super::refuse::Blocker;
use crate::tracee::ptrace::Tid;
use crate::tracee::remote::Remote;
use snapfn_format::snap::Thread;
use std::io;

const PR_GET_TIMERSLACK: u64 = 30;
const SCHED_DEADLINE: u32 = 6;
const SCHED_FLAG_RESET_ON_FORK: u64 = 1;
const SCHED_RESET_ON_FORK: u32 = 0x4000_0000;

/// The kernel's `struct sched_attr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
    util_min: u32,
    util_max: u32,
}

#[allow(unsafe_code)] // sched_getattr
fn attributes(tid: Tid) -> io::Result<SchedAttr> {
    let mut attr = SchedAttr::default();
    // SAFETY: a live local of the size that is passed.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, tid, &raw mut attr, size_of::<SchedAttr>(), 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(attr) }
}

/// The CPUs that `tid` may run on, without trailing zero words.
#[allow(unsafe_code)] // sched_getaffinity
fn affinity(tid: Tid) -> io::Result<Vec<u8>> {
    let mut mask = [0u64; 128];
    // SAFETY: a live local of the size that is passed.
    let result = unsafe { libc::syscall(libc::SYS_sched_getaffinity, tid, size_of_val(&mask), mask.as_mut_ptr()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let used = mask.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
    Ok(mask.iter().take(used).flat_map(|word| word.to_le_bytes()).collect())
}

#[allow(unsafe_code)] // prctl
fn own_timer_slack() -> u64 {
    // SAFETY: this option only reads a setting.
    u64::try_from(unsafe { libc::prctl(PR_GET_TIMERSLACK as i32, 0, 0, 0, 0) }).unwrap_or(0)
}

/// Refuses what an instance cannot set.
pub(super) fn check(tid: Tid, blockers: &mut Vec<Blocker>) -> io::Result<()> {
    let (attr, own) = (attributes(tid)?, attributes(0)?);
    let mut refuse = |what: &str, remedy| {
        blockers.push(Blocker { subject: format!("thread {tid}"), what: what.to_owned(), remedy });
    };
    if attr.policy == SCHED_DEADLINE {
        refuse("is scheduled by deadlines (SCHED_DEADLINE)", "set the policy after the snapshot point");
    }
    if (attr.util_min, attr.util_max) != (own.util_min, own.util_max) {
        refuse("has utilisation clamps of its own", "set them after the snapshot point");
    }
    Ok(())
}

/// Fills in the scheduling fields of `record`; the CPU affinity if it is not the snapshotter's own.
pub(super) fn gather(
    tid: Tid,
    remote: &Remote,
    record: &mut Thread,
    blockers: &mut Vec<Blocker>,
) -> io::Result<Vec<u8>> {
    check(tid, blockers)?;
    let (attr, own) = (attributes(tid)?, attributes(0)?);
    if (attr.policy, attr.flags, attr.nice, attr.priority) != (own.policy, own.flags, own.nice, own.priority) {
        let reset = if attr.flags & SCHED_FLAG_RESET_ON_FORK != 0 { SCHED_RESET_ON_FORK } else { 0 };
        record.policy = (attr.policy | reset) + 1;
        record.priority = attr.priority;
        record.nice = attr.nice as u32;
    }
    // Real-time policies have none and answer 0.
    let slack = remote.call(libc::SYS_prctl, &[PR_GET_TIMERSLACK])?;
    if slack != own_timer_slack() {
        record.timer_slack = u32::try_from(slack).unwrap_or(u32::MAX);
    }
    let cpus = affinity(tid)?;
    Ok(if cpus == affinity(0)? { Vec::new() } else { cpus })
}
