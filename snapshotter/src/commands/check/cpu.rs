//! The one thing about the CPU that decides whether a snapshot can be started here.
#![allow(unsafe_code)] // one instruction

/// The register state that the kernel has enabled (XCR0); `None` where XSAVE is not.
#[cfg(target_arch = "x86_64")]
pub(super) fn xcr0() -> Option<u64> {
    #[target_feature(enable = "xsave")]
    fn read() -> u64 {
        // SAFETY: register 0 exists wherever the operating system has enabled XSAVE, which the caller has checked.
        unsafe { core::arch::x86_64::_xgetbv(0) }
    }
    // SAFETY: the feature is only detected where the operating system has enabled it.
    std::arch::is_x86_feature_detected!("xsave").then(|| unsafe { read() })
}

/// Other architectures have no such register.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn xcr0() -> Option<u64> {
    None
}

/// Names of the components in `mask`.
pub(super) fn components(mask: u64) -> String {
    const NAMES: [&str; 20] = [
        "x87",
        "SSE",
        "AVX",
        "MPX bounds",
        "MPX status",
        "AVX-512 mask",
        "AVX-512 low",
        "AVX-512 high",
        "PT",
        "PKRU",
        "PASID",
        "CET user",
        "CET kernel",
        "HDC",
        "UINTR",
        "LBR",
        "HWP",
        "AMX configuration",
        "AMX tiles",
        "APX",
    ];
    let name = |bit: u32| NAMES.get(bit as usize).map_or_else(|| format!("bit {bit}"), |name| name.to_string());
    let names: Vec<String> = (0..64).filter(|bit| mask >> bit & 1 == 1).map(name).collect();
    names.join(", ")
}
