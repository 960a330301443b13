//! Dispositions, and signals that were pending.

use super::RestoreError;
use super::threads::Frames;
use crate::runtime::sys::{self, nr};
use snapfn_format::snap::*;

/// `si_code` of a signal that `kill` has sent.
const SI_USER: i32 = 0;
/// By `sigqueue`.
const SI_QUEUE: i32 = -1;
/// By a message queue.
const SI_MESGQ: i32 = -3;
/// By `tgkill`.
const SI_TKILL: i32 = -6;
/// Codes whose siginfo names the sender.
const SENT: [i32; 4] = [SI_USER, SI_QUEUE, SI_MESGQ, SI_TKILL];
/// [`PendingSignal::thread`] of a signal to the process.
const TO_PROCESS: u32 = u32::MAX;

/// `siginfo_t`: `si_code`, `si_pid` and `si_uid` of signals with a sender.
const CODE: usize = 8;
const PID: usize = 16;
const UID: usize = 20;

/// Sets dispositions that differ from the starter's.
///
/// # Safety
/// All signals are blocked until the frames are loaded.
pub(super) unsafe fn dispositions<'a>(plan: &Plan<'a>) -> Result<(), RestoreError<'a>> {
    for action in plan.sigactions {
        let kernel = [action.handler, action.flags, action.restorer, action.mask];
        // SAFETY: the program's own handlers.
        unsafe { sys::rt_sigaction(action.signo, &kernel) }
            .map_err(|errno| RestoreError::Attribute("disposition of signal", action.signo, errno))?;
    }
    Ok(())
}

fn word(info: &[u8; 128], at: usize) -> i32 {
    info.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_le_bytes)
}

/// Queues the pending signals, in order. Those that the program had sent to itself name its new PID as the sender.
///
/// A process may send any siginfo to itself, but a thread to another one only codes below 0 other than SI_TKILL; that
/// one `tgkill` makes (the snapshotter refuses the rest).
///
/// # Safety
/// All threads exist and block all signals.
pub(super) unsafe fn pending<'a>(plan: &Plan<'a>, frames: &Frames) -> Result<(), RestoreError<'a>> {
    // SAFETY: integers, and the siginfo below.
    let call = |number, args: [u64; 6]| unsafe { sys::raw(number, args) };
    let id = |number| call(number, [0; 6]).unwrap_or(0) as u64;
    for signal in plan.pending {
        let mut info = [0u8; 128];
        info.copy_from_slice(plan.bytes(signal.info));
        let pid = id(nr::GETPID);
        let code = word(&info, CODE);
        if SENT.contains(&code) && word(&info, PID) as u32 == plan.header.process.pid {
            for (at, value) in [(PID, pid as u32), (UID, id(nr::GETUID) as u32)] {
                for (to, byte) in info.iter_mut().skip(at).zip(value.to_le_bytes()) {
                    *to = byte;
                }
            }
        }
        let signo = u64::from(signal.signo);
        let address = info.as_ptr() as u64;
        let sent = match signal.thread {
            TO_PROCESS => call(nr::RT_SIGQUEUEINFO, [pid, signo, address, 0, 0, 0]),
            // SAFETY: all threads exist.
            index => match u64::from(unsafe { frames.tid(index as usize) }) {
                tid if index > 0 && code == SI_TKILL => call(nr::TGKILL, [pid, tid, signo, 0, 0, 0]),
                tid => call(nr::RT_TGSIGQUEUEINFO, [pid, tid, signo, address, 0, 0]),
            },
        };
        sent.map_err(|errno| RestoreError::Attribute("pending signal", signal.signo, errno))?;
    }
    Ok(())
}
