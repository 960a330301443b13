//! Looks functions up in a vDSO image: an ELF shared object in memory that the kernel made.
//!
//! The kernel is trusted, but its image differs from kernel to kernel: it may lack `DT_HASH` (some distributions link
//! with `--hash-style=gnu`) or some functions, or may be missing (`vdso=0`). If this code cannot understand the image,
//! it treats a function as absent, and a plain system call takes its place.

use core::mem::size_of;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_GNU_HASH: u64 = 0x6fff_fef5;
const PHDR: u64 = 56;
const SYM: u64 = 24;
/// The longest image, in bytes. Those of kernels have two to four pages.
const IMAGE_MAX: u64 = 1 << 20;

fn array<const N: usize>(image: &[u8], at: u64) -> Option<[u8; N]> {
    let at = usize::try_from(at).ok()?;
    image.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u16_at(image: &[u8], at: u64) -> Option<u16> {
    array::<{ size_of::<u16>() }>(image, at).map(u16::from_le_bytes)
}

fn u32_at(image: &[u8], at: u64) -> Option<u32> {
    array::<{ size_of::<u32>() }>(image, at).map(u32::from_le_bytes)
}

fn u64_at(image: &[u8], at: u64) -> Option<u64> {
    array::<{ size_of::<u64>() }>(image, at).map(u64::from_le_bytes)
}

/// Offsets of the program headers of that type. They must lie in `head`.
fn headers(head: &[u8], kind: u32) -> impl Iterator<Item = u64> {
    let start = u64_at(head, 32).unwrap_or(0);
    let count = u64::from(u16_at(head, 56).unwrap_or(0));
    let is_elf = head.get(..6) == Some(b"\x7fELF\x02\x01");
    (0..if is_elf { count } else { 0 })
        .filter_map(move |i| start.checked_add(PHDR * i))
        .filter(move |at| u32_at(head, *at) == Some(kind))
}

/// Length of the image in memory in bytes, by its first page.
pub fn image_len(head: &[u8]) -> Option<u64> {
    let end = |at| u64_at(head, at + 16)?.checked_add(u64_at(head, at + 40)?);
    headers(head, PT_LOAD).filter_map(end).max().filter(|len| (PHDR..=IMAGE_MAX).contains(len))
}

/// Where the symbols are.
#[derive(Clone, Copy)]
struct Tables {
    symtab: u64,
    strtab: u64,
    count: u64,
}

fn tables(image: &[u8]) -> Option<Tables> {
    let header = headers(image, PT_DYNAMIC).next()?;
    let mut entry = u64_at(image, header + 16)?;
    let (mut symtab, mut strtab, mut hash, mut gnu_hash) = (0, 0, 0, 0);
    loop {
        let value = u64_at(image, entry.checked_add(8)?)?;
        match u64_at(image, entry)? {
            0 => break,
            DT_HASH => hash = value,
            DT_GNU_HASH => gnu_hash = value,
            DT_STRTAB => strtab = value,
            DT_SYMTAB => symtab = value,
            _ => {}
        }
        entry = entry.checked_add(16)?;
    }
    if symtab == 0 || strtab == 0 {
        return None;
    }
    let count = match (hash, gnu_hash) {
        (0, 0) => strtab.checked_sub(symtab)? / SYM,
        (0, table) => gnu_count(image, table)?,
        (table, _) => u64::from(u32_at(image, table.checked_add(4)?)?),
    };
    Some(Tables { symtab, strtab, count })
}

/// Number of symbols by `DT_GNU_HASH`: the end of the chain that begins last.
fn gnu_count(image: &[u8], table: u64) -> Option<u64> {
    let word = |index: u64| u32_at(image, table.checked_add(index.checked_mul(4)?)?);
    let (buckets, first, bloom) = (u64::from(word(0)?), u64::from(word(1)?), u64::from(word(2)?));
    let chains = 4 + 2 * bloom + buckets;
    let mut last = 0;
    for bucket in 0..buckets {
        last = last.max(u64::from(word(4 + 2 * bloom + bucket)?));
    }
    if last < first {
        return Some(first);
    }
    while word(chains + last - first)? & 1 == 0 {
        last += 1;
    }
    Some(last + 1)
}

/// Whether the zero-terminated string at `at` is `name`.
fn is_name(image: &[u8], at: u64, name: &str) -> bool {
    let text = usize::try_from(at).ok().and_then(|at| image.get(at..));
    text.and_then(|text| text.strip_prefix(name.as_bytes())).is_some_and(|rest| rest.first() == Some(&0))
}

/// Calls `found` with the index in `names` and the offset in the image of each function that is there.
pub fn functions<'a>(image: &[u8], names: impl Iterator<Item = &'a str> + Clone, mut found: impl FnMut(usize, u64)) {
    let Some(Tables { symtab, strtab, count }) = tables(image) else { return };
    for index in 1..count {
        let symbol = SYM.checked_mul(index).and_then(|offset| symtab.checked_add(offset));
        let Some((name, value)) = symbol.and_then(|at| {
            // Undefined symbols have section 0.
            let defined = u16_at(image, at.checked_add(6)?)? != 0;
            Some((u64::from(u32_at(image, at)?), u64_at(image, at.checked_add(8)?)?)).filter(|_| defined)
        }) else {
            // Past the image's end there are no symbols; behind an undefined symbol there may be others.
            if symbol.is_none_or(|at| at >= image.len() as u64) {
                return;
            }
            continue;
        };
        if value == 0 || value >= image.len() as u64 {
            continue;
        }
        let Some(name) = strtab.checked_add(name) else { continue };
        if let Some(which) = names.clone().position(|wanted| is_name(image, name, wanted)) {
            found(which, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snap::resident::FUNCTIONS;

    /// What an image is made of.
    #[derive(Clone, Copy)]
    struct Made<'a> {
        names: &'a [&'a str],
        sysv: bool,
        gnu: bool,
        /// The string table lies before the symbol table: then only a hash table has the number of symbols.
        strings_first: bool,
    }

    /// A vDSO of the kind that a kernel has: headers, dynamic section, symbols, hash tables; function i at 0x800 + 16
    /// i.
    fn image(made: Made<'_>) -> Vec<u8> {
        let mut strings = vec![0u8];
        let mut symbols = vec![0u8; 24];
        for (index, name) in made.names.iter().enumerate() {
            let at = strings.len() as u32;
            strings.extend(name.bytes().chain([0]));
            symbols.extend(at.to_le_bytes());
            symbols.extend([0x12, 0]);
            symbols.extend(7u16.to_le_bytes());
            symbols.extend((0x800 + 16 * index as u64).to_le_bytes());
            symbols.extend(10u64.to_le_bytes());
        }
        let count = made.names.len() as u32 + 1;
        let mut sysv: Vec<u8> = [1, count, 1].iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
        sysv.extend((0..count).map(|i| (i + 1) % count).flat_map(u32::to_le_bytes));
        // One bucket, one bloom word, a chain that ends with the last symbol.
        let mut gnu: Vec<u8> = [1, 1, 1, 6].iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
        gnu.extend(u64::MAX.to_le_bytes());
        gnu.extend(1u32.to_le_bytes());
        gnu.extend((1..count).map(|i| if i + 1 == count { 1u32 } else { 2 }).flat_map(u32::to_le_bytes));
        let mut out = vec![0u8; 0x200];
        let mut place = |bytes: &[u8]| {
            let at = out.len().next_multiple_of(8);
            out.resize(at, 0);
            out.extend(bytes);
            at as u64
        };
        let (symtab, strtab) = match made.strings_first {
            true => {
                let strtab = place(&strings);
                (place(&symbols), strtab)
            }
            false => (place(&symbols), place(&strings)),
        };
        let (sysv, gnu) = (place(&sysv), place(&gnu));
        let mut dynamic: Vec<u64> = vec![DT_STRTAB, strtab, DT_SYMTAB, symtab];
        if made.sysv {
            dynamic.extend([DT_HASH, sysv]);
        }
        if made.gnu {
            dynamic.extend([DT_GNU_HASH, gnu]);
        }
        dynamic.extend([0, 0]);
        let dynamic = place(&dynamic.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>());
        out.resize(0x1000, 0);
        out[..6].copy_from_slice(b"\x7fELF\x02\x01");
        out[32..40].copy_from_slice(&64u64.to_le_bytes());
        out[56..58].copy_from_slice(&2u16.to_le_bytes());
        for (index, (kind, addr)) in [(PT_LOAD, 0), (PT_DYNAMIC, dynamic)].into_iter().enumerate() {
            let at = 64 + 56 * index;
            out[at..at + 4].copy_from_slice(&kind.to_le_bytes());
            out[at + 16..at + 24].copy_from_slice(&u64::to_le_bytes(addr));
            out[at + 40..at + 48].copy_from_slice(&0x1000u64.to_le_bytes());
        }
        out
    }

    const ALL: &[&str] = &[
        "__vdso_getcpu",
        "clock_gettime",
        "__vdso_clock_gettime",
        "__vdso_time",
        "__vdso_gettimeofday",
        "__vdso_clock_getres",
        "__vdso_getrandom",
    ];

    fn found(image: &[u8]) -> [u64; 5] {
        let mut slots = [0; 5];
        functions(image, FUNCTIONS.iter().map(|(name, _)| *name), |which, value| slots[which] = value);
        slots
    }

    #[test]
    fn with_either_hash_table_or_none() {
        let expected = [0x820, 0x840, 0x830, 0x850, 0x800];
        for (sysv, gnu, strings_first) in
            [(true, true, false), (true, false, true), (false, true, true), (false, true, false), (false, false, false)]
        {
            let image = image(Made { names: ALL, sysv, gnu, strings_first });
            assert_eq!(image_len(&image[..0x200]), Some(0x1000));
            assert_eq!(found(&image), expected, "{sysv} {gnu} {strings_first}");
        }
        // The image does not have the number of symbols.
        assert_eq!(found(&image(Made { names: ALL, sysv: false, gnu: false, strings_first: true })), [0; 5]);
    }

    #[test]
    fn without_some_functions() {
        let some = &["__vdso_time", "__vdso_clock_gettime2", "__vdso_clock_get"];
        assert_eq!(
            found(&image(Made { names: some, sysv: true, gnu: true, strings_first: false })),
            [0, 0, 0x800, 0, 0]
        );
        assert_eq!(found(&image(Made { names: &[], sysv: true, gnu: true, strings_first: false })), [0; 5]);
    }

    #[test]
    fn none_or_not_one() {
        assert_eq!(image_len(&[]), None);
        assert_eq!(image_len(&[0x7f; 4096]), None);
        assert_eq!(found(&[]), [0; 5]);
        assert_eq!(found(&[0xff; 4096]), [0; 5]);
    }

    /// If any single word is wrong, the code does not panic, and names no address outside of the image.
    #[test]
    fn damaged() {
        let good = image(Made { names: ALL, sysv: true, gnu: true, strings_first: false });
        // Miri takes a thousand times as long.
        for at in (0..0x600).step_by(if cfg!(miri) { 52 } else { 4 }) {
            for value in [0, 1, 0x7fff_ffff, u32::MAX] {
                let mut bad = good.clone();
                bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
                let _ = image_len(&bad);
                assert!(found(&bad).iter().all(|value| *value < bad.len() as u64), "{at:#x} {value:#x}");
            }
        }
    }
}
