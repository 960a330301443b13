//! Dispositions, and pending signals.

use super::refuse::{Blocker, DumpError};
use super::scratch::Scratch;
use crate::tracee::ptrace::{self, SigInfo, Tid};
use crate::tracee::{Frozen, Status, TraceError, Tracer};
use snapfn_format::snap::SigAction;

const SIG_DFL: u64 = 0;
const SIG_IGN: u64 = 1;
const SI_TKILL: i32 = -6;

/// A pending signal: index of its thread (`u32::MAX`: the process's) and the handler's siginfo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) thread: u32,
    pub(super) signo: u32,
    pub(super) info: SigInfo,
}

/// Dispositions that the program has set. Inherited ones (ignored signals, all others the default) are those of an
/// instance's starter. The kernel keeps neither flags nor mask over `execve`, so an inherited disposition differs from
/// one that the program has set to the same handler.
pub(super) fn dispositions(tracer: &Tracer, scratch: &Scratch<'_>) -> Result<Vec<SigAction>, TraceError> {
    let inherited = tracer.spawned.initial.set("SigIgn");
    let mut actions = Vec::new();
    for signo in (1..=64u32).filter(|signo| !matches!(*signo as i32, libc::SIGKILL | libc::SIGSTOP)) {
        let words: [u64; 4] = scratch.call(libc::SYS_rt_sigaction, &[u64::from(signo), 0, scratch.addr, 8])?;
        let [handler, flags, restorer, mask] = words;
        let initial = if inherited & (1 << (signo - 1)) != 0 { SIG_IGN } else { SIG_DFL };
        if (handler, flags, mask) != (initial, 0, 0) {
            actions.push(SigAction { signo, reserved: 0, handler, flags, restorer, mask });
        }
    }
    Ok(actions)
}

/// What is pending, in the order in which it was sent; nothing is taken from the queues.
fn pending(tracer: &Tracer, frozen: &[Frozen]) -> Result<Vec<Pending>, TraceError> {
    let mut all = queued(tracer, tracer.pid, u32::MAX)?;
    for (index, task) in frozen.iter().enumerate() {
        all.extend(queued(tracer, task.tid, index as u32)?);
    }
    Ok(all)
}

/// What is pending for task `tid`, which is stopped, as thread number `thread`.
pub(super) fn queued(tracer: &Tracer, tid: Tid, thread: u32) -> Result<Vec<Pending>, TraceError> {
    let shared = thread == u32::MAX;
    let infos = ptrace::peek_siginfo(tid, shared).map_err(TraceError::system("ptrace(PTRACE_PEEKSIGINFO)"))?;
    let mut queue: Vec<Pending> =
        infos.iter().map(|info| Pending { thread, signo: info.word(0) as u32, info: *info }).collect();
    // At RLIMIT_SIGPENDING the kernel forgets the siginfo of a standard signal and makes up one of zeros.
    let status = Status::read(tracer.pid, tid).map_err(TraceError::system("/proc/PID/status"))?;
    let set = status.set(if shared { "ShdPnd" } else { "SigPnd" });
    for signo in (1..=64u32).filter(|signo| set & (1 << (signo - 1)) != 0) {
        if queue.iter().all(|signal| signal.signo != signo) {
            queue.push(Pending { thread, signo, info: SigInfo::of(signo) });
        }
    }
    queue.retain(|signal| signal.signo != libc::SIGKILL as u32);
    Ok(queue)
}

/// Refuses a signal that an instance has no right to send: no process can direct a signal with the kernel's codes at
/// another thread.
pub(super) fn check(pending: &[Pending], tids: &[Tid], blockers: &mut Vec<Blocker>) {
    for signal in pending.iter().filter(|signal| signal.thread != u32::MAX && signal.thread != 0) {
        let code = signal.info.word(8);
        if code >= 0 && code != SI_TKILL {
            let tid = tids.get(signal.thread as usize).copied().unwrap_or(0);
            blockers.push(Blocker {
                subject: format!("thread {tid}"),
                what: format!(
                    "has a pending {} from the kernel (code {code})",
                    ptrace::signal_name(signal.signo as i32)
                ),
                remedy: "accept or unblock it before the snapshot point",
            });
        }
    }
}

/// Reads `read` between two looks at the pending signals, until nothing has come in between: a timer that expires
/// is then either seen to be armed or its signal is pending, never both or neither.
pub(super) fn stable<T>(
    tracer: &Tracer,
    frozen: &[Frozen],
    mut read: impl FnMut() -> Result<T, DumpError>,
) -> Result<(Vec<Pending>, T), DumpError> {
    const ATTEMPTS: usize = 32;
    let mut before = pending(tracer, frozen)?;
    for _ in 0..ATTEMPTS {
        let value = read()?;
        let after = pending(tracer, frozen)?;
        if after == before {
            return Ok((after, value));
        }
        before = after;
    }
    Err(DumpError::Refused(vec![Blocker {
        subject: "process".to_owned(),
        what: "is sent signals without a pause".to_owned(),
        remedy: "stop the sender before the snapshot point",
    }]))
}
