//! The kernel's initial stack: argc, argv, envp and the auxiliary vector.
#![allow(unsafe_code)] // walks the kernel's vectors

use crate::runtime::{memory, sys};
use core::ffi::CStr;

/// Auxiliary vector types.
#[allow(missing_docs)]
pub mod at {
    pub const NULL: u64 = 0;
    pub const PHDR: u64 = 3;
    pub const PHENT: u64 = 4;
    pub const PHNUM: u64 = 5;
    pub const BASE: u64 = 7;
    pub const ENTRY: u64 = 9;
    pub const UID: u64 = 11;
    pub const EUID: u64 = 12;
    pub const GID: u64 = 13;
    pub const EGID: u64 = 14;
    pub const PLATFORM: u64 = 15;
    pub const SECURE: u64 = 23;
    pub const BASE_PLATFORM: u64 = 24;
    pub const RANDOM: u64 = 25;
    pub const HWCAP2: u64 = 26;
    pub const RSEQ_FEATURE_SIZE: u64 = 27;
    pub const RSEQ_ALIGN: u64 = 28;
    pub const EXECFN: u64 = 31;
    pub const SYSINFO_EHDR: u64 = 33;
}

/// The initial stack of a process, by address. Code that sets a field answers for it: the methods read what it names.
#[derive(Clone, Copy, Debug)]
pub struct InitialStack {
    /// Number of arguments.
    pub argc: u64,
    /// Address of the argument vector.
    pub argv: u64,
    /// Address of the environment vector.
    pub envp: u64,
    /// Number of environment strings.
    pub envc: u64,
    /// Address of the auxiliary vector.
    pub auxv: u64,
}

impl InitialStack {
    /// Finds the vectors that start at `sp`.
    ///
    /// # Safety
    /// `sp` must be the stack pointer that the kernel gave to a new process, its vectors unchanged.
    pub unsafe fn at(sp: u64) -> Self {
        // SAFETY: the kernel's layout, see elf(5) and the System V ABI.
        unsafe {
            let argc = memory::read_u64(sp);
            let argv = sp + 8;
            let envp = argv + 8 * (argc + 1);
            let mut envc = 0;
            while memory::read_u64(envp + 8 * envc) != 0 {
                envc += 1;
            }
            InitialStack { argc, argv, envp, envc, auxv: envp + 8 * (envc + 1) }
        }
    }

    /// A copy of the vectors and their strings in a mapping of its own. It is for an instance that will be snapshotted
    /// again, since a snapshot cannot hold the kernel's own stack. `room` bytes, a multiple of the page size, are free
    /// in front of it.
    ///
    /// # Safety
    /// `self` is the initial stack of this process.
    #[cold]
    pub unsafe fn moved(&self, room: u64) -> sys::Result<Self> {
        const ADDRESSES: [u64; 4] = [at::RANDOM, at::EXECFN, at::PLATFORM, at::BASE_PLATFORM];
        let start = self.argv - 8;
        let text_end = |text: &CStr| text.as_ptr() as u64 + text.to_bytes_with_nul().len() as u64;
        let args = (0..self.argc).filter_map(|i| self.arg(i));
        let envs = (0..self.envc).filter_map(|i| self.env(i));
        let strings = args.chain(envs).map(text_end).max().unwrap_or(start);
        // Strings of the auxiliary vector are short; the stack reaches a page behind the last one at most.
        let others = self.aux().filter(|(kind, value)| ADDRESSES.contains(kind) && *value != 0);
        let others = others.map(|(kind, value)| match kind {
            at::RANDOM => value + 16,
            // SAFETY: all others are C strings.
            _ => text_end(unsafe { memory::c_str(value) }),
        });
        let end = others.max().unwrap_or(start).max(strings);
        let len = (end - start).next_multiple_of(snapfn_format::PAGE);
        // SAFETY: the new mapping has room for the whole block, and every address below lies in that.
        unsafe {
            let copy =
                room + sys::mmap(0, room + len, sys::PROT_READ_WRITE, sys::MAP_PRIVATE | sys::MAP_ANONYMOUS, -1, 0)?;
            memory::write_bytes(copy, memory::bytes(start, end - start));
            let moved = InitialStack::at(copy);
            let shift =
                |slot: u64| memory::write_u64(slot, memory::read_u64(slot).wrapping_sub(start).wrapping_add(copy));
            (0..self.argc).for_each(|i| shift(moved.argv + 8 * i));
            (0..self.envc).for_each(|i| shift(moved.envp + 8 * i));
            let pairs = self.aux().enumerate().filter(|(_, (kind, value))| ADDRESSES.contains(kind) && *value != 0);
            pairs.for_each(|(i, _)| shift(moved.auxv + 16 * i as u64 + 8));
            Ok(moved)
        }
    }

    /// Argument `index`.
    pub fn arg(&self, index: u64) -> Option<&'static CStr> {
        // SAFETY: inside the vector; strings of the initial stack live as long as the process.
        (index < self.argc).then(|| unsafe { memory::c_str(memory::read_u64(self.argv + 8 * index)) })
    }

    /// Environment string `index`.
    pub fn env(&self, index: u64) -> Option<&'static CStr> {
        // SAFETY: as in `arg`.
        (index < self.envc).then(|| unsafe { memory::c_str(memory::read_u64(self.envp + 8 * index)) })
    }

    /// The value of environment variable `name`.
    pub fn getenv(&self, name: &[u8]) -> Option<&'static [u8]> {
        (0..self.envc).find_map(|index| self.env(index)?.to_bytes().strip_prefix(name)?.strip_prefix(b"="))
    }

    /// Gives environment variable `name`, which is not for the program, another name: its first letter becomes `_`.
    pub fn hide(&self, name: &[u8]) {
        if let Some(value) = self.getenv(name) {
            // SAFETY: the string begins with the name and `=`; nothing of this process holds on to the name.
            unsafe { memory::write_bytes(value.as_ptr() as u64 - name.len() as u64 - 1, b"_") };
        }
    }

    /// The pairs of the auxiliary vector, without the terminating one.
    pub fn aux(&self) -> impl Iterator<Item = (u64, u64)> + use<> {
        let auxv = self.auxv;
        (0u64..)
            // SAFETY: the vector ends with AT_NULL, where the iterator stops.
            .map(move |i| unsafe { (memory::read_u64(auxv + 16 * i), memory::read_u64(auxv + 16 * i + 8)) })
            .take_while(|(kind, _)| *kind != at::NULL)
    }

    /// The 16 random bytes of this process.
    pub fn random(&self) -> Option<&'static [u8; 16]> {
        let addr = self.aux_value(at::RANDOM).filter(|addr| *addr != 0)?;
        // SAFETY: the kernel put 16 bytes there.
        unsafe { memory::bytes(addr, 16) }.try_into().ok()
    }

    /// The value of type `kind`.
    pub fn aux_value(&self, kind: u64) -> Option<u64> {
        self.aux().find(|(k, _)| *k == kind).map(|(_, value)| value)
    }
}
