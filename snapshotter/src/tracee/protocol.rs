//! What the program tells us through the protocol of the snapshot point (FORMAT.md).

use super::maps;
use super::memory::Memory;
use super::ptrace::Tid;
use snapfn_format::layout::USER_END;
use std::collections::BTreeSet;
use std::io;

/// `prctl` option of the protocol ("SNAP"), and its operations.
pub(super) const PROTOCOL: u64 = 0x534e_4150;
pub(super) const OP_READY: u64 = 0;
const OP_INFO: u64 = 1;
const OP_SECRET: u64 = 2;
const OP_HOOK: u64 = 3;

/// `struct snap_info`: what is filled in an instance, where it says what is done there, and where the list of hooks starts.
pub(crate) const INFO_LEN: u64 = 48;
pub(crate) const INFO_HOOKS: u64 = 40;
const INFO_FIRST: u64 = 48;
/// Its size where it has all these fields.
const INFO_WHOLE: u32 = 56;
/// Functions of the program's choice are called.
pub(crate) const HOOKS_OWN: u64 = 1;

/// `struct snap_hook`: the next one, the function, its argument, and a `struct snap_info` to fill.
pub(crate) const HOOK_LEN: u64 = 32;
pub(crate) const HOOK_FUNCTION: u64 = 8;
pub(crate) const HOOK_INFO: u64 = 24;

/// What the program has told us.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registered {
    /// Address of its `struct snap_info`.
    pub(crate) info: u64,
    /// Addresses of its hooks. What links them is in the program's memory, in the order of registration.
    pub(crate) hooks: BTreeSet<u64>,
    first_hook: u64,
    last_hook: u64,
    /// `(address, length)` of secrets.
    pub(crate) secrets: Vec<(u64, u64)>,
    /// What was in them when they were declared, up to 1 MiB of each.
    pub(crate) seen: Vec<(u64, Vec<u8>)>,
}

impl Registered {
    /// What an instance's program has registered before the snapshot that it comes from.
    pub(super) fn of_instance(memory: &Memory, info: u64) -> io::Result<Self> {
        let mut registered = Registered { info, ..Registered::default() };
        if info == 0 || memory.read_u32(info)? < INFO_WHOLE {
            return Ok(registered);
        }
        let mut hook = memory.read_u64(info + INFO_FIRST)?;
        registered.first_hook = hook;
        while hook != 0 && registered.hooks.insert(hook) {
            registered.last_hook = hook;
            hook = memory.read_u64(hook)?;
        }
        Ok(registered)
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
        mapped(pid, addr, INFO_LEN)?;
        let size = memory.read_u32(addr).map_err(|_| libc::EFAULT)?;
        if !addr.is_multiple_of(8) || u64::from(size) < INFO_LEN {
            return Err(libc::EINVAL);
        }
        self.info = addr;
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

    /// Links a hook behind those before it, whichever executable or shared library they are from.
    fn note_hook(&mut self, pid: Tid, memory: &Memory, addr: u64) -> Result<(), i32> {
        mapped(pid, addr, HOOK_LEN)?;
        if !addr.is_multiple_of(8) || self.hooks.contains(&addr) {
            return Err(libc::EINVAL);
        }
        memory.write(addr, &[0; 8]).map_err(|_| libc::EFAULT)?;
        match self.last_hook {
            0 => self.first_hook = addr,
            // Where that one's memory is gone, there is no snapshot: the dump looks at all of them.
            last => drop(memory.write(last, &addr.to_le_bytes())),
        }
        self.last_hook = addr;
        self.hooks.insert(addr);
        Ok(())
    }

    /// At the snapshot point: tells the program, and those who look at the snapshot, where its hooks are.
    pub(super) fn publish(&self, memory: &Memory) -> io::Result<()> {
        if self.info == 0 || memory.read_u32(self.info)? < INFO_WHOLE {
            return Ok(());
        }
        memory.write(self.info + INFO_FIRST, &self.first_hook.to_le_bytes())?;
        if self.hooks.is_empty() {
            return Ok(());
        }
        let kinds = memory.read_u64(self.info + INFO_HOOKS)? | HOOKS_OWN;
        memory.write(self.info + INFO_HOOKS, &kinds.to_le_bytes())
    }
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
