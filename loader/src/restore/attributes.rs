//! Attributes that the program has changed: limits, `prctl` settings, scheduling, names, session.
//!
//! The loader sets them at three moments: before it makes the threads, which inherit most of them; per thread; and at
//! the very end those that would hinder the restore itself (limits, a process that is not dumpable, memory that denies
//! executable pages).

use super::RestoreError;
use crate::runtime::print::Out;
use crate::runtime::sys::{self, Errno, PR_SET_NAME, PR_SET_TIMERSLACK, nr};
use core::ffi::CStr;
use core::fmt::{self, Write};
use snapfn_format::linux::{PR_SET_DUMPABLE, PR_SET_MDWE, PR_SET_MEMORY_MERGE};
use snapfn_format::snap::*;

/// Target of `setpriority` and `ioprio_set`: one thread.
const PRIO_PROCESS: u64 = 0;
const IOPRIO_WHO_PROCESS: u64 = 1;
const SCHED_RESET_ON_FORK: u32 = 0x4000_0000;

/// `{soft, hard}` of a resource.
fn limit(resource: u32) -> [u64; 2] {
    let mut current = [0u64; 2];
    let address = current.as_mut_ptr() as u64;
    // SAFETY: a live local of the expected size.
    let _ = unsafe { sys::raw(nr::PRLIMIT64, [0, u64::from(resource), 0, address, 0, 0]) };
    current
}

fn set_limit(resource: u32, limit: [u64; 2]) -> sys::Result<()> {
    // SAFETY: a live local of the expected size.
    unsafe { sys::raw(nr::SETRLIMIT, [u64::from(resource), limit.as_ptr() as u64, 0, 0, 0, 0]) }.map(drop)
}

fn write_file(path: &CStr, value: fmt::Arguments<'_>) {
    if let Ok(fd) = sys::openat(sys::AT_FDCWD, path, sys::O_WRONLY | sys::O_CLOEXEC, 0) {
        let _ = Out::new(fd).write_fmt(value);
        sys::close(fd);
    }
}

fn is_late(setting: &Setting) -> bool {
    matches!(setting.kind, SETTING_RLIMIT | SETTING_MLOCKALL)
        || (setting.kind == SETTING_PRCTL && matches!(setting.which, PR_SET_DUMPABLE | PR_SET_MDWE))
}

/// Raises limits that the restore itself may need, such as that on descriptors.
pub(super) fn raise_limits(plan: &Plan<'_>) {
    for setting in plan.settings.iter().filter(|setting| setting.kind == SETTING_RLIMIT) {
        let [soft, hard] = limit(setting.which);
        if setting.a > soft {
            let _ = set_limit(setting.which, [setting.a.min(hard), hard]);
        }
    }
}

/// Sets the attributes that threads inherit, and those of the process.
///
/// # Safety
/// All mappings are made.
pub(super) unsafe fn early<'a>(plan: &Plan<'a>) -> Result<(), RestoreError<'a>> {
    for setting in plan.settings.iter().filter(|setting| !is_late(setting)) {
        let Setting { kind, which, a, b } = *setting;
        match kind {
            // Merging equal pages needs a capability, and is only advice: the one such option here.
            SETTING_PRCTL if which == PR_SET_MEMORY_MERGE => {
                // SAFETY: integers only.
                let _ = unsafe { sys::prctl(which, a, b, 0, 0) };
            }
            SETTING_PRCTL => {
                // SAFETY: options of the snapshot that take integers.
                unsafe { sys::prctl(which, a, b, 0, 0) }
                    .map_err(|errno| RestoreError::Attribute("prctl option", which, errno))?;
            }
            SETTING_PERSONALITY => {
                sys::personality(a as u32).map_err(|errno| RestoreError::System("personality", errno))?;
            }
            SETTING_OOM_SCORE => write_file(c"/proc/self/oom_score_adj", format_args!("{}", a as i64)),
            SETTING_COREDUMP_FILTER => write_file(c"/proc/self/coredump_filter", format_args!("{a:#x}")),
            SETTING_MEMBARRIER => {
                // SAFETY: integers only.
                unsafe { sys::raw(nr::MEMBARRIER, [a, 0, 0, 0, 0, 0]) }
                    .map_err(|errno| RestoreError::Attribute("registration for membarrier command", a as u32, errno))?;
            }
            SETTING_XCOMP_PERM => {
                const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
                // SAFETY: integers only.
                unsafe { sys::raw(nr::ARCH_PRCTL, [ARCH_REQ_XCOMP_PERM, a, 0, 0, 0, 0]) }
                    .map_err(|errno| RestoreError::Attribute("permission for register state", a as u32, errno))?;
            }
            SETTING_SETSID => set_sid(),
            SETTING_SETPGID => {
                // SAFETY: integers only.
                let _ = unsafe { sys::raw(nr::SETPGID, [0; 6]) };
            }
            _ => {}
        }
    }
    Ok(())
}

