//! Records the calls of the program whose effects cannot be restored, as long as they matter.
//!
//! A call counts when it has succeeded, so the ledger looks it up at its entry and records it at its exit. Most calls
//! end at the look-up. An effect that belongs to a descriptor goes with it: closing the descriptor settles the effect,
//! and a duplicate has it, too.

use super::sockopts::REFUSED_KINDS;
use super::{Cell, Effect, Requests, Row, Verdict, row};
use crate::tracee::clock_ns;
use crate::tracee::memory::Memory;
use crate::tracee::ptrace::{AUDIT_ARCH, SyscallEntry, SyscallExit, Tid};
use snapfn_format::linux::MADV_GUARD_INSTALL;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs::{self, Metadata};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Set in the number of a call by the x32 ABI.
const X32: u64 = 0x4000_0000;
const SEM_UNDO: u16 = 0x1000;
/// The most operations of a `semop` that are read; the kernel accepts 500 by default.
const MAX_SEMAPHORES: u64 = 32_000;

/// More new files are not remembered.
const MAX_CREATED: usize = 4096;

/// A call whose effect is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// `CALL` or `CALL:OPTION`, in the form of `--accept`.
    pub(crate) name: String,
    /// The descriptor that has the effect.
    pub(crate) fd: Option<u32>,
    /// What the call does.
    pub(crate) why: String,
    /// A note, no reason to refuse.
    pub(crate) only_noted: bool,
}

impl Finding {
    /// Whether the user accepts that instances lack the effect: by the call's name, or by that of its option.
    pub(crate) fn is_accepted(&self, accepted: &[String]) -> bool {
        let call = self.name.split_once(':').map_or(self.name.as_str(), |(call, _)| call);
        accepted.iter().any(|name| *name == self.name || name == call)
    }
}

/// Which effect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    name: String,
    why: String,
    noted: bool,
}

/// The effect of a call that has begun.
#[derive(Clone, Debug)]
enum Pending {
    Marks(Vec<Key>),
    MarksDescriptor(u32, Key),
    /// The descriptor that the call returns.
    MarksResult(Key),
    Clears(String),
    ClearsDescriptor(u32, String),
    Duplicates(u32),
    Closes(RangeInclusive<u32>),
    Semaphores(i32, Vec<(u16, i16)>),
    SetsSemaphores(i32, Option<u16>),
    Registers(u64),
    /// A file that may be new; its descriptor is what the call returns.
    Creates,
}

/// Everything that the program has done so far.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pending: HashMap<Tid, Pending>,
    process: BTreeSet<Key>,
    descriptors: BTreeSet<(u32, Key)>,
    /// The adjustments that the end of the program would make, by set and number of the semaphore.
    adjustments: BTreeMap<(i32, u16), i64>,
    /// Registrations for `membarrier`: a bit for each command.
    registrations: u64,
    /// A bit for each number that has been called.
    called: [u64; WORDS],
    /// Guard pages have been installed.
    guards: bool,
    /// When the first call was seen, by the clock of files' times.
    since: Option<SystemTime>,
    /// Files that the program has opened and would have made, had they not been there.
    created: BTreeSet<PathBuf>,
    /// The ledger has not seen all calls, since the process ran before.
    incomplete: bool,
}

/// Words for the numbers below 64 times as many.
const WORDS: usize = 8;

impl Ledger {
    /// A ledger of a process whose calls were not seen.
    pub(crate) fn incomplete() -> Self {
        Ledger { incomplete: true, ..Ledger::default() }
    }

    /// Whether one of these calls may have been made.
    pub(crate) fn may_have_called(&self, numbers: &[i64]) -> bool {
        let called =
            |number: &i64| self.called.get(*number as usize / 64).is_none_or(|word| word >> (number % 64) & 1 != 0);
        self.incomplete || numbers.iter().any(called)
    }

    /// Whether the process ran before its calls were seen.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    /// Task `tid` is about to make the call.
    pub(crate) fn enter(&mut self, tid: Tid, entry: &SyscallEntry, memory: &Memory) {
        self.has_called(entry.number);
        self.guards |= installs_guards(entry.number, &entry.args);
        self.since.get_or_insert_with(now);
        match self.look_up(entry, memory) {
            Some(pending) => drop(self.pending.insert(tid, pending)),
            None if self.pending.is_empty() => {}
            None => drop(self.pending.remove(&tid)),
        }
    }

