//! Whose files may decide what a process does.

use core::{error, fmt};

/// Permission to write for group or others.
pub const OTHERS_WRITE: u32 = 0o022;

/// Why a program does not use a file of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untrusted {
    /// Group or others may write to it: its mode.
    Writable(u32),
    /// It belongs to this user, who owns no store of the search path.
    Owner(u32),
}

/// Checks whether a program may use an open file of a store, whose contents decide what a process does. The file must
/// not be writable for others. It must belong to root, to this user (`own`), or to the owner of a store of the search
/// path that only this owner can write to: `owns_store` answers that.
pub fn check_trust(
    mode: u32,
    uid: u32,
    own: Option<u32>,
    owns_store: impl FnOnce(u32) -> bool,
) -> Result<(), Untrusted> {
    if mode & OTHERS_WRITE != 0 {
        return Err(Untrusted::Writable(mode));
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trusted_are_root_this_user_and_owners_of_stores() {
        let check = |mode, uid| check_trust(mode, uid, Some(1000), |owner| owner == 7);
        for uid in [0, 1000, 7] {
            assert_eq!(check(0o100_444, uid), Ok(()));
            for mode in [0o100_464, 0o100_446, 0o100_666] {
                assert_eq!(check(mode, uid), Err(Untrusted::Writable(mode)));
            }
        }
        assert_eq!(check(0o100_444, 8), Err(Untrusted::Owner(8)));
        assert_eq!(check_trust(0o444, 1000, None, |_| false), Err(Untrusted::Owner(1000)));
    }
}
