//! Interval timers and POSIX timers, with the time that was left of them.

use super::RestoreError;
use super::image::Image;
use super::threads::Frames;
use crate::runtime::sys::{self, Errno};
use crate::runtime::task;
use snapfn_format::snap::*;

const SECOND: u64 = 1_000_000_000;
const SIGEV_THREAD_ID: u32 = 4;
/// Where no ID can be chosen, IDs count up from 0 in a fresh process: this makes and deletes timers until the
/// wanted ID comes.
const MAX_ATTEMPTS: u32 = 1 << 17;

/// Starts all timers; those of threads find them by `frames`. All threads block all signals.
pub(super) fn restore<'a>(image: &Image<'a>, frames: &Frames<'_, '_>) -> Result<(), RestoreError<'a>> {
    let mut by_id = None;
    for timer in image.timers {
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
            task::set_interval_timer(timer.id, &value).map_err(fail)?;
            continue;
        }
        let by_id = *by_id.get_or_insert_with(|| task::choose_timer_ids(true).is_ok());
        let tid = match timer.notify & SIGEV_THREAD_ID {
            0 => 0,
            _ => frames.tid(timer.thread as usize),
        };
        // struct sigevent: sigev_value, sigev_signo, sigev_notify, sigev_notify_thread_id
        let event =
            [timer.value, u64::from(timer.signo) | u64::from(timer.notify) << 32, u64::from(tid), 0, 0, 0, 0, 0];
        create(timer, &event, by_id).map_err(fail)?;
        let value =
            [timer.interval / SECOND, timer.interval % SECOND, timer.remaining / SECOND, timer.remaining % SECOND];
        task::set_timer(timer.id, &value).map_err(fail)?;
    }
    if by_id == Some(true) {
        let _ = task::choose_timer_ids(false);
    }
    Ok(())
}

fn create(timer: &Timer, event: &[u64; 8], by_id: bool) -> sys::Result<()> {
    for _ in 0..MAX_ATTEMPTS {
        let mut id = timer.id as i32;
        task::create_timer(timer.clock as i32, event, &mut id)?;
        if id as u32 == timer.id {
            return Ok(());
        }
        task::delete_timer(id)?;
        if by_id || id as u32 > timer.id {
            break;
        }
    }
    Err(Errno::INVAL)
}
