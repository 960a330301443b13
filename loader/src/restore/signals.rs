//! Dispositions, and signals that were pending.

use super::RestoreError;
use super::image::Image;
use super::threads::Frames;
use crate::runtime::{sys, task};

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
#[allow(unsafe_code)] // installs handlers
pub(super) unsafe fn dispositions<'a>(image: &Image<'a>) -> Result<(), RestoreError<'a>> {
    for action in image.sigactions {
        let kernel = [action.handler, action.flags, action.restorer, action.mask];
        // SAFETY: the program's own handlers; none runs before the program does, as the caller promises.
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
/// one `tgkill` makes (the snapshotter refuses the rest). All threads block all signals.
pub(super) fn pending<'a>(image: &Image<'a>, frames: &Frames<'_, '_>) -> Result<(), RestoreError<'a>> {
    for signal in image.pending {
        let mut info = [0u8; 128];
        info.copy_from_slice(image.bytes(signal.info));
        let pid = task::pid();
        let code = word(&info, CODE);
        if SENT.contains(&code) && word(&info, PID) as u32 == image.header.process.pid {
            for (at, value) in [(PID, pid), (UID, task::uid())] {
                for (to, byte) in info.iter_mut().skip(at).zip(value.to_le_bytes()) {
                    *to = byte;
                }
            }
        }
        let signo = signal.signo;
        let sent = match signal.thread {
            TO_PROCESS => task::queue_signal(pid, signo, &info),
            index => match frames.tid(index as usize) {
                tid if index > 0 && code == SI_TKILL => task::signal_thread(pid, tid, signo),
                tid => task::queue_thread_signal(pid, tid, signo, &info),
            },
        };
        sent.map_err(|errno| RestoreError::Attribute("pending signal", signo, errno))?;
    }
    Ok(())
}
