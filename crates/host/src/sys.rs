//! System calls that neither std nor nix offers in a form that a forked child may use.
#![allow(unsafe_code)] // raw system calls; each wrapper passes only memory that it owns

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use nix::errno::Errno;

/// `personality` flag: place `mmap(NULL)` bottom-up, below everything else.
pub(crate) const ADDR_COMPAT_LAYOUT: u64 = 0x020_0000;
/// `personality` flag: no randomisation.
pub(crate) const ADDR_NO_RANDOMIZE: u64 = 0x004_0000;

/// A result of `libc::syscall` as the crate writes it.
fn check(result: libc::c_long) -> Result<u64, Errno> {
    Errno::result(result).map(|value| value as u64)
}

/// Ends this process or thread group at once, without exit handlers.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: takes no memory and does not return.
    unsafe { libc::_exit(status) }
}

/// Own process number, never cached.
pub(crate) fn getpid() -> i32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::getpid() }
}

/// Sleeps until a signal comes.
pub(crate) fn pause() {
    // SAFETY: no arguments.
    unsafe { libc::pause() };
}

pub(crate) fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: passes integers only.
    Errno::result(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// `wait4`, again after a signal; the raw status, since nix refuses stops by real-time signals.
pub(crate) fn wait4(pid: i32, options: i32) -> Result<(i32, i32), Errno> {
    let mut status = 0;
    loop {
        // SAFETY: status is a valid place for the result; no usage is asked for.
        match Errno::result(unsafe { libc::wait4(pid, &mut status, options, ptr::null_mut()) }) {
            Err(Errno::EINTR) => {}
            other => return other.map(|pid| (pid, status)),
        }
    }
}

/// Whether the child has ended; does not reap it.
pub(crate) fn peek_exit(pid: i32) -> Result<bool, Errno> {
    waitid(pid, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT).map(|info| info.is_some())
}

/// The report of `waitid` about a stop or an end: signal number or exit status, with its code.
pub(crate) struct Wait {
    pub(crate) code: i32,
    pub(crate) status: i32,
}

pub(crate) fn waitid(pid: i32, options: i32) -> Result<Option<Wait>, Errno> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    loop {
        // SAFETY: info is a valid place for the result.
        match Errno::result(unsafe { libc::waitid(libc::P_PID, pid as u32, info.as_mut_ptr(), options) }) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(_) => break,
        }
    }
    // SAFETY: all bytes were zeroed, and zero is a valid value of every field.
    let info = unsafe { info.assume_init() };
    // SAFETY: after waitid the SIGCHLD fields of the union are the ones that are set.
    let (child, status) = unsafe { (info.si_pid(), info.si_status()) };
    Ok((child != 0).then_some(Wait { code: info.si_code, status }))
}

/// Whether only the entry of the process is left.
#[cfg(test)]
pub(crate) fn is_zombie(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

pub(crate) fn new_process_group() {
    // SAFETY: passes integers only.
    unsafe { libc::setpgid(0, 0) };
}

/// Makes the kernel kill this process when the thread that made it is gone.
pub(crate) fn die_with_parent() {
    // SAFETY: passes integers only.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Lets this process outlive its parent again.
pub(crate) fn outlive_parent() {
    // SAFETY: passes integers only.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) };
}

/// Makes this process inherit the orphans among its descendants.
pub(crate) fn adopt_orphans() -> Result<(), Errno> {
    // SAFETY: passes integers only.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) }).map(drop)
}

/// Keeps a process that is meant to crash from leaving a core file or a report.
pub(crate) fn crash_silently() {
    // SAFETY: passes integers only.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
}

/// `prctl` with integers only. `operation` must be one for which the kernel expects no pointer.
pub(crate) fn foreign_prctl(operation: i32) -> Result<(), Errno> {
    // SAFETY: the operations of the snapshot protocol are unknown to the kernel, which then reads no argument.
    Errno::result(unsafe { libc::prctl(operation, 0, 0, 0, 0) }).map(drop)
}

/// Sets all dispositions to the default, blocks no signal, and removes the alternate stack.
///
/// Rust's runtime installs handlers that look at the state of the thread they run in.
pub(crate) fn default_signals() {
    // SAFETY: SIG_DFL is a valid disposition; numbers that cannot be set are refused by the kernel. The alternate
    // stack is memory of the caller's thread, which this process does not run on.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none = MaybeUninit::<libc::sigset_t>::zeroed();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
        let disabled = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
        libc::sigaltstack(&raw const disabled, ptr::null_mut());
    }
}

/// Signals blocked in this thread, as the kernel's 64-bit mask.
pub(crate) fn signal_mask() -> u64 {
    let mut mask = 0u64;
    // SAFETY: mask is eight bytes, as the last argument says; nothing is set.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, ptr::null::<u64>(), &raw mut mask, 8usize) };
    mask
}

pub(crate) fn set_signal_mask(mask: u64) {
    // SAFETY: mask is eight bytes, as the last argument says.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, ptr::null_mut::<u64>(), 8usize)
    };
}

