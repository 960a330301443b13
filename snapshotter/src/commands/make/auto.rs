//! Which point suits a program for which none was chosen.
//!
//! | program | runs to |
//! |---|---|
//! | marks a point (the note of `snap.h`, or `prctl` in an interpreter) | that point |
//! | any other ELF program | `main` |
//! | an interpreter with a script, a `#!` script | the point that it marks; without one that is an error |
//! | a launcher (`env`, `nice`, …) | wherever the program that it executes belongs |
//! | an interpreter without a script | an error: nothing of the user's is in it |

use crate::options::{At, Point};
use anyhow::{Result, bail};
use snapfn_format::snap::KEPT_ARGS_MAX;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What is known of an interpreter.
#[derive(Debug)]
pub(super) struct Language {
    /// Its programs, without version numbers.
    programs: &'static [&'static str],
    /// Options whose value is the code itself.
    code: &'static [&'static str],
    /// Options whose value names what is run.
    named: &'static [&'static str],
    /// Other options with a value of their own.
    values: &'static [&'static str],
    /// Ends of the names of its scripts.
    extensions: &'static [&'static str],
    /// How a script marks its point, if there is a way.
    mark: Option<&'static str>,
}

static LANGUAGES: [Language; 14] = [
    Language {
        programs: &["python", "pypy"],
        code: &["-c"],
        named: &["-m"],
        values: &["-W", "-X", "--check-hash-based-pycs"],
        extensions: &["py", "pyz"],
        mark: Some("write `import snapfn; snapfn.ready()` where the initialisation is done (docs/howto/python.md)"),
    },
    Language {
        programs: &["ruby", "jruby", "truffleruby"],
        code: &["-e"],
        named: &[],
        values: &["-I", "-r", "-C", "-E"],
        extensions: &["rb"],
        mark: None,
    },
    Language {
        programs: &["perl"],
        code: &["-e", "-E"],
        named: &[],
        values: &["-I", "-M"],
        extensions: &["pl"],
        mark: None,
    },
    Language {
        programs: &["node", "nodejs", "deno", "bun"],
        code: &["-e", "--eval", "-p", "--print"],
        named: &["run"],
        values: &["-r", "--require", "--import"],
        extensions: &["js", "mjs", "cjs", "ts"],
        mark: None,
    },
    Language {
        programs: &["php", "php-cgi"],
        code: &["-r"],
        named: &["-f"],
        values: &["-c", "-d", "-z"],
        extensions: &["php"],
        mark: None,
    },
    Language {
        programs: &["java"],
        code: &[],
        named: &["-jar", "-m", "--module"],
        values: &["-cp", "-classpath", "--class-path", "-p", "--module-path", "--add-modules"],
        extensions: &["jar", "java"],
        mark: None,
    },
    Language {
        programs: &["lua", "luajit"],
        code: &["-e"],
        named: &[],
        values: &["-l"],
        extensions: &["lua"],
        mark: Some("call snap_ready() from a module in C (examples/lua)"),
    },
    Language { programs: &["tclsh", "wish"], extensions: &["tcl"], ..PLAIN },
    Language { programs: &["guile"], code: &["-c"], values: &["-L", "-C", "-l"], extensions: &["scm"], ..PLAIN },
    Language { programs: &["racket"], code: &["-e"], extensions: &["rkt"], ..PLAIN },
    Language { programs: &["Rscript", "R"], code: &["-e"], named: &["-f"], extensions: &["R"], ..PLAIN },
    Language { programs: &["julia"], code: &["-e", "-E"], extensions: &["jl"], ..PLAIN },
    Language { programs: &["swipl", "octave", "octave-cli", "sbcl", "ocaml", "escript", "elixir"], ..PLAIN },
    Language {
        programs: &["sh", "dash", "bash", "zsh", "ksh", "mksh", "fish"],
        code: &["-c"],
        values: &["-o", "-O"],
        extensions: &["sh"],
        ..PLAIN
    },
];

const PLAIN: Language = Language { programs: &[], code: &[], named: &[], values: &[], extensions: &[], mark: None };

/// Programs that prepare something and then become the program that their arguments name.
const LAUNCHERS: [&str; 13] = [
    "env", "nice", "nohup", "ionice", "chrt", "taskset", "setpriv", "stdbuf", "numactl", "prlimit", "setarch",
    "setsid", "choom",
];

/// What a command line means to its interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Script {
    /// There is none.
    None,
    /// The code itself, with the index of its word.
    Code(usize),
    /// A file, a module or an archive, with the index of its word.
    File(usize),
}

