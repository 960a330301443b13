//! System calls without a libc. Every wrapper returns `Err(Errno)` for the kernel's negative values.
#![allow(unsafe_code)] // system calls

pub use super::arch::{O_DIRECT, O_DIRECTORY, O_NOFOLLOW, nr};
use super::arch::{RawStat, syscall6};

use core::ffi::CStr;
use core::fmt;
use snapfn_format::linux::MADV_POPULATE_WRITE;

/// A kernel error number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(pub i32);

impl Errno {
    /// No error of the kernel.
    pub const NONE: Errno = Errno(0);
    /// Not permitted.
    pub const PERM: Errno = Errno(1);
    /// No such file.
    pub const NOENT: Errno = Errno(2);
    /// Interrupted by a signal.
    pub const INTR: Errno = Errno(4);
    /// No such device or address: a FIFO without a reader.
    pub const NXIO: Errno = Errno(6);
    /// Input or output has failed.
    pub const IO: Errno = Errno(5);
    /// Too long a list.
    pub const TOOBIG: Errno = Errno(7);
    /// No such descriptor.
    pub const BADF: Errno = Errno(9);
    /// Not now.
    pub const AGAIN: Errno = Errno(11);
    /// Out of memory.
    pub const NOMEM: Errno = Errno(12);
    /// Permission denied.
    pub const ACCES: Errno = Errno(13);
    /// Exists.
    pub const EXIST: Errno = Errno(17);
    /// A path component is not a directory.
    pub const NOTDIR: Errno = Errno(20);
    /// Invalid argument.
    pub const INVAL: Errno = Errno(22);
    /// No room: a limit on objects of the kernel is reached.
    pub const NOSPC: Errno = Errno(28);
    /// A name is too long.
    pub const NAMETOOLONG: Errno = Errno(36);
    /// Not implemented.
    pub const NOSYS: Errno = Errno(38);
    /// Too many symbolic links (O_NOFOLLOW met one).
    pub const LOOP: Errno = Errno(40);
    /// Address already in use.
    pub const ADDRINUSE: Errno = Errno(98);
    /// No process listens there.
    pub const CONNREFUSED: Errno = Errno(111);
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            1 => "operation not permitted",
            2 => "no such file or directory",
            5 => "input/output error",
            6 => "no such device or address",
            9 => "bad file descriptor",
            11 => "resource temporarily unavailable",
            12 => "out of memory",
            13 => "permission denied",
            17 => "address range or file already in use",
            20 => "not a directory",
            21 => "is a directory",
            22 => "invalid argument",
            23 | 24 => "too many open files",
            36 => "name too long",
            38 => "not implemented by this kernel",
            40 => "is a symbolic link",
            98 => "address already in use",
            111 => "connection refused",
            number => return write!(f, "error {number}"),
        };
        f.write_str(text)
    }
}

/// A result of a system call.
pub type Result<T> = core::result::Result<T, Errno>;

pub(in crate::runtime) fn check(value: usize) -> Result<usize> {
    match value as isize {
        error @ -4095..=-1 => Err(Errno(-error as i32)),
        _ => Ok(value),
    }
}

macro_rules! syscall {
    ($nr:expr) => { syscall!($nr, 0) };
    ($nr:expr, $a:expr) => { syscall!($nr, $a, 0) };
    ($nr:expr, $a:expr, $b:expr) => { syscall!($nr, $a, $b, 0) };
    ($nr:expr, $a:expr, $b:expr, $c:expr) => { syscall!($nr, $a, $b, $c, 0) };
    ($nr:expr, $a:expr, $b:expr, $c:expr, $d:expr) => { syscall!($nr, $a, $b, $c, $d, 0) };
    ($nr:expr, $a:expr, $b:expr, $c:expr, $d:expr, $e:expr) => { syscall!($nr, $a, $b, $c, $d, $e, 0) };
    ($nr:expr, $a:expr, $b:expr, $c:expr, $d:expr, $e:expr, $f:expr) => {
        // SAFETY: the callers in this module pass pointers that come from references or from ranges that the caller
        // owns; the kernel checks all others.
        check(unsafe { syscall6($nr, [$a as usize, $b as usize, $c as usize, $d as usize, $e as usize, $f as usize]) })
    };
}
pub(in crate::runtime) use syscall;

