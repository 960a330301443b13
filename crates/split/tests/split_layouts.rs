//! One program, linked in every layout that compilers and linkers offer, is split and rebuilt.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::single_range_in_vec_init, reason = "lists of one hole")]

mod split_common;

use snapfn_format::init::{self, Init, SegmentKind};
use snapfn_split::SplitError;
use split_common::{have, loads, program_headers, run, split_and_check, u16_at, u32_at, u64_at};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Data of every kind: sparse and dense, relocated, thread-local, read-only after relocation, zero.
const SOURCE: &str = r#"
#include <stddef.h>
int dense[500] = { 1, 2, 3, [499] = 4 };
char sparse[70000] = { [5] = 'a', [40000] = 'b', [69999] = 'c' };
char zero[100000];
const char *const relocated[] = { "one", "two", "three" };
int *pointer = &dense[3];
__thread int initialised = 7;
__thread char uninitialised[300];
static int constructed;
__attribute__((constructor)) static void construct(void) { constructed = 1; }
int sum(void) { return dense[0] + sparse[5] + zero[9] + *relocated[1] + *pointer + initialised + uninitialised[1]; }
int main(void) { return constructed + sum() == 0; }
"#;

const MARKED: &str = r#"
__asm__(".pushsection .note.snapfn,\"a\",@note\n.balign 4\n"
        ".long 7, 0, 1\n.asciz \"SNAPFN\"\n.balign 4\n.popsection");
int main(void) { return 0; }
"#;

struct Layout {
    /// Compiler and options.
    command: &'static str,
    /// Other tools that it needs.
    needs: &'static [&'static str],
    /// A property that the result must have, so that the layout is the one that its options ask for.
    shape: fn(&Elf<'_>) -> bool,
}

struct Elf<'a> {
    bytes: &'a [u8],
    init: Init<'a>,
}

impl Elf<'_> {
    fn has(&self, flag: u32) -> bool {
        self.init.header().flags.get() & flag != 0
    }
    fn fixed(&self) -> bool {
        self.init.header().elf_type == init::ET_EXEC
    }
    fn interp(&self) -> bool {
        self.init.interp().is_some()
    }
    fn count(&self, kind: SegmentKind) -> usize {
        self.init.segments().iter().filter(|segment| segment.kind() == kind).count()
    }
    /// Whether .dynamic has an entry with this tag.
    fn dynamic(&self, tag: u64) -> bool {
        program_headers(self.bytes, 2).first().is_some_and(|ph| {
            let (at, len) = (u64_at(self.bytes, ph + 8) as usize, u64_at(self.bytes, ph + 32) as usize);
            self.bytes[at..at + len].chunks(16).any(|entry| u64_at(entry, 0) == tag)
        })
    }
}

const DT_TEXTREL: u64 = 22;
const DT_RELR: u64 = 36;

const fn layout(command: &'static str, needs: &'static [&'static str], shape: fn(&Elf<'_>) -> bool) -> Layout {
    Layout { command, needs, shape }
}

const LLD: &[&str] = &["ld.lld"];
const GOLD: &[&str] = &["ld.gold"];

