//! Runs an instance and records the pages that it writes: private pages that are its own at its first output, or when
//! it is about to end.
#![allow(unsafe_code)] // pre_exec

use crate::tracee::ptrace::{self, Stop};
use nix::sys::ptrace::Options;
use nix::unistd::Pid;
use snapfn_format::PAGE;
use snapfn_format::snap::{OP_GROWSDOWN, OP_MAP_ANON, OP_MAP_FILE, OP_SHARED, Op, PROT_WRITE, Plan};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How instances are started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start<'a> {
    pub(super) snaprun: &'a Path,
    pub(super) args: &'a [OsString],
    pub(super) stdin: Option<&'a Path>,
    pub(super) until: Until,
    pub(super) allow_wx: bool,
}

/// What a start is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Until {
    /// The first bytes that it writes to a descriptor other than standard error; else its end.
    Output,
    /// Its end.
    Exit,
}

impl Start<'_> {
    fn command(&self, snapshot: &Path) -> io::Result<Command> {
        let mut command = Command::new(self.snaprun);
        command.args(self.allow_wx.then_some("--allow-wx"));
        command.arg("--").arg(snapshot).args(self.args).stdout(Stdio::null()).stderr(Stdio::null());
        command.stdin(match self.stdin {
            Some(path) => File::open(path)?.into(),
            None => Stdio::null(),
        });
        Ok(command)
    }

    /// The time that a start takes without a tracer.
    pub(super) fn time(&self, snapshot: &Path) -> io::Result<Duration> {
        let mut command = self.command(snapshot)?;
        command.stdout(Stdio::piped());
        let begin = Instant::now();
        let mut child = command.spawn()?;
        let mut first = None;
        let mut buffer = [0; 1 << 16];
        if let Some(output) = &mut child.stdout {
            while output.read(&mut buffer)? > 0 {
                first.get_or_insert_with(|| begin.elapsed());
            }
        }
        child.wait()?;
        Ok(first.filter(|_| self.until == Until::Output).unwrap_or_else(|| begin.elapsed()))
    }
}

/// The pages that one run has written, and how it ended.
#[derive(Debug)]
pub(super) struct Recorded {
    /// Page addresses.
    pub(super) written: BTreeSet<u64>,
    /// Exit status, or 128 + signal; `None` where the time was up.
    pub(super) status: Option<i32>,
}

/// Runs `snapshot` once under ptrace. A program that has not ended after `timeout` is killed, and the pages that it has
/// written by then count.
pub(super) fn run(start: &Start<'_>, snapshot: &Path, plan: &Plan<'_>, timeout: Duration) -> io::Result<Recorded> {
    let mut command = start.command(snapshot)?;
    // SAFETY: one system call between fork and execve.
    unsafe { command.pre_exec(|| nix::sys::ptrace::traceme().map_err(Into::into)) };
    let child = command.spawn()?;
    let pid = child.id() as i32;
    // It is reaped below.
    drop(child);
    ptrace::wait(pid)?;
    let options = Options::PTRACE_O_TRACEEXIT | Options::PTRACE_O_EXITKILL | Options::PTRACE_O_TRACESYSGOOD;
    nix::sys::ptrace::setoptions(Pid::from_raw(pid), options)?;
    let (done, waiting) = mpsc::channel::<()>();
    let alarm = std::thread::spawn(move || {
        if waiting.recv_timeout(timeout) == Err(mpsc::RecvTimeoutError::Timeout) {
            ptrace::kill(pid, libc::SIGSTOP);
        }
    });
    let begin = Instant::now();
    let mut written = BTreeSet::new();
    let mut signal = 0;
    let mut cut = false;
    let mut seen = start.until == Until::Exit;
    let status = loop {
        if seen {
            ptrace::resume(pid, signal)?
        } else {
            ptrace::resume_to_syscall(pid, signal)?
        }
        signal = 0;
        match ptrace::wait(pid)?.1 {
            Stop::Syscall if is_output(pid)? => {
                written = own_pages(pid, plan)?;
                seen = true;
            }
            Stop::Other(libc::PTRACE_EVENT_EXIT) if written.is_empty() => written = own_pages(pid, plan)?,
            Stop::Signal(libc::SIGSTOP) if begin.elapsed() >= timeout => {
                if written.is_empty() {
                    written = own_pages(pid, plan)?;
                }
                cut = true;
                ptrace::kill(pid, libc::SIGKILL);
            }
            Stop::Signal(number) if number != libc::SIGTRAP => signal = number,
            Stop::Exited(status) => break status,
            Stop::Killed(number) => break 128 + number,
            _ => {}
        }
    };
    drop(done);
    let _ = alarm.join();
    Ok(Recorded { written, status: (!cut).then_some(status) })
}

/// Whether the tracee is about to write to another descriptor than standard error.
fn is_output(pid: i32) -> io::Result<bool> {
    const WRITES: [i64; 7] = [
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_pwrite64,
        libc::SYS_sendto,
        libc::SYS_sendmsg,
        libc::SYS_sendfile,
        libc::SYS_splice,
    ];
    let call = ptrace::syscall_entry(pid)?;
    Ok(call.is_some_and(|(number, args)| WRITES.contains(&(number as i64)) && args[0] != 2))
}

/// Mappings of private memory that an instance may write to and that come from the snapshot or are zero.
pub(super) fn is_own(op: &Op) -> bool {
    let plain = op.flags & (OP_SHARED | OP_GROWSDOWN) == 0;
    plain && op.prot & PROT_WRITE != 0 && matches!(op.kind, OP_MAP_FILE | OP_MAP_ANON)
}

/// Pages of the plan's private mappings that are not a file's, by /proc/PID/pagemap.
fn own_pages(pid: i32, plan: &Plan<'_>) -> io::Result<BTreeSet<u64>> {
    const PRESENT_OR_SWAPPED: u64 = 3 << 62;
    const FILE_OR_SHARED: u64 = 1 << 61;
    const ENTRIES: u64 = 1 << 13;
    let pagemap = File::open(PathBuf::from(format!("/proc/{pid}/pagemap")))?;
    let mut pages = BTreeSet::new();
    let mut buffer = vec![0u8; 8 * ENTRIES as usize];
    for op in plan.ops.iter().filter(|op| is_own(op)) {
        let (mut at, end) = (op.addr / PAGE, (op.addr + op.len) / PAGE);
        while at < end {
            let want = &mut buffer[..8 * (end - at).min(ENTRIES) as usize];
            pagemap.read_exact_at(want, 8 * at)?;
            for entry in want.as_chunks::<8>().0 {
                let entry = u64::from_le_bytes(*entry);
                if entry & PRESENT_OR_SWAPPED != 0 && entry & FILE_OR_SHARED == 0 {
                    pages.insert(at * PAGE);
                }
                at += 1;
            }
        }
    }
    Ok(pages)
}
