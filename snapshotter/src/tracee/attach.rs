//! Attaching to a process that runs already: it is stopped, can be looked at as a started program can, and goes on.
//!
//! The kernel keeps what it was doing: registers that a system call restarts from are those of [`super::freeze`].
//! A page for the answers of system calls is mapped into it, and unmapped before it is let go.

use super::boot::{Booted, is_kernels};
use super::descriptor::duplicate;
use super::ledger::Ledger;
use super::maps::{self, Vma};
use super::memory::Memory;
use super::ptrace::{self, OPTION_EXITKILL, OPTIONS, Tid};
use super::remote::Remote;
use super::run::{Reached, Task, Tracer};
use super::spawn::Spawned;
use super::{Frozen, Output, Status, TraceError};
use nix::sys::signal::{SigSet, Signal};
use procfs::process::Process;
use snapfn_format::PAGE;
use snapfn_format::boot::BootRequest;
use snapfn_format::init::InitHeader;
use snapfn_format::snap::{AT_SYSCALL, resident};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use zerocopy::FromZeros;

/// Work area for the answers of system calls; nothing of an instance is prepared here.
const WORK_LEN: u64 = PAGE;

/// A stopped process that somebody else has started.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) tracer: Tracer,
    pub(crate) reached: Reached,
    pub(crate) frozen: Vec<Frozen>,
    /// Signals that would end us are held back meanwhile: the process would be left with borrowed registers.
    held_back: SigSet,
}

impl Attached {
    /// Stops all tasks of process `pid`. Gives up after `seconds`, since a task may be in a system call that no
    /// stop interrupts.
    pub(crate) fn to(pid: Tid, seconds: f64) -> Result<Self, TraceError> {
        let held_back = hold_back(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT]);
        let attached = Self::attach(pid, seconds, held_back);
        if attached.is_err() {
            // What is attached already goes on when this process ends, if not before.
            let _ = held_back.thread_set_mask();
        }
        attached
    }

    fn attach(pid: Tid, seconds: f64, held_back: SigSet) -> Result<Self, TraceError> {
        let system = TraceError::system;
        seize_all(pid, Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))?;
        let vmas = maps::read(pid).map_err(system("/proc/PID/smaps"))?;
        let initial = Status::read(pid, pid).map_err(system("/proc/PID/status"))?;
        let stdio = [0, 1, 2].map(|fd| descriptor(pid, fd));
        let [Ok(input), Ok(output), Ok(error)] = stdio else {
            return Err(system("/dev/null")(io::Error::last_os_error()));
        };
        let spawned = Spawned {
            pid,
            output: Output::collect(Vec::new()),
            stdio: [input, output, error],
            initial,
            is_instance: false,
            is_ours: false,
        };
        let mut tracer = Tracer::new(spawned, booted(pid, &vmas), BTreeMap::from([(pid, Task::default())]))?;
        tracer.ledger = Ledger::incomplete();
        let (reached, mut frozen) = tracer.freeze_stopped(AT_SYSCALL)?;
        // The filter of a program that has one would be asked about our calls, too, and may kill it.
        if !tracer.is_filtered() {
            map_work_area(&mut tracer, &vmas, &mut frozen)?;
        }
        Ok(Attached { tracer, reached, frozen, held_back })
    }

    /// Lets the process go on as if nothing had happened.
    pub(crate) fn detach(mut self) -> Result<(), TraceError> {
        let request = &self.tracer.booted.request;
        let (start, len) = (request.resident, resident::WORK + request.work_len);
        let unmapped = match (start, self.frozen.first()) {
            (0, _) | (_, None) => Ok(()),
            (_, Some(task)) => {
                Remote::new(task.tid, self.tracer.booted.gadget, &task.survivor, false).and_then(|remote| {
                    remote.call(libc::SYS_munmap, &[start, len])?;
                    remote.finish()
                })
            }
        };
        let released = self.tracer.release(&self.frozen);
        let _ = self.held_back.thread_set_mask();
        unmapped.map_err(TraceError::system("munmap"))?;
        released
    }
}

