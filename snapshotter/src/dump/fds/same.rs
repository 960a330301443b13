//! Which descriptors share an open file description.
//!
//! `kcmp` answers that. The default profiles of container engines forbid it without CAP_SYS_PTRACE. The signal that
//! F_SETSIG sets belongs to the description, so what is written through one descriptor is read through its duplicates.
//! For each descriptor of a file, the snapshotter sets the signal to a digit of the descriptor's number. Then it reads
//! all signals: descriptors that share a description show the same digit. One round a digit tells all of them apart.
//! The signals are put back. The program is stopped meanwhile, and ends with the snapshotter.
//!
//! A description with an owner (F_SETOWN) could send such a signal, so it takes no part. O_PATH descriptors have no
//! signal, and no state in which two openings of a file differ from a duplicate.

use super::kernel;
use super::open::{O_PATH, OpenFd};
use crate::tracee::ptrace::Tid;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

/// The signals 0 to 64.
const DIGITS: usize = 65;

/// The open file descriptions of a process and of its standard streams.
#[derive(Debug)]
pub(super) enum Descriptions<'a> {
    /// `kcmp` compares them with the streams of this process.
    Kernel(&'a [OwnedFd; 3]),
    /// A label for each description: by number of the descriptor in the plan, and of the streams.
    Labels(HashMap<u32, Label>, [Label; 3]),
}

/// The file, and a number among the descriptions of this file.
type Label = ((u64, u64), usize);

/// A descriptor to be labelled.
struct Candidate {
    fd: OwnedFd,
    file: (u64, u64),
    place: Place,
}

#[derive(Clone, Copy)]
enum Place {
    Open(u32),
    Stream(usize),
}

impl<'a> Descriptions<'a> {
    /// `may_write`: whether signals may be set for a moment.
    pub(super) fn of(all: &[OpenFd], streams: &'a [OwnedFd; 3], may_write: bool) -> io::Result<Self> {
        let Some(first) = all.first() else { return Ok(Descriptions::Kernel(streams)) };
        let Err(error) = kernel::compare(first.at, first.at) else { return Ok(Descriptions::Kernel(streams)) };
        if !may_write {
            return Err(io::Error::new(error.kind(), format!("kcmp: {error}")));
        }
        let mut candidates = Vec::new();
        for (stream, index) in streams.iter().zip(0..) {
            let fd = stream.try_clone()?;
            let file = File::from(fd.try_clone()?).metadata().map(|metadata| (metadata.dev(), metadata.ino()))?;
            candidates.push(Candidate { fd, file, place: Place::Stream(index) });
        }
        // Without a duplicate it will be refused. An O_PATH descriptor keeps a label of its own.
        for open in all.iter().filter(|open| open.flags & O_PATH == 0) {
            if let Ok(fd) = open.duplicate() {
                candidates.push(Candidate { fd, file: open.file(), place: Place::Open(open.key) });
            }
        }
        let mut by_file: HashMap<(u64, u64), Vec<Candidate>> = HashMap::new();
        for candidate in candidates {
            by_file.entry(candidate.file).or_default().push(candidate);
        }
        let own = |open: &OpenFd| (open.key, (open.file(), usize::MAX - open.key as usize));
        let mut of_open: HashMap<u32, Label> = all.iter().map(own).collect();
        let mut of_streams = [((0, 0), 0); 3];
        for (file, group) in by_file {
            let fds: Vec<&OwnedFd> = group.iter().map(|candidate| &candidate.fd).collect();
            for (candidate, label) in group.iter().zip(labels(&fds)?) {
                match candidate.place {
                    Place::Open(key) => drop(of_open.insert(key, (file, label))),
                    Place::Stream(index) => of_streams[index] = (file, label),
                }
            }
        }
        Ok(Descriptions::Labels(of_open, of_streams))
    }