/// Open flag: read only.
pub const O_RDONLY: u32 = 0;
/// Open flag: do not wait for a FIFO's writer.
pub const O_NONBLOCK: u32 = 0o4000;
/// Open flag: close on exec.
pub const O_CLOEXEC: u32 = 0o2000000;
/// Open flag: a location, not the file.
pub const O_PATH: u32 = 0o10000000;
/// Relative to the working directory.
pub const AT_FDCWD: i32 = -100;

/// Open flag: write only.
pub const O_WRONLY: u32 = 1;
/// Open flag: read and write.
pub const O_RDWR: u32 = 2;

/// No access to the pages.
pub const PROT_NONE: u32 = 0;
/// The pages can be read.
pub const PROT_READ: u32 = 1;
/// The pages can be read and written.
pub const PROT_READ_WRITE: u32 = 3;
/// The pages can be read and executed.
pub const PROT_READ_EXEC: u32 = 5;
/// The pages can be read, written and executed.
pub const PROT_ALL: u32 = 7;

/// MAP_SHARED.
pub const MAP_SHARED: u32 = 1;
/// MAP_PRIVATE.
pub const MAP_PRIVATE: u32 = 2;
/// MAP_FIXED.
pub const MAP_FIXED: u32 = 0x10;
/// MAP_ANONYMOUS.
pub const MAP_ANONYMOUS: u32 = 0x20;
/// MAP_DROPPABLE.
pub const MAP_DROPPABLE: u32 = 0x08;
/// MAP_GROWSDOWN.
pub const MAP_GROWSDOWN: u32 = 0x100;
/// MAP_NORESERVE.
pub const MAP_NORESERVE: u32 = 0x4000;
/// MAP_POPULATE.
pub const MAP_POPULATE: u32 = 0x8000;
/// MAP_STACK.
pub const MAP_STACK: u32 = 0x20000;
/// MAP_FIXED_NOREPLACE (4.17; older kernels take it as a hint, so the result must be compared).
pub const MAP_FIXED_NOREPLACE: u32 = 0x100000;

/// `write(2)`.
pub fn write(fd: i32, bytes: &[u8]) -> Result<usize> {
    syscall!(nr::WRITE, fd, bytes.as_ptr(), bytes.len())
}

/// `openat(2)`.
pub fn openat(dir: i32, path: &CStr, flags: u32, mode: u32) -> Result<i32> {
    syscall!(nr::OPENAT, dir, path.as_ptr(), flags, mode).map(|fd| fd as i32)
}

/// No component of the path may be a symbolic link.
pub const RESOLVE_NO_SYMLINKS: u64 = 4;

/// `openat2(2)` of a file that is there.
pub fn openat2(dir: i32, path: &CStr, flags: u32, resolve: u64) -> Result<i32> {
    // struct open_how: flags, mode, resolve.
    let how = [u64::from(flags), 0, resolve];
    syscall!(nr::OPENAT2, dir, path.as_ptr(), how.as_ptr(), size_of_val(&how)).map(|fd| fd as i32)
}

/// `close(2)`.
pub fn close(fd: i32) {
    let _ = syscall!(nr::CLOSE, fd);
}

/// `readlinkat(2)`: the target's bytes.
pub fn readlinkat<'b>(dir: i32, path: &CStr, buffer: &'b mut [u8]) -> Result<&'b [u8]> {
    let len = syscall!(nr::READLINKAT, dir, path.as_ptr(), buffer.as_mut_ptr(), buffer.len())?;
    Ok(buffer.get(..len).unwrap_or_default())
}

