//! Interval timers and POSIX timers.

use super::refuse::{Blocker, DumpError};
use super::scratch::Scratch;
use crate::proc::timers::{Listed, SIGEV_THREAD_ID, parse};
use crate::tracee::ptrace::Tid;
use crate::tracee::{TraceError, Tracer};
use snapfn_format::snap::{TIMER_ITIMER, TIMER_POSIX, Timer};

const CLOCK_THREAD_CPUTIME_ID: i32 = 3;
const REMEDY: &str = "delete the timer before the snapshot point, or use CLOCK_MONOTONIC";

/// The clock as an instance names it; `None`: it belongs to a device or a thread that an instance lacks.
///
/// Clocks of CPU time have the inverted PID or TID in their upper bits (0: the caller's own), then the bit for a
/// thread's.
fn portable_clock(clock: i32, pid: Tid, threads: usize) -> Option<i32> {
    const THREAD: i32 = 4;
    const KIND: i32 = 3;
    const CLOCKFD: i32 = 3;
    if clock >= 0 {
        // The kernel does not report which thread's it is.
        return (clock != CLOCK_THREAD_CPUTIME_ID || threads == 1).then_some(clock);
    }
    let owner = !(clock >> 3);
    let own = owner == pid || (owner == 0 && (clock & THREAD == 0 || threads == 1));
    (clock & KIND != CLOCKFD && own).then_some(!7 | clock & 7)
}

const ITIMER_REAL: u32 = 0;

/// The rest of the interval timer of real time. While its SIGALRM is pending, a periodic one is not armed: the kernel
/// arms it again when the program receives the signal. An instance gets the pending signal, and the timer in the same
/// state: it expires at once, which adds no second signal.
fn armed(remaining: u64, interval: u64) -> u64 {
    const SHORTEST: u64 = 1000;
    if interval > 0 { remaining.max(SHORTEST) } else { remaining }
}

fn nanoseconds(seconds: u64, rest: u64) -> u64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// The POSIX timers of the process.
fn listed(tracer: &Tracer) -> Result<Vec<Listed>, TraceError> {
    let text = std::fs::read_to_string(format!("/proc/{}/timers", tracer.pid))
        .map_err(TraceError::system("/proc/PID/timers"))?;
    parse(&text).ok_or_else(|| TraceError::Split("/proc/PID/timers is not understood".into()))
}

/// The clock of a POSIX timer, and the number of the thread that it notifies; `None`: an instance cannot have it.
fn carried(timer: &Listed, tracer: &Tracer, tids: &[Tid], blockers: &mut Vec<Blocker>) -> Option<(i32, usize)> {
    let mut refuse = |what: String| {
        blockers.push(Blocker { subject: format!("POSIX timer {}", timer.id), what, remedy: REMEDY });
    };
    let Some(clock) = portable_clock(timer.clock, tracer.pid, tids.len()) else {
        refuse(format!("runs on the clock of a device or of one thread among several (clock {})", timer.clock));
        return None;
    };
    let thread = match timer.notify & SIGEV_THREAD_ID {
        0 => Some(0),
        _ => tids.iter().position(|tid| *tid == timer.target),
    };
    if thread.is_none() {
        refuse("notifies a thread that has ended".to_owned());
    }
    Some((clock, thread?))
}

/// Adds a blocker for each timer that an instance cannot have.
pub(super) fn check(tracer: &Tracer, tids: &[Tid], blockers: &mut Vec<Blocker>) -> Result<(), TraceError> {
    for timer in listed(tracer)? {
        let _ = carried(&timer, tracer, tids, blockers);
    }
    Ok(())
}

/// All timers, with the time that is left of them now.
pub(super) fn gather(
    tracer: &Tracer,
    tids: &[Tid],
    scratch: &Scratch<'_>,
    blockers: &mut Vec<Blocker>,
) -> Result<Vec<Timer>, DumpError> {
    let mut timers = Vec::new();
    for id in 0..3u32 {
        let [is, ius, vs, vus] = scratch.call(libc::SYS_getitimer, &[u64::from(id), scratch.addr])?;
        let (remaining, interval) = (nanoseconds(vs, vus * 1000), nanoseconds(is, ius * 1000));
        let remaining = if id == ITIMER_REAL { armed(remaining, interval) } else { remaining };
        if remaining != 0 {
            timers.push(Timer { kind: TIMER_ITIMER, id, remaining, interval, ..Timer::default() });
        }
    }
    for timer in listed(tracer)? {
        let Some((clock, thread)) = carried(&timer, tracer, tids, blockers) else { continue };
        let [is, ins, vs, vns] = scratch.call(libc::SYS_timer_gettime, &[u64::from(timer.id), scratch.addr])?;
        timers.push(Timer {
            kind: TIMER_POSIX,
            id: timer.id,
            clock: clock as u32,
            notify: timer.notify,
            signo: timer.signo,
            thread: thread as u32,
            value: timer.value,
            remaining: nanoseconds(vs, vns),
            interval: nanoseconds(is, ins),
            reserved: 0,
        });
    }
    Ok(timers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks() {
        assert_eq!(portable_clock(libc::CLOCK_MONOTONIC, 100, 3), Some(1));
        assert_eq!(portable_clock(CLOCK_THREAD_CPUTIME_ID, 100, 1), Some(3));
        assert_eq!(portable_clock(CLOCK_THREAD_CPUTIME_ID, 100, 2), None);
        let cpu_clock = |owner: i32, bits: i32| (!owner << 3) | bits;
        assert_eq!(portable_clock(cpu_clock(100, 2), 100, 2), Some(cpu_clock(0, 2)));
        assert_eq!(portable_clock(cpu_clock(100, 4 | 2), 100, 2), Some(cpu_clock(0, 4 | 2)));
        assert_eq!(portable_clock(cpu_clock(101, 4 | 2), 100, 2), None);
        assert_eq!(portable_clock(cpu_clock(55, 2), 100, 1), None);
        assert_eq!(portable_clock(cpu_clock(5, 3), 100, 1), None); // a dynamic clock: descriptor 5
    }

    #[test]
    fn a_periodic_timer_whose_signal_is_pending_stays_armed() {
        assert_eq!([armed(0, 0), armed(5000, 0), armed(0, 100_000), armed(5000, 100_000)], [0, 5000, 1000, 5000]);
    }
}
