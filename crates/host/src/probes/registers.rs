//! Loading all registers at once, and the thread pointer.
#![allow(unsafe_code)] // wrfsbase

use crate::arch::sigframe::{Frame, Landed, XSAVE_AVX, XSAVE_MIN, enabled_features, write_thread_pointer};
use crate::finding::{Check, Detail, Finding, Judge, ensure_value, missing, unknown};
use crate::region::Region;
use crate::requirements;
use crate::sys;
use crate::{Level, Probe};

pub(crate) const PROBES: &[Probe] = &[
    Probe::new(
        "sigreturn-loads-everything",
        Level::RestoreNeeds,
        "all",
        "the last instruction of a restore loads registers, signal mask, alternate stack and vector state at once",
        "nothing can be restored: no other call does it without using a register itself",
        sigreturn_loads_everything,
    ),
    Probe::new(
        "sigreturn-beside-altstack",
        Level::Optional,
        "all; the address at the end counts as part of the stack",
        "shows why no alternate stack may be set when the frames of an instance are run",
        "nothing: frames may lie anywhere",
        sigreturn_beside_altstack,
    ),
    Probe::new(
        "sigreturn-small-xstate",
        Level::RestoreNeeds,
        "2.6.30 and later",
        "a snapshot from a host with less vector state (AVX2) starts on one with more (AVX-512, AMX)",
        "snapshots start only on hosts with the very same vector state",
        sigreturn_small_xstate,
    ),
    Probe::new(
        "sigreturn-long-xstate",
        Level::Optional,
        "2.6.30 and later; without room for AMX tiles from 5.16 on",
        "shows why an area must end with its last live component, and not be as long as the processor's",
        "nothing: longer areas are accepted, too",
        sigreturn_long_xstate,
    ),
    Probe::new(
        "wrfsbase",
        Level::Optional,
        "5.9 and later, processors with FSGSBASE",
        "the thread pointer is set by an instruction",
        "it is set by arch_prctl",
        wrfsbase,
    ),
];

const X87_SSE: u64 = 3;
const AVX: u64 = 4;
/// Index of rsp in the general registers, which must point to memory.
const RSP: usize = 7;

/// The value of register `index` in a test frame.
fn general(index: usize) -> u64 {
    0x0101_0101_0101_0101 * (index as u64 + 1)
}

fn vector(index: u64) -> [u64; 4] {
    [1, 2, 3, 4].map(|lane| 0x1000_0000_0000_0000 * lane + index)
}

/// A frame with patterns in all registers, and room for a stack behind it; the address of that stack.
fn patterned(size: u32, features: u64) -> Result<(Frame, u64), Finding> {
    patterned_in(Region::anonymous(64 << 10).or_unknown("mmap failed")?, size, features)
}

/// The same in a region of the caller.
fn patterned_in(region: Region, size: u32, features: u64) -> Result<(Frame, u64), Finding> {
    if enabled_features() & AVX == 0 {
        return Err(unknown("this processor has no AVX, and the experiment reads ymm registers", Detail::None));
    }
    let stack = region.end() - 64;
    let frame = Frame::new(region, size, features);
    for index in 0..16 {
        frame.set_general(index, if index == RSP { stack } else { general(index) });
        frame.set_vector(index as u64, vector(index as u64));
    }
    Ok((frame, stack))
}

/// The general registers and the lower halves of the vector registers are those of the frame.
fn check_landing(landed: &Landed, stack: u64) -> Check {
    for (index, seen) in landed.general.iter().enumerate() {
        let expected = if index == RSP { stack } else { general(index) };
        ensure_value(*seen == expected, "rt_sigreturn left a general register at", *seen)?;
    }
    for (index, seen) in (0..).zip(&landed.vectors) {
        ensure_value(seen[..2] == vector(index)[..2], "rt_sigreturn left half of a vector register at", seen[0])?;
    }
    Ok(())
}

/// **Symptom**: after the call all is as the frame says. **Sequence**: a frame in memory of its own, not on a stack and
/// not made by the kernel: sixteen registers, flags, mxcsr, ymm0–15, signal mask, alternate stack; `rt_sigreturn` with
/// rsp at the ucontext. **Kernels**: all x86-64. Newer ones (6.18 is one) set the alternate stack before the registers,
/// and silently leave it alone if rsp, which is still that of the frame then, lies on the present alternate stack or is
/// the very address at its end. **Workaround**: a fresh process and a fresh thread have none, so none is set before the
/// jump. **Removable**: never.
fn sigreturn_loads_everything() -> Check {
    const CARRY_AND_DIRECTION: u64 = 0x401;
    const MXCSR: u32 = 0x1fa0;
    let (frame, stack) = patterned(XSAVE_AVX, X87_SSE | AVX)?;
    let mask = 1 << (libc::SIGUSR1 - 1) | 1 << (libc::SIGTERM - 1) | 1 << (40 - 1);
    let alternate = Region::anonymous(64 << 10).or_unknown("mmap failed")?;
    frame.set_flags(0x202 | CARRY_AND_DIRECTION);
    frame.set_mxcsr(MXCSR);
    frame.set_signal_mask(mask);
    frame.set_alternate_stack(alternate.addr(), alternate.len());
    let landed = frame.jump();
    check_landing(&landed, stack)?;
    for (index, seen) in (0..).zip(&landed.vectors) {
        ensure_value(*seen == vector(index), "rt_sigreturn left the upper half of a ymm register at", seen[2])?;
    }
    let flags = landed.flags & CARRY_AND_DIRECTION;
    ensure_value(flags == CARRY_AND_DIRECTION, "rt_sigreturn left the flags at", landed.flags)?;
    ensure_value(landed.mxcsr == MXCSR, "rt_sigreturn left mxcsr at", u64::from(landed.mxcsr))?;
    let blocked = sys::signal_mask();
    ensure_value(blocked == mask, "rt_sigreturn left the signal mask at", blocked)?;
    let set = sys::alternate_stack();
    if set == Some((alternate.addr(), alternate.len())) {
        Ok(())
    } else {
        Err(missing("rt_sigreturn left the alternate stack at", Detail::Value(set.map_or(0, |stack| stack.0))))
    }
}

