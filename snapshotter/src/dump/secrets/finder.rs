//! Finding copies of secrets in bytes, whole or in part.
//!
//! A freed copy has lost its first 16 bytes to malloc's lists; one in a chunk that was cut up has lost more. So the
//! finder searches for the unmistakable pieces of a secret, and the bytes around one are part of the copy as far as
//! they agree with the secret. A secret without such pieces may occur in other data by chance: the finder searches for
//! the whole of it, and an occurrence within a longer word does not count.

use super::pieces::{SMALL, distinct, unmistakable};
use aho_corasick::{AhoCorasick, BuildError, MatchKind};
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// Memory of fewer bytes that `snap_secret()` declares is not searched for in other places.
pub(crate) const MIN_RANGE: usize = 8;
/// Shorter values of environment variables are not searched for: other data may equal them by chance.
pub(crate) const MIN_VALUE: usize = 6;
/// Bytes with zeros among them, as binary keys may have, are searched for from this length on: fewer could be a
/// pointer.
const MIN_BINARY: usize = 12;
/// "aaaaaaaa" is everywhere.
const MIN_DISTINCT: usize = 4;
/// Longer secrets are searched for by a piece at every 8th byte only, which still covers whole copies.
const LONG: usize = 512;
/// Of a secret that is searched for as a whole, so many bytes have to agree.
const MAX_WHOLE: usize = 4096;
/// Of a still longer secret, only this much.
const MAX: usize = 1 << 20;
/// Bytes searched at a time.
const CHUNK: usize = 1 << 20;
/// A piece that a secret has more often than this is searched for at its first places.
const MAX_PLACES: usize = 16;

/// A secret, and its name in messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Secret {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    pub(super) min: usize,
}

/// Where a pattern comes from.
#[derive(Clone, Debug)]
struct Place {
    secret: usize,
    /// First byte of the pattern in the secret.
    at: usize,
    /// The bytes around it that make a whole copy.
    whole: Range<usize>,
    role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Other data cannot contain it.
    Unmistakable,
    /// It counts unless it is a part of a longer word.
    Word,
}

/// The patterns of a secret, as ranges of its bytes, each with the range of a whole copy and how it counts. `public`
/// are pieces that other data has as well.
fn patterns(bytes: &[u8], min: usize, public: &HashSet<Vec<u8>>) -> Vec<(Range<usize>, Range<usize>, Role)> {
    let mut found = Vec::new();
    let mut start = 0;
    for part in bytes.split(|byte| *byte == 0) {
        let run = start..start + part.len();
        start = run.end + 1;
        if part.len() < min || distinct(part) < MIN_DISTINCT {
            continue;
        }
        let step = if part.len() <= LONG { 1 } else { 8 };
        let mut pieces = unmistakable(part, step);
        pieces.retain(|piece| !public.contains(&part[piece.clone()]));
        if pieces.is_empty() {
            let role = if part.len() > MAX_WHOLE { Role::Unmistakable } else { Role::Word };
            found.push((run.start..run.end.min(run.start + MAX_WHOLE), run, role));
        } else {
            let pieces = pieces.into_iter().map(|piece| run.start + piece.start..run.start + piece.end);
            found.extend(pieces.map(|piece| (piece, run.clone(), Role::Unmistakable)));
        }
    }
    // A piece with a zero byte could be a pointer or a small number; only as a whole is such a secret unmistakable.
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(start, |last| last + 1);
    let all = &bytes[start..end];
    if all.len() >= MIN_BINARY && all.contains(&0) && distinct(all) >= MIN_DISTINCT {
        found.push((start..end.min(start + MAX_WHOLE), start..end, Role::Unmistakable));
    }
    found
}

/// Finds the secrets.
#[derive(Debug)]
pub(super) struct Finder {
    machine: AhoCorasick,
    secrets: Vec<Vec<u8>>,
    /// By pattern.
    places: Vec<Vec<Place>>,
    /// The pieces of secrets that fit into a register.
    registers: HashSet<[u8; SMALL]>,
    /// No copy is longer.
    longest: usize,
}

/// A copy: where, and of which secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) range: Range<u64>,
    pub(super) secret: usize,
    /// All of it is there.
    pub(super) whole: bool,
}

