//! Names of snapshots, and the meaning of a name on a command line, by the rules of [`snapfn_format::store`].

use snapfn_format::store::{self, NameError, RefParts, checked_name};
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;

/// A checked name or tag: `[A-Za-z0-9_.+-]`, 1 to [`MAX_NAME`](crate::MAX_NAME) bytes, not starting with '.' or '-'.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// Checks `bytes`. An error calls them `what`.
    pub(crate) fn checked(bytes: &[u8], what: &'static str) -> Result<Self, NameError> {
        checked_name(bytes, what).map(|name| Name(name.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A tagged name in the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ref {
    /// The name.
    pub name: Name,
    /// The tag.
    pub tag: Name,
}

impl Ref {
    /// Parses `NAME[:TAG]`.
    pub fn parse(text: impl AsRef<OsStr>) -> Result<Self, NameError> {
        let RefParts { name, tag } = RefParts::parse(text.as_ref().as_bytes())?;
        Ok(Ref { name: Name(name.to_owned()), tag: Name(tag.to_owned()) })
    }
}

impl fmt::Display for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.tag)
    }
}

impl FromStr for Ref {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Ref::parse(text)
    }
}

/// The meaning of a NAME argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A snapshot file outside the store.
    File(PathBuf),
    /// A snapshot in the store.
    Local(Ref),
    /// A reference in a registry, checked only for its characters.
    Registry(String),
}

impl Target {
    /// Decides what `text` means, without access to the file system.
    pub fn parse(text: &OsStr) -> Result<Self, NameError> {
        match store::Target::of(text.as_bytes()) {
            store::Target::File(path) if path.contains(&0) => Err(NameError::Character { what: "path", byte: 0 }),
            store::Target::File(_) => Ok(Target::File(PathBuf::from(text))),
            store::Target::Image(image) => registry(image).map(Target::Registry),
            store::Target::Local(_) => Ref::parse(text).map(Target::Local),
        }
    }
}

/// Checks a registry reference only so far that it can be printed and split at '/'.
fn registry(bytes: &[u8]) -> Result<String, NameError> {
    let what = "registry reference";
    if let Some(&byte) = bytes.iter().find(|byte| !byte.is_ascii_graphic()) {
        return Err(NameError::Character { what, byte });
    }
    if bytes.starts_with(b"-") {
        return Err(NameError::Start { what, first: '-' });
    }
    match bytes.split(|&byte| byte == b'/').any(<[u8]>::is_empty) {
        true => Err(NameError::Empty("part between two '/' of the registry reference")),
        false => Ok(bytes.iter().map(|&byte| char::from(byte)).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Target, NameError> {
        Target::parse(OsStr::new(text))
    }

    #[test]
    fn kinds_of_target() {
        assert!(matches!(parse("./a"), Ok(Target::File(_))));
        assert!(matches!(parse("../a"), Ok(Target::File(_))));
        assert!(matches!(parse("/a/b"), Ok(Target::File(_))));
        assert!(matches!(parse("a.snap"), Ok(Target::File(_))));
        assert!(matches!(parse("d/a.snap"), Ok(Target::File(_))));
        assert!(matches!(parse("localhost:5000/a:b"), Ok(Target::Registry(_))));
        let Ok(Target::Local(reference)) = parse("a") else { panic!("a is local") };
        assert_eq!(reference.to_string(), "a:latest");
        let Ok(Target::Local(reference)) = parse("g++.1_x-y:2") else { panic!("g++ is local") };
        assert_eq!((reference.name.as_str(), reference.tag.as_str()), ("g++.1_x-y", "2"));
    }

    #[test]
    fn refused() {
        assert_eq!(parse(""), Err(NameError::Empty("name")));
        assert_eq!(parse("a:"), Err(NameError::Empty("tag")));
        assert_eq!(parse(":a"), Err(NameError::Empty("name")));
        assert_eq!(parse("."), Err(NameError::Start { what: "name", first: '.' }));
        assert_eq!(parse(".."), Err(NameError::Start { what: "name", first: '.' }));
        assert_eq!(parse("a:.."), Err(NameError::Start { what: "tag", first: '.' }));
        assert_eq!(parse("-a"), Err(NameError::Start { what: "name", first: '-' }));
        assert_eq!(parse("a:b:c"), Err(NameError::Character { what: "tag", byte: b':' }));
        assert_eq!(parse("a b"), Err(NameError::Character { what: "name", byte: b' ' }));
        assert_eq!(parse("ä"), Err(NameError::Character { what: "name", byte: 0xc3 }));
        assert_eq!(parse("h//x"), Err(NameError::Empty("part between two '/' of the registry reference")));
        assert_eq!(parse(&"x".repeat(129)), Err(NameError::TooLong { what: "name", len: 129, max: 128 }));
        assert!(parse(&"x".repeat(128)).is_ok());
    }

    proptest! {
        /// In every local name that is accepted, name and tag are one plain path component each, and the name prints to
        /// text that parses to itself.
        #[test]
        fn local_names_are_plain_components(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Target::Local(reference)) = Target::parse(OsStr::from_bytes(&bytes)) {
                for part in [&reference.name, &reference.tag] {
                    prop_assert!(!part.as_str().is_empty() && part.as_str().len() <= crate::MAX_NAME);
                    prop_assert!(!part.as_str().contains(['/', '\0', ':']));
                    prop_assert!(part.as_str() != "." && part.as_str() != "..");
                }
                // "a:b.snap" names a file, so only the reference parser must give the reference back.
                prop_assert_eq!(Ref::parse(reference.to_string()), Ok(reference));
            }
        }

        #[test]
        fn every_name_of_the_grammar_is_accepted(
            name in "[A-Za-z0-9_+][A-Za-z0-9_.+-]{0,127}", tag in "[A-Za-z0-9_+][A-Za-z0-9_.+-]{0,127}",
        ) {
            let text = format!("{name}:{tag}");
            let reference = Ref::parse(&text)?;
            prop_assert_eq!(reference.to_string(), text.clone());
            let target = parse(&text)?;
            prop_assert_eq!(matches!(target, Target::File(_)), text.ends_with(".snap"));
        }

        #[test]
        fn a_slash_never_names_the_store(head in "[a-z]{1,8}", tail in "[ -~]{0,20}") {
            let text = format!("{head}/{tail}");
            prop_assert!(!matches!(parse(&text), Ok(Target::Local(_))));
        }
    }
}
