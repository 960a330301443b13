//! The structures in which the program wants the facts of this start (`struct snap_info`, FORMAT.md).
#![allow(unsafe_code)] // names words of the structures

use super::image::{Image, Word};
use super::instance::Vectors;
use crate::runtime::sys;
use snapfn_format::snap::PATCH_INFO;

/// A `struct snap_info` of the program.
#[derive(Debug)]
pub(super) struct Info(u64);

impl Image<'_> {
    /// Each structure of the program. The first belongs to the executable or library that marks the point.
    pub(super) fn infos(&self) -> impl Iterator<Item = Info> {
        let others = self.patches.iter().filter(|patch| patch.kind == PATCH_INFO).map(|patch| patch.addr);
        Some(self.header.process.info).filter(|info| *info != 0).into_iter().chain(others).map(Info)
    }
}

impl Info {
    pub(super) fn addr(&self) -> u64 {
        self.0
    }

    /// Fills the structure between its size and its list of hooks.
    pub(super) fn publish(&self, vectors: &Vectors, generation: u64) {
        // SAFETY: validated: a multiple of 8, and writable for `Patch::INFO_LEN` bytes.
        unsafe {
            Word::at(self.0 + 4).set(1u32);
            self.publish_counts(vectors);
            Word::at(self.0 + 16).set(vectors.argv);
            Word::at(self.0 + 32).set(generation);
            Word::at(self.0 + 40).set(0u64);
        }
    }

    /// Fills the part that depends on the request.
    pub(super) fn publish_counts(&self, vectors: &Vectors) {
        // SAFETY: as in `publish`.
        unsafe {
            Word::at(self.0 + 8).set(vectors.argc);
            Word::at(self.0 + 24).set(vectors.envp);
        }
    }
}

/// Fills all structures of the program, if there are any.
pub(super) fn publish(image: &Image<'_>, vectors: &Vectors) {
    // Most programs have none: their patches are not searched.
    if image.header.process.info == 0 {
        return;
    }
    let generation = generation();
    image.infos().for_each(|info| info.publish(vectors, generation));
}

/// A number that no other instance has.
fn generation() -> u64 {
    let mut generation = [0u8; 8];
    let _ = sys::getrandom(&mut generation);
    u64::from_le_bytes(generation) | 1
}
