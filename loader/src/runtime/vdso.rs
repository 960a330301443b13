//! Fills the slots of the synthetic vDSO from the host's vDSO.
#![allow(unsafe_code)] // reads the vDSO image, writes the slot page

use crate::runtime::memory::{self, write_u64};
use snapfn_format::snap::resident::{ENTRIES, ENTRY_SIZE, FALLBACKS, FUNCTIONS, SLOTS};
use snapfn_format::vdso::{functions, image_len};

/// An image's headers lie in its beginning.
const HEAD: u64 = 1024;

/// Fills the slot page of the resident region at `resident` with plain system calls. They work on every host, and a
/// program has them under the snapshotter: so no thread and no signal frame can lie in the host's vDSO at the point.
///
/// # Safety
/// The slot page must be writable.
pub unsafe fn fill_plain(resident: u64) {
    for i in 0..FUNCTIONS.len() as u64 {
        // SAFETY: the caller's promise.
        unsafe { write_u64(resident + SLOTS + 8 * i, resident + FALLBACKS + ENTRY_SIZE * i) };
    }
}

/// Fills the slot page of the resident region at `resident` from the vDSO at `host` (0: none). If the host lacks a
/// function, its slot gets the plain system call.
///
/// # Safety
/// The slot page must be writable; `host` as the kernel's AT_SYSINFO_EHDR.
pub unsafe fn fill_slots(resident: u64, host: u64) {
    // SAFETY: the caller promises it; a vDSO has at least a page, and its headers have its length.
    unsafe {
        fill_plain(resident);
        if host == 0 {
            return;
        }
        let Some(len) = image_len(memory::bytes(host, HEAD)) else { return };
        functions(memory::bytes(host, len), FUNCTIONS.iter().map(|(name, _)| *name), |which, value| {
            write_u64(resident + SLOTS + 8 * which as u64, host + value);
        });
    }
}

const _: () = assert!(ENTRIES + ENTRY_SIZE * FUNCTIONS.len() as u64 <= FALLBACKS);
