//! Attributes of the process that the program itself has changed.
//!
//! What it has inherited belongs to whoever starts an instance. The snapshotter is the one who started the program,
//! so its own attributes tell which is which; credentials may change at `execve` and are compared with those found
//! right after it. What no plain user could restore is refused.

use super::capabilities;
use super::hidden;
use super::refuse::{Blocker, DumpError};
use super::scratch::Scratch;
use crate::tracee::ptrace::{self, Tid};
use crate::tracee::{Frozen, Status, TraceError, Tracer};
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
    get: u64,
    set: u32,
    answer: Answer,
    /// Each thread has its own.
    per_thread: bool,
    /// The value right after `execve` where that is not the parent's.
    initial: Option<u64>,
}

const fn pair(name: &'static str, get: u64, set: u32, per_thread: bool, initial: Option<u64>) -> Pair {
    Pair { name, get, set, answer: Answer::Value, per_thread, initial }
}

const PR_SET_MCE_KILL: u32 = 33;
const PR_SET_THP_DISABLE: u32 = 41;
const PAIRS: [Pair; 11] = [
    Pair { answer: Answer::Int, ..pair("parent death signal", 2, 1, true, Some(0)) },
    pair("dumpable flag", 3, 4, false, Some(1)),
    pair("'keep capabilities' flag", 7, 8, true, Some(0)),
    Pair { answer: Answer::Int, ..pair("access to the time stamp counter", 25, 26, true, None) },
    pair("machine check policy", 34, PR_SET_MCE_KILL, true, None),
    Pair { answer: Answer::Int, ..pair("child subreaper flag", 37, 36, false, Some(0)) },
    pair("'no new privileges' flag", 39, 38, true, None),
    pair("transparent huge pages", 42, PR_SET_THP_DISABLE, false, None),
    pair("I/O flusher flag", 58, 57, true, None),
    pair("memory-deny-write-execute flags", 66, 65, false, None),
    pair("merging of equal pages", 68, 67, false, None),
];
/// Apart from the flag that PR_SET_KEEPCAPS sets.
const SECUREBITS: Pair = pair("set of securebits", 27, 28, true, None);
const SECBIT_KEEP_CAPS: u64 = 0x10;
const PR_GET_SPECULATION_CTRL: u64 = 52;
const PR_SET_SPECULATION_CTRL: u32 = 53;
/// Store bypass, indirect branches, L1D flush.
const SPECULATION: [u64; 3] = [0, 1, 2];

#[allow(unsafe_code)] // prctl
fn own_prctl(pair: &Pair, argument: u64) -> Option<u64> {
    let mut value = 0i32;
    let argument = if pair.answer == Answer::Int { &raw mut value as u64 } else { argument };
    // SAFETY: options that only tell; the address is that of a live local.
    let result = unsafe { libc::prctl(pair.get as i32, argument, 0, 0, 0) };
    match pair.answer {
        _ if result < 0 => None,
        Answer::Value => Some(result as u64),
        Answer::Int => Some(value as u64),
    }
}

/// `None` where this kernel or the program's rights do not tell: it can't have been set then.
fn remote_prctl(scratch: &Scratch<'_>, pair: &Pair, argument: u64) -> Option<u64> {
    match pair.answer {
        Answer::Value => scratch.value(libc::SYS_prctl, &[pair.get, argument, 0, 0, 0]).ok(),
        Answer::Int => {
            scratch.try_call(libc::SYS_prctl, &[pair.get, scratch.addr]).ok().map(|[word]: [u64; 1]| word & 0xffff_ffff)
        }
    }
}

/// The arguments that set `value`.
fn setting(pair: &Pair, value: u64) -> Setting {
    let (a, b) = match pair.set {
        PR_SET_MCE_KILL => (1, value),                 // PR_MCE_KILL_SET
        PR_SET_THP_DISABLE => (value & 1, value & !1), // flag, then "except advised"
        _ => (value, 0),
    };
    Setting { kind: SETTING_PRCTL, which: pair.set, a, b }
}

/// What a thread's `prctl` settings are, as settings.
fn thread_settings(scratch: &Scratch<'_>, main: bool) -> Vec<(&'static str, Setting)> {
    let mut found = Vec::new();
    for pair in PAIRS.iter().filter(|pair| main || pair.per_thread) {
        let initial = pair.initial.or_else(|| own_prctl(pair, 0));
        if let Some(value) = remote_prctl(scratch, pair, 0).filter(|value| Some(*value) != initial) {
            found.push((pair.name, setting(pair, value)));
        }
    }
    let securebits = |value: Option<u64>| value.map(|bits| bits & !SECBIT_KEEP_CAPS);
    let bits = securebits(remote_prctl(scratch, &SECUREBITS, 0));
    if let Some(bits) = bits.filter(|bits| Some(*bits) != securebits(own_prctl(&SECUREBITS, 0))) {
        found.push((SECUREBITS.name, setting(&SECUREBITS, bits)));
    }
    let speculation = pair("speculation control", PR_GET_SPECULATION_CTRL, PR_SET_SPECULATION_CTRL, true, None);
    for which in SPECULATION {
        let value = remote_prctl(scratch, &speculation, which);
        if let Some(value) = value.filter(|value| Some(*value) != own_prctl(&speculation, which)) {
            // Bit 0 only tells that it may be set.
            found.push((
                speculation.name,
                Setting { kind: SETTING_PRCTL, which: speculation.set, a: which, b: value & !1 },
            ));
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
    files(tracer.pid, frozen, &mut settings, blockers);
    session(tracer, &mut settings, blockers);
    Ok(settings)
}

/// Threads get their `prctl` settings from the main thread, which makes them.
fn compare(main: &[(&'static str, Setting)], own: &[(&'static str, Setting)], tid: Tid, blockers: &mut Vec<Blocker>) {
    const PDEATHSIG: u32 = 1;
    let per_thread = |list: &[(&'static str, Setting)]| -> Vec<(&'static str, Setting)> {
        let is_one = |which| PAIRS.iter().all(|pair| pair.set != which || pair.per_thread);
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
    if ptrace::dispatches_system_calls(tid) {
        block(blockers, subject(), "has system call user dispatch (PR_SET_SYSCALL_USER_DISPATCH)", REMEDY);
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

/// What only /proc tells: personality, OOM score, core dump filter.
fn files(pid: Tid, frozen: &[Frozen], settings: &mut Vec<Setting>, blockers: &mut Vec<Blocker>) {
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
    for task in frozen.iter().skip(1) {
        if personality(&format!("{pid}/task/{}", task.tid)) != main {
            let what = "its personality is not the first thread's";
            block(blockers, format!("thread {}", task.tid), what, "set it in all threads, or after the snapshot point");
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