const LAYOUTS: &[Layout] = &[
    layout("gcc", &[], |e| !e.fixed() && e.interp() && e.has(init::FLAG_RELRO) && e.has(init::FLAG_TLS)),
    layout("gcc -O2 -g -flto", &[], |e| e.init.header().main != 0),
    layout("gcc -no-pie", &[], |e| e.fixed() && e.interp()),
    layout("gcc -static", &[], |e| e.fixed() && !e.interp()),
    layout("gcc -static-pie", &[], |e| !e.fixed() && !e.interp() && e.has(init::FLAG_DYNAMIC)),
    layout("gcc -shared -fPIC", &[], |e| !e.fixed() && !e.interp()),
    layout("gcc -s", &[], |e| e.init.header().main == 0),
    layout("gcc -s -rdynamic", &[], |e| e.init.header().main != 0),
    layout("gcc -Wl,-z,norelro", &[], |e| !e.has(init::FLAG_RELRO)),
    layout("gcc -Wl,-z,relro,-z,now", &[], |e| e.has(init::FLAG_RELRO)),
    layout("gcc -Wl,-z,noseparate-code", &[], |e| e.count(SegmentKind::Code) == 1),
    layout("gcc -Wl,-z,separate-code", &[], |e| e.count(SegmentKind::Code) == 3),
    layout("gcc -Wl,-z,max-page-size=0x200000", &[], |e| e.init.header().max_align == 0x20_0000),
    layout("gcc -static -Wl,-z,max-page-size=0x10000", &[], |e| e.init.header().max_align == 0x1_0000),
    layout("gcc -Wl,-z,pack-relative-relocs", &[], |e| e.dynamic(DT_RELR)),
    layout("gcc -Wl,-z,execstack", &[], |e| e.has(init::FLAG_STACK_EXEC)),
    layout("gcc -Wl,-z,noexecstack", &[], |e| e.has(init::FLAG_STACK) && !e.has(init::FLAG_STACK_EXEC)),
    layout("gcc -no-pie -Wl,-Tbss=0x10000000", &[], |e| e.init.header().image_end.get() > 0x1000_0000),
    layout("gcc -static -Wl,-Ttext-segment=0x70000000", &[], |e| e.init.header().image_start == 0x7000_0000),
    layout("gcc -nostdlib -static -Wl,-emain,-N", &[], |e| e.init.segments().iter().any(|s| s.prot.get() == 7)),
    layout("gcc -mcmodel=medium -mlarge-data-threshold=1000 -no-pie", &[], |e| e.fixed()),
    layout("gcc -Wl,-q,--emit-relocs -ffunction-sections -Wl,--gc-sections", &[], |e| !e.fixed()),
    layout("gcc -fno-pic -mcmodel=large -pie -Wl,-z,notext", &[], |e| e.dynamic(DT_TEXTREL)),
    layout("gcc -fuse-ld=gold", GOLD, |e| e.interp()),
    layout("gcc -fuse-ld=gold -static", GOLD, |e| e.fixed()),
    layout("gcc -fuse-ld=gold -Wl,--rosegment", GOLD, |e| e.count(SegmentKind::Code) >= 2),
    layout("gcc -fuse-ld=lld", LLD, |e| e.count(SegmentKind::Data) == 2),
    layout("gcc -fuse-ld=lld -static", LLD, |e| e.fixed()),
    layout("gcc -fuse-ld=lld -Wl,--no-rosegment", LLD, |e| e.count(SegmentKind::Code) == 1),
    layout("gcc -fuse-ld=lld -Wl,-z,separate-loadable-segments", LLD, |e| e.interp()),
    layout("gcc -fuse-ld=lld -Wl,-z,separate-code", LLD, |e| e.interp()),
    layout("gcc -fuse-ld=lld -Wl,--pack-dyn-relocs=relr", LLD, |e| e.dynamic(DT_RELR)),
    layout("gcc -fuse-ld=lld -Wl,-z,norelro", LLD, |e| !e.has(init::FLAG_RELRO)),
    layout("gcc -fuse-ld=lld -Wl,-z,max-page-size=0x200000", LLD, |e| e.init.header().max_align == 0x20_0000),
    layout("gcc -fuse-ld=lld -Wl,-z,rodynamic", LLD, |e| e.has(init::FLAG_DYNAMIC)),
    layout("gcc -fuse-ld=lld -nostdlib -static -Wl,-emain,--omagic", LLD, |e| {
        e.init.segments().iter().any(|s| s.prot.get() == 7)
    }),
    layout("clang -O2", &["clang"], |e| e.init.header().main != 0),
    layout("clang -fuse-ld=lld -flto", &["clang", "ld.lld"], |e| e.interp()),
    layout("clang -static", &["clang"], |e| e.fixed()),
    layout("clang -fuse-ld=lld -static-pie -fPIE", &["clang", "ld.lld"], |e| !e.fixed() && !e.interp()),
    layout("musl-gcc", &["musl-gcc"], |e| e.interp()),
    layout("musl-gcc -static", &["musl-gcc"], |e| !e.interp()),
    layout("musl-gcc -static -fPIE -Wl,-pie,--no-dynamic-linker", &["musl-gcc"], |e| !e.interp() && !e.fixed()),
    layout("musl-gcc -shared -fPIC", &["musl-gcc"], |e| !e.fixed()),
    layout("g++ -x c++ -fpermissive -w", &["g++"], |e| e.interp()),
    layout("g++ -x c++ -fpermissive -w -static", &["g++"], |e| e.fixed()),
];

