//! The types of options that several modules use: how a program is run and stored.

use crate::pin::Cpu;
use clap::Args;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Where to take the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// Before the first instruction of `main`.
    Main,
    /// At `snap_ready()`.
    Ready,
    /// At the entry of a system call, with that first argument if one is given, the `nth` time.
    Syscall { name: String, first: Option<u64>, nth: u32 },
    /// Before the first instruction of a function.
    Symbol(String),
    /// At the first call that makes a process.
    Fork,
    /// At the first call that waits for a connection.
    Listening,
    /// Where every task has waited for so long.
    Idle(Duration),
    /// Where this text has been written to standard output or standard error.
    Output(String),
}

/// How long every task has to wait for `--at idle`.
const IDLE: Duration = Duration::from_millis(500);

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest)) => (kind, Some(rest)),
            None => (text, None),
        };
        match (kind, rest) {
            ("main", None) => Ok(Point::Main),
            ("ready", None) => Ok(Point::Ready),
            ("fork", None) => Ok(Point::Fork),
            ("listening", None) => Ok(Point::Listening),
            ("idle", None) => Ok(Point::Idle(IDLE)),
            ("idle", Some(time)) => match time.parse() {
                Ok(ms @ 1..) => Ok(Point::Idle(Duration::from_millis(ms))),
                _ => Err(format!("'{time}' is not a number of milliseconds")),
            },
            ("output", Some(text)) if !text.is_empty() => Ok(Point::Output(text.to_owned())),
            ("symbol", Some(name)) if !name.is_empty() => Ok(Point::Symbol(name.to_owned())),
            ("syscall", Some(call)) if !call.is_empty() => system_call(call),
            _ => Err("use auto, main, ready, syscall:NAME[:FD][#N], symbol:NAME, fork, listening, idle[:MS] or \
                      output:TEXT"
                .to_owned()),
        }
    }
}

/// `NAME[:FD][#N]`
fn system_call(text: &str) -> Result<Point, String> {
    let (call, nth) = match text.split_once('#') {
        None => (text, 1),
        Some((call, nth)) => match nth.parse() {
            Ok(nth @ 1..) => (call, nth),
            _ => return Err(format!("'{nth}' does not say which of the calls, 1 is the first")),
        },
    };
    let (name, first) = match call.split_once(':') {
        None => (call, None),
        Some((name, fd)) => (name, Some(fd.parse().map_err(|_| format!("'{fd}' is not a descriptor number"))?)),
    };
    Ok(Point::Syscall { name: name.to_owned(), first, nth })
}

/// A point by name, or the one that suits the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Auto,
    Point(Point),
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(At::Auto),
            point => point.parse().map(At::Point),
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Auto => f.write_str("auto"),
            At::Point(point) => point.fmt(f),
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Point::Main => f.write_str("main"),
            Point::Ready => f.write_str("ready"),
            Point::Syscall { name, first, nth } => {
                write!(f, "syscall:{name}")?;
                first.map_or(Ok(()), |fd| write!(f, ":{fd}"))?;
                if *nth == 1 { Ok(()) } else { write!(f, "#{nth}") }
            }
            Point::Symbol(name) => write!(f, "symbol:{name}"),
            Point::Fork => f.write_str("fork"),
            Point::Listening => f.write_str("listening"),
            Point::Idle(time) => write!(f, "idle:{}", time.as_millis()),
            Point::Output(text) => write!(f, "output:{text}"),
        }
    }
}

/// How a program is run up to its snapshot point.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Snapshot point: auto, main, ready, syscall:NAME[:FD][#N] (the N-th such call), symbol:NAME, fork (the first call
    /// that makes a process), listening (the first call that waits for a connection), idle[:MS] (all threads have
    /// waited for so long) or output:TEXT (this text was written). auto is the point that the program marks, else main;
    /// an interpreter that runs a script has to mark one
    #[arg(long, value_name = "POINT", default_value = "auto")]
    pub(crate) at: At,
    /// Give up after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    pub(crate) timeout: f64,
    /// Set an environment variable for the program (repeatable)
    #[arg(long, value_name = "K=V")]
    pub(crate) env: Vec<OsString>,
    /// Run the program in this directory; its instances start there, too
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// The standard input of the program while it initialises [default: /dev/null]
    #[arg(long, value_name = "FILE")]
    pub(crate) stdin: Option<PathBuf>,
    /// Level that the C library and OpenSSL may select code for: an instance then starts on every CPU of that level
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = Cpu::Native)]
    pub(crate) cpu: Cpu,
    /// Functions of shared libraries that are looked up before the program runs. Other functions are looked up at their
    /// first call, in every instance again
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = Resolve::Program)]
    pub(crate) resolve: Resolve,
    /// Run the initialisation once only. For a snapshot at main, `create` runs it a second time with other arguments,
    /// to find where the program keeps them. So effects before main, such as writing a file, happen twice. With --once,
    /// constructors and libraries that keep the arguments (all programs in Rust have such) see those of `create` in
    /// every instance
    #[arg(long)]
    pub(crate) once: bool,
    /// Accept memory that is writable and executable at once, which JIT compilers have: an attacker who can write to it
    /// decides what the program does. Without this option such a program is refused
    #[arg(long)]
    pub(crate) allow_wx: bool,
    /// Take a snapshot although the program has made this system call, whose effect instances will lack: CALL or
    /// CALL:OPTION, as the refusal names it (repeatable)
    #[arg(long, value_name = "CALL")]
    pub(crate) accept: Vec<String>,
    /// The environment of the program before --env; `None`: that of this process.
    #[arg(skip)]
    pub(crate) environment: Option<Vec<(OsString, OsString)>>,
}

