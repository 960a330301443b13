//! Whether a process is on its way out, although it has not ended yet.
//!
//! The kernel closes the descriptors of a process that ends before the process can be waited for. So the end of its
//! output comes first, and its reader cannot tell by waiting whether the program has closed it itself. The
//! kernel's flags of the process tell it: an exiting task sets `PF_EXITING` before it closes anything.

use std::fs;

const PF_EXITING: u64 = 0x4;

/// A process that cannot be looked at counts as exiting: the caller waits for it.
pub(super) fn is_exiting(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/stat")).ok().and_then(|stat| parse(&stat)).unwrap_or(true)
}

/// `PID (NAME) STATE PPID PGRP SESSION TTY TPGID FLAGS …`; the name may have any bytes in it.
fn parse(stat: &[u8]) -> Option<bool> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let flags: u64 = fields.nth(5)?.parse().ok()?;
    Some(matches!(state, "Z" | "X" | "x") || flags & PF_EXITING != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_the_ninth_field() {
        assert_eq!(parse(b"7 (a) b) (c) S 1 7 7 0 -1 4194304 97 0"), Some(false));
        assert_eq!(parse(b"7 (a) R 1 7 7 0 -1 4194308 97 0"), Some(true));
        assert_eq!(parse(b"7 (a) Z 1 7 7 0 -1 4194304 97 0"), Some(true));
        assert_eq!(parse(b"7 (a) R 1"), None);
        assert!(!is_exiting(std::process::id()));
    }
}
