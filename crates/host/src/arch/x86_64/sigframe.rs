//! A hand-made signal frame, and a landing place that stores all registers.
#![allow(unsafe_code)] // rt_sigreturn replaces every register; assembly on both sides of it

use std::arch::{asm, global_asm};
use std::ptr;

use snapfn_format::arch::{frame, user_regs};

use crate::region::Region;

/// Offset of the XSAVE area in the region of a frame: a multiple of 64.
const XSAVE: u64 = 1024;
const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;
const FP_XSTATE_MAGIC2: u32 = 0x4650_5845;
/// Legacy area and header.
pub(crate) const XSAVE_MIN: u32 = 576;
/// With the upper halves of ymm0-15, which come first in the standard format.
pub(crate) const XSAVE_AVX: u32 = XSAVE_MIN + 256;

/// What the landing place stored: rax rbx rcx rdx rsi rdi rbp rsp r8-r15, flags, mxcsr, ymm0-15.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(crate) struct Landed {
    pub(crate) general: [u64; 16],
    pub(crate) flags: u64,
    pub(crate) mxcsr: u32,
    // The vectors start on a cache line, at 192.
    pad: [u32; 13],
    pub(crate) vectors: [[u64; 4]; 16],
}

global_asm!(
    ".pushsection .bss.snapfn_probe,\"aw\",@nobits",
    ".balign 64",
    "snapfn_probe_landed: .skip 704",
    "snapfn_probe_stack: .skip 8",
    "snapfn_probe_default_mxcsr: .skip 8",
    ".popsection",
    ".pushsection .text.snapfn_probe,\"ax\",@progbits",
    // rdi: address of a ucontext. Returns after the frame has landed at the label below.
    "snapfn_probe_sigreturn:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov [rip + snapfn_probe_stack], rsp",
    "stmxcsr [rip + snapfn_probe_default_mxcsr]",
    // All bits are ones, so that the test sees whether state that the frame does not set is reset.
    "vcmpps ymm0, ymm0, ymm0, 15",
    "vcmpps ymm1, ymm1, ymm1, 15",
    "vcmpps ymm2, ymm2, ymm2, 15",
    "vcmpps ymm3, ymm3, ymm3, 15",
    "vcmpps ymm4, ymm4, ymm4, 15",
    "vcmpps ymm5, ymm5, ymm5, 15",
    "vcmpps ymm6, ymm6, ymm6, 15",
    "vcmpps ymm7, ymm7, ymm7, 15",
    "vcmpps ymm8, ymm8, ymm8, 15",
    "vcmpps ymm9, ymm9, ymm9, 15",
    "vcmpps ymm10, ymm10, ymm10, 15",
    "vcmpps ymm11, ymm11, ymm11, 15",
    "vcmpps ymm12, ymm12, ymm12, 15",
    "vcmpps ymm13, ymm13, ymm13, 15",
    "vcmpps ymm14, ymm14, ymm14, 15",
    "vcmpps ymm15, ymm15, ymm15, 15",
    "mov rsp, rdi", // rt_sigreturn finds the ucontext at rsp: a handler's return has popped the word before it
    "mov eax, 15",
    "syscall",
    "ud2",
    // No register has a known value here, so the code stores everything relative to rip, without changing flags.
    "snapfn_probe_landing:",
    "mov [rip + snapfn_probe_landed + 0], rax",
    "mov [rip + snapfn_probe_landed + 8], rbx",
    "mov [rip + snapfn_probe_landed + 16], rcx",
    "mov [rip + snapfn_probe_landed + 24], rdx",
    "mov [rip + snapfn_probe_landed + 32], rsi",
    "mov [rip + snapfn_probe_landed + 40], rdi",
    "mov [rip + snapfn_probe_landed + 48], rbp",
    "mov [rip + snapfn_probe_landed + 56], rsp",
    "mov [rip + snapfn_probe_landed + 64], r8",
    "mov [rip + snapfn_probe_landed + 72], r9",
    "mov [rip + snapfn_probe_landed + 80], r10",
    "mov [rip + snapfn_probe_landed + 88], r11",
    "mov [rip + snapfn_probe_landed + 96], r12",
    "mov [rip + snapfn_probe_landed + 104], r13",
    "mov [rip + snapfn_probe_landed + 112], r14",
    "mov [rip + snapfn_probe_landed + 120], r15",
    "mov rsp, [rip + snapfn_probe_stack]",
    "pushfq",
    "pop qword ptr [rip + snapfn_probe_landed + 128]",
    "cld",
    "stmxcsr [rip + snapfn_probe_landed + 136]",
    "ldmxcsr [rip + snapfn_probe_default_mxcsr]",
    "vmovdqu [rip + snapfn_probe_landed + 192 + 0*32], ymm0",
    "vmovdqu [rip + snapfn_probe_landed + 192 + 1*32], ymm1",
    "vmovdqu [rip + snapfn_probe_landed + 192 + 2*32], ymm2",
    "vmovdqu [rip + snapfn_probe_landed + 192 + 3*32], ymm3",
    "vmovdqu [rip + snapfn_probe_landed + 192 + 4*32], ymm4",
    "vmovdqu [rip + snapfn_probe_landed + 192 + 5*32], ymm5",
    "vmovdqu [rip + snapfn_probe_landed + 192 + 6*32], ymm6",
    "vmovdqu [rip + snapfn_probe_landed + 192 + 7*32], ymm7",
    "vmovdqu [rip + snapfn_probe_landed + 192 + 8*32], ymm8",
    "vmovdqu [rip + snapfn_probe_landed + 192 + 9*32], ymm9",
    "vmovdqu [rip + snapfn_probe_landed + 192 + 10*32], ymm10",
    "vmovdqu [rip + snapfn_probe_landed + 192 + 11*32], ymm11",
    "vmovdqu [rip + snapfn_probe_landed + 192 + 12*32], ymm12",
    "vmovdqu [rip + snapfn_probe_landed + 192 + 13*32], ymm13",
    "vmovdqu [rip + snapfn_probe_landed + 192 + 14*32], ymm14",
    "vmovdqu [rip + snapfn_probe_landed + 192 + 15*32], ymm15",
    "vzeroupper",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
    ".popsection",
);

