//! The command line.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// What `snapfn --help` prints.
pub(crate) const HELP: &str = "\
Starts Python programs from snapshots of themselves, which it makes and renews.

Usage: snapfn run [OPTIONS] PROGRAM [ARGS…]      run a program
       snapfn create [OPTIONS] PROGRAM [ARGS…]   run it once, then make its snapshot and report
       snapfn install [OPTIONS] PROGRAM [DIR]    put a command into DIR (~/.local/bin) that runs it
       snapfn list                               programs, their snapshots, and why one has none
       snapfn clean                              remove all of these snapshots

PROGRAM is a script (app.py), the name of a command that pip has installed (black), or -m MODULE.
The first run is an ordinary one; a snapshot with the modules that it has imported is made behind it.

Options:
      --python PATH      the interpreter [default: the script's #! line, $VIRTUAL_ENV, the environment that
                         snapfn is installed in unless it is pipx's or uv's, python3]
      --preload MODULES  also import these modules of the program's own, separated by commas, in the snapshot
      --make WHEN        background (default), before (a stale one: before the start), never
  -v, --verbose          say why there is no snapshot each time, not once
  -h, --help             this text
  -V, --version          the version

Exit status: the program's; 2 for wrong usage, 127 if the program or its interpreter is not found.
Environment: SNAPFN_STORE, XDG_DATA_HOME, HOME: where snapshots are; VIRTUAL_ENV, PATH: the interpreter.
";

/// The answer to a wrong command line.
pub(crate) const USAGE: &str = "Usage: snapfn run|create|install [OPTIONS] PROGRAM …; snapfn --help";

/// What to do.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Version,
    Run(Options),
    Create(Options),
    Install(Options, Option<PathBuf>),
    Clean,
    List,
}

/// When a snapshot is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Make {
    Background,
    Before,
    Never,
    Report,
}

impl Make {
    /// As the Python side calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Make::Background => "background",
            Make::Before => "before",
            Make::Never => "never",
            Make::Report => "report",
        }
    }
}

/// A program, as it was written.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Script(PathBuf),
    Module(OsString),
}

impl Target {
    pub(crate) fn word(&self) -> &OsStr {
        match self {
            Target::Script(path) => path.as_os_str(),
            Target::Module(name) => name,
        }
    }

    /// As the interpreter gets it.
    pub(crate) fn words(&self) -> impl Iterator<Item = &OsStr> {
        let option = match self {
            Target::Script(_) => None,
            Target::Module(_) => Some(OsStr::new("-m")),
        };
        option.into_iter().chain([self.word()])
    }

    /// The reason why only the interpreter itself can run this.
    pub(crate) fn unfit(&self) -> Option<&'static str> {
        match self {
            Target::Script(path) if path.is_dir() => Some("it is a folder"),
            Target::Script(path) if path.extension().is_some_and(|e| e == "pyc" || e == "zip" || e == "pyz") => {
                Some("it is no source file")
            }
            _ => None,
        }
    }
}

/// The options that `run`, `create` and `install` have in common.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) python: Option<PathBuf>,
    pub(crate) preload: Vec<String>,
    pub(crate) make: Make,
    pub(crate) verbose: bool,
    pub(crate) target: Target,
    pub(crate) arguments: Vec<OsString>,
}

/// Parses the words behind the program's name.
pub(crate) fn parse(mut words: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let command = words.next().ok_or("a command is missing")?;
    match command.to_str() {
        Some("-h" | "--help" | "help") => Ok(Command::Help),
        Some("-V" | "--version") => Ok(Command::Version),
        Some("run") => options(words).map(|parsed| parsed.map_or(Command::Help, Command::Run)),
        Some("create") => options(words).map(|parsed| parsed.map_or(Command::Help, Command::Create)),
        Some("install") => install(words),
        Some(name @ ("clean" | "list")) => match words.next() {
            Some(word) if word == "-h" || word == "--help" => Ok(Command::Help),
            Some(word) => Err(format!("{name} takes no argument, and {} was given", word.display())),
            None if name == "clean" => Ok(Command::Clean),
            None => Ok(Command::List),
        },
        // The first line of a command that `install` has written.
        Some("@") => installed(words),
        _ => Err(format!("there is no command {}", command.display())),
    }
}

