//! CPU features by number, as the host requirements of a snapshot name them.
//!
//! The list has what run-time dispatchers check before they select code: those of the C libraries, OpenSSL, NumPy,
//! compression and video libraries. No number is ever given to another feature.

/// The register in which `CPUID` reports a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// eax.
    Eax,
    /// ebx.
    Ebx,
    /// ecx.
    Ecx,
    /// edx.
    Edx,
}
use Register::{Eax, Ebx, Ecx, Edx};

/// A feature of the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its number in a [`FeatureSet`].
    pub number: u8,
    /// Its usual name.
    pub name: &'static str,
    /// Leaf and subleaf of `CPUID`.
    pub leaf: (u32, u32),
    /// Register of that leaf.
    pub register: Register,
    /// Bit in the register.
    pub bit: u8,
    /// Register state (XCR0) without which the feature cannot be used.
    pub state: u64,
}

const fn feature(number: u8, name: &'static str, leaf: (u32, u32), register: Register, bit: u8, state: u64) -> Feature {
    Feature { number, name, leaf, register, bit, state }
}

/// Features from this number on only make something faster: code that selected them runs without them as well.
pub const FIRST_HINT: u8 = 120;

const L1: (u32, u32) = (1, 0);
const L7: (u32, u32) = (7, 0);
const L7_1: (u32, u32) = (7, 1);
const XSTATE: (u32, u32) = (0xd, 1);
const EXTENDED: (u32, u32) = (0x8000_0001, 0);
/// Bits of XCR0: SSE and AVX, and the three components of AVX-512.
const AVX: u64 = 6;
const AVX512: u64 = 0xe6;

/// All features that have a number.
pub const FEATURES: &[Feature] = &[
    feature(0, "SSE3", L1, Ecx, 0, 0),
    feature(1, "SSSE3", L1, Ecx, 9, 0),
    feature(2, "SSE4.1", L1, Ecx, 19, 0),
    feature(3, "SSE4.2", L1, Ecx, 20, 0),
    feature(4, "POPCNT", L1, Ecx, 23, 0),
    feature(5, "CMPXCHG16B", L1, Ecx, 13, 0),
    feature(6, "LAHF", EXTENDED, Ecx, 0, 0),
    feature(7, "MOVBE", L1, Ecx, 22, 0),
    feature(8, "PCLMULQDQ", L1, Ecx, 1, 0),
    feature(9, "AES", L1, Ecx, 25, 0),
    feature(10, "XSAVE", L1, Ecx, 27, 0),
    feature(11, "AVX", L1, Ecx, 28, AVX),
    feature(12, "F16C", L1, Ecx, 29, AVX),
    feature(13, "RDRAND", L1, Ecx, 30, 0),
    feature(14, "FMA", L1, Ecx, 12, AVX),
    feature(15, "BMI1", L7, Ebx, 3, AVX),
    feature(16, "AVX2", L7, Ebx, 5, AVX),
    feature(17, "BMI2", L7, Ebx, 8, AVX),
    feature(18, "LZCNT", EXTENDED, Ecx, 5, 0),
    feature(19, "RDSEED", L7, Ebx, 18, 0),
    feature(20, "ADX", L7, Ebx, 19, 0),
    feature(21, "SHA", L7, Ebx, 29, 0),
    feature(22, "RTM", L7, Ebx, 11, 0),
    feature(23, "VAES", L7, Ecx, 9, AVX),
    feature(24, "VPCLMULQDQ", L7, Ecx, 10, AVX),
    feature(25, "GFNI", L7, Ecx, 8, 0),
    feature(26, "XSAVEC", XSTATE, Eax, 1, 0),
    feature(27, "FMA4", EXTENDED, Ecx, 16, AVX),
    feature(28, "XOP", EXTENDED, Ecx, 11, AVX),
    feature(29, "AVX-VNNI", L7_1, Eax, 4, AVX),
    feature(30, "AVX-IFMA", L7_1, Eax, 23, AVX),
    feature(40, "AVX512F", L7, Ebx, 16, AVX512),
    feature(41, "AVX512DQ", L7, Ebx, 17, AVX512),
    feature(42, "AVX512IFMA", L7, Ebx, 21, AVX512),
    feature(43, "AVX512CD", L7, Ebx, 28, AVX512),
    feature(44, "AVX512BW", L7, Ebx, 30, AVX512),
    feature(45, "AVX512VL", L7, Ebx, 31, AVX512),
    feature(46, "AVX512VBMI", L7, Ecx, 1, AVX512),
    feature(47, "AVX512VBMI2", L7, Ecx, 6, AVX512),
    feature(48, "AVX512VNNI", L7, Ecx, 11, AVX512),
    feature(49, "AVX512BITALG", L7, Ecx, 12, AVX512),
    feature(50, "AVX512VPOPCNTDQ", L7, Ecx, 14, AVX512),
    feature(51, "AVX512FP16", L7, Edx, 23, AVX512),
    feature(52, "AVX512BF16", L7_1, Eax, 5, AVX512),
    feature(120, "ERMS", L7, Ebx, 9, 0),
    feature(121, "FSRM", L7, Edx, 4, 0),
    feature(122, "PREFETCHW", EXTENDED, Ecx, 8, 0),
];

