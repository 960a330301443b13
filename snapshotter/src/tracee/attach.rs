//! Looks at a process that another process has started. That process must never notice.
//!
//! The snapshotter may be killed at any moment (SIGKILL, the OOM killer), and the kernel then lets every task go on
//! with the registers that it has at that moment. So the snapshotter changes nothing in the process: it runs no system
//! call in it, maps no memory, and changes no option of an open descriptor. All information comes from `/proc`,
//! `pidfd_getfd` and `kcmp`.
//!
//! A program can notice even a stop. A task that waits in `epoll_wait`, `semop`, `io_getevents` … returns from it with
//! EINTR (signal(7): "even in the absence of signal handlers"). So the snapshotter first stops only tasks that run
//! ([`Hold::Running`]). Tasks that wait run no code, and the snapshotter checks afterwards whether one has run
//! meanwhile. Only if one has, it stops all tasks ([`Hold::All`]), and sends a task whose wait has ended so back into
//! its call at once.

use super::boot::{Booted, is_kernels};
use super::descriptor::duplicate;
use super::freeze::again_after_eintr;
use super::ledger::Ledger;
use super::maps::{self, Special, Vma};
use super::ptrace::{self, Event, OPTION_EXITKILL, OPTIONS, Stop, Tid};
use super::run::{Task, Tracer};
use super::spawn::Spawned;
use super::{Deadline, Output, Status, TraceError};
use procfs::process::Process;
use snapfn_format::boot::BootRequest;
use snapfn_format::init::InitHeader;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use zerocopy::FromZeros;

/// Which tasks are stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Only the tasks that run. The others wait in the kernel.
    Running,
    All,
}

/// A process that another process has started, while the snapshotter looks at it.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) tracer: Tracer,
    /// The tasks that are stopped.
    pub(crate) stopped: Vec<Tid>,
    /// The tasks that wait in the kernel, each with the values by which a check sees whether it still does.
    waiting: BTreeMap<Tid, Wait>,
}

/// The place where a task waits, and the number of its context switches.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wait {
    call: String,
    switches: [String; 2],
}

impl Wait {
    /// `None`: the task runs, or is about to.
    fn of(pid: Tid, tid: Tid) -> Option<Wait> {
        let status = Status::read(pid, tid).ok()?;
        let call = fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall")).ok()?;
        // Sleeping, waiting for a device, stopped by a signal.
        let waits = status.get("State").starts_with(['S', 'D', 'T']) && !call.starts_with("running");
        let switches =
            ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"].map(|name| status.get(name).to_owned());
        waits.then_some(Wait { call, switches })
    }
}

impl Attached {
    /// Stops tasks of process `pid`. Gives up at the `deadline`, since a task may be in a system call that no stop
    /// interrupts.
    pub(crate) fn to(pid: Tid, deadline: Deadline, hold: Hold) -> Result<Self, TraceError> {
        let system = TraceError::system;
        check(pid)?;
        let (stopped, waiting) = stop_tasks(pid, deadline, hold)?;
        let vmas = maps::read(pid).map_err(system("/proc/PID/smaps"))?;
        let initial = Status::read(pid, pid).map_err(system("/proc/PID/status"))?;
        let stdio = [0, 1, 2].map(|fd| descriptor(pid, fd));
        let [Ok(input), Ok(output), Ok(error)] = stdio else {
            return Err(system("/dev/null")(io::Error::last_os_error()));
        };
        let spawned = Spawned {
            pid,
            output: Output::elsewhere(),
            stdio: [input, output, error],
            initial,
            is_instance: false,
            is_ours: false,
        };
        let tasks = stopped.iter().chain(waiting.keys()).map(|tid| (*tid, Task::default())).collect();
        let mut tracer = Tracer::new(spawned, booted(pid, &vmas), tasks, deadline)?;
        tracer.ledger = Ledger::incomplete();
        Ok(Attached { tracer, stopped, waiting })
    }

