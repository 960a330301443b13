//! The splitter's tests share this: a naive reader of ELF files, and the memory that two written files give.
#![allow(dead_code, reason = "each test file uses a part of it")]

use snapfn_format::Digest;
use snapfn_format::init::{Init, SegmentKind};
use snapfn_split::{Split, split_elf};
use std::path::Path;
use std::process::{Command, Output};

/// A PT_LOAD. The tests read it themselves, so that they share no parser with the splitter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) flags: u32,
    pub(crate) offset: u64,
    pub(crate) vaddr: u64,
    pub(crate) filesz: u64,
    pub(crate) memsz: u64,
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

/// Offset of each program header of a type.
pub(crate) fn program_headers(elf: &[u8], wanted: u32) -> Vec<usize> {
    let (start, count) = (u64_at(elf, 32) as usize, usize::from(u16_at(elf, 56)));
    (0..count).map(|index| start + index * 56).filter(|at| u32_at(elf, *at) == wanted).collect()
}

pub(crate) fn loads(elf: &[u8]) -> Vec<Load> {
    let load = |at| Load {
        flags: u32_at(elf, at + 4),
        offset: u64_at(elf, at + 8),
        vaddr: u64_at(elf, at + 16),
        filesz: u64_at(elf, at + 32),
        memsz: u64_at(elf, at + 40),
    };
    let mut loads: Vec<Load> = program_headers(elf, 1).into_iter().map(load).filter(|load| load.memsz != 0).collect();
    loads.sort_by_key(|load| load.vaddr);
    loads
}

/// Asserts that the two files give the memory that the kernel makes of the ELF, that the code segment file differs from
/// the ELF file in writable segments only, and that the headers have the same values.
pub(crate) fn assert_rebuilds(elf: &[u8], code: &[u8], init: &[u8]) {
    let init = Init::parse(init).unwrap();
    let loads = loads(elf);
    assert_eq!(init.segments().len(), loads.len());
    for (segment, load) in init.segments().iter().zip(&loads) {
        assert_eq!((segment.vaddr.get(), segment.memsz.get()), (load.vaddr, load.memsz));
        let file = |bytes: &[u8]| bytes[load.offset as usize..][..load.filesz as usize].to_vec();
        let expected = if load.filesz == 0 { Vec::new() } else { file(elf) };
        let mut rebuilt = vec![0; load.filesz as usize];
        match segment.kind() {
            SegmentKind::Code if load.filesz != 0 => {
                assert_eq!(segment.offset, load.offset);
                rebuilt = file(code);
            }
            SegmentKind::Code => {}
            SegmentKind::Data => {
                for run in init.runs_of(segment) {
                    let at = (run.vaddr.get() - load.vaddr) as usize;
                    rebuilt[at..at + run.len.get() as usize].copy_from_slice(init.run_bytes(run));
                }
            }
        }
        assert!(rebuilt == expected, "segment at {:#x}", load.vaddr);
        let prot = [(4, 1), (2, 2), (1, 4)].iter().filter(|(flag, _)| load.flags & flag != 0).map(|(_, prot)| prot);
        assert_eq!(segment.prot.get(), prot.sum::<u32>());
    }
    assert_eq!(code.len(), elf.len());
    let writable = |at: u64| {
        let inside = |load: &&Load| load.flags & 2 != 0 && at >= load.offset && at - load.offset < load.filesz;
        loads.iter().any(|load| inside(&load))
    };
    // Block by block, since most are equal.
    for (block, (old, new)) in elf.chunks(4096).zip(code.chunks(4096)).enumerate().filter(|(_, (old, new))| old != new)
    {
        for (at, (_, new)) in old.iter().zip(new).enumerate().filter(|(_, (old, new))| old != new) {
            let at = block * 4096 + at;
            assert!(*new == 0 && writable(at as u64), "byte {at:#x} of the code segment file");
        }
    }
    let header = init.header();
    assert_eq!((header.exe_digest, header.code_digest), (digest(elf), digest(code)));
    assert_eq!((header.exe_size.get(), header.code_size.get()), (elf.len() as u64, elf.len() as u64));
    assert_eq!((header.elf_type.get(), header.entry.get()), (u16_at(elf, 16), u64_at(elf, 24)));
}

/// Splits and asserts that both files rebuild the input and that splitting again gives the same.
pub(crate) fn split_and_check(elf: &[u8]) -> Split<'_> {
    let split = split_elf(elf).unwrap();
    let code = split.code.to_vec();
    assert_eq!((split.exe_digest, split.code_digest), (digest(elf), digest(&code)));
    assert_rebuilds(elf, &code, &split.init);
    let again = split_elf(elf).unwrap();
    assert!(again.init == split.init && again.code.to_vec() == code);
    split
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    use sha2::Digest as _;
    Digest(sha2::Sha256::digest(bytes).into())
}

/// Whether a tool is installed. If it is not, the function prints so, and fails in strict mode.
pub(crate) fn have(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(tool).is_file());
    if !found {
        skip(&format!("{tool} is not installed"));
    }
    found
}

/// Prints why a test does not run here.
pub(crate) fn skip(why: &str) {
    let strict = std::env::var_os("SNAPFN_STRICT_TESTS").is_some_and(|value| value == "1");
    assert!(!strict, "skipped in strict mode: {why}");
    eprintln!("skipped: {why}");
}

/// Runs a command that has to succeed.
pub(crate) fn run(dir: &Path, command: &[&str]) -> Output {
    let output = Command::new(command[0]).args(&command[1..]).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}
