//! What hangs on an open file description besides the file: locks, leases, the owner that gets its signals.

use super::open::OpenFd;
use super::{Gathering, Refusal, kernel, unreadable};
use snapfn_format::snap::*;

pub(super) fn gather(gathering: &mut Gathering<'_>, open: &OpenFd) -> Result<(), Refusal> {
    for line in open.info.lines().filter_map(|line| line.strip_prefix("lock:")) {
        match parse(line) {
            Some(step) => gathering.late_step(FdStep { fd: open.key, ..step }),
            None => return Err((format!("holds a lock that is not understood ({})", line.trim()), "release it")),
        }
    }
    owner(gathering, open)
}

/// `1: POSIX  ADVISORY  WRITE 1234 08:01:5678 0 EOF`
fn parse(line: &str) -> Option<FdStep> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, kind, _, mode, _, _, start, end] = words[..] else { return None };
    let exclusive = match mode {
        "READ" => 0,
        "WRITE" => 1,
        _ => return None,
    };
    let start: u64 = start.parse().ok()?;
    let len = if end == "EOF" { 0 } else { end.parse::<u64>().ok()?.checked_sub(start)? + 1 };
    let lock = |kind: u32| FdStep {
        kind: STEP_LOCK,
        a: u64::from(kind) | exclusive << 32,
        b: start,
        c: len,
        ..FdStep::default()
    };
    match kind {
        "FLOCK" => Some(FdStep { b: 0, c: 0, ..lock(LOCK_FLOCK) }),
        "POSIX" => Some(lock(LOCK_POSIX)),
        "OFDLCK" => Some(lock(LOCK_OFD)),
        "LEASE" => Some(FdStep { kind: STEP_LEASE, a: exclusive, ..FdStep::default() }),
        _ => None,
    }
}

fn owner(gathering: &mut Gathering<'_>, open: &OpenFd) -> Result<(), Refusal> {
    const F_GETSIG: i32 = 11;
    const F_OWNER_TID: i32 = 0;
    if open.flags & super::open::O_PATH != 0 {
        return Ok(());
    }
    let fd = open.duplicate().map_err(unreadable("it cannot be duplicated"))?;
    let (kind, id) = kernel::owner(&fd).unwrap_or((0, 0));
    let signal = kernel::fcntl(&fd, F_GETSIG).unwrap_or(0);
    if id == 0 && signal == 0 {
        return Ok(());
    }
    let of_us = id == gathering.pid
        || (kind == F_OWNER_TID && std::path::Path::new(&format!("/proc/{}/task/{id}", gathering.pid)).exists());
    if !of_us && id != 0 {
        return Err((format!("sends its signals to process {id}"), "call F_SETOWN after the snapshot point"));
    }
    gathering.late_step(FdStep { fd: open.key, kind: STEP_OWNER, a: signal as u64, ..FdStep::default() });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_locks() {
        let step = parse("\t1: POSIX  ADVISORY  WRITE 77 08:01:1234 10 19").unwrap();
        assert_eq!((step.kind, step.a, step.b, step.c), (STEP_LOCK, 1 << 32 | u64::from(LOCK_POSIX), 10, 10));
        let step = parse("\t1: FLOCK  ADVISORY  READ 77 08:01:1234 0 EOF").unwrap();
        assert_eq!((step.a, step.b, step.c), (u64::from(LOCK_FLOCK), 0, 0));
        let step = parse("\t2: LEASE  ACTIVE    READ 77 08:01:1234 0 EOF").unwrap();
        assert_eq!((step.kind, step.a), (STEP_LEASE, 0));
        assert!(parse("\t1: DELEG ACTIVE READ 77 08:01:1234 0 EOF").is_none());
    }
}
