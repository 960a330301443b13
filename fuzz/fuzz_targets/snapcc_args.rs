//! snapcc's command line and response files: parsing loses nothing, and undoes quoting exactly.
#![no_main]
#![allow(dead_code, reason = "the driver uses the rest")]

#[path = "../../cc-wrapper/src/bin/snapcc/args.rs"]
mod args;
#[path = "../../cc-wrapper/src/bin/snapcc/flags.rs"]
mod flags;
#[path = "../../cc-wrapper/src/bin/snapcc/plan.rs"]
mod plan;
#[path = "../../cc-wrapper/src/bin/snapcc/response.rs"]
mod response;

use args::{Arg, parse};
use libfuzzer_sys::fuzz_target;
use response::Word;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The words that were parsed, written back.
fn written(arg: &Arg<'_>) -> Vec<OsString> {
    match arg {
        Arg::Input(word) | Arg::Other(word) | Arg::Dangling(word) => vec![(*word).to_owned()],
        Arg::Flag(flag) => vec![flag.name.into()],
        Arg::Joined(flag, value) => vec![OsString::from_vec([flag.name.as_bytes(), value.as_bytes()].concat())],
        Arg::Separate(_, spelled, value) => vec![(*spelled).to_owned(), (*value).to_owned()],
        Arg::EndOfFlags => vec!["--".into()],
    }
}

/// A word as gcc and binutils write it into a response file.
fn quoted(word: &OsStr) -> Vec<u8> {
    if word.is_empty() {
        return b"\"\"".to_vec();
    }
    let special = |byte: u8| b" \t\n\x0b\x0c\r\\'\"".contains(&byte);
    word.as_bytes().iter().flat_map(|&byte| [b'\\', byte].into_iter().skip(usize::from(!special(byte)))).collect()
}

fuzz_target!(|data: &[u8]| {
    // A response file by itself.
    for word in response::split(data) {
        assert!(!word.as_bytes().contains(&0));
    }
    // A command line, a word between two zero bytes as in /proc/self/cmdline.
    let words: Vec<OsString> = data.split(|byte| *byte == 0).map(|word| OsStr::from_bytes(word).to_owned()).collect();
    let text = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(&b'\n');
    assert_eq!(response::split(&text), words);

    let parsed: Vec<Arg<'_>> = parse(words.iter().map(OsString::as_os_str)).collect();
    assert_eq!(parsed.iter().flat_map(written).collect::<Vec<_>>(), words);

    let count = words.len();
    let words: Vec<Word> = words.iter().enumerate().map(|(origin, text)| Word { text: text.clone(), origin }).collect();
    let plan = plan::plan(&words, count);
    assert!(plan.include_at.is_none_or(|at| at <= count));
    // Only the arguments before `--` decide how the rest is read.
    let is_end = |arg: &Arg<'_>| *arg == Arg::EndOfFlags;
    if parsed.iter().filter(|arg| is_end(arg)).count() == 1 && plan.include_at.is_some() {
        let at = plan.include_at.unwrap();
        assert!(words.get(at).is_some_and(|word| word.text == "--"));
    }
});
