//! ptrace requests and waits.
//!
//! `nix::sys::wait::waitpid` cannot represent a stop by a real-time signal, so waits are raw `wait4` with
//! `__WALL`, decoded here.
#![allow(unsafe_code)] // ptrace and wait4

pub(crate) use crate::proc::Tid;
use snapfn_format::snap::REGS;
use std::io;

const PTRACE_SETOPTIONS: u32 = 0x4200;
const PTRACE_SEIZE: u32 = 0x4206;
const PTRACE_INTERRUPT: u32 = 0x4207;
const PTRACE_LISTEN: u32 = 0x4208;
const PTRACE_GETREGSET: u32 = 0x4204;
const PTRACE_SETREGSET: u32 = 0x4205;
const PTRACE_PEEKSIGINFO: u32 = 0x4209;
const PTRACE_GETSIGMASK: u32 = 0x420a;
const PTRACE_SETSIGMASK: u32 = 0x420b;
const PTRACE_GET_SYSCALL_INFO: u32 = 0x420e;
const PTRACE_GET_RSEQ_CONFIGURATION: u32 = 0x420f;
const PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG: u32 = 0x4211;
const NT_PRSTATUS: usize = 1;
const NT_X86_XSTATE: usize = 0x202;
pub(crate) use snapfn_format::arch::AUDIT_ARCH;
/// SIGTRAP with this bit: a system call stop (PTRACE_O_TRACESYSGOOD).
const SYSGOOD: i32 = 0x80;

/// PTRACE_O_TRACESYSGOOD | TRACEFORK | TRACEVFORK | TRACECLONE | TRACEEXEC | EXITKILL
pub(crate) const OPTIONS: u64 = 0x01 | 0x02 | 0x04 | 0x08 | 0x10 | OPTION_EXITKILL;
pub(crate) const OPTION_EXITKILL: u64 = 0x0010_0000;

/// What `wait4` reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The task ended by itself.
    Exited(i32),
    /// The task was killed.
    Killed(i32),
    /// About to receive a signal.
    Signal(i32),
    /// Group stop, or the answer to PTRACE_INTERRUPT (SIGTRAP).
    Group(i32),
    /// Entry or exit of a system call.
    Syscall,
    /// `fork`, `vfork` or `clone`. The message is the new task's ID.
    NewTask(Event),
    /// After a successful `execve`.
    Exec,
    /// Any other event.
    Other(i32),
}

/// How a task was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Fork,
    /// The task waits, and cannot be stopped, until the new process executes another program or ends.
    Vfork,
    Clone,
}

