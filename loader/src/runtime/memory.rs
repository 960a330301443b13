//! Access by address to the image that is being built.
#![allow(unsafe_code)] // writes into memory that plans and requests name

use core::cell::Cell;
use core::ffi::CStr;

/// Writes 8 bytes.
///
/// # Safety
/// `addr` must be aligned, writable and part of the image.
pub unsafe fn write_u64(addr: u64, value: u64) {
    // SAFETY: the caller's promise.
    unsafe { (addr as *mut u64).write_volatile(value) }
}

/// Writes 4 bytes.
///
/// # Safety
/// As [`write_u64`].
pub unsafe fn write_u32(addr: u64, value: u32) {
    // SAFETY: the caller's promise.
    unsafe { (addr as *mut u32).write_volatile(value) }
}

/// Reads 8 bytes.
///
/// # Safety
/// `addr` must be aligned and readable.
pub unsafe fn read_u64(addr: u64) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { (addr as *const u64).read_volatile() }
}

/// Reads 4 bytes.
///
/// # Safety
/// As [`read_u64`].
pub unsafe fn read_u32(addr: u64) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { (addr as *const u32).read_volatile() }
}

/// Copies `bytes` to `addr`.
///
/// # Safety
/// The target must be writable and part of the image.
pub unsafe fn write_bytes(addr: u64, bytes: &[u8]) {
    // SAFETY: the caller promises it; source and target are disjoint.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), addr as *mut u8, bytes.len()) }
}

/// The bytes at `addr`.
///
/// # Safety
/// The range must stay readable and unchanged for as long as the slice is used.
pub unsafe fn bytes<'a>(addr: u64, len: u64) -> &'a [u8] {
    // SAFETY: the caller's promise.
    unsafe { core::slice::from_raw_parts(addr as *const u8, len as usize) }
}

/// The `count` words at `addr`, which only this process changes.
///
/// # Safety
/// As [`bytes`]; the words must be writable, and no other code may access them.
pub unsafe fn cells<'a>(addr: u64, count: usize) -> &'a [Cell<i32>] {
    // SAFETY: the caller promises it; a cell has the layout of its content.
    unsafe { core::slice::from_raw_parts(addr as *const Cell<i32>, count) }
}

/// The address behind the C string at `addr` and its terminator.
///
/// # Safety
/// As [`c_str`].
pub unsafe fn string_end(addr: u64) -> u64 {
    // SAFETY: the caller's promise.
    addr + unsafe { c_str(addr) }.to_bytes_with_nul().len() as u64
}

/// The C string at `addr`.
///
/// # Safety
/// As [`bytes`], up to the terminating zero and including it.
pub unsafe fn c_str<'a>(addr: u64) -> &'a CStr {
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(addr as *const core::ffi::c_char) }
}