fn link(dir: &Path, command: &str, source: &str) -> Vec<u8> {
    fs::write(dir.join("in.c"), source).unwrap();
    let mut command: Vec<&str> = command.split(' ').collect();
    command.extend(["-o", "out", "in.c"]);
    run(dir, &command);
    fs::read(dir.join("out")).unwrap()
}

#[test]
fn every_layout() {
    let source = SOURCE.replace("[5] = 'a', [40000] = 'b', [69999] = 'c'", "\"abc\"");
    let mut done = 0;
    for Layout { command, needs, shape } in LAYOUTS {
        let tools: Vec<&str> = command.split(' ').take(1).chain(needs.iter().copied()).collect();
        if !tools.iter().all(|tool| have(tool)) {
            continue;
        }
        let dir = TempDir::new().unwrap();
        // C++ has no designated array elements.
        let plain = source.replace("{ 1, 2, 3, [499] = 4 }", "{ 1, 2, 3 }");
        let elf = link(dir.path(), command, if command.contains("c++") { &plain } else { SOURCE });
        let split = split_and_check(&elf);
        let init = Init::parse(&split.init).unwrap();
        let shaped = Elf { bytes: &elf, init };
        assert!(shape(&shaped), "{command}: {:#?}", init.header());
        assert_headers(command, &elf, &init);
        done += 1;
    }
    println!("{done} of {} layouts", LAYOUTS.len());
}

/// Compares the header with the output of binutils.
fn assert_headers(command: &str, elf: &[u8], init: &Init<'_>) {
    let header = init.header();
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("elf"), elf).unwrap();
    if !command.contains(" -s") {
        let symbols = String::from_utf8(run(dir.path(), &["nm", "elf"]).stdout).unwrap();
        let main = symbols.lines().find_map(|line| line.strip_suffix(" T main")).unwrap();
        assert_eq!(header.main, u64::from_str_radix(main, 16).unwrap(), "{command}");
    }
    let listing = String::from_utf8(run(dir.path(), &["readelf", "-lW", "elf"]).stdout).unwrap();
    let field = |name: &str, column: usize| {
        let line = listing.lines().rfind(|line| line.trim_start().starts_with(&format!("{name} ")));
        line.map_or(0, |line| {
            let text = line.split_whitespace().nth(column).unwrap().trim_start_matches("0x");
            u64::from_str_radix(text, 16).unwrap()
        })
    };
    assert_eq!(header.tls_vaddr, field("TLS", 2), "{command}");
    assert_eq!(header.tls_filesz, field("TLS", 4), "{command}");
    assert_eq!(header.tls_memsz, field("TLS", 5), "{command}");
    assert_eq!(header.relro_vaddr, field("GNU_RELRO", 2), "{command}");
    assert_eq!(header.relro_len, field("GNU_RELRO", 5), "{command}");
    assert_eq!(header.dynamic_vaddr, field("DYNAMIC", 2), "{command}");
    assert_eq!(header.dynamic_len, field("DYNAMIC", 5), "{command}");
    if field("PHDR", 2) != 0 {
        assert_eq!(header.phdr, field("PHDR", 2), "{command}");
    }
    let interp = listing.split_once("program interpreter: ").and_then(|(_, rest)| rest.split_once(']'));
    assert_eq!(init.interp().map(|path| path.to_str().unwrap()), interp.map(|(path, _)| path), "{command}");
}

