//! The system calls that `std` offers only with side effects.
//!
//! A drop-in must pass on the state that it inherits. The runtime of `std` ignores SIGPIPE and opens closed standard
//! descriptors before `main`, and its `Command` clears the signal mask and resets SIGPIPE in the child; the compiler
//! would see all of that. So the entry point here is C's `main`, and programs are started by libc.
#![allow(unsafe_code)]

#[cfg(not(test))]
use std::ffi::CStr;
use std::ffi::{CString, OsStr, c_char, c_int};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::time::Duration;

unsafe extern "C" {
    // `environ` as POSIX declares it: libc's `execv` reads it too.
    static environ: *const *mut c_char;
}

/// Called by the C library's start-up code.
///
/// # Safety
/// `argv` has `argc` strings, as the C library guarantees.
#[cfg(not(test))]
#[unsafe(no_mangle)]
unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    let argc = usize::try_from(argc).unwrap_or(0);
    let args = (0..argc).map(|i| {
        // SAFETY: the C library passes argc valid strings.
        let arg = unsafe { CStr::from_ptr(*argv.add(i)) };
        OsStr::from_bytes(arg.to_bytes()).to_owned()
    });
    crate::run(args.collect())
}

/// A command line for the kernel.
pub(crate) struct Command {
    file: CString,
    argv: Vec<CString>,
}

impl Command {
    /// `argv` includes the name of the program.
    pub(crate) fn new<'a>(file: &Path, argv: impl IntoIterator<Item = &'a OsStr>) -> io::Result<Command> {
        let argv = argv.into_iter().map(|arg| CString::new(arg.as_bytes())).collect::<Result<_, _>>()?;
        Ok(Command { file: CString::new(file.as_os_str().as_bytes())?, argv })
    }

    fn pointers(&self) -> Vec<*mut c_char> {
        self.argv.iter().map(|arg| arg.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect()
    }

    /// Becomes the program; returns only if that failed.
    pub(crate) fn exec(&self) -> io::Error {
        let argv = self.pointers();
        // SAFETY: both are strings that outlive the call, argv ends with a null pointer.
        // `execvp` of a path searches nothing, and runs a script without `#!` as a shell would.
        unsafe { libc::execvp(self.file.as_ptr(), argv.as_ptr().cast()) };
        io::Error::last_os_error()
    }

    /// Runs the program as a child with the signal mask and dispositions of snapcc, and waits for its end.
    ///
    /// Signals that would kill snapcc are held back until [`Held::release`].
    pub(crate) fn run(&self) -> io::Result<(End, Held)> {
        let held = Held::block();
        let mut attributes = MaybeUninit::uninit();
        let mut child = 0;
        let argv = self.pointers();
        // SAFETY: the attributes are initialised by the first call and destroyed by the last; the strings and argv
        // outlive the calls. The child gets the mask from before `block`.
        let error = unsafe {
            libc::posix_spawnattr_init(attributes.as_mut_ptr());
            libc::posix_spawnattr_setsigmask(attributes.as_mut_ptr(), &held.before);
            // The flags fit a short: SETSIGMASK is 8.
            libc::posix_spawnattr_setflags(attributes.as_mut_ptr(), libc::POSIX_SPAWN_SETSIGMASK as libc::c_short);
            let error = libc::posix_spawn(
                &mut child,
                self.file.as_ptr(),
                ptr::null(),
                attributes.as_ptr(),
                argv.as_ptr(),
                environ,
            );
            libc::posix_spawnattr_destroy(attributes.as_mut_ptr());
            error
        };
        if error != 0 {
            held.release();
            return Err(io::Error::from_raw_os_error(error));
        }
        let end = held.wait(child)?;
        Ok((end, held))
    }
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Exit(c_int),
    Signal(c_int),
}

/// Signals that are held back while a child runs or a file is not finished.
pub(crate) struct Held {
    before: libc::sigset_t,
    waited: libc::sigset_t,
}

