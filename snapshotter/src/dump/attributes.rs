//! Attributes of the process that the program itself has changed.
//!
//! Inherited attributes are those of an instance's starter. The snapshotter started the program, so an attribute that
//! equals the snapshotter's own is inherited. Credentials may change at `execve`, so they are compared with those found
//! right after it. An attribute that no plain user could restore is refused.

use super::capabilities;
use super::hidden;
use super::refuse::{Blocker, DumpError};
use super::scratch::Scratch;
use super::threads::tids;
use crate::tracee::ptrace::{self, Tid};
use crate::tracee::{Frozen, Status, TraceError, Tracer};
use libc::{
    PR_GET_CHILD_SUBREAPER, PR_GET_DUMPABLE, PR_GET_KEEPCAPS, PR_GET_MDWE, PR_GET_NO_NEW_PRIVS, PR_GET_PDEATHSIG,
    PR_GET_SECUREBITS, PR_GET_SPECULATION_CTRL, PR_GET_THP_DISABLE, PR_GET_TSC, PR_MCE_KILL, PR_MCE_KILL_GET,
    PR_MCE_KILL_SET, PR_SET_CHILD_SUBREAPER, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_MDWE, PR_SET_MEMORY_MERGE,
    PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG, PR_SET_SECUREBITS, PR_SET_SPECULATION_CTRL, PR_SET_THP_DISABLE, PR_SET_TSC,
    PR_SPEC_INDIRECT_BRANCH, PR_SPEC_STORE_BYPASS, SECBIT_KEEP_CAPS,
};
use snapfn_format::snap::*;
use std::fs;

const NEW_RIGHTS: &str = "do it after the snapshot point, or start the snapshotter that way";

/// How a `prctl` option answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Value,
    /// An `int` at the address that is the second argument.
    Int,
}

/// A pair of `prctl` options.
struct Pair {
    name: &'static str,
    get: i32,
    set: i32,
    answer: Answer,
    /// Each thread has its own.
    per_thread: bool,
    /// The value right after `execve` where that is not the parent's.
    initial: Option<u64>,
}

const fn pair(name: &'static str, (get, set): (i32, i32), per_thread: bool, initial: Option<u64>) -> Pair {
    Pair { name, get, set, answer: Answer::Value, per_thread, initial }
}

const fn int_pair(name: &'static str, options: (i32, i32), per_thread: bool, initial: Option<u64>) -> Pair {
    Pair { answer: Answer::Int, ..pair(name, options, per_thread, initial) }
}

// Options that the crate libc does not have.
const PR_SET_IO_FLUSHER: i32 = 57;
const PR_GET_IO_FLUSHER: i32 = 58;
const PR_GET_MEMORY_MERGE: i32 = 68;
const PR_SPEC_L1D_FLUSH: i32 = 2;

const PAIRS: [Pair; 11] = [
    int_pair("parent death signal", (PR_GET_PDEATHSIG, PR_SET_PDEATHSIG), true, Some(0)),
    pair("dumpable flag", (PR_GET_DUMPABLE, PR_SET_DUMPABLE), false, Some(1)),
    pair("'keep capabilities' flag", (PR_GET_KEEPCAPS, PR_SET_KEEPCAPS), true, Some(0)),
    int_pair("access to the time stamp counter", (PR_GET_TSC, PR_SET_TSC), true, None),
    pair("machine check policy", (PR_MCE_KILL_GET, PR_MCE_KILL), true, None),
    int_pair("child subreaper flag", (PR_GET_CHILD_SUBREAPER, PR_SET_CHILD_SUBREAPER), false, Some(0)),
    pair("'no new privileges' flag", (PR_GET_NO_NEW_PRIVS, PR_SET_NO_NEW_PRIVS), true, None),
    pair("transparent huge pages", (PR_GET_THP_DISABLE, PR_SET_THP_DISABLE), false, None),
    pair("I/O flusher flag", (PR_GET_IO_FLUSHER, PR_SET_IO_FLUSHER), true, None),
    pair("memory-deny-write-execute flags", (PR_GET_MDWE, PR_SET_MDWE), false, None),
    pair("merging of equal pages", (PR_GET_MEMORY_MERGE, PR_SET_MEMORY_MERGE), false, None),
];
/// Apart from the flag that PR_SET_KEEPCAPS sets.
const SECUREBITS: Pair = pair("set of securebits", (PR_GET_SECUREBITS, PR_SET_SECUREBITS), true, None);
const SPECULATION: Pair = pair("speculation control", (PR_GET_SPECULATION_CTRL, PR_SET_SPECULATION_CTRL), true, None);
const SPECULATION_KINDS: [i32; 3] = [PR_SPEC_STORE_BYPASS, PR_SPEC_INDIRECT_BRANCH, PR_SPEC_L1D_FLUSH];