    /// Whether no task has run since the process was attached to.
    pub(crate) fn has_held_still(&self) -> bool {
        let pid = self.tracer.pid;
        let same = tasks(pid).is_ok_and(|tids| tids.iter().all(|tid| self.tracer.tasks.contains_key(tid)));
        same && self.waiting.iter().all(|(tid, wait)| Wait::of(pid, *tid).as_ref() == Some(wait))
    }

    /// Lets the process go on unchanged. If a task cannot go on, the others still do.
    pub(crate) fn detach(self) -> Result<(), TraceError> {
        let mut result = Ok(());
        for tid in self.stopped {
            match ptrace::detach(tid, 0) {
                // It was killed meanwhile.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                other => result = result.and(other.map_err(TraceError::system("ptrace(PTRACE_DETACH)"))),
            }
        }
        result
    }
}

/// Refuses a process that the snapshotter cannot look at.
fn check(pid: Tid) -> Result<(), TraceError> {
    let status = Status::read(pid, pid).map_err(|_| TraceError::NoProcess(pid))?;
    if status.get("Kthread") == "1" {
        return Err(TraceError::NotAttachable { pid, why: "it is the kernel's own".to_owned() });
    }
    if status.has_ended() {
        let why = "its first thread has ended, so /proc no longer describes it".to_owned();
        return Err(TraceError::NotAttachable { pid, why });
    }
    if status.get("TracerPid") != "0" {
        return Err(refused(pid, io::Error::from_raw_os_error(libc::EPERM)));
    }
    // The rights must be those of an attach, even if no task has to be stopped.
    match fs::read_to_string(format!("/proc/{pid}/syscall")) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(refused(pid, error)),
        _ => Ok(()),
    }
}

/// Stops tasks until each is stopped or may wait on. The kernel attaches the tasks that one makes meanwhile.
fn stop_tasks(pid: Tid, deadline: Deadline, hold: Hold) -> Result<(Vec<Tid>, BTreeMap<Tid, Wait>), TraceError> {
    let system = TraceError::system;
    let (mut stopped, mut waiting, mut ended) = (Vec::new(), BTreeMap::new(), Vec::new());
    loop {
        let tasks = tasks(pid).map_err(system("/proc/PID/task"))?;
        let is_new = |tid: &Tid| !stopped.contains(tid) && !waiting.contains_key(tid) && !ended.contains(tid);
        let new: Vec<Tid> = tasks.into_iter().filter(is_new).collect();
        if new.is_empty() {
            return Ok((stopped, waiting));
        }
        for tid in new {
            if let Some(wait) = Some(hold).filter(|hold| *hold == Hold::Running).and_then(|_| Wait::of(pid, tid)) {
                waiting.insert(tid, wait);
                continue;
            }
            match ptrace::seize(tid, OPTIONS & !OPTION_EXITKILL) {
                Ok(()) => {}
                Err(error) if tid != pid && error.raw_os_error() == Some(libc::ESRCH) => {
                    ended.push(tid);
                    continue;
                }
                // A task that was already attached has made this one, so the kernel has attached it, too.
                Err(error) if is_traced_by_us(pid, tid) => drop(error),
                Err(error) => return Err(refused(pid, error)),
            }
            match stop(pid, tid, deadline)? {
                true => stopped.push(tid),
                false => ended.push(tid),
            }
        }
    }
}

fn is_traced_by_us(pid: Tid, tid: Tid) -> bool {
    Status::read(pid, tid).is_ok_and(|status| status.get("TracerPid") == std::process::id().to_string())
}

