//! What the program tells us through the protocol of the snapshot point (FORMAT.md).

use super::maps;
use super::memory::Memory;
use super::ptrace::Tid;
use snapfn_format::layout::USER_END;
use std::io;

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
const HOOK_LEN: u64 = 32;
const HOOK_FUNCTION: u64 = 8;
const HOOK_INFO: u64 = 24;

/// A function to call in an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hook {
    record: u64,
    function: u64,
}

/// What the program has told us.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registered {
    /// Addresses of `struct snap_info`s. The first is the one of whoever marks the point, if he has one.
    pub(crate) infos: Vec<u64>,
    /// That one, or 0.
    marker: u64,
    /// In the order of registration.
    hooks: Vec<Hook>,
    /// The program has a list from an earlier snapshot.
    has_list: bool,
    /// `(address, length)` of secrets.
    pub(crate) secrets: Vec<(u64, u64)>,
    /// What was in them when they were declared, up to 1 MiB of each.
    pub(crate) seen: Vec<(u64, Vec<u8>)>,
}

impl Registered {
    /// What an instance's program had registered when its snapshot was taken: `infos` of its plan, and the hooks.
    pub(super) fn of_instance(memory: &Memory, infos: Vec<u64>) -> io::Result<Self> {
        let marker = infos.first().copied().unwrap_or(0);
        let mut registered = Registered { infos, marker, ..Registered::default() };
        let mut record = if marker == 0 { 0 } else { memory.read_u64(marker + INFO_FIRST)? };
        while record != 0 && !registered.has_hook(record) {
            registered.hooks.push(Hook { record, function: memory.read_u64(record + HOOK_FUNCTION)? });
            record = memory.read_u64(record)?;
        }
        registered.has_list = !registered.hooks.is_empty();
        Ok(registered)
    }

    fn has_hook(&self, record: u64) -> bool {
        self.hooks.iter().any(|hook| hook.record == record)
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
        if !record.is_multiple_of(8) || self.has_hook(record) {
            return Err(libc::EINVAL);
        }
        if info != 0 {
            check_info(pid, memory, info)?;
            if !self.infos.contains(&info) {
                self.infos.push(info);
            }
        }
        self.hooks.push(Hook { record, function });
        Ok(())
    }

    /// Forgets what goes with the memory that a system call takes away: a library that is unloaded is not called, and what
    /// comes to lie at its place is not written to.
    pub(super) fn forget_unmapped(&mut self, number: u64, args: &[u64; 6]) {
        let fixed = args[3] & libc::MAP_FIXED as u64 != 0;
        let unmaps = number == libc::SYS_munmap as u64 || number == libc::SYS_mmap as u64 && fixed;
        if !unmaps || self.infos.is_empty() && self.hooks.is_empty() {
            return;
        }
        let (start, end) = (args[0], args[0].saturating_add(args[1]));
        let stays = |addr: u64, len: u64| addr >= end || addr.saturating_add(len) <= start;
        self.infos.retain(|info| stays(*info, INFO_LEN));
        self.hooks.retain(|hook| stays(hook.record, HOOK_LEN) && stays(hook.function, 1));
        if !self.infos.contains(&self.marker) {
            self.marker = 0;
        }
    }

    /// At the snapshot point: links the hooks and tells the program, and those who look at the snapshot, where they are.
    pub(super) fn publish(&self, memory: &Memory) -> io::Result<()> {
        let Some(info) = self.infos.first().filter(|_| self.has_list || !self.hooks.is_empty()) else { return Ok(()) };
        let first = self.hooks.first().map_or(0, |hook| hook.record);
        let next = self.hooks.iter().skip(1).map(|hook| hook.record).chain([0]);
        for (hook, next) in self.hooks.iter().zip(next) {
            memory.write(hook.record, &next.to_le_bytes())?;
        }
        if first != 0 {
            let kinds = memory.read_u64(info + INFO_HOOKS)? | HOOKS_OWN;
            memory.write(info + INFO_HOOKS, &kinds.to_le_bytes())?;
        }
        memory.write(info + INFO_FIRST, &first.to_le_bytes())
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
