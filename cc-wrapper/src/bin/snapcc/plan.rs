//! The parts of a command line's meaning that snapcc must know.

use crate::args::{Arg, parse};
use crate::flags::Role;
use crate::response::Word;
use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What to do about one command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The file of the linked executable; `None` if none is linked.
    ///
    /// The result can still be another kind of file (a linker script may make a raw binary), so the produced file
    /// decides.
    pub(crate) executable: Option<OsString>,
    /// Index of the argument before which the include directory goes; `None` if no file is preprocessed.
    pub(crate) include_at: Option<usize>,
}

/// Suffixes of files that the compiler preprocesses.
const PREPROCESSED: &[&str] = &[
    "C", "CPP", "H", "HPP", "M", "S", "c", "c++", "cc", "cp", "cpp", "cppm", "cu", "cxx", "h", "h++", "hh", "hip",
    "hp", "hpp", "hxx", "ixx", "m", "mm", "sx", "tcc",
];

/// Suffixes of files that it precompiles and does not link.
const HEADERS: &[&str] = &["H", "HPP", "h", "h++", "hh", "hp", "hpp", "hxx", "tcc"];

/// Values of `-x` that are preprocessed, beside every `…-header`.
const PREPROCESSED_LANGUAGES: &[&str] =
    &["assembler-with-cpp", "c", "c++", "c++-module", "cuda", "hip", "objective-c", "objective-c++"];

/// How the compiler treats one input.
struct Kind {
    preprocessed: bool,
    header: bool,
}

/// Reads the meaning of a command line whose response files are expanded. `written` is the number of its arguments.
pub(crate) fn plan(words: &[Word], written: usize) -> Plan {
    let origin = Cell::new(0);
    let mut end_of_flags = None;
    let mut language: Option<&OsStr> = None;
    let (mut linked, mut stopped, mut asked, mut preprocessed) = (false, false, false, false);
    let mut output = None;
    let mut linker: Vec<&[u8]> = Vec::new();

    let texts = words.iter().map(|word| {
        origin.set(word.origin);
        word.text.as_os_str()
    });
    for arg in parse(texts) {
        let (flag, value) = match arg {
            Arg::Input(file) => {
                let kind = kind(file, language);
                preprocessed |= kind.preprocessed;
                linked |= !kind.header;
                continue;
            }
            Arg::Other(_) => continue,
            // The compiler will report that the value is missing; an added argument must not become that value.
            Arg::Dangling(_) => return Plan::default(),
            Arg::EndOfFlags => {
                end_of_flags = Some(origin.get());
                continue;
            }
            Arg::Flag(flag) => (flag, OsStr::new("")),
            Arg::Joined(flag, value) | Arg::Separate(flag, _, value) => (flag, value),
        };
        match flag.role {
            Role::Value => {}
            Role::Stop | Role::NotExecutable => stopped = true,
            Role::Query => asked = true,
            Role::Output => output = Some(value.to_owned()),
            Role::Language => language = (value != "none").then_some(value),
            Role::LinkerList => linker.extend(value.as_bytes().split(|&byte| byte == b',')),
            Role::Linker => linker.push(value.as_bytes()),
            Role::Library => linked = true,
        }
    }

    if asked {
        return Plan::default();
    }
    let linker = Linker::read(&linker);
    let executable = (linked || linker.inputs) && !stopped && !linker.stopped;
    // The linker gets `-o` from the compiler first and from `-Wl` later, and uses the last one.
    let name = linker.output.or(output).unwrap_or_else(|| "a.out".into());
    Plan { executable: executable.then_some(name), include_at: preprocessed.then(|| end_of_flags.unwrap_or(written)) }
}

/// How the compiler treats `file` under `-x language`.
fn kind(file: &OsStr, language: Option<&OsStr>) -> Kind {
    if let Some(language) = language.and_then(OsStr::to_str) {
        let header = language.ends_with("-header");
        return Kind { preprocessed: header || PREPROCESSED_LANGUAGES.contains(&language), header };
    }
    if file == "-" {
        return Kind { preprocessed: true, header: false };
    }
    let name = file.as_bytes();
    let suffix = name.iter().rposition(|&byte| byte == b'.').and_then(|dot| name.get(dot + 1..));
    let suffix = suffix.and_then(|suffix| std::str::from_utf8(suffix).ok()).unwrap_or_default();
    Kind { preprocessed: PREPROCESSED.contains(&suffix), header: HEADERS.contains(&suffix) }
}

/// The meaning of arguments for the linker.
struct Linker {
    /// There are such arguments: gcc then links even without a file to link.
    inputs: bool,
    /// The compiler links nothing.
    stopped: bool,
    output: Option<OsString>,
}