/// A character of a name, a word or a number.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether the word at an end of `range` goes on beyond it. `more`: bytes before and behind `bytes` are not known.
fn is_part_of_word(bytes: &[u8], range: &Range<usize>, more: [bool; 2]) -> bool {
    let (before, behind) = (&bytes[..range.start], &bytes[range.end..]);
    let goes_on = |edge: Option<&u8>, next: Option<&u8>, more: bool| {
        next.map_or(more, |next| is_word(*next) && edge.is_some_and(|edge| is_word(*edge)))
    };
    // `-pVALUE` is an option and its value.
    let option = matches!(before, [.., b'-', letter] if letter.is_ascii_alphabetic());
    (goes_on(bytes.get(range.start), before.last(), more[0]) && !option)
        || goes_on(bytes[range.clone()].last(), behind.first(), more[1])
}

impl Finder {
    /// `None` when there is nothing to search for. `public`: pieces that prove nothing.
    pub(super) fn new(secrets: &[Secret], public: &HashSet<Vec<u8>>) -> Result<Option<Self>, BuildError> {
        let mut places: HashMap<&[u8], Vec<Place>> = HashMap::new();
        let mut registers = HashSet::new();
        for (secret, Secret { bytes, min, .. }) in secrets.iter().enumerate() {
            let bytes = &bytes[..bytes.len().min(MAX)];
            for (pattern, whole, role) in patterns(bytes, *min, public) {
                let known = places.entry(&bytes[pattern.clone()]).or_default();
                if known.len() < MAX_PLACES {
                    known.push(Place { secret, at: pattern.start, whole, role });
                }
            }
            for run in bytes.split(|byte| *byte == 0).filter(|run| run.len() >= *min) {
                let words = unmistakable(run, 1).into_iter().map(|piece| &run[piece]);
                let words = words.filter(|word| !public.contains(*word));
                registers.extend(words.filter_map(|word| <[u8; SMALL]>::try_from(word).ok()));
            }
        }
        if places.is_empty() {
            return Ok(None);
        }
        let (patterns, places): (Vec<&[u8]>, Vec<Vec<Place>>) = places.into_iter().unzip();
        let machine = AhoCorasick::builder().match_kind(MatchKind::Standard).build(&patterns)?;
        let secrets: Vec<Vec<u8>> =
            secrets.iter().map(|secret| secret.bytes[..secret.bytes.len().min(MAX)].to_vec()).collect();
        let longest = secrets.iter().map(Vec::len).max().unwrap_or(0);
        Ok(Some(Finder { machine, secrets, places, registers, longest }))
    }

    /// How far the bytes around `found`, a pattern of `place`, agree with the secret.
    fn extent(&self, bytes: &[u8], found: &Range<usize>, place: &Place) -> Range<usize> {
        let secret = &self.secrets[place.secret];
        let agree = |(a, b): &(&u8, &u8)| a == b;
        let before = bytes[..found.start].iter().rev().zip(secret[..place.at].iter().rev()).take_while(agree).count();
        let behind = &secret[place.at + found.len()..];
        let behind = bytes[found.end..].iter().zip(behind).take_while(agree).count();
        found.start - before..found.end + behind
    }

    /// One pass of [`Finder::take`].
    fn pass(&self, bytes: &[u8], more: [bool; 2]) -> Vec<(Range<usize>, usize, bool)> {
        let mut out: Vec<(Range<usize>, usize, bool)> = Vec::new();
        for hit in self.machine.find_overlapping_iter(bytes) {
            let found = hit.range();
            for place in &self.places[hit.pattern()] {
                let inside = |(range, secret, _): &(Range<usize>, usize, bool)| {
                    *secret == place.secret && range.start <= found.start && found.end <= range.end
                };
                if out.last().is_some_and(inside) || (place.role == Role::Word && is_part_of_word(bytes, &found, more))
                {
                    continue;
                }
                let range = self.extent(bytes, &found, place);
                let whole = found.start - range.start >= place.at - place.whole.start
                    && range.end - found.start >= place.whole.end - place.at;
                out.push((range, place.secret, whole));
            }
        }
        out
    }

