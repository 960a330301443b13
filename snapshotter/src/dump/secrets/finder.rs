//! Finding copies of secrets in bytes, whole or in part.
//!
//! A freed copy has lost its first 16 bytes to malloc's lists, one in a chunk that was cut up has less. So a secret is
//! looked for by its pieces of 16 bytes, which also covers every whole copy; and a token (as opposed to a URL or a
//! sentence, parts of which others have as well) by those of 8.

use aho_corasick::{AhoCorasick, BuildError, Input, MatchKind};
use std::collections::HashSet;
use std::ops::Range;

/// Fewer bytes of memory declared by `snap_secret()` than these are not looked for elsewhere.
pub(crate) const MIN_RANGE: usize = 8;
/// Shorter values of environment variables are not looked for: they would be found where they mean something else.
pub(crate) const MIN_VALUE: usize = 6;
/// Pieces that longer secrets are looked for by.
const PIECE: usize = 16;
/// Long enough where the secret is a token and the piece no word.
const SMALL: usize = 8;
/// Longer secrets are looked for by a piece at every 8th byte only, which still covers whole copies.
const LONG: usize = 512;
/// Of a still longer one, only this much.
const MAX: usize = 1 << 20;
/// Bytes searched at a time.
const CHUNK: usize = 1 << 20;
/// What a register holds.
const REGISTER: usize = 8;

/// A secret, and how it is spoken of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Secret {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    pub(super) min: usize,
}

fn distinct(bytes: &[u8]) -> usize {
    bytes.iter().collect::<HashSet<_>>().len()
}

/// A value that was drawn at random rather than written by somebody: neither a URL, a path nor a sentence.
fn is_token(run: &[u8]) -> bool {
    let written = run.starts_with(b"/") || run.contains(&b' ') || run.windows(3).any(|three| three == b"://");
    !written && !is_wordy(run)
}

/// Without digits, and every word in lower case, in upper case, or with a capital first letter.
fn is_wordy(text: &[u8]) -> bool {
    let is_word = |word: &[u8]| {
        let rest = word.get(1..).unwrap_or_default();
        rest.iter().all(u8::is_ascii_lowercase) || word.iter().all(u8::is_ascii_uppercase)
    };
    text.iter().all(|byte| (b' '..=b'~').contains(byte) && !byte.is_ascii_digit())
        && text.split(|byte| !byte.is_ascii_alphabetic()).all(is_word)
}

/// What is looked for. A piece with a zero byte could be a pointer or a small number that others have as well; only as
/// a whole is such a secret unmistakable.
fn pieces(secret: &Secret) -> Vec<&[u8]> {
    let bytes = &secret.bytes[..secret.bytes.len().min(MAX)];
    let mut found: Vec<&[u8]> = Vec::new();
    for run in bytes.split(|byte| *byte == 0).filter(|run| run.len() >= secret.min) {
        let step = if run.len() <= LONG { 1 } else { 8 };
        if is_token(run) {
            found.extend(run.windows(SMALL).step_by(step).filter(|piece| !is_wordy(piece)));
        }
        if run.len() <= PIECE {
            found.push(run);
            continue;
        }
        found.extend(run.windows(PIECE).step_by(step));
        found.push(&run[run.len() - PIECE..]);
        // What a freed copy has left.
        if (PIECE + MIN_RANGE..2 * PIECE).contains(&run.len()) {
            found.push(&run[PIECE..]);
        }
    }
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(start, |last| last + 1);
    if end - start >= 12 && bytes[start..end].contains(&0) {
        found.push(&bytes[start..end.min(start + 4096)]);
    }
    // "aaaaaaaa" is everywhere.
    found.retain(|piece| distinct(piece) >= 4);
    found
}

/// Finds the pieces of all secrets.
#[derive(Debug)]
pub(super) struct Finder {
    machine: AhoCorasick,
    /// By pattern: which secret.
    of: Vec<usize>,
    longest: usize,
    /// What a register can hold of a secret.
    registers: HashSet<[u8; REGISTER]>,
}

/// A copy: where, and of which secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) range: Range<u64>,
    pub(super) secret: usize,
}

