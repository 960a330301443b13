//! The types of options that several modules use: how a program is run and stored.

use crate::pin::Cpu;
use clap::Args;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where to take the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// Before the first instruction of `main`.
    Main,
    /// At `snap_ready()`.
    Ready,
    /// At the entry of a system call, with that first argument if one is given.
    Syscall(String, Option<u64>),
    /// Before the first instruction of a function.
    Symbol(String),
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "main" => Ok(Point::Main),
            None if text == "ready" => Ok(Point::Ready),
            Some(("symbol", name)) if !name.is_empty() => Ok(Point::Symbol(name.to_owned())),
            Some(("syscall", rest)) if !rest.is_empty() => match rest.split_once(':') {
                None => Ok(Point::Syscall(rest.to_owned(), None)),
                Some((name, fd)) => {
                    let fd = fd.parse().map_err(|_| format!("'{fd}' is not a descriptor number"))?;
                    Ok(Point::Syscall(name.to_owned(), Some(fd)))
                }
            },
            _ => Err("use main, ready, syscall:NAME[:FD] or symbol:NAME".to_owned()),
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Point::Main => f.write_str("main"),
            Point::Ready => f.write_str("ready"),
            Point::Syscall(name, None) => write!(f, "syscall:{name}"),
            Point::Syscall(name, Some(fd)) => write!(f, "syscall:{name}:{fd}"),
            Point::Symbol(name) => write!(f, "symbol:{name}"),
        }
    }
}

/// How a program is run up to its snapshot point.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Snapshot point: main, ready, syscall:NAME[:FD] or symbol:NAME
    /// [default: ready if the program marks one, else main]
    #[arg(long, value_name = "POINT")]
    pub(crate) at: Option<Point>,
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
    /// Whether an option for running a program is given.
    pub(crate) fn is_given(&self) -> bool {
        self.at.is_some() || !self.env.is_empty() || self.cwd.is_some() || self.stdin.is_some()
    }
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
    fn points() {
        assert_eq!("main".parse(), Ok(Point::Main));
        assert_eq!("syscall:read:0".parse(), Ok(Point::Syscall("read".into(), Some(0))));
        assert_eq!("syscall:accept4".parse(), Ok(Point::Syscall("accept4".into(), None)));
        assert_eq!("symbol:serve".parse(), Ok(Point::Symbol("serve".into())));
        for point in ["main", "ready", "syscall:read", "syscall:read:0", "symbol:serve"] {
            assert_eq!(point.parse::<Point>().unwrap().to_string(), point);
        }
        for bad in ["", "start", "syscall:", "symbol:", "syscall:read:x", "ready:1"] {
            assert!(bad.parse::<Point>().is_err(), "{bad}");
        }
    }
}
