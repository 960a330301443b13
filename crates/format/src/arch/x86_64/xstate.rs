//! The XSAVE area of a signal frame.

/// End of the legacy area and of the XSAVE header, in bytes.
pub const HEADER_END: usize = 512 + 64;
/// The shortest area: the header, and a magic number behind it.
pub const MIN: usize = HEADER_END + 4;
/// No area is longer.
pub const MAX: usize = 1 << 16;
/// The kernel's software bytes that name the live components (`xfeatures`).
const FEATURES: core::ops::Range<usize> = 472..480;

/// Components of register state by the bits of XCR0: x87 and SSE, which every x86-64 has.
pub const LEGACY: u64 = 3;
/// Register state that lies at the same place in the XSAVE areas of all CPUs: x87, SSE, AVX.
pub const COMMON: u64 = 7;
/// Register state that `_dl_runtime_resolve` saves in glibc: all except x87, PKRU and the state that only the kernel
/// uses.
pub const RESOLVER: u64 = 0xee;

/// The components that are live in an area, as a mask like XCR0.
pub fn live(area: &[u8]) -> u64 {
    area.get(FEATURES).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}
