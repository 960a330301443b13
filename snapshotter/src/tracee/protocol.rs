//! What the program tells us through the protocol of the snapshot point (FORMAT.md).

use super::maps;
use super::memory::Memory;
use super::ptrace::Tid;
use snapfn_format::PAGE;
use snapfn_format::layout::USER_END;
use std::collections::HashSet;
use std::io;
use std::ops::Range;

/// `prctl` option of the protocol ("SNAP"), and its operations.
pub(super) const PROTOCOL: u64 = 0x534e_4150;
pub(super) const OP_READY: u64 = 0;
const OP_INFO: u64 = 1;
const OP_SECRET: u64 = 2;
const OP_HOOK: u64 = 3;

/// `struct snap_info`: its size, where it says what is done in an instance, and where the list of hooks starts.
const INFO_LEN: u64 = 56;
pub(crate) const INFO_HOOKS: u64 = 40;
const INFO_FIRST: u64 = 48;
/// Functions of the program's choice are called.
pub(crate) const HOOKS_OWN: u64 = 1;

/// `struct snap_hook`: the next one, the function, its argument, and the `struct snap_info` of whoever registers it.
pub(crate) const HOOK_LEN: u64 = 32;
const HOOK_FUNCTION: u64 = 8;
const HOOK_INFO: u64 = 24;

/// A function to call in an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hook {
    /// Address of its `struct snap_hook`.
    pub(crate) record: u64,
    pub(crate) function: u64,
}

/// What the program has told us.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registered {
    /// Addresses of `struct snap_info`s. The first is the one of whoever marks the point, if he has one.
    pub(crate) infos: Vec<u64>,
    /// That one, or 0.
    marker: u64,
    /// In the order of registration.
    pub(crate) hooks: Vec<Hook>,
    /// Their records.
    known: HashSet<u64>,
    /// `(address, length)` of secrets.
    pub(crate) secrets: Vec<(u64, u64)>,
    /// What was in them when they were declared, up to 1 MiB of each.
    pub(crate) seen: Vec<(u64, Vec<u8>)>,
}

impl Registered {
    /// What an instance's program had registered when its snapshot was taken: `infos` of its plan, and the hooks.
    pub(super) fn of_instance(memory: &Memory, infos: Vec<u64>, is_marked: bool) -> io::Result<Self> {
        let first = infos.first().copied();
        let marker = first.filter(|_| is_marked).unwrap_or(0);
        let mut registered = Registered { infos, marker, ..Registered::default() };
        let mut record = first.map_or(Ok(0), |info| memory.read_u64(info + INFO_FIRST))?;
        while record != 0 && registered.known.insert(record) {
            registered.hooks.push(Hook { record, function: memory.read_u64(record + HOOK_FUNCTION)? });
            record = memory.read_u64(record)?;
        }
        Ok(registered)
    }

    /// How many hooks nobody is going to call: only whoever marks the point does, and finds them by its structure.
    pub(crate) fn uncalled(&self, is_marked: bool) -> usize {
        if is_marked && self.marker != 0 { 0 } else { self.hooks.len() }
    }

    /// Serves an operation: what the call returns instead of being executed. `None` for those that are none of ours.
    pub(super) fn serve(&mut self, pid: Tid, memory: &Memory, op: u64, a: u64, b: u64) -> Option<u64> {
        let outcome = match op {
            OP_INFO => self.note_info(pid, memory, a),
            OP_SECRET => self.note_secret(pid, memory, a, b),
            OP_HOOK => self.note_hook(pid, memory, a),
            _ => return None,
        };
        Some(outcome.map_or_else(|error| -i64::from(error) as u64, |()| 0))
    }

    fn note_info(&mut self, pid: Tid, memory: &Memory, addr: u64) -> Result<(), i32> {
        check_info(pid, memory, addr)?;
        self.infos.retain(|other| *other != addr);
        self.infos.insert(0, addr);
        self.marker = addr;
        Ok(())
    }

    /// Notes that `len` bytes at `addr` are not to be stored.
    fn note_secret(&mut self, pid: Tid, memory: &Memory, addr: u64, len: u64) -> Result<(), i32> {
        mapped(pid, addr, len)?;
        self.secrets.push((addr, len));
        let bytes = memory.read_vec(addr, len.min(1 << 20)).ok();
        self.seen.extend(bytes.map(|bytes| (addr, bytes)));
        Ok(())
    }

