//! `@file` arguments, read as gcc reads them, to learn what a command line means.
//!
//! The compiler always gets the arguments as they were written; snapcc only reads the files.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// gcc gives up after this many files, so that a file which names itself ends.
const MAX_FILES: usize = 2000;

/// An argument and the index of the written argument that it came from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: OsString,
    pub(crate) origin: usize,
}

/// A response file that snapcc cannot read without changing what the compiler will read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opaque;

/// Replaces every `@file` in `args` by its words, nested ones too.
///
/// A file that does not exist stays an argument, as for gcc. A pipe can be read only once, so it is left to the
/// compiler and the meaning of the command line stays unknown.
pub(crate) fn expand(args: &[OsString]) -> Result<Vec<Word>, Opaque> {
    let mut words = Vec::with_capacity(args.len());
    let mut files = 0;
    // Depth first with the next word on top, so that words come out in order.
    let mut pending: Vec<Word> = Vec::new();
    for (origin, arg) in args.iter().enumerate() {
        pending.push(Word { text: arg.clone(), origin });
        while let Some(word) = pending.pop() {
            let Some(content) = read(&word.text)? else {
                words.push(word);
                continue;
            };
            files += 1;
            if files > MAX_FILES {
                return Err(Opaque);
            }
            pending.extend(split(&content).into_iter().rev().map(|text| Word { text, origin }));
        }
    }
    Ok(words)
}

/// The content of the response file that `word` names; `None` if the word is an ordinary argument.
fn read(word: &OsStr) -> Result<Option<Vec<u8>>, Opaque> {
    let Some(path) = word.as_bytes().strip_prefix(b"@").filter(|path| !path.is_empty()) else { return Ok(None) };
    let path = OsStr::from_bytes(path);
    match fs::metadata(path) {
        Err(_) => Ok(None),
        Ok(meta) if !meta.is_file() => Err(Opaque),
        Ok(_) => fs::read(path).map(Some).map_err(|_| Opaque),
    }
}

/// Splits at white space. Quotes of either kind group, a backslash takes the next byte as it is, also in quotes.
pub(crate) fn split(content: &[u8]) -> Vec<OsString> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    // A zero byte ends the text: gcc reads it as a C string.
    let mut bytes = content.iter().copied().take_while(|&byte| byte != 0);
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => word.get_or_insert_default().extend(bytes.next()),
            _ if quote == Some(byte) => quote = None,
            b'\'' | b'"' if quote.is_none() => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r' if quote.is_none() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    words.into_iter().map(OsString::from_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        split(text.as_bytes()).into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn quoting_is_that_of_gcc() {
        assert_eq!(words(" a\tb\nc  "), ["a", "b", "c"]);
        assert_eq!(words(r#"-DX="a b" 'c d'e f\ g"#), ["-DX=a b", "c de", "f g"]);
        assert_eq!(words(r#""" '' x"#), ["", "", "x"]);
        assert_eq!(words(r#"'a\'b' "a\"b" "it's""#), ["a'b", "a\"b", "it's"]);
        assert_eq!(words("'open end"), ["open end"]);
        assert_eq!(words("a\\"), ["a"]);
        assert!(words(" \n\t ").is_empty());
        assert_eq!(words("a\0b"), ["a"]);
    }

    #[test]
    fn nested_files_keep_order_and_origin() {
        let dir = tempfile::tempdir().unwrap();
        let (outer, inner) = (dir.path().join("outer"), dir.path().join("inner"));
        fs::write(&inner, "i1 i2").unwrap();
        fs::write(&outer, format!("o1 @{} o2", inner.display())).unwrap();
        let args = ["a".into(), OsString::from(format!("@{}", outer.display())), "z".into()];
        let got: Vec<_> =
            expand(&args).unwrap().into_iter().map(|w| (w.text.into_string().unwrap(), w.origin)).collect();
        let want = [("a", 0), ("o1", 1), ("i1", 1), ("i2", 1), ("o2", 1), ("z", 2)];
        assert_eq!(got, want.map(|(text, origin)| (text.to_owned(), origin)));
    }

    #[test]
    fn what_cannot_be_read_twice_is_opaque() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(expand(&[format!("@{}", dir.path().display()).into()]), Err(Opaque));
        let own = dir.path().join("own");
        fs::write(&own, format!("@{}", own.display())).unwrap();
        assert_eq!(expand(&[format!("@{}", own.display()).into()]), Err(Opaque));
    }

    #[test]
    fn a_missing_file_stays_an_argument() {
        let args = ["@/nonexistent/file".into(), "@".into()];
        let got = expand(&args).unwrap();
        assert_eq!(got.iter().map(|w| w.text.clone()).collect::<Vec<_>>(), args);
    }
}
