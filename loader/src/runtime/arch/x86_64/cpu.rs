//! Checks without `CPUID` whether this host has the CPU features that the snapshot's code was selected for.
//!
//! `CPUID` traps in a virtual machine (several microseconds each), so this module tries features instead: one
//! instruction each, with a SIGILL handler that goes on behind it. That needs two system calls for the handler, and no
//! file or record of an earlier check, which could be stale after a virtual machine has moved to another CPU. Where a
//! hypervisor only hides a feature from `CPUID`, the instruction works, and so does the snapshot.
#![allow(unsafe_code)] // executes instructions that the CPU may not have, installs a signal handler

use super::{nr, xcr0};
use crate::runtime::sys::sigaction;
use core::arch::{asm, naked_asm};
use core::fmt;
use core::mem::MaybeUninit;
use snapfn_format::arch::xstate;
use snapfn_format::cpu::{FeatureSet, name};
use snapfn_format::requirements::{self, Misfit};
use snapfn_format::snap::Plan;

const SIGILL: u32 = 4;
const SA_SIGINFO: u64 = 4;
const SA_RESTORER: u64 = 0x0400_0000;
const SA_NODEFER: u64 = 0x4000_0000;
/// Number of the feature whose instruction reads XCR0.
const XSAVE: u8 = 10;

/// What this host lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Features of the CPU.
    Features(FeatureSet),
    /// Something else of the requirements.
    Other(Misfit),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::Features(missing) => {
                f.write_str("this CPU lacks")?;
                for (index, number) in missing.numbers().enumerate() {
                    f.write_str(if index == 0 { " " } else { ", " })?;
                    match name(number) {
                        Some(name) => f.write_str(name)?,
                        None => write!(f, "feature {number} (of a newer version)")?,
                    }
                }
                f.write_str(", which code in the snapshot was selected for")
            }
            Unfit::Other(misfit) => write!(f, "{misfit}"),
        }
    }
}

/// SIGILL at a probe: goes on at the address in r8.
#[unsafe(naked)]
extern "C" fn go_on() {
    // rdx is the ucontext; its registers begin at 40 with r8, rip is the 17th.
    naked_asm!("mov rax, [rdx + 40]", "mov [rdx + 40 + 16 * 8], rax", "ret")
}

/// Where the handler returns to.
#[unsafe(naked)]
extern "C" fn end_of_signal() {
    naked_asm!("mov eax, {number}", "syscall", number = const nr::RT_SIGRETURN)
}

/// Room for instructions that write to memory: an XSAVE header behind the legacy area.
#[repr(C, align(64))]
struct Area(MaybeUninit<[u8; 576]>);

/// Whether the instructions run to their end. They may use rax, rcx, rdx, xmm0 and the memory at rdi.
macro_rules! runs {
    ($area:ident, $($instruction:literal),+) => {{
        let there: u64;
        // SAFETY: registers and the area only; where the CPU does not know an instruction, the handler goes on at 4.
        unsafe {
            asm!(
                "lea r8, [rip + 4f]",
                "xor r9d, r9d",
                $($instruction,)+
                "mov r9d, 1",
                "4:",
                in("rdi") &raw mut *$area,
                out("rax") _, out("rcx") _, out("rdx") _, out("r8") _, out("r9") there, out("xmm0") _,
            );
        }
        there != 0
    }};
}

