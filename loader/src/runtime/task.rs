//! System calls on what the kernel keeps of this process and its threads. They are safe: the kernel accesses only
//! memory that a reference of the caller names.
#![allow(unsafe_code)] // system calls

use super::arch::syscall6;
use super::sys::{Errno, Result, check, nr, syscall};
use snapfn_format::snap::PRCTL_OPTIONS;

/// Target of `setpriority` and `ioprio_set`: one thread.
const PRIO_PROCESS: u32 = 0;
const IOPRIO_WHO_PROCESS: u32 = 1;

/// `getpid(2)`.
pub fn pid() -> u32 {
    syscall!(nr::GETPID).map_or(0, |pid| pid as u32)
}

/// `getuid(2)`.
pub fn uid() -> u32 {
    syscall!(nr::GETUID).map_or(0, |user| user as u32)
}

/// `getrlimit(2)`: soft and hard limit; zeros if the kernel has no such resource.
pub fn limit(resource: u32) -> [u64; 2] {
    let mut current = [0u64; 2];
    let _ = syscall!(nr::PRLIMIT64, 0, resource, 0, current.as_mut_ptr());
    current
}

/// `setrlimit(2)`.
pub fn set_limit(resource: u32, limit: [u64; 2]) -> Result<()> {
    syscall!(nr::SETRLIMIT, resource, limit.as_ptr()).map(drop)
}

/// `prctl(2)` with one of the options that a snapshot may have, all of which take integers.
pub fn set_option(option: u32, a: u64, b: u64) -> Result<()> {
    match PRCTL_OPTIONS.contains(&option) {
        true => syscall!(nr::PRCTL, option, a, b, 0, 0).map(drop),
        false => Err(Errno::INVAL),
    }
}

/// `prctl`: the calling thread's name, zero-terminated if it is shorter.
pub fn set_name(name: &[u8; 16]) {
    const PR_SET_NAME: u32 = 15;
    let _ = syscall!(nr::PRCTL, PR_SET_NAME, name.as_ptr(), 0, 0, 0);
}

/// `prctl`: by how much timers of the calling thread may be late, in nanoseconds; 0: the default.
pub fn set_timer_slack(slack: u32) {
    const PR_SET_TIMERSLACK: u32 = 29;
    let _ = syscall!(nr::PRCTL, PR_SET_TIMERSLACK, slack, 0, 0, 0);
}

/// `membarrier(2)` with a command that registers the process.
pub fn membarrier(command: u64) -> Result<()> {
    syscall!(nr::MEMBARRIER, command).map(drop)
}

/// `mlockall(2)`.
pub fn lock_memory(flags: u64) -> Result<()> {
    syscall!(nr::MLOCKALL, flags).map(drop)
}

/// `setsid(2)`.
pub fn set_session() -> Result<()> {
    syscall!(nr::SETSID).map(drop)
}

/// `getpgid(2)`.
pub fn group_of(pid: u32) -> Result<u32> {
    syscall!(nr::GETPGID, pid).map(|group| group as u32)
}

/// `setpgid(2)` of this process; 0: a group of its own.
pub fn set_group(group: u32) -> Result<()> {
    syscall!(nr::SETPGID, 0, group).map(drop)
}

/// `fchdir(2)`.
pub fn enter_directory(fd: i32) -> Result<()> {
    syscall!(nr::FCHDIR, fd).map(drop)
}

/// `sched_getaffinity(2)`: how many bytes of `mask` the kernel has filled.
pub fn affinity(tid: u32, mask: &mut [u8]) -> Result<usize> {
    syscall!(nr::SCHED_GETAFFINITY, tid, mask.len(), mask.as_mut_ptr())
}

/// `sched_setaffinity(2)`.
pub fn set_affinity(tid: u32, mask: &[u8]) -> Result<()> {
    syscall!(nr::SCHED_SETAFFINITY, tid, mask.len(), mask.as_ptr()).map(drop)
}

/// `sched_setscheduler(2)`.
pub fn set_scheduler(tid: u32, policy: u32, priority: u32) -> Result<()> {
    syscall!(nr::SCHED_SETSCHEDULER, tid, policy, &raw const priority).map(drop)
}

/// `setpriority(2)` of one thread.
pub fn set_nice(tid: u32, nice: i32) -> Result<()> {
    syscall!(nr::SETPRIORITY, PRIO_PROCESS, tid, nice).map(drop)
}

/// `ioprio_set(2)` of one thread.
pub fn set_io_priority(tid: u32, priority: u64) -> Result<()> {
    syscall!(nr::IOPRIO_SET, IOPRIO_WHO_PROCESS, tid, priority).map(drop)
}

/// `capget(2)` of this process: the lower words of its effective, permitted and inheritable set, then the upper ones.
pub fn capabilities() -> Result<[u32; 6]> {
    const VERSION_3: u32 = 0x2008_0522;
    let mut header = [VERSION_3, 0];
    let mut sets = [0u32; 6];
    syscall!(nr::CAPGET, header.as_mut_ptr(), sets.as_mut_ptr())?;
    Ok(sets)
}

/// `setitimer(2)`; `value`: seconds and microseconds of the interval, then of the time that is left.
pub fn set_interval_timer(which: u32, value: &[u64; 4]) -> Result<()> {
    syscall!(nr::SETITIMER, which, value.as_ptr(), 0).map(drop)
}

/// `prctl` (6.15): whether [`create_timer`] makes the timer with the ID that it reads.
pub fn choose_timer_ids(on: bool) -> Result<()> {
    const PR_TIMER_CREATE_RESTORE_IDS: u32 = 77;
    syscall!(nr::PRCTL, PR_TIMER_CREATE_RESTORE_IDS, u64::from(on), 0, 0, 0).map(drop)
}

/// `timer_create(2)` with a `struct sigevent`; stores the ID.
pub fn create_timer(clock: i32, event: &[u64; 8], id: &mut i32) -> Result<()> {
    syscall!(nr::TIMER_CREATE, clock, event.as_ptr(), core::ptr::from_mut(id)).map(drop)
}

/// `timer_delete(2)`.
pub fn delete_timer(id: i32) -> Result<()> {
    syscall!(nr::TIMER_DELETE, id).map(drop)
}

/// `timer_settime(2)`; `value`: seconds and nanoseconds of the interval, then of the time that is left.
pub fn set_timer(id: u32, value: &[u64; 4]) -> Result<()> {
    syscall!(nr::TIMER_SETTIME, id, 0, value.as_ptr(), 0).map(drop)
}

/// `rt_sigqueueinfo(2)`.
pub fn queue_signal(pid: u32, signo: u32, info: &[u8; 128]) -> Result<()> {
    syscall!(nr::RT_SIGQUEUEINFO, pid, signo, info.as_ptr()).map(drop)
}

/// `rt_tgsigqueueinfo(2)`.
pub fn queue_thread_signal(pid: u32, tid: u32, signo: u32, info: &[u8; 128]) -> Result<()> {
    syscall!(nr::RT_TGSIGQUEUEINFO, pid, tid, signo, info.as_ptr()).map(drop)
}

/// `tgkill(2)`.
pub fn signal_thread(pid: u32, tid: u32, signo: u32) -> Result<()> {
    syscall!(nr::TGKILL, pid, tid, signo).map(drop)
}
