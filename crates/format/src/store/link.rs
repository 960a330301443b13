//! The targets of a tag's link.
//!
//! ```text
//!  ../../snap/<sha256>          to a snapshot
//!  ../../sets/<sha256>/<last>   to a set of variants, whose links are numbered 0 … last
//! ```

use crate::Digest;
use core::fmt;

/// Most variants of one tag.
pub const MAX_VARIANTS: usize = 64;

const SNAP: &str = "../../snap/";
const SETS: &str = "../../sets/";

/// The target of a tag's link, or of a variant's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// A snapshot.
    Snapshot(Digest),
    /// The set, and the number of its variants, 2 to [`MAX_VARIANTS`].
    Set(Digest, usize),
}

impl Link {
    /// Parses the target. Programs follow no other form.
    pub fn parse(target: &[u8]) -> Option<Self> {
        if let Some(hex) = target.strip_prefix(SNAP.as_bytes()) {
            return Digest::from_hex(hex).map(Link::Snapshot);
        }
        let (set, last) = target.strip_prefix(SETS.as_bytes())?.split_at_checked(64)?;
        // Only the form that [`Link`] writes is a number: no leading zeros.
        let last = match last {
            [b'/', one @ b'1'..=b'9'] => usize::from(one - b'0'),
            [b'/', ten @ b'1'..=b'9', one @ b'0'..=b'9'] => usize::from(ten - b'0') * 10 + usize::from(one - b'0'),
            _ => return None,
        };
        (last < MAX_VARIANTS).then_some(Link::Set(Digest::from_hex(set)?, last + 1))
    }
}

/// Writes the target.
impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Link::Snapshot(digest) => write!(f, "{SNAP}{digest}"),
            Link::Set(set, count) => write!(f, "{SETS}{set}/{}", count.saturating_sub(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_have_one_form() {
        let digest = Digest([0xab; 32]);
        for link in [Link::Snapshot(digest), Link::Set(digest, 2), Link::Set(digest, MAX_VARIANTS)] {
            assert_eq!(Link::parse(link.to_string().as_bytes()), Some(link));
        }
        let parse = |text: String| Link::parse(text.as_bytes());
        for bad in ["0", "64", "01", "+1", "", "1/", "1/2", "-1"] {
            assert_eq!(parse(format!("../../sets/{digest}/{bad}")), None, "{bad}");
        }
        assert_eq!(parse(format!("../../sets/{digest}")), None);
        assert_eq!(parse("../../sets/ab/1".into()), None);
        for bad in [
            format!("../snap/{digest}"),
            format!("../../snap/{digest}/"),
            format!("../../snap//{digest}"),
            format!("../../snap/{}", digest.to_string().to_uppercase()),
            format!("../../code/{digest}"),
            "/etc/passwd".into(),
        ] {
            assert_eq!(parse(bad.clone()), None, "{bad}");
        }
    }
}
