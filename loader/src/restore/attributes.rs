//! Attributes that the program has changed: limits, `prctl` settings, scheduling, names, session.
//!
//! The loader sets them at three moments: before it makes the threads, which inherit most of them; per thread; and at
//! the very end those that would hinder the restore itself (limits, a process that is not dumpable, memory that denies
//! executable pages).

use super::RestoreError;
use super::image::Image;
use crate::runtime::print::Out;
use crate::runtime::sys::{self, Errno};
use crate::runtime::{arch, task};
use core::ffi::CStr;
use core::fmt::{self, Write};
use snapfn_format::linux::{PR_SET_DUMPABLE, PR_SET_MDWE, PR_SET_MEMORY_MERGE};
use snapfn_format::snap::*;

const SCHED_RESET_ON_FORK: u32 = 0x4000_0000;

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
pub(super) fn raise_limits(image: &Image<'_>) {
    for setting in image.settings.iter().filter(|setting| setting.kind == SETTING_RLIMIT) {
        let [soft, hard] = task::limit(setting.which);
        if setting.a > soft {
            let _ = task::set_limit(setting.which, [setting.a.min(hard), hard]);
        }
    }
}

/// Sets the attributes that threads inherit, and those of the process.
pub(super) fn early<'a>(image: &Image<'a>) -> Result<(), RestoreError<'a>> {
    for setting in image.settings.iter().filter(|setting| !is_late(setting)) {
        let Setting { kind, which, a, b } = *setting;
        match kind {
            // Merging equal pages needs a capability, and is only advice: the one such option here.
            SETTING_PRCTL if which == PR_SET_MEMORY_MERGE => drop(task::set_option(which, a, b)),
            SETTING_PRCTL => {
                task::set_option(which, a, b).map_err(|errno| RestoreError::Attribute("prctl option", which, errno))?;
            }
            SETTING_PERSONALITY => {
                sys::personality(a as u32).map_err(|errno| RestoreError::System("personality", errno))?;
            }
            SETTING_OOM_SCORE => write_file(c"/proc/self/oom_score_adj", format_args!("{}", a as i64)),
            SETTING_COREDUMP_FILTER => write_file(c"/proc/self/coredump_filter", format_args!("{a:#x}")),
            SETTING_MEMBARRIER => {
                task::membarrier(a)
                    .map_err(|errno| RestoreError::Attribute("registration for membarrier command", a as u32, errno))?;
            }
            SETTING_XCOMP_PERM => {
                arch::request_state(a)
                    .map_err(|errno| RestoreError::Attribute("permission for register state", a as u32, errno))?;
            }
            SETTING_SETSID => set_sid(),
            SETTING_SETPGID => drop(task::set_group(0)),
            _ => {}
        }
    }
    Ok(())
}

/// Sets the attributes that would hinder the restore: just before the jump.
pub(super) fn late<'a>(image: &Image<'a>) -> Result<(), RestoreError<'a>> {
    for setting in image.settings.iter().filter(|setting| is_late(setting)) {
        let Setting { kind, which, a, b } = *setting;
        if kind == SETTING_MLOCKALL {
            task::lock_memory(a).map_err(|errno| RestoreError::Attribute("mlockall with flags", a as u32, errno))?;
        } else if kind == SETTING_PRCTL {
            task::set_option(which, a, b).map_err(|errno| RestoreError::Attribute("prctl option", which, errno))?;
        } else if task::set_limit(which, [a, b]).is_err() {
            // Without the right to raise the hard limit: keep it, and set the soft one to the lower of both.
            let hard = task::limit(which)[1].min(b);
            task::set_limit(which, [a.min(hard), hard])
                .map_err(|errno| RestoreError::Attribute("setrlimit of resource", which, errno))?;
        }
    }
    Ok(())
}

/// A session of its own. The leader of a process group (what a shell starts) first joins its parent's group.
fn set_sid() {
    if task::set_session() == Err(Errno::PERM) {
        let _ = task::group_of(sys::getppid()).and_then(task::set_group);
        let _ = task::set_session();
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
            task::set_name(&self.comm);
        }
        if self.timer_slack != thread.timer_slack {
            self.timer_slack = thread.timer_slack;
            // 0 stands for the default: the starter's value.
            task::set_timer_slack(self.timer_slack);
        }
    }
}

/// Lets the thread `tid`, which has its starter's CPUs, run on those of them that are in `wanted`.
///
/// The mask of a starter that restricts the program (a container, taskset) limits an instance, as it limits a program
/// that the starter executes. If none of the CPUs is left, that mask stays.
#[cold]
#[inline(never)]
fn restrict(tid: u32, wanted: &[u8]) {
    /// Bytes of a mask of as many CPUs as a kernel can have.
    const MASK_MAX: usize = 1024;
    let mut mask = [0u8; MASK_MAX];
    let Some(mask) = task::affinity(tid, &mut mask).ok().and_then(|len| mask.get_mut(..len)) else { return };
    let wanted = wanted.iter().chain(core::iter::repeat(&0));
    mask.iter_mut().zip(wanted).for_each(|(byte, wanted)| *byte &= *wanted);
    if mask.iter().any(|byte| *byte != 0) {
        let _ = task::set_affinity(tid, mask);
    }
}

/// Scheduling, affinity and I/O priority of thread `index`, which is `tid` in this instance.
pub(super) fn thread<'a>(image: &Image<'a>, index: usize, tid: u32) -> Result<(), RestoreError<'a>> {
    let Some(thread) = image.threads.get(index) else { return Ok(()) };
    if thread.affinity.len != 0 {
        restrict(tid, image.bytes(thread.affinity));
    }
    if thread.policy != 0 {
        let policy = thread.policy - 1;
        let priority = thread.priority;
        task::set_scheduler(tid, policy, priority)
            .map_err(|errno| RestoreError::Attribute("scheduling policy", policy & !SCHED_RESET_ON_FORK, errno))?;
        if priority == 0 {
            // Lowering it below the starter's needs a right that the starter may lack: it then stays as it is.
            let _ = task::set_nice(tid, thread.nice as i32);
        }
    }
    for setting in image.settings {
        if setting.kind == SETTING_IOPRIO && setting.which as usize == index {
            let _ = task::set_io_priority(tid, setting.a);
        }
    }
    Ok(())
}