    /// Blanks all copies in `bytes`, and adds them to `out`; `bytes` begin at `base`. A secret beside which another was
    /// is no longer part of a word, hence the repetition.
    fn take(&self, bytes: &mut [u8], base: u64, more: [bool; 2], out: &mut Vec<Copy>) {
        loop {
            let found = self.pass(bytes, more);
            if found.is_empty() {
                return;
            }
            for (range, secret, whole) in found {
                bytes[range.clone()].fill(0);
                out.push(Copy { range: base + range.start as u64..base + range.end as u64, secret, whole });
            }
        }
    }

    /// All copies in `[start, end)`, which `read` reads in pieces of any length; those that overlap or touch joined.
    pub(super) fn search<E>(
        &self,
        range: Range<u64>,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<Vec<Copy>, E> {
        let mut out = Vec::new();
        self.chunks(range, &mut read, |bytes, base, more| self.take(bytes, base, more, &mut out))?;
        Ok(joined(out))
    }

    /// The pieces that occur in `[start, end)`, be it as parts of something else.
    pub(super) fn pieces_in<E>(
        &self,
        range: Range<u64>,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<HashSet<Vec<u8>>, E> {
        let mut out = HashSet::new();
        self.chunks(range, &mut read, |bytes, _, _| {
            let found = self.machine.find_overlapping_iter(&*bytes).map(|hit| hit.range());
            out.extend(found.map(|range| bytes[range].to_vec()));
        })?;
        Ok(out)
    }

    /// Reads `range` so that every copy, and two bytes on both sides of it, lie in one piece as a whole.
    fn chunks<E>(
        &self,
        range: Range<u64>,
        read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>,
        mut visit: impl FnMut(&mut [u8], u64, [bool; 2]),
    ) -> Result<(), E> {
        let overlap = self.longest + 2;
        let mut buffer = vec![0u8; CHUNK.max(2 * overlap)];
        let mut at = range.start;
        while at < range.end {
            let size = (range.end - at).min(buffer.len() as u64) as usize;
            read(at, &mut buffer[..size])?;
            let end = at + size as u64;
            visit(&mut buffer[..size], at, [at > range.start, end < range.end]);
            if end == range.end {
                break;
            }
            at = end - overlap as u64;
        }
        Ok(())
    }

    /// Blanks all copies; returns which secrets they were of.
    pub(super) fn blank(&self, bytes: &mut [u8]) -> Vec<usize> {
        let mut found = Vec::new();
        self.take(bytes, 0, [false; 2], &mut found);
        joined(found).into_iter().map(|copy| copy.secret).collect()
    }

    /// Blanks all copies in a register file, and at any place of it the unmistakable words of 8 bytes; returns whether
    /// there were any.
    pub(super) fn blank_registers(&self, bytes: &mut [u8]) -> bool {
        let copies = self.blank(bytes);
        let hits: Vec<usize> = bytes
            .windows(SMALL)
            .enumerate()
            .filter(|(_, word)| <[u8; SMALL]>::try_from(*word).is_ok_and(|word| self.registers.contains(&word)))
            .map(|(at, _)| at)
            .collect();
        for at in &hits {
            bytes[*at..at + SMALL].fill(0);
        }
        !copies.is_empty() || !hits.is_empty()
    }
}

/// In ascending order, those that overlap or touch as one.
fn joined(mut copies: Vec<Copy>) -> Vec<Copy> {
    copies.sort_by_key(|copy| copy.range.start);
    copies.dedup_by(|next, last| {
        let touches = next.range.start <= last.range.end;
        if touches {
            last.range.end = last.range.end.max(next.range.end);
            last.whole |= next.whole;
        }
        touches
    });
    copies
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(bytes: &[u8]) -> Secret {
        Secret { name: "S".to_owned(), bytes: bytes.to_vec(), min: MIN_RANGE }
    }

    fn finder(bytes: &[u8]) -> Finder {
        Finder::new(&[secret(bytes)], &HashSet::new()).unwrap().unwrap()
    }

    fn finder_of(bytes: &[u8], min: usize) -> Finder {
        Finder::new(&[Secret { min, ..secret(bytes) }], &HashSet::new()).unwrap().unwrap()
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
        for len in [28, 32, 40] {
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
            assert!(Finder::new(&[secret(bytes)], &HashSet::new()).unwrap().is_none(), "{bytes:?}");
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
    fn other_text_stays_what_it_is() {
        for (value, text) in [
            ("my-01234567-token", "0123456789"),
            ("my-01234567-token", "0123456789abcdefghijklmnopqrstuvwxyz"),
            ("Password123", "Password1234 is weak"),
            ("Password123", "MyPassword123, Password123_old"),
            ("Summer2024-01-01", "2024-01-01T00:00:00"),
            ("Summer2024-01-01", "Summer2024-01-010"),
            ("user1:abcdef0123456789", "0123456789abcdef"),
            ("user1:abcdef0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"),
            ("secret", "secrets of client_secret"),
            ("postgres://localhost/app", "postgres://localhost/app_test"),
        ] {
            let find = finder_of(value.as_bytes(), MIN_VALUE);
            let mut memory = text.as_bytes().to_vec();
            assert_eq!(find.blank(&mut memory), [0usize; 0], "{value}: {text}");
            assert!(!find.blank_registers(&mut memory), "{value}: {text}");
            assert_eq!(memory, text.as_bytes());
        }
    }

    #[test]
    fn whole_values_are_found_in_any_surroundings_but_a_longer_word() {
        for value in ["my-01234567-token", "Password123", "Summer2024-01-01", "user1:abcdef0123456789", "hunter2"] {
            let find = finder_of(value.as_bytes(), MIN_VALUE);
            for (before, behind) in
                [("", ""), ("https://u:", "@host"), ("\0", "\0"), ("mysql -p", " db"), ("\"", "\",")]
            {
                let mut memory = [before, value, behind].concat().into_bytes();
                find.blank(&mut memory);
                assert_eq!(memory, [before.as_bytes(), &vec![0; value.len()], behind.as_bytes()].concat(), "{value}");
            }
        }
        // A token is no part of any word.
        let mut memory = [b"bearer", TEXT, b"0"].concat();
        finder(TEXT).blank(&mut memory);
        assert_eq!(memory, [&b"bearer"[..], &[0; 40], b"0"].concat());
    }

    #[test]
    fn a_secret_beside_another_is_found() {
        let secrets = [secret(TEXT), secret(b"Password123")];
        let find = Finder::new(&secrets, &HashSet::new()).unwrap().unwrap();
        let mut memory = [TEXT, b"Password123"].concat();
        find.blank(&mut memory);
        assert!(memory.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn what_agrees_around_a_piece_is_part_of_the_copy() {
        let value = b"abcdefgh-3f9a7c21d0-aaaaaaaa";
        let mut memory = [b"xx", &value[4..24], b"xx"].concat();
        let find = finder(value);
        let read = |_: u64, bytes: &mut [u8]| {
            bytes.copy_from_slice(&memory);
            Ok::<(), ()>(())
        };
        let part = Copy { range: 2..22, secret: 0, whole: false };
        assert_eq!(find.search(0..memory.len() as u64, read).unwrap(), [part]);
        find.blank(&mut memory);
        assert_eq!(memory, [b"xx", &[0; 20][..], b"xx"].concat());
    }

    #[test]
    fn pieces_that_others_have_prove_nothing() {
        let value = b"x509v3extensions-here";
        let library = b"....x509v3extensions....".to_vec();
        let read = |_: u64, bytes: &mut [u8]| {
            bytes.copy_from_slice(&library);
            Ok::<(), ()>(())
        };
        let public = finder(value).pieces_in(0..library.len() as u64, read).unwrap();
        assert!(!public.is_empty());
        let find = Finder::new(&[secret(value)], &public).unwrap().unwrap();
        assert_eq!(find.blank(&mut library.clone()), [0usize; 0]);
        assert_eq!(find.blank(&mut value.to_vec()), [0]);
    }

    #[test]
    fn a_word_at_the_edge_of_a_chunk_is_judged_by_what_is_behind_it() {
        let find = finder_of(b"Password123", MIN_VALUE);
        for (shift, behind, expected) in (0..30).flat_map(|shift| [(shift, b'4', 0), (shift, b' ', 1)]) {
            let mut memory = vec![b'.'; CHUNK + 100];
            let at = CHUNK - shift;
            memory[at..at + 11].copy_from_slice(b"Password123");
            memory[at + 11] = behind;
            let read = |from: u64, bytes: &mut [u8]| {
                bytes.copy_from_slice(&memory[from as usize..from as usize + bytes.len()]);
                Ok::<(), ()>(())
            };
            assert_eq!(find.search(0..memory.len() as u64, read).unwrap().len(), expected, "{shift} {behind}");
        }
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