/// The result of `fstat(2)` for a file.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    /// Type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Size in bytes.
    pub size: u64,
    /// Inode number.
    pub inode: u64,
    /// Seconds of the time of the last change, from 1970 on.
    pub seconds: i64,
    /// Its nanoseconds.
    pub nanoseconds: i64,
}

impl From<RawStat> for Stat {
    fn from(RawStat { mode, uid, size, inode, seconds, nanoseconds, .. }: RawStat) -> Self {
        Stat { mode, uid, size, inode, seconds, nanoseconds }
    }
}

impl Stat {
    /// Whether it is a regular file.
    pub fn is_regular(&self) -> bool {
        self.mode & 0o170000 == 0o100000
    }
}

/// `fstat(2)`.
pub fn fstat(fd: i32) -> Result<Stat> {
    let mut raw = RawStat::default();
    syscall!(nr::FSTAT, fd, &raw mut raw)?;
    Ok(raw.into())
}

/// `stat(2)`.
pub fn stat(path: &CStr) -> Result<Stat> {
    let mut raw = RawStat::default();
    syscall!(nr::NEWFSTATAT, AT_FDCWD, path.as_ptr(), &raw mut raw, 0)?;
    Ok(raw.into())
}

/// `mmap(2)`. With MAP_FIXED_NOREPLACE, the result is EEXIST also if an old kernel chose another address.
///
/// # Safety
/// With MAP_FIXED the range must not hold anything that is still used.
pub unsafe fn mmap(addr: u64, len: u64, prot: u32, flags: u32, fd: i32, offset: u64) -> Result<u64> {
    let got = syscall!(nr::MMAP, addr, len, prot, flags, fd, offset)? as u64;
    if flags & MAP_FIXED_NOREPLACE != 0 && got != addr {
        let _ = syscall!(nr::MUNMAP, got, len);
        return Err(Errno::EXIST);
    }
    Ok(got)
}

/// `mmap(2)` of a range that is free: at `addr`, or where the kernel chooses (0). It replaces no mapping.
pub fn mmap_free(addr: u64, len: u64, prot: u32, flags: u32, fd: i32, offset: u64) -> Result<u64> {
    let place = if addr == 0 { 0 } else { MAP_FIXED_NOREPLACE };
    // SAFETY: without MAP_FIXED, a mapping is new.
    unsafe { mmap(addr, len, prot, flags & !MAP_FIXED | place, fd, offset) }
}

/// `munmap(2)`.
///
/// # Safety
/// No code may use the range any more.
pub unsafe fn munmap(addr: u64, len: u64) -> Result<()> {
    syscall!(nr::MUNMAP, addr, len).map(drop)
}

/// `mprotect(2)`.
///
/// # Safety
/// No code may rely on an access that `prot` forbids.
pub unsafe fn mprotect(addr: u64, len: u64, prot: u32) -> Result<()> {
    syscall!(nr::MPROTECT, addr, len, prot).map(drop)
}

/// `madvise(2)`.
///
/// # Safety
/// Some advice drops contents: the range must be the caller's.
pub unsafe fn madvise(addr: u64, len: u64, advice: u64) -> Result<()> {
    syscall!(nr::MADVISE, addr, len, advice).map(drop)
}

/// `madvise(2)` that populates pages, which changes no content.
pub fn populate(addr: u64, len: u64, write: bool) -> Result<()> {
    const MADV_POPULATE_READ: u64 = 22;
    syscall!(nr::MADVISE, addr, len, if write { MADV_POPULATE_WRITE } else { MADV_POPULATE_READ }).map(drop)
}

/// As [`populate`] for writing, of all `ranges` (address, length) by one call.
pub fn populate_all(ranges: &[[u64; 2]]) -> Result<()> {
    /// This process itself, where a pidfd is expected (6.14).
    const PIDFD_SELF: i64 = -10000;
    syscall!(nr::PROCESS_MADVISE, PIDFD_SELF, ranges.as_ptr(), ranges.len(), MADV_POPULATE_WRITE, 0).map(drop)
}