    fn note_hook(&mut self, pid: Tid, memory: &Memory, record: u64) -> Result<(), i32> {
        mapped(pid, record, HOOK_LEN)?;
        let word = |offset| memory.read_u64(record + offset).map_err(|_| libc::EFAULT);
        let (function, info) = (word(HOOK_FUNCTION)?, word(HOOK_INFO)?);
        if !record.is_multiple_of(8) || self.known.contains(&record) {
            return Err(libc::EINVAL);
        }
        if info != 0 {
            check_info(pid, memory, info)?;
            if !self.infos.contains(&info) {
                self.infos.push(info);
            }
        }
        self.known.insert(record);
        self.hooks.push(Hook { record, function });
        Ok(())
    }

    /// Forgets what goes with memory that is taken away: a library that is unloaded is not called, and what comes to lie at
    /// its place is not written to.
    pub(super) fn forget(&mut self, gone: &Range<u64>) {
        if gone.is_empty() {
            return;
        }
        let stays = |addr: u64, len: u64| addr >= gone.end || addr.saturating_add(len) <= gone.start;
        self.infos.retain(|info| stays(*info, INFO_LEN));
        let known = &mut self.known;
        self.hooks.retain(|hook| {
            let kept = stays(hook.record, HOOK_LEN) && stays(hook.function, 1);
            kept || !known.remove(&hook.record)
        });
        if !self.infos.contains(&self.marker) {
            self.marker = 0;
        }
    }

    /// Links the hooks and tells the program, and those who look at the snapshot, where they are: what a snapshot is about
    /// to be taken of, which does not go on.
    pub(crate) fn publish(&self, memory: &Memory) -> io::Result<()> {
        let next = self.hooks.iter().skip(1).map(|hook| hook.record).chain([0]);
        for (hook, next) in self.hooks.iter().zip(next) {
            memory.write(hook.record, &next.to_le_bytes())?;
        }
        let list = self.hooks.first().map_or(0, |hook| hook.record);
        for (index, info) in self.infos.iter().enumerate() {
            // Another one marked an earlier point, and has the list of then.
            let first = if index == 0 { list } else { 0 };
            if memory.read_u64(info + INFO_FIRST)? != first {
                memory.write(info + INFO_FIRST, &first.to_le_bytes())?;
            }
        }
        match self.infos.first().filter(|_| list != 0) {
            None => Ok(()),
            Some(info) => {
                let kinds = memory.read_u64(info + INFO_HOOKS)? | HOOKS_OWN;
                memory.write(info + INFO_HOOKS, &kinds.to_le_bytes())
            }
        }
    }
}

/// What a system call that has returned `result` has taken away of the program's memory.
pub(super) fn taken_away(number: u64, args: &[u64; 6], result: u64) -> [Range<u64>; 2] {
    const NONE: Range<u64> = 0..0;
    let range =
        |start: u64, len: u64| start..start.saturating_add(len.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX));
    if (result as i64) < 0 && (result as i64) >= -4095 {
        return [NONE; 2];
    }
    match number as i64 {
        libc::SYS_munmap | libc::SYS_mmap => [range(args[0], args[1]), NONE],
        // In place: the end, where it shrinks. Else the old one and what was there.
        libc::SYS_mremap if result == args[0] => [range(args[0], args[2]).end..range(args[0], args[1]).end, NONE],
        libc::SYS_mremap => [range(args[0], args[1]), range(result, args[2])],
        _ => [NONE; 2],
    }
}

/// Whether a system call may take memory away.
pub(super) fn may_take(number: u64, args: &[u64; 6]) -> bool {
    match number as i64 {
        libc::SYS_munmap | libc::SYS_mremap => true,
        libc::SYS_mmap => args[3] & libc::MAP_FIXED as u64 != 0,
        _ => false,
    }
}

fn check_info(pid: Tid, memory: &Memory, addr: u64) -> Result<(), i32> {
    mapped(pid, addr, INFO_LEN)?;
    let size = memory.read_u32(addr).map_err(|_| libc::EFAULT)?;
    if addr.is_multiple_of(8) && u64::from(size) >= INFO_LEN { Ok(()) } else { Err(libc::EINVAL) }
}

/// An error, as the kernel would answer it: EINVAL for a range that is none, EFAULT where not all of it is the program's
/// memory.
fn mapped(pid: Tid, addr: u64, len: u64) -> Result<(), i32> {
    let end = addr.checked_add(len).filter(|_| len > 0).ok_or(libc::EINVAL)?;
    match end <= USER_END && maps::covers(pid, addr..end) {
        true => Ok(()),
        false => Err(libc::EFAULT),
    }
}
