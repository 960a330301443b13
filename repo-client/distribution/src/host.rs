//! Checks whether this machine can run the snapshots of an image, by the image's record.

use snapfn_format::requirements::state;
use snapfn_host::requirements::{check, this_host};
use snapfn_image::{ImageError, Index};

/// The requirements that this machine lacks; empty if it can run them.
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
    let here = this_host();
    let live = index.snapshots.iter().fold(0, |live, snapshot| live | snapshot.xstate);
    missing.extend(state(live, here.xcr0).map(|misfit| misfit.to_string()));
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
        let mut unknown_state = index(&hex(fits));
        unknown_state.snapshots[0].xstate = 1 << 61 | 3;
        let found = missing(&unknown_state).unwrap();
        assert!(found.len() == 1 && found[0].contains("0x2000000000000000"), "{found:?}");
        for bad in ["0", "zz", &hex(fits)[2..]] {
            assert!(missing(&index(bad)).is_err(), "{bad}");
        }
    }
}
