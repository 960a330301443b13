//! Descriptors.

use super::RestoreError;
use crate::sys;
use core::ffi::CStr;
use snapfn_format::snap::*;

/// Recreates every descriptor of the plan, in table order. Descriptors that the starter handed in and the plan
/// does not name stay open, as with `execve`.
///
/// # Safety
/// The image is mapped; the loader's own descriptors are closed.
pub(super) unsafe fn restore<'a>(plan: &Plan<'a>) -> Result<(), RestoreError<'a>> {
    for record in plan.fds {
        let fd = record.fd as i32;
        let cloexec = record.flags & sys::O_CLOEXEC;
        let fail = |what| move |errno| RestoreError::Fd(record.fd, what, errno);
        match record.kind {
            FD_INHERIT if record.source == record.fd => {}
            // A starter without that descriptor gives the program none either.
            FD_INHERIT => drop(sys::dup3(record.source as i32, fd, cloexec)),
            FD_DUP => {
                let source = plan.fds.get(record.source as usize).map_or(-1, |source| source.fd as i32);
                sys::dup3(source, fd, cloexec).map_err(fail("dup"))?;
            }
            FD_CLOSED => sys::close(fd),
            FD_PATH => {
                let path = CStr::from_bytes_with_nul(plan.bytes(record.path)).unwrap_or_default();
                let opened = sys::openat(sys::AT_FDCWD, path, record.flags, 0)
                    .map_err(|errno| RestoreError::Path("cannot open again", path.to_bytes(), errno))?;
                if record.offset != 0 {
                    sys::lseek(opened, record.offset).map_err(fail("lseek"))?;
                }
                place(opened, fd, cloexec).map_err(fail("dup"))?;
            }
            _ => return Err(RestoreError::Fd(record.fd, "kind of descriptor", sys::Errno::NOSYS)),
        }
    }
    Ok(())
}

/// Moves descriptor `from` to number `to`.
fn place(from: i32, to: i32, cloexec: u32) -> sys::Result<()> {
    if from == to {
        return Ok(());
    }
    sys::dup3(from, to, cloexec)?;
    sys::close(from);
    Ok(())
}
