//! Epoll sets. The kernel does not show whether an edge has been reported already, so an instance reports it once more.
//!
//! An entry is of a file and a number, and that number may be another file's by now. `kcmp` tells. Where it is
//! forbidden, the program tries to add the entry once more: the kernel refuses that (EEXIST) if the number is still the
//! file's.

use super::open::OpenFd;
use super::{Gathering, Refusal, kernel};
use crate::dump::scratch::Scratch;
use crate::proc::fdinfo::pairs;
use crate::tracee::{Frozen, Tracer};
use snapfn_format::snap::*;
use std::collections::HashMap;

pub(super) fn gather(gathering: &mut Gathering<'_>, open: &OpenFd) -> Result<(), Refusal> {
    gathering.record(open, Descriptor::Epoll);
    let asks = gathering.asks.filter(|_| open.at.0 == gathering.pid);
    let mut seen: HashMap<u32, u32> = HashMap::new();
    for line in open.info.lines().filter(|line| line.starts_with("tfd:")) {
        let fields: HashMap<&str, &str> = pairs(line);
        let number = |name: &str, radix| fields.get(name).and_then(|value| u64::from_str_radix(value, radix).ok());
        let (Some(target), Some(events), Some(data)) = (number("tfd", 10), number("events", 16), number("data", 16))
        else {
            return Err((format!("is an epoll set with an entry not understood: {line}"), "report it"));
        };
        let target = target as u32;
        let nth = seen.entry(target).or_default();
        let is_it = match gathering.by_key(target) {
            None => false,
            Some(_) => match (kernel::is_epoll_target(gathering.pid, target, open.at.1, target, *nth), asks) {
                (Some(is_it), _) => is_it,
                // Of several entries with one number, one at most is of the file that has it now.
                (None, Some((tracer, task))) => *nth == 0 && is_entry(tracer, task, open.at.1, target)?,
                (None, None) => {
                    let what = "is an epoll set whose entries cannot be compared with descriptors".to_owned();
                    return Err((what, "allow kcmp in the container (CAP_SYS_PTRACE)"));
                }
            },
        };
        *nth += 1;
        if !is_it {
            let what = format!(
                "is an epoll set that watches what was opened as descriptor {target}, which is closed or another now"
            );
            return Err((what, "remove it from the set before closing it"));
        }
        gathering.late_step(open.key, Step::Epoll { target, events: events as u32, data });
    }
    Ok(())
}

/// Whether epoll set `epoll` of the program has an entry of what the program has at number `target`.
fn is_entry(tracer: &Tracer, task: &Frozen, epoll: u32, target: u32) -> Result<bool, Refusal> {
    let failed = |what: String| (format!("is an epoll set that cannot be asked: {what}"), "report it");
    let scratch = Scratch::new(tracer, task).map_err(|error| failed(error.to_string()))?;
    let (epoll, target) = (u64::from(epoll), u64::from(target));
    // The event is at the scratch address, and empty.
    let added = scratch.try_call::<2>(libc::SYS_epoll_ctl, &[epoll, libc::EPOLL_CTL_ADD as u64, target, scratch.addr]);
    let is_entry = match added {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(true),
        Err(error) => Err(failed(error.to_string())),
        Ok(_) => {
            let removed =
                scratch.value(libc::SYS_epoll_ctl, &[epoll, libc::EPOLL_CTL_DEL as u64, target, scratch.addr]);
            removed.map(|_| false).map_err(|error| failed(error.to_string()))
        }
    };
    scratch.finish().map_err(|error| failed(error.to_string()))?;
    is_entry
}
