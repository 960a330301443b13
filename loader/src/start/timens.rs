//! `--timens`: CLOCK_MONOTONIC and CLOCK_BOOTTIME that do not run backwards from the snapshot to the instance.
//!
//! On a host with a shorter uptime the clocks have smaller values, and deadlines in the program's memory lie far ahead.
//! A time namespace moves both clocks forwards by the difference. To make one needs CAP_SYS_ADMIN, or a user namespace
//! with this user alone in it. `setns` lets this process enter it, before it has mapped any part of the program.
//! Capabilities are then set back to what they were.
#![allow(unsafe_code)] // system calls

use crate::runtime::sys::{self, Errno, nr};
use crate::start::user_ns::{self, Capabilities, call, write_file};
use core::fmt;
use snapfn_format::snap::Process;

const CLONE_NEWTIME: u64 = 0x80;
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

fn now(clock: u64) -> i64 {
    sys::clock_gettime(clock).unwrap_or(0) as i64
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
    let step = |what| move |errno| TimensError(what, errno);
    let unprivileged = user_ns::unshare(CLONE_NEWTIME, "making a user and a time namespace")
        .map_err(|(what, errno)| TimensError(what, errno))?;
    for (index, (name, _)) in CLOCKS.iter().enumerate() {
        let offset = offsets[index] + behind(index).max(0);
        let (seconds, rest) = (offset.div_euclid(SECOND), offset.rem_euclid(SECOND));
        write_file(c"/proc/self/timens_offsets", format_args!("{name} {seconds} {rest}"))
            .map_err(step("/proc/self/timens_offsets"))?;
    }
    let fd = sys::openat(sys::AT_FDCWD, c"/proc/self/ns/time_for_children", sys::O_CLOEXEC, 0)
        .map_err(step("/proc/self/ns/time_for_children"))?;
    let entered = call(nr::SETNS, [fd as u64, CLONE_NEWTIME, 0, 0, 0]);
    sys::close(fd);
    entered.map_err(step("entering the time namespace"))?;
    if unprivileged {
        before.set().map_err(step("giving up capabilities"))?;
    }
    Ok(())
}
