//! Inotify watches. The kernel reports inodes, not paths, and only a privileged process may open a file by its inode.
//! So the snapshotter searches for the path in the places where a program watches.

use super::open::OpenFd;
use super::{Gathering, Refusal, kernel, unreadable};
use crate::proc::fdinfo::pairs;
use snapfn_format::snap::*;
use std::collections::{HashSet, VecDeque};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Directory entries that are read for one watch.
const LIMIT: usize = 200_000;

pub(super) fn gather(gathering: &mut Gathering<'_>, open: &OpenFd) -> Result<(), Refusal> {
    let unread = open.duplicate().map(|fd| kernel::readable_bytes(&fd)).map_err(unreadable("inotify"))?;
    if unread != 0 {
        return Err(("is an inotify group with unread events".to_owned(), "read them before the snapshot point"));
    }
    gathering.record(open, Descriptor::Inotify);
    let mut watches = Vec::new();
    for line in open.info.lines().filter(|line| line.starts_with("inotify ")) {
        let fields = pairs(line);
        let number = |name: &str| fields.get(name).and_then(|value| u64::from_str_radix(value, 16).ok()).unwrap_or(0);
        // The kernel's own encoding: 12 bits of major, 20 bits of minor.
        let (sdev, inode) = (number("sdev"), number("ino"));
        let device = libc::makedev((sdev >> 20) as u32, (sdev & 0xf_ffff) as u32);
        let Some(path) = find(gathering, device, inode) else {
            return Err((
                format!(
                    "watches a file that was not found (inode {inode} of device {}:{})",
                    sdev >> 20,
                    sdev & 0xf_ffff
                ),
                "watch files below the working directory, or start to watch after the snapshot point",
            ));
        };
        watches.push((number("wd"), number("mask"), path));
    }
    watches.sort();
    for (number, events, path) in watches {
        let state = gathering.step(open.key, Step::Watch { events, number });
        state.data = path.as_os_str().as_bytes().to_vec();
        state.data.push(0);
    }
    Ok(())
}

/// Breadth first below the working directory, the directories of open files and the usual places, then everywhere.
fn find(gathering: &Gathering<'_>, device: u64, inode: u64) -> Option<PathBuf> {
    let is_it = |path: &Path| fs::symlink_metadata(path).is_ok_and(|m| m.dev() == device && m.ino() == inode);
    let mut starts: Vec<PathBuf> = Vec::new();
    starts.extend(fs::read_link(format!("/proc/{}/cwd", gathering.pid)));
    starts.extend(gathering.open.iter().filter(|open| open.target.is_absolute()).map(|open| open.target.clone()));
    starts.extend(fs::read_link(format!("/proc/{}/exe", gathering.pid)));
    let above: Vec<PathBuf> = starts.iter().flat_map(|path| path.ancestors().map(Path::to_owned)).collect();
    starts.extend(["/etc", "/run", "/tmp", "/var", "/dev/shm", "/home"].map(PathBuf::from));
    if let Some(found) = starts.iter().chain(&above).find(|path| is_it(path)) {
        return Some(found.clone());
    }
    let mut seen = HashSet::new();
    let mut left = LIMIT;
    let mut todo: VecDeque<PathBuf> = starts.into_iter().chain([PathBuf::from("/")]).collect();
    while let Some(directory) = todo.pop_front() {
        if !seen.insert(directory.clone()) || directory.starts_with("/proc") || directory.starts_with("/sys") {
            continue;
        }
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            left = left.checked_sub(1)?;
            if is_it(&entry.path()) {
                return Some(entry.path());
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                todo.push_back(entry.path());
            }
        }
    }
    None
}
