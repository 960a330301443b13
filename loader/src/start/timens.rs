//! `--timens`: CLOCK_MONOTONIC and CLOCK_BOOTTIME that do not run backwards from the snapshot to the instance.
//!
//! On a host with a shorter uptime the clocks have smaller values, and deadlines in the program's memory lie far ahead.
//! A time namespace moves both clocks forwards by the difference. To make one needs CAP_SYS_ADMIN, or a user namespace
//! with this user alone in it. `setns` lets this process enter it, before it has mapped any part of the program.
//! Capabilities are then set back to what they were.
#![allow(unsafe_code)] // system calls

use crate::runtime::sys::{self, Errno, nr};
use core::ffi::CStr;
use core::fmt::{self, Write};
use snapfn_format::snap::Process;

const CLONE_NEWTIME: u64 = 0x80;
const CLONE_NEWUSER: u64 = 0x1000_0000;
const SECOND: i64 = 1_000_000_000;

/// Name in `/proc/self/timens_offsets` and number of each clock.
const CLOCKS: [(&str, u64); 2] = [("monotonic", 1), ("boottime", 7)];

/// What could not be done.
#[derive(Clone, Copy, Debug)]
pub struct TimensError(&'static str, Errno);

impl fmt::Display for TimensError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--timens: {}: {}", self.0, self.1)?;
        f.write_str(match self.1 {
            Errno::PERM | Errno::ACCES => ", allow user namespaces or start it with CAP_SYS_ADMIN and CAP_SYS_TIME",
            Errno::INVAL | Errno::NOSYS | Errno::NOENT => ", this needs Linux 5.6 with time and user namespaces",
            _ => "",
        })
    }
}

fn call(number: usize, args: [u64; 3]) -> sys::Result<usize> {
    // SAFETY: integers, and live locals of the callers.
    unsafe { sys::raw(number, [args[0], args[1], args[2], 0, 0, 0]) }
}

fn now(clock: u64) -> i64 {
    let mut time = [0i64; 2];
    let address = time.as_mut_ptr() as u64;
    let _ = call(nr::CLOCK_GETTIME, [clock, address, 0]);
    time[0] * SECOND + time[1]
}

/// A line for a file that needs it in one `write`.
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

fn write_file(path: &CStr, text: fmt::Arguments<'_>) -> sys::Result<()> {
    let mut line = Line { len: 0, bytes: [0; 64] };
    line.write_fmt(text).map_err(|fmt::Error| Errno::INVAL)?;
    let fd = sys::openat(sys::AT_FDCWD, path, sys::O_WRONLY | sys::O_CLOEXEC, 0)?;
    let written = sys::write(fd, line.bytes.get(..line.len).unwrap_or_default());
    sys::close(fd);
    written.map(drop)
}

/// The offset of `clock` in the time namespace that this process comes from, in nanoseconds.
fn present_offset(clock: &str) -> i64 {
    let mut buffer = [0u8; 256];
    let Ok(fd) = sys::openat(sys::AT_FDCWD, c"/proc/self/timens_offsets", sys::O_CLOEXEC, 0) else { return 0 };
    // SAFETY: a live local.
    let len = unsafe { sys::pread_raw(fd, buffer.as_mut_ptr() as u64, buffer.len() as u64, 0) }.unwrap_or(0);
    sys::close(fd);
    let text = buffer.get(..len).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or_default();
    text.lines()
        .find_map(|line| {
            let mut words = line.strip_prefix(clock)?.split_ascii_whitespace();
            let (seconds, rest) = (words.next()?.parse::<i64>().ok()?, words.next()?.parse::<i64>().ok()?);
            Some(seconds * SECOND + rest)
        })
        .unwrap_or(0)
}

/// Capability sets of this process, in the form of `capget` and `capset`.
struct Capabilities {
    header: [u32; 2],
    sets: [u32; 6],
}

impl Capabilities {
    const VERSION_3: u32 = 0x2008_0522;

    fn get() -> Self {
        let mut caps = Capabilities { header: [Self::VERSION_3, 0], sets: [0; 6] };
        let _ = call(nr::CAPGET, [caps.header.as_mut_ptr() as u64, caps.sets.as_mut_ptr() as u64, 0]);
        caps
    }

    fn set(&mut self) -> sys::Result<()> {
        call(nr::CAPSET, [self.header.as_mut_ptr() as u64, self.sets.as_ptr() as u64, 0]).map(drop)
    }
}

/// Enters a time namespace if this host's clocks are behind those of `process`.
pub fn enter(process: &Process) -> Result<(), TimensError> {
    let wanted = [process.monotonic, process.boottime];
    let behind = |index: usize| wanted[index] as i64 - now(CLOCKS[index].1);
    if (0..CLOCKS.len()).all(|index| behind(index) <= 0) {
        return Ok(());
    }
    let mut offsets = [0i64; 2];
    for (index, offset) in offsets.iter_mut().enumerate() {
        *offset = present_offset(CLOCKS[index].0);
    }
    let mut before = Capabilities::get();
    let ids = [nr::GETUID, nr::GETGID].map(|number| call(number, [0; 3]).unwrap_or(0));
    let step = |what| move |errno| TimensError(what, errno);
    let unprivileged = call(nr::UNSHARE, [CLONE_NEWTIME, 0, 0]) == Err(Errno::PERM);
    if unprivileged {
        call(nr::UNSHARE, [CLONE_NEWUSER | CLONE_NEWTIME, 0, 0]).map_err(step("making a user and a time namespace"))?;
        write_file(c"/proc/self/setgroups", format_args!("deny")).map_err(step("/proc/self/setgroups"))?;
        let [uid, gid] = ids;
        write_file(c"/proc/self/uid_map", format_args!("{uid} {uid} 1")).map_err(step("/proc/self/uid_map"))?;
        write_file(c"/proc/self/gid_map", format_args!("{gid} {gid} 1")).map_err(step("/proc/self/gid_map"))?;
    }
    for (index, (name, _)) in CLOCKS.iter().enumerate() {
        let offset = offsets[index] + behind(index).max(0);
        let (seconds, rest) = (offset.div_euclid(SECOND), offset.rem_euclid(SECOND));
        write_file(c"/proc/self/timens_offsets", format_args!("{name} {seconds} {rest}"))
            .map_err(step("/proc/self/timens_offsets"))?;
    }
    let fd = sys::openat(sys::AT_FDCWD, c"/proc/self/ns/time_for_children", sys::O_CLOEXEC, 0)
        .map_err(step("/proc/self/ns/time_for_children"))?;
    let entered = call(nr::SETNS, [fd as u64, CLONE_NEWTIME, 0]);
    sys::close(fd);
    entered.map_err(step("entering the time namespace"))?;
    if unprivileged {
        before.set().map_err(step("giving up capabilities"))?;
    }
    Ok(())
}
