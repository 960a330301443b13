//! Stops every task at the snapshot point, and rewinds each out of its system call.
//!
//! If the stop has interrupted a task inside a system call, rax has the kernel's internal restart code. The kernel
//! would act on it when the task resumes. An instance has no such kernel state, so this module rewinds the registers as
//! the kernel would (arch/x86/kernel/signal.c):
//!
//! | rax | calls | rewound to |
//! |---|---|---|
//! | ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND | read, accept, wait4, futex, pause, sigsuspend, ppoll, … | the call |
//! | ERESTART_RESTARTBLOCK | nanosleep, poll, futex with a timeout | instance: the call with the time that is left; the program itself: `restart_syscall`, for the kernel still knows the end |
//! | EINTR | [`answers_eintr`] | the call with the time that is left |
//!
//! That is also right for EINTR from a real signal: the signal is still pending (the kernel stops for its tracer
//! first), and its handler runs before the call instead of during it. The calls are those of signal(7) that fail so
//! "even in the absence of signal handlers". None of them has had an effect when it returns EINTR.

use super::ptrace::{self, Regs, Stop, SyscallStop, Tid};
use super::run::{Reached, Task, Tracer};
use super::timeout::{self, Remaining};
use super::{Status, TraceError};
use snapfn_format::arch::{
    self, ARGUMENTS, NO_CALL, RESUME_BLOCK, RESUME_SAVED, RESUME_TARGET, SYSCALL_LEN, SYSCALL_RET, reg,
};
use snapfn_format::snap::{TIMEOUT_DEAD, resident};
use std::io;
use std::time::{Duration, Instant};

/// A task that is stopped for the dump.
#[derive(Clone, Debug)]
pub(crate) struct Frozen {
    pub(crate) tid: Tid,
    /// The task is stopped at a system call's entry. The call must be skipped before the task runs another one.
    pub(crate) at_entry: bool,
    /// Registers of an instance.
    pub(crate) instance: Regs,
    /// The rest of the timeout of the system call that an instance restarts.
    pub(crate) timeout: Option<Remaining>,
    /// Registers with which the program itself goes on.
    pub(crate) survivor: Regs,
}

const ERESTARTSYS: i64 = -512;
const ERESTARTNOINTR: i64 = -513;
const ERESTARTNOHAND: i64 = -514;
const ERESTART_RESTARTBLOCK: i64 = -516;

/// Whether system call `number` returns EINTR when a stop interrupts it, and the kernel never restarts it.
fn answers_eintr(number: i64) -> bool {
    match number {
        libc::SYS_epoll_wait | libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2 => true,
        libc::SYS_rt_sigtimedwait | libc::SYS_semop | libc::SYS_semtimedop => true,
        libc::SYS_msgrcv | libc::SYS_msgsnd | libc::SYS_io_getevents => true,
        // Calls with a timeout in memory to which the kernel does not write the rest.
        libc::SYS_select | libc::SYS_pselect6 | libc::SYS_ppoll => true,
        // Sockets with SO_RCVTIMEO or SO_SNDTIMEO.
        libc::SYS_accept | libc::SYS_accept4 | libc::SYS_connect => true,
        libc::SYS_read | libc::SYS_readv | libc::SYS_recvfrom | libc::SYS_recvmsg | libc::SYS_recvmmsg => true,
        libc::SYS_write | libc::SYS_writev | libc::SYS_sendto | libc::SYS_sendmsg | libc::SYS_sendmmsg => true,
        _ => false,
    }
}

/// A task outside of any system call.
#[derive(Clone, Copy, Debug)]
struct Rewound {
    instance: Regs,
    survivor: Regs,
    /// The system call that is executed again.
    again: Option<i64>,
}

/// Rewinds `regs` of a stopped task out of its system call. `entered` is the number of the call that it entered last.
fn rewind(regs: &Regs, entered: Option<u64>) -> Rewound {
    let number = match regs[reg::CALL] as i64 {
        libc::SYS_restart_syscall => entered.map_or(libc::SYS_restart_syscall, |number| number as i64),
        number => number,
    };
    let result = regs[reg::RESULT] as i64;
    let again = number >= 0
        && match result {
            ERESTARTSYS | ERESTARTNOINTR | ERESTARTNOHAND | ERESTART_RESTARTBLOCK => true,
            eintr if eintr == -i64::from(libc::EINTR) => answers_eintr(number),
            _ => false,
        };
    let mut instance = *regs;
    if !again {
        instance[reg::CALL] = NO_CALL;
        return Rewound { instance, survivor: instance, again: None };
    }
    arch::rewind(&mut instance, number as u64);
    let mut survivor = instance;
    if result == ERESTART_RESTARTBLOCK {
        survivor[reg::NUMBER] = libc::SYS_restart_syscall as u64;
    }
    Rewound { instance, survivor, again: Some(number) }
}

