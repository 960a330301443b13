//! The file that a link produced, and the files of an earlier link beside it.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// The values that differ between two versions of a file; a linker writes a new file or at least changes the times.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stamp([i64; 4], [u64; 3]);

impl Stamp {
    /// `None` where there is no file.
    pub(crate) fn of(file: &Path) -> Option<Stamp> {
        let meta: Metadata = fs::metadata(file).ok()?;
        let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
        Some(Stamp(times, [meta.dev(), meta.ino(), meta.size()]))
    }
}

/// The kind of file that a link produced.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Produced {
    /// An executable that can be split.
    Executable,
    /// There is no file to split, for this reason.
    Other(&'static str),
}

const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DF_1_PIE: u64 = 0x0800_0000;
/// More than any linker writes: the dynamic section of a program with every library is a few KiB.
const MAX_DYNAMIC: u64 = 1 << 20;

/// Examines `file`, which a linker has just written.
pub(crate) fn examine(file: &Path) -> io::Result<Produced> {
    // A device or a pipe is not opened: that may block or have effects.
    if !fs::metadata(file)?.is_file() {
        return Ok(Produced::Other("the output is not a regular file"));
    }
    let file = File::open(file)?;
    let mut header = [0; 64];
    match file.read_exact_at(&mut header, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Produced::Other("not an ELF file")),
        other => other?,
    }
    if !header.starts_with(b"\x7fELF") {
        return Ok(Produced::Other("not an ELF file"));
    }
    // 64 bits, little-endian.
    if header.get(4..6) != Some(&[2, 1]) || u16_at(&header, 18) != snapfn_format::ARCH_X86_64 {
        return Ok(Produced::Other("not for x86-64"));
    }
    match u16_at(&header, 16) {
        ET_EXEC => Ok(Produced::Executable),
        // A shared library is ET_DYN like a position-independent program, and may even have an entry.
        ET_DYN if u64_at(&header, 24) != 0 && is_program(&file, &header)? => Ok(Produced::Executable),
        ET_DYN => Ok(Produced::Other("a shared library")),
        _ => Ok(Produced::Other("an object file")),
    }
}

/// Whether the ET_DYN file has an interpreter or the mark of a program (static-pie).
fn is_program(file: &File, header: &[u8]) -> io::Result<bool> {
    let (offset, size, count) = (u64_at(header, 32), u16_at(header, 54), u16_at(header, 56));
    let mut table = vec![0; usize::from(size) * usize::from(count)];
    file.read_exact_at(&mut table, offset)?;
    for entry in table.chunks_exact(usize::from(size).max(56)) {
        match u32_at(entry, 0) {
            PT_INTERP => return Ok(true),
            PT_DYNAMIC => {
                let length = u64_at(entry, 32).min(MAX_DYNAMIC);
                let mut dynamic = vec![0; usize::try_from(length).unwrap_or(0)];
                file.read_exact_at(&mut dynamic, u64_at(entry, 8))?;
                let pie = |entry: &[u8]| u64_at(entry, 0) == DT_FLAGS_1 && u64_at(entry, 8) & DF_1_PIE != 0;
                if dynamic.chunks_exact(16).any(pie) {
                    return Ok(true);
                }
            }
            _ => {}
        }
    }
    Ok(false)
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes_at(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes_at(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_can_be_examined() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x");
        for content in [&b""[..], b"\x7fELF", b"#!/bin/sh\n", &[0; 200]] {
            fs::write(&file, content).unwrap();
            assert_eq!(examine(&file).unwrap(), Produced::Other("not an ELF file"));
        }
        assert_eq!(examine(dir.path()).unwrap(), Produced::Other("the output is not a regular file"));
        assert_eq!(examine(Path::new("/dev/null")).unwrap(), Produced::Other("the output is not a regular file"));
        let own = fs::read("/proc/self/exe").unwrap();
        assert_eq!(examine(Path::new("/proc/self/exe")).unwrap(), Produced::Executable);
        // Every truncation of a real program is an answer or an error, never a panic.
        for length in [63, 64, 100, 500, 4000] {
            fs::write(&file, &own[..length]).unwrap();
            let _ = examine(&file);
        }
        let mut arm = own[..64].to_vec();
        arm[18] = 183;
        fs::write(&file, arm).unwrap();
        assert_eq!(examine(&file).unwrap(), Produced::Other("not for x86-64"));
    }
}
