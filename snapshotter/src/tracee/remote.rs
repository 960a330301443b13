//! System calls that the tracee executes for the snapshotter.
//!
//! The guard sets the tracee to a `syscall` instruction and resumes it through the entry and exit stops. No SIGTRAP is
//! involved: a forced one would reset a disposition that the program has set. All signals are blocked meanwhile.
//! Dropping the guard puts registers and mask back.

use super::ptrace::{self, Regs, Stop, Tid};
use snapfn_format::arch::{ARGUMENTS, NO_CALL, reg};
use std::io;

/// A stopped task that runs system calls for the snapshotter.
#[derive(Debug)]
pub(crate) struct Remote {
    tid: Tid,
    gadget: u64,
    saved: Regs,
    mask: u64,
}

impl Remote {
    /// `gadget` is the address of a `syscall` instruction. If the task is at a system call entry, that call is
    /// skipped; `saved` is what the registers are put back to.
    pub(crate) fn new(tid: Tid, gadget: u64, saved: &Regs, at_entry: bool) -> io::Result<Self> {
        let mask = ptrace::get_sigmask(tid)?;
        ptrace::set_sigmask(tid, u64::MAX)?;
        let remote = Remote { tid, gadget, saved: *saved, mask };
        if at_entry {
            let mut regs = ptrace::get_regs(tid)?;
            regs[reg::CALL] = NO_CALL;
            ptrace::set_regs(tid, &regs)?;
            remote.next_stop()?;
        }
        Ok(remote)
    }

    fn next_stop(&self) -> io::Result<()> {
        ptrace::resume_to_syscall(self.tid, 0)?;
        loop {
            match ptrace::wait(self.tid)?.1 {
                Stop::Syscall => return Ok(()),
                Stop::Exited(_) | Stop::Killed(_) => {
                    return Err(io::Error::other("the program died under the snapshotter"));
                }
                // A group stop or an event was under way: go on.
                _ => ptrace::resume_to_syscall(self.tid, 0)?,
            }
        }
    }

    /// Executes one system call: the kernel's value, errors as `io::Error`.
    pub(crate) fn call(&self, number: i64, args: &[u64]) -> io::Result<u64> {
        let mut regs = self.saved;
        regs[reg::PC] = self.gadget;
        regs[reg::NUMBER] = number as u64;
        regs[reg::CALL] = NO_CALL;
        for (register, value) in ARGUMENTS.iter().zip(args.iter().chain(std::iter::repeat(&0))) {
            regs[*register] = *value;
        }
        ptrace::set_regs(self.tid, &regs)?;
        self.next_stop()?;
        self.next_stop()?;
        let value = ptrace::get_regs(self.tid)?[reg::RESULT];
        match value as i64 {
            error @ -4095..=-1 => Err(io::Error::from_raw_os_error(-error as i32)),
            _ => Ok(value),
        }
    }

    /// Puts registers and signal mask back.
    pub(crate) fn finish(self) -> io::Result<()> {
        let mut regs = self.saved;
        // The task is no longer in a system call, so the kernel restarts none.
        regs[reg::CALL] = NO_CALL;
        ptrace::set_regs(self.tid, &regs)?;
        ptrace::set_sigmask(self.tid, self.mask)
    }
}
