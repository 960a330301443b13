//! Descriptors: from /proc/PID/fd to records and steps, or a blocker for each that cannot be carried.
//!
//! ```text
//!  open     what /proc tells                   kernel   what system calls on a duplicate tell
//!  files    files, directories, devices, memfd pipes    pipes and FIFOs with what is in flight
//!  anon     eventfd, timerfd, signalfd, pidfd  epoll    epoll sets         inotify  watches and their paths
//!  sockets  listening and bound sockets        pairs    Unix socket pairs with their queues
//!  pty      pseudo-terminals                   locks    locks, leases, owners
//!  netlink  netlink sockets for routes         same     duplicates of each other
//!  carry    duplicates where pidfd_getfd is forbidden
//! ```
//! Records and steps name each other by number ("key") until all are known; then numbers become indices.

mod anon;
mod carry;
mod epoll;
mod files;
mod inotify;
mod kernel;
mod locks;
mod netlink;
mod open;
mod pairs;
mod pipes;
mod pty;
mod same;
mod sockets;

use super::refuse::{Blocker, DumpError};
use crate::tracee::ptrace::Tid;
use crate::tracee::{Frozen, Tracer};
use open::{O_RDONLY, OpenFd};
use snapfn_format::snap::*;
use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::rc::Rc;

/// A record and the bytes that its references will name.
#[derive(Clone, Debug, Default)]
pub(super) struct FdState {
    pub(super) record: Fd,
    pub(super) path: Vec<u8>,
    pub(super) data: Vec<u8>,
}

/// A step, the bytes that its references will name, and where its large content is read from.
#[derive(Clone, Debug, Default)]
pub(super) struct StepState {
    pub(super) step: FdStep,
    pub(super) data: Vec<u8>,
    pub(super) extra: Vec<u8>,
    pub(super) content: Option<Rc<File>>,
    /// What of that content is left out.
    pub(super) blank: Vec<std::ops::Range<u64>>,
}

/// Everything about descriptors that goes into the plan.
#[derive(Clone, Debug, Default)]
pub(super) struct FdTables {
    pub(super) records: Vec<FdState>,
    pub(super) steps: Vec<StepState>,
}

/// The reason why a descriptor cannot be carried: its description, and the remedy.
type Refusal = (String, &'static str);

fn unreadable(what: &str) -> impl FnOnce(std::io::Error) -> Refusal + use<'_> {
    move |error| (format!("{what}: {error}"), "close it before the snapshot point")
}

/// What has been gathered so far.
struct Gathering<'a> {
    pid: Tid,
    /// A task that may run system calls for the snapshotter; none in a process that another program has started.
    asks: Option<(&'a Tracer, &'a Frozen)>,
    /// The threads, in the order of the plan.
    tids: &'a [Tid],
    /// In ascending order of their numbers.
    open: &'a [OpenFd],
    /// Files that the program can write to through one of its descriptors.
    written: HashSet<(u64, u64)>,
    records: Vec<FdState>,
    /// In the order of restoring: first steps that need one descriptor, then those that need others.
    steps: Vec<StepState>,
    late: Vec<StepState>,
    next_temporary: u32,
    /// The addresses that UDP sockets of the program are connected to.
    udp_peers: OnceCell<HashSet<Vec<u8>>>,
}

impl Gathering<'_> {
    /// The descriptor of the program with number `key`.
    fn by_key(&self, key: u32) -> Option<&OpenFd> {
        self.open.binary_search_by_key(&key, |open| open.key).ok().and_then(|at| self.open.get(at))
    }

    fn record(&mut self, open: &OpenFd, descriptor: Descriptor) -> &mut FdState {
        self.add(Fd::new(open.key, open.flags, descriptor))
    }

    fn add(&mut self, record: Fd) -> &mut FdState {
        self.records.push(FdState { record, ..FdState::default() });
        let last = self.records.len() - 1;
        &mut self.records[last]
    }

    fn temporary(&mut self) -> u32 {
        self.next_temporary += 1;
        self.next_temporary - 1
    }

    fn step(&mut self, fd: u32, step: Step) -> &mut StepState {
        self.steps.push(StepState { step: FdStep::new(fd, step), ..StepState::default() });
        let last = self.steps.len() - 1;
        &mut self.steps[last]
    }

    fn late_step(&mut self, fd: u32, step: Step) {
        self.late.push(StepState { step: FdStep::new(fd, step), ..StepState::default() });
    }
}