/// Stops one task. If that has ended its wait, sends it back into its call. Returns whether the task still exists.
fn stop(pid: Tid, tid: Tid, deadline: Deadline) -> Result<bool, TraceError> {
    let system = TraceError::system;
    let go_on = |tid, signal| match ptrace::resume(tid, signal) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other.map_err(system("ptrace(PTRACE_CONT)")),
    };
    match ptrace::interrupt(tid) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(false),
        other => other.map_err(system("ptrace(PTRACE_INTERRUPT)"))?,
    }
    loop {
        wait_for_stop(pid, tid, deadline)?;
        match ptrace::wait(tid).map_err(system("wait4"))?.1 {
            Stop::Exited(_) | Stop::Killed(_) => return Ok(false),
            Stop::Group(libc::SIGTRAP) => {
                send_back(pid, tid).map_err(system("registers"))?;
                return Ok(true);
            }
            // A signal has stopped the task, with its whole process.
            Stop::Group(_) => return Ok(true),
            Stop::Signal(signal) => go_on(tid, signal)?,
            Stop::NewTask(Event::Fork | Event::Vfork) => {
                let child = ptrace::event_message(tid).map_err(system("ptrace event"))? as Tid;
                wait_for_stop(pid, child, deadline)?;
                ptrace::wait(child).map_err(system("wait4"))?;
                ptrace::detach(child, 0).map_err(system("ptrace(PTRACE_DETACH)"))?;
                go_on(tid, 0)?;
            }
            _ => go_on(tid, 0)?,
        }
    }
}

/// Waits for a task's stop. It waits without a limit only if the stop must come.
fn wait_for_stop(pid: Tid, tid: Tid, deadline: Deadline) -> Result<(), TraceError> {
    const SPIN: Duration = Duration::from_millis(2);
    let start = Instant::now();
    while !ptrace::has_stopped(tid).map_err(TraceError::system("waitid"))? {
        if deadline.left().is_zero() {
            let why = format!("thread {tid} is in a system call that cannot be interrupted (--timeout)");
            return Err(TraceError::NotAttachable { pid, why });
        }
        // A task whose wait has ended must be sent back soon.
        match start.elapsed() < SPIN {
            true => std::thread::yield_now(),
            false => std::thread::sleep(Duration::from_micros(200)),
        }
    }
    Ok(())
}

/// If only the snapshotter's stop has ended the task's wait with EINTR, the task makes the call again. For all other
/// calls the kernel itself knows how they go on.
fn send_back(pid: Tid, tid: Tid) -> io::Result<()> {
    let status = Status::read(pid, tid)?;
    let pending = (status.set("SigPnd") | status.set("ShdPnd")) & !status.set("SigBlk");
    match again_after_eintr(&ptrace::get_regs(tid)?).filter(|_| pending == 0) {
        Some(regs) => ptrace::set_regs(tid, &regs),
        None => Ok(()),
    }
}

/// The tasks of a process.
pub(super) fn tasks(pid: Tid) -> io::Result<Vec<Tid>> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"))?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

fn refused(pid: Tid, error: io::Error) -> TraceError {
    let status = Status::read(pid, pid).unwrap_or_default();
    let why = match status.get("TracerPid") {
        "" | "0" => {
            let yama = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
            let hint = match yama.trim() {
                "1" | "2" | "3" => "; kernel.yama.ptrace_scope allows it to root only",
                _ => "; run it as that user or as root",
            };
            format!("{error}{hint}")
        }
        tracer => format!("it is traced by process {tracer} already: detach that debugger"),
    };
    TraceError::NotAttachable { pid, why }
}

/// A duplicate of a standard stream of the process; `None` if the process has closed it.
fn descriptor(pid: Tid, fd: u32) -> io::Result<OwnedFd> {
    duplicate(pid, fd).or_else(|_| File::open("/dev/null").map(OwnedFd::from))
}

/// Address of the initial stack's `argc`.
fn start_stack(pid: Tid) -> Option<u64> {
    Some(Process::new(pid).and_then(|process| process.stat()).ok()?.startstack)
}

fn booted(pid: Tid, vmas: &[Vma]) -> Booted {
    let mut request = BootRequest::new_zeroed();
    request.sp = start_stack(pid).unwrap_or(0);
    request.argv = request.sp + 8;
    let ranges = vmas.iter().filter(|vma| is_kernels(&vma.name) && !vma.is(Special::Stack));
    Booted {
        exe: fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_else(|_| PathBuf::new()),
        request,
        header: InitHeader::new_zeroed(),
        interp: None,
        kernel_ranges: ranges.map(|vma| (vma.start, vma.end)).collect(),
        gadget: 0,
        vdso: None,
    }
}
