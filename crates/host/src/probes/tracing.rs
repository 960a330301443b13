//! Stopping a program, reading its state, and letting it go on.

use nix::sys::ptrace::Options;
use snapfn_format::arch::{REGS, reg};

use crate::arch::sigframe::enabled_features;
use crate::child::Child;
use crate::finding::{Check, Detail, Finding, Judge, ensure, ensure_value, missing, unknown};
use crate::sys;
use crate::tracee::Tracee;
use crate::{Level, Probe};

pub(crate) const PROBES: &[Probe] = &[
    Probe::new(
        "seize-and-interrupt",
        Level::CreateNeeds,
        "3.4 and later",
        "threads are stopped without a signal that the program could see",
        "no snapshot can be made of a running program",
        seize_and_interrupt,
    ),
    Probe::new(
        "exit-kill",
        Level::CreateNeeds,
        "3.8 and later",
        "a snapshotter that dies leaves no stopped process behind",
        "after a crash of the snapshotter, stopped processes must be killed by hand",
        exit_kill,
    ),
    Probe::new(
        "restart-codes",
        Level::CreateNeeds,
        "all",
        "a thread that was stopped inside a system call is rewound as the kernel would",
        "a restored program sees EINTR, or a made-up result, from the call it was stopped in",
        restart_codes,
    ),
    Probe::new(
        "syscall-stops",
        Level::CreateNeeds,
        "2.4.6 and later; numbers in the stop itself since 5.3",
        "snapshot points at the entry of a system call",
        "--at syscall:… and --at ready cannot be used",
        syscall_stops,
    ),
    Probe::new(
        "signal-mask-of-tracee",
        Level::CreateNeeds,
        "3.11 and later",
        "the blocked signals of every thread are part of the snapshot",
        "they are read from /proc/PID/status, which rounds nothing but costs a file per thread",
        signal_mask,
    ),
    Probe::new(
        "xstate-of-tracee",
        Level::CreateNeeds,
        "2.6.35 and later",
        "the vector registers of every thread are part of the snapshot, with the set of components in use",
        "vector registers would be lost",
        xstate,
    ),
    Probe::new(
        "stop-by-real-time-signal",
        Level::CreateNeeds,
        "all",
        "wait4 and waitid report such a stop; nix's waitpid does not, hence the raw calls",
        "programs that use real-time signals during initialisation cannot be traced",
        real_time_stop,
    ),
];

/// A child that sleeps in `pause`, seized and stopped.
fn sleeper(prepare: impl FnOnce()) -> Result<Tracee, Finding> {
    let child = Child::spawn(|| {
        prepare();
        loop {
            sys::pause();
        }
    })
    .or_unknown("cannot fork")?;
    Tracee::seize(child, Options::PTRACE_O_EXITKILL | Options::PTRACE_O_TRACESYSGOOD)
        .or_missing("PTRACE_SEIZE or PTRACE_INTERRUPT was refused")
}

/// Lets the sleeper run until it is inside system call `number`, and stops it there.
fn stop_inside(tracee: &Tracee, number: i64) -> Result<[u64; REGS], Finding> {
    // The time that this takes is unknown. The watchdog ends the wait if it never happens.
    loop {
        let registers = tracee.registers().or_unknown("PTRACE_GETREGS failed")?;
        if registers[reg::CALL] as i64 == number {
            return Ok(registers);
        }
        tracee.resume().or_unknown("PTRACE_CONT failed")?;
        std::thread::yield_now();
        tracee.interrupt().or_unknown("PTRACE_INTERRUPT failed")?;
    }
}

/// **Symptom**: a stop with PTRACE_EVENT_STOP and no signal; the program goes on afterwards. **Sequence**:
/// PTRACE_SEIZE, PTRACE_INTERRUPT, wait with `__WALL`, PTRACE_CONT, PTRACE_INTERRUPT. **Kernels**: 3.4 and later.
/// **Workaround**: none. **Removable**: never.
fn seize_and_interrupt() -> Check {
    const PTRACE_EVENT_STOP: i32 = 128;
    let tracee = sleeper(|| {})?;
    tracee.resume().or_missing("PTRACE_CONT failed")?;
    let status = tracee.interrupt().or_missing("a second PTRACE_INTERRUPT failed")?;
    let stopped = libc::WIFSTOPPED(status) && status >> 16 == PTRACE_EVENT_STOP;
    ensure_value(stopped, "the stop has another wait status", status as u64)
}

