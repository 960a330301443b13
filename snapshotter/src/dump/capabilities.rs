//! Sets of capabilities, in words.

use caps::Capability;

/// The difference between the masks `before` and `now` in words: `lost CAP_CHOWN, CAP_KILL; gained CAP_SYSLOG`.
pub(super) fn difference(before: u64, now: u64) -> String {
    let parts = [("lost", before & !now), ("gained", now & !before)];
    let parts = parts.iter().filter(|(_, set)| *set != 0).map(|(what, set)| format!("{what} {}", names(*set)));
    parts.collect::<Vec<_>>().join("; ")
}

/// The capabilities of a set by name; one that this version does not know, by number.
fn names(set: u64) -> String {
    let mut known: Vec<Capability> = caps::all().into_iter().filter(|one| set & one.bitmask() != 0).collect();
    // A list of all of them is too long to read.
    if known.len() > 5 {
        return format!("{} capabilities", set.count_ones());
    }
    known.sort_unstable_by_key(Capability::index);
    let rest = set & !known.iter().fold(0, |all, one| all | one.bitmask());
    let numbers = (0..u64::BITS).filter(|number| rest & 1 << number != 0).map(|number| format!("capability {number}"));
    known.iter().map(ToString::to_string).chain(numbers).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences() {
        let [chown, kill, syslog] =
            [Capability::CAP_CHOWN, Capability::CAP_KILL, Capability::CAP_SYSLOG].map(|one| one.bitmask());
        assert_eq!(difference(chown | kill, syslog), "lost CAP_CHOWN, CAP_KILL; gained CAP_SYSLOG");
        assert_eq!(difference(chown, chown | 1 << 60), "gained capability 60");
        assert_eq!(difference(0x1ff_ffff_ffff, 0), "lost 41 capabilities");
    }
}
