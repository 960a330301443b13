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

/// Addresses, as linked, of all variables with one of `names` that the file defines.
pub(crate) fn variables(path: &Path, names: &[&str]) -> Vec<Symbol> {
    const STT_OBJECT: u8 = 1;
    let Ok(bytes) = std::fs::read(path) else { return Vec::new() };
    let Ok(elf) = Elf::parse(&bytes) else { return Vec::new() };
    let Some(image_start) = image_start(&elf) else { return Vec::new() };
    let mut found: Vec<Symbol> = Vec::new();
    for (symbols, strings) in [(&elf.syms, &elf.strtab), (&elf.dynsyms, &elf.dynstrtab)] {
        let defined = symbols.iter().filter(|symbol| symbol.st_shndx != 0 && symbol.st_value != 0);
        let variables = defined.filter(|symbol| symbol.st_type() == STT_OBJECT);
        let named = variables.filter(|symbol| strings.get_at(symbol.st_name).is_some_and(|name| names.contains(&name)));
        found.extend(named.map(|symbol| Symbol { value: symbol.st_value, image_start }));
    }
    found
}

/// Lowest PT_LOAD address, page-aligned.
fn image_start(elf: &Elf<'_>) -> Option<u64> {
    let loads = elf.program_headers.iter().filter(|ph| ph.p_type == goblin::elf::program_header::PT_LOAD);
    loads.map(|ph| ph.p_vaddr & !4095).min()
}

/// Finds the first of `names` that the file defines, in .symtab or .dynsym.
pub(crate) fn find(path: &Path, names: &[&str]) -> Option<Symbol> {
    let bytes = std::fs::read(path).ok()?;
    let elf = Elf::parse(&bytes).ok()?;
    let image_start = image_start(&elf)?;
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
