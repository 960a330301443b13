//! Places that a snapshot may start from: `main`, and the mark of a program that calls `snap_ready`.
//!
//! Both are hints. If they cannot be read, they count as absent, as in a stripped file.

use object::LittleEndian as LE;
use object::elf::{self, FileHeader64, ProgramHeader64, Sym64};
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _, Sym as _};

const NOTE_NAME: &[u8] = b"SNAPFN";
const NOTE_READY: u32 = 1;

/// Address of the function `main`, or 0. A global function counts before a local one. Among several local ones (which
/// may be static functions of unrelated files) none counts.
pub(super) fn main_address(elf: &FileHeader64<LE>, bytes: &[u8], headers: &[ProgramHeader64<LE>]) -> u64 {
    let (mut global, mut local) = (None, Vec::new());
    for symbol in main_symbols(elf, bytes) {
        let address = symbol.st_value(LE);
        let code = |ph: &ProgramHeader64<LE>| {
            let inside = address.checked_sub(ph.p_vaddr(LE)).is_some_and(|offset| offset < ph.p_filesz(LE));
            ph.p_type(LE) == elf::PT_LOAD && ph.p_flags(LE) & elf::PF_X != 0 && inside
        };
        if !headers.iter().any(code) {
            continue;
        }
        match symbol.st_bind() {
            elf::STB_LOCAL => local.push(address),
            _ => global = global.or(Some(address)),
        }
    }
    local.dedup();
    match (global, local.as_slice()) {
        (Some(address), _) | (None, &[address]) => address,
        _ => 0,
    }
}

/// Defined functions called `main` in .symtab and .dynsym.
fn main_symbols<'a>(elf: &FileHeader64<LE>, bytes: &'a [u8]) -> impl Iterator<Item = &'a Sym64<LE>> {
    let sections = elf.section_headers(LE, bytes).unwrap_or_default();
    let tables = sections.iter().filter(|section| matches!(section.sh_type(LE), elf::SHT_SYMTAB | elf::SHT_DYNSYM));
    tables.flat_map(move |table| {
        let names = sections.get(table.sh_link(LE) as usize).and_then(|names| names.data(LE, bytes).ok());
        let names = names.unwrap_or_default();
        let symbols: &[Sym64<LE>] = table.data_as_array(LE, bytes).unwrap_or_default();
        symbols.iter().filter(move |symbol| {
            let name = names.get(symbol.st_name(LE) as usize..);
            symbol.st_type() == elf::STT_FUNC
                && symbol.st_shndx(LE) != elf::SHN_UNDEF
                && name.is_some_and(|name| name.starts_with(b"main\0"))
        })
    })
}

/// Whether the file has the note of a program that calls `snap_ready` of `<snap.h>`.
pub(super) fn ready_mark(elf: &FileHeader64<LE>, bytes: &[u8], headers: &[ProgramHeader64<LE>]) -> bool {
    let is_mark = |mut notes: object::read::elf::NoteIterator<'_, FileHeader64<LE>>| {
        std::iter::from_fn(|| notes.next().ok().flatten())
            .any(|note| note.name() == NOTE_NAME && note.n_type(LE) == NOTE_READY)
    };
    let in_segments = headers.iter().filter_map(|ph| ph.notes(LE, bytes).ok().flatten()).any(is_mark);
    let sections = elf.section_headers(LE, bytes).unwrap_or_default();
    in_segments || sections.iter().filter_map(|section| section.notes(LE, bytes).ok().flatten()).any(is_mark)
}
