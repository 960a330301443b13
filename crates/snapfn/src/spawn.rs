//! Makes the process of an instance.
//!
//! `clone(CLONE_VM | CLONE_VFORK)` makes the child on a stack of its own. The child borrows this process's memory, and
//! this thread waits, until the child has executed `snaprun`; no memory is copied. Until then the child may only make
//! system calls. All signals are blocked meanwhile, or a handler of this process would run in the child. They stay
//! blocked over the `execve`, since the instance gets the snapshot's own mask.
#![allow(unsafe_code)] // system calls

use crate::Error;
use crate::request::Strings;
use crate::snapshot::{Inner, Snapshot};
use crate::sys::{pipe, raise, wait};
use snapfn_format::request::PARKED;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Arc;

/// The program to execute, with its arguments and descriptors.
pub(crate) struct Start<'a> {
    pub(crate) snapshot: &'a Inner,
    /// More options of `snaprun`.
    pub(crate) options: &'a [&'a CStr],
    /// The option and the descriptor for the message of `snaprun`.
    pub(crate) report: (&'a CStr, &'a OwnedFd),
    /// The first argument is the snapshot's name.
    pub(crate) strings: &'a Strings,
    /// Descriptors of the standard streams, each above 2 or already at its number. A prepared instance gets them later,
    /// and no other descriptors of this process.
    pub(crate) streams: Option<[RawFd; 3]>,
    pub(crate) directory: Option<&'a CStr>,
    pub(crate) umask: Option<u32>,
    /// It leads a process group of its own, and ends with this thread.
    pub(crate) contained: bool,
}

/// A process that has been started.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) pid: i32,
    pub(crate) report: OwnedFd,
}

/// The message of a process that has ended. An instance closes its end before its first instruction.
pub(crate) fn message(report: &OwnedFd) -> Option<String> {
    const LINE_MAX: u64 = 16 << 10;
    let mut text = Vec::new();
    File::from(report.try_clone().ok()?).take(LINE_MAX).read_to_end(&mut text).ok();
    let text = String::from_utf8_lossy(&text);
    let text = text.trim_start_matches(char::from(PARKED)).trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The child's data, in this process's memory.
struct Job<'a> {
    start: &'a Start<'a>,
    /// Those that `snaprun` gets.
    files: &'a [Arc<File>],
    argv: *const *const c_char,
    envp: *const *const c_char,
    /// What failed, and how.
    failed: (&'static str, c_int),
}

/// The child needs little stack. There is no guard page, since it only calls the C library's wrappers.
const STACK: usize = 32 << 10;

/// Starts an ordinary instance. A negative number means that it does not get that stream. `option` is `--report`, or
/// `--prove` for a process that ends before the jump.
pub(crate) fn start(
    snapshot: &Snapshot,
    option: &CStr,
    strings: &Strings,
    streams: [RawFd; 3],
    directory: Option<&CStr>,
    umask: Option<u32>,
) -> Result<Started, Error> {
    let snapshot = &*snapshot.inner;
    let (report, theirs) = pipe().map_err(Error::io("pipe"))?;
    let theirs = raise(theirs, snapshot.free).map_err(Error::io("duplicating a pipe"))?;
    let report_to = (option, &theirs);
    let streams = Some(streams);
    let start =
        Start { snapshot, options: &[], report: report_to, strings, streams, directory, umask, contained: false };
    Ok(Started { pid: start.spawn()?, report })
}

impl Start<'_> {
    /// Starts it: the PID.
    pub(crate) fn spawn(&self) -> Result<i32, Error> {
        let number = |fd: RawFd| CString::new(fd.to_string()).unwrap_or_default();
        let report = number(self.report.1.as_raw_fd());
        let variant = self.snapshot.variant();
        let mut before = vec![c"snaprun".as_ptr(), c"--fds".as_ptr(), variant.list.as_ptr()];
        before.extend([self.report.0.as_ptr(), report.as_ptr()]);
        before.extend(self.snapshot.allow_wx.then_some(c"--allow-wx".as_ptr()));
        before.extend(self.options.iter().map(|option| option.as_ptr()));
        before.push(c"--".as_ptr());
        let [argv, envp] = self.strings.vectors(&before);
        let mut job =
            Job { start: self, files: &variant.files, argv: argv.as_ptr(), envp: envp.as_ptr(), failed: ("", 0) };
        let mut stack: Vec<MaybeUninit<u128>> = Vec::with_capacity(STACK / size_of::<u128>());
        let mut before = u64::MAX;
        // SAFETY: the child runs on `stack`, whose end is aligned to 16 bytes. When clone returns (CLONE_VFORK), the
        // child no longer uses the stack or anything that `job` points to. The masks have the kernel's size.
        let pid = unsafe {
            set_mask(&u64::MAX, &mut before);
            let top = stack.as_mut_ptr().add(stack.capacity());
            let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
            let pid = libc::clone(child, top.cast(), flags, (&raw mut job).cast());
            let error = io::Error::last_os_error();
            set_mask(&before, ptr::null_mut());
            if pid < 0 {
                return Err(Error::System { what: "clone", source: error });
            }
            pid
        };
        // SAFETY: the child, which shares the memory, has written it while this thread waited.
        let (what, errno) = unsafe { (&raw const job.failed).read_volatile() };
        if errno != 0 {
            let _ = wait(pid, false);
            return Err(Error::System { what, source: io::Error::from_raw_os_error(errno) });
        }
        Ok(pid)
    }
}

/// # Safety
/// `old` is null or writable.
unsafe fn set_mask(new: &u64, old: *mut u64) {
    // SAFETY: the kernel's own mask has 8 bytes. The C library's function would leave its own signals out.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, ptr::from_ref(new), old, 8usize) };
}

/// The child. It returns only if something fails; the parent then finds the error in the job.
extern "C" fn child(job: *mut c_void) -> c_int {
    let job = job.cast::<Job<'_>>();
    // SAFETY: `spawn`'s job, which lives until this process has executed another program or ended; only system calls.
    unsafe {
        let start = (*job).start;
        let fail = |what: &'static str| {
            (&raw mut (*job).failed).write_volatile((what, *libc::__errno_location()));
            libc::_exit(127)
        };
        // Rust programs ignore SIGPIPE, and execve would pass that on.
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        if let Some(directory) = start.directory
            && libc::chdir(directory.as_ptr()) != 0
        {
            fail("entering the working directory");
        }
        if let Some(mask) = start.umask {
            libc::umask(mask);
        }
        if start.contained {
            // If this thread ends before the second call, the instance still ends: its socket closes.
            libc::setpgid(0, 0);
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        }
        if start.streams.is_none() {
            // The child waits for long. A descriptor that another thread has just opened without close-on-exec (for
            // example the end of a pipe whose closing some process waits for) must not stay open in it. Before Linux
            // 5.11 it stays open, as in any child.
            libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
        }
        for fd in (*job).files.iter().map(|file| file.as_raw_fd()).chain([start.report.1.as_raw_fd()]) {
            if libc::fcntl(fd, libc::F_SETFD, 0) != 0 {
                fail("passing a descriptor on");
            }
        }
        for (number, fd) in (0..).zip(start.streams.iter().flatten()) {
            if *fd < 0 {
                libc::close(number);
            } else if *fd != number && libc::dup2(*fd, number) < 0 {
                fail("placing the standard streams");
            }
        }
        libc::execve(start.snapshot.loader.as_ptr(), (*job).argv, (*job).envp);
        fail("executing snaprun")
    }
}
