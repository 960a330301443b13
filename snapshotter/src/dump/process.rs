//! What the kernel keeps per process: heap, dispositions, working directory, umask.

use super::DumpOptions;
use super::refuse::{Blocker, DumpError};
use crate::tracee::remote::Remote;
use crate::tracee::{Frozen, Reached, TraceError, Tracer};
use snapfn_format::snap::{Process, SigAction, resident};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The process record and its tables.
#[derive(Clone, Debug)]
pub(super) struct ProcessState {
    pub(super) record: Process,
    pub(super) sigactions: Vec<SigAction>,
    /// Empty: instances keep their starter's.
    pub(super) cwd: Vec<u8>,
    pub(super) exe: Vec<u8>,
    pub(super) args: Vec<u8>,
}

pub(super) fn gather(
    tracer: &Tracer,
    reached: &Reached,
    main: &Frozen,
    options: &DumpOptions<'_>,
    blockers: &mut Vec<Blocker>,
) -> Result<ProcessState, DumpError> {
    let system = TraceError::system;
    let request = &tracer.booted.request;
    let status = std::fs::read_to_string(format!("/proc/{}/status", tracer.pid)).map_err(system("/proc/PID/status"))?;
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim).unwrap_or_default()
    };
    let umask = u32::from_str_radix(field("Umask"), 8).unwrap_or(options.initial_umask);
    let signals = |name: &str| u64::from_str_radix(field(name), 16).unwrap_or(0);
    let handled = signals("SigCgt") | signals("SigIgn");

    let remote =
        Remote::new(main.tid, tracer.booted.gadget(), &main.survivor, false).map_err(system("remote system call"))?;
    let brk = remote.call(libc::SYS_brk, &[0]).map_err(system("brk"))?;
    let scratch = request.resident + resident::WORK;
    let mut sigactions = Vec::new();
    for signo in (1..=64u32).filter(|signo| handled & (1 << (signo - 1)) != 0) {
        remote.call(libc::SYS_rt_sigaction, &[u64::from(signo), 0, scratch, 8]).map_err(system("rt_sigaction"))?;
        let word = |index: u64| tracer.memory.read_u64(scratch + 8 * index).map_err(system("rt_sigaction"));
        let (handler, flags, restorer, mask) = (word(0)?, word(1)?, word(2)?, word(3)?);
        sigactions.push(SigAction { signo, reserved: 0, handler, flags, restorer, mask });
    }
    tracer.memory.write(scratch, &[0; 32]).map_err(system("clearing scratch memory"))?;
    remote.finish().map_err(system("remote system call"))?;
    if signals("SigPnd") | signals("ShdPnd") != 0 {
        blockers.push(Blocker {
            subject: "process".to_owned(),
            what: "has pending signals".to_owned(),
            remedy: "accept or unblock them before the snapshot point",
        });
    }

    let cwd = std::fs::read_link(format!("/proc/{}/cwd", tracer.pid)).map_err(system("/proc/PID/cwd"))?;
    let root = std::fs::read_link(format!("/proc/{}/root", tracer.pid)).map_err(system("/proc/PID/root"))?;
    if root != Path::new("/") && root != std::fs::read_link("/proc/self/root").unwrap_or_default() {
        blockers.push(Blocker {
            subject: "root directory".to_owned(),
            what: format!("is {}", root.display()),
            remedy: "call chroot after the snapshot point",
        });
    }
    // Like the environment: what the program has set itself stays, everything else is the instance's own.
    let own_cwd = options.cwd.is_some() || cwd != options.initial_cwd;
    let now = |clock| clock_ns(clock).unwrap_or(0);
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
            info: tracer.registered.info,
            at: reached.at,
            umask: if umask == options.initial_umask { u32::MAX } else { umask },
            pid: tracer.pid as u32,
            monotonic: now(nix::libc::CLOCK_MONOTONIC),
            boottime: now(nix::libc::CLOCK_BOOTTIME),
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
            ..Process::default()
        },
        sigactions,
        cwd: if own_cwd { cwd.as_os_str().as_bytes().to_vec() } else { Vec::new() },
        exe: tracer.booted.exe.as_os_str().as_bytes().to_vec(),
        args: std::fs::read(format!("/proc/{}/cmdline", tracer.pid)).unwrap_or_default(),
    })
}

fn clock_ns(clock: libc::clockid_t) -> Option<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    #[allow(unsafe_code)]
    // SAFETY: a live local.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    (result == 0).then(|| time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}
