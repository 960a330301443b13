//! Runs one experiment in a child, so that a crash or a hang of the experiment does no harm.
//!
//! The caller may be a program with threads (a test harness), so between the fork and its end the
//! child does nothing that takes a lock of the caller's: no allocation, no printing, no panicking.
#![allow(unsafe_code)] // fork, signal dispositions, and the page through which the finding returns

use std::mem::MaybeUninit;
use std::ptr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};

use crate::Outcome;
use crate::finding::{Check, Finding};
use crate::sys;

/// Whether an experiment keeps the capabilities of the caller.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Privileges {
    /// The child has none, so that the outcome is that of a plain user even if root runs it.
    Dropped,
    /// As they are.
    Kept,
}

/// Exit status of a child that wrote a finding or had none.
const REPORTED: i32 = 0;
/// Exit status of a child whose experiment panicked.
const PANICKED: i32 = 101;

/// Runs `experiment` in a forked child. Every end of the child is an outcome.
pub(crate) fn run(limit: Duration, privileges: Privileges, experiment: impl FnOnce() -> Check) -> Outcome {
    let page = match SharedPage::new() {
        Ok(page) => page,
        Err(errno) => return Outcome::Unknown(format!("no page to report through: {}", errno.desc())),
    };
    // SAFETY: the child only runs code that takes no lock and does not return from here.
    match unsafe { libc::fork() } {
        -1 => Outcome::Unknown(format!("cannot fork: {}", Errno::last().desc())),
        0 => {
            let guard = ExitOnUnwind;
            enter(privileges);
            if let Err(finding) = experiment() {
                page.put(finding);
            }
            std::mem::forget(guard);
            sys::exit_now(REPORTED)
        }
        pid => {
            let status = watch(pid, limit);
            match status {
                Ending::Exited(REPORTED) => page.get().map_or(Outcome::Works, Outcome::from),
                Ending::Exited(PANICKED) => Outcome::Unknown("the experiment panicked".to_owned()),
                Ending::Exited(code) => Outcome::Missing(format!("the experiment exited with status {code}")),
                Ending::Killed(signal) => Outcome::Missing(format!("the experiment died of signal {signal}")),
                Ending::TimedOut => Outcome::Unknown(format!("no answer within {} s", limit.as_secs())),
                Ending::Lost(errno) => Outcome::Unknown(format!("lost the child: {}", errno.desc())),
            }
        }
    }
}

/// What became of the child.
enum Ending {
    Exited(i32),
    Killed(i32),
    TimedOut,
    Lost(Errno),
}

/// Waits for the child without reaping it, kills the rest of its group, then reaps it. While the zombie exists, no
/// other group can have its number.
fn watch(pid: i32, limit: Duration) -> Ending {
    let deadline = Instant::now() + limit;
    let mut timed_out = false;
    loop {
        match sys::peek_exit(pid) {
            Ok(true) => break,
            Ok(false) if Instant::now() >= deadline => {
                timed_out = true;
                break;
            }
            Ok(false) => std::thread::sleep(Duration::from_micros(300)),
            Err(errno) => return Ending::Lost(errno),
        }
    }
    // The group may not exist yet or be gone; the child itself is killed by its own number.
    let _ = sys::kill(-pid, libc::SIGKILL);
    let _ = sys::kill(pid, libc::SIGKILL);
    match sys::wait4(pid, 0) {
        Ok(_) if timed_out => Ending::TimedOut,
        Ok((_, status)) if libc::WIFEXITED(status) => Ending::Exited(libc::WEXITSTATUS(status)),
        Ok((_, status)) => Ending::Killed(libc::WTERMSIG(status)),
        Err(errno) => Ending::Lost(errno),
    }
}

/// Makes the child independent of the caller: changes of the child do not reach the caller.
fn enter(privileges: Privileges) {
    sys::new_process_group();
    sys::die_with_parent();
    sys::default_signals();
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    // On old kernels without the call, the caller's descriptors stay open in the child, which does no harm.
    let _ = sys::close_range(3, u32::MAX);
    if privileges == Privileges::Dropped {
        sys::drop_capabilities();
    }
}

/// Ends the child before a panic would unwind into the caller's code.
struct ExitOnUnwind;

impl Drop for ExitOnUnwind {
    fn drop(&mut self) {
        sys::exit_now(PANICKED);
    }
}

/// One page that the child writes and the caller reads after the child is dead.
struct SharedPage(*mut Option<Finding>);

impl SharedPage {
    fn new() -> Result<Self, Errno> {
        let len = size_of::<MaybeUninit<Option<Finding>>>();
        // SAFETY: the kernel chooses the place of the new mapping, so it changes no other one.
        let page = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let page = page.cast::<Option<Finding>>();
        // SAFETY: the page is writable, large enough and aligned, and no other code has it yet.
        unsafe { page.write(None) };
        Ok(Self(page))
    }

    fn put(&self, finding: Finding) {
        // SAFETY: initialised in new(); the caller only reads after this process has ended.
        unsafe { self.0.write_volatile(Some(finding)) };
    }

    fn get(&self) -> Option<Finding> {
        // SAFETY: initialised in new(); the child that could write has been reaped after exiting by
        // itself. The text it points to is in the program's image, which both have at one address.
        unsafe { self.0.read_volatile() }
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in new(), and no reference to it is left.
        unsafe { libc::munmap(self.0.cast(), size_of::<MaybeUninit<Option<Finding>>>()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Detail, missing};

    const LIMIT: Duration = Duration::from_secs(30);

    #[test]
    fn a_finding_returns() {
        let outcome = run(LIMIT, Privileges::Dropped, || Err(missing("seen", Detail::Value(0x2a))));
        assert_eq!(outcome, Outcome::Missing("seen: 0x2a".to_owned()));
        assert_eq!(run(LIMIT, Privileges::Dropped, || Ok(())), Outcome::Works);
    }

    #[test]
    fn a_crash_is_an_outcome() {
        let outcome = run(LIMIT, Privileges::Dropped, || {
            let _ = sys::kill(sys::getpid(), libc::SIGSEGV);
            Ok(())
        });
        assert_eq!(outcome, Outcome::Missing("the experiment died of signal 11".to_owned()));
    }

    #[test]
    fn a_hang_is_an_outcome() {
        let outcome = run(Duration::from_millis(50), Privileges::Dropped, || {
            loop {
                sys::pause();
            }
        });
        assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
    }

    #[test]
    fn an_exit_is_an_outcome() {
        let outcome = run(LIMIT, Privileges::Dropped, || sys::exit_now(3));
        assert_eq!(outcome, Outcome::Missing("the experiment exited with status 3".to_owned()));
    }

    #[test]
    fn helpers_of_an_experiment_do_not_outlive_it() {
        let page = crate::region::Region::shared(4096).expect("a page");
        let outcome = run(LIMIT, Privileges::Dropped, || {
            let helper = crate::child::Child::spawn(|| {
                loop {
                    sys::pause();
                }
            });
            if let Ok(helper) = helper {
                page.poke_word(0, helper.pid() as u64);
                std::mem::forget(helper);
            }
            Ok(())
        });
        assert_eq!(outcome, Outcome::Works);
        let pid = page.peek_word(0) as i32;
        assert_ne!(pid, 0);
        // Killed with its group; init may need a moment to reap it.
        for _ in 0..2000 {
            if sys::kill(pid, 0) == Err(Errno::ESRCH) || sys::is_zombie(pid) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("process {pid} is still alive");
    }
}
