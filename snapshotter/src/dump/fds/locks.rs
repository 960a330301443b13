//! Attributes of an open file description: locks, leases, the owner that gets its signals.

use super::open::OpenFd;
use super::{Gathering, Refusal, kernel, unreadable};
use crate::proc::fdinfo;
use snapfn_format::snap::*;

pub(super) fn gather(gathering: &mut Gathering<'_>, open: &OpenFd) -> Result<(), Refusal> {
    for line in open.info.lines().filter_map(|line| line.strip_prefix("lock:")) {
        match fdinfo::lock(line) {
            Some(step) => gathering.late_step(open.key, step),
            None => return Err((format!("holds a lock that is not understood ({})", line.trim()), "release it")),
        }
    }
    owner(gathering, open)
}

fn owner(gathering: &mut Gathering<'_>, open: &OpenFd) -> Result<(), Refusal> {
    const F_OWNER_TID: i32 = 0;
    const F_OWNER_PGRP: i32 = 2;
    if open.flags & super::open::O_PATH != 0 {
        return Ok(());
    }
    let fd = open.duplicate().map_err(unreadable("it cannot be duplicated"))?;
    let (kind, id) = kernel::owner(&fd).unwrap_or((0, 0));
    let signal = kernel::signal(&fd).unwrap_or(0);
    if id == 0 && signal == 0 {
        return Ok(());
    }
    let threads = || std::fs::read_dir(format!("/proc/{}/task", gathering.pid)).map_or(0, Iterator::count);
    if kind == F_OWNER_TID && id != 0 && threads() > 1 {
        return Err((format!("sends its signals to thread {id}"), "call F_SETOWN_EX after the snapshot point"));
    }
    if kind == F_OWNER_PGRP && id != 0 {
        return Err((format!("sends its signals to process group {id}"), "call F_SETOWN after the snapshot point"));
    }
    if id != gathering.pid && id != 0 {
        return Err((format!("sends its signals to process {id}"), "call F_SETOWN after the snapshot point"));
    }
    gathering.late_step(open.key, Step::Owner { signal: signal as u64 });
    Ok(())
}