/// Features by number: bit n of word n / 64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeatureSet(pub [u64; 2]);

impl FeatureSet {
    /// The features of x86-64-v2, -v3 and -v4, each with those of the one before.
    pub const V2: FeatureSet = FeatureSet([0x7f, 0]);
    /// See [`Self::V2`].
    pub const V3: FeatureSet =
        FeatureSet([0x7f | 1 << 7 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 14 | 0b111 << 15 | 1 << 18, 0]);
    /// See [`Self::V2`].
    pub const V4: FeatureSet = FeatureSet([Self::V3.0[0] | 0b11 << 40 | 0b111 << 43, 0]);

    /// The set of an x86-64 level; `None` for a number that is no level. Level 1 needs no feature of the list.
    pub const fn level(level: u32) -> Option<FeatureSet> {
        match level {
            1 => Some(FeatureSet([0, 0])),
            2 => Some(Self::V2),
            3 => Some(Self::V3),
            4 => Some(Self::V4),
            _ => None,
        }
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0[0] == 0 && self.0[1] == 0
    }

    /// Adds feature `number`; numbers above 127 are ignored.
    pub fn insert(&mut self, number: u8) {
        if let Some(word) = self.0.get_mut(usize::from(number / 64)) {
            *word |= 1 << (number % 64);
        }
    }

    /// Whether the set has feature `number`.
    pub fn contains(self, number: u8) -> bool {
        self.0.get(usize::from(number / 64)).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// The features that both sets have.
    pub const fn and(self, other: FeatureSet) -> FeatureSet {
        FeatureSet([self.0[0] & other.0[0], self.0[1] & other.0[1]])
    }

    /// The features that either set has.
    pub const fn or(self, other: FeatureSet) -> FeatureSet {
        FeatureSet([self.0[0] | other.0[0], self.0[1] | other.0[1]])
    }

    /// The features that only `self` has.
    pub const fn without(self, other: FeatureSet) -> FeatureSet {
        FeatureSet([self.0[0] & !other.0[0], self.0[1] & !other.0[1]])
    }

    /// The set without features that only make something faster.
    pub const fn without_hints(self) -> FeatureSet {
        FeatureSet([self.0[0], self.0[1] & ((1 << (FIRST_HINT - 64)) - 1)])
    }

    /// The numbers of its features, in ascending order.
    pub fn numbers(self) -> impl Iterator<Item = u8> {
        (0..128u8).filter(move |number| self.contains(*number))
    }
}

/// The name of feature `number`; `None` if this version does not know the feature.
pub fn name(number: u8) -> Option<&'static str> {
    FEATURES.iter().find(|feature| feature.number == number).map(|feature| feature.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> FeatureSet {
        let mut set = FeatureSet::default();
        for name in names {
            let feature = FEATURES.iter().find(|feature| feature.name == *name);
            set.insert(feature.unwrap_or_else(|| panic!("{name}")).number);
        }
        set
    }

    /// The x86-64 psABI, table "Micro-Architecture Levels" (CMPXCHG16B … AVX512VL; OSXSAVE is XSAVE here).
    #[test]
    fn levels_are_those_of_the_psabi() {
        let v2 = ["CMPXCHG16B", "LAHF", "POPCNT", "SSE3", "SSE4.1", "SSE4.2", "SSSE3"];
        let v3 = ["AVX", "AVX2", "BMI1", "BMI2", "F16C", "FMA", "LZCNT", "MOVBE", "XSAVE"];
        let v4 = ["AVX512F", "AVX512BW", "AVX512CD", "AVX512DQ", "AVX512VL"];
        assert_eq!(FeatureSet::level(1), Some(FeatureSet::default()));
        assert_eq!(FeatureSet::level(2), Some(set(&v2)));
        assert_eq!(FeatureSet::level(3), Some(set(&v2).or(set(&v3))));
        assert_eq!(FeatureSet::level(4), Some(set(&v2).or(set(&v3)).or(set(&v4))));
        assert_eq!(FeatureSet::level(5), None);
    }

    #[test]
    fn numbers_ascend_and_sets_keep_them() {
        assert!(FEATURES.windows(2).all(|pair| pair[0].number < pair[1].number));
        let mut all = FeatureSet::default();
        FEATURES.iter().for_each(|feature| all.insert(feature.number));
        assert!(all.numbers().eq(FEATURES.iter().map(|feature| feature.number)));
        let hints = all.without(all.without_hints());
        assert!(hints.numbers().eq(120..=122));
        all.insert(200);
        assert!(!all.contains(200));
    }
}
