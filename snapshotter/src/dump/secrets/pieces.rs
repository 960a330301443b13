//! Finds the pieces of a secret that other data cannot contain, so that they prove a copy of which only a part is left.
//!
//! The rest of a copy after free() or a partial overwrite differs from other data by its bytes only, not by its place.
//! `01234567`, `2024-01-`, `password` or the name of a host are parts of secrets, too, but a program has them for other
//! reasons, and would fail without them. So only pieces that look random count. An estimate of the information of each
//! byte, given the one before it, decides: it is low within a word, a number or a row such as `abcd`, and high where
//! letters and digits, or small and capital letters, follow one another without a rule.

use std::collections::HashSet;
use std::ops::Range;

/// Lengths of pieces in bytes, and the bits of information that they must have. A longer piece may have less per byte:
/// chance is less likely to make a word of it.
const PIECES: [(usize, u32); 3] = [(SMALL, 28), (12, 37), (16, 44)];
/// The shorter length of pieces, and what a register holds.
pub(super) const SMALL: usize = 8;

pub(super) fn distinct(bytes: &[u8]) -> usize {
    bytes.iter().collect::<HashSet<_>>().len()
}

/// What kind of character a byte is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Lower,
    Upper,
    Digit,
    /// Punctuation and white space.
    Mark,
    /// Not of a text.
    Binary,
}

/// `text`: the byte is part of valid UTF-8.
fn class(byte: u8, text: bool) -> Class {
    match byte {
        b'a'..=b'z' => Class::Lower,
        b'A'..=b'Z' => Class::Upper,
        b'0'..=b'9' => Class::Digit,
        // Letters of other scripts.
        0x80.. if text => Class::Lower,
        _ if text => Class::Mark,
        _ => Class::Binary,
    }
}

/// The information of `next` behind `last`, in bits, roughly.
fn bits(last: u8, next: u8, text: bool) -> u32 {
    use Class::{Binary, Digit, Lower, Mark, Upper};
    match (class(last, text), class(next, text)) {
        _ if last.abs_diff(next) <= 1 => 1,
        (_, Binary) | (Binary, _) => 8,
        (Lower, Lower) | (Upper, Upper) => 2,
        (Upper, Lower) | (Digit, Digit) | (Mark, _) | (_, Mark) => 3,
        (Lower | Digit, Upper) | (Lower | Upper, Digit) | (Digit, Lower) => 6,
    }
}

/// Whether it looks random. Dates, times, addresses and versions have few letters.
fn is_random(piece: &[u8], text: bool) -> bool {
    let Some((_, least)) = PIECES.iter().find(|(len, _)| *len == piece.len()) else { return false };
    let told = 3 + piece.windows(2).map(|two| bits(two[0], two[1], text)).sum::<u32>();
    let letters = piece.iter().filter(|byte| !matches!(class(**byte, text), Class::Digit | Class::Mark)).count();
    told >= *least && letters * 4 >= piece.len() && distinct(piece) >= 5
}

/// The ranges that pieces come from. Of a URL, a sentence or a list of settings these are only the words, without names
/// of hosts or files; of a path there are none.
fn words(run: &[u8], text: bool) -> Vec<Range<usize>> {
    let settings = run.trim_ascii_end().strip_suffix(b"=").unwrap_or(run).strip_suffix(b"=").unwrap_or(run);
    let written = run.contains(&b' ') || settings.contains(&b'=') || run.windows(3).any(|three| three == b"://");
    if text && run.starts_with(b"/") {
        return Vec::new();
    }
    if !text || !written {
        return std::iter::once(0..run.len()).collect();
    }
    let is_name = |word: &[u8]| word.contains(&b'.') && !word.iter().any(u8::is_ascii_uppercase);
    let mut start = 0;
    run.split(|byte| byte.is_ascii() && !byte.is_ascii_alphanumeric() && !b"-._~+%".contains(byte))
        .filter_map(|word| {
            let range = start..start + word.len();
            start = range.end + 1;
            (!is_name(word)).then_some(range)
        })
        .collect()
}

/// The unmistakable pieces of bytes without a zero, at every `step`th place.
pub(super) fn unmistakable(run: &[u8], step: usize) -> Vec<Range<usize>> {
    let text = std::str::from_utf8(run).is_ok();
    let mut found = Vec::new();
    for word in words(run, text) {
        for (len, _) in PIECES {
            let ranges = (word.start..(word.end + 1).saturating_sub(len)).step_by(step).map(|at| at..at + len);
            found.extend(ranges.filter(|range| is_random(&run[range.clone()], text)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_write_as_well_is_no_piece() {
        for value in [
            "my-01234567-token",
            "Password123",
            "Summer2024-01-01",
            "user1:abcdef0123456789",
            "ABCDEFGHabcdefgh01234567",
            "aaaaaaaa-bbbbbbbb-cccccccc",
            "2024-11-27T19:46:57.123Z",
            "01-Jan-2024-12:30:00",
            "192.168.117.204:5432",
            "correct horse battery staple",
            "/home/me/tmp.Xk29fLq0aZ/key",
            "postgres://app@mydb.c9akciq32ab1.us-east-1.rds.amazonaws.com:5432/app",
            "host=mydb.c9akciq32ab1.us-east-1.rds.amazonaws.com;port=5432",
            "GetObjectRequest",
            "пароль-от-базы-данных",
        ] {
            let found = unmistakable(value.as_bytes(), 1);
            let pieces: Vec<_> =
                found.iter().map(|range| String::from_utf8_lossy(&value.as_bytes()[range.clone()])).collect();
            assert!(pieces.is_empty(), "{value}: {pieces:?}");
        }
    }

    #[test]
    fn what_was_drawn_at_random_has_pieces() {
        for value in [
            &b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"[..],
            b"github_pat_11ABCDEFG0aBcDeF",
            b"3f9a7c21d0e84b56",
            b"550e8400-e29b-41d4-a716-446655440000",
            b"dXNlcjE6c2VjcmV0UGFzcw==",
            b"Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
            b"postgres://app:Xk29fLq0aZ1@db.example:5432/app",
            b"Server=tcp:my.example,1433;Password=Xk29fLq0aZ1;",
            &[0x91, 0x02, 0xff, 0x41, 0x1b, 0x80, 0x7f, 0x33],
        ] {
            assert!(!unmistakable(value, 1).is_empty(), "{}", value.escape_ascii());
        }
        let url = b"postgres://app:Xk29fLq0aZ1@db.example:5432/app";
        assert!(unmistakable(url, 1).iter().all(|range| range.start >= 15 && range.end <= 26));
    }
}
