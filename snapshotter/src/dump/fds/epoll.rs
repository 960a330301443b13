//! Epoll sets. The kernel does not show whether an edge has been reported already, so an instance reports it once more.

use super::open::OpenFd;
use super::{Gathering, Refusal, kernel};
use crate::proc::fdinfo::pairs;
use snapfn_format::snap::*;
use std::collections::HashMap;

pub(super) fn gather(gathering: &mut Gathering<'_>, open: &OpenFd) -> Result<(), Refusal> {
    gathering.record(open, Descriptor::Epoll);
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
        let watched = gathering.by_key(target);
        let is_it = watched.is_some_and(|other| {
            let by_kcmp = kernel::is_epoll_target(gathering.pid, target, open.at.1, target, *nth);
            by_kcmp.unwrap_or_else(|| number("ino", 16).is_none_or(|inode| inode == other.file().1))
        });
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