    /// An order of open file descriptions, the same for as long as both are open.
    pub(super) fn order(&self, a: &OpenFd, b: &OpenFd) -> Ordering {
        match self {
            Descriptions::Kernel(_) => match kernel::compare(a.at, b.at) {
                Ok(0) => Ordering::Equal,
                Ok(1) => Ordering::Less,
                _ => Ordering::Greater,
            },
            Descriptions::Labels(of_open, _) => of_open.get(&a.key).cmp(&of_open.get(&b.key)),
        }
    }

    /// Whether a descriptor is standard stream `number` that the snapshotter has passed to the program.
    pub(super) fn is_stream(&self, open: &OpenFd, number: u32) -> bool {
        let index = number as usize;
        match self {
            Descriptions::Kernel(streams) => {
                let own = (std::process::id() as Tid, streams[index].as_raw_fd() as u32);
                kernel::compare(open.at, own).is_ok_and(|order| order == 0)
            }
            Descriptions::Labels(of_open, of_streams) => of_open.get(&open.key) == Some(&of_streams[index]),
        }
    }
}

/// Whether two descriptors of one file share its description.
pub(super) fn is_pair(a: &OpenFd, b: &OpenFd) -> io::Result<bool> {
    if let Ok(order) = kernel::compare(a.at, b.at) {
        return Ok(order == 0);
    }
    if (a.flags | b.flags) & O_PATH != 0 {
        return Ok(false);
    }
    let labels = labels(&[&a.duplicate()?, &b.duplicate()?])?;
    Ok(labels[0] == labels[1])
}

/// A number for each descriptor of a file, equal for those that share a description.
fn labels(fds: &[&OwnedFd]) -> io::Result<Vec<usize>> {
    if fds.len() < 2 {
        return Ok(vec![0; fds.len()]);
    }
    let mut before = Vec::with_capacity(fds.len());
    for fd in fds {
        if kernel::owner(fd)?.1 != 0 {
            return Err(io::Error::other("one of several for a file has an owner, F_SETOWN, and kcmp is forbidden"));
        }
        before.push(kernel::signal(fd)?);
    }
    let labels = written_digits(fds);
    for (fd, signal) in fds.iter().zip(before) {
        kernel::set_signal(fd, signal)?;
    }
    labels
}

fn written_digits(fds: &[&OwnedFd]) -> io::Result<Vec<usize>> {
    let mut labels = vec![0; fds.len()];
    let mut unit = 1;
    while unit < fds.len() {
        for (index, fd) in fds.iter().enumerate() {
            kernel::set_signal(fd, (index / unit % DIGITS) as i32)?;
        }
        for (label, fd) in labels.iter_mut().zip(fds) {
            *label += kernel::signal(fd)? as usize * unit;
        }
        unit *= DIGITS;
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_have_one_label_and_signals_are_put_back() {
        let open = || OwnedFd::from(File::open("/dev/null").unwrap());
        let mut fds: Vec<OwnedFd> = (0..200).map(|_| open()).collect();
        fds.push(fds[3].try_clone().unwrap());
        fds.push(fds[150].try_clone().unwrap());
        fds.push(fds[3].try_clone().unwrap());
        kernel::set_signal(&fds[150], 12).unwrap();
        let labels = labels(&fds.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!((labels[3], labels[200], labels[150]), (labels[202], labels[202], labels[201]));
        let distinct: std::collections::HashSet<usize> = labels.into_iter().collect();
        assert_eq!(distinct.len(), 200);
        let signals: Vec<i32> = fds.iter().map(|fd| kernel::signal(fd).unwrap()).collect();
        assert!(
            signals.iter().enumerate().all(|(at, signal)| *signal == if [150, 201].contains(&at) { 12 } else { 0 })
        );
    }

    #[test]
    #[allow(unsafe_code)]
    fn a_description_with_an_owner_is_left_alone() {
        let (one, other) = (File::open("/dev/null").unwrap(), File::open("/dev/null").unwrap());
        let fds = [OwnedFd::from(one), OwnedFd::from(other)];
        // SAFETY: integers only.
        assert_eq!(unsafe { libc::fcntl(fds[1].as_raw_fd(), libc::F_SETOWN, libc::getpid()) }, 0);
        assert!(labels(&[&fds[0], &fds[1]]).is_err());
    }
}
