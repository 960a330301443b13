//! Instructions of x86-64 by their bytes: calls, and uses of the stack canary.

/// The longest call instruction in bytes.
pub(crate) const CALL_MAX: usize = 7;

/// Whether the instruction that ends with these bytes can be a call.
pub(crate) fn ends_with_call(code: &[u8; CALL_MAX]) -> bool {
    // `call rel32`; else FF /2: through a register, or through memory without, with an 8-bit or with a 32-bit
    // displacement.
    let through = |len: usize, mode: u8, sib: bool| {
        let [opcode, modrm] = [code[7 - len], code[8 - len]];
        let fits = modrm >> 6 == mode && modrm >> 3 & 7 == 2;
        opcode == 0xff && fits && (mode == 3 || (modrm & 7 == 4) == sib)
    };
    let absolute = code[0] == 0xff && code[1] == 0x14 && code[2] == 0x25;
    let relative = code[1] == 0xff && code[2] == 0x15;
    code[2] == 0xe8
        || through(2, 3, false)
        || through(2, 0, false)
        || through(3, 0, true)
        || through(3, 1, false)
        || through(4, 1, true)
        || through(6, 2, false)
        || through(7, 2, true)
        || relative
        || absolute
}

/// How a function uses the canary at `fs:0x28`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CanaryUses {
    loads: usize,
    compares: usize,
}

impl CanaryUses {
    /// Counts instructions with that absolute address: mov; sub, xor or cmp.
    pub(crate) fn count(code: &[u8]) -> Self {
        let mut found = Self::default();
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
    pub(crate) fn checks(self) -> bool {
        self.compares > 0 || self.loads > 1
    }

    /// Whether there is an instruction that reads the canary.
    pub(crate) fn reads(self) -> bool {
        self != Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls() {
        let ends = |code: &[u8]| {
            let mut bytes = [0x90; 7];
            bytes[7 - code.len()..].copy_from_slice(code);
            ends_with_call(&bytes)
        };
        assert!(ends(&[0xe8, 1, 2, 3, 4]));
        assert!(ends(&[0xff, 0xd0]) && ends(&[0x41, 0xff, 0xd4]));
        assert!(ends(&[0xff, 0x15, 1, 2, 3, 4]));
        assert!(ends(&[0xff, 0x10]) && ends(&[0xff, 0x50, 8]) && ends(&[0xff, 0x54, 0x24, 8]));
        assert!(ends(&[0xff, 0x92, 0, 1, 0, 0]) && ends(&[0xff, 0x14, 0xc1]) && ends(&[0xff, 0x94, 0xc1, 0, 1, 0, 0]));
        assert!(!ends(&[0x90; 7]) && !ends(&[0xc3]) && !ends(&[0xff, 0xe0]));
    }

    #[test]
    fn who_checks_the_canary() {
        let load = [0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0];
        let compare = [0x64, 0x48, 0x2b, 0x04, 0x25, 0x28, 0, 0, 0];
        let checks = |code: &[u8]| CanaryUses::count(code).checks();
        assert!(checks(&[&load[..], &[0x90; 5], &compare].concat()));
        assert!(checks(&[&load[..], &load].concat()));
        // One that only reads it, and one that does not touch it.
        assert!(!checks(&load) && CanaryUses::count(&load).reads());
        assert!(
            !checks(&[0x90; 40]) && !CanaryUses::count(&[0x90; 40]).reads() && !CanaryUses::count(&load[1..]).reads()
        );
    }
}
