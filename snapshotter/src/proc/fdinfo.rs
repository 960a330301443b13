//! `/proc/PID/fdinfo/FD`.

use snapfn_format::snap::*;
use std::collections::HashMap;

/// The value of the first line that begins with `name`.
pub(crate) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// `name: value` pairs of one line.
pub(crate) fn pairs(line: &str) -> HashMap<&str, &str> {
    let mut words = line.split_whitespace();
    let mut out = HashMap::new();
    while let Some(word) = words.next() {
        match word.split_once(':') {
            Some((name, "")) => drop(out.insert(name, words.next().unwrap_or_default())),
            Some((name, value)) => drop(out.insert(name, value)),
            None => {}
        }
    }
    out
}

/// The step that takes a lock or a lease again, from the text behind `lock:`, such as
/// `1: POSIX  ADVISORY  WRITE 1234 08:01:5678 0 EOF`.
pub(crate) fn lock(line: &str) -> Option<Step> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, kind, _, mode, _, _, start, end] = words[..] else { return None };
    let exclusive = match mode {
        "READ" => false,
        "WRITE" => true,
        _ => return None,
    };
    let offset = |text: &str| u64::try_from(text.parse::<i64>().ok()?).ok();
    let start = offset(start)?;
    let len = if end == "EOF" { 0 } else { offset(end)?.checked_sub(start)? + 1 };
    match kind {
        "FLOCK" => Some(Step::Lock { kind: LockKind::Flock, exclusive, start: 0, len: 0 }),
        "POSIX" => Some(Step::Lock { kind: LockKind::Posix, exclusive, start, len }),
        "OFDLCK" => Some(Step::Lock { kind: LockKind::Ofd, exclusive, start, len }),
        "LEASE" => Some(Step::Lease(exclusive.into())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_a_line() {
        let line = "tfd:        5 events:       19 data:         7f05  pos:0 ino:2a sdev:e";
        let fields = pairs(line);
        assert_eq!((fields["tfd"], fields["events"], fields["data"]), ("5", "19", "7f05"));
        assert_eq!((fields["pos"], fields["ino"], fields["sdev"]), ("0", "2a", "e"));
    }

    #[test]
    fn locks() {
        let step = lock("\t1: POSIX  ADVISORY  WRITE 77 08:01:1234 10 19").unwrap();
        assert_eq!(step, Step::Lock { kind: LockKind::Posix, exclusive: true, start: 10, len: 10 });
        let step = lock("\t1: FLOCK  ADVISORY  READ 77 08:01:1234 0 EOF").unwrap();
        assert_eq!(step, Step::Lock { kind: LockKind::Flock, exclusive: false, start: 0, len: 0 });
        let step = lock("\t2: LEASE  ACTIVE    READ 77 08:01:1234 0 EOF").unwrap();
        assert_eq!(step, Step::Lease(0));
        assert!(lock("\t1: DELEG ACTIVE READ 77 08:01:1234 0 EOF").is_none());
        assert!(lock("1: POSIX ADVISORY WRITE 1 0:0:0 0 18446744073709551615").is_none());
    }
}