/// `mlock2(2)`.
pub fn mlock2(addr: u64, len: u64, flags: u64) -> Result<()> {
    syscall!(nr::MLOCK2, addr, len, flags).map(drop)
}

/// `pread64(2)` to a raw address.
///
/// # Safety
/// `[addr, addr + len)` must be writable and the caller's.
pub unsafe fn pread_raw(fd: i32, addr: u64, len: u64, offset: u64) -> Result<usize> {
    syscall!(nr::PREAD64, fd, addr, len, offset)
}

/// `lseek(2)` from the start.
pub fn lseek(fd: i32, offset: u64) -> Result<()> {
    syscall!(nr::LSEEK, fd, offset, 0).map(drop)
}

/// `dup3(2)`.
pub fn dup3(old: i32, new: i32, flags: u32) -> Result<()> {
    syscall!(nr::DUP3, old, new, flags).map(drop)
}

/// `fcntl(2)` with an integer argument.
pub fn fcntl(fd: i32, command: u32, arg: u64) -> Result<usize> {
    syscall!(nr::FCNTL, fd, command, arg)
}

/// `chdir(2)`.
pub fn chdir(path: &CStr) -> Result<()> {
    syscall!(nr::CHDIR, path.as_ptr()).map(drop)
}

/// `read(2)`.
pub fn read(fd: i32, buffer: &mut [u8]) -> Result<usize> {
    syscall!(nr::READ, fd, buffer.as_mut_ptr(), buffer.len())
}

/// CLOCK_MONOTONIC.
pub const CLOCK_MONOTONIC: u64 = 1;

/// The time of `clock` in nanoseconds.
pub fn clock_gettime(clock: u64) -> Result<u64> {
    let mut time = [0u64; 2];
    syscall!(nr::CLOCK_GETTIME, clock, time.as_mut_ptr())?;
    Ok(time[0] * 1_000_000_000 + time[1])
}

/// `getppid(2)`.
pub fn getppid() -> u32 {
    syscall!(nr::GETPPID).map_or(0, |pid| pid as u32)
}

/// `geteuid(2)`.
pub fn geteuid() -> u32 {
    syscall!(nr::GETEUID).map_or(u32::MAX, |user| user as u32)
}

/// `umask(2)`: the mask before.
pub fn umask(mask: u32) -> u32 {
    syscall!(nr::UMASK, mask).unwrap_or(0) as u32
}

/// First word of a `struct cmsghdr`, its length, for `count` descriptors.
pub const fn rights_len(count: u64) -> u64 {
    CMSG_HEADER + 4 * count
}
/// Size of a `struct cmsghdr` in bytes.
pub const CMSG_HEADER: u64 = 16;
/// Its second word where descriptors follow: SOL_SOCKET and SCM_RIGHTS.
pub const CMSG_RIGHTS: u64 = 1 | 1 << 32;

/// `prctl`: the memory layout that /proc reports.
const PR_SET_MM: u32 = 35;
/// Second argument of [`PR_SET_MM`]: sets all fields, by a [`MmMap`].
const PR_SET_MM_MAP: u64 = 14;

/// The kernel's `struct prctl_mm_map`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[allow(missing_docs)]
pub struct MmMap {
    pub start_code: u64,
    pub end_code: u64,
    pub start_data: u64,
    pub end_data: u64,
    pub start_brk: u64,
    pub brk: u64,
    pub start_stack: u64,
    pub arg_start: u64,
    pub arg_end: u64,
    pub env_start: u64,
    pub env_end: u64,
    pub auxv: u64,
    pub auxv_size: u32,
    pub exe_fd: u32,
}

