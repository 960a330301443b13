//! Arguments of a compiler, parsed so that they can be written back without loss.

use crate::flags::{Attach, Flag, lookup};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// One parsed argument, or two if the value is an argument of its own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arg<'a> {
    /// A file, or `-` for standard input.
    Input(&'a OsStr),
    /// A flag that is not in the table: it has no value in the next argument.
    Other(&'a OsStr),
    /// A flag without a value.
    Flag(&'static Flag),
    /// A flag with its value in the same argument.
    Joined(&'static Flag, &'a OsStr),
    /// A flag with its value in the next argument; the flag as it was spelled.
    Separate(&'static Flag, &'a OsStr, &'a OsStr),
    /// A flag whose value is missing because it is the last argument.
    Dangling(&'a OsStr),
    /// `--`: all that follows are files.
    EndOfFlags,
}

/// Iterates over parsed arguments.
pub(crate) struct Args<'a, I: Iterator<Item = &'a OsStr>> {
    words: I,
    only_files: bool,
}

/// Parses `words`, a command line without the name of the program.
pub(crate) fn parse<'a, I: IntoIterator<Item = &'a OsStr>>(words: I) -> Args<'a, I::IntoIter> {
    Args { words: words.into_iter(), only_files: false }
}

impl<'a, I: Iterator<Item = &'a OsStr>> Iterator for Args<'a, I> {
    type Item = Arg<'a>;

    fn next(&mut self) -> Option<Arg<'a>> {
        let word = self.words.next()?;
        let bytes = word.as_bytes();
        if self.only_files || bytes == b"-" || !bytes.starts_with(b"-") {
            return Some(Arg::Input(word));
        }
        if bytes == b"--" {
            self.only_files = true;
            return Some(Arg::EndOfFlags);
        }
        let Some(flag) = lookup(bytes) else { return Some(Arg::Other(word)) };
        let rest = OsStr::from_bytes(bytes.get(flag.name.len()..).unwrap_or_default());
        Some(match flag.attach {
            Attach::None => Arg::Flag(flag),
            Attach::Joined => Arg::Joined(flag, rest),
            Attach::Either if !rest.is_empty() => Arg::Joined(flag, rest),
            Attach::Either | Attach::Separate | Attach::JoinedName => match self.words.next() {
                Some(value) => Arg::Separate(flag, word, value),
                None => Arg::Dangling(word),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::FLAGS;
    use proptest::prelude::*;
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    impl Arg<'_> {
        /// Appends what was parsed, byte for byte.
        fn write_to(&self, out: &mut Vec<OsString>) {
            match self {
                Arg::Input(arg) | Arg::Other(arg) | Arg::Dangling(arg) => out.push((*arg).to_owned()),
                Arg::Flag(flag) => out.push(flag.name.into()),
                Arg::Joined(flag, value) => {
                    out.push(OsString::from_vec([flag.name.as_bytes(), value.as_bytes()].concat()));
                }
                Arg::Separate(_, spelled, value) => out.extend([(*spelled).to_owned(), (*value).to_owned()]),
                Arg::EndOfFlags => out.push("--".into()),
            }
        }
    }

    fn written_back(words: &[OsString]) -> Vec<OsString> {
        let mut out = Vec::new();
        for arg in parse(words.iter().map(OsString::as_os_str)) {
            arg.write_to(&mut out);
        }
        out
    }

    /// Any bytes, any flag of the table alone, any flag with more behind it, and usual arguments.
    fn word() -> impl Strategy<Value = OsString> {
        let listed = (0..FLAGS.len()).prop_map(|i| FLAGS[i].name.as_bytes().to_vec());
        let tail = proptest::collection::vec(any::<u8>(), 0..8);
        prop_oneof![
            tail.clone(),
            listed.clone(),
            (listed, tail).prop_map(|(flag, tail)| [flag, tail].concat()),
            "-{0,3}[a-zA-Z,=_-]{0,6}".prop_map(String::into_bytes),
        ]
        .prop_map(OsString::from_vec)
    }

    proptest! {
        #[test]
        fn parsing_loses_nothing(words in proptest::collection::vec(word(), 0..12)) {
            prop_assert_eq!(written_back(&words), words);
        }
    }

    #[test]
    fn values_are_not_taken_for_flags() {
        let words = ["-o", "-c", "-D", "-E", "x.c"].map(OsString::from);
        let args: Vec<_> = parse(words.iter().map(OsString::as_os_str)).collect();
        assert!(matches!(args[0], Arg::Separate(flag, _, value) if flag.name == "-o" && value == "-c"));
        assert!(matches!(args[1], Arg::Separate(flag, _, value) if flag.name == "-D" && value == "-E"));
        assert_eq!(args[2], Arg::Input(OsStr::new("x.c")));
    }

    #[test]
    fn a_missing_value_is_seen() {
        assert_eq!(parse([OsStr::new("-o")]).next(), Some(Arg::Dangling(OsStr::new("-o"))));
        assert!(matches!(parse([OsStr::new("-ox")]).next(), Some(Arg::Joined(..))));
    }
}
