//! A user namespace with this user and group alone in it, which lets an ordinary user make namespaces of other kinds;
//! and the capabilities that come with it.
#![allow(unsafe_code)] // system calls

use crate::runtime::sys::{self, Errno, nr};
use core::ffi::CStr;
use core::fmt::{self, Write};

/// `unshare(2)`: a user namespace.
pub(super) const CLONE_NEWUSER: u64 = 0x1000_0000;

/// What was tried, and the kernel's answer.
pub(super) type Failed = (&'static str, Errno);

pub(super) fn call(number: usize, args: [u64; 5]) -> sys::Result<u64> {
    let [a, b, c, d, e] = args;
    // SAFETY: the arguments are integers, and addresses of live locals of the callers.
    unsafe { sys::raw(number, [a, b, c, d, e, 0]) }.map(|value| value as u64)
}

/// A line for a file that wants it in one `write`.
struct Line {
    len: usize,
    bytes: [u8; 64],
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

pub(super) fn write_file(path: &CStr, text: fmt::Arguments<'_>) -> sys::Result<()> {
    let mut line = Line { len: 0, bytes: [0; 64] };
    line.write_fmt(text).map_err(|fmt::Error| Errno::INVAL)?;
    let fd = sys::openat(sys::AT_FDCWD, path, sys::O_WRONLY | sys::O_CLOEXEC, 0)?;
    let written = sys::write(fd, line.bytes.get(..line.len).unwrap_or_default());
    sys::close(fd);
    written.map(drop)
}

/// Capability sets of this process, as `capget` and `capset` have them.
pub(super) struct Capabilities {
    header: [u32; 2],
    sets: [u32; 6],
}

impl Capabilities {
    const VERSION_3: u32 = 0x2008_0522;

    pub(super) fn get() -> Self {
        let mut caps = Capabilities { header: [Self::VERSION_3, 0], sets: [0; 6] };
        let _ = call(nr::CAPGET, [caps.header.as_mut_ptr() as u64, caps.sets.as_mut_ptr() as u64, 0, 0, 0]);
        caps
    }

    pub(super) fn set(&mut self) -> sys::Result<()> {
        call(nr::CAPSET, [self.header.as_mut_ptr() as u64, self.sets.as_ptr() as u64, 0, 0, 0]).map(drop)
    }
}

/// Makes namespaces of the kinds in `flags`, in a user namespace of this user if it may not make them else; whether
/// there is a user namespace now.
pub(super) fn unshare(flags: u64, what: &'static str) -> Result<bool, Failed> {
    let step = |what| move |errno| (what, errno);
    let ids = [nr::GETUID, nr::GETGID].map(|number| call(number, [0; 5]).unwrap_or(0));
    match call(nr::UNSHARE, [flags, 0, 0, 0, 0]) {
        Ok(_) => return Ok(false),
        Err(Errno::PERM) => {}
        Err(errno) => return Err((what, errno)),
    }
    call(nr::UNSHARE, [CLONE_NEWUSER | flags, 0, 0, 0, 0]).map_err(step(what))?;
    write_file(c"/proc/self/setgroups", format_args!("deny")).map_err(step("/proc/self/setgroups"))?;
    let [uid, gid] = ids;
    write_file(c"/proc/self/uid_map", format_args!("{uid} {uid} 1")).map_err(step("/proc/self/uid_map"))?;
    write_file(c"/proc/self/gid_map", format_args!("{gid} {gid} 1")).map_err(step("/proc/self/gid_map"))?;
    Ok(true)
}
