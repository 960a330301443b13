//! What the kernel keeps per process and every restore sets: memory layout, working directory, umask.

use super::RestoreError;
use super::instance::Vectors;
use crate::runtime::sys::{self, MmMap};
use core::ffi::CStr;
use snapfn_format::snap::*;

/// # Safety
/// The plan's image is mapped.
pub(super) unsafe fn apply<'a>(plan: &Plan<'a>, vectors: &Vectors) -> Result<(), RestoreError<'a>> {
    let p = &plan.header.process;
    // A title that the program has written over its own strings is what others see.
    let titled = |kind| plan.settings.iter().find(|setting| setting.kind == kind).map(|setting| (setting.a, setting.b));
    let (arg_start, arg_end) = titled(SETTING_ARGUMENTS).unwrap_or((vectors.arg_start, vectors.arg_end));
    let (env_start, env_end) = titled(SETTING_ENVIRONMENT).unwrap_or((vectors.env_start, vectors.env_end));
    let map = MmMap {
        start_code: p.start_code,
        end_code: p.end_code,
        start_data: p.start_data,
        end_data: p.end_data,
        start_brk: p.start_brk,
        brk: p.brk,
        start_stack: p.start_stack,
        arg_start,
        arg_end,
        env_start,
        env_end,
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
    Ok(())
}
