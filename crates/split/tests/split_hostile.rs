//! A damaged ELF file gives an error, or a split that rebuilds the damaged file's memory, and never a panic.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod split_common;

use proptest::prelude::*;
use proptest::sample::Index;
use snapfn_format::init::Init;
use snapfn_split::{SplitError, split_elf};
use split_common::{assert_rebuilds, u16_at, u64_at};
use std::fs;
use std::sync::LazyLock;

/// A small program of this machine.
static ELF: LazyLock<Vec<u8>> = LazyLock::new(|| fs::read("/usr/bin/true").unwrap());

fn survives(elf: &[u8]) {
    match split_elf(elf) {
        Ok(split) => assert_rebuilds(elf, &split.code.to_vec(), &split.init),
        Err(SplitError::Check(what)) => panic!("split wrongly: {what}"),
        Err(_) => {}
    }
}

proptest! {
    #[test]
    fn random_bytes(mut bytes: Vec<u8>) {
        survives(&bytes);
        let start = &ELF[..bytes.len().min(64)];
        bytes.splice(..start.len(), start.iter().copied());
        survives(&bytes);
    }

    #[test]
    fn cut_off(len: Index) {
        survives(&ELF[..len.index(ELF.len())]);
    }

    /// Edits of the fields of the ELF header and the program headers.
    #[test]
    fn edited_headers(edits in prop::collection::vec((any::<Index>(), any::<u8>()), 1..6)) {
        let mut elf = ELF.clone();
        let end = u64_at(&elf, 32) as usize + usize::from(u16_at(&elf, 56)) * 56;
        for (at, value) in edits {
            elf[at.index(end)] = value;
        }
        survives(&elf);
    }

    /// Whole fields of program headers, with values that overflow when added.
    #[test]
    fn edited_fields(edits in prop::collection::vec(
        (any::<Index>(), 0usize..7, prop_oneof![any::<u64>(), Just(u64::MAX), 0..0x2_0000u64, Just(!0xfff)]), 1..4,
    )) {
        let mut elf = ELF.clone();
        let (start, count) = (u64_at(&elf, 32) as usize, usize::from(u16_at(&elf, 56)));
        for (header, field, value) in edits {
            let at = start + header.index(count) * 56 + field * 8;
            elf[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        survives(&elf);
    }

    /// Edits of the section headers and symbol tables, from which `main` is found.
    #[test]
    fn edited_sections(edits in prop::collection::vec((any::<Index>(), any::<u8>()), 1..6)) {
        let mut elf = ELF.clone();
        let start = u64_at(&elf, 40) as usize;
        let len = elf.len() - start;
        for (at, value) in edits {
            elf[start + at.index(len)] = value;
        }
        survives(&elf);
    }

    /// What a splitter wrote, damaged.
    #[test]
    fn damaged_init(at: Index, value in 1..=255u8) {
        let mut init = split_elf(&ELF).unwrap().init;
        let at = at.index(init.len());
        init[at] ^= value;
        prop_assert!(Init::parse(&init).is_err());
    }
}