/// Blocks `signals` for this thread; what was blocked before.
fn hold_back(signals: &[Signal]) -> SigSet {
    let before = SigSet::thread_get_mask().unwrap_or_else(|_| SigSet::empty());
    let _ = signals.iter().copied().collect::<SigSet>().thread_block();
    before
}

/// Attaches to every task and stops it; those that a task makes meanwhile are attached by the kernel.
fn seize_all(pid: Tid, limit: Duration) -> Result<(), TraceError> {
    let system = TraceError::system;
    let status = Status::read(pid, pid).map_err(|_| TraceError::NoProcess(pid))?;
    if status.get("Kthread") == "1" {
        return Err(TraceError::NotAttachable { pid, why: "it is the kernel's own".to_owned() });
    }
    if status.has_ended() {
        let why = "its first thread has ended, so /proc no longer describes it".to_owned();
        return Err(TraceError::NotAttachable { pid, why });
    }
    let deadline = Instant::now() + limit.min(Duration::from_secs(1 << 32));
    let mut known: Vec<Tid> = Vec::new();
    loop {
        let tasks = tasks(pid).map_err(system("/proc/PID/task"))?;
        let new: Vec<Tid> = tasks.into_iter().filter(|tid| !known.contains(tid)).collect();
        if new.is_empty() {
            return Ok(());
        }
        for tid in new {
            known.push(tid);
            match ptrace::seize(tid, OPTIONS & !OPTION_EXITKILL).and_then(|()| ptrace::interrupt(tid)) {
                Ok(()) => {}
                // It has ended, or was made by a task that is attached already, and so is attached itself.
                Err(error) if tid != pid && matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EPERM)) => continue,
                Err(error) => return Err(refused(pid, error)),
            }
            while !ptrace::has_stopped(tid).map_err(system("waitid"))? {
                if Instant::now() > deadline {
                    let why = format!("thread {tid} is in a system call that cannot be interrupted (--timeout)");
                    return Err(TraceError::NotAttachable { pid, why });
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        }
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

/// A duplicate of a standard stream of the process; what it has closed is nobody's.
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
    let ranges = vmas.iter().filter(|vma| is_kernels(&vma.name) && vma.name != "[stack]");
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

/// Gives the process a page for answers. Shared memory, so that it does not merge with a neighbour.
fn map_work_area(tracer: &mut Tracer, vmas: &[Vma], frozen: &mut [Frozen]) -> Result<(), TraceError> {
    let system = TraceError::system;
    let Some(task) = frozen.first_mut() else { return Ok(()) };
    let gadget = find_syscall(&tracer.memory, vmas).ok_or_else(|| TraceError::NotAttachable {
        pid: tracer.pid,
        why: "there is no system call instruction in its memory".to_owned(),
    })?;
    let remote = Remote::new(task.tid, gadget, &task.survivor, task.at_entry).map_err(system("remote system call"))?;
    task.at_entry = false;
    let len = resident::WORK + WORK_LEN;
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    let addr = remote.call(libc::SYS_mmap, &[0, len, prot as u64, flags as u64, u64::MAX, 0]);
    remote.finish().map_err(system("remote system call"))?;
    tracer.booted.request.resident = addr.map_err(system("mapping memory for answers"))?;
    tracer.booted.request.work_len = WORK_LEN;
    tracer.booted.gadget = gadget;
    Ok(())
}

/// Address of a `syscall` instruction; the vDSO has some, and is never written to.
fn find_syscall(memory: &Memory, vmas: &[Vma]) -> Option<u64> {
    const CHUNK: u64 = 1 << 20;
    let mut code: Vec<&Vma> = vmas.iter().filter(|vma| vma.prot & 4 != 0 && vma.name != "[vsyscall]").collect();
    code.sort_by_key(|vma| vma.name != "[vdso]");
    code.iter().find_map(|vma| {
        let bytes = memory.read_vec(vma.start, (vma.end - vma.start).min(CHUNK)).ok()?;
        let at = bytes.windows(2).position(|pair| pair == [0x0f, 0x05])?;
        Some(vma.start + at as u64)
    })
}
