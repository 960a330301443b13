//! Recognising the snapshot point among what the program does.

use super::TraceError;
use super::memory::Memory;
use super::ptrace::{SyscallEntry, SyscallExit, Tid};
use super::syscalls;
use crate::options::Point;
use snapfn_format::snap::{AT_ATTACH, AT_MAIN, AT_READY, AT_SYMBOL, AT_SYSCALL};
use std::collections::BTreeMap;
use std::time::Duration;

/// Bytes of a write that are looked at in one piece.
const PIECE: u64 = 64 << 10;

/// Where the program is to be stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StopAt {
    /// Before the first instruction of the executable.
    Entry,
    /// Before the first instruction of `main`.
    Main,
    /// At `snap_ready()`.
    Ready,
    /// At one of the entries of a system call.
    Syscall {
        /// Its number.
        number: u64,
        /// Only entries with this first argument count.
        first: Option<u64>,
        /// Which of those that count, from 1.
        nth: u32,
    },
    /// Before the first instruction of a function.
    Symbol(String),
    /// At the first call that makes a process.
    Fork,
    /// At the first call that waits for a connection, after a socket listens.
    Listening,
    /// Where every task has waited for so long.
    Idle(Duration),
    /// Where this text has been written to standard output or standard error.
    Output(Vec<u8>),
}

impl StopAt {
    /// The point that the user has chosen.
    pub(crate) fn point(point: &Point) -> Result<Self, TraceError> {
        Ok(match point {
            Point::Main => StopAt::Main,
            Point::Ready => StopAt::Ready,
            Point::Symbol(name) => StopAt::Symbol(name.clone()),
            Point::Syscall { name, first, nth } => {
                let number = syscalls::number(name).ok_or_else(|| TraceError::NoSyscall(name.clone()))?;
                StopAt::Syscall { number, first: *first, nth: *nth }
            }
            Point::Fork => StopAt::Fork,
            Point::Listening => StopAt::Listening,
            Point::Idle(time) => StopAt::Idle(*time),
            Point::Output(text) => StopAt::Output(text.as_bytes().to_vec()),
        })
    }

    /// The `AT_…` of a program that has been stopped so.
    pub(super) fn at(&self) -> u32 {
        match self {
            StopAt::Entry | StopAt::Main => AT_MAIN,
            StopAt::Ready => AT_READY,
            StopAt::Symbol(_) => AT_SYMBOL,
            StopAt::Syscall { .. } | StopAt::Fork | StopAt::Listening => AT_SYSCALL,
            StopAt::Idle(_) | StopAt::Output(_) => AT_ATTACH,
        }
    }
}

/// What has been seen so far of a point that is more than one event.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Entries of the system call that have counted.
    entries: u32,
    /// Tasks that are in `listen`.
    in_listen: Vec<Tid>,
    /// Some socket of the program listens.
    listens: bool,
    /// Tasks that write to a standard stream: its number, and where the bytes are.
    writing: BTreeMap<Tid, (u64, Vec<(u64, u64)>)>,
    /// The end of what was written to standard output and standard error, shorter than the text.
    tails: [Vec<u8>; 2],
}

impl Watch {
    /// Task `tid` enters a system call; whether it stands at the point there.
    pub(super) fn enter(&mut self, at: &StopAt, tid: Tid, entry: &SyscallEntry, memory: &Memory) -> bool {
        let SyscallEntry { number, args, .. } = *entry;
        let call = number as i64;
        match at {
            StopAt::Syscall { number: wanted, first, nth } => {
                let counts = *wanted == number && first.is_none_or(|fd| args[0] as u32 == fd as u32);
                self.entries += u32::from(counts);
                counts && self.entries == *nth
            }
            StopAt::Fork => makes_process(call, &args, memory),
            StopAt::Listening => {
                if call == libc::SYS_listen {
                    self.in_listen.push(tid);
                }
                self.listens && waits_for_connection(call, &args, memory)
            }
            StopAt::Output(_) => {
                if matches!(call, libc::SYS_write | libc::SYS_writev) && matches!(args[0] as u32, 1 | 2) {
                    let stream = u64::from(args[0] as u32) - 1;
                    let ranges = match call {
                        libc::SYS_write => vec![(args[1], args[2])],
                        _ => vector(memory, args[1], args[2]),
                    };
                    self.writing.insert(tid, (stream, ranges));
                }
                false
            }
            StopAt::Entry | StopAt::Main | StopAt::Ready | StopAt::Symbol(_) | StopAt::Idle(_) => false,
        }
    }

