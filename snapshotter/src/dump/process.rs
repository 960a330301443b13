//! State that the kernel keeps per process: heap, working directory, umask; their modules add signals, timers and
//! attributes.

use super::DumpOptions;
use super::attributes;
use super::refuse::{Blocker, DumpError};
use super::scratch::Scratch;
use super::signals::{self, Pending};
use super::{threads::tids, timers};
use crate::tracee::ptrace::Tid;
use crate::tracee::{Frozen, Reached, Status, TraceError, Tracer, clock_ns};
use snapfn_format::snap::{Process, SETTING_ARGUMENTS, SETTING_ENVIRONMENT, Setting, SigAction, Timer};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The process record and its tables.
#[derive(Clone, Debug)]
pub(super) struct ProcessState {
    pub(super) record: Process,
    pub(super) sigactions: Vec<SigAction>,
    pub(super) pending: Vec<Pending>,
    pub(super) timers: Vec<Timer>,
    pub(super) settings: Vec<Setting>,
    /// Empty: instances keep their starter's.
    pub(super) cwd: Vec<u8>,
    pub(super) exe: Vec<u8>,
    pub(super) args: Vec<u8>,
}

/// `frozen` are all tasks, the main thread first, none of them at a system call's entry any more.
pub(super) fn gather(
    tracer: &Tracer,
    reached: &Reached,
    frozen: &[Frozen],
    options: &DumpOptions,
    blockers: &mut Vec<Blocker>,
) -> Result<ProcessState, DumpError> {
    let system = TraceError::system;
    let request = &tracer.booted.request;
    let status = Status::read(tracer.pid, tracer.pid).map_err(system("/proc/PID/status"))?;
    let umask = u32::from_str_radix(status.get("Umask"), 8).unwrap_or(options.initial_umask);

    let scratch = Scratch::new(tracer, &frozen[0])?;
    let brk = scratch.value(libc::SYS_brk, &[0]).map_err(system("brk"))?;
    let sigactions = signals::dispositions(tracer, &scratch)?;
    let tids = tids(frozen);
    let (pending, (timers, refused)) = signals::stable(tracer, frozen, || {
        let mut refused = Vec::new();
        Ok((timers::gather(tracer, &tids, &scratch, &mut refused)?, refused))
    })?;
    scratch.finish()?;
    blockers.extend(refused);
    signals::check(&pending, &tids, blockers);
    let mut settings = attributes::gather(tracer, frozen, &status, options.allow_wx, blockers)?;
    settings.extend(title(tracer));

    let cwd = std::fs::read_link(format!("/proc/{}/cwd", tracer.pid)).map_err(system("/proc/PID/cwd"))?;
    check_root(tracer.pid, blockers)?;
    // As with the environment, settings of the program itself stay, all others are the instance's own.
    let own_cwd = options.cwd.is_some() || cwd != options.initial_cwd;
    let is_deleted = std::fs::metadata(format!("/proc/{}/cwd", tracer.pid)).is_ok_and(|about| about.nlink() == 0);
    if own_cwd && is_deleted {
        blockers.push(Blocker {
            subject: "working directory".to_owned(),
            what: format!("has been deleted: {}", cwd.display()),
            remedy: "call chdir before the snapshot point, to a directory that instances find",
        });
    }
    Ok(ProcessState {
        record: Process {
            start_code: request.start_code,
            end_code: request.end_code,
            start_data: request.start_data,
            end_data: request.end_data,
            start_brk: request.brk,
            brk,
            start_stack: request.sp,
            resident: request.resident,
            at_random: request.at_random,
            auxv: request.auxv,
            auxv_len: request.auxv_len,
            argv0: tracer.memory.read_u64(request.argv).map_err(system("argument vector"))?,
            info: tracer.registered.infos.first().copied().unwrap_or(0),
            at: reached.at,
            umask: if umask == options.initial_umask { u32::MAX } else { umask },
            pid: tracer.pid as u32,
            kept_args: options.kept_args,
            monotonic: clock_ns(libc::CLOCK_MONOTONIC),
            boottime: clock_ns(libc::CLOCK_BOOTTIME),
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
            ..Process::default()
        },
        sigactions,
        pending,
        timers,
        settings,
        cwd: if own_cwd { cwd.as_os_str().as_bytes().to_vec() } else { Vec::new() },
        exe: tracer.booted.exe.as_os_str().as_bytes().to_vec(),
        args: tracer.strings.initial.clone(),
    })
}

/// The place of the title that the program has written over its arguments; `None` if it has written none: an instance
/// then shows its own arguments.
fn title(tracer: &Tracer) -> Vec<Setting> {
    let strings = &tracer.strings;
    if !strings.is_titled(&tracer.memory) {
        return Vec::new();
    }
    let setting = |kind, range: &Range<u64>| Setting { kind, which: 0, a: range.start, b: range.end };
    vec![setting(SETTING_ARGUMENTS, &strings.args), setting(SETTING_ENVIRONMENT, &strings.env)]
}

/// Refuses a process that has changed its root directory.
pub(super) fn check_root(pid: Tid, blockers: &mut Vec<Blocker>) -> Result<(), TraceError> {
    let root = std::fs::read_link(format!("/proc/{pid}/root")).map_err(TraceError::system("/proc/PID/root"))?;
    if root != Path::new("/") && root != std::fs::read_link("/proc/self/root").unwrap_or_default() {
        blockers.push(Blocker {
            subject: "root directory".to_owned(),
            what: format!("is {}", root.display()),
            remedy: "call chroot after the snapshot point",
        });
    }
    Ok(())
}