impl MmMap {
    /// prctl(PR_SET_MM, PR_SET_MM_MAP): unprivileged with `exe_fd` = −1 since Linux 3.18. The kernel only reads what it
    /// names, and checks the addresses.
    pub fn apply(&self) -> Result<()> {
        syscall!(nr::PRCTL, PR_SET_MM, PR_SET_MM_MAP, core::ptr::from_ref(self), size_of::<Self>(), 0).map(drop)
    }
}

/// `personality(2)`.
pub fn personality(value: u32) -> Result<u32> {
    syscall!(nr::PERSONALITY, value).map(|old| old as u32)
}

/// `execve(2)`; returns only on failure.
///
/// # Safety
/// `argv` and `envp` must be null-terminated vectors of C strings.
pub unsafe fn execve(path: &CStr, argv: *const *const u8, envp: *const *const u8) -> Errno {
    match syscall!(nr::EXECVE, path.as_ptr(), argv, envp) {
        Err(error) => error,
        Ok(_) => Errno::INVAL,
    }
}

/// `rt_sigaction(2)` with the kernel's structure `[handler, flags, restorer, mask]`.
///
/// # Safety
/// The handler must be fit to run once the signal is unblocked.
pub unsafe fn rt_sigaction(signo: u32, action: &[u64; 4]) -> Result<()> {
    syscall!(nr::RT_SIGACTION, signo, action.as_ptr(), 0, 8).map(drop)
}

/// `rt_sigaction(2)` that also returns the previous action.
///
/// # Safety
/// As [`rt_sigaction`].
pub unsafe fn sigaction(signo: u32, action: &[u64; 4], before: &mut [u64; 4]) -> Result<()> {
    syscall!(nr::RT_SIGACTION, signo, action.as_ptr(), before.as_mut_ptr(), 8).map(drop)
}

/// Blocks every signal.
pub fn block_signals() {
    set_signal_mask(u64::MAX);
}

/// Blocks no signal.
pub fn unblock_signals() {
    set_signal_mask(0);
}

fn set_signal_mask(mask: u64) {
    const SIG_SETMASK: u32 = 2;
    let _ = syscall!(nr::RT_SIGPROCMASK, SIG_SETMASK, &raw const mask, 0, 8);
}

/// `set_tid_address(2)`: the TID.
///
/// # Safety
/// The kernel writes 0 to the address when the thread ends.
pub unsafe fn set_tid_address(addr: u64) -> u32 {
    syscall!(nr::SET_TID_ADDRESS, addr).unwrap_or(0) as u32
}

/// `set_robust_list(2)`.
///
/// # Safety
/// `head` must be a robust list head of the program or 0.
pub unsafe fn set_robust_list(head: u64) -> Result<()> {
    syscall!(nr::SET_ROBUST_LIST, head, 24).map(drop)
}

/// `rseq(2)`: registers the area.
///
/// # Safety
/// The kernel writes to the area for as long as the thread lives.
pub unsafe fn rseq(addr: u64, len: u32, signature: u32) -> Result<()> {
    syscall!(nr::RSEQ, addr, len, 0, signature).map(drop)
}

/// `getrandom(2)`: fills `buffer`, never blocks.
pub fn getrandom(buffer: &mut [u8]) -> Result<usize> {
    syscall!(nr::GETRANDOM, buffer.as_mut_ptr(), buffer.len(), 1)
}

/// FUTEX_WAKE for every waiter at `addr`.
pub fn futex_wake_all(addr: u64) {
    let _ = syscall!(nr::FUTEX, addr, 1 | 128, i32::MAX);
}

/// Any other call, by number.
///
/// # Safety
/// As the call demands.
pub unsafe fn raw(number: usize, args: [u64; 6]) -> Result<usize> {
    syscall!(number, args[0], args[1], args[2], args[3], args[4], args[5])
}

/// `exit_group(2)`.
pub fn exit(status: i32) -> ! {
    let _ = syscall!(nr::EXIT_GROUP, status);
    loop {
        core::hint::spin_loop();
    }
}