/// **Symptom**: the alternate stack is still the old one, everything else is loaded. **Sequence**: an alternate stack
/// that ends where the frame begins; the frame's rsp is at its end, too; `rt_sigreturn`. **Kernels**: all, by the
/// frame's or by the new rsp, see [`sigreturn_loads_everything`]. **Workaround**: as there. **Removable**: never.
fn sigreturn_beside_altstack() -> Check {
    const STACK: u64 = 64 << 10;
    let both = Region::anonymous(2 * STACK).or_unknown("mmap failed")?;
    let (old, frame_at) = (both.addr(), both.addr() + STACK);
    // The upper half is unmapped and mapped again for the frame.
    let _stack = both.shorten(STACK).or_unknown("munmap failed")?;
    let (frame, _) =
        patterned_in(Region::anonymous_at(frame_at, STACK).or_unknown("mmap failed")?, XSAVE_MIN, X87_SSE)?;
    frame.set_general(RSP, frame_at);
    frame.set_alternate_stack(frame_at + STACK / 2, STACK / 2);
    sys::set_alternate_stack(old, STACK).or_unknown("sigaltstack failed")?;
    frame.jump();
    let set = sys::alternate_stack().map_or(0, |stack| stack.0);
    ensure_value(set == old, "the alternate stack of the frame was taken, it is at", set)
}

/// **Symptom**: the state in the area is loaded, the rest is as after a fresh start. **Sequence**: a frame whose
/// `xstate_size` covers only the legacy area and the header, and whose features name only x87 and SSE; ymm0–15
/// are all ones before. **Kernels**: 2.6.30 and later; from 6.8 on the kernel takes the size of the thread's
/// own state to fault memory in, so the frame must not end at the end of a mapping. **Workaround**: frames are
/// followed by a page of slack. **Removable**: never.
fn sigreturn_small_xstate() -> Check {
    let (frame, stack) = patterned(XSAVE_MIN, X87_SSE)?;
    let landed = frame.jump();
    check_landing(&landed, stack)?;
    for seen in &landed.vectors {
        ensure_value(seen[2] == 0 && seen[3] == 0, "state that the frame lacks was not reset but is", seen[2])?;
    }
    Ok(())
}

/// **Symptom**: ymm, zmm and mask registers are as after a fresh start, without an error, though the area holds them.
/// **Sequence**: a frame whose `xstate_size` is more than the process's own state takes. **Kernels**: 2.6.30 and later
/// (`check_xstate_in_sigframe`); from 5.16 on the own state is without AMX tile data until `ARCH_REQ_XCOMP_PERM`, so on
/// such processors the area that `PTRACE_GETREGSET` gives (NT_X86_XSTATE, 11,008 bytes) is too long for the process
/// that it was read from. **Workaround**: an area ends with its last live component. **Removable**: never.
fn sigreturn_long_xstate() -> Check {
    let (frame, stack) = patterned(requirements::xstate_size() + 64, X87_SSE | AVX)?;
    let landed = frame.jump();
    check_landing(&landed, stack)?;
    for seen in &landed.vectors {
        ensure_value(seen[2] == 0 && seen[3] == 0, "state of a longer area was loaded", seen[2])?;
    }
    Ok(())
}

/// **Symptom**: the thread pointer is what was written, without a system call. **Sequence**: AT_HWCAP2 bit 1,
/// `wrfsbase`, `rdfsbase`, a load through fs. **Kernels**: 5.9 and later; SIGILL without the bit. **Workaround**:
/// `arch_prctl(ARCH_SET_FS)`. **Removable**: when FSGSBASE can be taken for granted.
fn wrfsbase() -> Check {
    const HWCAP2_FSGSBASE: u64 = 2;
    let capabilities = sys::auxv(libc::AT_HWCAP2);
    ensure_value(capabilities & HWCAP2_FSGSBASE != 0, "AT_HWCAP2 lacks bit 1, it is", capabilities)?;
    let word = 0x7772_6673_6261_7365;
    // SAFETY: the bit was checked.
    let (read, loaded) = unsafe { write_thread_pointer(&word) };
    ensure_value(read == &raw const word as u64, "rdfsbase gives", read)?;
    ensure_value(loaded == word, "a load through fs gives", loaded)
}
