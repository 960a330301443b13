//! Restores the state per process that every snapshot has: memory layout, working directory, umask; and the executable.

use super::RestoreError;
use super::image::Image;
use super::instance::Vectors;
use crate::runtime::sys::{self, MmMap};
use crate::runtime::task;
use core::ffi::CStr;
use snapfn_format::snap::*;

/// The memory layout that /proc shows; its executable stays.
pub(super) fn layout(image: &Image<'_>, vectors: &Vectors) -> MmMap {
    let p = &image.header.process;
    // A title that the program has written over its own strings is visible in /proc.
    let titled =
        |kind| image.settings.iter().find(|setting| setting.kind == kind).map(|setting| (setting.a, setting.b));
    let (arg_start, arg_end) = titled(SETTING_ARGUMENTS).unwrap_or((vectors.arg_start, vectors.arg_end));
    let (env_start, env_end) = titled(SETTING_ENVIRONMENT).unwrap_or((vectors.env_start, vectors.env_end));
    MmMap {
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
    }
}

pub(super) fn apply<'a>(image: &Image<'a>, vectors: &Vectors) -> Result<(), RestoreError<'a>> {
    let p = &image.header.process;
    layout(image, vectors)
        .apply()
        .map_err(|errno| RestoreError::System("prctl(PR_SET_MM_MAP), needs CONFIG_CHECKPOINT_RESTORE", errno))?;
    let cwd = image.bytes(p.cwd);
    if let Ok(path) = CStr::from_bytes_with_nul(cwd) {
        sys::chdir(path).map_err(|errno| RestoreError::Path("working directory", path.to_bytes(), errno))?;
    }
    if p.umask != u32::MAX {
        sys::umask(p.umask);
    }
    Ok(())
}

/// The program's own file, where an instance can have it as /proc/self/exe and the program asks for that: open, and at
/// a number that the program does not have.
///
/// The kernel lets a process change that link with CAP_CHECKPOINT_RESTORE (Linux 5.9) or CAP_SYS_ADMIN in its user
/// namespace. Any other instance keeps the loader's, and so does one whose page of stubs is too old to have the one for
/// that. Returns the address of that stub, and the descriptor.
pub(super) fn own_exe(image: &Image<'_>) -> Option<(u64, i32)> {
    if !image.header.looks_up_itself() {
        return None;
    }
    let stub = image.stub(resident::STUB_FINISH_EXE)?;
    if !may_change_exe() {
        return None;
    }
    Some((stub, open_exe(image.bytes(image.header.process.exe))?))
}

/// Apart, so that no other start has room for the path on its stack.
#[cold]
#[inline(never)]
fn open_exe(exe: &[u8]) -> Option<i32> {
    const PATH_MAX: usize = 4096;
    let mut path = [0u8; PATH_MAX];
    path.get_mut(..exe.len()).filter(|_| exe.len() < PATH_MAX)?.copy_from_slice(exe);
    let path = CStr::from_bytes_until_nul(&path).ok()?;
    let fd = sys::openat(sys::AT_FDCWD, path, sys::O_RDONLY | sys::O_NONBLOCK | sys::O_CLOEXEC, 0).ok()?;
    match sys::fstat(fd) {
        Ok(stat) if stat.is_regular() => Some(fd),
        _ => {
            sys::close(fd);
            None
        }
    }
}

#[cold]
fn may_change_exe() -> bool {
    const CAP_SYS_ADMIN: u32 = 1 << 21;
    /// Bit of the second word.
    const CAP_CHECKPOINT_RESTORE: u32 = 1 << (40 - 32);
    task::capabilities().is_ok_and(|sets| sets[0] & CAP_SYS_ADMIN != 0 || sets[3] & CAP_CHECKPOINT_RESTORE != 0)
}
