//! The synthetic vDSO: one page, the same for every snapshot, in place of the kernel's.
//!
//! glibc and musl need these properties, each found by trials: ET_DYN; one PT_LOAD R-X with offset 0 = vaddr 0;
//! PT_DYNAMIC flagged R only (with W, glibc writes to it and crashes); DT_HASH and DT_GNU_HASH (musl knows only the
//! first); SYMTAB, STRTAB, SONAME; version definition LINUX_2.6; no relocations; .eh_frame for unwinders.
//!
//! ```text
//!  0x000 ELF header   0x040 program headers   0x200 .dynsym   0x300 .dynstr   0x400 .hash   0x440 .gnu.hash
//!  0x480 .gnu.version  0x4a0 .gnu.version_d   0x500 .dynamic  0x600 .eh_frame 0x680 .eh_frame_hdr
//!  0xc00 code: stubs, functions, fallbacks (resident::CODE)
//! ```

use crate::arch::vdso as arch;
use goblin::elf::dynamic::{
    DT_GNU_HASH, DT_HASH, DT_NULL, DT_SONAME, DT_STRSZ, DT_STRTAB, DT_SYMENT, DT_SYMTAB, DT_VERDEF, DT_VERDEFNUM,
    DT_VERSYM,
};
use goblin::elf::header::ET_DYN;
use goblin::elf::program_header::{PF_R, PF_W, PF_X, PT_DYNAMIC, PT_GNU_EH_FRAME, PT_GNU_STACK, PT_LOAD};
use snapfn_format::PAGE;
use snapfn_format::arch::{BREAKPOINT, MACHINE};
use snapfn_format::snap::resident::{CODE, ENTRIES, ENTRY_SIZE, FUNCTIONS};

const DYNSYM: u64 = 0x200;
const DYNSTR: u64 = 0x300;
const HASH: u64 = 0x400;
const GNU_HASH: u64 = 0x440;
const VERSYM: u64 = 0x480;
const VERDEF: u64 = 0x4a0;
const DYNAMIC: u64 = 0x500;
const EH_FRAME: u64 = 0x600;
const EH_FRAME_HDR: u64 = 0x680;
/// Bytes that are zero, between the tables and the code: for what instances need to find at a known place.
pub(crate) const FREE: std::ops::Range<u64> = 0x700..CODE;
const SONAME: &str = "linux-vdso.so.1";
const VERSION_NAME: &str = "LINUX_2.6";

/// A page that is filled at fixed offsets.
struct Page(Vec<u8>);

impl Page {
    fn put(&mut self, offset: u64, bytes: &[u8]) {
        let start = offset as usize;
        self.0[start..start + bytes.len()].copy_from_slice(bytes);
    }

    fn u16s(&mut self, offset: u64, values: &[u16]) {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.put(offset, &bytes);
    }