/// The alternate signal stack: address and size, if there is one.
pub(crate) fn alternate_stack() -> Option<(u64, u64)> {
    let mut stack = MaybeUninit::<libc::stack_t>::zeroed();
    // SAFETY: a valid place for the result; nothing is set. Zero is valid in every field.
    let stack = unsafe {
        libc::sigaltstack(ptr::null(), stack.as_mut_ptr());
        stack.assume_init()
    };
    (stack.ss_flags & libc::SS_DISABLE == 0).then_some((stack.ss_sp as u64, stack.ss_size as u64))
}

/// Makes memory of the caller the alternate stack.
pub(crate) fn set_alternate_stack(address: u64, size: u64) -> Result<(), Errno> {
    let stack = libc::stack_t { ss_sp: address as *mut _, ss_flags: 0, ss_size: size as usize };
    // SAFETY: experiments install no handler that would run there.
    Errno::result(unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) }).map(drop)
}

/// Gives up every capability, and the way to get one by exec.
///
/// The bounding set must go as well. Otherwise user 0 without capabilities would gain them by exec. no_new_privs undoes
/// that, but the kernel has then already cleared the layout flags of the personality (PER_CLEAR_ON_SETID), as for a
/// set-user-ID program.
pub(crate) fn drop_capabilities() {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let none = [0u32; 6];
    // SAFETY: header and data have the layout of version 3: two words, and two times three words.
    unsafe {
        // Past the last capability, or without the right to do so, the call fails and changes nothing.
        for capability in 0..64 {
            libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
        }
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr());
    }
}

pub(crate) fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: passes integers; the callers own the descriptors in question.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

pub(crate) fn set_personality(flags: u64) -> Result<u64, Errno> {
    // SAFETY: passes integers only.
    check(unsafe { libc::syscall(libc::SYS_personality, flags) })
}

/// The personality, without changing it.
pub(crate) fn personality() -> Result<u64, Errno> {
    set_personality(0xffff_ffff)
}

pub(crate) fn open(path: &CStr, flags: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: the path ends in a zero byte; the mode only matters for new files.
    let fd = Errno::result(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, 0o600) })?;
    // SAFETY: the kernel has just given this number to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(crate) fn read_at(fd: &OwnedFd, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    // SAFETY: the buffer is as long as it says.
    let got = unsafe { libc::pread(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), offset as i64) };
    Errno::result(got).map(|got| got as usize)
}

pub(crate) fn read(fd: &OwnedFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the buffer is as long as it says.
    let got = unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
    Errno::result(got).map(|got| got as usize)
}

pub(crate) fn write(fd: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    // SAFETY: the bytes are as many as the slice says.
    let put = unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
    Errno::result(put).map(|put| put as usize)
}

pub(crate) fn write_at(fd: &OwnedFd, bytes: &[u8], offset: u64) -> Result<usize, Errno> {
    // SAFETY: the bytes are as many as the slice says.
    let put = unsafe { libc::pwrite(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), offset as i64) };
    Errno::result(put).map(|put| put as usize)
}

/// `readlink` into `buffer`.
pub(crate) fn read_link<'a>(path: &CStr, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    // SAFETY: the path ends in a zero byte, the buffer is as long as it says.
    let len = Errno::result(unsafe { libc::readlink(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) })?;
    Ok(&buffer[..len as usize])
}

/// Device (major, minor) and inode of an open file.
pub(crate) fn identity(fd: &OwnedFd) -> Result<(u64, u64, u64), Errno> {
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: a valid place for the result.
    Errno::result(unsafe { libc::fstat(fd.as_raw_fd(), stat.as_mut_ptr()) })?;
    // SAFETY: filled by the call that succeeded.
    let stat = unsafe { stat.assume_init() };
    Ok((u64::from(libc::major(stat.st_dev)), u64::from(libc::minor(stat.st_dev)), stat.st_ino))
}

/// A pipe: reading end, writing end.
pub(crate) fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let mut ends = [0; 2];
    // SAFETY: a place for two numbers.
    Errno::result(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: the kernel has just given both numbers to us.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// A second number for the same open file.
pub(crate) fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    // SAFETY: passes integers only.
    let copy = Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: the kernel has just given this number to us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// F_SETSIG.
pub(crate) fn set_signal(fd: &OwnedFd, signal: i32) -> Result<(), Errno> {
    const F_SETSIG: i32 = 10;
    // SAFETY: passes integers only.
    Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), F_SETSIG, signal) }).map(drop)
}

/// F_GETSIG.
pub(crate) fn signal(fd: &OwnedFd) -> Result<i32, Errno> {
    const F_GETSIG: i32 = 11;
    // SAFETY: passes integers only.
    Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), F_GETSIG) })
}

/// Order of two open files in the kernel: 0 if they are the same one.
pub(crate) fn compare_files(pids: (i32, i32), fds: (&OwnedFd, &OwnedFd)) -> Result<u64, Errno> {
    const KCMP_FILE: i32 = 0;
    let (first, second) = (fds.0.as_raw_fd() as u64, fds.1.as_raw_fd() as u64);
    // SAFETY: passes integers only.
    check(unsafe { libc::syscall(libc::SYS_kcmp, pids.0, pids.1, KCMP_FILE, first, second) })
}