/// The registers with which a task makes its call again after a stop has ended it with EINTR; `None` if it is not in
/// such a call.
pub(super) fn again_after_eintr(regs: &Regs) -> Option<Regs> {
    let is_eintr = regs[reg::RESULT] as i64 == -i64::from(libc::EINTR);
    let Rewound { survivor, again, .. } = rewind(regs, None);
    again.filter(|_| is_eintr).map(|_| survivor)
}

impl Tracer {
    /// Stops all tasks. The task at the point has the registers that it had there. The main thread is first.
    pub(crate) fn freeze(&mut self, reached: &Reached) -> Result<Vec<Frozen>, TraceError> {
        let mut frozen = vec![Frozen {
            tid: reached.tid,
            at_entry: reached.at_entry,
            instance: reached.instance,
            timeout: reached.timeout,
            survivor: reached.survivor,
        }];
        self.stop_others(&mut frozen)?;
        Ok(frozen)
    }

    /// Tasks of the program that the kernel has not reported, since they were made with CLONE_UNTRACED.
    fn seize_untraced(&mut self) -> Result<bool, TraceError> {
        let system = TraceError::system;
        let tids = super::attach::tasks(self.pid).map_err(system("/proc/PID/task"))?;
        let mut found = false;
        for tid in tids.into_iter().filter(|tid| !self.in_vfork.contains(tid)) {
            let is_new = !self.tasks.contains_key(&tid);
            if !is_new || Status::read(self.pid, tid).is_ok_and(|status| status.has_ended()) {
                continue;
            }
            match ptrace::seize(tid, ptrace::OPTIONS) {
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => continue,
                // A traced task has made this one, and the kernel has not reported it yet.
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => {}
                other => other.map_err(system("ptrace(PTRACE_SEIZE)"))?,
            }
            self.tasks.insert(tid, Task::default());
            found = true;
        }
        Ok(found)
    }

    /// Whether the task waits for a child that it has made by vfork.
    fn waits_in_vfork(&self, tid: Tid) -> bool {
        let is_asleep = || Status::read(self.pid, tid).is_ok_and(|status| status.get("State").starts_with('D'));
        self.tasks.get(&tid).is_some_and(|task| task.in_vfork) && is_asleep()
    }

    /// Waits for the next stop of a task, which may be in a system call that no stop interrupts.
    fn next_stop(&self, tid: Tid) -> Result<Stop, TraceError> {
        let system = TraceError::system;
        let start = Instant::now();
        while !ptrace::has_stopped(tid).map_err(system("waitid"))? {
            self.deadline.check().map_err(|_| TraceError::Stuck { tid })?;
            match start.elapsed() < Duration::from_millis(1) {
                true => std::thread::yield_now(),
                false => std::thread::sleep(Duration::from_micros(200)),
            }
        }
        Ok(ptrace::wait(tid).map_err(system("wait4"))?.1)
    }

