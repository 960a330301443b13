//! One start under ptrace: counts its system calls, and its memory at its end.
#![allow(unsafe_code)] // waitpid with __WALL, PTRACE_TRACEME in the child

use crate::start::{Ready, Starter};
use anyhow::{Context, Result, bail};
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde::Serialize;
use std::collections::HashMap;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};

/// What one start costs the kernel.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Counts {
    /// System calls of all its threads, `execve` included.
    pub(crate) syscalls: u64,
    /// Of these, `mmap` and `mremap`.
    pub(crate) mmaps: u64,
    /// Mappings at its end.
    pub(crate) vmas: u64,
    /// Its private pages at its end: written, or read in.
    pub(crate) private_pages: u64,
    /// Its proportional share of memory in KiB, while there is a second process of the same kind.
    pub(crate) pss: u64,
    /// KiB that it shares with no other process.
    pub(crate) uss: u64,
}

/// Counts, with two processes of `starter` stopped at their ends.
pub(crate) fn count(starter: &Starter) -> Result<Option<Counts>> {
    if starter.ready != Ready::Output {
        return Ok(None);
    }
    let mut first = Traced::start(starter)?;
    let mut second = Traced::start(starter)?;
    let counts = second.memory();
    first.end()?;
    second.end()?;
    counts.map(Some)
}

/// A process that is stopped at its end.
struct Traced {
    child: Child,
    counts: Counts,
}

impl Traced {
    fn start(starter: &Starter) -> Result<Self> {
        let mut command = starter.command()?;
        command.stdout(Stdio::null());
        // SAFETY: one system call.
        unsafe { command.pre_exec(|| ptrace::traceme().map_err(Into::into)) };
        let child = command.spawn().with_context(|| starter.words.join(" "))?;
        let mut traced = Traced { child, counts: Counts { syscalls: 1, ..Counts::default() } };
        match traced.run() {
            Ok(()) => Ok(traced),
            Err(error) => {
                let _ = traced.end();
                Err(error.context(starter.words.join(" ")))
            }
        }
    }

    fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// To the exit of the main thread.
    fn run(&mut self) -> Result<()> {
        let main = Pid::from_raw(self.pid());
        let (_, status) = wait(self.pid())?;
        if !libc::WIFSTOPPED(status) {
            bail!("did not start");
        }
        let options = ptrace::Options::PTRACE_O_TRACESYSGOOD
            | ptrace::Options::PTRACE_O_TRACEEXIT
            | ptrace::Options::PTRACE_O_TRACEEXEC
            | ptrace::Options::PTRACE_O_TRACECLONE
            | ptrace::Options::PTRACE_O_EXITKILL;
        ptrace::setoptions(main, options)?;
        ptrace::syscall(main, None)?;
        let mut inside: HashMap<i32, bool> = HashMap::new();
        loop {
            let (pid, status) = wait(-1)?;
            if !libc::WIFSTOPPED(status) {
                inside.remove(&pid);
                if pid == self.pid() {
                    bail!("ended unseen");
                }
                continue;
            }
            let task = Pid::from_raw(pid);
            let signal = libc::WSTOPSIG(status);
            let event = status >> 16;
            if event == libc::PTRACE_EVENT_EXIT && pid == self.pid() {
                return Ok(());
            }
            let mut deliver = None;
            if signal == libc::SIGTRAP | 0x80 {
                let inside = inside.entry(pid).or_default();
                *inside = !*inside;
                if *inside {
                    self.counts.syscalls += 1;
                    let number = ptrace::getregs(task)?.orig_rax as i64;
                    self.counts.mmaps += u64::from(matches!(number, libc::SYS_mmap | libc::SYS_mremap));
                }
            } else if event == 0 && signal != libc::SIGSTOP && signal != libc::SIGTRAP {
                deliver = Signal::try_from(signal).ok();
            }
            ptrace::syscall(task, deliver)?;
        }
    }

    fn memory(&self) -> Result<Counts> {
        let pid = self.pid();
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let kib = |name: &str| -> u64 {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()).and_then(|word| word.parse().ok()).unwrap_or(0)
        };
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
        Ok(Counts {
            vmas: maps.lines().count() as u64,
            private_pages: kib("Anonymous:") / 4,
            pss: kib("Pss:"),
            uss: kib("Private_Clean:") + kib("Private_Dirty:"),
            ..self.counts
        })
    }

    fn end(&mut self) -> Result<()> {
        self.child.kill()?;
        // A signal no longer wakes a process that is stopped at its end.
        let _ = ptrace::cont(Pid::from_raw(self.pid()), None);
        loop {
            let (pid, status) = wait(self.pid())?;
            if pid == self.pid() && (libc::WIFEXITED(status) || libc::WIFSIGNALED(status)) {
                return Ok(());
            }
            // The stop was pending when the process was killed.
            let _ = ptrace::cont(Pid::from_raw(pid), None);
        }
    }
}

fn wait(pid: i32) -> Result<(i32, i32)> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is valid for writing.
        let got = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
        if got > 0 {
            return Ok((got, status));
        }
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            return Err(error.into());
        }
    }
}