    /// The call that task `tid` has entered last is over.
    pub(crate) fn leave(&mut self, tid: Tid, exit: SyscallExit) {
        if self.pending.is_empty() {
            return;
        }
        let Some(pending) = self.pending.remove(&tid) else { return };
        if exit.is_error {
            return;
        }
        match pending {
            Pending::Marks(keys) => self.process.extend(keys),
            Pending::MarksDescriptor(fd, key) => drop(self.descriptors.insert((fd, key))),
            Pending::MarksResult(key) => drop(self.descriptors.insert((exit.value as u32, key))),
            Pending::Clears(name) => self.process.retain(|key| key.name != name),
            Pending::ClearsDescriptor(fd, name) => self.descriptors.retain(|(of, key)| (*of, &key.name) != (fd, &name)),
            Pending::Duplicates(fd) => {
                let to = exit.value as u32;
                self.descriptors.retain(|(of, _)| *of != to || fd == to);
                let copies: Vec<_> =
                    self.descriptors.iter().filter(|(of, _)| *of == fd).map(|(_, key)| (to, key.clone())).collect();
                self.descriptors.extend(copies);
            }
            Pending::Closes(range) => self.descriptors.retain(|(fd, _)| !range.contains(fd)),
            Pending::Semaphores(set, operations) => {
                for (number, operation) in operations {
                    let sum = self.adjustments.entry((set, number)).or_default();
                    *sum -= i64::from(operation);
                }
                self.adjustments.retain(|_, sum| *sum != 0);
            }
            Pending::SetsSemaphores(set, only) => {
                self.adjustments.retain(|(of, number), _| *of != set || only.is_some_and(|only| only != *number));
            }
            Pending::Registers(command) => self.registrations |= command,
            Pending::Creates => {
                let link = fs::read_link(format!("/proc/{tid}/fd/{}", exit.value));
                self.created.extend(link.ok().filter(|_| self.created.len() < MAX_CREATED));
            }
        }
    }

    /// The start of an instance has made the call, to restore something.
    pub(crate) fn restored(&mut self, number: u64, args: &[u64; 6]) {
        self.has_called(number);
        self.guards |= installs_guards(number, args);
        if number == libc::SYS_membarrier as u64 {
            self.registrations |= args[0];
        }
    }

    fn has_called(&mut self, number: u64) {
        if let Some(word) = self.called.get_mut(number as usize / 64) {
            *word |= 1 << (number % 64);
        }
    }

    /// The commands with which the program has registered itself for `membarrier`, as a set of bits.
    pub(crate) fn registrations(&self) -> u64 {
        self.registrations
    }

