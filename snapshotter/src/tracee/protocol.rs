//! Serves the protocol of the snapshot point (FORMAT.md).

use super::maps;
use super::memory::Memory;
use super::ptrace::Tid;
use indexmap::IndexMap;
use snapfn_format::layout::USER_END;
use snapfn_format::snap::AT_READY;
use std::io;
use std::ops::Range;

/// `prctl` option of the protocol ("SNAP"), and its operations.
pub(super) const PROTOCOL: u64 = 0x534e_4150;
pub(super) const OP_READY: u64 = 0;
pub(super) const OP_INFO: u64 = 1;
const OP_SECRET: u64 = 2;
const OP_HOOK: u64 = 3;

/// `struct snap_info`: its size, and the offsets of `hooks` and `first`.
const INFO_LEN: u64 = 56;
pub(crate) const INFO_HOOKS: u64 = 40;
const INFO_FIRST: u64 = 48;
/// Functions of the program's choice are called.
pub(crate) const HOOKS_OWN: u64 = 1;

/// `struct snap_hook`: the next one, the function, its argument, and the `struct snap_info` of the code that registers
/// it.
pub(crate) const HOOK_LEN: u64 = 32;
const HOOK_FUNCTION: u64 = 8;
const HOOK_INFO: u64 = 24;

/// The structures, hooks and secrets that the program has registered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registered {
    /// Addresses of `struct snap_info`s.
    pub(crate) infos: Vec<u64>,
    /// The first of them belongs to the executable or library that marks the point.
    is_marked: bool,
    /// In the order of registration: the address of the `struct snap_hook`, and that of its function.
    pub(crate) hooks: IndexMap<u64, u64>,
    /// `(address, length)` of secrets.
    pub(crate) secrets: Vec<(u64, u64)>,
    /// Their content when they were declared, up to 1 MiB of each.
    pub(crate) seen: Vec<(u64, Vec<u8>)>,
    /// Bytes in `seen`.
    seen_len: usize,
    /// The program has declared more than is recorded.
    pub(crate) has_too_many_secrets: bool,
}

/// The most ranges that are recorded, and the most bytes of their content: a program may declare secrets without end.
pub(crate) const MAX_SECRETS: usize = 1 << 14;
const MAX_SEEN: usize = 64 << 20;

impl Registered {
    /// The structures and hooks that an instance's program had registered when its snapshot was taken.
    pub(super) fn of_instance(memory: &Memory, infos: Vec<u64>, is_marked: bool) -> io::Result<Self> {
        let mut hooks = IndexMap::new();
        let mut hook = infos.first().map_or(Ok(0), |info| memory.read_u64(info + INFO_FIRST))?;
        // The limit also ends a list that leads back to itself.
        while hook != 0 && hooks.insert(hook, memory.read_u64(hook + HOOK_FUNCTION)?).is_none() {
            hook = memory.read_u64(hook)?;
        }
        Ok(Registered { is_marked: is_marked && !infos.is_empty(), infos, hooks, ..Registered::default() })
    }

    /// Number of hooks that no code will call. Only the code that marks the point calls them, and it finds them by its
    /// structure.
    pub(crate) fn uncalled(&self, at: u32) -> usize {
        if at == AT_READY && self.is_marked { 0 } else { self.hooks.len() }
    }

    /// Serves an operation. Returns the result that the call gets instead of being executed; `None` if the operation is
    /// not of this protocol.
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
        self.is_marked = true;
        Ok(())
    }

    /// Records that `len` bytes at `addr` must not be stored.
    fn note_secret(&mut self, pid: Tid, memory: &Memory, addr: u64, len: u64) -> Result<(), i32> {
        if self.secrets.len() >= MAX_SECRETS || self.seen_len >= MAX_SEEN {
            self.has_too_many_secrets = true;
            return Err(libc::ENOSPC);
        }
        mapped(pid, addr, len)?;
        let bytes = memory.read_vec(addr, len.min(1 << 20)).ok().map(|bytes| (addr, bytes));
        // A loop often declares the same range again.
        if bytes.is_some() && self.seen.last() == bytes.as_ref() && self.secrets.last() == Some(&(addr, len)) {
            return Ok(());
        }
        self.secrets.push((addr, len));
        self.seen_len += bytes.as_ref().map_or(0, |(_, bytes)| bytes.len());
        self.seen.extend(bytes);
        Ok(())
    }

    fn note_hook(&mut self, pid: Tid, memory: &Memory, hook: u64) -> Result<(), i32> {
        mapped(pid, hook, HOOK_LEN)?;
        let word = |offset| memory.read_u64(hook + offset).map_err(|_| libc::EFAULT);
        let (function, info) = (word(HOOK_FUNCTION)?, word(HOOK_INFO)?);
        if !hook.is_multiple_of(8) || self.hooks.contains_key(&hook) {
            return Err(libc::EINVAL);
        }
        if info != 0 {
            check_info(pid, memory, info)?;
            if !self.infos.contains(&info) {
                self.infos.push(info);
            }
        }
        self.hooks.insert(hook, function);
        Ok(())
    }

    /// Removes structures and hooks in memory that is unmapped: an unloaded library is not called, and later memory at
    /// its place is not written to.
    pub(super) fn forget(&mut self, gone: &Range<u64>) {
        let stays = |addr: u64, len: u64| gone.is_empty() || addr >= gone.end || addr.saturating_add(len) <= gone.start;
        self.is_marked &= self.infos.first().is_some_and(|marker| stays(*marker, INFO_LEN));
        self.infos.retain(|info| stays(*info, INFO_LEN));
        self.hooks.retain(|hook, function| stays(*hook, HOOK_LEN) && stays(*function, 1));
    }

    /// Links the hooks and writes their address into the structure, for the program and for tools that read the
    /// snapshot. The snapshot is about to be taken, and the program does not go on before that.
    pub(crate) fn publish(&self, memory: &Memory) -> io::Result<()> {
        let mut list = 0u64;
        for hook in self.hooks.keys().rev() {
            memory.write(*hook, &list.to_le_bytes())?;
            list = *hook;
        }
        for info in &self.infos {
            let kinds = memory.read_u64(info + INFO_HOOKS)? | if list == 0 { 0 } else { HOOKS_OWN };
            memory.write(info + INFO_HOOKS, &kinds.to_le_bytes())?;
            memory.write(info + INFO_FIRST, &list.to_le_bytes())?;
        }
        Ok(())
    }
}

fn check_info(pid: Tid, memory: &Memory, addr: u64) -> Result<(), i32> {
    mapped(pid, addr, INFO_LEN)?;
    let size = memory.read_u32(addr).map_err(|_| libc::EFAULT)?;
    if addr.is_multiple_of(8) && u64::from(size) >= INFO_LEN { Ok(()) } else { Err(libc::EINVAL) }
}

/// The error that the kernel would return: EINVAL for an invalid range, EFAULT if not all of it is the program's
/// memory.
fn mapped(pid: Tid, addr: u64, len: u64) -> Result<(), i32> {
    let end = addr.checked_add(len).filter(|_| len > 0).ok_or(libc::EINVAL)?;
    match end <= USER_END && maps::covers(pid, addr..end) {
        true => Ok(()),
        false => Err(libc::EFAULT),
    }
}
