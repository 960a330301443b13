//! `--same-pid`: the instance has the process ID that the program had at the snapshot.
//!
//! ```text
//!  snaprun   unshare(user, PID and mount namespace) → init → the instance → forwards signals, ends as that does
//!  init      process 1 of the namespace: reaps, and ends with snaprun; its end is the end of all of them
//!  instance  clone3(set_tid): mounts /proc, gives up the capabilities, and is restored
//! ```
//! In a PID namespace of its own no other process has the number. The instance stays in the starter's session and
//! process group, so that the terminal reaches it. A start without the option does nothing of this.
#![allow(unsafe_code)] // system calls

use super::pool_client::end_as;
use super::user_ns::{self, Capabilities, call};
use crate::runtime::print::Out;
use crate::runtime::sys::{self, Errno, nr};
use core::ffi::CStr;
use core::fmt::{self, Write};
use snapfn_format::linux::PR_SET_PDEATHSIG;

const CLONE_NEWNS: u64 = 0x0002_0000;
const CLONE_NEWPID: u64 = 0x2000_0000;
const SIGKILL: u64 = 9;
const SIGCHLD: u64 = 17;
const SIGSTOP: u64 = 19;
/// The ID that every namespace's first process has.
const INIT: u32 = 1;

/// What could not be done.
#[derive(Clone, Copy, Debug)]
pub struct SamePidError(&'static str, Errno);

impl fmt::Display for SamePidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--same-pid: {}: {}", self.0, self.1)?;
        f.write_str(match self.1 {
            Errno::NOSPC => ", raise the sysctls user.max_user_namespaces and user.max_pid_namespaces",
            Errno::PERM | Errno::ACCES => {
                ", allow user namespaces (AppArmor, seccomp and chroot may forbid them) or start it with CAP_SYS_ADMIN"
            }
            Errno::NOSYS => ", this needs Linux 5.5, and a seccomp filter that allows clone3",
            Errno::INVAL => ", this needs Linux 5.5 with user and PID namespaces, and a pid_max above the ID",
            _ => "",
        })
    }
}

/// `struct clone_args`, as far as `set_tid`.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
}

/// Forks: 0 in the child, which has the number `tid` if it is not 0.
fn fork(tid: u32) -> sys::Result<u64> {
    let args = CloneArgs {
        exit_signal: SIGCHLD,
        set_tid: if tid == 0 { 0 } else { &raw const tid as u64 },
        set_tid_size: u64::from(tid != 0),
        ..CloneArgs::default()
    };
    call(nr::CLONE3, [&raw const args as u64, size_of::<CloneArgs>() as u64, 0, 0, 0])
}

/// Returns in a child that has the ID `pid`. This process itself stays, and ends as the child does.
pub fn enter(pid: u32) -> Result<(), SamePidError> {
    let step = |what| move |errno| SamePidError(what, errno);
    let mut before = Capabilities::get();
    let is_unprivileged = user_ns::unshare(CLONE_NEWPID | CLONE_NEWNS, "making a PID namespace")
        .map_err(|(what, errno)| SamePidError(what, errno))?;
    // Symptom: a mount of root's shows up in the whole system. Mounts are shared by default, also with a new namespace
    // of the same user namespace.
    let slaves = mount(c"none", c"/", c"", MS_REC | MS_SLAVE);
    let init = match pid {
        INIT => None,
        _ => match fork(0).map_err(step("making the first process of the namespace"))? {
            0 => be_init(),
            init => Some(init),
        },
    };
    match fork(pid) {
        Ok(0) => {
            let signal = if pid == INIT { SIGKILL } else { 0 };
            let _ = call(nr::PRCTL, [PR_SET_PDEATHSIG.into(), signal, 0, 0, 0]);
            if slaves.and_then(|()| mount(c"proc", c"/proc", c"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)).is_err() {
                let mut out = Out::new(2);
                let _ = out.write_str(
                    "snaprun: --same-pid: /proc cannot be mounted here, and /proc/PID has the numbers of the host\n",
                );
            }
            match is_unprivileged {
                true => before.set().map_err(step("giving up capabilities")),
                false => Ok(()),
            }
        }
        Ok(child) => stand_for(child, init),
        Err(errno) => {
            init.into_iter().for_each(kill);
            Err(SamePidError("making a process with the ID of the snapshot", errno))
        }
    }
}

const MS_NOSUID: u64 = 2;
const MS_NODEV: u64 = 4;
const MS_NOEXEC: u64 = 8;
const MS_REC: u64 = 1 << 14;
const MS_SLAVE: u64 = 1 << 19;

fn kill(process: u64) {
    let _ = call(nr::KILL, [process, SIGKILL, 0, 0, 0]);
}

fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: u64) -> sys::Result<()> {
    let address = |text: &CStr| text.as_ptr() as u64;
    call(nr::MOUNT, [address(source), address(target), address(kind), flags, 0]).map(drop)
}

/// Process 1: reaps what has lost its parent, until the namespace ends.
fn be_init() -> ! {
    const ALL: u64 = u64::MAX;
    const WNOHANG: u64 = 1;
    sys::block_signals();
    let _ = call(nr::PRCTL, [PR_SET_PDEATHSIG.into(), SIGKILL, 0, 0, 0]);
    // Another member of the starter's session would keep a stopped process group from being an orphaned one.
    let _ = call(nr::SETSID, [0; 5]);
    // Whoever reads the other end of a pipe waits for all of its writers.
    let _ = call(nr::CLOSE_RANGE, [0, u64::from(u32::MAX), 0, 0, 0]);
    loop {
        while call(nr::WAIT4, [ALL, 0, WNOHANG, 0, 0]).is_ok_and(|child| child != 0) {}
        let child = 1u64 << (SIGCHLD - 1);
        let _ = call(nr::RT_SIGTIMEDWAIT, [&raw const child as u64, 0, 0, 8, 0]);
    }
}

/// Forwards signals to the instance, stops when it stops, and ends as it ends.
fn stand_for(child: u64, init: Option<u64>) -> ! {
    const WNOHANG: u64 = 1;
    const WUNTRACED: u64 = 2;
    const STOPPED: u32 = 0x7f;
    sys::block_signals();
    loop {
        let mut status = 0u32;
        let found = call(nr::WAIT4, [child, &raw mut status as u64, WNOHANG | WUNTRACED, 0, 0]);
        if found.is_ok_and(|pid| pid != 0) {
            if status & 0xff == STOPPED {
                let _ = call(nr::KILL, [call(nr::GETPID, [0; 5]).unwrap_or(0), SIGSTOP, 0, 0, 0]);
                continue;
            }
            init.into_iter().for_each(kill);
            end_as(status);
        }
        // siginfo_t: number, error, code.
        let (all, mut info) = (u64::MAX, [0u32; 32]);
        let wait = [&raw const all as u64, info.as_mut_ptr() as u64, 0, 8, 0];
        let Ok(signal) = call(nr::RT_SIGTIMEDWAIT, wait) else { continue };
        // Signals of the kernel (a terminal's) reach the whole process group, and with it the instance.
        let is_sent = info[2] as i32 <= 0;
        if signal != SIGCHLD && is_sent {
            let _ = call(nr::KILL, [child, signal, 0, 0, 0]);
        }
    }
}