#[test]
fn stripping_changes_no_memory() {
    let dir = TempDir::new().unwrap();
    let elf = link(dir.path(), "gcc -g", SOURCE);
    run(dir.path(), &["strip", "out"]);
    let stripped = fs::read(dir.path().join("out")).unwrap();
    let (old, new) = (split_and_check(&elf), split_and_check(&stripped));
    let (old, new) = (Init::parse(&old.init).unwrap(), Init::parse(&new.init).unwrap());
    assert_eq!(old.segments(), new.segments());
    assert!(old.runs().iter().map(|run| old.run_bytes(run)).eq(new.runs().iter().map(|run| new.run_bytes(run))));
    assert_ne!(old.header().exe_digest, new.header().exe_digest);
    assert_eq!(new.header().main, 0);
}

#[test]
fn without_section_headers() {
    let dir = TempDir::new().unwrap();
    let mut elf = link(dir.path(), "gcc", MARKED);
    elf[40..48].fill(0);
    elf[58..64].fill(0);
    let split = split_and_check(&elf);
    let header = *Init::parse(&split.init).unwrap().header();
    assert_eq!(header.main, 0);
    assert_ne!(header.flags.get() & init::FLAG_READY_MARK, 0, "PT_NOTE is enough");
}

#[test]
fn ready_mark() {
    for (options, source, expected) in [
        ("gcc", MARKED, true),
        ("gcc -static -s", MARKED, true),
        ("gcc", SOURCE, false),
        // A note of another owner, and a note of snapcc with another type.
        ("gcc", &MARKED.replace("SNAPFN", "SNAPFX"), false),
        ("gcc", &MARKED.replace("7, 0, 1", "7, 0, 2"), false),
        // A note that is not loaded.
        ("gcc", &MARKED.replace(",\\\"a\\\"", ",\\\"\\\""), true),
    ] {
        let dir = TempDir::new().unwrap();
        let elf = link(dir.path(), options, source);
        let split = split_and_check(&elf);
        let flags = Init::parse(&split.init).unwrap().header().flags.get();
        assert_eq!(flags & init::FLAG_READY_MARK != 0, expected, "{options} {source}");
    }
}

/// patchelf moves program headers and dynamic tables into new, writable segments.
#[test]
fn patched_files() {
    if !have("patchelf") {
        return;
    }
    let long = "/opt/a/very/long/directory/name/that/fits/nowhere".repeat(20);
    for (options, patches) in [
        ("gcc", vec![vec!["--set-rpath", &long], vec!["--add-needed", "libm.so.6"]]),
        ("gcc -no-pie", vec![vec!["--set-interpreter", &long]]),
        ("gcc -shared -fPIC", vec![vec!["--set-soname", &long], vec!["--set-rpath", &long]]),
        ("gcc -fuse-ld=gold", vec![vec!["--set-rpath", &long], vec!["--set-interpreter", &long]]),
    ] {
        if options.contains("gold") && !have("ld.gold") {
            continue;
        }
        let dir = TempDir::new().unwrap();
        let before = loads(&link(dir.path(), options, SOURCE));
        for patch in &patches {
            let command: Vec<&str> = [&["patchelf"], &patch[..], &["out"]].concat();
            run(dir.path(), &command);
        }
        let elf = fs::read(dir.path().join("out")).unwrap();
        assert_ne!(loads(&elf), before, "{options}: patchelf added no segment");
        let split = split_and_check(&elf);
        // Readable for tools wherever they now are.
        let code = split.code.to_vec();
        let (at, len) = (u64_at(&elf, 32) as usize, usize::from(u16_at(&elf, 56)) * 56);
        assert_eq!(code[at..at + len], elf[at..at + len]);
        assert_eq!(code[..64], elf[..64]);
    }
}