    /// What is still there.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        let of = |key: &Key, fd| Finding { name: key.name.clone(), fd, why: key.why.clone(), only_noted: key.noted };
        let process = self.process.iter().map(|key| of(key, None));
        let descriptors = self.descriptors.iter().map(|(fd, key)| of(key, Some(*fd)));
        let semaphores = (!self.adjustments.is_empty()).then(|| Finding {
            name: "semop:SEM_UNDO".to_owned(),
            fd: None,
            why: "has changed System V semaphores, and its end would undo that".to_owned(),
            only_noted: false,
        });
        process.chain(descriptors).chain(semaphores).collect()
    }

    /// The files that the program has made and that still have the names they were made with.
    pub(crate) fn made_files(&self) -> impl Iterator<Item = (&Path, Metadata)> {
        let found = self.created.iter().filter_map(|path| Some((path.as_path(), fs::symlink_metadata(path).ok()?)));
        // A file system without a time of birth does not tell: that of the last change is the next best.
        let is_new = |about: &Metadata| {
            let time = about.created().or_else(|_| about.modified());
            self.since.is_some_and(|since| time.is_ok_and(|time| time >= since))
        };
        found.filter(move |(_, about)| about.is_file() && is_new(about))
    }

    /// Whether the program may have guard pages (MADV_GUARD_INSTALL).
    pub(crate) fn may_have_guards(&self) -> bool {
        self.incomplete || self.guards
    }

    fn look_up(&self, entry: &SyscallEntry, memory: &Memory) -> Option<Pending> {
        if entry.arch != AUDIT_ARCH || entry.number & X32 != 0 {
            let abi = if entry.arch == AUDIT_ARCH { "x32" } else { "32-bit" };
            let why = format!("is a call of the {abi} interface, whose effects this version does not know");
            let name = format!("{abi}:{}", entry.number & !X32);
            return Some(Pending::Marks(vec![Key { name, why, noted: false }]));
        }
        let Some(row) = row(entry.number) else {
            let why = "is not in the list of known system calls".to_owned();
            return Some(Pending::Marks(vec![Key { name: entry.number.to_string(), why, noted: false }]));
        };
        let args = &entry.args;
        if creates(row.name, args) {
            return Some(Pending::Creates);
        }
        match row.effect {
            Effect::Always(verdict) => {
                self.settles(row, args).or_else(|| Some(mark(row, args, key(row, row.name, verdict, row.why)?)))
            }
            Effect::Option(at, cells) => {
                let value = args.get(at).copied().unwrap_or(0) & 0xffff_ffff;
                self.duplicates(row, args, value).or_else(|| option(row, args, value, cells))
            }
            Effect::Flags(at, cells) => flags(row, args, args.get(at).copied().unwrap_or(0), cells),
            Effect::FlagsAt(at, cells) => {
                // A structure that cannot be read fails the call.
                let word = memory.read_u64(args.get(at).copied().unwrap_or(0)).ok()?;
                flags(row, args, word, cells)
            }
            Effect::Requests(requests) => request(row, args, requests),
            Effect::SocketOption(options) => socket_option(row, args, options),
            Effect::Semaphores => semaphores(args, memory),
        }
    }

    /// Calls that undo the effects of others.
    fn settles(&self, row: &Row, args: &[u64; 6]) -> Option<Pending> {
        let fd = args[0] as u32;
        match row.name {
            "semctl" => sets_semaphores(args),
            "iopl" if args[0] & 3 == 0 => Some(Pending::Clears(row.name.to_owned())),
            // This matters only if a descriptor has an effect.
            _ if self.descriptors.is_empty() => None,
            "close" => Some(Pending::Closes(fd..=fd)),
            "close_range" if args[2] == 0 => Some(Pending::Closes(fd..=args[1] as u32)),
            "dup" | "dup2" | "dup3" => Some(Pending::Duplicates(fd)),
            _ => None,
        }
    }

    fn duplicates(&self, row: &Row, args: &[u64; 6], command: u64) -> Option<Pending> {
        const F_DUPFD: u64 = 0;
        const F_DUPFD_CLOEXEC: u64 = 1030;
        let is_one = row.name == "fcntl" && matches!(command, F_DUPFD | F_DUPFD_CLOEXEC);
        (is_one && !self.descriptors.is_empty()).then(|| Pending::Duplicates(args[0] as u32))
    }
}

/// Whether the call makes a file if there is none.
fn creates(name: &str, args: &[u64; 6]) -> bool {
    let flags = match name {
        "creat" => return true,
        "open" => args[1],
        "openat" => args[2],
        _ => return false,
    };
    flags & libc::O_CREAT as u64 != 0
}

/// The time that the kernel gives to what is made now.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(clock_ns(libc::CLOCK_REALTIME_COARSE))
}

fn installs_guards(number: u64, args: &[u64; 6]) -> bool {
    let advice = match number as i64 {
        libc::SYS_madvise => args[2],
        libc::SYS_process_madvise => args[3],
        _ => return false,
    };
    advice & 0xffff_ffff == MADV_GUARD_INSTALL
}

/// `None` if nothing has to be recorded.
fn key(row: &Row, option: impl fmt::Display, verdict: Verdict, why: &str) -> Option<Key> {
    let noted = match verdict {
        Verdict::Stateless | Verdict::Restored | Verdict::Asked => return None,
        Verdict::Noted => true,
        Verdict::Refused => false,
    };
    let option = option.to_string();
    let name = if option == row.name { option } else { format!("{}:{option}", row.name) };
    Some(Key { name, why: why.to_owned(), noted })
}