unsafe extern "C" {
    fn snapfn_probe_sigreturn(ucontext: u64);
    static snapfn_probe_landing: u8;
    static snapfn_probe_landed: u8;
}

/// A frame in the making.
pub(crate) struct Frame {
    region: Region,
}

/// The offset in the ucontext, which lies behind a word of the frame that instances start from.
const fn in_context(in_frame: u64) -> u64 {
    in_frame - frame::FLAGS
}

/// The offset in the ucontext of `register`, one of [`user_regs`].
const fn place_of(register: usize) -> u64 {
    let mut place = 0;
    while frame::ORDER[place] != register {
        place += 1;
    }
    in_context(frame::register(place))
}

const ALT_STACK: u64 = in_context(frame::ALTSTACK_ADDRESS);
const RIP: u64 = place_of(user_regs::RIP);
const FLAGS: u64 = place_of(user_regs::EFLAGS);
const SEGMENTS: u64 = in_context(frame::SELECTORS);
const FPSTATE: u64 = in_context(frame::XSTATE);
const SIGNAL_MASK: u64 = in_context(frame::SIGNAL_MASK);
/// Each register of [`Landed::general`], in that order.
const GENERAL: [usize; 16] = [
    user_regs::RAX,
    user_regs::RBX,
    user_regs::RCX,
    user_regs::RDX,
    user_regs::RSI,
    user_regs::RDI,
    user_regs::RBP,
    user_regs::RSP,
    user_regs::R8,
    user_regs::R9,
    user_regs::R10,
    user_regs::R11,
    user_regs::R12,
    user_regs::R13,
    user_regs::R14,
    user_regs::R15,
];