impl Finder {
    /// `None` when there is nothing to look for.
    pub(super) fn new(secrets: &[Secret]) -> Result<Option<Self>, BuildError> {
        let (mut patterns, mut of, mut registers) = (Vec::new(), Vec::new(), HashSet::new());
        for (index, secret) in secrets.iter().enumerate() {
            for piece in pieces(secret) {
                patterns.push(piece);
                of.push(index);
                let words = piece.windows(REGISTER).filter(|word| !word.contains(&0) && distinct(word) >= 4);
                registers.extend(words.filter_map(|word| <[u8; REGISTER]>::try_from(word).ok()));
            }
        }
        if patterns.is_empty() {
            return Ok(None);
        }
        let longest = patterns.iter().map(|piece| piece.len()).max().unwrap_or(0);
        let machine = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&patterns)?;
        Ok(Some(Finder { machine, of, longest, registers }))
    }

    /// All copies in `bytes`, those that overlap or touch joined.
    fn copies(&self, bytes: &[u8], base: u64, out: &mut Vec<Copy>) {
        let mut from = 0;
        while let Some(found) = self.machine.find(Input::new(bytes).range(from..)) {
            from = found.start() + 1;
            let range = base + found.start() as u64..base + found.end() as u64;
            let secret = self.of[found.pattern()];
            match out.last_mut() {
                Some(last) if range.start <= last.range.end => last.range.end = last.range.end.max(range.end),
                _ => out.push(Copy { range, secret }),
            }
        }
    }

    /// All copies in `[start, end)`, which `read` reads in pieces of any length.
    pub(super) fn search<E>(
        &self,
        range: Range<u64>,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<Vec<Copy>, E> {
        let mut out = Vec::new();
        let mut buffer = vec![0u8; CHUNK.max(2 * self.longest)];
        let mut at = range.start;
        while at < range.end {
            let size = (range.end - at).min(buffer.len() as u64) as usize;
            read(at, &mut buffer[..size])?;
            self.copies(&buffer[..size], at, &mut out);
            if at + size as u64 == range.end {
                break;
            }
            // A copy may lie across the end of this piece.
            at += (size - self.longest.saturating_sub(1)) as u64;
        }
        Ok(out)
    }

    /// Blanks all copies; returns which secrets they were of.
    pub(super) fn blank(&self, bytes: &mut [u8]) -> Vec<usize> {
        let mut found = Vec::new();
        self.copies(bytes, 0, &mut found);
        for copy in &found {
            bytes[copy.range.start as usize..copy.range.end as usize].fill(0);
        }
        found.into_iter().map(|copy| copy.secret).collect()
    }

    /// Blanks 8 bytes and more of any secret, at any place of a register file; returns whether there were any.
    pub(super) fn blank_registers(&self, bytes: &mut [u8]) -> bool {
        let hits: Vec<usize> = bytes
            .windows(REGISTER)
            .enumerate()
            .filter(|(_, word)| <[u8; REGISTER]>::try_from(*word).is_ok_and(|word| self.registers.contains(&word)))
            .map(|(at, _)| at)
            .collect();
        for at in &hits {
            bytes[*at..at + REGISTER].fill(0);
        }
        !hits.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(bytes: &[u8]) -> Secret {
        Secret { name: "S".to_owned(), bytes: bytes.to_vec(), min: MIN_RANGE }
    }

    fn finder(bytes: &[u8]) -> Finder {
        Finder::new(&[secret(bytes)]).unwrap().unwrap()
    }

    const TEXT: &[u8] = b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    #[test]
    fn whole_copies_are_blanked_wherever_they_lie() {
        let find = finder(TEXT);
        let mut memory = b"header ".to_vec();
        memory.extend(TEXT);
        memory.extend(b" between ");
        memory.extend(TEXT);
        let len = memory.len();
        assert_eq!(find.blank(&mut memory), [0, 0]);
        let mut expected = b"header ".to_vec();
        expected.resize(7 + TEXT.len(), 0);
        expected.extend(b" between ");
        expected.resize(len, 0);
        assert_eq!(memory, expected);
        assert_eq!(find.blank(&mut memory), [0usize; 0]);
    }

    #[test]
    fn what_a_freed_copy_has_left_is_found() {
        for len in [24, 28, 32, 40] {
            let text = &TEXT[..len];
            let mut memory = [&[7u8; 16], &text[16..], &[9u8; 8]].concat();
            finder(text).blank(&mut memory);
            assert_eq!(memory, [&[7u8; 16][..], &vec![0; len - 16], &[9u8; 8]].concat(), "{len}");
        }
    }

    #[test]
    fn a_string_in_a_large_buffer_is_found_without_the_zeros_behind_it() {
        let mut buffer = [0u8; 256];
        buffer[..12].copy_from_slice(b"hunter2-long");
        let mut memory = b"x hunter2-long y".to_vec();
        finder(&buffer).blank(&mut memory);
        assert_eq!(memory, b"x \0\0\0\0\0\0\0\0\0\0\0\0 y");
    }

    #[test]
    fn what_could_be_anything_is_not_looked_for() {
        for bytes in [&[0u8; 64][..], b"aaaaaaaaaaaaaaaa", b"short", &0x7f12_3456_7890u64.to_le_bytes()] {
            assert!(Finder::new(&[secret(bytes)]).unwrap().is_none(), "{bytes:?}");
        }
        // Two pointers: only both together.
        let pair = [0x2aaa_1234_5678u64.to_le_bytes(), 0x2aaa_8765_4321u64.to_le_bytes()].concat();
        let mut memory = [&pair[..8], &[1; 8]].concat();
        assert_eq!(finder(&pair).blank(&mut memory), [0usize; 0]);
        assert_eq!(finder(&pair).blank(&mut pair.clone()), [0]);
    }

    #[test]
    fn copies_across_the_pieces_of_a_search_are_found() {
        let find = finder(TEXT);
        let mut memory = vec![b'.'; 3 * CHUNK];
        let places = [0, CHUNK - 1, CHUNK - TEXT.len() + 1, 2 * CHUNK - 20, 3 * CHUNK - TEXT.len()];
        for at in places {
            memory[at..at + TEXT.len()].copy_from_slice(TEXT);
        }
        // The second and third overlap.
        memory[CHUNK - 1..CHUNK - 1 + TEXT.len()].fill(b'.');
        memory[CHUNK - TEXT.len() + 1..CHUNK + 1].copy_from_slice(TEXT);
        let read = |at: u64, bytes: &mut [u8]| {
            bytes.copy_from_slice(&memory[at as usize..at as usize + bytes.len()]);
            Ok::<(), ()>(())
        };
        let found = find.search(0..memory.len() as u64, read).unwrap();
        let starts: Vec<_> =
            found.iter().map(|copy| (copy.range.start as usize, copy.range.end - copy.range.start)).collect();
        let expected: Vec<_> = [0, CHUNK - TEXT.len() + 1, 2 * CHUNK - 20, 3 * CHUNK - TEXT.len()]
            .map(|at| (at, TEXT.len() as u64))
            .into();
        assert_eq!(starts, expected);
    }

    #[test]
    fn words_are_not_taken_for_random() {
        for piece in ["https://", "password", "us-east-", "Password", "example.", "/usr/lib"] {
            assert!(is_wordy(piece.as_bytes()), "{piece}");
        }
        for piece in [&b"a8F3kQ0z"[..], b"3f9a7c21", b"vcWXBVTG", &[0x91, 0x02, 0xff, 0x41, 0x1b, 0x80, 0x7f, 0x33]] {
            assert!(!is_wordy(piece), "{piece:?}");
        }
        assert!(is_token(b"github_pat_11ABCDEFG0aBcDeF"));
        assert!(!is_token(b"postgres://user:pa55W0rd@db.example:5432/app") && !is_token(b"/home/me/.key2"));
    }

    #[test]
    fn long_secrets_are_covered() {
        let long: Vec<u8> = (0..5000u32).map(|i| (i * 7919 % 251 + 1) as u8).collect();
        let mut memory = [&[255u8; 3], &long[..], &[255u8; 3]].concat();
        finder(&long).blank(&mut memory);
        assert!(memory[3..5003].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn registers_lose_what_they_hold() {
        let find = finder(TEXT);
        let mut file = [&[3u8; 5], &TEXT[10..26], &[4u8; 5]].concat();
        assert!(find.blank_registers(&mut file));
        assert_eq!(file, [&[3u8; 5][..], &[0; 16], &[4u8; 5]].concat());
        assert!(!find.blank_registers(&mut file));
    }
}
