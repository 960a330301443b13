//! System calls that remove memory of the program.

use snapfn_format::PAGE;
use std::ops::Range;

/// The memory that such a call removes, if it succeeds.
#[derive(Clone, Debug)]
pub(crate) enum Unmapping {
    /// `munmap`, and `mmap` over what is there.
    Range(Range<u64>),
    /// `mremap`: the old range and the new length.
    Move(Range<u64>, u64),
}

impl Unmapping {
    /// The call at this entry, if it removes memory.
    pub(super) fn entered(number: u64, args: &[u64; 6]) -> Option<Self> {
        let range = pages(args[0], args[1]);
        match number as i64 {
            libc::SYS_munmap => Some(Self::Range(range)),
            libc::SYS_mmap if args[3] & libc::MAP_FIXED as u64 != 0 => Some(Self::Range(range)),
            libc::SYS_mremap => Some(Self::Move(range, args[2])),
            _ => None,
        }
    }

    /// The ranges that are gone after the call has returned `result`. A range may be empty.
    pub(super) fn gone(self, result: u64) -> [Range<u64>; 2] {
        match self {
            // Results in the last page of addresses are errors.
            _ if result > u64::MAX - PAGE => [0..0, 0..0],
            Self::Range(range) => [range, 0..0],
            // The mapping stayed in place: its end is gone if it has become shorter.
            Self::Move(old, len) if result == old.start => [pages(result, len).end..old.end, 0..0],
            Self::Move(old, len) => [old, pages(result, len)],
        }
    }
}

fn pages(start: u64, len: u64) -> Range<u64> {
    start..start.saturating_add(len.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(number: i64, args: [u64; 4], result: i64) -> Vec<(u64, u64)> {
        let args = [args[0], args[1], args[2], args[3], 0, 0];
        let call = Unmapping::entered(number as u64, &args);
        let ranges = call.into_iter().flat_map(|call| call.gone(result as u64));
        ranges.filter(|range| !range.is_empty()).map(|range| (range.start, range.end)).collect()
    }

    #[test]
    fn calls_take_whole_pages_and_only_where_they_succeed() {
        let fixed = libc::MAP_FIXED as u64;
        assert_eq!(gone(libc::SYS_munmap, [0x1000, 1, 0, 0], 0), [(0x1000, 0x2000)]);
        assert_eq!(gone(libc::SYS_munmap, [0x1001, 1, 0, 0], -22), []);
        assert_eq!(gone(libc::SYS_munmap, [0x1000, u64::MAX, 0, 0], 0), [(0x1000, u64::MAX)]);
        assert_eq!(gone(libc::SYS_mmap, [0x3000, 0x1800, 3, fixed], 0x3000), [(0x3000, 0x5000)]);
        assert_eq!(gone(libc::SYS_mmap, [0x3000, 0x1800, 3, 0], 0x9000), []);
        assert_eq!(gone(libc::SYS_mmap, [0x3000, 0x1800, 3, fixed], -9), []);
        assert_eq!(gone(libc::SYS_mremap, [0x1000, 0x3000, 0x1000, 0], 0x1000), [(0x2000, 0x4000)]);
        assert_eq!(gone(libc::SYS_mremap, [0x1000, 0x1000, 0x3000, 0], 0x1000), []);
        assert_eq!(gone(libc::SYS_mremap, [0x1000, 0x1000, 0x2000, 1], 0x8000), [(0x1000, 0x2000), (0x8000, 0xa000)]);
        assert_eq!(gone(libc::SYS_brk, [0x1000, 0, 0, 0], 0x1000), []);
    }
}
