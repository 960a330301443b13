//! Finding functions in the host's vDSO, and filling the slots of the synthetic one.
#![allow(unsafe_code)] // reads the vDSO image, writes the slot page

use crate::memory::{read_u32, read_u64, write_u64};
use snapfn_format::snap::resident::{ENTRIES, ENTRY_SIZE, FALLBACKS, FUNCTIONS, SLOTS};

const PT_DYNAMIC: u32 = 2;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;

/// Symbol table of a vDSO image.
struct Symbols {
    base: u64,
    symtab: u64,
    strtab: u64,
    count: u64,
}

/// # Safety
/// `base` must be 0 or the address of a vDSO that the kernel mapped.
unsafe fn symbols(base: u64) -> Option<Symbols> {
    if base == 0 {
        return None;
    }
    // SAFETY: the kernel's own well-formed ELF image, linked at 0.
    unsafe {
        let phoff = read_u64(base + 32);
        let phnum = read_u64(base + 56) & 0xffff;
        let dynamic = (0..phnum).map(|i| base + phoff + 56 * i).find(|ph| read_u32(*ph) == PT_DYNAMIC)?;
        let mut entry = base + read_u64(dynamic + 16);
        let (mut symtab, mut strtab, mut hash) = (0, 0, 0);
        loop {
            match (read_u64(entry), read_u64(entry + 8)) {
                (0, _) => break,
                (DT_HASH, value) => hash = base + value,
                (DT_STRTAB, value) => strtab = base + value,
                (DT_SYMTAB, value) => symtab = base + value,
                _ => {}
            }
            entry += 16;
        }
        if symtab == 0 || strtab == 0 {
            return None;
        }
        // Without DT_HASH (a kernel may link with --hash-style=gnu) the string table follows the symbols.
        let count = match hash {
            0 => strtab.checked_sub(symtab)? / 24,
            hash => u64::from(read_u32(hash + 4)),
        };
        Some(Symbols { base, symtab, strtab, count })
    }
}

/// # Safety
/// `addr` must be a C string.
unsafe fn equals(addr: u64, name: &str) -> bool {
    // SAFETY: compares up to the first difference, at most to the terminating zero.
    unsafe {
        let byte = |i: usize| *((addr + i as u64) as *const u8);
        name.bytes().enumerate().all(|(i, b)| byte(i) == b) && byte(name.len()) == 0
    }
}

/// Fills the slot page of the resident region at `resident` from the vDSO at `host` (0: none), with the plain
/// system call where the host has no such function.
///
/// # Safety
/// The slot page must be writable; `host` as the kernel's AT_SYSINFO_EHDR.
pub unsafe fn fill_slots(resident: u64, host: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        for i in 0..FUNCTIONS.len() as u64 {
            write_u64(resident + SLOTS + 8 * i, resident + FALLBACKS + ENTRY_SIZE * i);
        }
        let Some(symbols) = symbols(host) else { return };
        for index in 1..symbols.count {
            let symbol = symbols.symtab + 24 * index;
            let name = symbols.strtab + u64::from(read_u32(symbol));
            let value = read_u64(symbol + 8);
            for (i, (function, _)) in FUNCTIONS.iter().enumerate() {
                if value != 0 && equals(name, function) {
                    write_u64(resident + SLOTS + 8 * i as u64, symbols.base + value);
                }
            }
        }
    }
}

const _: () = assert!(ENTRIES + ENTRY_SIZE * FUNCTIONS.len() as u64 <= FALLBACKS);
