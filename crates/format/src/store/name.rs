//! Names of snapshots, and the meaning of a name on a command line.
//!
//! ```text
//!  ./x  ../x  /x  x.snap   a file
//!  anything else with '/'  an image in a registry: host[:port]/path[:tag][@sha256:…]
//!  NAME[:TAG]              a snapshot in the store; the default tag is "latest"
//! ```

use crate::Digest;
use core::{error, fmt};

/// The tag of a name that states none.
pub const DEFAULT_TAG: &str = "latest";
/// Most bytes of a name or a tag (it is a file name, and this is half of what file systems allow).
pub const MAX_NAME: usize = 128;
/// Most bytes of an image's host and path: the limit of registries, and of file names.
pub const MAX_IMAGE: usize = 255;

/// Why a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Nothing before, between or after the separators.
    Empty(&'static str),
    /// More bytes than it may have.
    TooLong {
        /// Which part.
        what: &'static str,
        /// Its length.
        len: usize,
        /// The most that are allowed.
        max: usize,
    },
    /// A leading dot or dash would read as a path or an option.
    Start {
        /// Which part.
        what: &'static str,
        /// The first character.
        first: char,
    },
    /// A byte outside the character set.
    Character {
        /// Which part.
        what: &'static str,
        /// The offending byte.
        byte: u8,
    },
}

impl error::Error for NameError {}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Empty(what) => write!(f, "the {what} is empty"),
            NameError::TooLong { what, len, max } => {
                write!(f, "the {what} has {len} bytes, at most {max} are allowed")
            }
            NameError::Start { what, first } => {
                write!(f, "the {what} starts with '{first}'; a file is written ./… or /…")
            }
            NameError::Character { what, byte } => write!(
                f,
                "the {what} has the character {}; allowed are letters, digits and _ . + -",
                byte.escape_ascii()
            ),
        }
    }
}

/// The meaning of a NAME on a command line, by its form alone. Its parts are not checked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A snapshot file outside the store.
    File(&'a [u8]),
    /// A snapshot in the store, for [`RefParts::parse`].
    Local(&'a [u8]),
    /// An image in a registry, for [`ImageParts::parse`].
    Image(&'a [u8]),
}

impl<'a> Target<'a> {
    /// Decides what `name` means, without access to the file system.
    pub fn of(name: &'a [u8]) -> Self {
        let path_like = name.starts_with(b"/") || name.starts_with(b"./") || name.starts_with(b"../");
        if path_like || name.ends_with(b".snap") {
            Target::File(name)
        } else if name.contains(&b'/') {
            Target::Image(name)
        } else {
            Target::Local(name)
        }
    }
}

/// Checks that `text` is one path component, which then cannot lead elsewhere. It has letters, digits and the bytes in
/// `also`, 1 to `max` bytes, and does not start with '.' or '-'.
fn component<'a>(text: &'a [u8], max: usize, what: &'static str, also: &[u8]) -> Result<&'a str, NameError> {
    let Some(&first) = text.first() else { return Err(NameError::Empty(what)) };
    if text.len() > max {
        return Err(NameError::TooLong { what, len: text.len(), max });
    }
    if matches!(first, b'.' | b'-') {
        return Err(NameError::Start { what, first: char::from(first) });
    }
    match text.iter().find(|byte| !byte.is_ascii_alphanumeric() && !also.contains(byte)) {
        Some(&byte) => Err(NameError::Character { what, byte }),
        // ASCII only.
        None => Ok(core::str::from_utf8(text).unwrap_or_default()),
    }
}

/// Checks a name or a tag of the store: `[A-Za-z0-9_.+-]`, 1 to [`MAX_NAME`] bytes, not starting with '.' or '-'. An
/// error calls it `what`.
pub fn checked_name<'a>(text: &'a [u8], what: &'static str) -> Result<&'a str, NameError> {
    component(text, MAX_NAME, what, b"_.+-")
}

/// The parts of `NAME[:TAG]`, checked: each is one plain path component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefParts<'a> {
    /// The name.
    pub name: &'a str,
    /// The tag.
    pub tag: &'a str,
}

impl<'a> RefParts<'a> {
    /// Parses `NAME[:TAG]`.
    pub fn parse(text: &'a [u8]) -> Result<Self, NameError> {
        let mut parts = text.splitn(2, |byte| *byte == b':');
        let name = parts.next().unwrap_or_default();
        let tag = parts.next().unwrap_or(DEFAULT_TAG.as_bytes());
        Ok(RefParts { name: checked_name(name, "name")?, tag: checked_name(tag, "tag")? })
    }
}

/// The parts of an image's full name `host[:port]/path[:tag][@sha256:…]`, checked only so far that each of the two is
/// one path component after each '/' of the name is replaced by [`ImageParts::SLASH`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageParts<'a> {
    /// Host and path.
    pub name: &'a str,
    /// The tag, or `sha256:` and a digest. If there is a digest, the tag is ignored.
    pub target: &'a str,
}

