//! Whether this machine can run what an image holds, as far as the image says it.

use snapfn_image::{ImageError, Index, SnapshotEntry};
use snapfn_kernel_tests::requirements::{check, this_host};

/// Flags of /proc/cpuinfo that stand for bits of XCR0.
const STATE_FLAGS: [(u64, &str); 5] =
    [(1 << 2, "avx"), (0x18, "mpx"), (0xe0, "avx512f"), (1 << 9, "pku"), (0x6_0000, "amx_tile")];

/// What is missing here; nothing when it can be run.
///
/// # Errors
/// A record in the index that cannot be read.
pub(crate) fn missing(index: &Index) -> Result<Vec<String>, ImageError> {
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
    let here = this_host();
    for snapshot in &index.snapshots {
        let needs = snapshot.host_needs()?;
        missing.extend(needs.iter().flat_map(|needs| check(needs, &here)).map(|misfit| misfit.to_string()));
    }
    // Variants need the same.
    missing.sort();
    missing.dedup();
    Ok(missing)
}

/// Page size of the running kernel.
fn page_size() -> Option<u64> {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().and_then(|size| u64::try_from(size).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapfn_format::snap::HostNeeds;
    use zerocopy::IntoBytes;

    fn index(needs: &str) -> Index {
        let snapshot = serde_json::json!({
            "name": "f", "tag": "latest", "digest": "0".repeat(64), "size": 4096, "parts": [], "needs": needs,
        });
        let snapshots = vec![serde_json::from_value(snapshot).unwrap()];
        Index { arch: std::env::consts::ARCH.into(), page_size: page_size().unwrap(), snapshots, ..Index::default() }
    }

    fn hex(needs: HostNeeds) -> String {
        needs.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn what_the_snapshot_says_is_compared() {
        let fits = HostNeeds { page_shift: 12, address_bits: 47, ..HostNeeds::default() };
        assert_eq!(missing(&index("")).unwrap(), [""; 0]);
        assert_eq!(missing(&index(&hex(fits))).unwrap(), [""; 0]);
        let newer = HostNeeds { kernel: 0x7fff_0000, ..fits };
        let found = missing(&index(&hex(newer))).unwrap();
        assert!(found.len() == 1 && found[0].contains("Linux"), "{found:?}");
        for bad in ["0", "zz", &hex(fits)[2..]] {
            assert!(missing(&index(bad)).is_err(), "{bad}");
        }
    }
}