impl Frame {
    /// A frame with an XSAVE area of `xstate_size` bytes that sets `features`; it lands in this module.
    pub(crate) fn new(region: Region, xstate_size: u32, features: u64) -> Self {
        // 64-bit code and stack segment of every Linux.
        const CS_SS: u64 = 0x33 | 0x2b << 48;
        region.poke_word(in_context(frame::FLAGS), frame::FLAGS_VALUE);
        region.poke_word(RIP, &raw const snapfn_probe_landing as u64);
        region.poke_word(FLAGS, 0x202);
        region.poke_word(SEGMENTS, CS_SS);
        region.poke_word(FPSTATE, region.addr() + XSAVE);
        let frame = Self { region };
        frame.poke32(XSAVE, 0x37f);
        frame.poke32(XSAVE + 24, 0x1f80);
        frame.poke32(XSAVE + 464, FP_XSTATE_MAGIC1);
        frame.poke32(XSAVE + 468, xstate_size + 4);
        frame.region.poke_word(XSAVE + 472, features);
        frame.poke32(XSAVE + 480, xstate_size);
        frame.region.poke_word(XSAVE + 512, features);
        frame.poke32(XSAVE + u64::from(xstate_size), FP_XSTATE_MAGIC2);
        frame
    }

    fn poke32(&self, at: u64, value: u32) {
        self.region.fill(at, &value.to_le_bytes());
    }

    /// A general register, in the order of [`Landed::general`].
    pub(crate) fn set_general(&self, index: usize, value: u64) {
        self.region.poke_word(place_of(GENERAL[index]), value);
    }

    pub(crate) fn set_flags(&self, flags: u64) {
        self.region.poke_word(FLAGS, flags);
    }

    pub(crate) fn set_mxcsr(&self, mxcsr: u32) {
        self.poke32(XSAVE + 24, mxcsr);
    }

    pub(crate) fn set_signal_mask(&self, mask: u64) {
        self.region.poke_word(SIGNAL_MASK, mask);
    }

    pub(crate) fn set_alternate_stack(&self, address: u64, size: u64) {
        self.region.poke_word(ALT_STACK, address);
        self.region.poke_word(ALT_STACK + 8, 0);
        self.region.poke_word(ALT_STACK + 16, size);
    }

    /// A vector register; its upper half counts only if the area is large enough.
    pub(crate) fn set_vector(&self, index: u64, value: [u64; 4]) {
        self.region.poke_word(XSAVE + 160 + index * 16, value[0]);
        self.region.poke_word(XSAVE + 168 + index * 16, value[1]);
        self.region.poke_word(XSAVE + 576 + index * 16, value[2]);
        self.region.poke_word(XSAVE + 584 + index * 16, value[3]);
    }

    /// Calls `rt_sigreturn` with the frame. Returns the registers right after it.
    ///
    /// Needs AVX. Signal mask and alternate stack of this thread are those of the frame afterwards.
    pub(crate) fn jump(&self) -> Landed {
        // SAFETY: the frame lands at the label in the same function, which restores stack pointer, callee-saved
        // registers and mxcsr, and returns; the storage it wrote is as large as the type and only used here.
        unsafe {
            snapfn_probe_sigreturn(self.region.addr());
            (&raw const snapfn_probe_landed).cast::<Landed>().read_volatile()
        }
    }
}

/// State components that the kernel has enabled (XCR0).
pub(crate) fn enabled_features() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a register; every x86-64 kernel that has XSAVE on lets user code do so.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags)) };
    u64::from(low) | u64::from(high) << 32
}

/// Sets the thread pointer by `wrfsbase`, reads it back by `rdfsbase` and a load, and puts the old one back.
///
/// # Safety
/// The processor and kernel must allow the instructions (AT_HWCAP2 bit 1), else SIGILL follows.
pub(crate) unsafe fn write_thread_pointer(word: &u64) -> (u64, u64) {
    let (read, loaded): (u64, u64);
    // SAFETY: between the two writes no compiled code runs, so nothing can use thread-local data.
    unsafe {
        asm!(
            "rdfsbase {old}",
            "wrfsbase {new}",
            "rdfsbase {read}",
            "mov {loaded}, fs:[0]",
            "wrfsbase {old}",
            old = out(reg) _,
            new = in(reg) ptr::from_ref(word),
            read = lateout(reg) read,
            loaded = lateout(reg) loaded,
        );
    }
    (read, loaded)
}