impl<'a> ImageParts<'a> {
    /// The character in place of a '/' of the name; no name of a registry or repository has it.
    pub const SLASH: &'static str = "+";

    /// Parses a full name.
    pub fn parse(text: &'a [u8]) -> Result<Self, NameError> {
        const WHAT: &str = "image's name";
        let mut parts = text.splitn(2, |byte| *byte == b'@');
        let (name, digest) = (parts.next().unwrap_or_default(), parts.next());
        let slash = name.iter().rposition(|byte| *byte == b'/').ok_or(NameError::Empty("path of the image"))?;
        let (path, last) = name.split_at_checked(slash).unwrap_or_default();
        let mut last = last.splitn(2, |byte| *byte == b':');
        let end = path.len() + last.next().map_or(0, <[u8]>::len);
        let name = component(name.get(..end).unwrap_or_default(), MAX_IMAGE, WHAT, b"._:/[]-")?;
        if name.split('/').any(|part| part.is_empty() || part.starts_with(['.', '-'])) {
            return Err(NameError::Empty("part between two '/' of the image's name"));
        }
        let tag = component(last.next().unwrap_or(DEFAULT_TAG.as_bytes()), MAX_NAME, "tag", b"_.-")?;
        let target = match digest {
            Some(digest) => checked_digest(digest).ok_or(NameError::Empty("digest after '@'"))?,
            None => tag,
        };
        Ok(ImageParts { name, target })
    }
}

fn checked_digest(text: &[u8]) -> Option<&str> {
    Digest::from_hex(text.strip_prefix(b"sha256:")?)?;
    core::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_target() {
        for file in ["./a", "../a", "/a/b", "a.snap", "d/a.snap", "a:b.snap"] {
            assert_eq!(Target::of(file.as_bytes()), Target::File(file.as_bytes()));
        }
        assert_eq!(Target::of(b"localhost:5000/a:b"), Target::Image(b"localhost:5000/a:b"));
        for local in ["a", "a:b", "", ".", "..", "a b"] {
            assert_eq!(Target::of(local.as_bytes()), Target::Local(local.as_bytes()));
        }
    }

    #[test]
    fn names_and_tags() {
        let parse = |text: &'static str| RefParts::parse(text.as_bytes()).map(|parts| (parts.name, parts.tag));
        assert_eq!(parse("a"), Ok(("a", "latest")));
        assert_eq!(parse("g++.1_x-y:2"), Ok(("g++.1_x-y", "2")));
        assert_eq!(parse(""), Err(NameError::Empty("name")));
        assert_eq!(parse("a:"), Err(NameError::Empty("tag")));
        assert_eq!(parse("a:.."), Err(NameError::Start { what: "tag", first: '.' }));
        assert_eq!(parse("-a"), Err(NameError::Start { what: "name", first: '-' }));
        assert_eq!(parse("a:b:c"), Err(NameError::Character { what: "tag", byte: b':' }));
        assert_eq!(parse("ä"), Err(NameError::Character { what: "name", byte: 0xc3 }));
        let long = "x".repeat(129).leak();
        assert_eq!(parse(long), Err(NameError::TooLong { what: "name", len: 129, max: 128 }));
        assert!(parse(&long[1..]).is_ok());
    }

    #[test]
    fn images() {
        let parse = |text: &str| ImageParts::parse(text.as_bytes()).map(|i| (i.name.to_owned(), i.target.to_owned()));
        let ok = |name: &str, target: &str| Ok((name.to_owned(), target.to_owned()));
        assert_eq!(parse("h.x:5000/a/b:v1"), ok("h.x:5000/a/b", "v1"));
        assert_eq!(parse("localhost/a"), ok("localhost/a", "latest"));
        assert_eq!(parse("[::1]:5000/a:v"), ok("[::1]:5000/a", "v"));
        let digest = format!("sha256:{}", "0f".repeat(32));
        assert_eq!(parse(&format!("h.x/a@{digest}")), ok("h.x/a", &digest));
        assert_eq!(parse(&format!("h.x/a:v1@{digest}")), ok("h.x/a", &digest));
        for bad in [
            "",
            "a",
            "/a",
            "a/",
            "a//b",
            "a/../b",
            "a/.b",
            "-a/b",
            "a/b:",
            "a/b:.",
            "a/b:x/y:",
            "a/b+c",
            "a/b:x+y",
            "a/b@x",
            "a/b\n",
            "a/b:\u{e4}",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(&format!("h/{}", "a".repeat(253))).is_ok());
        assert!(parse(&format!("h/{}", "a".repeat(254))).is_err());
    }
}