fn request(request: u32, tid: Tid, addr: usize, data: usize) -> io::Result<i64> {
    // SAFETY: callers pass addresses of live objects of the size that the request expects.
    let result = unsafe { libc::ptrace(request, tid, addr, data) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

pub(crate) fn seize(tid: Tid, options: u64) -> io::Result<()> {
    request(PTRACE_SEIZE, tid, 0, options as usize).map(drop)
}

/// Replaces the options of a stopped task.
pub(crate) fn set_options(tid: Tid, options: u64) -> io::Result<()> {
    request(PTRACE_SETOPTIONS, tid, 0, options as usize).map(drop)
}

pub(crate) fn interrupt(tid: Tid) -> io::Result<()> {
    request(PTRACE_INTERRUPT, tid, 0, 0).map(drop)
}

pub(crate) fn listen(tid: Tid) -> io::Result<()> {
    request(PTRACE_LISTEN, tid, 0, 0).map(drop)
}

/// Resumes until the next system call entry or exit.
pub(crate) fn resume_to_syscall(tid: Tid, signal: i32) -> io::Result<()> {
    request(libc::PTRACE_SYSCALL, tid, 0, signal as usize).map(drop)
}

pub(crate) fn resume(tid: Tid, signal: i32) -> io::Result<()> {
    request(libc::PTRACE_CONT, tid, 0, signal as usize).map(drop)
}

pub(crate) fn step(tid: Tid) -> io::Result<()> {
    request(libc::PTRACE_SINGLESTEP, tid, 0, 0).map(drop)
}

pub(crate) fn detach(tid: Tid, signal: i32) -> io::Result<()> {
    request(libc::PTRACE_DETACH, tid, 0, signal as usize).map(drop)
}

pub(crate) fn event_message(tid: Tid) -> io::Result<u64> {
    let mut message = 0u64;
    request(libc::PTRACE_GETEVENTMSG, tid, 0, &raw mut message as usize)?;
    Ok(message)
}

/// General registers in the order of `struct user_regs_struct`.
pub(crate) type Regs = [u64; REGS];

pub(crate) fn get_regs(tid: Tid) -> io::Result<Regs> {
    let mut regs = [0u64; REGS];
    let mut iov = libc::iovec { iov_base: regs.as_mut_ptr().cast(), iov_len: size_of_val(&regs) };
    request(PTRACE_GETREGSET, tid, NT_PRSTATUS, &raw mut iov as usize)?;
    Ok(regs)
}

pub(crate) fn set_regs(tid: Tid, regs: &Regs) -> io::Result<()> {
    let mut regs = *regs;
    let mut iov = libc::iovec { iov_base: regs.as_mut_ptr().cast(), iov_len: size_of_val(&regs) };
    request(PTRACE_SETREGSET, tid, NT_PRSTATUS, &raw mut iov as usize).map(drop)
}

/// The XSAVE area in the standard format.
pub(crate) fn get_xstate(tid: Tid) -> io::Result<Vec<u8>> {
    let mut area = vec![0u8; 16384];
    let mut iov = libc::iovec { iov_base: area.as_mut_ptr().cast(), iov_len: area.len() };
    request(PTRACE_GETREGSET, tid, NT_X86_XSTATE, &raw mut iov as usize)?;
    area.truncate(iov.iov_len);
    Ok(area)
}

pub(crate) fn get_sigmask(tid: Tid) -> io::Result<u64> {
    let mut mask = 0u64;
    request(PTRACE_GETSIGMASK, tid, 8, &raw mut mask as usize)?;
    Ok(mask)
}

pub(crate) fn set_sigmask(tid: Tid, mask: u64) -> io::Result<()> {
    request(PTRACE_SETSIGMASK, tid, 8, &raw const mask as usize).map(drop)
}

/// A `siginfo_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub(crate) struct SigInfo(pub(crate) [u8; 128]);

impl SigInfo {
    /// A bare signal: no sender, code SI_USER.
    pub(crate) fn of(signo: u32) -> Self {
        let mut info = SigInfo([0; 128]);
        info.0[..4].copy_from_slice(&signo.to_le_bytes());
        info
    }

    /// The 4 bytes at `at`: 0 `si_signo`, 8 `si_code`.
    pub(crate) fn word(&self, at: usize) -> i32 {
        self.0.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_le_bytes)
    }
}

/// The signals queued for a task, or with `shared` for its process, in order. They stay in the queue.
pub(crate) fn peek_siginfo(tid: Tid, shared: bool) -> io::Result<Vec<SigInfo>> {
    const SHARED: u32 = 1;
    #[repr(C)]
    struct Args {
        offset: u64,
        flags: u32,
        count: i32,
    }
    let mut all = Vec::new();
    loop {
        let mut some = [SigInfo([0; 128]); 32];
        let args = Args { offset: all.len() as u64, flags: if shared { SHARED } else { 0 }, count: some.len() as i32 };
        let count = request(PTRACE_PEEKSIGINFO, tid, &raw const args as usize, some.as_mut_ptr() as usize)?;
        all.extend(some.iter().take(count as usize));
        if (count as usize) < some.len() {
            return Ok(all);
        }
    }
}

/// Whether the task has its system calls turned into signals (PR_SET_SYSCALL_USER_DISPATCH).
pub(crate) fn dispatches_system_calls(tid: Tid) -> bool {
    let mut config = [0u64; 4];
    let known =
        request(PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, tid, size_of_val(&config), config.as_mut_ptr() as usize);
    known.is_ok() && config[0] != 0
}

/// A registered rseq area (`struct ptrace_rseq_configuration`).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Rseq {
    pub(crate) addr: u64,
    pub(crate) len: u32,
    pub(crate) signature: u32,
    pub(crate) flags: u32,
    pad: u32,
}

pub(crate) fn get_rseq(tid: Tid) -> io::Result<Rseq> {
    let mut rseq = Rseq::default();
    request(PTRACE_GET_RSEQ_CONFIGURATION, tid, size_of::<Rseq>(), &raw mut rseq as usize)?;
    Ok(rseq)
}

/// Whether the thread may use I/O ports (`ioperm`).
pub(crate) fn has_io_ports(tid: Tid) -> bool {
    const NT_386_IOPERM: usize = 0x201;
    let mut bits = [0u64; 1024];
    let mut iov = libc::iovec { iov_base: bits.as_mut_ptr().cast(), iov_len: size_of_val(&bits) };
    // Without a bitmap the set has no registers.
    request(PTRACE_GETREGSET, tid, NT_386_IOPERM, &raw mut iov as usize).is_ok()
}

/// Whether the thread has a segment in the GDT (`set_thread_area`).
pub(crate) fn has_thread_area(tid: Tid) -> bool {
    const PTRACE_GET_THREAD_AREA: u32 = 25;
    // GDT_ENTRY_TLS_MIN to GDT_ENTRY_TLS_MAX
    const ENTRIES: std::ops::RangeInclusive<usize> = 12..=14;
    const NOT_PRESENT: u32 = 1 << 5;
    ENTRIES.into_iter().any(|entry| {
        // struct user_desc: entry number, base, limit, flags.
        let mut segment = [0u32; 4];
        request(PTRACE_GET_THREAD_AREA, tid, entry, segment.as_mut_ptr() as usize).is_ok()
            && segment[3] & NOT_PRESENT == 0
    })
}

