//! OpenSSL's generators reseed when the process ID is not the one of their last use. An instance in another PID
//! namespace (a container) may by chance have the ID that the snapshot had, so the remembered one is not stored.
//!
//! The word is found by its surroundings, since OpenSSL may be linked into anything, under any name and without
//! symbols. A generator of OpenSSL 3 (`struct prov_drbg_st`) has:
//!
//! ```text
//!  instantiate, uninstantiate, reseed, generate     four pointers in a row to code of one file
//!  parent, up to seven functions of it, …           ≤ 9 words
//!  fork_id | flags, strength, max_request           the ID; 128, 192 or 256 bits; 64 KiB
//! ```
//! OpenSSL 1.1.1 has it in other surroundings, and is named as a generator that may repeat (`prng.rs`).

use super::memory::{Image, read_image};
use super::refuse::DumpError;
use crate::tracee::Tracer;
use crate::tracee::maps::Vma;
use snapfn_format::snap::PROT_EXEC;
use std::ops::Range;
use zerocopy::IntoBytes;

/// Words between the first pointer and the process ID, at most.
const REACH: usize = 24;
const POINTERS: usize = 4;
/// Words that identify it, its own included.
const TAIL: usize = 3;
const STRENGTHS: [u32; 3] = [128, 192, 256];
const MAX_REQUEST: u64 = 1 << 16;
/// Words that are read in one piece.
const PIECE: usize = 1 << 17;

/// Code of programs and libraries, a range for each.
fn code(vmas: &[Vma]) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for vma in vmas.iter().filter(|vma| vma.prot & PROT_EXEC != 0 && vma.has_file()) {
        match ranges.last_mut() {
            Some(last) if last.end == vma.start => last.end = vma.end,
            _ => ranges.push(vma.start..vma.end),
        }
    }
    ranges
}

/// Index of every word of `words` whose lower half is the `pid` that a generator remembers.
fn remembered(words: &[u64], pid: u32, code: &[Range<u64>]) -> Vec<usize> {
    let follows_functions = |at: usize| {
        let before = &words[at.saturating_sub(REACH)..at];
        before.windows(POINTERS).any(|row| code.iter().any(|range| row.iter().all(|word| range.contains(word))))
    };
    let is_it = |tail: &[u64]| tail[0] as u32 == pid && STRENGTHS.contains(&(tail[1] as u32)) && tail[2] == MAX_REQUEST;
    let tails = words.windows(TAIL).enumerate();
    tails.filter(|(at, tail)| is_it(tail) && follows_functions(*at)).map(|(at, _)| at).collect()
}

/// The ranges that are not to be stored.
pub(super) fn remembered_pids(tracer: &Tracer, vmas: &[Vma], image: &Image) -> Result<Vec<(u64, u64)>, DumpError> {
    let code = code(vmas);
    let mut found = Vec::new();
    let mut words = vec![0u64; PIECE];
    for range in image.stored_ranges() {
        let mut at = range.start;
        loop {
            let count = ((range.end - at) / 8).min(PIECE as u64) as usize;
            read_image(tracer, at, words[..count].as_mut_bytes())?;
            let hits = remembered(&words[..count], tracer.pid as u32, &code);
            found.extend(hits.into_iter().map(|index| (at + 8 * index as u64, 4)));
            if at + 8 * count as u64 == range.end {
                break;
            }
            // The next piece begins early enough to contain a whole generator.
            at += 8 * (count - REACH - TAIL) as u64;
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: [Range<u64>; 2] = [0x1000..0x2000, 0x3000..0x4000];

    fn generator() -> Vec<u64> {
        let mut words = vec![7u64; 60];
        words[10..14].copy_from_slice(&[0x1100, 0x1200, 0x1300, 0x1400]);
        words[22..25].copy_from_slice(&[4242 | 1 << 32, 256, MAX_REQUEST]); // flags in the upper half
        words
    }

    #[test]
    fn the_word_behind_the_functions_is_found() {
        let mut words = generator();
        words[50] = 4242;
        assert_eq!(remembered(&words, 4242, &CODE), [22]);
        assert_eq!(remembered(&words[..25], 4242, &CODE), [22]);
        assert_eq!(remembered(&words, 4243, &CODE), [0usize; 0]);
    }

    #[test]
    fn what_only_looks_like_it_is_left_alone() {
        for (at, word) in [(12, 0x5000), (12, 0x3300), (23, 7), (23, 0), (24, MAX_REQUEST + 1), (24, 0)] {
            let mut words = generator();
            words[at] = word;
            assert_eq!(remembered(&words, 4242, &CODE), [0usize; 0], "{at} {word:#x}");
        }
        assert_eq!(remembered(&generator()[15..], 4242, &CODE), [0usize; 0]);
        assert_eq!(remembered(&generator()[..24], 4242, &CODE), [0usize; 0]);
    }
}