impl Language {
    /// The language of an interpreter's file name, which may end in a version.
    fn of(program: &OsStr) -> Option<&'static Language> {
        let program = program.to_str()?;
        let is_version = |rest: &str| rest.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '-'));
        let is_named = |name: &&str| program.strip_prefix(*name).is_some_and(is_version);
        LANGUAGES.iter().find(|language| language.programs.iter().any(&is_named))
    }

    /// What `command`, the interpreter and its arguments, runs.
    fn script(&self, command: &[OsString]) -> Script {
        let mut words = command.iter().enumerate().skip(1);
        while let Some((index, word)) = words.next() {
            let is = |options: &[&str]| options.iter().any(|option| word == option);
            if is(self.code) && words.next().is_some() {
                return Script::Code(index + 1);
            }
            if is(self.named) && words.next().is_some() {
                return Script::File(index + 1);
            }
            if is(self.values) {
                words.next();
            } else if !word.as_bytes().starts_with(b"-") {
                return Script::File(index);
            }
        }
        Script::None
    }
}

/// What a program is, as far as its point depends on it.
#[derive(Clone, Debug)]
pub(super) enum Program {
    /// It marks a point.
    Marked,
    /// It is what its user wants to start.
    Plain,
    /// It becomes another one.
    Launcher,
    /// It runs what others have written, in a language that is known or not.
    Interpreter(Option<&'static Language>, Script),
}

impl Program {
    /// `command` runs in the ELF program `exe`, which is marked or not. The kernel was asked to execute `executed`.
    pub(super) fn of(command: &[OsString], exe: &Path, executed: &Path, is_marked: bool) -> Self {
        let name = exe.file_name().unwrap_or_default();
        if is_marked {
            return Program::Marked;
        }
        if LAUNCHERS.iter().any(|launcher| name == *launcher) {
            return Program::Launcher;
        }
        match Language::of(name) {
            // The kernel puts the script of a first line `#!` behind the interpreter.
            Some(language) => Program::Interpreter(Some(language), language.script(command)),
            None if is_script(executed) => {
                let index = command.iter().position(|word| Path::new(word) == executed);
                Program::Interpreter(None, index.map_or(Script::None, Script::File))
            }
            None => Program::Plain,
        }
    }

    /// How many words of `command` stand in front of its user's own arguments: the program, or the interpreter with its
    /// options and the script. `None`: which of them its user means for an instance is not known.
    fn words_before(&self, command: &[OsString]) -> Option<usize> {
        match self {
            Program::Launcher => None,
            Program::Interpreter(_, Script::Code(index) | Script::File(index)) => Some(index + 1),
            _ => Some(command.len().min(1)),
        }
    }

    /// The point to run to.
    pub(super) fn point(&self, at: &At, command: &[OsString]) -> Result<Point> {
        match (at, self) {
            (At::Point(point), _) => Ok(point.clone()),
            (At::Auto, Program::Plain) => Ok(Point::Main),
            (At::Auto, Program::Interpreter(_, Script::None)) => {
                let name = command.first().map_or(OsStr::new(""), OsString::as_os_str).display();
                bail!(
                    "{name} is an interpreter, and nothing of yours is in it: name the script that it runs, which marks \
                     its point, or choose a point (--at main for the interpreter itself)"
                )
            }
            (At::Auto, _) => Ok(Point::Ready),
        }
    }