/// One record for each descriptor that differs from what an instance inherits. `task` may run system calls for the
/// snapshotter.
pub(super) fn gather(
    tracer: &Tracer,
    tids: &[Tid],
    task: Option<&Frozen>,
    blockers: &mut Vec<Blocker>,
) -> Result<FdTables, DumpError> {
    let pid = tracer.pid;
    let mut all = open::all(pid)?;
    let mut refused: HashMap<u32, Refusal> = HashMap::new();
    let _room = match carry::duplicates(tracer, task, &mut all) {
        Ok(room) => room,
        Err(error) => {
            blockers.push(Blocker {
                subject: "descriptors".to_owned(),
                what: format!("they cannot be duplicated: {error}"),
                remedy: "allow pidfd_getfd in the container (CAP_SYS_PTRACE)",
            });
            return Ok(FdTables::default());
        }
    };
    let queues = pairs::queues(&mut all, tracer.spawned.is_ours, &mut refused);
    let descriptions = match same::Descriptions::of(&all, &tracer.spawned.stdio, task.is_some()) {
        Ok(descriptions) => descriptions,
        Err(error) => {
            blockers.push(Blocker {
                subject: "descriptors".to_owned(),
                what: format!("duplicates among them cannot be recognised ({error})"),
                remedy: "use a kernel with CONFIG_KCMP, and allow kcmp in the container (CAP_SYS_PTRACE)",
            });
            return Ok(FdTables::default());
        }
    };
    let mut gathering = Gathering {
        pid,
        asks: task.map(|task| (tracer, task)),
        tids,
        open: &all,
        written: all.iter().filter(|open| open.access() != O_RDONLY).map(OpenFd::file).collect(),
        records: Vec::new(),
        steps: Vec::new(),
        late: Vec::new(),
        udp_peers: OnceCell::new(),
        next_temporary: all.iter().map(|open| open.key + 1).max().unwrap_or(0).max(FD_TEMPORARY),
    };
    let mut primary: Vec<&OpenFd> = Vec::new();
    // Of each file, the first descriptor of each description, in the kernel's order of descriptions: a program may have
    // many thousands.
    let mut known: HashMap<(u64, u64), Vec<&OpenFd>> = HashMap::new();
    for open in &all {
        tracer.deadline.check()?;
        if let Some(source) = inherited(&descriptions, open) {
            if source != open.key || open.flags & libc::O_CLOEXEC as u32 != 0 {
                let flags = open.flags & libc::O_CLOEXEC as u32;
                gathering.add(Fd::new(open.key, flags, Descriptor::Inherited { stream: source }));
            }
            continue;
        }
        let of_file = known.entry(open.file()).or_default();
        match of_file.binary_search_by(|of| descriptions.order(of, open)) {
            Ok(at) => {
                gathering.record(open, Descriptor::Duplicate { of: of_file[at].key });
            }
            Err(at) => {
                of_file.insert(at, open);
                primary.push(open);
            }
        }
    }
    carry_all(&mut gathering, &primary, &queues, &mut refused);
    for open in &primary {
        if refused.contains_key(&open.key) {
            continue;
        }
        if let Err(refusal) = locks::gather(&mut gathering, open) {
            refused.insert(open.key, refusal);
        }
    }
    for fd in (0..3).filter(|fd| !all.iter().any(|open| open.key == *fd)) {
        gathering.add(Fd::new(fd, 0, Descriptor::Closed));
    }
    let mut reasons: Vec<(u32, Refusal)> = refused.into_iter().collect();
    reasons.sort_by_key(|(key, _)| *key);
    for (key, (what, remedy)) in reasons {
        let subject =
            if key < FD_TEMPORARY { format!("descriptor {key}") } else { "a descriptor in flight".to_owned() };
        blockers.push(Blocker { subject, what, remedy });
    }
    if !blockers.is_empty() {
        // There will be no plan, and a refused record may be named by others.
        return Ok(FdTables::default());
    }
    let Gathering { records, mut steps, late, .. } = gathering;
    steps.extend(late);
    Ok(by_index(records, steps))
}

fn carry_all(
    gathering: &mut Gathering<'_>,
    primary: &[&OpenFd],
    queues: &pairs::Queues,
    refused: &mut HashMap<u32, Refusal>,
) {
    pipes::gather(gathering, primary, refused);
    pairs::gather(gathering, primary, queues, refused);
    pty::gather(gathering, primary, refused);
    files::gather_unnamed(gathering, primary, refused);
    let mut done: HashSet<u32> = gathering.records.iter().map(|state| state.record.fd).collect();
    done.extend(refused.keys());
    for open in primary.iter().filter(|open| !done.contains(&open.key)) {
        let name = open.name();
        let result = if let Some(kind) = name.strip_prefix("anon_inode:") {
            anon::gather(gathering, open, kind)
        } else if name.starts_with("socket:") {
            sockets::gather(gathering, open)
        } else {
            files::gather(gathering, open)
        };
        if let Err(refusal) = result {
            refused.insert(open.key, refusal);
        }
    }
}

/// Which of the standard streams that the snapshotter passed to the program this is.
fn inherited(descriptions: &same::Descriptions<'_>, open: &OpenFd) -> Option<u32> {
    // The stream with its own number first: standard output and error may be one description.
    let mut matching = (0..3).filter(|number| descriptions.is_stream(open, *number));
    let first = matching.next()?;
    Some(std::iter::once(first).chain(matching).find(|number| *number == open.key).unwrap_or(first))
}

/// Sorts records by number and turns the numbers in them and in steps into indices.
fn by_index(mut records: Vec<FdState>, mut steps: Vec<StepState>) -> FdTables {
    records.sort_by_key(|state| state.record.fd);
    let index: HashMap<u32, u32> = records.iter().map(|state| state.record.fd).zip(0u32..).collect();
    let of = |key: u32| index.get(&key).copied().unwrap_or(u32::MAX);
    for FdState { record, .. } in &mut records {
        if let Some((descriptor, named)) = record.descriptor().and_then(|it| Some((it, it.named()?))) {
            *record = record.with(descriptor.naming(of(named)));
        }
    }
    for state in &mut steps {
        state.step.fd = of(state.step.fd);
        match state.step.step() {
            Some(Step::Epoll { target, events, data }) => {
                state.step = state.step.with(Step::Epoll { target: of(target), events, data });
            }
            Some(Step::Send) => {
                for key in state.extra.chunks_exact_mut(4) {
                    let number = u32::from_le_bytes([key[0], key[1], key[2], key[3]]);
                    key.copy_from_slice(&of(number).to_le_bytes());
                }
            }
            _ => {}
        }
    }
    FdTables { records, steps }
}
