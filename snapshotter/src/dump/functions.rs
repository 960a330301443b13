//! Whether functions check a canary, by their code.
//!
//! A function that this module does not understand counts as one that checks a canary: a copy in its frame is then
//! renewed.

use crate::tracee::maps::Vma;
use crate::tracee::{Tracer, unwind};

/// How a function uses the canary at `fs:0x28`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Accesses {
    loads: usize,
    compares: usize,
}

impl Accesses {
    /// Counts instructions with that absolute address: mov; sub, xor or cmp.
    fn count(code: &[u8]) -> Self {
        let mut found = Accesses::default();
        for bytes in code.windows(9) {
            let [0x64, rex, opcode, modrm, 0x25, 0x28, 0, 0, 0] = bytes else { continue };
            if rex & 0xf8 == 0x48 && modrm & 0xc7 == 4 {
                found.loads += usize::from(*opcode == 0x8b);
                found.compares += usize::from(matches!(opcode, 0x2b | 0x33 | 0x3b));
            }
        }
        found
    }

    /// GCC compares with memory, clang loads it once more to compare. A function that never compares needs no copy.
    fn checks(self) -> bool {
        self.compares > 0 || self.loads > 1
    }
}

/// Whether there is an instruction that reads the canary in `code`.
pub(super) fn reads_canary(code: &[u8]) -> bool {
    Accesses::count(code) != Accesses::default()
}

/// Whether the function at `pc` compares a copy of the canary; true where this is unknown.
pub(super) fn may_check(tracer: &Tracer, vmas: &[Vma], pc: u64) -> bool {
    let checks = || {
        let code = unwind::whole_function(&tracer.memory, vmas, pc).ok().flatten()?;
        let bytes = tracer.memory.read_vec(code.start, code.end - code.start).ok()?;
        Some(Accesses::count(&bytes).checks())
    };
    checks().unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_checks_the_canary() {
        let load = [0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0];
        let compare = [0x64, 0x48, 0x2b, 0x04, 0x25, 0x28, 0, 0, 0];
        let checks = |code: &[u8]| Accesses::count(code).checks();
        assert!(checks(&[&load[..], &[0x90; 5], &compare].concat()));
        assert!(checks(&[&load[..], &load].concat()));
        // One that only reads it, and one that does not touch it.
        assert!(!checks(&load) && reads_canary(&load));
        assert!(!checks(&[0x90; 40]) && !reads_canary(&[0x90; 40]) && !reads_canary(&load[1..]));
    }
}
