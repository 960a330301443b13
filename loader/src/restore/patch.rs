//! Words that are new in every instance.

use super::instance::Vectors;
use crate::runtime::auxv::{InitialStack, at};
use crate::runtime::memory::{read_u64, write_bytes, write_u32, write_u64};
use snapfn_format::snap::*;

/// The new stack canary, made as the C libraries make it: from the kernel's random bytes, lowest byte zero.
///
/// # Safety
/// `initial` is this process's initial stack.
pub(super) unsafe fn canary(initial: &InitialStack) -> u64 {
    match initial.aux_value(at::RANDOM) {
        // SAFETY: 16 bytes that the kernel put there, not necessarily aligned.
        Some(addr) if addr != 0 => (unsafe { (addr as *const u64).read_unaligned() }) & !0xff,
        _ => 0x00ff_0d0a_0000_0000,
    }
}

/// The value of a patch other than a TID.
pub(super) fn value(kind: u16, vectors: &Vectors, canary: u64) -> u64 {
    match kind {
        PATCH_ARGV => vectors.argv,
        PATCH_ENVP => vectors.envp,
        PATCH_ARGC | PATCH_ARGC_INT => vectors.argc,
        PATCH_STACK => vectors.argv - 8,
        PATCH_ARGV_END => vectors.argv + 8 * vectors.argc,
        PATCH_ENVP_END => vectors.envp + 8 * vectors.envc,
        PATCH_ENVC | PATCH_ENVC_INT => vectors.envc,
        _ => canary,
    }
}

/// Applies all memory patches of words but those that need TIDs.
///
/// # Safety
/// The plan is valid and mapped.
pub(super) unsafe fn memory(plan: &Plan<'_>, vectors: &Vectors, canary: u64) {
    for patch in plan.patches.iter().take_while(|patch| patch.place == PATCH_MEMORY) {
        // SAFETY: validated: aligned, in a writable private mapping.
        unsafe {
            match patch.kind {
                PATCH_TID | PATCH_TID_FUTEX | PATCH_CLOCK | PATCH_INFO | PATCH_VECTOR => {}
                PATCH_ARGC_INT | PATCH_ENVC_INT => {
                    write_u32(patch.addr, value(patch.kind, vectors, canary) as u32);
                }
                // These words already point to a vector that keeps its address: their pages stay shared.
                PATCH_ENVP if vectors.keeps_envp => {}
                _ => write_u64(patch.addr, value(patch.kind, vectors, canary)),
            }
        }
    }
}

/// Updates the program's auxiliary vector: user and group IDs, AT_SECURE, and the random bytes.
///
/// # Safety
/// The plan's image is mapped.
pub(super) unsafe fn auxv(process: &Process, initial: &InitialStack) {
    // SAFETY: validated addresses; `initial` is the kernel's.
    unsafe {
        if let (Some(random), true) = (initial.aux_value(at::RANDOM), process.at_random != 0) {
            write_bytes(process.at_random, crate::runtime::memory::bytes(random, 16));
        }
        if process.auxv == 0 {
            return;
        }
        for pair in (0..process.auxv_len / 16).map(|i| process.auxv + 16 * i) {
            let kind = read_u64(pair);
            if matches!(kind, at::UID | at::EUID | at::GID | at::EGID | at::SECURE)
                && let Some(value) = initial.aux_value(kind)
                && read_u64(pair + 8) != value
            {
                write_u64(pair + 8, value);
            }
        }
    }
}