/// The functions that are looked up before the program's first instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Resolve {
    /// Those that the executable calls, as if it were linked with -z now
    Program,
    /// Those that libraries call, too, even of libraries that are loaded later (LD_BIND_NOW): all of them must exist
    All,
    /// None but those that were linked with -z now
    Lazy,
}

impl RunArgs {
    /// The options that make such a run again, without --env: a recipe has the whole environment. Paths are absolute.
    pub(crate) fn words(&self) -> io::Result<Vec<OsString>> {
        // Each new option must be repeated here, or be named with the reason why not.
        let RunArgs { at, timeout, env: _, cwd, stdin, cpu, resolve, once, allow_wx, accept, environment: _ } = self;
        let mut words = Words::default();
        words.add("--at", at.to_string()).add("--timeout", timeout.to_string());
        for (option, path) in [("--cwd", cwd), ("--stdin", stdin)] {
            if let Some(path) = path {
                words.add(option, std::path::absolute(path)?);
            }
        }
        words.add("--cpu", name(cpu)).add("--resolve", name(resolve));
        words.flag("--once", *once).flag("--allow-wx", *allow_wx);
        words.all("--accept", accept);
        Ok(words.0)
    }

    /// Whether an option for running a program is given.
    pub(crate) fn is_given(&self) -> bool {
        self.at != At::Auto || !self.env.is_empty() || self.cwd.is_some() || self.stdin.is_some()
    }
}

/// Words of a command line.
#[derive(Debug, Default)]
pub(crate) struct Words(pub(crate) Vec<OsString>);

impl Words {
    /// An option with its value, in one word: a value may begin with a dash.
    pub(crate) fn add(&mut self, option: &str, value: impl AsRef<OsStr>) -> &mut Self {
        let mut word = OsString::from(option);
        word.push("=");
        word.push(value);
        self.0.push(word);
        self
    }

    /// An option that may be given several times.
    pub(crate) fn all(&mut self, option: &str, values: &[String]) -> &mut Self {
        values.iter().fold(self, |words, value| words.add(option, value))
    }

    /// An option without a value, if it is given.
    pub(crate) fn flag(&mut self, option: &str, is_given: bool) -> &mut Self {
        self.0.extend(is_given.then(|| option.into()));
        self
    }
}

/// The word for a value of an option.
pub(crate) fn name(value: &impl clap::ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// How private anonymous memory is brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Memory {
    Auto,
    Map,
    Copy,
}

/// How the read-only segments of an ELF file are mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Segments {
    Apart,
    Joined,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_make_the_same_options() {
        use clap::Parser;
        #[derive(Debug, Parser)]
        struct Line {
            #[command(flatten)]
            run: RunArgs,
        }
        let line = |words: &[OsString]| Line::try_parse_from([OsString::from("x")].iter().chain(words)).unwrap().run;
        let given = ["--at=output:-x", "--timeout=0.5", "--cwd=/a", "--stdin=/b", "--resolve=lazy", "--once"];
        let given: Vec<OsString> = given.iter().chain(&["--allow-wx", "--accept=a:b"]).map(OsString::from).collect();
        let (first, second) = (line(&given), line(&line(&given).words().unwrap()));
        assert_eq!(format!("{first:?}"), format!("{second:?}"));
        let (first, second) = (line(&[]), line(&line(&[]).words().unwrap()));
        assert_eq!(format!("{first:?}"), format!("{second:?}"));
    }

    #[test]
    fn points() {
        let call = |name: &str, first, nth| Ok(Point::Syscall { name: name.into(), first, nth });
        assert_eq!("main".parse(), Ok(Point::Main));
        assert_eq!("syscall:read:0".parse(), call("read", Some(0), 1));
        assert_eq!("syscall:accept4".parse(), call("accept4", None, 1));
        assert_eq!("syscall:read:0#3".parse(), call("read", Some(0), 3));
        assert_eq!("syscall:futex#12".parse(), call("futex", None, 12));
        assert_eq!("symbol:serve".parse(), Ok(Point::Symbol("serve".into())));
        let points = ["main", "ready", "syscall:read", "syscall:read:0", "syscall:read:0#3", "symbol:serve", "fork"];
        for point in points.into_iter().chain(["listening", "idle:20", "output:ready: go"]) {
            assert_eq!(point.parse::<Point>().unwrap().to_string(), point);
        }
        assert_eq!("fork".parse(), Ok(Point::Fork));
        assert_eq!("listening".parse(), Ok(Point::Listening));
        assert_eq!("idle".parse(), Ok(Point::Idle(Duration::from_millis(500))));
        assert_eq!("idle:20".parse(), Ok(Point::Idle(Duration::from_millis(20))));
        assert_eq!("output:ready: go".parse(), Ok(Point::Output("ready: go".into())));
        assert_eq!("auto".parse(), Ok(At::Auto));
        assert_eq!("main".parse(), Ok(At::Point(Point::Main)));
        let bad = ["", "start", "syscall:", "symbol:", "syscall:read:x", "ready:1", "syscall:read#0", "syscall:read#x"];
        for bad in bad.into_iter().chain(["idle:", "idle:0", "idle:x", "output:", "fork:1", "listening:80"]) {
            assert!(bad.parse::<At>().is_err(), "{bad}");
        }
    }
}