/// Tries feature `number`. Features that are only a hint are not tried.
fn has(number: u8, area: &mut Area) -> bool {
    match number {
        0 => runs!(area, "haddps xmm0, xmm0"),
        1 => runs!(area, "pshufb xmm0, xmm0"),
        2 => runs!(area, "pmaxsb xmm0, xmm0"),
        3 => runs!(area, "pcmpgtq xmm0, xmm0"),
        4 => runs!(area, "popcnt eax, eax"),
        5 => runs!(area, "cmpxchg16b [rdi]"),
        6 => runs!(area, "lahf"),
        7 => runs!(area, "movbe eax, [rdi]"),
        8 => runs!(area, "pclmulqdq xmm0, xmm0, 0"),
        9 => runs!(area, "aesenc xmm0, xmm0"),
        XSAVE => runs!(area, "xor ecx, ecx", "xgetbv"),
        11 => runs!(area, "vmovaps xmm0, xmm0"),
        12 => runs!(area, "vcvtph2ps xmm0, xmm0"),
        // They are slow where they exist (up to a microsecond), so the loader assumes them: a program falls back on
        // getrandom where they fail. `create` and `check` read CPUID.
        13 | 19 => true,
        14 => runs!(area, "vfmadd132ss xmm0, xmm0, xmm0"),
        15 => runs!(area, "andn eax, eax, eax"),
        16 => runs!(area, "vpbroadcastd xmm0, xmm0"),
        17 => runs!(area, "rorx eax, eax, 1"),
        // An older CPU executes it as bsr, which gives the index of the highest bit instead.
        18 => runs!(area, "mov eax, 1", "lzcnt ecx, eax", "cmp ecx, 31", "jne 4f"),
        20 => runs!(area, "adcx eax, ecx"),
        21 => runs!(area, "sha256msg1 xmm0, xmm0"),
        22 => runs!(area, "xtest"),
        23 => runs!(area, "vaesenc ymm0, ymm0, ymm0", "vzeroupper"),
        24 => runs!(area, "vpclmulqdq ymm0, ymm0, ymm0, 0", "vzeroupper"),
        25 => runs!(area, "gf2p8mulb xmm0, xmm0"),
        // Of no component: only the header is written.
        26 => runs!(area, "xor eax, eax", "xor edx, edx", "xsavec64 [rdi]"),
        27 => runs!(area, "vfmaddss xmm0, xmm0, xmm0, xmm0"),
        28 => runs!(area, "vphaddbw xmm0, xmm0"),
        29 => runs!(area, "{{vex}} vpdpbusd xmm0, xmm0, xmm0"),
        30 => runs!(area, "{{vex}} vpmadd52luq xmm0, xmm0, xmm0"),
        40 => runs!(area, "vrndscaless xmm0, xmm0, xmm0, 0"),
        41 => runs!(area, "vrangess xmm0, xmm0, xmm0, 0"),
        42 => runs!(area, "{{evex}} vpmadd52luq xmm0, xmm0, xmm0"),
        43 => runs!(area, "vplzcntd xmm0, xmm0"),
        44 => runs!(area, "vpsllvw xmm0, xmm0, xmm0"),
        45 => runs!(area, "vpternlogd xmm0, xmm0, xmm0, 0"),
        46 => runs!(area, "vpermb xmm0, xmm0, xmm0"),
        47 => runs!(area, "vpshldw xmm0, xmm0, xmm0, 0"),
        48 => runs!(area, "{{evex}} vpdpbusd xmm0, xmm0, xmm0"),
        49 => runs!(area, "vpopcntb xmm0, xmm0"),
        50 => runs!(area, "vpopcntd xmm0, xmm0"),
        51 => runs!(area, "vaddsh xmm0, xmm0, xmm0"),
        52 => runs!(area, "{{evex}} vcvtneps2bf16 xmm0, xmm0"),
        _ => false,
    }
}

/// Refuses a host that lacks what the plan needs.
pub fn check(plan: &Plan<'_>) -> Result<(), Unfit> {
    let mut before = [0; 4];
    let handler =
        [go_on as *const () as u64, SA_SIGINFO | SA_RESTORER | SA_NODEFER, end_of_signal as *const () as u64, 0];
    // SAFETY: only instructions of this module can meet the handler: one thread runs, and it stays in here meanwhile.
    let installed = unsafe { sigaction(SIGILL, &handler, &mut before) }.is_ok();
    // Where even that is forbidden, a missing feature ends this process by SIGILL.
    let result = examine(plan);
    if installed {
        let ours = &mut [0; 4];
        // SAFETY: this is the earlier disposition: the default, or to ignore the signal.
        let _ = unsafe { sigaction(SIGILL, &before, ours) };
    }
    result
}

fn examine(plan: &Plan<'_>) -> Result<(), Unfit> {
    let area = &mut Area(MaybeUninit::uninit());
    // SAFETY: the instruction has just worked.
    let xcr0 = if has(XSAVE, area) { unsafe { xcr0() } } else { xstate::LEGACY };
    if let Some(needs) = plan.needs {
        let mut missing = FeatureSet::default();
        FeatureSet(needs.cpu)
            .without_hints()
            .numbers()
            .filter(|number| !has(*number, area))
            .for_each(|number| missing.insert(number));
        if !missing.is_empty() {
            return Err(Unfit::Features(missing));
        }
    }
    let misfit = requirements::state(plan.live_state(), xcr0).or_else(|| {
        plan.needs.and_then(|needs| requirements::grown(needs, xcr0).or_else(|| requirements::layout(needs, lies)))
    });
    misfit.map_or(Ok(()), |misfit| Err(Unfit::Other(misfit)))
}

/// Whether this CPU has register state `component`, which is enabled, at `place` of an XSAVE area: the CPU saves only
/// that component.
fn lies(component: u32, place: u32) -> bool {
    /// This is more than any CPU's area has, so a component could lie at any place of it.
    const ROOM: u32 = 32 << 10;
    // The saved bytes may equal the earlier ones by chance, but not both times.
    place <= ROOM - 8
        && [0x5a5a_5a5a, 0xa5a5_a5a5].into_iter().any(|fill: u32| {
            let (before, at): (u32, u32);
            // SAFETY: the area lies below everything on the stack that is in use, and an assembler block may use the
            // stack; the kernel extends it there. The CPU has XSAVE, and only writes to the area.
            unsafe {
                asm!(
                    "lea rdi, [rsp - 128 - {room}]",
                    "and rdi, -4096",
                    "mov [rdi + {place} - 4], {fill:e}",
                    "mov [rdi + {place}], {fill:e}",
                    "xsave64 [rdi]",
                    "mov {fill:e}, [rdi + {place} - 4]",
                    "mov {at:e}, [rdi + {place}]",
                    room = const ROOM,
                    place = in(reg) u64::from(place),
                    fill = inout(reg) fill => before,
                    at = out(reg) at,
                    in("eax") 1u32 << component, in("edx") 0u32, out("rdi") _,
                );
            }
            before == fill && at != fill
        })
}
