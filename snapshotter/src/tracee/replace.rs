//! A program that executes another one before its point, as wrappers and shims do: the snapshot is of what it becomes.
//!
//! The new program must lie where snapshots live, as the first one did ([`super::spawn`]). So the task is given the
//! compat layout at the entry of its `execve`, in a call that it makes for us; then it makes its own call. If that
//! fails (`execvp` tries one directory after the other), the layout is taken back.

use super::TraceError;
use super::adopt::is_snaprun;
use super::boot::{self, Booted};
use super::ptrace::{self, Stop, SyscallEntry, Tid};
use super::remote::Remote;
use super::run::{Task, Tracer};
use super::spawn::ADDR_COMPAT_LAYOUT;
use snapfn_format::arch::{NO_CALL, reg};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// What is to be given back where an `execve` fails.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exec {
    personality: Option<u64>,
    /// RLIMIT_STACK, soft and hard.
    stack: (u64, u64),
}

impl Tracer {
    /// At the entry of a system call of task `tid`: if that is `execve`, makes it ready and lets it be called once
    /// more. Whether it did.
    pub(super) fn prepare_exec(&mut self, tid: Tid, entry: &SyscallEntry) -> Result<bool, TraceError> {
        let system = TraceError::system;
        let is_exec = matches!(entry.number as i64, libc::SYS_execve | libc::SYS_execveat);
        let is_native = entry.arch == ptrace::AUDIT_ARCH;
        let task = self.tasks.entry(tid).or_default();
        if !is_exec || !is_native || task.exec.is_some() {
            return Ok(false);
        }
        let again = ptrace::get_regs(tid).map_err(system("registers"))?;
        let again = super::run::again(&again, entry.number);
        let remote = Remote::new(tid, self.booted.gadget, &again, true).map_err(system("remote system call"))?;
        let personality = remote.call(libc::SYS_personality, &[0xffff_ffff]).ok();
        let personality =
            personality.filter(|old| remote.call(libc::SYS_personality, &[old | ADDR_COMPAT_LAYOUT]).is_ok());
        remote.finish().map_err(system("remote system call"))?;
        let stack = boot::stack_limit(self.pid);
        boot::set_stack_limit(self.pid, stack.1, stack.1);
        task.exec = Some(Exec { personality, stack });
        Ok(true)
    }

    /// At the exit of a system call of task `tid`: if that was an `execve` that has failed, takes back what it got.
    pub(super) fn exec_failed(&mut self, tid: Tid) -> Result<(), TraceError> {
        let system = TraceError::system;
        let Some(exec) = self.tasks.get_mut(&tid).and_then(|task| task.exec.take()) else { return Ok(()) };
        boot::set_stack_limit(self.pid, exec.stack.0, exec.stack.1);
        if let Some(personality) = exec.personality {
            let mut regs = ptrace::get_regs(tid).map_err(system("registers"))?;
            regs[reg::CALL] = NO_CALL;
            let remote = Remote::new(tid, self.booted.gadget, &regs, false).map_err(system("remote system call"))?;
            let back = remote.call(libc::SYS_personality, &[personality]);
            remote.finish().map_err(system("remote system call"))?;
            back.map_err(system("personality"))?;
        }
        Ok(())
    }

    /// At the event of an `execve`: goes on to its exit, as [`super::spawn::spawn`] does. No other task is left.
    pub(super) fn leave_exec(&mut self) -> Result<(), TraceError> {
        let system = TraceError::system;
        let former = ptrace::event_message(self.pid).map_err(system("ptrace event"))? as Tid;
        let exec = self.tasks.get(&former).and_then(|task| task.exec);
        self.tasks = BTreeMap::from([(self.pid, Task { exec, ..Task::default() })]);
        ptrace::resume_to_syscall(self.pid, 0).map_err(system("ptrace(PTRACE_SYSCALL)"))?;
        loop {
            match ptrace::wait(self.pid).map_err(system("wait4"))?.1 {
                Stop::Syscall => break,
                stop @ (Stop::Exited(_) | Stop::Killed(_)) => return Err(self.died(stop)),
                Stop::Signal(signal) => {
                    ptrace::resume_to_syscall(self.pid, signal).map_err(system("ptrace(PTRACE_SYSCALL)"))?;
                }
                _ => ptrace::resume_to_syscall(self.pid, 0).map_err(system("ptrace(PTRACE_SYSCALL)"))?,
            }
        }
        let path = std::fs::read_link(format!("/proc/{}/exe", self.pid)).unwrap_or_default();
        let not_followed = |why| Err(TraceError::NotFollowed { path: path.clone(), why });
        match exec {
            None => not_followed("it was executed by a call of another system call interface"),
            Some(_) if is_snaprun(&path) => not_followed("it is snaprun, which can only be started directly"),
            Some(_) => Ok(()),
        }
    }

    /// The path that `execve` was given for the program that runs now, absolute: a script's, where there is one.
    pub(crate) fn executed_as(&self) -> PathBuf {
        let link = format!("/proc/{}/cwd", self.pid);
        let cwd = std::fs::read_link(&link).unwrap_or(link.into());
        let request = &self.booted.request;
        let pairs = (0..request.auxv_len / 16).map(|index| request.auxv + 16 * index);
        let word = |addr| self.memory.read_u64(addr).unwrap_or(0);
        let text = pairs.into_iter().find(|pair| word(*pair) == libc::AT_EXECFN).map(|pair| word(pair + 8));
        let bytes =
            text.and_then(|addr| self.memory.read_c_str(addr, libc::PATH_MAX as usize).ok()).unwrap_or_default();
        cwd.join(OsStr::from_bytes(&bytes)).components().collect()
    }

    /// The program has become another one, which has been rebuilt as `booted`.
    pub(crate) fn become_program(&mut self, booted: Booted) -> Result<(), TraceError> {
        if let Some(exec) = self.tasks.get_mut(&self.pid).and_then(|task| task.exec.take()) {
            boot::set_stack_limit(self.pid, exec.stack.0, exec.stack.1);
        }
        self.begin_anew(booted)
    }
}
