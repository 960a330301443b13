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

use snapfn_format::PAGE;
use snapfn_format::snap::resident::{
    CODE, ENTRIES, ENTRY_SIZE, FALLBACKS, FUNCTIONS, MOV_EAX, RESUME_JUMP, SLOTS, STUB_CLONE, STUB_FINISH,
    STUB_FINISH_EXE, STUB_FINISH_TIMED, STUB_RESUME, STUB_SYSCALL, STUB_THREAD,
};

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
    code(&mut page);
    page.0
}

fn headers(page: &mut Page) {
    page.put(0, b"\x7fELF\x02\x01\x01");
    page.u16s(16, &[3, 62]); // ET_DYN, EM_X86_64
    page.u32s(20, &[1]);
    page.u64s(24, &[ENTRIES, 64, 0]); // e_entry is not used; program headers at 64; no sections
    page.u32s(48, &[0]);
    page.u16s(52, &[64, 56, 4, 64, 0, 0]);
    let mut phdr = |index: u64, kind: u32, flags: u32, offset: u64, size: u64, align: u64| {
        let at = 64 + 56 * index;
        page.u32s(at, &[kind, flags]);
        page.u64s(at + 8, &[offset, offset, offset, size, size, align]);
    };
    phdr(0, 1, 5, 0, PAGE, PAGE); // PT_LOAD R-X
    phdr(1, 2, 4, DYNAMIC, 16 * 11, 8); // PT_DYNAMIC R
    phdr(2, 0x6474_e550, 4, EH_FRAME_HDR, 12, 4); // PT_GNU_EH_FRAME
    phdr(3, 0x6474_e551, 6, 0, 0, 16); // PT_GNU_STACK: no executable stack
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
        (14, u64::from(soname)),    // DT_SONAME
        (4, HASH),                  // DT_HASH
        (0x6fff_fef5, GNU_HASH),    // DT_GNU_HASH
        (5, DYNSTR),                // DT_STRTAB
        (6, DYNSYM),                // DT_SYMTAB
        (10, strings.len() as u64), // DT_STRSZ
        (11, 24),                   // DT_SYMENT
        (0x6fff_fffc, VERDEF),      // DT_VERDEF
        (0x6fff_fffd, 2),           // DT_VERDEFNUM
        (0x6fff_fff0, VERSYM),      // DT_VERSYM
        (0, 0),
    ];
    for (i, (tag, value)) in dynamic.iter().enumerate() {
        page.u64s(DYNAMIC + 16 * i as u64, &[*tag, *value]);
    }

    // .eh_frame: the functions keep no frame; CFA = rsp + 8, return address at CFA − 8, all the way.
    let cie: [u8; 20] = [
        16, 0, 0, 0, // length
        0, 0, 0, 0, // CIE
        1, b'z', b'R', 0, // version, augmentation
        1, 0x78, 16, // code alignment 1, data alignment −8, return address column 16
        1, 0x1b, // augmentation data: pointers are pc-relative sdata4
        0x0c, 7, 8, // DW_CFA_def_cfa rsp, 8
    ];
    page.put(EH_FRAME, &cie);
    page.put(EH_FRAME + 20, &[0, 0]); // (padding inside the next record's room)
    let fde = EH_FRAME + 20;
    page.u32s(
        fde,
        &[16, (fde + 4 - EH_FRAME) as u32, (ENTRIES as i64 - (fde as i64 + 8)) as u32, (STUB_RESUME - ENTRIES) as u32],
    );
    page.put(fde + 16, &[0, 0x90, 1, 0]); // no augmentation; DW_CFA_offset r16 at CFA − 8; nop
    // The stub that restarts a call takes the place of the program's own `syscall`: a thread that is cancelled there
    // unwinds from behind the program's. The block that rbx points to has the program's rip (at 56) and rbx (at 48).
    let fde = fde + 20;
    page.u32s(
        fde,
        &[28, (fde + 4 - EH_FRAME) as u32, (STUB_RESUME as i64 - (fde as i64 + 8)) as u32, RESUME_JUMP as u32],
    );
    page.put(
        fde + 16,
        &[
            0, // no augmentation
            0x0e, 0, // DW_CFA_def_cfa_offset 0: CFA = rsp
            0x10, 16, 2, 0x73, 56, // DW_CFA_expression r16 (return address): at rbx + 56
            0x10, 3, 2, 0x73, 48, // DW_CFA_expression r3 (rbx): at rbx + 48
        ],
    );
    page.u32s(fde + 32, &[0]);
    // .eh_frame_hdr without a search table: version 1, eh_frame pointer pc-relative sdata4, no count.
    page.put(EH_FRAME_HDR, &[1, 0x1b, 0xff, 0xff]);
    page.u32s(EH_FRAME_HDR + 4, &[(EH_FRAME as i64 - (EH_FRAME_HDR as i64 + 4)) as u32, 0]);
}

