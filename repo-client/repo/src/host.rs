//! Whether this machine can run what an image holds, as far as the image says it.

use snapfn_image::{Index, SnapshotEntry};

/// Flags of /proc/cpuinfo that stand for bits of XCR0.
const STATE_FLAGS: [(u64, &str); 5] =
    [(1 << 2, "avx"), (0x18, "mpx"), (0xe0, "avx512f"), (1 << 9, "pku"), (0x6_0000, "amx_tile")];

/// What is missing here; nothing when it can be run.
pub(crate) fn missing(index: &Index) -> Vec<String> {
    let mut missing = Vec::new();
    if index.arch != std::env::consts::ARCH {
        missing.push(format!("it is for {}, this is {}", index.arch, std::env::consts::ARCH));
    }
    let page = page_size();
    if page.is_some_and(|page| page != index.page_size) {
        missing.push(format!("its pages have {} bytes, those of this kernel {}", index.page_size, page.unwrap_or(0)));
    }
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")).unwrap_or_default();
    let has = |flag: &str| flags.split_ascii_whitespace().any(|found| found == flag);
    let needed = index.snapshots.iter().map(|SnapshotEntry { xstate, .. }| xstate).fold(0, |all, bits| all | bits);
    // Where /proc is not there, snaprun will say it.
    for (bits, flag) in STATE_FLAGS.into_iter().filter(|_| !flags.is_empty()) {
        if needed & bits != 0 && !has(flag) {
            missing.push(format!("the CPU has no {flag}"));
        }
    }
    missing
}

/// Page size of the running kernel.
fn page_size() -> Option<u64> {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().and_then(|size| u64::try_from(size).ok())
}