#[allow(unsafe_code)] // prctl
fn own_prctl(pair: &Pair, argument: u64) -> Option<u64> {
    let mut value = 0i32;
    let argument = if pair.answer == Answer::Int { &raw mut value as u64 } else { argument };
    // SAFETY: these options only read settings; the address is that of a live local.
    let result = unsafe { libc::prctl(pair.get, argument, 0, 0, 0) };
    match pair.answer {
        _ if result < 0 => None,
        Answer::Value => Some(result as u64),
        Answer::Int => Some(value as u64),
    }
}

/// `None` where this kernel or the program's rights do not let it be read: the program cannot have set it then.
fn remote_prctl(scratch: &Scratch<'_>, pair: &Pair, argument: u64) -> Option<u64> {
    match pair.answer {
        Answer::Value => scratch.value(libc::SYS_prctl, &[pair.get as u64, argument, 0, 0, 0]).ok(),
        Answer::Int => scratch
            .try_call(libc::SYS_prctl, &[pair.get as u64, scratch.addr])
            .ok()
            .map(|[word]: [u64; 1]| word & 0xffff_ffff),
    }
}

/// The arguments that set `value`.
fn setting(pair: &Pair, value: u64) -> Setting {
    let (a, b) = match pair.set {
        PR_MCE_KILL => (PR_MCE_KILL_SET as u64, value),
        PR_SET_THP_DISABLE => (value & 1, value & !1), // flag, then "except advised"
        _ => (value, 0),
    };
    Setting { kind: SETTING_PRCTL, which: pair.set as u32, a, b }
}

/// A thread's `prctl` settings.
fn thread_settings(scratch: &Scratch<'_>, main: bool) -> Vec<(&'static str, Setting)> {
    let mut found = Vec::new();
    for pair in PAIRS.iter().filter(|pair| main || pair.per_thread) {
        let initial = pair.initial.or_else(|| own_prctl(pair, 0));
        if let Some(value) = remote_prctl(scratch, pair, 0).filter(|value| Some(*value) != initial) {
            found.push((pair.name, setting(pair, value)));
        }
    }
    let securebits = |value: Option<u64>| value.map(|bits| bits & !(SECBIT_KEEP_CAPS as u64));
    let bits = securebits(remote_prctl(scratch, &SECUREBITS, 0));
    if let Some(bits) = bits.filter(|bits| Some(*bits) != securebits(own_prctl(&SECUREBITS, 0))) {
        found.push((SECUREBITS.name, setting(&SECUREBITS, bits)));
    }
    for which in SPECULATION_KINDS.map(|which| which as u64) {
        let value = remote_prctl(scratch, &SPECULATION, which);
        if let Some(value) = value.filter(|value| Some(*value) != own_prctl(&SPECULATION, which)) {
            // Bit 0 only means that it may be set.
            let set = Setting { kind: SETTING_PRCTL, which: SPECULATION.set as u32, a: which, b: value & !1 };
            found.push((SPECULATION.name, set));
        }
    }
    found
}

fn block(blockers: &mut Vec<Blocker>, subject: String, what: impl Into<String>, remedy: &'static str) {
    blockers.push(Blocker { subject, what: what.into(), remedy });
}