/// **Symptom**: the tracee is killed when its tracer is gone. **Sequence**: a tracer seizes its own child with
/// PTRACE_O_EXITKILL and exits while it is stopped; the process that adopts the child sees SIGKILL. **Kernels**: 3.8
/// and later. **Workaround**: none. **Removable**: never.
fn exit_kill() -> Check {
    sys::adopt_orphans().or_unknown("cannot adopt orphans")?;
    let (from_tracer, tell) = sys::pipe().or_unknown("no pipe")?;
    let tracer = Child::spawn(|| {
        let tracee = Child::spawn(|| {
            // Otherwise the death of its parent would kill it in any case.
            sys::outlive_parent();
            loop {
                sys::pause();
            }
        })
        .and_then(|child| Tracee::seize(child, Options::PTRACE_O_EXITKILL));
        let Ok(tracee) = tracee else { return 1 };
        let told = nix::unistd::write(&tell, &tracee.pid().to_le_bytes());
        std::mem::forget(tracee);
        i32::from(told.is_err())
    })
    .or_unknown("cannot fork")?;
    drop(tell);
    let mut pid = [0; 4];
    let got = sys::read(&from_tracer, &mut pid).or_unknown("no word from the tracer")?;
    tracer.end().or_unknown("lost the tracer")?;
    if got != pid.len() {
        return Err(unknown("the tracer could not trace its own child", Detail::None));
    }
    let (_, status) = sys::wait4(i32::from_le_bytes(pid), libc::__WALL).or_unknown("the tracee was not adopted")?;
    let killed = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
    ensure_value(killed, "the tracee of a dead tracer has wait status", status as u64)
}

/// **Symptom**: orig_rax is the call; rax is −514 (ERESTARTNOHAND) for pause, −516 (ERESTART_RESTARTBLOCK) for
/// clock_nanosleep, −4 (EINTR) for epoll_wait. **Sequence**: stop a child inside each of the three. **Kernels**: all.
/// **Workaround**: −512…−514 are rewound (rip − 2, rax = orig_rax), −516 is issued again with the time that is left,
/// EINTR of epoll_*, sigtimedwait, msgrcv and semtimedop that our own stop caused is rewound, too. **Removable**:
/// never.
fn restart_codes() -> Check {
    let in_pause = stop_inside(&sleeper(|| {})?, libc::SYS_pause)?;
    ensure_value(in_pause[reg::RESULT] as i64 == -514, "stopped inside pause, rax is", in_pause[reg::RESULT])?;
    let sleep = || {
        let long = libc::timespec { tv_sec: 1000, tv_nsec: 0 };
        sys::sleep(&long);
    };
    let in_sleep = stop_inside(&sleeper(sleep)?, libc::SYS_clock_nanosleep)?;
    ensure_value(
        in_sleep[reg::RESULT] as i64 == -516,
        "stopped inside clock_nanosleep, rax is",
        in_sleep[reg::RESULT],
    )?;
    let in_epoll = stop_inside(&sleeper(sys::wait_for_nothing)?, libc::SYS_epoll_wait)?;
    ensure_value(in_epoll[reg::RESULT] as i64 == -4, "stopped inside epoll_wait, rax is", in_epoll[reg::RESULT])
}

