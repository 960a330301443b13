//! The parts of a libc that a program needs: entry, memory functions (the others are in `arch`), the panic handler.
#![allow(unsafe_code)] // process entry, memory functions

use crate::runtime::sys;
use core::panic::PanicInfo;

unsafe extern "Rust" {
    /// The binary's main function. `sp` is the kernel's initial stack pointer.
    fn loader_main(sp: *mut u64) -> !;
}

/// Called by `_start` with the kernel's initial stack pointer.
pub(crate) extern "C" fn enter(sp: *mut u64) -> ! {
    // SAFETY: each binary defines it with this signature.
    unsafe { loader_main(sp) }
}

/// There is no heap. Cargo unifies features over a workspace build, so the format crate may have the feature `alloc`,
/// which needs an allocator to link. This crate never calls it.
struct NoHeap;

// SAFETY: never gives out memory.
unsafe impl core::alloc::GlobalAlloc for NoHeap {
    unsafe fn alloc(&self, _: core::alloc::Layout) -> *mut u8 {
        core::ptr::null_mut()
    }
    unsafe fn dealloc(&self, _: *mut u8, _: core::alloc::Layout) {}
}

#[global_allocator]
static NO_HEAP: NoHeap = NoHeap;

/// The precompiled `core` and `alloc` name an unwinder's personality in tables that the linker removes.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    let _ = sys::write(2, b"snapfn: internal error in the loader\n");
    sys::exit(125)
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    for i in 0..len {
        // SAFETY: the caller promises it. The reads are volatile, or the compiler would call memcmp.
        let (x, y) = unsafe { (a.add(i).read_volatile(), b.add(i).read_volatile()) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
    }
    0
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { memcmp(a, b, len) }
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut len = 0;
    // SAFETY: the caller promises it. The reads are volatile, or the compiler would call strlen.
    while unsafe { text.add(len).read_volatile() } != 0 {
        len += 1;
    }
    len
}