/// None if help was asked for.
fn options(mut words: impl Iterator<Item = OsString>) -> Result<Option<Options>, String> {
    let (mut python, mut preload, mut make, mut verbose) = (None, Vec::new(), Make::Background, false);
    let target = loop {
        let word = words.next().ok_or("the program is missing")?;
        let text = word.to_str().unwrap_or_default();
        let (name, attached) = match text.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
            _ => (text, None),
        };
        let mut value = |what: &str| match attached.clone() {
            Some(value) => Ok(OsString::from(value)),
            None => words.next().ok_or(format!("{what} is missing behind {name}")),
        };
        match name {
            "-h" | "--help" => return Ok(None),
            "-v" | "--verbose" => verbose = true,
            "--python" => python = Some(PathBuf::from(value("a path")?)),
            "--preload" => preload.extend(modules(&value("a list of modules")?)?),
            "--make" => make = when(&value("background, before or never")?)?,
            "-m" => break Target::Module(words.next().ok_or("a module is missing behind -m")?),
            "--" => break Target::Script(words.next().ok_or("the program is missing")?.into()),
            _ if text.starts_with('-') => return Err(format!("there is no option {text} before the program")),
            _ => break Target::Script(word.into()),
        }
    };
    Ok(Some(Options { python, preload, make, verbose, target, arguments: words.collect() }))
}

fn modules(list: &OsStr) -> Result<Vec<String>, String> {
    let text = list.to_str().ok_or("--preload takes names of modules")?;
    let is_name = |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.');
    text.split(',')
        .map(|name| Some(name).filter(is_name).map(str::to_owned).ok_or(format!("{name:?} is no module")))
        .collect()
}

fn when(word: &OsStr) -> Result<Make, String> {
    match word.to_str() {
        Some("background") => Ok(Make::Background),
        Some("before") => Ok(Make::Before),
        Some("never") => Ok(Make::Never),
        _ => Err(format!("--make takes background, before or never, not {}", word.display())),
    }
}

fn install(words: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let Some(mut options) = options(words)? else { return Ok(Command::Help) };
    let mut rest = std::mem::take(&mut options.arguments).into_iter();
    let dir = rest.next().map(PathBuf::from);
    match rest.next() {
        Some(word) => Err(format!("install takes a program and a folder, and {} was given, too", word.display())),
        None => Ok(Command::Install(options, dir)),
    }
}

/// `snapfn @ FILE ARGS…`: FILE's further lines are words of `snapfn run`.
fn installed(mut words: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let file = words.next().ok_or("the name of a command is missing")?;
    let text = std::fs::read(Path::new(&file)).map_err(|error| format!("{}: {error}", file.display()))?;
    let lines = text.split(|byte| *byte == b'\n').skip(1).filter(|line| !line.is_empty());
    let own = lines.map(|line| std::os::unix::ffi::OsStringExt::from_vec(line.to_vec()));
    options(own.chain(words)).map(|parsed| parsed.map_or(Command::Help, Command::Run))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Command, String> {
        parse(words.iter().map(OsString::from))
    }

    #[test]
    fn options_end_at_the_program() {
        let Ok(Command::Run(options)) = parsed(&["run", "--preload=a.b,c", "-v", "app.py", "-v", "--help"]) else {
            panic!("not a run")
        };
        assert_eq!(options.preload, ["a.b", "c"]);
        assert!(options.verbose);
        assert_eq!(options.target.word(), "app.py");
        assert_eq!(options.arguments, ["-v", "--help"]);
        let Ok(Command::Run(options)) = parsed(&["run", "-m", "black", "--version"]) else { panic!("not a run") };
        assert_eq!(options.target.words().collect::<Vec<_>>(), ["-m", "black"]);
        assert_eq!(options.arguments, ["--version"]);
    }

    #[test]
    fn wrong_command_lines_are_refused_by_name() {
        for (words, expected) in [
            (&["run"][..], "the program is missing"),
            (&["run", "-x", "app.py"], "no option -x"),
            (&["run", "--make", "later", "app.py"], "not later"),
            (&["run", "--preload", "a b", "app.py"], "\"a b\" is no module"),
            (&["go"], "no command go"),
            (&["clean", "all"], "clean takes no argument"),
            (&["install", "app.py", "bin", "x"], "and x was given"),
        ] {
            let message = parsed(words).unwrap_err();
            assert!(message.contains(expected), "{words:?}: {message}");
        }
    }
}
