//! Hidden state: state of a process and its threads that neither /proc nor a record shows. A snapshot restores it by a
//! cheap call, or is refused with its name.
//!
//! Where the tracer has seen all calls, this module checks only the state of the calls that the program made.

use super::refuse::Blocker;
use super::scratch::Scratch;
use crate::tracee::ptrace::{self, Tid};
use crate::tracee::{Frozen, Status, Tracer};
use procfs::ProcError;
use procfs::process::Process;
use snapfn_format::PAGE;
use snapfn_format::snap::*;
use std::fs;
use std::os::unix::fs::MetadataExt;

const AFTER: &str = "do it after the snapshot point";
const ALIKE: &str = "let all threads share it, or make the thread after the snapshot point";

/// Calls that may have made keyrings.
const KEY_CALLS: &[i64] = &[libc::SYS_add_key, libc::SYS_request_key, libc::SYS_keyctl];

/// The blockers of one subject.
struct Subject<'a> {
    name: String,
    blockers: &'a mut Vec<Blocker>,
}

impl Subject<'_> {
    fn block(&mut self, found: bool, what: impl Into<String>, remedy: &'static str) {
        if found {
            self.blockers.push(Blocker { subject: self.name.clone(), what: what.into(), remedy });
        }
    }
}

/// The state of the process. `scratch` is of its first thread.
pub(super) fn process(tracer: &Tracer, scratch: &Scratch<'_>, blockers: &mut Vec<Blocker>) {
    let ledger = &tracer.ledger;
    let mut subject = Subject { name: "process".to_owned(), blockers };
    if ledger.may_have_called(&[libc::SYS_modify_ldt]) {
        subject.block(has_ldt(scratch), "has segments in an LDT (modify_ldt)", AFTER);
    }
    if ledger.may_have_called(KEY_CALLS) {
        subject.block(keyring(scratch, KEY_SPEC_PROCESS).is_some(), "has a process keyring", AFTER);
        let session = keyring(scratch, KEY_SPEC_SESSION);
        subject.block(session.is_some() && session != own_session(), "has a session keyring of its own", AFTER);
    }
    if tracer.spawned.is_ours && ledger.may_have_called(&[libc::SYS_ioctl, libc::SYS_setsid]) {
        subject.block(has_own_terminal(tracer.pid), "has another controlling terminal", AFTER);
    }
    if ledger.may_have_called(&[libc::SYS_mbind, libc::SYS_set_mempolicy_home_node]) {
        for range in bound_memory(tracer.pid) {
            let mut memory = Subject { name: format!("memory {range}"), blockers: subject.blockers };
            memory.block(true, "has a NUMA memory policy of its own", "set it after the snapshot point");
        }
    }
}

/// The state of the thread `task`; the first thread is `main`.
pub(super) fn thread(tracer: &Tracer, main: Tid, task: &Frozen, scratch: &Scratch<'_>, blockers: &mut Vec<Blocker>) {
    let ledger = &tracer.ledger;
    let is_main = task.tid == main;
    let name = if is_main { "process".to_owned() } else { format!("thread {}", task.tid) };
    let mut subject = Subject { name, blockers };
    if ledger.may_have_called(KEY_CALLS) {
        subject.block(keyring(scratch, KEY_SPEC_THREAD).is_some(), "has a thread keyring", AFTER);
        // KEY_REQKEY_DEFL_NO_CHANGE: the call answers what is set.
        let default = scratch.value(libc::SYS_keyctl, &[KEYCTL_SET_REQKEY_KEYRING, u64::MAX]);
        subject.block(default.is_ok_and(|default| default != 0), "has a default keyring of its own", AFTER);
    }
    if ledger.may_have_called(&[libc::SYS_prctl]) {
        let cookie = scratch.try_call(libc::SYS_prctl, &[PR_SCHED_CORE, 0, 0, 0, scratch.addr]);
        let is_own = cookie.is_ok_and(|[cookie]: [u64; 1]| cookie != 0 && Some(cookie) != own_core_cookie());
        subject.block(is_own, "is in a core scheduling group (PR_SCHED_CORE)", AFTER);
    }
    if ledger.may_have_called(&[libc::SYS_ioperm, libc::SYS_iopl]) {
        subject.block(ptrace::has_io_ports(task.tid), "may use I/O ports (ioperm)", AFTER);
    }
    if ledger.may_have_called(&[libc::SYS_set_thread_area]) {
        subject.block(ptrace::has_thread_area(task.tid), "has a segment in the GDT (set_thread_area)", AFTER);
    }
    for label in changed_labels(tracer, task.tid) {
        subject.block(true, format!("has changed its security attribute '{label}'"), AFTER);
    }
    if !is_main {
        for namespace in other_namespaces(tracer.pid, task.tid) {
            subject.block(true, format!("has entered another namespace ({namespace})"), ALIKE);
        }
        for (what, shared) in shared_with(main, task.tid) {
            subject.block(!shared, format!("has {what} of its own"), ALIKE);
        }
    }
}

