//! The code of the vDSO's page on x86-64, and the unwind records that describe it.

use snapfn_format::arch::{BREAKPOINT, MOV_EAX, SYSCALL, SYSCALL_RET};
use snapfn_format::snap::resident::{
    ENTRIES, ENTRY_SIZE, FALLBACKS, FUNCTIONS, RESUME_JUMP, SLOTS, STUB_CLONE, STUB_FINISH, STUB_FINISH_EXE,
    STUB_FINISH_TIMED, STUB_RESUME, STUB_SYSCALL, STUB_THREAD,
};

/// The common record: pointers are relative and have 4 bytes, the return address has column 16, and a function finds it
/// at rsp.
const COMMON: [u8; 20] = [
    16, 0, 0, 0, // length
    0, 0, 0, 0, // CIE
    1, b'z', b'R', 0, // version, augmentation
    1, 0x78, 16, // code alignment 1, data alignment −8, return address column 16
    1, 0x1b, // augmentation data: pointers are pc-relative sdata4
    0x0c, 7, 8, // DW_CFA_def_cfa rsp, 8
];
/// The functions keep no frame.
const OF_FUNCTIONS: [u8; 4] = [
    0, // no augmentation
    0x90, 1, // DW_CFA_offset r16 at CFA − 8
    0, // DW_CFA_nop
];
/// The stub that restarts a call takes the place of the program's own `syscall`: a thread that is cancelled there
/// unwinds from behind the program's. The block that rbx points to has the program's rip (at 56) and rbx (at 48).
const OF_RESUME: [u8; 16] = [
    0, // no augmentation
    0x0e, 0, // DW_CFA_def_cfa_offset 0: CFA = rsp
    0x10, 16, 2, 0x73, 56, // DW_CFA_expression r16 (return address): at rbx + 56
    0x10, 3, 2, 0x73, 48, // DW_CFA_expression r3 (rbx): at rbx + 48
    0, 0, 0, // DW_CFA_nop
];

/// The contents of `.eh_frame` at offset `at` of the page.
pub(crate) fn unwind_records(at: u64) -> Vec<u8> {
    let mut records = COMMON.to_vec();
    let mut describe = |start: u64, len: u64, rules: &[u8]| {
        let own = records.len();
        let words = [12 + rules.len(), own + 4, (start as i64 - (at as i64 + own as i64 + 8)) as usize, len as usize];
        records.extend(words.iter().flat_map(|word| (*word as u32).to_le_bytes()));
        records.extend(rules);
    };
    describe(ENTRIES, STUB_RESUME - ENTRIES, &OF_FUNCTIONS);
    describe(STUB_RESUME, RESUME_JUMP, &OF_RESUME);
    records.extend([0; 4]); // the end
    records
}

/// Gives `put` the stubs, the functions and their fallbacks, each with its offset in the page.
pub(crate) fn code(put: &mut impl FnMut(u64, &[u8])) {
    put(STUB_SYSCALL, &[SYSCALL.as_slice(), &BREAKPOINT].concat());
    put(
        STUB_FINISH,
        &[
            0xb8, 11, 0, 0, 0, // mov eax, SYS_munmap       (rdi, rsi: the loader)
            0x0f, 0x05, // syscall
            0xb8, 15, 0, 0, 0, // mov eax, SYS_rt_sigreturn (rsp: frame + 8)
            0x0f, 0x05, // syscall
        ],
    );
    put(
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
    put(
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
    put(
        STUB_CLONE,
        &[
            0x0f, 0x05, // syscall                          (SYS_clone and its arguments)
            0x85, 0xc0, // test eax, eax
            0x74, to_thread, // jz STUB_THREAD
            0xc3,      // ret
        ],
    );
    // r12 gate word, r13 robust list, r14 rseq area, r15 its length and signature, rsp frame + 8
    put(
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
    put(
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
    for (i, (_, number)) in (0..).zip(FUNCTIONS) {
        let entry = ENTRIES + ENTRY_SIZE * i;
        let distance = (SLOTS + 8 * i) as i64 - (entry as i64 + 6);
        put(entry, &[0xff, 0x25]); // jmp [rip + slot]
        put(entry + 2, &(distance as u32).to_le_bytes());
        let fallback = FALLBACKS + ENTRY_SIZE * i;
        put(fallback, &[MOV_EAX]); // mov eax, number; syscall; ret
        put(fallback + 1, &number.to_le_bytes());
        put(fallback + 5, &SYSCALL_RET);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapfn_format::PAGE;

    fn page() -> Vec<u8> {
        let mut page = vec![BREAKPOINT[0]; PAGE as usize];
        code(&mut |offset, bytes| page[offset as usize..][..bytes.len()].copy_from_slice(bytes));
        page
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
