//! Words that are new in every instance.

use super::image::{Image, Place};
use super::instance::Vectors;
use crate::runtime::auxv::{InitialStack, at};
use snapfn_format::snap::*;

/// The new stack canary, made as the C libraries make it: from the kernel's random bytes, lowest byte zero.
pub(super) fn canary(initial: &InitialStack) -> u64 {
    match initial.random().and_then(|random| random.first_chunk()) {
        Some(bytes) => u64::from_le_bytes(*bytes) & !0xff,
        None => 0x00ff_0d0a_0000_0000,
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
pub(super) fn memory(image: &Image<'_>, vectors: &Vectors, canary: u64) {
    for (patch, place) in image.patched() {
        match (patch.kind, place) {
            (PATCH_TID | PATCH_TID_FUTEX | PATCH_CLOCK, _) => {}
            // These words already point to a vector that keeps its address: their pages stay shared.
            (PATCH_ENVP, _) if vectors.keeps_envp => {}
            (kind, Place::Half(word)) => word.set(value(kind, vectors, canary) as u32),
            (kind, Place::Whole(word)) => word.set(value(kind, vectors, canary)),
        }
    }
}

/// Updates the program's auxiliary vector: user and group IDs, AT_SECURE, and the random bytes.
pub(super) fn auxv(image: &Image<'_>, initial: &InitialStack) {
    if let Some(random) = initial.random() {
        image.set_random(random);
    }
    for (kind, word) in image.auxv() {
        let kind = kind.get();
        if matches!(kind, at::UID | at::EUID | at::GID | at::EGID | at::SECURE)
            && let Some(value) = initial.aux_value(kind)
            && word.get() != value
        {
            word.set(value);
        }
    }
}