/// What a finding belongs to.
fn mark(row: &Row, args: &[u64; 6], key: Key) -> Pending {
    match row.name {
        "fcntl" | "ioctl" | "setsockopt" => Pending::MarksDescriptor(args[0] as u32, key),
        "fsmount" | "open_tree" | "open_tree_attr" => Pending::MarksResult(key),
        _ => Pending::Marks(vec![key]),
    }
}

fn option(row: &Row, args: &[u64; 6], value: u64, cells: &[Cell]) -> Option<Pending> {
    if row.name == "membarrier" && matches!(value, 4 | 16 | 64 | 256) {
        return Some(Pending::Registers(value));
    }
    let Ok(index) = cells.binary_search_by_key(&value, |cell| cell.value) else {
        return Some(mark(row, args, key(row, value, Verdict::Refused, "is an unknown option")?));
    };
    let cell = cells.get(index)?;
    let key = key(row, cell.name, cell.verdict, cell.why)?;
    // The argument behind the option is zero if the call undoes the effect.
    Some(match (row.name, cell.name) {
        ("fcntl", "F_NOTIFY") if args[2] == 0 => Pending::ClearsDescriptor(args[0] as u32, key.name),
        ("prctl", "PR_SET_PTRACER" | "PR_TIMER_CREATE_RESTORE_IDS") if args[1] == 0 => Pending::Clears(key.name),
        _ => mark(row, args, key),
    })
}

fn flags(row: &Row, args: &[u64; 6], word: u64, cells: &[Cell]) -> Option<Pending> {
    // The lowest byte of `clone`'s flags is the signal of the child's end; `clone3` has none there.
    let word = if row.name == "clone" { word & 0xffff_ff00 } else { word };
    let mut keys = Vec::new();
    let mut rest = word;
    for cell in cells {
        if word & cell.value != 0 {
            keys.extend(key(row, cell.name, cell.verdict, cell.why));
        }
        rest &= !cell.value;
    }
    if rest != 0 {
        keys.extend(key(row, format_args!("{rest:#x}"), Verdict::Refused, "is an unknown flag"));
    }
    match keys.len() {
        0 => None,
        1 => keys.pop().map(|key| mark(row, args, key)),
        _ => Some(Pending::Marks(keys)),
    }
}

fn request(row: &Row, args: &[u64; 6], requests: &[Requests]) -> Option<Pending> {
    let value = args[1] as u32;
    let low = value as u16;
    let known = requests.iter().find(|request| (request.first..=request.last).contains(&low));
    let key = match known {
        Some(request) => key(row, request.name, request.verdict, request.why)?,
        None => key(row, format_args!("{value:#x}"), Verdict::Refused, "is an unknown request")?,
    };
    Some(mark(row, args, key))
}

fn socket_option(row: &Row, args: &[u64; 6], options: &[super::sockopts::SocketOption]) -> Option<Pending> {
    let (level, number) = (args[1] as i32, args[2] as i32);
    if REFUSED_KINDS.iter().any(|(refused, _)| *refused == level) {
        return None;
    }
    let found = options.binary_search_by_key(&(level, number), |option| (option.level, option.number));
    let key = match found.ok().and_then(|index| options.get(index)) {
        Some(option) => key(row, option.name, option.verdict(), option.why)?,
        None => key(row, format_args!("{level}.{number}"), Verdict::Refused, "is an unknown option")?,
    };
    Some(mark(row, args, key))
}

/// `struct sembuf`: number, operation, flags, of 2 bytes each.
fn semaphores(args: &[u64; 6], memory: &Memory) -> Option<Pending> {
    let bytes = memory.read_vec(args[1], args[2].min(MAX_SEMAPHORES) * 6).ok()?;
    let (operations, _) = bytes.as_chunks::<6>();
    let undone: Vec<_> = operations
        .iter()
        .filter(|bytes| u16::from_le_bytes([bytes[4], bytes[5]]) & SEM_UNDO != 0)
        .map(|bytes| (u16::from_le_bytes([bytes[0], bytes[1]]), i16::from_le_bytes([bytes[2], bytes[3]])))
        .filter(|(_, operation)| *operation != 0)
        .collect();
    (!undone.is_empty()).then_some(Pending::Semaphores(args[0] as i32, undone))
}