    /// What to do where the program has come to its end, or to the end of its time, without marking a point.
    pub(super) fn remedy(&self) -> Option<String> {
        const OTHERS: &str = "choose a point: --at listening for a server, --at output:TEXT, --at idle, --at \
                              syscall:NAME (--at main is the interpreter before it has read anything)";
        match self {
            Program::Interpreter(language, _) => Some(match language.and_then(|language| language.mark) {
                Some(mark) => format!("no snapshot point was marked: {mark}, or {OTHERS}"),
                None => format!("no snapshot point was marked: {OTHERS}"),
            }),
            Program::Launcher => Some("it has not become another program: choose a point with --at".to_owned()),
            Program::Marked | Program::Plain => None,
        }
    }
}

/// How many arguments behind argv[0] an instance at `main` keeps in front of its own.
///
/// `first` is the program that was started, and `command` its command line; `last` is that of what it became. An
/// ordinary start would have the same words in front of other arguments.
pub(super) fn kept_args(first: &Program, command: &[OsString], last: &[OsString]) -> Result<u32> {
    let Some(before) = first.words_before(command) else { return Ok(0) };
    let own = command.get(before..).unwrap_or_default();
    match last.strip_suffix(own) {
        Some([_, kept @ ..]) if kept.len() as u32 <= KEPT_ARGS_MAX => Ok(kept.len() as u32),
        Some([]) | None => bail!(
            "the program that it became has other arguments ({}) than were given: name that program, and the arguments",
            last.join(OsStr::new(" ")).display()
        ),
        Some(_) => bail!("the program that it became has more than {KEPT_ARGS_MAX} arguments of its own"),
    }
}

/// Whether the kernel gives `path` to the interpreter of its first line.
fn is_script(path: &Path) -> bool {
    let mut start = [0; 2];
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    file.is_ok_and(|mut file| file.read_exact(&mut start).is_ok()) && start == *b"#!"
}

/// The name of the snapshot of `command`, if none is given. An interpreter's is that of its script, without the ending
/// of such names.
pub(super) fn default_name(command: &[OsString]) -> OsString {
    let name = |path: &OsStr| Path::new(path).file_name().unwrap_or_default().to_owned();
    let Some(program) = command.first().map(|program| name(program)) else { return OsString::new() };
    let script = Language::of(&program).map(|language| language.script(command));
    let name = match script {
        Some(Script::File(index)) => name(&command[index]),
        _ => program,
    };
    let is_extension = |end: &OsStr| LANGUAGES.iter().any(|language| language.extensions.iter().any(|ext| end == *ext));
    match (Path::new(&name).extension(), Path::new(&name).file_stem()) {
        (Some(extension), Some(stem)) if is_extension(extension) => stem.to_owned(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn script(line: &str) -> Script {
        let command = words(line);
        Language::of(&command[0]).expect("an interpreter").script(&command)
    }

    #[test]
    fn interpreters_have_versions() {
        let known =
            ["python3", "python3.11", "pypy3", "lua5.4", "ruby3.1", "php8.2", "perl", "node", "bash", "tclsh8.6"];
        assert!(known.iter().all(|name| Language::of(OsStr::new(name)).is_some()));
        let others = ["pythonista", "shred", "redis-server", "python3-config", "nodejs-thing", "env", "luac"];
        assert!(others.iter().all(|name| Language::of(OsStr::new(name)).is_none()));
    }

    #[test]
    fn scripts_stand_behind_options() {
        assert_eq!(script("python3"), Script::None);
        assert_eq!(script("python3 -B"), Script::None);
        assert_eq!(script("python3 app.py -c x"), Script::File(1));
        assert_eq!(script("python3 -B -W ignore app.py"), Script::File(4));
        assert_eq!(script("python3 -m json.tool x"), Script::File(2));
        assert_eq!(script("python3 -c code x"), Script::Code(2));
        assert_eq!(script("java -cp a:b -jar app.jar"), Script::File(4));
        assert_eq!(script("bash -o errexit run.sh"), Script::File(3));
    }

    #[test]
    fn snapshots_have_the_script_s_name() {
        let name = |line: &str| default_name(&words(line)).into_string().expect("UTF-8");
        assert_eq!(name("/usr/bin/redis-server --port 1"), "redis-server");
        assert_eq!(name("python3 -B /srv/report.py 5"), "report");
        assert_eq!(name("./report.py 5"), "report");
        assert_eq!(name("python3 -m http.server"), "http.server");
        assert_eq!(name("java -jar lib/app.jar"), "app");
        assert_eq!(name("python3 -c pass"), "python3");
        assert_eq!(name("./prog.x"), "prog.x");
    }

    #[test]
    fn what_stands_in_front_of_the_arguments_is_kept() {
        let kept = |first: &str, last: &str| {
            let command = words(first);
            let exe = Path::new(&command[0]);
            kept_args(&Program::of(&command, exe, exe, false), &command, &words(last)).ok()
        };
        assert_eq!(kept("/bin/tool a b", "/bin/tool a b"), Some(0));
        assert_eq!(kept("/bin/tool", "/bin/tool"), Some(0));
        // At `main` of the interpreter itself.
        assert_eq!(kept("/bin/sh ./wrapper a", "/bin/sh ./wrapper a"), Some(1));
        // What the wrapper becomes.
        assert_eq!(kept("/bin/sh ./wrapper a b", "/usr/lib/tool --root /usr a b"), Some(2));
        assert_eq!(kept("/bin/sh ./wrapper", "/usr/lib/tool --root /usr"), Some(2));
        assert_eq!(kept("/bin/sh ./wrapper a b", "/usr/lib/tool --all"), None);
        assert_eq!(kept("/usr/bin/env A=1 tool a b", "tool a b"), Some(0));
    }

    #[test]
    fn points_of_programs() {
        let point = |line: &str, marked: bool, at: At| {
            let command = words(line);
            let exe = Path::new(&command[0]);
            Program::of(&command, exe, exe, marked).point(&at, &command).ok()
        };
        assert_eq!(point("/bin/tool", false, At::Auto), Some(Point::Main));
        assert_eq!(point("/bin/tool", true, At::Auto), Some(Point::Ready));
        assert_eq!(point("/usr/bin/python3 app.py", false, At::Auto), Some(Point::Ready));
        assert_eq!(point("/usr/bin/env tool", false, At::Auto), Some(Point::Ready));
        assert_eq!(point("/usr/bin/python3", false, At::Auto), None);
        assert_eq!(point("/usr/bin/python3", false, At::Point(Point::Main)), Some(Point::Main));
    }
}