impl Linker {
    fn read(args: &[&[u8]]) -> Linker {
        let mut linker = Linker { inputs: !args.is_empty(), stopped: false, output: None };
        let mut args = args.iter().copied();
        while let Some(arg) = args.next() {
            match arg {
                b"-shared" | b"--shared" | b"-Bshareable" | b"--Bshareable" | b"-r" | b"-i" | b"-Ur"
                | b"-relocatable" | b"--relocatable" | b"--version" | b"-version" | b"--help" | b"-help" => {
                    linker.stopped = true;
                }
                b"-o" | b"--output" => linker.output = args.next().map(|file| OsString::from_vec(file.to_vec())),
                _ => {
                    let file = arg.strip_prefix(b"--output=").or_else(|| arg.strip_prefix(b"-o"));
                    if let Some(file) = file {
                        linker.output = Some(OsString::from_vec(file.to_vec()));
                    }
                }
            }
        }
        linker
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::expand;
    use proptest::prelude::*;

    fn of(line: &str) -> Plan {
        let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        plan(&expand(&args).unwrap(), args.len())
    }

    #[track_caller]
    fn links(line: &str, output: &str) {
        assert_eq!(of(line).executable.as_deref(), Some(OsStr::new(output)), "{line}");
    }

    #[track_caller]
    fn does_not_link(line: &str) {
        assert_eq!(of(line).executable, None, "{line}");
    }

    #[test]
    fn executables() {
        links("m.c", "a.out");
        links("m.c -o x", "x");
        links("-ox m.c", "x");
        links("--output=x m.c", "x");
        links("--output x m.c", "x");
        links("-o x -o y m.c", "y");
        links("m.o n.o libz.a -lm -o x", "x");
        links("-lfoo", "a.out");
        links("-x c - -o x", "x");
        links("-x c m -x none n.o", "a.out");
        links("-static-pie m.c", "a.out");
        links("-no-pie -nostdlib -flto -pipe -save-temps m.c", "a.out");
        links("-MD -MMD -MF x.d -MT t m.c -o x", "x");
        links("m.c -Wl,-o,y -o x", "y");
        links("m.c -Xlinker -o -Xlinker y", "y");
        links("m.c -Wl,-oy", "y");
        links("m.c -Wl,--output=y", "y");
        links("-Wl,-z,now", "a.out");
        links("m.c h.h -o x", "x");
        links("m.c -o -c", "-c");
        links("m.c -D -c -I -S -o x", "x");
        links("-v m.c", "a.out");
        links("--target=x86_64-linux-gnu -fuse-ld=lld m.c", "a.out");
        links("-Xclang -c m.c", "a.out");
        links("m.c -o /dev/null", "/dev/null");
        links("-- m.c", "a.out");
    }

    #[test]
    fn no_executable() {
        for line in [
            "",
            "-c m.c -o m.o",
            "-S m.c",
            "-E m.c",
            "-M m.c",
            "-MM m.c",
            "-fsyntax-only m.c",
            "-r a.o b.o -o c.o",
            "-shared m.o -o libm.so",
            "--shared m.o",
            "m.o -Wl,-shared",
            "m.o -Wl,-soname,x,-r",
            "m.o -Xlinker -r",
            "-Wl,--version",
            "--version",
            "--version m.c",
            "--help",
            "-print-prog-name=ld",
            "--print-file-name=libc.so m.c",
            "-print-search-dirs",
            "-dumpmachine",
            "-dumpspecs",
            "-### m.c",
            "-v",
            "-O2 -Wall",
            "m.h",
            "-x c-header m",
            "-x c++-header m.h -o m.gch",
            "-emit-llvm m.c",
            "-cc1 m.c",
            "m.c -o",
            "m.c -x",
        ] {
            does_not_link(line);
        }
    }

    #[test]
    fn include_directory() {
        assert_eq!(of("-c m.c").include_at, Some(2));
        assert_eq!(of("m.o n.cc -o x").include_at, Some(4));
        assert_eq!(of("-c m.S").include_at, Some(2));
        assert_eq!(of("-E -").include_at, Some(2));
        assert_eq!(of("-shared m.c").include_at, Some(2));
        assert_eq!(of("m.h").include_at, Some(1));
        assert_eq!(of("-c -x c m").include_at, Some(4));
        assert_eq!(of("-O2 -- m.c").include_at, Some(1), "behind -- it would be a file");
        for line in [
            "m.o",
            "-c m.s",
            "-c m.i",
            "-c m.ii",
            "-v",
            "--version m.c",
            "-### m.c",
            "-c -x cpp-output m.c",
            "-c -x assembler m.c",
            "-lm",
            "-c m.c -o",
            "-c m.ll",
            "-Wl,--version",
        ] {
            assert_eq!(of(line).include_at, None, "{line}");
        }
    }

    #[test]
    fn response_files() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("args");
        std::fs::write(&file, "-o 'x' m.c").unwrap();
        links(&format!("@{}", file.display()), "x");
        std::fs::write(&file, "-c").unwrap();
        does_not_link(&format!("@{} m.c", file.display()));
        std::fs::write(&file, "-- m.c").unwrap();
        assert_eq!(of(&format!("-O2 @{}", file.display())).include_at, Some(1));
        std::fs::write(&file, "m.c -o").unwrap();
        links(&format!("@{} y", file.display()), "y");
    }

    proptest! {
        /// A flag that stops the compiler does so at any place among arguments without a value.
        #[test]
        fn stop_flags_commute(before in 0usize..4, after in 0usize..4, flag in 0usize..6) {
            let flag = ["-c", "-S", "-E", "-M", "-shared", "-r"][flag];
            let line = format!("{}{flag}{}", "m.c -O2 ".repeat(before + 1), " -ox -Wall".repeat(after));
            prop_assert_eq!(of(&line).executable, None);
        }

        /// The directory goes before an existing argument, or to the end.
        #[test]
        fn include_index_is_in_range(words in proptest::collection::vec("-{0,2}[a-zA-Z.,=]{0,5}", 0..8)) {
            let args: Vec<OsString> = words.iter().map(OsString::from).collect();
            let plan = plan(&expand(&args).unwrap(), args.len());
            prop_assert!(plan.include_at.is_none_or(|at| at <= args.len()));
        }
    }
}
