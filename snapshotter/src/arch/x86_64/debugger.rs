//! The XSAVE area as debuggers expect it.
//!
//! gdb up to 13 assumes for all CPUs the area of Intel's, up to protection keys. AMD's CPUs have AVX-512 and protection
//! keys elsewhere; gdb reports that their area is too small. It also complains about areas with AMX tiles, even in the
//! kernel's own core files. So the area ends behind the last component that it knows and that is at
//! its place. This can go when no distribution has gdb 13 any more.

use snapfn_host::requirements::xstate_component;
use std::borrow::Cow;
use std::ops::Range;

/// End of the upper halves of the AVX registers, whose place is the same on all CPUs.
const AVX_END: usize = 832;
/// x87, SSE, AVX.
const UP_TO_AVX: u64 = 7;
/// Number and place of the components that gdb knows behind those, on Intel's CPUs: masks, upper halves and upper
/// registers of AVX-512, protection keys.
const KNOWN: [(u32, Range<usize>); 4] = [(5, 1088..1152), (6, 1152..1664), (7, 1664..2688), (9, 2688..2696)];
/// Offsets of the components that are enabled, and of those that are live: little-endian masks.
const MASKS: [usize; 2] = [464, 512];

/// The XSAVE area `raw` of a thread on this CPU, for a note of a core file.
pub(crate) fn xstate_for_debuggers(raw: &[u8]) -> Cow<'_, [u8]> {
    common(raw, xstate_component)
}

/// `place` gives the place of a component of this CPU; it is empty if the component is not enabled.
fn common(raw: &[u8], place: impl Fn(u32) -> Range<usize>) -> Cow<'_, [u8]> {
    let enabled =
        || KNOWN.into_iter().map(|(number, known)| (number, known, place(number))).filter(|one| !one.2.is_empty());
    let (mut end, mut mask) = (AVX_END, UP_TO_AVX);
    if enabled().all(|(_, known, place)| place == known) {
        for (number, known, _) in enabled() {
            (end, mask) = (known.end, mask | 1 << number);
        }
    }
    let Some(common) = raw.get(..end).filter(|_| raw.len() > end) else { return Cow::Borrowed(raw) };
    let mut area = common.to_vec();
    for at in MASKS {
        for (byte, mask) in area[at..at + 8].iter_mut().zip(mask.to_le_bytes()) {
            *byte &= mask;
        }
    }
    Cow::Owned(area)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Length and masks of the area that a CPU with these components gives.
    fn of(len: usize, places: &[(u32, Range<usize>)]) -> (usize, u64) {
        let mut raw = vec![0; len];
        let enabled = places.iter().fold(UP_TO_AVX, |mask, (number, _)| mask | 1 << number);
        for at in MASKS {
            raw[at..at + 8].copy_from_slice(&enabled.to_le_bytes());
        }
        let place =
            |wanted| places.iter().find(|(number, _)| *number == wanted).map_or(0..0, |(_, place)| place.clone());
        let area = common(&raw, place);
        let masks = MASKS.map(|at| u64::from_le_bytes(area[at..at + 8].try_into().unwrap()));
        assert_eq!(masks[0], masks[1]);
        (area.len(), masks[0])
    }

    #[test]
    fn areas_end_behind_what_gdb_finds() {
        let avx512 = &KNOWN[..3];
        assert_eq!(of(2696, &KNOWN), (2696, 0x2e7));
        // AMX tiles behind protection keys.
        let tiles = [&KNOWN[..], &[(17, 2752..2816), (18, 2816..11008)]].concat();
        assert_eq!(of(11008, &tiles), (2696, 0x2e7));
        assert_eq!(of(2688, avx512), (2688, 0xe7));
        // AMD: protection keys right behind AVX, AVX-512 without a gap, with and without protection keys.
        assert_eq!(of(840, &[(9, 832..840)]), (832, 7));
        let amd = [(5, 832..896), (6, 896..1408), (7, 1408..2432)];
        assert_eq!(of(2432, &amd), (832, 7));
        assert_eq!(of(2440, &[&amd[..], &[(9, 2432..2440)]].concat()), (832, 7));
        // Only AVX, and less.
        assert_eq!(of(832, &[]), (832, 7));
        assert_eq!(of(576, &[]), (576, 7));
    }
}