/// Signals that ask a process to end.
const FATAL: [c_int; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// How long a child may take to react to a signal that was sent to the whole process group.
const GROUP_GRACE: Duration = Duration::from_millis(50);

impl Held {
    fn block() -> Held {
        let mut before = MaybeUninit::uninit();
        let mut waited = MaybeUninit::uninit();
        // SAFETY: every set and action is written before it is read; no handler is installed.
        unsafe {
            // If SIGCHLD were ignored, the kernel would drop the exit status (gcc resets it for the same reason).
            libc::signal(libc::SIGCHLD, libc::SIG_DFL);
            libc::sigemptyset(waited.as_mut_ptr());
            libc::sigaddset(waited.as_mut_ptr(), libc::SIGCHLD);
            for signal in FATAL {
                let mut action = MaybeUninit::<libc::sigaction>::uninit();
                // A blocked signal is queued even if it is ignored, so ignored ones (nohup) stay out.
                if libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) == 0
                    && action.assume_init_ref().sa_sigaction != libc::SIG_IGN
                {
                    libc::sigaddset(waited.as_mut_ptr(), signal);
                }
            }
            libc::sigprocmask(libc::SIG_BLOCK, waited.as_ptr(), before.as_mut_ptr());
            Held { before: before.assume_init(), waited: waited.assume_init() }
        }
    }

    /// Waits until `child` has ended. It forwards a signal that was sent only to snapcc. A signal from the terminal or
    /// to the group has already reached the child, and a second one would stop gcc while it removes its temporary
    /// files.
    fn wait(&self, child: libc::pid_t) -> io::Result<End> {
        let mut forward = None;
        loop {
            let mut status = 0;
            // SAFETY: status is ours.
            match unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) } {
                0 => {}
                -1 => return Err(io::Error::last_os_error()),
                _ if libc::WIFSIGNALED(status) => return Ok(End::Signal(libc::WTERMSIG(status))),
                _ => return Ok(End::Exit(libc::WEXITSTATUS(status))),
            }
            match self.next_signal(forward.map(|_| GROUP_GRACE)) {
                Some((libc::SIGCHLD, _)) => {}
                Some((signal, from_process)) if from_process => forward = Some(signal),
                Some(_) => {}
                None => {
                    if let Some(signal) = forward.take() {
                        // SAFETY: the child is not reaped yet, so the PID is its own.
                        unsafe { libc::kill(child, signal) };
                    }
                }
            }
        }
    }

    /// The next held signal and whether a process (not the kernel) sent it; `None` after the timeout or an
    /// interruption.
    fn next_signal(&self, timeout: Option<Duration>) -> Option<(c_int, bool)> {
        let mut info = MaybeUninit::<libc::siginfo_t>::uninit();
        // SAFETY: the set is initialised, info is written by a successful call, the timeout is null or valid.
        unsafe {
            let signal = match timeout {
                None => libc::sigwaitinfo(&self.waited, info.as_mut_ptr()),
                Some(timeout) => {
                    let mut spec: libc::timespec = std::mem::zeroed();
                    spec.tv_nsec = timeout.subsec_nanos().into();
                    libc::sigtimedwait(&self.waited, info.as_mut_ptr(), &spec)
                }
            };
            // User codes are zero and below, the kernel's are above.
            (signal > 0).then(|| (signal, info.assume_init_ref().si_code <= 0))
        }
    }

    /// Lets the held signals through: one that is pending ends the process here.
    pub(crate) fn release(self) {
        // SAFETY: the mask is the one that the process started with.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &self.before, ptr::null_mut()) };
    }
}

/// Dies of `signal`, so that the caller sees the end that the compiler would have had. If the signal does not kill,
/// returns a shell's status for it.
pub(crate) fn die_of(signal: c_int) -> c_int {
    // SAFETY: plain calls on this process, which has one thread.
    unsafe {
        // The core file is the compiler's.
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &none);
        libc::signal(signal, libc::SIG_DFL);
        let mut set = MaybeUninit::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        libc::sigprocmask(libc::SIG_UNBLOCK, set.as_ptr(), ptr::null_mut());
        libc::kill(libc::getpid(), signal);
    }
    128 + signal
}

/// Ends the process without exit handlers.
pub(crate) fn exit_now(status: c_int) -> ! {
    // SAFETY: `_exit` takes any status and does not return.
    unsafe { libc::_exit(status) }
}