/// Settings of the process and of its threads.
pub(super) fn gather(
    tracer: &Tracer,
    frozen: &[Frozen],
    status: &Status,
    allow_wx: bool,
    blockers: &mut Vec<Blocker>,
) -> Result<Vec<Setting>, DumpError> {
    // Before the limits, which may forbid it.
    let mut settings = Vec::new();
    let mut main = Vec::new();
    for (index, task) in frozen.iter().enumerate() {
        let subject = || if index == 0 { "process".to_owned() } else { format!("thread {}", task.tid) };
        let scratch = Scratch::new(tracer, task)?;
        let own = thread_settings(&scratch, index == 0);
        machine_state(&scratch, task.tid, &subject, blockers);
        hidden::thread(tracer, tracer.pid, task, &scratch, blockers);
        if index == 0 {
            hidden::process(tracer, &scratch, blockers);
            settings.extend(hidden::settings(tracer, &scratch));
            settings.extend(limits(tracer.pid));
        }
        scratch.finish()?;
        if index == 0 {
            main = own;
        } else {
            compare(&main, &own, task.tid, blockers);
        }
        let thread_status = Status::read(tracer.pid, task.tid).map_err(TraceError::system("/proc/PID/status"))?;
        credentials(&tracer.spawned.initial, &thread_status, &subject, blockers);
        if let Some(value) = io_priority(task.tid) {
            settings.push(Setting { kind: SETTING_IOPRIO, which: index as u32, a: value, b: 0 });
        }
    }
    settings.extend(main.into_iter().map(|(_, setting)| setting));
    memory_tagging(status, blockers);
    namespaces(tracer.pid, blockers);
    files(tracer.pid, &tids(frozen), &mut settings, blockers);
    check_personality(&settings, allow_wx, blockers);
    session(tracer, &mut settings, blockers);
    Ok(settings)
}

/// The attributes of a running process that can be read without its making system calls. `tids` are its tasks, the main
/// thread first, `stopped` those that are stopped.
pub(super) fn check(
    tracer: &Tracer,
    tids: &[Tid],
    stopped: &[Tid],
    blockers: &mut Vec<Blocker>,
) -> Result<(), TraceError> {
    let initial = &tracer.spawned.initial;
    for tid in tids {
        let status = Status::read(tracer.pid, *tid).map_err(TraceError::system("/proc/PID/status"))?;
        credentials(initial, &status, &|| format!("thread {tid}"), blockers);
    }
    for tid in stopped {
        dispatch(*tid, &|| format!("thread {tid}"), blockers);
    }
    memory_tagging(initial, blockers);
    namespaces(tracer.pid, blockers);
    files(tracer.pid, tids, &mut Vec::new(), blockers);
    Ok(())
}

