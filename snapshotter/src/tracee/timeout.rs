//! The rest of the timeout of a system call that a stop has interrupted.
//!
//! The kernel does not report the end of a relative timeout (`restart_block`), and drops it if a call returns EINTR.
//! But the tracer sees every entry, so it knows the time that has passed since then.

use super::memory::Memory;
use super::ptrace::Regs;
use snapfn_format::arch::ARGUMENTS;
use snapfn_format::snap::{REGS, TIMEOUT_MILLISECONDS, TIMEOUT_TIMESPEC};

/// A task's last system call: number and CLOCK_MONOTONIC at its entry, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entered {
    pub(crate) number: u64,
    pub(crate) at: u64,
    /// Its relative timeout. It is read at the entry, since the kernel may write to the same memory when a stop ends
    /// the wait: `nanosleep(&t, &t)`, as `sleep` of C libraries makes it.
    whole: Option<u64>,
}

impl Entered {
    /// Records a task that is about to make system call `number`.
    pub(crate) fn now(memory: &Memory, number: u64, args: &[u64; 6]) -> Self {
        let mut regs = [0; REGS];
        ARGUMENTS.iter().zip(args).for_each(|(register, arg)| regs[*register] = *arg);
        let whole = timed(number as i64, &regs).and_then(|(arg, form)| whole(memory, regs[arg], form));
        Entered { number, at: now(), whole }
    }
}

/// The rest of a timeout, and the argument that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remaining {
    /// Nanoseconds.
    pub(crate) timeout: u64,
    /// `TIMEOUT_…`.
    pub(crate) form: u32,
    /// Index into the registers.
    pub(crate) arg: usize,
}

/// Nanoseconds since boot, in CLOCK_MONOTONIC.
pub(crate) fn now() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// The time of a clock in nanoseconds.
#[allow(unsafe_code)] // clock_gettime
pub(crate) fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a live local; on failure it stays zero.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64)
}

/// The register with the relative timeout of system call `number`, and its form.
fn timed(number: i64, regs: &Regs) -> Option<(usize, u32)> {
    const TIMER_ABSTIME: u64 = 1;
    /// FUTEX_WAIT without FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME; all other operations have absolute times.
    const FUTEX_WAIT: u64 = 0;
    match number {
        libc::SYS_nanosleep => Some((ARGUMENTS[0], TIMEOUT_TIMESPEC)),
        libc::SYS_clock_nanosleep if regs[ARGUMENTS[1]] & TIMER_ABSTIME == 0 => Some((ARGUMENTS[2], TIMEOUT_TIMESPEC)),
        libc::SYS_futex if regs[ARGUMENTS[1]] & 0x7f == FUTEX_WAIT => Some((ARGUMENTS[3], TIMEOUT_TIMESPEC)),
        libc::SYS_rt_sigtimedwait => Some((ARGUMENTS[2], TIMEOUT_TIMESPEC)),
        libc::SYS_semtimedop | libc::SYS_epoll_pwait2 => Some((ARGUMENTS[3], TIMEOUT_TIMESPEC)),
        libc::SYS_recvmmsg | libc::SYS_io_getevents => Some((ARGUMENTS[4], TIMEOUT_TIMESPEC)),
        // select, pselect6 and ppoll write the remaining time into the program's memory themselves.
        libc::SYS_poll => Some((ARGUMENTS[2], TIMEOUT_MILLISECONDS)),
        libc::SYS_epoll_wait | libc::SYS_epoll_pwait => Some((ARGUMENTS[3], TIMEOUT_MILLISECONDS)),
        _ => None,
    }
}

/// The timeout that `argument` holds, in nanoseconds; `None` if there is no limit.
fn whole(memory: &Memory, argument: u64, form: u32) -> Option<u64> {
    if form != TIMEOUT_TIMESPEC {
        return u64::try_from(argument as i32).ok()?.checked_mul(1_000_000);
    }
    let (seconds, nanoseconds) = match argument {
        0 => return None,
        addr => (memory.read_u64(addr).ok()?, memory.read_u64(addr + 8).ok()?),
    };
    // The timeout is longer than a century, or not valid, so a restart cannot get it wrong.
    (seconds < 1 << 32 && nanoseconds < 1_000_000_000).then(|| seconds * 1_000_000_000 + nanoseconds)
}

/// The rest, at `now`, of the timeout of the call in `regs`; `None` if it has none. If the entry of the call was not
/// seen (`None`), the rest is the whole timeout.
pub(crate) fn remaining(
    memory: &Memory,
    number: i64,
    regs: &Regs,
    entered: Option<Entered>,
    now: u64,
) -> Option<Remaining> {
    let (arg, form) = timed(number, regs)?;
    let (whole, since) = match entered {
        Some(entered) => (entered.whole?, entered.at),
        None => (whole(memory, regs[arg], form)?, now),
    };
    Some(Remaining { timeout: whole.saturating_sub(now.saturating_sub(since)), form, arg })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_memory() -> Memory {
        Memory::open(std::process::id() as i32).unwrap()
    }

    fn entered(number: i64, args: [u64; 3]) -> Entered {
        Entered::now(&own_memory(), number as u64, &[args[0], args[1], args[2], 0, 0, 0])
    }

    #[test]
    fn milliseconds() {
        let mut regs = [0; REGS];
        regs[ARGUMENTS[2]] = 1500;
        let call = entered(libc::SYS_poll, [0, 0, 1500]);
        let rest = |passed| {
            let seen = Some(call);
            remaining(&own_memory(), libc::SYS_poll, &regs, seen, call.at + passed).unwrap().timeout
        };
        assert_eq!(rest(500_000_000), 1_000_000_000);
        assert_eq!(rest(2_000_000_000), 0);
        regs[ARGUMENTS[2]] = u64::from(u32::MAX); // −1: for ever
        assert_eq!(remaining(&own_memory(), libc::SYS_poll, &regs, None, 1), None);
    }

    #[test]
    fn timespec_in_memory() {
        let mut time = [2u64, 500_000_000];
        let addr = time.as_mut_ptr();
        let mut regs = [0; REGS];
        regs[ARGUMENTS[0]] = addr as u64;
        let call = entered(libc::SYS_nanosleep, [addr as u64, addr as u64, 0]);
        // The kernel overwrites it with the rest in the same way.
        time = [1, 500_000_000];
        assert_eq!(std::hint::black_box(time)[0], 1);
        let rest = |seen| remaining(&own_memory(), libc::SYS_nanosleep, &regs, seen, call.at + 1_000_000_000);
        let expected = |timeout| Some(Remaining { timeout, form: TIMEOUT_TIMESPEC, arg: ARGUMENTS[0] });
        assert_eq!(rest(Some(call)), expected(1_500_000_000));
        assert_eq!(rest(None), expected(1_500_000_000));
    }

    #[test]
    fn absolute_and_endless_calls_have_none() {
        let mut regs = [0; REGS];
        assert_eq!(remaining(&own_memory(), libc::SYS_futex, &regs, None, 1), None);
        regs[ARGUMENTS[1]] = 1;
        assert_eq!(remaining(&own_memory(), libc::SYS_clock_nanosleep, &regs, None, 1), None);
        assert_eq!(remaining(&own_memory(), libc::SYS_read, &regs, None, 1), None);
    }
}