/// What cheap calls set again.
pub(super) fn settings(tracer: &Tracer, scratch: &Scratch<'_>) -> Vec<Setting> {
    let barriers = registrations(tracer, scratch);
    let each = (0..u64::BITS).map(|bit| barriers & 1 << bit).filter(|command| *command != 0);
    let setting = |kind, a| Setting { kind, which: 0, a, b: 0 };
    each.map(|command| setting(SETTING_MEMBARRIER, command))
        .chain(locks_later_memory(tracer, scratch).map(|flags| setting(SETTING_MLOCKALL, flags)))
        .chain(may_use_tiles(scratch).then(|| setting(SETTING_XCOMP_PERM, AMX_TILE_DATA)))
        .collect()
}

/// Number of the component of the register state with the tiles of AMX.
const AMX_TILE_DATA: u64 = 18;

/// The commands by which the process is registered for `membarrier`, as a set of bits. Linux 6.3 reports them; before,
/// only the calls show them.
fn registrations(tracer: &Tracer, scratch: &Scratch<'_>) -> u64 {
    const MEMBARRIER_CMD_GET_REGISTRATIONS: u64 = 512;
    let ledger = &tracer.ledger;
    if !ledger.may_have_called(&[libc::SYS_membarrier]) {
        return 0;
    }
    let told = scratch.value(libc::SYS_membarrier, &[MEMBARRIER_CMD_GET_REGISTRATIONS, 0, 0]);
    told.unwrap_or_else(|_| ledger.registrations()) & MEMBARRIER_REGISTER
}

/// The flags of `mlockall` where memory that is mapped from now on is locked. The kernel does not report them, so a
/// page is mapped and the count of locked memory read.
fn locks_later_memory(tracer: &Tracer, scratch: &Scratch<'_>) -> Option<u64> {
    if !tracer.ledger.may_have_called(&[libc::SYS_mlockall]) {
        return None;
    }
    const ANONYMOUS: u64 = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    const READ_WRITE: u64 = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    let locked =
        || Status::read(tracer.pid, tracer.pid).map(|status| status.get("VmLck").to_owned()).unwrap_or_default();
    let before = locked();
    let page = match scratch.value(libc::SYS_mmap, &[0, PAGE, READ_WRITE, ANONYMOUS, u64::MAX, 0]) {
        Ok(page) => page,
        // The page would exceed the limit of locked memory.
        Err(error) => return (error.raw_os_error() == Some(libc::EAGAIN)).then_some(MCL_FUTURE),
    };
    let is_locked = locked() != before;
    let present = scratch.try_call(libc::SYS_mincore, &[page, PAGE, scratch.addr]);
    let _ = scratch.value(libc::SYS_munmap, &[page, PAGE]);
    let on_fault = present.is_ok_and(|[state]: [u64; 1]| state & 1 == 0);
    is_locked.then_some(if on_fault { MCL_FUTURE | MCL_ONFAULT } else { MCL_FUTURE })
}

/// Whether the process has asked for the permission to use AMX.
fn may_use_tiles(scratch: &Scratch<'_>) -> bool {
    const ARCH_GET_XCOMP_PERM: u64 = 0x1022;
    let granted = scratch.try_call(libc::SYS_arch_prctl, &[ARCH_GET_XCOMP_PERM, scratch.addr]);
    granted.is_ok_and(|[mask]: [u64; 1]| mask >> AMX_TILE_DATA & 1 != 0)
}

const KEYCTL_GET_KEYRING_ID: u64 = 0;
const KEYCTL_SET_REQKEY_KEYRING: u64 = 14;
const KEY_SPEC_THREAD: i32 = -1;
const KEY_SPEC_PROCESS: i32 = -2;
const KEY_SPEC_SESSION: i32 = -3;
const PR_SCHED_CORE: u64 = 62;

/// The keyring's ID, if there is one; none is made.
fn keyring(scratch: &Scratch<'_>, special: i32) -> Option<u64> {
    scratch.value(libc::SYS_keyctl, &[KEYCTL_GET_KEYRING_ID, special as u64, 0]).ok()
}

#[allow(unsafe_code)] // keyctl
fn own_session() -> Option<u64> {
    // SAFETY: integers only.
    let id = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION, 0) };
    u64::try_from(id).ok()
}

#[allow(unsafe_code)] // prctl
fn own_core_cookie() -> Option<u64> {
    let mut cookie = 0u64;
    // SAFETY: the cookie is a live local.
    let result = unsafe { libc::prctl(PR_SCHED_CORE as i32, 0, 0, 0, &raw mut cookie) };
    (result == 0).then_some(cookie)
}