/// **Symptom**: stops with SIGTRAP | 0x80 at entry and exit, the number readable at the entry. **Sequence**:
/// PTRACE_SYSCALL on a child that has been executed. **Kernels**: all; PTRACE_GET_SYSCALL_INFO since 5.3, before that
/// the tracer counts entries and exits. **Workaround**: as said. **Removable**: when 5.3 is the oldest kernel.
fn syscall_stops() -> Check {
    const ENTRY: u8 = 1;
    const EXIT: u8 = 2;
    let tracee = Tracee::exec(|| Ok(())).or_unknown("cannot trace a child of this process")?;
    for expected in [ENTRY, EXIT] {
        let status = tracee.run_to_syscall().or_missing("PTRACE_SYSCALL failed")?;
        let stop = libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == libc::SIGTRAP | 0x80;
        ensure_value(stop, "not a system call stop but wait status", status as u64)?;
        let (kind, number) = tracee.syscall_info().or_missing("PTRACE_GET_SYSCALL_INFO failed")?;
        ensure_value(kind == expected, "the stop is of another kind", u64::from(kind))?;
        let seen = tracee.registers().or_unknown("PTRACE_GETREGS failed")?[reg::CALL];
        ensure_value(kind == EXIT || number == seen, "orig_rax is not the number of the call but", seen)?;
    }
    Ok(())
}

/// **Symptom**: PTRACE_GETSIGMASK gives what the tracee has blocked. **Sequence**: a child blocks three signals, one of
/// them a real-time one, and is stopped in pause. **Kernels**: 3.11 and later. **Workaround**: SigBlk in
/// /proc/PID/task/TID/status. **Removable**: never.
fn signal_mask() -> Check {
    const MASK: u64 = 1 << (libc::SIGUSR1 - 1) | 1 << (libc::SIGCHLD - 1) | 1 << 44;
    let tracee = sleeper(|| sys::set_signal_mask(MASK))?;
    stop_inside(&tracee, libc::SYS_pause)?;
    let seen = tracee.signal_mask().or_missing("PTRACE_GETSIGMASK failed")?;
    ensure_value(seen == MASK, "PTRACE_GETSIGMASK gives", seen)
}

/// **Symptom**: the regset holds the XSAVE area in standard format; the first word of its sw_reserved bytes (offset
/// 464) is the set of enabled components, XCR0. **Sequence**: PTRACE_GETREGSET NT_X86_XSTATE. **Kernels**: 2.6.35 and
/// later. **Workaround**: none. **Removable**: never.
fn xstate() -> Check {
    const SW_RESERVED: usize = 464;
    const HEADER_END: usize = 576;
    let tracee = sleeper(|| {})?;
    // The tile registers of AMX alone are 8 KiB.
    let mut area = [0; 16384];
    let len = tracee.xstate(&mut area).or_missing("PTRACE_GETREGSET NT_X86_XSTATE failed")?;
    ensure_value(len >= HEADER_END && len < area.len(), "the area has an odd size", len as u64)?;
    let Some(Ok(word)) = area.get(SW_RESERVED..SW_RESERVED + 8).map(<[u8; 8]>::try_from) else {
        return Err(missing("the area is too short", Detail::Value(len as u64)));
    };
    let components = u64::from_le_bytes(word);
    ensure_value(components == enabled_features(), "sw_reserved has not XCR0 but", components)
}

/// **Symptom**: wait status and siginfo carry the number of the signal. **Sequence**: a seized child gets signal 37;
/// first `waitid(WSTOPPED | WNOWAIT)`, then `wait4`. **Kernels**: all. nix's `waitpid` answers EINVAL and the stop is
/// lost. **Workaround**: raw wait4 or waitid. **Removable**: when nix can name real-time signals.
fn real_time_stop() -> Check {
    const SIGNAL: i32 = 37;
    let tracee = sleeper(|| {})?;
    tracee.resume().or_unknown("PTRACE_CONT failed")?;
    sys::kill(tracee.pid(), SIGNAL).or_unknown("kill failed")?;
    let options = libc::WSTOPPED | libc::WEXITED | libc::WNOWAIT | libc::__WALL;
    let seen = sys::waitid(tracee.pid(), options).or_missing("waitid failed")?;
    let reported = seen.is_some_and(|wait| wait.code == libc::CLD_TRAPPED && wait.status == SIGNAL);
    ensure(reported, "waitid does not report the stop by a real-time signal")?;
    let (_, status) = sys::wait4(tracee.pid(), libc::__WALL).or_missing("wait4 failed")?;
    let stopped = libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == SIGNAL;
    ensure_value(stopped, "wait4 reports another status", status as u64)
}