/// Head of the robust futex list of a task; 0 if it has none.
pub(crate) fn get_robust_list(tid: Tid) -> io::Result<u64> {
    let (mut head, mut len) = (0u64, 0usize);
    // SAFETY: both locals are writable and have the expected sizes.
    let result = unsafe { libc::syscall(libc::SYS_get_robust_list, tid, &raw mut head, &raw mut len) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(head) }
}

/// A system call at its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SyscallEntry {
    /// `AUDIT_ARCH_…`: the interface by which the call was made.
    pub(crate) arch: u32,
    pub(crate) number: u64,
    pub(crate) args: [u64; 6],
}

/// A system call at its exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SyscallExit {
    /// What it returns.
    pub(crate) value: i64,
    pub(crate) is_error: bool,
}

/// What a task has stopped at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyscallStop {
    Entry(SyscallEntry),
    Exit(SyscallExit),
    /// None of a system call.
    None,
}

/// The system call stop of a task (`struct ptrace_syscall_info`).
pub(crate) fn syscall_stop(tid: Tid) -> io::Result<SyscallStop> {
    const ENTRY: u8 = 1;
    const EXIT: u8 = 2;
    let mut info = [0u64; 11];
    request(PTRACE_GET_SYSCALL_INFO, tid, size_of_val(&info), info.as_mut_ptr() as usize)?;
    Ok(match info[0] as u8 {
        ENTRY => {
            let mut args = [0; 6];
            args.copy_from_slice(&info[4..10]);
            SyscallStop::Entry(SyscallEntry { arch: (info[0] >> 32) as u32, number: info[3], args })
        }
        EXIT => SyscallStop::Exit(SyscallExit { value: info[3] as i64, is_error: info[4] as u8 != 0 }),
        _ => SyscallStop::None,
    })
}

/// A system call entry: number and arguments; `None` at an exit or elsewhere.
pub(crate) fn syscall_entry(tid: Tid) -> io::Result<Option<(u64, [u64; 6])>> {
    Ok(match syscall_stop(tid)? {
        SyscallStop::Entry(SyscallEntry { number, args, .. }) => Some((number, args)),
        _ => None,
    })
}

fn decode(status: i32) -> Stop {
    if libc::WIFEXITED(status) {
        return Stop::Exited(libc::WEXITSTATUS(status));
    }
    if libc::WIFSIGNALED(status) {
        return Stop::Killed(libc::WTERMSIG(status));
    }
    let signal = (status >> 8) & 0xff;
    match status >> 16 {
        0 if signal == libc::SIGTRAP | SYSGOOD => Stop::Syscall,
        0 => Stop::Signal(signal),
        libc::PTRACE_EVENT_FORK => Stop::NewTask(Event::Fork),
        libc::PTRACE_EVENT_VFORK => Stop::NewTask(Event::Vfork),
        libc::PTRACE_EVENT_CLONE => Stop::NewTask(Event::Clone),
        libc::PTRACE_EVENT_EXEC => Stop::Exec,
        libc::PTRACE_EVENT_STOP => Stop::Group(signal),
        event => Stop::Other(event),
    }
}

/// Waits for `tid` (−1: any tracee).
pub(crate) fn wait(tid: Tid) -> io::Result<(Tid, Stop)> {
    loop {
        let mut status = 0;
        // SAFETY: status is a live local.
        let result = unsafe { libc::wait4(tid, &raw mut status, libc::__WALL, std::ptr::null_mut()) };
        if result >= 0 {
            return Ok((result, decode(status)));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// As [`wait`], but does not block; `None` if there is no report.
pub(crate) fn try_wait(tid: Tid) -> io::Result<Option<(Tid, Stop)>> {
    let mut status = 0;
    // SAFETY: status is a live local.
    match unsafe { libc::wait4(tid, &raw mut status, libc::__WALL | libc::WNOHANG, std::ptr::null_mut()) } {
        0 => Ok(None),
        result if result > 0 => Ok(Some((result, decode(status)))),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether there is a report for [`wait`]. The report stays there.
pub(crate) fn has_stopped(tid: Tid) -> io::Result<bool> {
    let options = libc::WSTOPPED | libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    // SAFETY: an all-zero siginfo_t is valid; `info` is a live local.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: see above.
    match unsafe { libc::waitid(libc::P_PID, tid as libc::id_t, &raw mut info, options) } {
        0 => Ok(info.si_signo != 0),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends `signal` to a process.
pub(crate) fn kill(pid: Tid, signal: i32) {
    // SAFETY: no memory is involved.
    unsafe { libc::kill(pid, signal) };
}

/// The name of a signal.
pub(crate) fn signal_name(signal: i32) -> String {
    nix::sys::signal::Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |s| s.as_str().to_owned())
}
