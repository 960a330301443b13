//! Looking up symbols in ELF files.

use goblin::elf::Elf;
use std::path::Path;

/// A symbol's address in its file (link-time) and whether the file is position independent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Symbol {
    pub(crate) value: u64,
    /// Lowest PT_LOAD address, page-aligned: what the first mapping of the file corresponds to.
    pub(crate) image_start: u64,
}

/// Finds the first of `names` that the file defines, in .symtab or .dynsym.
pub(crate) fn find(path: &Path, names: &[&str]) -> Option<Symbol> {
    let bytes = std::fs::read(path).ok()?;
    let elf = Elf::parse(&bytes).ok()?;
    let image_start = elf
        .program_headers
        .iter()
        .filter(|ph| ph.p_type == goblin::elf::program_header::PT_LOAD)
        .map(|ph| ph.p_vaddr & !4095)
        .min()?;
    let tables = [(&elf.syms, &elf.strtab), (&elf.dynsyms, &elf.dynstrtab)];
    names.iter().find_map(|name| {
        tables.iter().find_map(|(symbols, strings)| {
            symbols
                .iter()
                .find(|symbol| {
                    symbol.st_shndx != 0 && symbol.st_value != 0 && strings.get_at(symbol.st_name) == Some(name)
                })
                .map(|symbol| Symbol { value: symbol.st_value, image_start })
        })
    })
}