/// Only `.data` differs: the code segment files must be equal, except with a build-id, which covers the whole output.
#[test]
fn data_leaves_the_code_digest_alone() {
    let dir = TempDir::new().unwrap();
    let other = SOURCE.replace("1, 2, 3", "7, 8, 9").replace("'b'", "'x'");
    for options in ["gcc -g -Wl,--build-id=none", "gcc -g -static -Wl,--build-id=none", "gcc -g -Wl,--build-id=0x1234"]
    {
        let (old, new) = (link(dir.path(), options, SOURCE), link(dir.path(), options, &other));
        let (old, new) = (split_and_check(&old), split_and_check(&new));
        assert_ne!(old.exe_digest, new.exe_digest, "{options}");
        assert_eq!(old.code_digest, new.code_digest, "{options}");
    }
    let options = "gcc -Wl,--build-id=sha1";
    let (old, new) = (link(dir.path(), options, SOURCE), link(dir.path(), options, &other));
    let (old, new) = (split_and_check(&old).code.to_vec(), split_and_check(&new).code.to_vec());
    let differing: Vec<usize> = (0..old.len()).filter(|at| old[*at] != new[*at]).collect();
    let id = old.windows(8).position(|bytes| bytes == b"\x03\0\0\0GNU\0").unwrap() + 8;
    assert!(!differing.is_empty() && differing.iter().all(|at| (id..id + 20).contains(at)), "{differing:x?}");
}

#[test]
fn what_cannot_be_split_says_why() {
    let dir = TempDir::new().unwrap();
    let elf = link(dir.path(), "gcc", SOURCE);
    let object = link(dir.path(), "gcc -c", SOURCE);
    let error = |bytes: &[u8]| snapfn_split::split_elf(bytes).unwrap_err().to_string();
    assert!(matches!(snapfn_split::split_elf(&object), Err(SplitError::Type(1))));
    assert_eq!(error(b""), "not an ELF file");
    assert_eq!(error(b"#!/bin/sh\n"), "not an ELF file");
    assert_eq!(error(&elf[..4]), "invalid ELF: ELF header");
    assert_eq!(error(&elf[..100]), "invalid ELF: program headers");
    assert!(error(&elf[..5000]).ends_with("ends behind the end of the file"));
    let patched = |at: usize, with: &[u8]| {
        let mut bytes = elf.clone();
        bytes[at..at + with.len()].copy_from_slice(with);
        error(&bytes)
    };
    assert_eq!(patched(4, &[1]), "not a 64-bit little-endian ELF file");
    assert_eq!(patched(5, &[2]), "not a 64-bit little-endian ELF file");
    assert_eq!(patched(18, &[183]), "made for another architecture (e_machine 183)");
    assert_eq!(patched(16, &[4]), "neither an executable nor a shared library (e_type 4)");
    assert_eq!(patched(54, &[57]), "invalid ELF: size of a program header");
    assert_eq!(patched(56, &[0xff, 0xff]), "invalid ELF: number of program headers");
    assert_eq!(patched(56, &[0, 0]), "invalid ELF: no segment has memory");
    let load = program_headers(&elf, 1)[1];
    let index = (load - u64_at(&elf, 32) as usize) / 56;
    let header = |what: &str| format!("program header {index}: {what}");
    let half = (1u64 << 63).to_le_bytes();
    assert_eq!(patched(load + 16, &u64::MAX.to_le_bytes()), header("ends above the user address space"));
    assert_eq!(patched(load + 16, &0u64.to_le_bytes()), header("shares a page with another segment"));
    assert_eq!(patched(load + 16, &[1]), header("has an address and a file offset that differ within the page"));
    assert_eq!(patched(load + 8, &half), header("ends behind the end of the file"));
    assert_eq!(patched(load + 40, &[1, 0]), header("has more bytes in the file than in memory"));
    let interp = program_headers(&elf, 3)[0];
    let no_path = "has no path of an interpreter";
    assert!(patched(interp + 32, &[27]).ends_with(no_path), "without its NUL");
    assert!(patched(interp + 8, &half).ends_with(no_path));
    assert_eq!(u32_at(&elf, interp), 3);
}

