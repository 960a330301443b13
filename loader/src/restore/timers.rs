//! Interval timers and POSIX timers, with the time that was left of them.

use super::RestoreError;
use super::threads::Frames;
use crate::runtime::sys::{self, Errno, PR_TIMER_CREATE_RESTORE_IDS, nr};
use snapfn_format::snap::*;

const SECOND: u64 = 1_000_000_000;
const SIGEV_THREAD_ID: u32 = 4;
/// Without PR_TIMER_CREATE_RESTORE_IDS, IDs count up from 0 in a fresh process: this makes and deletes timers until the
/// wanted ID comes.
const MAX_ATTEMPTS: u32 = 1 << 17;

fn call(number: usize, args: [u64; 6]) -> sys::Result<usize> {
    // SAFETY: integers, and live locals of the callers.
    unsafe { sys::raw(number, args) }
}

/// Starts all timers; those of threads find them by `frames`.
///
/// # Safety
/// All threads exist and block all signals.
pub(super) unsafe fn restore<'a>(plan: &Plan<'a>, frames: &Frames) -> Result<(), RestoreError<'a>> {
    let mut by_id = None;
    for timer in plan.timers {
        let fail = |errno| match timer.kind {
            TIMER_ITIMER => RestoreError::Attribute("setitimer", timer.id, errno),
            _ => RestoreError::Attribute("POSIX timer", timer.id, errno),
        };
        if timer.kind == TIMER_ITIMER {
            // Microseconds, rounded up: 0 would disarm it.
            let part = |ns: u64| [ns / SECOND, (ns % SECOND).div_ceil(1000)];
            let normal = |[s, us]: [u64; 2]| [s + us / 1_000_000, us % 1_000_000];
            let ([is, ius], [vs, vus]) = (normal(part(timer.interval)), normal(part(timer.remaining)));
            let value = [is, ius, vs, vus];
            call(nr::SETITIMER, [u64::from(timer.id), value.as_ptr() as u64, 0, 0, 0, 0]).map_err(fail)?;
            continue;
        }
        // SAFETY: integers only.
        let by_id =
            *by_id.get_or_insert_with(|| unsafe { sys::prctl(PR_TIMER_CREATE_RESTORE_IDS, 1, 0, 0, 0) }.is_ok());
        let tid = match timer.notify & SIGEV_THREAD_ID {
            0 => 0,
            // SAFETY: all threads exist.
            _ => unsafe { frames.tid(timer.thread as usize) },
        };
        // struct sigevent: sigev_value, sigev_signo, sigev_notify, sigev_notify_thread_id
        let event =
            [timer.value, u64::from(timer.signo) | u64::from(timer.notify) << 32, u64::from(tid), 0, 0, 0, 0, 0];
        create(timer, &event, by_id).map_err(fail)?;
        let value =
            [timer.interval / SECOND, timer.interval % SECOND, timer.remaining / SECOND, timer.remaining % SECOND];
        call(nr::TIMER_SETTIME, [u64::from(timer.id), 0, value.as_ptr() as u64, 0, 0, 0]).map_err(fail)?;
    }
    if by_id == Some(true) {
        // SAFETY: integers only.
        let _ = unsafe { sys::prctl(PR_TIMER_CREATE_RESTORE_IDS, 0, 0, 0, 0) };
    }
    Ok(())
}

fn create(timer: &Timer, event: &[u64; 8], by_id: bool) -> sys::Result<()> {
    for _ in 0..MAX_ATTEMPTS {
        let mut id = timer.id as i32;
        let clock = i64::from(timer.clock as i32) as u64;
        call(nr::TIMER_CREATE, [clock, event.as_ptr() as u64, &raw mut id as u64, 0, 0, 0])?;
        if id as u32 == timer.id {
            return Ok(());
        }
        call(nr::TIMER_DELETE, [id as u64, 0, 0, 0, 0, 0])?;
        if by_id || id as u32 > timer.id {
            break;
        }
    }
    Err(Errno::INVAL)
}