    /// Task `tid` leaves its system call; whether it stands at the point there.
    pub(super) fn leave(&mut self, at: &StopAt, tid: Tid, exit: SyscallExit, memory: &Memory) -> bool {
        if let Some(index) = self.in_listen.iter().position(|task| *task == tid) {
            self.in_listen.swap_remove(index);
            self.listens |= !exit.is_error;
        }
        let Some((stream, ranges)) = self.writing.remove(&tid) else { return false };
        let StopAt::Output(text) = at else { return false };
        let mut left = if exit.is_error { 0 } else { exit.value.max(0) as u64 };
        let tail = &mut self.tails[stream as usize];
        for (addr, len) in ranges {
            let end = addr.saturating_add(len.min(left));
            left -= end - addr;
            let mut from = addr;
            while from < end {
                let piece = (end - from).min(PIECE);
                let Ok(bytes) = memory.read_vec(from, piece) else { return false };
                if ends_in(tail, &bytes, text) {
                    return true;
                }
                from += piece;
            }
        }
        false
    }
}

/// Whether `text` occurs in `tail` followed by `bytes`; `tail` becomes what may begin another occurrence.
fn ends_in(tail: &mut Vec<u8>, bytes: &[u8], text: &[u8]) -> bool {
    tail.extend_from_slice(bytes);
    let found = tail.windows(text.len().max(1)).any(|window| window == text);
    let keep = tail.len().min(text.len().saturating_sub(1));
    tail.drain(..tail.len() - keep);
    found
}

/// The ranges of a `struct iovec` array; none where it cannot be read, which makes the call fail.
fn vector(memory: &Memory, addr: u64, count: u64) -> Vec<(u64, u64)> {
    const IOV_MAX: u64 = 1024;
    let word = |index: u64| memory.read_u64(addr.wrapping_add(8 * index));
    (0..count.min(IOV_MAX)).map_while(|i| Some((word(2 * i).ok()?, word(2 * i + 1).ok()?))).collect()
}

/// Whether a call makes a process, and not a thread.
fn makes_process(call: i64, args: &[u64; 6], memory: &Memory) -> bool {
    let is_thread = |flags: u64| flags & libc::CLONE_THREAD as u64 != 0;
    match call {
        libc::SYS_fork | libc::SYS_vfork => true,
        libc::SYS_clone => !is_thread(args[0]),
        // struct clone_args begins with the flags.
        libc::SYS_clone3 => memory.read_u64(args[0]).is_ok_and(|flags| !is_thread(flags)),
        _ => false,
    }
}

