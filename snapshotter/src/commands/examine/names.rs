//! Names of the numbers in a plan.

use snapfn_format::snap::*;

pub(crate) fn point(at: u32) -> &'static str {
    match at {
        AT_MAIN => "main",
        AT_READY => "ready",
        AT_SYSCALL => "syscall",
        AT_SYMBOL => "symbol",
        _ => "attach",
    }
}

pub(crate) fn file(kind: u16) -> &'static str {
    match kind {
        FILE_SELF => "snapshot",
        FILE_CODE => "code",
        FILE_DATA => "data",
        _ => "host",
    }
}

pub(crate) fn operation(kind: u16) -> &'static str {
    match kind {
        OP_MAP_FILE => "map file",
        OP_MAP_ANON => "map zeros",
        OP_MAP_FD => "map descriptor",
        OP_READ => "read",
        OP_PROTECT => "protect",
        OP_ADVISE => "advise",
        _ => "lock",
    }
}

pub(crate) fn patch(kind: u16) -> &'static str {
    match kind {
        PATCH_ARGV => "argv",
        PATCH_ENVP => "envp",
        PATCH_ARGC => "argc",
        PATCH_CANARY => "canary",
        PATCH_STACK => "stack",
        PATCH_TID => "tid",
        PATCH_INFO => "info",
        PATCH_VECTOR => "environment vector",
        PATCH_ARGC_INT => "argc",
        PATCH_ARGV_END => "end of argv",
        PATCH_ENVP_END => "end of envp",
        PATCH_ENVC | PATCH_ENVC_INT => "number of variables",
        PATCH_CLOCK => "CPU clock",
        _ => "tid futex",
    }
}

pub(crate) fn descriptor(record: &Fd) -> &'static str {
    match record.descriptor() {
        Some(Descriptor::Inherited { .. }) => "inherited",
        Some(Descriptor::Duplicate { .. }) => "duplicate",
        Some(Descriptor::Path { .. }) => "file",
        Some(Descriptor::Deleted { .. }) => "deleted file",
        Some(Descriptor::Pipe { .. }) => "pipe",
        Some(Descriptor::Event { .. }) => "eventfd",
        Some(Descriptor::Timer { .. }) => "timerfd",
        Some(Descriptor::Signal { .. }) => "signalfd",
        Some(Descriptor::Epoll) => "epoll",
        Some(Descriptor::Memory { .. }) => "memfd",
        Some(Descriptor::Inotify) => "inotify",
        Some(Descriptor::SocketPair { .. }) => "socket pair",
        Some(Descriptor::Socket { .. }) => "socket",
        Some(Descriptor::Closed) => "closed",
        Some(Descriptor::OwnPidfd) => "pidfd of itself",
        Some(Descriptor::Terminal { .. }) => "pty",
        Some(Descriptor::Reopened { .. }) => "reopened",
        Some(Descriptor::OfThread { .. }) => "file of a thread",
        None => "unknown",
    }
}

/// Number of bytes that are stored for the descriptor in record `index`.
pub(crate) fn content(plan: &Plan<'_>, index: usize) -> u64 {
    let steps = plan.fd_steps.iter().filter(|step| step.fd as usize == index);
    steps
        .map(|step| match step.step() {
            Some(Step::Content { len, .. }) => len,
            Some(Step::Send) => u64::from(step.data.len),
            _ => 0,
        })
        .sum()
}

pub(crate) fn setting(setting: &Setting) -> String {
    const LIMITS: [&str; 16] = [
        "CPU",
        "FSIZE",
        "DATA",
        "STACK",
        "CORE",
        "RSS",
        "NPROC",
        "NOFILE",
        "MEMLOCK",
        "AS",
        "LOCKS",
        "SIGPENDING",
        "MSGQUEUE",
        "NICE",
        "RTPRIO",
        "RTTIME",
    ];
    let value = |value: u64| if value == u64::MAX { "unlimited".to_string() } else { value.to_string() };
    let Setting { kind, which, a, b } = *setting;
    match kind {
        SETTING_PRCTL => format!("prctl({which}, {a:#x}, {b:#x})"),
        SETTING_RLIMIT => {
            let name = LIMITS.get(which as usize).map_or_else(|| which.to_string(), |name| format!("RLIMIT_{name}"));
            format!("{name} = {}, {}", value(a), value(b))
        }
        SETTING_IOPRIO => format!("I/O priority {a:#x}"),
        SETTING_PERSONALITY => format!("personality {a:#x}"),
        SETTING_OOM_SCORE => format!("oom_score_adj {}", a as i64),
        SETTING_COREDUMP_FILTER => format!("coredump_filter {a:#x}"),
        SETTING_SETSID => "leads a session".to_string(),
        SETTING_SETPGID => "leads a process group".to_string(),
        SETTING_MEMBARRIER => format!("registered for membarrier, command {a}"),
        SETTING_MLOCKALL => format!("mlockall({a:#x})"),
        SETTING_XCOMP_PERM => format!("may use component {a} of the register state"),
        SETTING_ARGUMENTS => format!("title at {a:#x}-{b:#x}"),
        SETTING_ENVIRONMENT => format!("environment shown at {a:#x}-{b:#x}"),
        kind => format!("kind {kind}"),
    }
}

pub(crate) fn timer(timer: &Timer) -> String {
    match (timer.kind, timer.id) {
        (TIMER_ITIMER, 0) => "ITIMER_REAL".to_string(),
        (TIMER_ITIMER, 1) => "ITIMER_VIRTUAL".to_string(),
        (TIMER_ITIMER, _) => "ITIMER_PROF".to_string(),
        (_, id) => format!("POSIX timer {id}, clock {}", timer.clock),
    }
}

pub(crate) fn signal(number: u32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];
    match (number as usize).checked_sub(1).and_then(|index| NAMES.get(index)) {
        Some(name) => format!("SIG{name}"),
        None => format!("SIG{number}"),
    }
}

/// The signals of a mask.
pub(crate) fn signals(mask: u64) -> Vec<String> {
    (1..=64).filter(|number| mask >> (number - 1) & 1 == 1).map(signal).collect()
}

/// Protection as in `/proc/PID/maps`.
pub(crate) fn protection(prot: u16, shared: bool) -> String {
    let bit = |bit, letter| if prot & bit != 0 { letter } else { '-' };
    [bit(PROT_READ, 'r'), bit(PROT_WRITE, 'w'), bit(PROT_EXEC, 'x'), if shared { 's' } else { 'p' }].iter().collect()
}
