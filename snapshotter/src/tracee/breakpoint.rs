//! Software breakpoints.

use super::memory::Memory;
use snapfn_format::arch::BREAKPOINT;
use std::io;

/// An `int3` in the program's code. The page becomes a private copy. Since the dump compares contents, a removed
/// breakpoint leaves no trace in the snapshot.
#[derive(Debug)]
pub(crate) struct Breakpoint {
    pub(crate) addr: u64,
    original: u8,
}

impl Breakpoint {
    pub(crate) fn insert(memory: &Memory, addr: u64) -> io::Result<Self> {
        let mut original = [0];
        memory.read(addr, &mut original)?;
        memory.write(addr, &BREAKPOINT)?;
        Ok(Breakpoint { addr, original: original[0] })
    }

    pub(crate) fn remove(&self, memory: &Memory) -> io::Result<()> {
        memory.write(self.addr, &[self.original])
    }
}