    fn u32s(&mut self, offset: u64, values: &[u32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.put(offset, &bytes);
    }

    fn u64s(&mut self, offset: u64, values: &[u64]) {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.put(offset, &bytes);
    }
}

/// The classic ELF hash, also used by version definitions.
fn elf_hash(name: &str) -> u32 {
    name.bytes().fold(0u32, |hash, byte| {
        let hash = (hash << 4).wrapping_add(u32::from(byte));
        let high = hash & 0xf000_0000;
        (hash ^ (high >> 24)) & !high
    })
}

fn gnu_hash(name: &str) -> u32 {
    name.bytes().fold(5381u32, |hash, byte| hash.wrapping_mul(33).wrapping_add(u32::from(byte)))
}

/// The 4096 bytes of the vDSO.
pub(crate) fn page() -> Vec<u8> {
    let mut page = Page(vec![0; PAGE as usize]);
    headers(&mut page);
    tables(&mut page);
    page.put(CODE, &vec![BREAKPOINT[0]; (PAGE - CODE) as usize]);
    arch::code(&mut |offset, bytes| page.put(offset, bytes));
    page.0
}

fn headers(page: &mut Page) {
    page.put(0, b"\x7fELF\x02\x01\x01");
    page.u16s(16, &[ET_DYN, MACHINE]);
    page.u32s(20, &[1]);
    page.u64s(24, &[ENTRIES, 64, 0]); // e_entry is not used; program headers at 64; no sections
    page.u32s(48, &[0]);
    page.u16s(52, &[64, 56, 4, 64, 0, 0]);
    let mut phdr = |index: u64, kind: u32, flags: u32, offset: u64, size: u64, align: u64| {
        let at = 64 + 56 * index;
        page.u32s(at, &[kind, flags]);
        page.u64s(at + 8, &[offset, offset, offset, size, size, align]);
    };
    phdr(0, PT_LOAD, PF_R | PF_X, 0, PAGE, PAGE);
    phdr(1, PT_DYNAMIC, PF_R, DYNAMIC, 16 * 11, 8);
    phdr(2, PT_GNU_EH_FRAME, PF_R, EH_FRAME_HDR, 12, 4);
    phdr(3, PT_GNU_STACK, PF_R | PF_W, 0, 0, 16);
}

fn tables(page: &mut Page) {
    // .dynstr
    let mut strings = vec![0u8];
    let mut intern = |text: &str| {
        let offset = strings.len() as u32;
        strings.extend_from_slice(text.as_bytes());
        strings.push(0);
        offset
    };
    let names: Vec<u32> = FUNCTIONS.iter().map(|(name, _)| intern(name)).collect();
    let (soname, version) = (intern(SONAME), intern(VERSION_NAME));
    page.put(DYNSTR, &strings);

    // .dynsym: the null symbol, then the functions (STB_GLOBAL, STT_FUNC), section index 1 = defined.
    for (i, name) in names.iter().enumerate() {
        let at = DYNSYM + 24 * (i as u64 + 1);
        page.u32s(at, &[*name]);
        page.put(at + 4, &[0x12, 0]);
        page.u16s(at + 6, &[1]);
        page.u64s(at + 8, &[ENTRIES + ENTRY_SIZE * i as u64, ENTRY_SIZE]);
    }
    let count = names.len() as u32 + 1;

    // .hash: one bucket, whose chain goes through all symbols.
    let mut hash = vec![1, count, 1, 0];
    hash.extend((1..count).map(|i| if i + 1 < count { i + 1 } else { 0 }));
    page.u32s(HASH, &hash);

    // .gnu.hash: one bucket, a Bloom filter that lets everything pass.
    page.u32s(GNU_HASH, &[1, 1, 1, 0]);
    page.u64s(GNU_HASH + 16, &[u64::MAX]);
    let chain: Vec<u32> = FUNCTIONS
        .iter()
        .enumerate()
        .map(|(i, (name, _))| (gnu_hash(name) & !1) | u32::from(i + 1 == FUNCTIONS.len()))
        .collect();
    page.u32s(GNU_HASH + 24, &[1]);
    page.u32s(GNU_HASH + 28, &chain);

    // Versions: 1 is the file itself (SONAME), 2 is LINUX_2.6, which all functions have.
    let mut versions = vec![0u16];
    versions.extend(names.iter().map(|_| 2));
    page.u16s(VERSYM, &versions);
    let mut verdef = |at: u64, flags: u16, index: u16, name: &str, string: u32, next: u32| {
        page.u16s(at, &[1, flags, index, 1]);
        page.u32s(at + 8, &[elf_hash(name), 20, next, string, 0]);
    };
    verdef(VERDEF, 1, 1, SONAME, soname, 28);
    verdef(VERDEF + 28, 0, 2, VERSION_NAME, version, 0);

    let dynamic = [
        (DT_SONAME, u64::from(soname)),
        (DT_HASH, HASH),
        (DT_GNU_HASH, GNU_HASH),
        (DT_STRTAB, DYNSTR),
        (DT_SYMTAB, DYNSYM),
        (DT_STRSZ, strings.len() as u64),
        (DT_SYMENT, 24),
        (DT_VERDEF, VERDEF),
        (DT_VERDEFNUM, 2),
        (DT_VERSYM, VERSYM),
        (DT_NULL, 0),
    ];
    for (i, (tag, value)) in dynamic.iter().enumerate() {
        page.u64s(DYNAMIC + 16 * i as u64, &[*tag, *value]);
    }

    page.put(EH_FRAME, &arch::unwind_records(EH_FRAME));
    // .eh_frame_hdr without a search table: version 1, eh_frame pointer pc-relative sdata4, no count.
    page.put(EH_FRAME_HDR, &[1, 0x1b, 0xff, 0xff]);
    page.u32s(EH_FRAME_HDR + 4, &[(EH_FRAME as i64 - (EH_FRAME_HDR as i64 + 4)) as u32, 0]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use goblin::elf::Elf;

    #[test]
    fn parses_as_a_library_with_versions() {
        let page = page();
        let elf = Elf::parse(&page).unwrap();
        assert_eq!(elf.soname, Some(SONAME));
        assert_eq!(elf.dynsyms.len(), FUNCTIONS.len() + 1);
        for (i, (name, _)) in FUNCTIONS.iter().enumerate() {
            let symbol = elf.dynsyms.get(i + 1).unwrap();
            assert_eq!(elf.dynstrtab.get_at(symbol.st_name), Some(*name));
            assert!(symbol.is_function() && symbol.st_value >= CODE);
        }
        // The second version definition's vd_hash; goblin finds them by sections, of which there are none.
        let hash = (VERDEF + 28 + 8) as usize;
        assert_eq!(page[hash..hash + 4], 0x03ae_75f6_u32.to_le_bytes()); // the published hash of LINUX_2.6
    }
}