/// Two segments in one page cannot both be mapped. A linker can make such a file, but it does not run.
#[test]
fn shared_page() {
    let dir = TempDir::new().unwrap();
    let options = "gcc -nostdlib -static -Wl,-emain,-z,max-page-size=1024,-z,common-page-size=1024";
    let elf = link(dir.path(), options, "int data = 1; int main(void) { for (;;) data++; }");
    let error = snapfn_split::split_elf(&elf).unwrap_err().to_string();
    assert!(error.ends_with("shares a page with another segment"), "{error}");
    let status = Command::new(dir.path().join("out")).status().unwrap();
    assert_eq!(status.signal(), Some(11));
}

/// A program as a packer writes it: no linker makes such segments, but the kernel loads them.
#[test]
fn packed_program() {
    let mut elf = vec![0; 0x3000];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    let mut put = |at: usize, bytes: &[u8]| elf[at..at + bytes.len()].copy_from_slice(bytes);
    put(16, &2u16.to_le_bytes());
    put(18, &62u16.to_le_bytes());
    put(24, &0x80_1000u64.to_le_bytes());
    put(32, &64u64.to_le_bytes());
    put(52, &64u16.to_le_bytes());
    put(54, &56u16.to_le_bytes());
    put(56, &3u16.to_le_bytes());
    // The segments are out of order. The first is all zero memory, so its offset has no meaning.
    let headers: [(u32, u64, u64, u64, u64); 3] = [
        (6, 0x4_0000_0123, 0x90_0000, 0, 0x10_0000),
        (5, 0, 0x80_0000, 0x2345, 0x2345),
        (7, 0x2800, 0x40_0800, 0x10, 0x9000),
    ];
    for (index, (flags, offset, vaddr, filesz, memsz)) in headers.into_iter().enumerate() {
        let at = 64 + index * 56;
        put(at, &1u32.to_le_bytes());
        put(at + 4, &flags.to_le_bytes());
        for (field, value) in [(8, offset), (16, vaddr), (32, filesz), (40, memsz), (48, 3)] {
            put(at + field, &value.to_le_bytes());
        }
    }
    put(0x1000, &[0x90; 0x1345]);
    put(0x2808, b"writable");
    let split = split_and_check(&elf);
    let init = Init::parse(&split.init).unwrap();
    assert_eq!(init.header().phdr, 0x80_0040);
    assert_eq!(init.runs().len(), 1);
    assert_eq!((init.runs()[0].vaddr.get(), init.run_bytes(&init.runs()[0])), (0x40_0808, &b"writable"[..]));
    assert_eq!(init.segments().iter().map(|segment| segment.align.get()).max(), Some(4096), "3 is no alignment");
    assert_eq!(split.code.holes(), [0x2800..0x2810]);
}

#[test]
fn large_sparse_data() {
    let dir = TempDir::new().unwrap();
    let source = "char big[200 << 20] = { [100 << 20] = 1, [(200 << 20) - 1] = 2 }; int main(void) { return big[0]; }";
    let elf = link(dir.path(), "gcc -no-pie -mcmodel=medium", source);
    let split = snapfn_split::split_elf(&elf).unwrap();
    assert!(elf.len() > 200 << 20 && split.init.len() < 64 << 10, "{} {}", elf.len(), split.init.len());
}
