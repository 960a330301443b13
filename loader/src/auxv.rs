//! The kernel's initial stack: argc, argv, envp and the auxiliary vector.
#![allow(unsafe_code)] // walks the kernel's vectors

use crate::memory;
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

/// The initial stack of a process, by address.
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
    /// Walks the vectors that start at `sp`.
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

    /// The pairs of the auxiliary vector, without the terminating one.
    pub fn aux(&self) -> impl Iterator<Item = (u64, u64)> + use<> {
        let auxv = self.auxv;
        (0u64..)
            // SAFETY: the vector ends with AT_NULL, where the iterator stops.
            .map(move |i| unsafe { (memory::read_u64(auxv + 16 * i), memory::read_u64(auxv + 16 * i + 8)) })
            .take_while(|(kind, _)| *kind != at::NULL)
    }

    /// The value of type `kind`.
    pub fn aux_value(&self, kind: u64) -> Option<u64> {
        self.aux().find(|(k, _)| *k == kind).map(|(_, value)| value)
    }
}