/// Sets the attributes that would hinder the restore.
///
/// # Safety
/// The jump is the only step left.
pub(super) unsafe fn late<'a>(plan: &Plan<'a>) -> Result<(), RestoreError<'a>> {
    for setting in plan.settings.iter().filter(|setting| is_late(setting)) {
        let Setting { kind, which, a, b } = *setting;
        if kind == SETTING_MLOCKALL {
            // SAFETY: flags that concern later mappings only.
            unsafe { sys::raw(nr::MLOCKALL, [a, 0, 0, 0, 0, 0]) }
                .map_err(|errno| RestoreError::Attribute("mlockall with flags", a as u32, errno))?;
        } else if kind == SETTING_PRCTL {
            // SAFETY: options that take integers.
            unsafe { sys::prctl(which, a, b, 0, 0) }
                .map_err(|errno| RestoreError::Attribute("prctl option", which, errno))?;
        } else if set_limit(which, [a, b]).is_err() {
            // Without the right to raise the hard limit: keep it, and set the soft one to the lower of both.
            let hard = limit(which)[1].min(b);
            set_limit(which, [a.min(hard), hard])
                .map_err(|errno| RestoreError::Attribute("setrlimit of resource", which, errno))?;
        }
    }
    Ok(())
}

/// A session of its own. The leader of a process group (what a shell starts) first joins its parent's group.
fn set_sid() {
    // SAFETY: integers only.
    let call = |number, a, b| unsafe { sys::raw(number, [a, b, 0, 0, 0, 0]) };
    if call(nr::SETSID, 0, 0) == Err(Errno::PERM) {
        let group = call(nr::GETPPID, 0, 0).and_then(|parent| call(nr::GETPGID, parent as u64, 0));
        let _ = group.and_then(|group| call(nr::SETPGID, 0, group as u64));
        let _ = call(nr::SETSID, 0, 0);
    }
}

/// Sets the attributes that a new thread inherits from its maker: to the next thread's before it is made, to the main
/// thread's last.
#[derive(Debug)]
pub(super) struct Inherited {
    comm: [u8; 16],
    timer_slack: u32,
}

impl Inherited {
    /// What this process has.
    pub(super) fn new() -> Self {
        Inherited { comm: [0; 16], timer_slack: 0 }
    }

    /// Makes the calling thread's what `thread` has.
    pub(super) fn become_like(&mut self, thread: &Thread) {
        if self.comm != thread.comm {
            self.comm = thread.comm;
            // SAFETY: 16 bytes, zero-terminated (validated).
            let _ = unsafe { sys::prctl(PR_SET_NAME, self.comm.as_ptr() as u64, 0, 0, 0) };
        }
        if self.timer_slack != thread.timer_slack {
            self.timer_slack = thread.timer_slack;
            // 0 stands for the default: the starter's value. SAFETY: integers only.
            let _ = unsafe { sys::prctl(PR_SET_TIMERSLACK, u64::from(self.timer_slack), 0, 0, 0) };
        }
    }
}

/// Lets the thread `tid`, which has its starter's CPUs, run on those of them that are in `wanted`.
///
/// The mask of a starter that restricts the program (a container, taskset) limits an instance, as it limits a program
/// that the starter executes. If none of the CPUs is left, that mask stays.
#[cold]
#[inline(never)]
fn restrict(tid: u64, wanted: &[u8]) {
    /// Bytes of a mask of as many CPUs as a kernel can have.
    const MASK_MAX: usize = 1024;
    let mut mask = [0u8; MASK_MAX];
    // SAFETY: live memory of the size that is passed.
    let call = |number, len: usize, mask: &mut [u8; MASK_MAX]| unsafe {
        sys::raw(number, [tid, len as u64, mask.as_mut_ptr() as u64, 0, 0, 0])
    };
    let Ok(len) = call(nr::SCHED_GETAFFINITY, MASK_MAX, &mut mask) else { return };
    let wanted = wanted.iter().chain(core::iter::repeat(&0));
    mask.iter_mut().zip(wanted).for_each(|(byte, wanted)| *byte &= *wanted);
    if mask.iter().any(|byte| *byte != 0) {
        let _ = call(nr::SCHED_SETAFFINITY, len, &mut mask);
    }
}

/// Scheduling, affinity and I/O priority of thread `index`.
///
/// # Safety
/// `tid` is a thread of this process.
pub(super) unsafe fn thread<'a>(plan: &Plan<'a>, index: usize, tid: u32) -> Result<(), RestoreError<'a>> {
    let Some(thread) = plan.threads.get(index) else { return Ok(()) };
    let tid = u64::from(tid);
    // SAFETY: integers, and live memory of the sizes that are passed.
    let call = |number, args: [u64; 6]| unsafe { sys::raw(number, args) };
    if thread.affinity.len != 0 {
        restrict(tid, plan.bytes(thread.affinity));
    }
    if thread.policy != 0 {
        let policy = thread.policy - 1;
        let priority = thread.priority;
        call(nr::SCHED_SETSCHEDULER, [tid, u64::from(policy), &raw const priority as u64, 0, 0, 0])
            .map_err(|errno| RestoreError::Attribute("scheduling policy", policy & !SCHED_RESET_ON_FORK, errno))?;
        if priority == 0 {
            // Lowering it below the starter's needs a right that the starter may lack: it then stays as it is.
            let _ = call(nr::SETPRIORITY, [PRIO_PROCESS, tid, i64::from(thread.nice as i32) as u64, 0, 0, 0]);
        }
    }
    for setting in plan.settings {
        if setting.kind == SETTING_IOPRIO && setting.which as usize == index {
            let _ = call(nr::IOPRIO_SET, [IOPRIO_WHO_PROCESS, tid, setting.a, 0, 0, 0]);
        }
    }
    Ok(())
}