/// Setting the value of a semaphore, or removing its set, clears the adjustments of every process.
fn sets_semaphores(args: &[u64; 6]) -> Option<Pending> {
    const IPC_RMID: u64 = 0;
    const SETVAL: u64 = 16;
    const SETALL: u64 = 17;
    match args[2] & 0xff {
        IPC_RMID | SETALL => Some(Pending::SetsSemaphores(args[0] as i32, None)),
        SETVAL => Some(Pending::SetsSemaphores(args[0] as i32, Some(args[1] as u16))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ledger after these calls of one task: number, arguments, result.
    fn after(calls: &[(i64, &[u64], i64)]) -> Ledger {
        let memory = Memory::open(std::process::id() as Tid).unwrap();
        let mut ledger = Ledger::default();
        for (number, given, value) in calls {
            let mut args = [0; 6];
            args[..given.len()].copy_from_slice(given);
            let entry = SyscallEntry { arch: AUDIT_ARCH, number: *number as u64, args };
            ledger.enter(1, &entry, &memory);
            ledger.leave(1, SyscallExit { value: *value, is_error: *value < 0 });
        }
        ledger
    }

    fn names(calls: &[(i64, &[u64], i64)]) -> Vec<String> {
        let on = |fd: Option<u32>| fd.map(|fd| format!(" {fd}")).unwrap_or_default();
        after(calls).findings().into_iter().map(|found| format!("{}{}", found.name, on(found.fd))).collect()
    }

    const FCNTL: i64 = libc::SYS_fcntl;
    const F_NOTIFY: u64 = 1026;
    const WATCH: (i64, &[u64], i64) = (FCNTL, &[3, F_NOTIFY, 4], 0);

    #[test]
    fn calls_that_failed_have_no_effect() {
        assert_eq!(names(&[(libc::SYS_landlock_restrict_self, &[3], 0)]), ["landlock_restrict_self"]);
        assert!(names(&[(libc::SYS_landlock_restrict_self, &[3], -1)]).is_empty());
        assert!(names(&[(libc::SYS_read, &[0], 1), (libc::SYS_mmap, &[0], 4096)]).is_empty());
    }

    #[test]
    fn what_has_no_row_is_refused() {
        assert_eq!(names(&[(4000, &[], 0)]), ["4000"]);
        assert_eq!(names(&[(libc::SYS_prctl, &[4000], 0)]), ["prctl:4000"]);
        assert_eq!(names(&[(libc::SYS_ioctl, &[5, 0x1234_3456], 0)]), ["ioctl:0x12343456 5"]);
        assert_eq!(names(&[(libc::SYS_setsockopt, &[5, 6, 999], 0)]), ["setsockopt:6.999 5"]);
        assert_eq!(names(&[(libc::SYS_unshare, &[1 << 40 | 1 << 9], 0)]), ["unshare:0x10000000000"]);
        assert_eq!(names(&[(libc::SYS_read | X32 as i64, &[], 0)]), ["x32:0"]);
    }

    #[test]
    fn threads_and_children_are_ordinary() {
        let thread = 0x3d_0f00;
        assert!(names(&[(libc::SYS_clone, &[thread], 2), (libc::SYS_clone, &[0x4111], 2)]).is_empty());
        assert!(names(&[(libc::SYS_clone, &[thread | 1 << 23], 2)]).is_empty(), "CLONE_UNTRACED");
    }

    #[test]
    fn descriptors_take_it_along() {
        let dup = (libc::SYS_dup2, &[3, 9][..], 9);
        let close = (libc::SYS_close, &[3][..], 0);
        assert_eq!(names(&[WATCH]), ["fcntl:F_NOTIFY 3"]);
        assert_eq!(names(&[WATCH, dup]), ["fcntl:F_NOTIFY 3", "fcntl:F_NOTIFY 9"]);
        assert_eq!(names(&[WATCH, dup, close]), ["fcntl:F_NOTIFY 9"]);
        assert_eq!(names(&[WATCH, (FCNTL, &[3, 0, 20], 21), close]), ["fcntl:F_NOTIFY 21"]);
        assert!(names(&[WATCH, close]).is_empty());
        assert!(names(&[WATCH, (libc::SYS_close_range, &[3, u64::MAX, 0], 0)]).is_empty());
        assert!(names(&[WATCH, (libc::SYS_dup2, &[7, 3], 3)]).is_empty());
        assert!(names(&[WATCH, (FCNTL, &[3, F_NOTIFY, 0], 0)]).is_empty());
    }

    #[test]
    fn what_is_taken_back_is_gone() {
        assert!(names(&[(libc::SYS_iopl, &[3], 0), (libc::SYS_iopl, &[0], 0)]).is_empty());
        const PTRACER: u64 = 0x5961_6d61;
        assert_eq!(names(&[(libc::SYS_prctl, &[PTRACER, u64::MAX], 0)]), ["prctl:PR_SET_PTRACER"]);
        assert!(names(&[(libc::SYS_prctl, &[PTRACER, 1], 0), (libc::SYS_prctl, &[PTRACER, 0], 0)]).is_empty());
    }

    #[test]
    fn semaphores_are_added_up() {
        let bytes = |number: u16, operation: i16, flags: u16| {
            [number.to_le_bytes(), operation.to_le_bytes(), flags.to_le_bytes()].concat()
        };
        let (down, up) = (bytes(2, -1, SEM_UNDO), bytes(2, 1, SEM_UNDO));
        let plain = bytes(2, 1, 0);
        let call = |operation: &Vec<u8>| [7, operation.as_ptr() as u64, 1];
        let (down, up, plain) = (call(&down), call(&up), call(&plain));
        let semop = libc::SYS_semop;
        assert_eq!(names(&[(semop, &down, 0)]), ["semop:SEM_UNDO"]);
        assert!(names(&[(semop, &down, 0), (semop, &up, 0)]).is_empty());
        assert_eq!(names(&[(semop, &down, 0), (semop, &plain, 0)]), ["semop:SEM_UNDO"]);
        assert!(names(&[(semop, &down, 0), (libc::SYS_semctl, &[7, 2, 16, 1], 0)]).is_empty());
        assert!(names(&[(semop, &down, 0), (libc::SYS_semctl, &[7, 0, 0, 0], 0)]).is_empty());
        assert_eq!(names(&[(semop, &down, 0), (libc::SYS_semctl, &[7, 1, 16, 1], 0)]), ["semop:SEM_UNDO"]);
    }

    #[test]
    fn files_that_are_new_are_remembered() {
        let dir = std::env::temp_dir().join(format!("ledger-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let mut ledger = Ledger::default();
        let memory = Memory::open(std::process::id() as Tid).unwrap();
        let open = |name: &str, flags: i32, ledger: &mut Ledger| {
            let args = [0, 0, flags as u64, 0, 0, 0];
            let entry = SyscallEntry { arch: AUDIT_ARCH, number: libc::SYS_openat as u64, args };
            ledger.enter(std::process::id() as Tid, &entry, &memory);
            let file = fs::File::options().write(true).create(true).truncate(true).open(dir.join(name)).unwrap();
            let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
            ledger.leave(std::process::id() as Tid, SyscallExit { value: fd.into(), is_error: false });
            file
        };
        let files =
            [open("new", libc::O_CREAT | libc::O_WRONLY, &mut ledger), open("read", libc::O_RDONLY, &mut ledger)];
        let made: Vec<_> = ledger.made_files().map(|(path, _)| path.to_owned()).collect();
        assert_eq!(made, [dir.join("new").canonicalize().unwrap()]);
        drop(files);
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(ledger.made_files().count(), 0);
    }

    #[test]
    fn registrations_and_guards_are_remembered() {
        let ledger = after(&[(libc::SYS_membarrier, &[16], 0), (libc::SYS_membarrier, &[64], -1)]);
        assert_eq!(ledger.registrations(), 16);
        assert!(ledger.may_have_called(&[libc::SYS_membarrier]) && !ledger.may_have_called(&[libc::SYS_keyctl]));
        assert!(after(&[(libc::SYS_madvise, &[0, 4096, 102], 0)]).may_have_guards());
        assert!(!after(&[(libc::SYS_madvise, &[0, 4096, 4], 0)]).may_have_guards());
        assert!(Ledger::incomplete().may_have_guards() && Ledger::incomplete().may_have_called(&[libc::SYS_keyctl]));
    }
}