fn code(page: &mut Page) {
    page.put(CODE, &vec![0xcc; (PAGE - CODE) as usize]); // int3 everywhere else
    page.put(STUB_SYSCALL, &[0x0f, 0x05, 0xcc]); // syscall; int3
    page.put(
        STUB_FINISH,
        &[
            0xb8, 11, 0, 0, 0, // mov eax, SYS_munmap       (rdi, rsi: the loader)
            0x0f, 0x05, // syscall
            0xb8, 15, 0, 0, 0, // mov eax, SYS_rt_sigreturn (rsp: frame + 8)
            0x0f, 0x05, // syscall
        ],
    );
    page.put(
        STUB_FINISH_TIMED,
        &[
            MOV_EAX, 11, 0, 0, 0, // mov eax, SYS_munmap       (rdi, rsi: the loader)
            0x0f, 0x05, // syscall
            0x0f, 0x31, // rdtsc
            0x48, 0xc1, 0xe2, 0x20, // shl rdx, 32
            0x48, 0x09, 0xd0, // or rax, rdx
            0x49, 0x89, 0x04, 0x24, // mov [r12], rax
            0xb8, 15, 0, 0, 0, // mov eax, SYS_rt_sigreturn (rsp: frame + 8)
            0x0f, 0x05, // syscall
        ],
    );
    // The kernel changes /proc/self/exe only while nothing of the file that it names is mapped.
    page.put(
        STUB_FINISH_EXE,
        &[
            MOV_EAX, 11, 0, 0, 0, // mov eax, SYS_munmap       (rdi, rsi: the loader)
            0x0f, 0x05, // syscall
            0xbf, 35, 0, 0, 0, // mov edi, PR_SET_MM
            0xbe, 14, 0, 0, 0, // mov esi, PR_SET_MM_MAP
            0x4c, 0x89, 0xea, // mov rdx, r13
            0x41, 0xba, 104, 0, 0, 0, // mov r10d, sizeof(struct prctl_mm_map)
            0x45, 0x31, 0xc0, // xor r8d, r8d
            0xb8, 157, 0, 0, 0, // mov eax, SYS_prctl        (where it fails, the link stays)
            0x0f, 0x05, // syscall
            0x44, 0x89, 0xf7, // mov edi, r14d
            0xb8, 3, 0, 0, 0, // mov eax, SYS_close
            0x0f, 0x05, // syscall
            0x41, 0xc7, 0x04, 0x24, 1, 0, 0, 0, // mov dword [r12], 1
            0x4c, 0x89, 0xe7, // mov rdi, r12
            0xbe, 0x81, 0, 0, 0, // mov esi, FUTEX_WAKE_PRIVATE
            0xba, 0xff, 0xff, 0xff, 0x7f, // mov edx, INT_MAX
            0xb8, 202, 0, 0, 0, // mov eax, SYS_futex
            0x0f, 0x05, // syscall
            0xb8, 15, 0, 0, 0, // mov eax, SYS_rt_sigreturn (rsp: frame + 8)
            0x0f, 0x05, // syscall
        ],
    );
    let to_thread = (STUB_THREAD - (STUB_CLONE + 6)) as u8;
    page.put(
        STUB_CLONE,
        &[
            0x0f, 0x05, // syscall                          (SYS_clone and its arguments)
            0x85, 0xc0, // test eax, eax
            0x74, to_thread, // jz STUB_THREAD
            0xc3,      // ret
        ],
    );
    // r12 gate word, r13 robust list, r14 rseq area, r15 its length and signature, rsp frame + 8
    page.put(
        STUB_THREAD,
        &[
            0x41, 0x83, 0x3c, 0x24, 0x00, //   0 cmp dword [r12], 0
            0x75, 0x16, //                     5 jne 29
            0xb8, 202, 0, 0, 0, //             7 mov eax, SYS_futex
            0x4c, 0x89, 0xe7, //              12 mov rdi, r12
            0xbe, 0x80, 0, 0, 0, //           15 mov esi, FUTEX_WAIT_PRIVATE
            0x31, 0xd2, //                    20 xor edx, edx        while it is 0
            0x4d, 0x31, 0xd2, //              22 xor r10, r10        without a timeout
            0x0f, 0x05, //                    25 syscall
            0xeb, 0xe3, //                    27 jmp 0
            0x4d, 0x85, 0xed, //              29 test r13, r13
            0x74, 0x0f, //                    32 jz 49
            0xb8, 0x11, 0x01, 0, 0, //        34 mov eax, SYS_set_robust_list
            0x4c, 0x89, 0xef, //              39 mov rdi, r13
            0xbe, 24, 0, 0, 0, //             42 mov esi, 24
            0x0f, 0x05, //                    47 syscall
            0x4d, 0x85, 0xf6, //              49 test r14, r14
            0x74, 0x16, //                    52 jz 76
            0xb8, 0x4e, 0x01, 0, 0, //        54 mov eax, SYS_rseq
            0x4c, 0x89, 0xf7, //              59 mov rdi, r14
            0x44, 0x89, 0xfe, //              62 mov esi, r15d
            0x31, 0xd2, //                    65 xor edx, edx
            0x4d, 0x89, 0xfa, //              67 mov r10, r15
            0x49, 0xc1, 0xea, 0x20, //        70 shr r10, 32
            0x0f, 0x05, //                    74 syscall
            0xb8, 15, 0, 0, 0, //             76 mov eax, SYS_rt_sigreturn
            0x0f, 0x05, //                    81 syscall
        ],
    );
    // The registers are as after the system call itself: rcx is the return address, r11 the flags, which this code does
    // not change.
    page.put(
        STUB_RESUME,
        &[
            0x0f, 0x05, //             syscall
            0x48, 0x8b, 0x7b, 0x10, // mov rdi, [rbx + 16]
            0x48, 0x8b, 0x53, 0x18, // mov rdx, [rbx + 24]
            0x4c, 0x8b, 0x53, 0x20, // mov r10, [rbx + 32]
            0x4c, 0x8b, 0x43, 0x28, // mov r8, [rbx + 40]
            0x48, 0x8b, 0x4b, 0x38, // mov rcx, [rbx + 56]
            0x48, 0x8b, 0x5b, 0x30, // mov rbx, [rbx + 48]
            0xff, 0xe1, //             jmp rcx
        ],
    );
    for (i, (_, number)) in FUNCTIONS.iter().enumerate() {
        let i = i as u64;
        let entry = ENTRIES + ENTRY_SIZE * i;
        let distance = (SLOTS + 8 * i) as i64 - (entry as i64 + 6);
        page.put(entry, &[0xff, 0x25]); // jmp [rip + slot]
        page.u32s(entry + 2, &[distance as u32]);
        let fallback = FALLBACKS + ENTRY_SIZE * i;
        page.put(fallback, &[0xb8]); // mov eax, number; syscall; ret
        page.u32s(fallback + 1, &[*number]);
        page.put(fallback + 5, &[0x0f, 0x05, 0xc3]);
    }
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

    #[test]
    fn the_last_instruction_of_resume_is_its_jump() {
        let at = (STUB_RESUME + RESUME_JUMP) as usize;
        assert_eq!(page()[at..at + 3], [0xff, 0xe1, 0xcc]);
    }

    #[test]
    fn thread_stub_jumps_land_on_instructions() {
        let page = page();
        let at = |offset: u64| page[(STUB_THREAD + offset) as usize];
        assert_eq!([at(29), at(30)], [0x4d, 0x85]);
        assert_eq!([at(49), at(50)], [0x4d, 0x85]);
        assert_eq!([at(76), at(77)], [0xb8, 15]);
        assert_eq!(5 + 2 + u64::from(at(6)), 29);
        assert_eq!(32 + 2 + u64::from(at(33)), 49);
        assert_eq!(52 + 2 + u64::from(at(53)), 76);
        assert_eq!((29 + i64::from(at(28) as i8)) as u64, 0);
    }
}