    /// Stops every task that is not in `frozen` yet. Afterwards the main thread is first.
    fn stop_others(&mut self, frozen: &mut Vec<Frozen>) -> Result<(), TraceError> {
        let system = TraceError::system;
        loop {
            let missing: Vec<Tid> =
                self.tasks.keys().copied().filter(|tid| !frozen.iter().any(|task| task.tid == *tid)).collect();
            if missing.is_empty() && !self.seize_untraced()? {
                break;
            }
            for tid in missing {
                if self.waits_in_vfork(tid) {
                    self.tasks.remove(&tid);
                    self.in_vfork.push(tid);
                    continue;
                }
                if Status::read(self.pid, tid).is_ok_and(|status| status.has_ended()) {
                    // The kernel reports the end of the first thread when all others have ended, too.
                    self.tasks.remove(&tid);
                    continue;
                }
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
        Ok(())
    }

    pub(super) fn wait_stopped(&mut self, tid: Tid) -> Result<Option<Frozen>, TraceError> {
        let system = TraceError::system;
        loop {
            let at_entry = match self.next_stop(tid)? {
                Stop::Exited(_) | Stop::Killed(_) => {
                    self.tasks.remove(&tid);
                    return Ok(None);
                }
                Stop::Syscall => {
                    self.leave_vfork(tid)?;
                    match ptrace::syscall_stop(tid).map_err(system("system call information"))? {
                        SyscallStop::Entry(_) => true,
                        SyscallStop::Exit(exit) => {
                            self.ledger.leave(tid, exit);
                            false
                        }
                        SyscallStop::None => false,
                    }
                }
                Stop::NewTask(event) => {
                    self.new_task(tid, event)?;
                    ptrace::resume_to_syscall(tid, 0).map_err(system("ptrace(PTRACE_SYSCALL)"))?;
                    // The requested stop comes when the child no longer uses the memory.
                    if self.waits_in_vfork(tid) {
                        self.tasks.remove(&tid);
                        self.in_vfork.push(tid);
                        return Ok(None);
                    }
                    continue;
                }
                Stop::Exec => return Err(TraceError::Replaced),
                // The signal is delivered first: the handler's frame is then part of the snapshot.
                Stop::Signal(signal) => {
                    ptrace::resume_to_syscall(tid, signal).map_err(system("ptrace(PTRACE_SYSCALL)"))?;
                    continue;
                }
                _ => false,
            };
            return self.frozen(tid, at_entry).map(Some);
        }
    }

    fn frozen(&mut self, tid: Tid, at_entry: bool) -> Result<Frozen, TraceError> {
        let mut regs = ptrace::get_regs(tid).map_err(TraceError::system("registers"))?;
        let now = timeout::now();
        let task = self.tasks.entry(tid).or_default();
        if at_entry {
            let args = ARGUMENTS.map(|register| regs[register]);
            task.enter(&self.memory, regs[reg::CALL], &args);
            // The task counts as stopped in the call, or in the sleep that it is about to continue.
            regs[reg::RESULT] = match regs[reg::CALL] as i64 {
                libc::SYS_restart_syscall => ERESTART_RESTARTBLOCK,
                _ => ERESTARTNOINTR,
            } as u64;
        } else if let Some(answer) = task.answer.take() {
            regs[reg::RESULT] = answer;
        }
        let entered = task.entered;
        self.leave_critical_section(tid, &mut regs);
        let Rewound { mut instance, survivor, again } = rewind(&regs, entered.map(|entered| entered.number));
        // The first instruction of the stub is the call itself, with the rest of its timeout.
        let again = again.or_else(|| (instance[reg::PC] == self.stub()).then_some(instance[reg::NUMBER] as i64));
        let timeout = again.and_then(|number| {
            let entered = entered.filter(|entered| entered.number as i64 == number);
            timeout::remaining(&self.memory, number, &regs, entered, now)
        });
        self.leave_stub(&mut instance).map_err(TraceError::system("reading a thread's block"))?;
        let timeout = timeout.map(|rest| match self.is_last_call(instance[reg::PC]) {
            true => Remaining { form: rest.form | TIMEOUT_DEAD, ..rest },
            false => rest,
        });
        Ok(Frozen { tid, at_entry, instance, timeout, survivor })
    }

    /// Whether the instructions at `rip` are `syscall; ret`. The function may then change its argument registers.
    fn is_last_call(&self, rip: u64) -> bool {
        let mut code = [0; 3];
        self.memory.read(rip, &mut code).is_ok() && code == SYSCALL_RET
    }

    fn stub(&self) -> u64 {
        self.booted.request.resident + resident::STUB_RESUME
    }

    /// A thread of an instance may still be in the system call that it restarted with the rest of its timeout
    /// ([`resident::STUB_RESUME`]): gives it the program's own registers.
    fn leave_stub(&self, regs: &mut Regs) -> io::Result<()> {
        let offset = regs[reg::PC].wrapping_sub(self.stub());
        if offset == resident::RESUME_JUMP {
            regs[reg::PC] = regs[RESUME_TARGET];
        }
        if offset >= resident::RESUME_JUMP {
            return Ok(());
        }
        let block = regs[RESUME_BLOCK];
        for (i, register) in RESUME_SAVED.iter().chain(&[reg::PC]).enumerate() {
            regs[*register] = self.memory.read_u64(block + resident::RESUME_REGS + 8 * i as u64)?;
        }
        if offset < SYSCALL_LEN {
            regs[reg::PC] -= SYSCALL_LEN;
        }
        Ok(())
    }

    /// Lets the program go on by itself, from where it was stopped. If a task cannot go on, the others still do.
    pub(crate) fn release(&mut self, frozen: &[Frozen]) -> Result<(), TraceError> {
        let mut result = Ok(());
        self.second = None;
        let _ = self.bring_clocks_back(frozen);
        for task in frozen {
            let released = ptrace::set_regs(task.tid, &task.survivor)
                .map_err(TraceError::system("registers"))
                .and_then(|()| ptrace::detach(task.tid, 0).map_err(TraceError::system("ptrace(PTRACE_DETACH)")));
            result = result.and(released);
        }
        result
    }

    /// Whether some task has a seccomp filter that is not the snapshotter's.
    pub(crate) fn is_filtered(&self) -> bool {
        let own = Status::read(std::process::id() as Tid, std::process::id() as Tid).unwrap_or_default();
        let of = |tid: &Tid| Status::read(self.pid, *tid).unwrap_or_default();
        self.tasks.keys().any(|tid| of(tid).seccomp() != own.seccomp())
    }

    /// A task inside a restartable sequence goes on at its abort handler, as after any preemption. The kernel cannot do
    /// that any more after the task has run system calls for the snapshotter.
    fn leave_critical_section(&self, tid: Tid, regs: &mut Regs) {
        let rseq = ptrace::get_rseq(tid).unwrap_or_default();
        let word = |addr: u64| self.memory.read_u64(addr).unwrap_or(0);
        if rseq.addr == 0 {
            return;
        }
        // struct rseq_cs: version and flags, start, length, abort handler.
        let section = word(rseq.addr + 8);
        if section != 0 && regs[reg::PC].wrapping_sub(word(section + 8)) < word(section + 16) {
            regs[reg::PC] = word(section + 24);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapfn_format::snap::REGS;

    fn stopped(number: i64, result: i64) -> Regs {
        let mut regs = [0; REGS];
        regs[reg::PC] = 0x1002;
        regs[reg::CALL] = number as u64;
        regs[reg::RESULT] = result as u64;
        regs
    }

    #[test]
    fn restart_codes_go_back_to_the_call() {
        for code in [ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK] {
            let regs = rewind(&stopped(libc::SYS_read, code), None).instance;
            assert_eq!((regs[reg::PC], regs[reg::NUMBER]), (0x1000, 0));
            assert_eq!(regs[reg::CALL], NO_CALL);
        }
    }

    #[test]
    fn the_program_itself_lets_the_kernel_restart_a_sleep() {
        let rewound = rewind(&stopped(libc::SYS_nanosleep, ERESTART_RESTARTBLOCK), None);
        assert_eq!(rewound.survivor[reg::NUMBER] as i64, libc::SYS_restart_syscall);
        assert_eq!(rewound.instance[reg::NUMBER] as i64, libc::SYS_nanosleep);
        assert_eq!(rewound.again, Some(libc::SYS_nanosleep));
    }

    #[test]
    fn a_restarted_call_is_known_by_its_entry() {
        let regs = stopped(libc::SYS_restart_syscall, ERESTART_RESTARTBLOCK);
        let rewound = rewind(&regs, Some(libc::SYS_poll as u64));
        assert_eq!((rewound.again, rewound.instance[reg::NUMBER] as i64), (Some(libc::SYS_poll), libc::SYS_poll));
    }

    #[test]
    fn results_stay() {
        let instance = |number, result| rewind(&stopped(number, result), None).instance;
        let regs = instance(libc::SYS_close, -4);
        assert_eq!((regs[reg::PC], regs[reg::RESULT] as i64), (0x1002, -4));
        let regs = instance(libc::SYS_read, -11);
        assert_eq!((regs[reg::PC], regs[reg::RESULT] as i64), (0x1002, -11));
        assert_eq!(instance(libc::SYS_epoll_wait, -4)[reg::PC], 0x1000);
        assert_eq!(instance(-1, ERESTARTSYS)[reg::PC], 0x1002);
    }
}
