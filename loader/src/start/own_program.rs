//! `snaprun` executed as /proc/self/exe by a child of an instance: starts the instance's program.
//!
//! A program that executes this link means itself. In an instance the link names `snaprun`, unless the starter may
//! change it. The child of the instance has the instance's snapshot nowhere, but its parent still maps it.
#![allow(unsafe_code)] // execve

use super::open::Snapshot;
use super::plan;
use super::store::{open_regular, with_path};
use crate::runtime::auxv::{InitialStack, at};
use crate::runtime::memory;
use crate::runtime::print::with_short_path;
use crate::runtime::sys;
use core::ffi::CStr;
use snapfn_format::snap::{OP_MAP_FILE, Op, Plan};

const PATH_MAX: usize = 4096;

/// The path by which `snaprun` executes itself, which [`is_started_by_link`] does not mistake for a program's.
pub const OWN_LINK: &CStr = c"//proc/self/exe";

/// Whether this process was executed by the link of a process to its executable.
pub fn is_started_by_link(initial: &InitialStack) -> bool {
    let path = executed(initial).map_or(&b""[..], CStr::to_bytes);
    path.starts_with(b"/proc/") && path.ends_with(b"/exe")
}

/// The path that was given to `execve`.
pub fn executed(initial: &InitialStack) -> Option<&'static CStr> {
    let path = initial.aux_value(at::EXECFN).filter(|address| *address != 0)?;
    // SAFETY: the kernel's string.
    Some(unsafe { memory::c_str(path) })
}

/// Becomes the program of the instance that is the parent of this process, with the arguments and the environment that
/// this process has. Returns if the parent is no instance, or if its program cannot be executed.
#[cold]
#[inline(never)]
pub fn start(initial: &InitialStack) {
    let parent = sys::getppid();
    let (mut own, mut theirs) = ([0; PATH_MAX], [0; PATH_MAX]);
    let own = sys::readlinkat(sys::AT_FDCWD, c"/proc/self/exe", &mut own);
    let link = format_args!("/proc/{parent}/exe");
    let theirs = with_short_path(link, |link| sys::readlinkat(sys::AT_FDCWD, link, &mut theirs));
    // Any program may have executed the link of an instance.
    if own.is_err() || own != theirs {
        return;
    }
    let maps = with_short_path(format_args!("/proc/{parent}/maps"), |path| open_regular(path, sys::O_RDONLY));
    let Ok(maps) = maps else { return };
    let mut lines = Lines { fd: maps, buffer: [0; 8192], start: 0, end: 0 };
    while let Some(line) = lines.next() {
        let Some((start, path)) = mapping(line) else { continue };
        let plan = with_path(&[path], |path| Ok(plan_at(path, start))).ok().flatten();
        if let Some(plan) = plan {
            sys::close(maps);
            let _ = with_path(&[plan.bytes(plan.header.process.exe)], |exe| {
                // SAFETY: the vectors of the initial stack, which nothing has changed.
                Ok(unsafe { sys::execve(exe, initial.argv as *const *const u8, initial.envp as *const *const u8) })
            });
            return;
        }
    }
    sys::close(maps);
}

/// The plan of the snapshot at `path`, if it maps a part of its own file to `start`.
fn plan_at(path: &CStr, start: u64) -> Option<Plan<'static>> {
    // To open a device may have an effect.
    let location = sys::openat(sys::AT_FDCWD, path, sys::O_PATH | sys::O_CLOEXEC, 0).ok()?;
    let is_regular = sys::fstat(location).is_ok_and(|stat| stat.is_regular());
    sys::close(location);
    let fd = open_regular(path, sys::O_RDONLY).ok().filter(|_| is_regular)?;
    let plan = sys::fstat(fd).ok().and_then(|stat| plan::read(&Snapshot { fd, stat }).ok());
    sys::close(fd);
    let maps_there = |op: &Op| op.kind == OP_MAP_FILE && op.file == 0 && (op.addr..op.addr + op.len).contains(&start);
    plan.filter(|plan| plan.ops.iter().any(maps_there))
}

/// First address and path of a line of /proc/PID/maps.
fn mapping(line: &[u8]) -> Option<(u64, &[u8])> {
    let at = line.iter().position(|byte| *byte == b'/')?;
    let path = line.get(at..)?;
    let digits = line.split(|byte| *byte == b'-').next()?;
    let start = u64::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok()?;
    Some((start, path))
}

/// The lines of an open file. A line that is longer than the buffer ends them.
struct Lines {
    fd: i32,
    buffer: [u8; 8192],
    start: usize,
    end: usize,
}

impl Lines {
    fn next(&mut self) -> Option<&[u8]> {
        loop {
            let held = self.buffer.get(self.start..self.end)?;
            if let Some(len) = held.iter().position(|byte| *byte == b'\n') {
                let from = self.start;
                self.start += len + 1;
                return self.buffer.get(from..from + len);
            }
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            let room = self.buffer.get_mut(self.end..)?;
            match sys::read(self.fd, room) {
                Ok(count @ 1..) => self.end += count,
                _ => return None,
            }
        }
    }
}
