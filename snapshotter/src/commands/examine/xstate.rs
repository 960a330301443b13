//! Register state by name.

/// Names of the components in `mask`.
pub(crate) fn components(mask: u64) -> String {
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
