//! Whose files may decide what a process does.

use core::{error, fmt};

/// Permission to write for group or others.
pub const OTHERS_WRITE: u32 = 0o022;

/// In a user namespace, the number of every user who has none there (/proc/sys/kernel/overflowuid by default).
pub const OVERFLOW_USER: u32 = 65534;

/// Whether a user namespace with this /proc/self/uid_map has a number for every user, so that two users never have the
/// same.
pub fn maps_all_users(uid_map: &[u8]) -> bool {
    let count = |line: &[u8]| {
        let word = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).nth(2);
        word.and_then(|word| core::str::from_utf8(word).ok()?.parse().ok()).unwrap_or(0u64)
    };
    uid_map.split(|byte| *byte == b'\n').map(count).sum::<u64>() == u64::from(u32::MAX)
}

/// Why a program does not use a file of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untrusted {
    /// Group or others may write to it: its mode.
    Writable(u32),
    /// It belongs to this user, who owns no store of the search path.
    Owner(u32),
    /// It belongs to a user who has no number in this user namespace, and could be anybody.
    Stranger,
}

/// Checks whether a program may use an open file of a store, whose contents decide what a process does. The file must
/// not be writable for others. It must belong to root, to this user (`own`), or to the owner of a store of the search
/// path that only this owner can write to: `owns_store` answers that. If the owner is [`OVERFLOW_USER`], `tells_users`
/// answers whether that number means one user ([`maps_all_users`]).
pub fn check_trust(
    mode: u32,
    uid: u32,
    own: Option<u32>,
    owns_store: impl FnOnce(u32) -> bool,
    tells_users: impl FnOnce() -> bool,
) -> Result<(), Untrusted> {
    if mode & OTHERS_WRITE != 0 {
        return Err(Untrusted::Writable(mode));
    }
    if uid == OVERFLOW_USER && !tells_users() {
        return Err(Untrusted::Stranger);
    }
    match uid == 0 || Some(uid) == own || owns_store(uid) {
        true => Ok(()),
        false => Err(Untrusted::Owner(uid)),
    }
}

impl error::Error for Untrusted {}

/// The message goes on behind the name of the file.
impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Untrusted::Writable(mode) => write!(
                f,
                "others may write to it (mode {:04o}); run `snaprepo verify` and set it to 0444",
                mode & 0o7777
            ),
            Untrusted::Owner(user) => {
                write!(f, "it belongs to user {user}, who owns no store of the search path; remove it")
            }
            Untrusted::Stranger => f.write_str(
                "this user namespace has no number for its owner, who may be anybody; map that user, or copy the store",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trusted_are_root_this_user_and_owners_of_stores() {
        let check = |mode, uid| check_trust(mode, uid, Some(1000), |owner| owner == 7, || false);
        for uid in [0, 1000, 7] {
            assert_eq!(check(0o100_444, uid), Ok(()));
            for mode in [0o100_464, 0o100_446, 0o100_666] {
                assert_eq!(check(mode, uid), Err(Untrusted::Writable(mode)));
            }
        }
        assert_eq!(check(0o100_444, 8), Err(Untrusted::Owner(8)));
        assert_eq!(check_trust(0o444, 1000, None, |_| false, || false), Err(Untrusted::Owner(1000)));
    }

    #[test]
    fn users_without_a_number_are_strangers() {
        let check = |own, tells| check_trust(0o444, OVERFLOW_USER, Some(own), |_| true, || tells);
        assert_eq!(check(OVERFLOW_USER, false), Err(Untrusted::Stranger));
        assert_eq!(check(1000, false), Err(Untrusted::Stranger));
        assert_eq!(check(OVERFLOW_USER, true), Ok(()));
    }

    #[test]
    fn only_a_whole_map_tells_users_apart() {
        assert!(maps_all_users(b"         0          0 4294967295\n"));
        assert!(maps_all_users(b"0 0 1000\n1000 5000 4294966295\n"));
        for map in [&b""[..], b"0 1000 1\n", b"0 0 65536\n", b"0 0 4294967294\n", b"0 0 x\n"] {
            assert!(!maps_all_users(map), "{map:?}");
        }
    }
}