/// Head and length of the robust list of a thread.
pub(crate) fn robust_list(tid: i32) -> Result<(u64, u64), Errno> {
    let (mut head, mut len) = (0u64, 0u64);
    // SAFETY: places for a pointer and a length.
    check(unsafe { libc::syscall(libc::SYS_get_robust_list, tid, &raw mut head, &raw mut len) })?;
    Ok((head, len))
}

pub(crate) fn unshare(flags: i32) -> Result<(), Errno> {
    // SAFETY: passes integers only.
    Errno::result(unsafe { libc::unshare(flags) }).map(drop)
}

/// Seconds of CLOCK_MONOTONIC.
pub(crate) fn monotonic_seconds() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid place for the result. The system call, since the vDSO may still have other offsets mapped.
    unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec
}

pub(crate) fn userfaultfd_user_mode() -> Result<OwnedFd, Errno> {
    const UFFD_USER_MODE_ONLY: i32 = 1;
    // SAFETY: passes integers only.
    let fd = check(unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | UFFD_USER_MODE_ONLY) })?;
    // SAFETY: the kernel has just given this number to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// A word of the auxiliary vector of this process; 0 if it has none of this type.
pub(crate) fn auxv(kind: u64) -> u64 {
    // SAFETY: passes an integer; reads the vector that the libc keeps.
    unsafe { libc::getauxval(kind) }
}

/// `struct prctl_mm_map`, as of linux/prctl.h.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct MmMap {
    pub(crate) start_code: u64,
    pub(crate) end_code: u64,
    pub(crate) start_data: u64,
    pub(crate) end_data: u64,
    pub(crate) start_brk: u64,
    pub(crate) brk: u64,
    pub(crate) start_stack: u64,
    pub(crate) arg_start: u64,
    pub(crate) arg_end: u64,
    pub(crate) env_start: u64,
    pub(crate) env_end: u64,
    pub(crate) auxv: u64,
    pub(crate) auxv_size: u32,
    pub(crate) exe_fd: u32,
}

/// Sets the kernel's record of where code, data, brk, stack, arguments and environment of this process are.
///
/// The kernel only stores the numbers. Memory that the libc got from `brk` stays mapped, but the process must not ask
/// the libc for memory afterwards.
pub(crate) fn set_mm_map(map: &MmMap) -> Result<(), Errno> {
    const PR_SET_MM_MAP: i32 = 14;
    // SAFETY: a valid record of the size given; the kernel has checked the memory that it points to, or only reads it.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_MM, PR_SET_MM_MAP, ptr::from_ref(map), size_of::<MmMap>(), 0) })
        .map(drop)
}

/// Calls `brk`. Returns the new end, or the old one if the kernel refused.
///
/// # Safety
/// The program break must have been moved away from what the libc uses, by [`set_mm_map`].
pub(crate) unsafe fn brk(end: u64) -> u64 {
    // SAFETY: the caller promises it; the call changes only the new range.
    unsafe { libc::syscall(libc::SYS_brk, end) as u64 }
}

/// Flags of the mount that `fd` is on (ST_NOEXEC and its kin).
pub(crate) fn mount_flags(fd: &OwnedFd) -> Result<u64, Errno> {
    let mut stat = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: a valid place for the result.
    Errno::result(unsafe { libc::fstatvfs(fd.as_raw_fd(), stat.as_mut_ptr()) })?;
    // SAFETY: filled by the call that succeeded.
    Ok(unsafe { stat.assume_init() }.f_flag)
}

/// Executes this very program again; returns only on failure.
pub(crate) fn exec_self() -> Errno {
    let path = c"/proc/self/exe".as_ptr();
    let (argv, envp) = ([path, ptr::null()], [ptr::null::<libc::c_char>()]);
    // SAFETY: path and vectors are terminated as execve wants them.
    unsafe { libc::execve(path, argv.as_ptr(), envp.as_ptr()) };
    Errno::last()
}

/// Executes the file that `fd` is open on; returns only on failure.
pub(crate) fn exec_fd(fd: &OwnedFd) -> Errno {
    let (argv, envp) = ([c"probe".as_ptr(), ptr::null()], [ptr::null::<libc::c_char>()]);
    // SAFETY: path and vectors are terminated as execveat wants them.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Errno::last()
}

/// `clock_nanosleep` on CLOCK_MONOTONIC.
pub(crate) fn sleep(time: &libc::timespec) {
    // SAFETY: the time is valid, and the rest of it is not requested.
    unsafe { libc::syscall(libc::SYS_clock_nanosleep, libc::CLOCK_MONOTONIC, 0, ptr::from_ref(time), 0u64) };
}

/// `epoll_wait` on an empty set, without a limit.
pub(crate) fn wait_for_nothing() {
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    // SAFETY: room for one event, as the count says.
    unsafe {
        let set = libc::epoll_create1(libc::EPOLL_CLOEXEC);
        libc::syscall(libc::SYS_epoll_wait, set, &raw mut event, 1, -1);
    }
}