/// Threads get their `prctl` settings from the main thread, which makes them.
fn compare(main: &[(&'static str, Setting)], own: &[(&'static str, Setting)], tid: Tid, blockers: &mut Vec<Blocker>) {
    const PDEATHSIG: u32 = 1;
    let per_thread = |list: &[(&'static str, Setting)]| -> Vec<(&'static str, Setting)> {
        let is_one = |which| PAIRS.iter().all(|pair| pair.set as u32 != which || pair.per_thread);
        list.iter().filter(|(_, setting)| setting.which != PDEATHSIG && is_one(setting.which)).copied().collect()
    };
    let (main, others) = (per_thread(main), per_thread(own));
    let own_death_signal = own.iter().filter(|(_, setting)| setting.which == PDEATHSIG);
    let only_there = others.iter().filter(|pair| !main.contains(pair)).chain(own_death_signal);
    let only_here = main.iter().filter(|pair| !others.contains(pair));
    let mut names: Vec<&str> = only_there.chain(only_here).map(|(name, _)| *name).collect();
    names.dedup();
    for name in names {
        let what = format!("its {name} is not the first thread's");
        block(blockers, format!("thread {tid}"), what, "set it in all threads, or after the snapshot point");
    }
}

/// State that no record carries.
fn machine_state(scratch: &Scratch<'_>, tid: Tid, subject: &dyn Fn() -> String, blockers: &mut Vec<Blocker>) {
    const ARCH_GET_CPUID: u64 = 0x1011;
    const REMEDY: &str = "do it after the snapshot point";
    if scratch.value(libc::SYS_arch_prctl, &[ARCH_GET_CPUID]).is_ok_and(|enabled| enabled == 0) {
        block(blockers, subject(), "has disabled the CPUID instruction", REMEDY);
    }
    let policy = scratch.try_call(libc::SYS_get_mempolicy, &[scratch.addr, 0, 0, 0, 0]);
    if policy.is_ok_and(|[mode]: [u64; 1]| mode & 0xffff_ffff != own_memory_policy()) {
        block(blockers, subject(), "has a NUMA memory policy of its own", "set it after the snapshot point");
    }
    dispatch(tid, subject, blockers);
}

fn dispatch(tid: Tid, subject: &dyn Fn() -> String, blockers: &mut Vec<Blocker>) {
    if ptrace::dispatches_system_calls(tid) {
        let what = "has system call user dispatch (PR_SET_SYSCALL_USER_DISPATCH)";
        block(blockers, subject(), what, "do it after the snapshot point");
    }
}

#[allow(unsafe_code)] // get_mempolicy
fn own_memory_policy() -> u64 {
    let mut mode = 0i32;
    // SAFETY: a live local; no node mask is asked for.
    unsafe { libc::syscall(libc::SYS_get_mempolicy, &raw mut mode, 0, 0, 0, 0) };
    mode as u64
}

/// User, groups and capabilities are the starter's; a program that has changed its own would get them back.
fn credentials(initial: &Status, now: &Status, subject: &dyn Fn() -> String, blockers: &mut Vec<Blocker>) {
    const IDS: [(&str, &str); 3] = [("Uid", "user ID"), ("Gid", "group ID"), ("Groups", "supplementary groups")];
    const SETS: [(&str, &str); 5] = [
        ("CapInh", "inheritable capabilities"),
        ("CapPrm", "permitted capabilities"),
        ("CapEff", "effective capabilities"),
        ("CapBnd", "capability bounding set"),
        ("CapAmb", "ambient capabilities"),
    ];
    let ids = IDS.iter().filter(|(field, _)| initial.get(field) != now.get(field)).map(|(_, name)| (*name).to_owned());
    let sets = SETS.iter().filter(|(field, _)| initial.get(field) != now.get(field));
    let sets =
        sets.map(|(field, name)| format!("{name} ({})", capabilities::difference(initial.set(field), now.set(field))));
    let changed: Vec<String> = ids.chain(sets).collect();
    if !changed.is_empty() {
        block(blockers, subject(), format!("has changed its {}", changed.join(", ")), NEW_RIGHTS);
    }
}

fn memory_tagging(status: &Status, blockers: &mut Vec<Blocker>) {
    if status.get("x86_Thread_features").contains("shstk") {
        block(
            blockers,
            "process".to_owned(),
            "has a shadow stack",
            "start it with GLIBC_TUNABLES=glibc.cpu.x86_shstk=off",
        );
    }
    let mask = status.get("untag_mask");
    if !mask.is_empty() && mask != "0xffffffffffffffff" {
        block(blockers, "process".to_owned(), "uses tagged addresses (LAM)", "enable them after the snapshot point");
    }
}

fn namespaces(pid: Tid, blockers: &mut Vec<Blocker>) {
    for name in ["cgroup", "ipc", "mnt", "net", "pid_for_children", "time_for_children", "user", "uts", "time"] {
        let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/{name}")).ok();
        if of(&pid.to_string()) != of("self") {
            block(blockers, "process".to_owned(), format!("has entered another namespace ({name})"), NEW_RIGHTS);
        }
    }
}

#[allow(unsafe_code)] // prlimit
fn limits(pid: Tid) -> Vec<Setting> {
    const RESOURCES: u32 = 16;
    let of = |pid: Tid, resource: u32| {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a live local; no new value is given.
        unsafe { libc::prlimit(pid, resource, std::ptr::null(), &raw mut limit) };
        (limit.rlim_cur, limit.rlim_max)
    };
    (0..RESOURCES)
        .filter(|resource| of(pid, *resource) != of(0, *resource))
        .map(|resource| {
            let (a, b) = of(pid, resource);
            Setting { kind: SETTING_RLIMIT, which: resource, a, b }
        })
        .collect()
}

#[allow(unsafe_code)] // ioprio_get
fn io_priority(tid: Tid) -> Option<u64> {
    const WHO_PROCESS: i32 = 1;
    // SAFETY: integers only.
    let of = |tid: Tid| unsafe { libc::syscall(libc::SYS_ioprio_get, WHO_PROCESS, tid) };
    let value = of(tid);
    (value >= 0 && value != of(0)).then_some(value as u64)
}

/// A personality that no instance gets, or that makes all memory executable.
fn check_personality(settings: &[Setting], allow_wx: bool, blockers: &mut Vec<Blocker>) {
    for setting in settings.iter().filter(|setting| setting.kind == SETTING_PERSONALITY) {
        if setting.a & !PERSONALITY_BITS != 0 {
            let what = format!("has the personality {:#x}, which instances cannot have", setting.a);
            block(blockers, "process".to_owned(), what, "set it after the snapshot point");
        } else if !allow_wx && setting.a & READ_IMPLIES_EXEC != 0 {
            let what = "has a personality by which all readable memory is executable (READ_IMPLIES_EXEC)";
            let remedy =
                "link it without an executable stack, set it after the snapshot point, or accept it with --allow-wx";
            block(blockers, "process".to_owned(), what, remedy);
        }
    }
}

/// Attributes that only /proc shows: personality, OOM score, core dump filter.
fn files(pid: Tid, tids: &[Tid], settings: &mut Vec<Setting>, blockers: &mut Vec<Blocker>) {
    const ADDR_COMPAT_LAYOUT: u64 = 0x0200000;
    let read = |process: &str, file: &str| fs::read_to_string(format!("/proc/{process}/{file}")).ok();
    let hex = |text: Option<String>| text.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    let program = pid.to_string();
    let personality = |process: &str| hex(read(process, "personality"));
    let own = personality("self").map(|value| value & !ADDR_COMPAT_LAYOUT);
    let main = personality(&program);
    if let Some(value) = main.filter(|_| main != own) {
        settings.push(Setting { kind: SETTING_PERSONALITY, which: 0, a: value, b: 0 });
    }
    for tid in tids.iter().skip(1) {
        if personality(&format!("{pid}/task/{tid}")) != main {
            let what = "its personality is not the first thread's";
            block(blockers, format!("thread {tid}"), what, "set it in all threads, or after the snapshot point");
        }
    }
    let score = |process: &str| read(process, "oom_score_adj").and_then(|text| text.trim().parse::<i64>().ok());
    if let Some(value) = score(&program).filter(|value| Some(*value) != score("self")) {
        settings.push(Setting { kind: SETTING_OOM_SCORE, which: 0, a: value as u64, b: 0 });
    }
    let filter = |process: &str| hex(read(process, "coredump_filter"));
    if let Some(value) = filter(&program).filter(|value| Some(*value) != filter("self")) {
        settings.push(Setting { kind: SETTING_COREDUMP_FILTER, which: 0, a: value, b: 0 });
    }
}

fn session(tracer: &Tracer, settings: &mut Vec<Setting>, blockers: &mut Vec<Blocker>) {
    use nix::unistd::{Pid, getpgid, getsid};
    let program = Pid::from_raw(tracer.pid);
    if getsid(Some(program)) == Ok(program) {
        settings.push(Setting { kind: SETTING_SETSID, ..Setting::default() });
    } else if getpgid(Some(program)) == Ok(program) {
        settings.push(Setting { kind: SETTING_SETPGID, ..Setting::default() });
    } else if tracer.spawned.is_ours && getpgid(Some(program)) != getpgid(None) {
        let what = "has joined the process group of another process";
        block(blockers, "process".to_owned(), what, "call setpgid after the snapshot point");
    }
}
