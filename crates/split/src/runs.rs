//! Finding the non-zero bytes of writable segments.

/// A gap of fewer zero bytes than this is stored, since it costs less than another record.
const GAP: usize = 64;

/// Address and bytes of the non-zero runs of each `(address, bytes)`. If the usual gap would give more than `limit`
/// runs in all, wider gaps are stored.
pub(super) fn find<'a>(data: &[(u64, &'a [u8])], limit: usize) -> Vec<Vec<(u64, &'a [u8])>> {
    let mut gap = GAP;
    loop {
        let runs: Vec<_> = data.iter().map(|(address, bytes)| scan(*address, bytes, gap)).collect();
        if runs.iter().map(Vec::len).sum::<usize>() <= limit || gap > usize::MAX / 4 {
            return runs;
        }
        gap *= 4;
    }
}

/// Runs begin and end at multiples of 8 bytes from the start, except for the end of the last one.
fn scan(address: u64, bytes: &[u8], gap: usize) -> Vec<(u64, &[u8])> {
    let mut runs = Vec::new();
    let mut push = |start: usize, end: usize| {
        let end = end.min(bytes.len());
        runs.extend(bytes.get(start..end).map(|run| (address + start as u64, run)));
    };
    let mut open: Option<(usize, usize)> = None;
    let mut at = 0;
    while let Some(start) = next_nonzero(bytes, at) {
        match &mut open {
            Some((_, end)) if start - *end < gap => {}
            Some((begin, end)) => {
                push(*begin, *end);
                open = Some((start, start));
            }
            None => open = Some((start, start)),
        }
        at = next_zero(bytes, start);
        if let Some((_, end)) = &mut open {
            *end = at;
        }
    }
    if let Some((begin, end)) = open {
        push(begin, end);
    }
    runs
}

/// Offset of the first 8-byte word at or after `at` (a multiple of 8) that is not zero.
fn next_nonzero(bytes: &[u8], mut at: usize) -> Option<usize> {
    // The loop goes over blocks first: the compiler makes vector instructions of it.
    while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk::<256>) {
        if block.iter().fold(0, |seen, byte| seen | byte) != 0 {
            break;
        }
        at += block.len();
    }
    let rest = bytes.get(at..)?;
    rest.chunks(8).position(|word| word.iter().any(|byte| *byte != 0)).map(|words| at + words * 8)
}

/// Offset of the first 8-byte word at or after `at` that is zero, or past the end.
fn next_zero(bytes: &[u8], at: usize) -> usize {
    let words = bytes.get(at..).unwrap_or_default().as_chunks::<8>();
    match words.0.iter().position(|word| *word == [0; 8]) {
        Some(position) => at + position * 8,
        None => bytes.len().next_multiple_of(8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn gaps_below_64_bytes_are_closed() {
        let mut bytes = [0; 400];
        (bytes[9], bytes[80], bytes[160], bytes[399]) = (1, 2, 3, 4);
        let runs = scan(0x1000, &bytes, GAP);
        // 16..80 is a gap of 64 bytes, 88..160 one of 72.
        assert_eq!(
            runs.iter().map(|(at, run)| (*at, run.len())).collect::<Vec<_>>(),
            [(0x1008, 8), (0x1050, 8), (0x10a0, 8), (0x1188, 8)]
        );
        bytes[16] = 5;
        assert_eq!(scan(0, &bytes, GAP)[0].1.len(), 80);
        assert_eq!(scan(0, &[0; 4096], GAP), []);
        assert_eq!(scan(7, &[0, 1], GAP), [(7, &[0, 1][..])]);
    }

    #[test]
    fn the_limit_widens_the_gap() {
        let mut bytes = vec![0; 100 * 128];
        bytes.iter_mut().step_by(128).for_each(|byte| *byte = 1);
        assert_eq!(find(&[(0, &bytes)], 100)[0].len(), 100);
        let [only] = &find(&[(0, &bytes)], 99)[0][..] else { panic!("more than one run") };
        assert_eq!(only.1.len(), 99 * 128 + 8);
    }

    proptest! {
        #[test]
        fn runs_give_the_bytes_back(
            pieces in prop::collection::vec((any::<bool>(), 0usize..700), 0..12),
            fill in 1..=255u8,
        ) {
            let bytes: Vec<u8> =
                pieces.iter().flat_map(|(zero, len)| vec![if *zero { 0 } else { fill }; *len]).collect();
            let runs = scan(0, &bytes, GAP);
            let mut again = vec![0; bytes.len()];
            for (at, run) in &runs {
                again[*at as usize..][..run.len()].copy_from_slice(run);
            }
            prop_assert_eq!(&again, &bytes);
            for pair in runs.windows(2) {
                prop_assert!(pair[1].0 - (pair[0].0 + pair[0].1.len() as u64) >= GAP as u64);
            }
        }
    }
}