/// An LDT that is there answers with as many bytes as are asked for.
fn has_ldt(scratch: &Scratch<'_>) -> bool {
    const READ: u64 = 0;
    const SEGMENT: u64 = 8;
    scratch.value(libc::SYS_modify_ldt, &[READ, scratch.addr, SEGMENT]).is_ok_and(|len| len > 0)
}

/// A terminal that controls the program and not the snapshotter, or the other way round. A session of its own begins
/// without one, as that of an instance does.
fn has_own_terminal(pid: Tid) -> bool {
    let stat = |process: Result<Process, ProcError>| process.and_then(|process| process.stat()).ok();
    let (Some(program), Some(own)) = (stat(Process::new(pid)), stat(Process::myself())) else { return false };
    let expected = if program.session == pid { 0 } else { own.tty_nr };
    program.tty_nr != expected
}

/// Where memory has a policy of its own, as /proc/PID/numa_maps tells.
fn bound_memory(pid: Tid) -> Vec<String> {
    bound_ranges(&fs::read_to_string(format!("/proc/{pid}/numa_maps")).unwrap_or_default())
}

/// The ranges of a numa_maps file whose policy matters. OpenBLAS asks for `local`, which is where a process without any
/// policy gets its memory, too.
fn bound_ranges(text: &str) -> Vec<String> {
    let bound = |line: &str| {
        let mut words = line.split_whitespace();
        let (address, policy) = (words.next()?, words.next()?);
        (!matches!(policy, "default" | "local")).then(|| address.to_owned())
    };
    text.lines().filter_map(bound).collect()
}

/// Security attributes that only the program itself can have set. The current one may follow from its file.
fn changed_labels(tracer: &Tracer, tid: Tid) -> Vec<&'static str> {
    const ATTRIBUTES: [&str; 4] = ["exec", "fscreate", "keycreate", "sockcreate"];
    let read = |path: String| fs::read(path).unwrap_or_default();
    let differs = |attribute: &&'static str| {
        read(format!("/proc/{}/task/{tid}/attr/{attribute}", tracer.pid))
            != read(format!("/proc/self/attr/{attribute}"))
    };
    ATTRIBUTES.into_iter().filter(differs).collect()
}

/// Namespaces of a thread that are not the first one's.
fn other_namespaces(pid: Tid, tid: Tid) -> Vec<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/ns")) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let of =
        |task: Tid, name: &str| fs::metadata(format!("/proc/{pid}/task/{task}/ns/{name}")).map(|meta| meta.ino()).ok();
    names.filter(|name| of(pid, name) != of(tid, name)).collect()
}

/// Each kind of state that threads share: its name, and whether these two share it.
fn shared_with(main: Tid, tid: Tid) -> Vec<(&'static str, bool)> {
    const KCMP_FILES: i32 = 2;
    const KCMP_FS: i32 = 3;
    const KCMP_SYSVSEM: i32 = 6;
    let directory = "a working directory, root directory and umask";
    let semaphores = "adjustments of semaphores (SEM_UNDO)";
    let kinds = [(directory, KCMP_FS), ("descriptors", KCMP_FILES), (semaphores, KCMP_SYSVSEM)];
    let compared = kinds.map(|(what, kind)| (what, same(main, tid, kind)));
    if compared.iter().all(|(_, same)| same.is_some()) {
        return compared.into_iter().map(|(what, same)| (what, same != Some(false))).collect();
    }
    // Without kcmp the values have to do.
    let link = |task: Tid, name: &str| fs::read_link(format!("/proc/{task}/{name}")).ok();
    let umask = |task: Tid| Status::read(main, task).ok().map(|status| status.get("Umask").to_owned());
    let descriptors = |task: Tid| fs::read_dir(format!("/proc/{task}/fd")).map(Iterator::count).ok();
    let alike = ["cwd", "root"].iter().all(|name| link(main, name) == link(tid, name)) && umask(main) == umask(tid);
    vec![(directory, alike), ("descriptors", descriptors(main) == descriptors(tid))]
}

/// `None` where the kernel does not report it.
#[allow(unsafe_code)] // kcmp
fn same(a: Tid, b: Tid, kind: i32) -> Option<bool> {
    // SAFETY: integers only.
    match unsafe { libc::syscall(libc::SYS_kcmp, a, b, kind, 0, 0) } {
        0 => Some(true),
        1.. => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bound_unless_its_policy_is_where_a_process_gets_memory_anyway() {
        let maps =
            "7f027dfff000 default\n7f027e800000 local anon=3\n7f028631c000 bind:0 anon=1\n7f0286320000 prefer:0\n";
        assert_eq!(bound_ranges(maps), ["7f028631c000", "7f0286320000"]);
    }
}