/// Whether a call waits for a connection, or for events of any kind. With a timeout of zero it only looks.
fn waits_for_connection(call: i64, args: &[u64; 6], memory: &Memory) -> bool {
    let is_zero = |timeout: u64| {
        let word = |addr| memory.read_u64(addr).unwrap_or(1);
        timeout != 0 && word(timeout) == 0 && word(timeout.wrapping_add(8)) == 0
    };
    match call {
        libc::SYS_accept | libc::SYS_accept4 => true,
        libc::SYS_poll => args[2] as u32 != 0,
        libc::SYS_epoll_wait | libc::SYS_epoll_pwait => args[3] as u32 != 0,
        libc::SYS_ppoll => !is_zero(args[2]),
        libc::SYS_epoll_pwait2 => !is_zero(args[3]),
        libc::SYS_select | libc::SYS_pselect6 => !is_zero(args[4]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: i64, args: [u64; 6]) -> SyscallEntry {
        SyscallEntry { arch: super::super::ptrace::AUDIT_ARCH, number: number as u64, args }
    }

    fn own_memory() -> Memory {
        Memory::open(std::process::id() as Tid).expect("/proc/self/mem")
    }

    #[test]
    fn entries_of_a_call_are_counted() {
        let (mut watch, memory) = (Watch::default(), own_memory());
        let at = StopAt::Syscall { number: libc::SYS_read as u64, first: Some(3), nth: 2 };
        let mut enter = |number, fd| watch.enter(&at, 1, &entry(number, [fd, 0, 0, 0, 0, 0]), &memory);
        assert!(!enter(libc::SYS_read, 3));
        assert!(!enter(libc::SYS_read, 4));
        assert!(!enter(libc::SYS_write, 3));
        assert!(enter(libc::SYS_read, 3));
        assert!(!enter(libc::SYS_read, 3));
    }

    #[test]
    fn only_a_wait_after_listen_is_listening() {
        let (mut watch, memory) = (Watch::default(), own_memory());
        let at = StopAt::Listening;
        let accept = entry(libc::SYS_accept4, [3, 0, 0, 0, 0, 0]);
        let look = entry(libc::SYS_poll, [0, 1, 0, 0, 0, 0]);
        let wait = entry(libc::SYS_poll, [0, 1, u64::from(u32::MAX), 0, 0, 0]);
        assert!(!watch.enter(&at, 1, &accept, &memory));
        assert!(!watch.enter(&at, 1, &entry(libc::SYS_listen, [3, 8, 0, 0, 0, 0]), &memory));
        assert!(!watch.leave(&at, 1, SyscallExit { value: -98, is_error: true }, &memory));
        assert!(!watch.enter(&at, 1, &wait, &memory));
        assert!(!watch.enter(&at, 1, &entry(libc::SYS_listen, [3, 8, 0, 0, 0, 0]), &memory));
        assert!(!watch.leave(&at, 1, SyscallExit { value: 0, is_error: false }, &memory));
        assert!(!watch.enter(&at, 1, &look, &memory));
        assert!(watch.enter(&at, 1, &wait, &memory));
        assert!(watch.enter(&at, 1, &accept, &memory));
    }

    #[test]
    fn a_thread_is_no_process() {
        let memory = own_memory();
        let flags = [libc::CLONE_THREAD as u64];
        let fork = [libc::SIGCHLD as u64];
        let clone3 =
            |flags: &[u64; 1]| makes_process(libc::SYS_clone3, &[flags.as_ptr() as u64, 8, 0, 0, 0, 0], &memory);
        assert!(!clone3(&flags));
        assert!(clone3(&fork));
        assert!(makes_process(libc::SYS_clone, &[fork[0], 0, 0, 0, 0, 0], &memory));
        assert!(!makes_process(libc::SYS_clone, &[flags[0], 0, 0, 0, 0, 0], &memory));
    }

    #[test]
    fn text_is_found_across_writes_of_one_stream() {
        let (mut watch, memory) = (Watch::default(), own_memory());
        let at = StopAt::Output(b"ready to serve".to_vec());
        let mut write = |fd: u64, text: &[u8], written: i64| {
            let args = [fd, text.as_ptr() as u64, text.len() as u64, 0, 0, 0];
            assert!(!watch.enter(&at, 1, &entry(libc::SYS_write, args), &memory));
            watch.leave(&at, 1, SyscallExit { value: written, is_error: written < 0 }, &memory)
        };
        assert!(!write(1, b"now ready to", 12));
        // Another stream, and bytes that were not written.
        assert!(!write(2, b" serve", 6));
        assert!(!write(1, b" serve", 3));
        assert!(write(1, b"rve", 3));
    }
}
