//! What the kernel keeps per process: memory layout, working directory, umask, dispositions, attributes.

use super::instance::Vectors;
use super::{MmMap, RestoreError};
use crate::sys::{self, nr};
use core::ffi::CStr;
use core::fmt::Write;
use snapfn_format::snap::*;

/// # Safety
/// The plan's image is mapped.
pub(super) unsafe fn apply<'a>(plan: &Plan<'a>, vectors: &Vectors) -> Result<(), RestoreError<'a>> {
    let p = &plan.header.process;
    let map = MmMap {
        start_code: p.start_code,
        end_code: p.end_code,
        start_data: p.start_data,
        end_data: p.end_data,
        start_brk: p.start_brk,
        brk: p.brk,
        start_stack: p.start_stack,
        arg_start: vectors.arg_start,
        arg_end: vectors.arg_end,
        env_start: vectors.env_start,
        env_end: vectors.env_end,
        auxv: p.auxv,
        auxv_size: p.auxv_len as u32,
        exe_fd: u32::MAX,
    };
    // SAFETY: addresses of the image.
    unsafe { map.apply() }
        .map_err(|errno| RestoreError::System("prctl(PR_SET_MM_MAP), needs CONFIG_CHECKPOINT_RESTORE", errno))?;
    let cwd = plan.bytes(p.cwd);
    if let Ok(path) = CStr::from_bytes_with_nul(cwd) {
        sys::chdir(path).map_err(|errno| RestoreError::Path("working directory", path.to_bytes(), errno))?;
    }
    if p.umask != u32::MAX {
        sys::umask(p.umask);
    }
    if let Some(main) = plan.threads.first() {
        // PR_SET_NAME
        // SAFETY: 16 bytes, zero-terminated (validated).
        let _ = unsafe { sys::prctl(15, main.comm.as_ptr() as u64, 0, 0, 0) };
    }
    for setting in plan.settings {
        // SAFETY: attributes of this process only.
        unsafe { attribute(setting) }?;
    }
    Ok(())
}

unsafe fn attribute<'a>(setting: &Setting) -> Result<(), RestoreError<'a>> {
    let Setting { kind, which, a, b } = *setting;
    let call = |number, args: [u64; 6]| {
        // SAFETY: integers, and pointers to live locals.
        unsafe { sys::raw(number, args) }
    };
    match kind {
        SETTING_PRCTL => {
            call(nr::PRCTL, [u64::from(which), a, b, 0, 0, 0]).map_err(|e| RestoreError::System("prctl", e))?;
        }
        SETTING_RLIMIT => {
            let mut limit = [a, b];
            let address = limit.as_mut_ptr() as u64;
            if call(nr::SETRLIMIT, [u64::from(which), address, 0, 0, 0, 0]).is_err() {
                // Not allowed to raise the hard limit: keep it, and bring the soft one as near as it goes.
                let mut current = [0u64; 2];
                let _ = call(nr::PRLIMIT64, [0, u64::from(which), 0, current.as_mut_ptr() as u64, 0, 0]);
                limit = [a.min(current[1]), current[1].min(b)];
                call(nr::SETRLIMIT, [u64::from(which), limit.as_ptr() as u64, 0, 0, 0, 0])
                    .map_err(|e| RestoreError::System("setrlimit", e))?;
            }
        }
        SETTING_IOPRIO => {
            let _ = call(nr::IOPRIO_SET, [1, 0, a, 0, 0, 0]);
        }
        SETTING_PERSONALITY => {
            sys::personality(a as u32).map_err(|e| RestoreError::System("personality", e))?;
        }
        SETTING_OOM_SCORE => {
            if let Ok(fd) = sys::openat(sys::AT_FDCWD, c"/proc/self/oom_score_adj", 1 | sys::O_CLOEXEC, 0) {
                let _ = write!(crate::print::Out::new(fd), "{}", a as i64);
                sys::close(fd);
            }
        }
        SETTING_SETSID => {
            // A process group leader cannot lead a new session; it then stays in its starter's.
            let _ = call(nr::SETSID, [0; 6]);
        }
        SETTING_SETPGID => {
            let _ = call(nr::SETPGID, [0; 6]);
        }
        _ => {}
    }
    Ok(())
}

/// Dispositions other than the default.
///
/// # Safety
/// All signals are blocked until the frames are loaded.
pub(super) unsafe fn signals<'a>(plan: &Plan<'a>) -> Result<(), RestoreError<'a>> {
    for action in plan.sigactions {
        let kernel = [action.handler, action.flags, action.restorer, action.mask];
        // SAFETY: the program's own handlers.
        unsafe { sys::rt_sigaction(action.signo, &kernel) }
            .map_err(|errno| RestoreError::System("rt_sigaction", errno))?;
    }
    Ok(())
}
