//! Stopping every task at the snapshot point, and taking each out of the system call that it is in.
//!
//! A task that our stop has interrupted inside a system call shows the kernel's internal restart code in rax.
//! The kernel would act on it when the task resumes; an instance has no such kernel state, so the registers are
//! rewound here as the kernel would (arch/x86/kernel/signal.c):
//! ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND → rip − 2, rax = orig_rax. ERESTART_RESTARTBLOCK (relative sleeps)
//! → issued again; EINTR from a call that nothing but our stop has interrupted → issued again.

use super::TraceError;
use super::ptrace::{self, Regs, Stop, Tid};
use super::run::{Reached, Tracer};
use snapfn_format::snap::reg;

/// A task that is stopped for the dump.
#[derive(Clone, Debug)]
pub(crate) struct Frozen {
    pub(crate) tid: Tid,
    /// Stopped at a system call's entry, which must be skipped before anything else is run.
    pub(crate) at_entry: bool,
    /// Registers of an instance.
    pub(crate) instance: Regs,
    /// Registers of the program itself when it goes on.
    pub(crate) survivor: Regs,
}

const ERESTARTSYS: i64 = -512;
const ERESTARTNOINTR: i64 = -513;
const ERESTARTNOHAND: i64 = -514;
const ERESTART_RESTARTBLOCK: i64 = -516;

/// Calls that answer EINTR, and are never restarted by the kernel, when a stop interrupts them.
const EINTR_CALLS: &[i64] = &[
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_msgrcv,
    libc::SYS_msgsnd,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_io_getevents,
];

/// Takes `regs` of a stopped task out of its system call.
pub(crate) fn rewind(regs: &Regs) -> Regs {
    let mut out = *regs;
    let number = regs[reg::ORIG_RAX] as i64;
    let again = number >= 0
        && match regs[reg::RAX] as i64 {
            ERESTARTSYS | ERESTARTNOINTR | ERESTARTNOHAND | ERESTART_RESTARTBLOCK => true,
            eintr if eintr == -i64::from(libc::EINTR) => EINTR_CALLS.contains(&number),
            _ => false,
        };
    if again {
        out[reg::RIP] = regs[reg::RIP].wrapping_sub(2);
        out[reg::RAX] = regs[reg::ORIG_RAX];
    }
    out[reg::ORIG_RAX] = u64::MAX;
    out
}

impl Tracer {
    /// Stops all tasks; the one at the point comes with the registers found there. The main thread is first.
    pub(crate) fn freeze(&mut self, reached: &Reached) -> Result<Vec<Frozen>, TraceError> {
        let system = TraceError::system;
        let mut frozen = vec![Frozen {
            tid: reached.tid,
            at_entry: reached.at_entry,
            instance: reached.instance,
            survivor: reached.survivor,
        }];
        loop {
            let missing: Vec<Tid> =
                self.tasks.keys().copied().filter(|tid| !frozen.iter().any(|task| task.tid == *tid)).collect();
            if missing.is_empty() {
                break;
            }
            for tid in missing {
                match ptrace::interrupt(tid) {
                    Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {
                        self.tasks.remove(&tid);
                    }
                    other => {
                        other.map_err(system("ptrace(PTRACE_INTERRUPT)"))?;
                        if let Some(task) = self.wait_stopped(tid)? {
                            frozen.push(task);
                        }
                    }
                }
            }
        }
        let pid = self.pid;
        frozen.sort_by_key(|task| (task.tid != pid, task.tid));
        Ok(frozen)
    }

    fn wait_stopped(&mut self, tid: Tid) -> Result<Option<Frozen>, TraceError> {
        let system = TraceError::system;
        loop {
            let at_entry = match ptrace::wait(tid).map_err(system("wait4"))?.1 {
                Stop::Exited(_) | Stop::Killed(_) => {
                    self.tasks.remove(&tid);
                    return Ok(None);
                }
                Stop::Syscall => ptrace::syscall_entry(tid).map_err(system("system call information"))?.is_some(),
                Stop::NewTask(_) => {
                    let new = ptrace::event_message(tid).map_err(system("ptrace event"))? as Tid;
                    self.tasks.insert(new, None);
                    ptrace::resume_to_syscall(tid, 0).map_err(system("ptrace(PTRACE_SYSCALL)"))?;
                    continue;
                }
                // Delivered first: the handler's frame is then part of the snapshot.
                Stop::Signal(signal) => {
                    ptrace::resume_to_syscall(tid, signal).map_err(system("ptrace(PTRACE_SYSCALL)"))?;
                    continue;
                }
                _ => false,
            };
            let regs = ptrace::get_regs(tid).map_err(system("registers"))?;
            let survivor = if at_entry {
                let mut again = regs;
                again[reg::RIP] -= 2;
                again[reg::RAX] = regs[reg::ORIG_RAX];
                again[reg::ORIG_RAX] = u64::MAX;
                again
            } else {
                rewind(&regs)
            };
            return Ok(Some(Frozen { tid, at_entry, instance: survivor, survivor }));
        }
    }

    /// Lets the program go on by itself, from where it was stopped.
    pub(crate) fn release(&mut self, frozen: &[Frozen]) -> Result<(), TraceError> {
        for task in frozen {
            ptrace::set_regs(task.tid, &task.survivor).map_err(TraceError::system("registers"))?;
            ptrace::detach(task.tid, 0).map_err(TraceError::system("ptrace(PTRACE_DETACH)"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapfn_format::snap::REGS;

    fn stopped(number: i64, result: i64) -> Regs {
        let mut regs = [0; REGS];
        regs[reg::RIP] = 0x1002;
        regs[reg::ORIG_RAX] = number as u64;
        regs[reg::RAX] = result as u64;
        regs
    }

    #[test]
    fn restart_codes_go_back_to_the_call() {
        for code in [ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK] {
            let regs = rewind(&stopped(libc::SYS_read, code));
            assert_eq!((regs[reg::RIP], regs[reg::RAX]), (0x1000, 0));
        }
    }

    #[test]
    fn results_stay() {
        let regs = rewind(&stopped(libc::SYS_read, -4));
        assert_eq!((regs[reg::RIP], regs[reg::RAX] as i64), (0x1002, -4));
        let regs = rewind(&stopped(libc::SYS_epoll_wait, -4));
        assert_eq!(regs[reg::RIP], 0x1000);
        let regs = rewind(&stopped(-1, ERESTARTSYS));
        assert_eq!(regs[reg::RIP], 0x1002);
    }
}
