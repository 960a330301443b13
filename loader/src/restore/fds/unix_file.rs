//! Unix sockets with a name in the file system. Any user who may write to the directory can exchange names at any
//! moment, so this module changes only open files, or entries of an open directory.

use super::calls;
use crate::restore::binds;
use crate::runtime::sys::{self, Errno, Stat};
use core::ffi::CStr;

const AF_UNIX: u64 = 1;
const S_IFMT: u32 = 0o170000;
const S_IFSOCK: u32 = 0o140000;
/// Mode of a new socket, which `bind` uses for the file, less the umask.
const SOCKET_MODE: u64 = 0o777;
/// Opens a name without any effect on the file behind it.
const LOOK: u32 = sys::O_PATH | sys::O_NOFOLLOW | sys::O_CLOEXEC;

/// Binds `socket` to `at`, where it gets `mode` (0: that of the umask). It replaces a file that is left there from a
/// socket of this user.
pub(super) fn bind(socket: i32, kind: u64, at: &[u8], mode: u64) -> sys::Result<()> {
    let Some(name) = binds::unix_path(at) else { return calls::bind(socket, at) };
    let result = with_mode(socket, mode, || calls::bind(socket, at));
    if result == Err(Errno::ADDRINUSE) && remove_stale(kind, name)? {
        return with_mode(socket, mode, || calls::bind(socket, at));
    }
    result
}

/// The mode is set before the file has a name: later the name might mean another file.
fn with_mode(socket: i32, mode: u64, bind: impl FnOnce() -> sys::Result<()>) -> sys::Result<()> {
    if mode == 0 {
        return bind();
    }
    calls::set_mode(socket, mode)?;
    let umask = sys::umask(0);
    let result = bind();
    sys::umask(umask);
    // The descriptor's mode is as before: only the file's was to change.
    calls::set_mode(socket, SOCKET_MODE).and(result)
}

/// Removes the file of a socket of this user that no process serves any more. Any other file of that name stays, and so
/// does another user's socket.
///
/// The entry is removed from the directory that was opened. A user who can exchange it at the last moment may remove it
/// as well. Where only owners may (sticky), other users cannot exchange this user's file.
fn remove_stale(kind: u64, name: &[u8]) -> sys::Result<bool> {
    let mut path = [0u8; binds::ADDRESS_MAX];
    let Some(slot) = path.get_mut(..name.len()) else { return Ok(false) };
    slot.copy_from_slice(name);
    let cut = name.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    let mut directory = [0u8; binds::ADDRESS_MAX];
    directory.iter_mut().zip(name.get(..cut).unwrap_or_default()).for_each(|(to, from)| *to = *from);
    if cut == 0 {
        directory[0] = b'.';
    }
    let text = |bytes| CStr::from_bytes_until_nul(bytes).map_err(|_| Errno::INVAL);
    let entry = text(path.get(cut..).unwrap_or_default())?;
    let directory = sys::openat(sys::AT_FDCWD, text(&directory)?, sys::O_PATH | sys::O_DIRECTORY | sys::O_CLOEXEC, 0)?;
    let found = sys::openat(directory, entry, LOOK, 0);
    let removed = match found {
        Ok(file) => {
            let stale = sys::fstat(file).is_ok_and(is_ours) && is_refused(kind, file);
            sys::close(file);
            if stale { calls::unlink(directory, entry).map(|()| true) } else { Ok(false) }
        }
        Err(Errno::NOENT) => Ok(true),
        Err(errno) => Err(errno),
    };
    sys::close(directory);
    removed
}

fn is_ours(stat: Stat) -> bool {
    stat.mode & S_IFMT == S_IFSOCK && stat.uid == sys::geteuid()
}

/// Whether no process serves the socket whose file is open.
fn is_refused(kind: u64, file: i32) -> bool {
    let Ok(probe) = calls::socket(AF_UNIX, kind, 0) else { return false };
    let answer = calls::with_proc_path(file, |path| {
        let mut address = [0u8; 34];
        address[0] = AF_UNIX as u8;
        let bytes = path.to_bytes_with_nul();
        let slot = address.get_mut(2..2 + bytes.len()).ok_or(Errno::INVAL)?;
        slot.copy_from_slice(bytes);
        calls::connect(probe, address.get(..2 + bytes.len()).unwrap_or_default())
    });
    sys::close(probe);
    answer == Err(Errno::CONNREFUSED)
}
