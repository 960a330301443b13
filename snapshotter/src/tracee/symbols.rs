//! Looking up symbols in ELF files.

use goblin::elf::Elf;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The most bytes of an ELF file; no real one is larger.
const MAX_LEN: u64 = 4 << 30;

/// Opens a regular file for reading. What is mapped or named by a program may as well be a device that never ends
/// (shared anonymous memory is mapped from /dev/zero) or a FIFO that nobody writes to: those are not opened.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let place = File::options().read(true).custom_flags(libc::O_PATH).open(path)?;
    if !place.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    File::open(format!("/proc/self/fd/{}", place.as_raw_fd()))
}

/// The content of an ELF file.
pub(crate) fn read_elf(path: &Path) -> io::Result<Vec<u8>> {
    const MAGIC: &[u8; 4] = b"\x7fELF";
    let mut file = open_regular(path)?;
    if file.metadata()?.len() > MAX_LEN {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "4 GiB or more"));
    }
    let mut bytes = vec![0; MAGIC.len()];
    file.read_exact(&mut bytes)?;
    if bytes != MAGIC {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not an ELF file"));
    }
    file.take(MAX_LEN).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A symbol's address in its file (link-time) and whether the file is position independent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Symbol {
    pub(crate) value: u64,
    /// Lowest PT_LOAD address, page-aligned: the link-time address of the file's first mapping.
    pub(crate) image_start: u64,
}

/// Addresses, as linked, of all variables with one of `names` that the file defines.
pub(crate) fn variables(path: &Path, names: &[&str]) -> Vec<Symbol> {
    const STT_OBJECT: u8 = 1;
    let Ok(bytes) = read_elf(path) else { return Vec::new() };
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

/// The function that has the code at `offset` from the start of the file's image: its name, and how far behind its
/// start the code is.
pub(crate) fn function_at(path: &Path, offset: u64) -> Option<(String, u64)> {
    const STT_FUNC: u8 = 2;
    let bytes = read_elf(path).ok()?;
    let elf = Elf::parse(&bytes).ok()?;
    let addr = image_start(&elf)?.checked_add(offset)?;
    let tables = [(&elf.syms, &elf.strtab), (&elf.dynsyms, &elf.dynstrtab)];
    tables.iter().find_map(|(symbols, strings)| {
        let functions = symbols.iter().filter(|symbol| symbol.st_type() == STT_FUNC && symbol.st_shndx != 0);
        let mut around =
            functions.filter(|symbol| addr.checked_sub(symbol.st_value).is_some_and(|at| at < symbol.st_size));
        around.find_map(|symbol| Some((strings.get_at(symbol.st_name)?.to_owned(), addr - symbol.st_value)))
    })
}

/// Whether the file refers to a function with one of `names` that another file defines.
pub(crate) fn calls(path: &Path, names: &[&str]) -> bool {
    let Ok(bytes) = read_elf(path) else { return false };
    let Ok(elf) = Elf::parse(&bytes) else { return false };
    let mut wanted = elf.dynsyms.iter().filter(|symbol| symbol.st_shndx == 0);
    wanted.any(|symbol| elf.dynstrtab.get_at(symbol.st_name).is_some_and(|name| names.contains(&name)))
}

/// Bytes that the file's segments occupy in memory.
pub(crate) fn span(path: &Path) -> Option<u64> {
    let bytes = read_elf(path).ok()?;
    let elf = Elf::parse(&bytes).ok()?;
    let loads = elf.program_headers.iter().filter(|ph| ph.p_type == goblin::elf::program_header::PT_LOAD);
    let end = loads.map(|ph| ph.p_vaddr.saturating_add(ph.p_memsz)).max()?;
    end.checked_sub(image_start(&elf)?)
}

/// Lowest PT_LOAD address, page-aligned.
fn image_start(elf: &Elf<'_>) -> Option<u64> {
    let loads = elf.program_headers.iter().filter(|ph| ph.p_type == goblin::elf::program_header::PT_LOAD);
    loads.map(|ph| ph.p_vaddr & !4095).min()
}

/// Finds the first of `names` that the file defines, in .symtab or .dynsym.
pub(crate) fn find(path: &Path, names: &[&str]) -> Option<Symbol> {
    let bytes = read_elf(path).ok()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Opening a FIFO would wait for a writer, and /dev/zero has no end.
    #[test]
    fn only_regular_files_are_read() {
        let fifo = std::env::temp_dir().join(format!("snapfn-symbols-{}", std::process::id()));
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let kinds = [Path::new("/dev/zero"), Path::new("/"), &fifo].map(|path| read_elf(path).unwrap_err().kind());
        std::fs::remove_file(&fifo).unwrap();
        assert_eq!(kinds, [io::ErrorKind::InvalidInput; 3]);
        assert!(find(&std::env::current_exe().unwrap(), &["main"]).is_some());
    }
}
