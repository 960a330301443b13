//! `snapfn`: starts Python programs from snapshots that it makes and renews by itself.
//!
//! ```text
//!  options       the command line                    interpreter   which Python a program runs with
//!  index         what the Python side has written     inputs        whether a snapshot is still right
//!  commands      install, clean, list
//! ```
//!
//! This program decides in a few milliseconds whether a snapshot is there and right, and executes `snaprun`. In every
//! other case it executes the interpreter, either with the part of the package that records imports or without it.

#![cfg_attr(not(test), no_main)]

mod commands;
mod execute;
mod index;
mod inputs;
mod interpreter;
mod options;
mod place;

use execute::{NOT_FOUND, arguments, execute};
use index::{App, Found, Snapshot};
use interpreter::Interpreter;
use options::{Command, Make, Options, Target};
use place::Place;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write as _;

/// The status for a wrong command line.
const USAGE: i32 = 2;

/// What the command does; its status.
fn start() -> i32 {
    match options::parse(arguments().skip(1)) {
        Ok(Command::Help) => print(options::HELP),
        Ok(Command::Version) => print(concat!("snapfn ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Command::Run(options)) => with_start(&options, run),
        Ok(Command::Create(options)) => with_start(&options, create),
        Ok(Command::Install(options, dir)) => finish(commands::install(&options, dir.as_deref())),
        Ok(Command::Clean) => finish(commands::clean()),
        Ok(Command::List) => finish(commands::list()),
        Err(message) => {
            say(&message);
            let _ = writeln!(std::io::stderr(), "{}", options::USAGE);
            USAGE
        }
    }
}

fn finish(result: Result<(), String>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(message) => {
            say(&message);
            1
        }
    }
}

/// Status 1 where the reader has gone, as where the disk is full.
fn print(text: &str) -> i32 {
    i32::from(std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush()).is_err())
}

/// One line on standard error, if there is one.
fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "snapfn: {message}");
}

/// The program to run, and the places of everything that it needs.
struct Start<'a> {
    options: &'a Options,
    target: Target,
    interpreter: Interpreter,
    key: String,
}

impl<'a> Start<'a> {
    fn new(options: &'a Options) -> Result<Self, String> {
        let (interpreter, target) = interpreter::resolve(options)?;
        let key = index::key(&interpreter, &target, &options.preload);
        Ok(Self { options, target, interpreter, key })
    }

    fn name(&self) -> String {
        self.target.word().to_string_lossy().into_owned()
    }

    /// The words that the interpreter would get: its own options, the program, its arguments.
    fn arguments(&self) -> impl Iterator<Item = &OsStr> {
        let program = self.target.words();
        self.interpreter
            .options
            .iter()
            .map(OsString::as_os_str)
            .chain(program)
            .chain(self.options.arguments.iter().map(OsString::as_os_str))
    }

    fn ordinary(&self) -> i32 {
        execute(&self.interpreter.path, self.arguments())
    }

    /// An ordinary run whose imports are recorded.
    fn record(&self, place: &Place, make: Make) -> i32 {
        let Some(script) = place.script() else {
            say("the Python package snapfn is not beside this program; install the wheel again");
            return self.ordinary();
        };
        let preload = self.options.preload.join(",");
        let of_path = [script.as_os_str(), OsStr::new("record"), place.programs.as_os_str(), place.root.as_os_str()];
        let of_text = [&self.key, make.name(), &preload, "--"].map(OsStr::new);
        let own = self.interpreter.options.iter().map(OsString::as_os_str);
        let program = self.target.words().chain(self.options.arguments.iter().map(OsString::as_os_str));
        execute(&self.interpreter.path, own.chain(of_path).chain(of_text).chain(program))
    }

    fn instance(&self, snapshot: &Snapshot, tag: &str) -> i32 {
        execute(&snapshot.snaprun, ["--fallback", tag].map(OsStr::new).into_iter().chain(self.arguments()))
    }
}

/// Finds what the program needs, and goes on with it; else the status.
fn with_start(options: &Options, then: impl FnOnce(&Start<'_>) -> i32) -> i32 {
    match Start::new(options) {
        Ok(start) => then(&start),
        Err(why) => {
            say(&why);
            NOT_FOUND
        }
    }
}

fn run(start: &Start<'_>) -> i32 {
    let options = start.options;
    if let Some(why) = start.interpreter.unfit.as_deref().or(start.target.unfit()) {
        say(&format!("{}: no snapshot: {why}; it runs the ordinary way", start.name()));
        return start.ordinary();
    }
    if matches!(&start.target, Target::Script(path) if File::open(path).is_err()) {
        return start.ordinary();
    }
    let Some(place) = Place::find() else {
        say(&format!("{}: no snapshot: neither SNAPFN_STORE nor HOME names a place for it", start.name()));
        return start.ordinary();
    };
    let app = App::read(&place.root, &start.key);
    let mut stale = match app.snapshot(&place.root, &start.target) {
        Found::Fresh(tag, snapshot) => return start.instance(&snapshot, &tag),
        Found::Stale(why) => Some(why),
        Found::None => None,
    };
    if let Some(why) = &stale
        && options.make == Make::Before
        && commands::make(&start.interpreter, &place, &start.key)
    {
        if let Found::Fresh(tag, snapshot) = App::read(&place.root, &start.key).snapshot(&place.root, &start.target) {
            return start.instance(&snapshot, &tag);
        }
        say(&format!("{}: {why}, and no snapshot could be made anew", start.name()));
        stale = None;
    }
    if let Some(why) = &stale {
        let what = match options.make {
            Make::Never => "it runs the ordinary way",
            _ => "it runs the ordinary way, and a new snapshot is made",
        };
        say(&format!("{}: the snapshot is stale: {why}; {what}", start.name()));
    } else if let Some(why) = app.reason() {
        if app.tell_once() || options.verbose {
            say(&format!("{}: no snapshot: {why}; it runs the ordinary way", start.name()));
        }
        return start.ordinary();
    }
    match options.make {
        Make::Never => start.ordinary(),
        make => start.record(&place, make),
    }
}

fn create(start: &Start<'_>) -> i32 {
    if let Some(why) = start.interpreter.unfit.as_deref().or(start.target.unfit()) {
        say(&format!("{}: no snapshot: {why}", start.name()));
        return 1;
    }
    match Place::find() {
        Some(place) => start.record(&place, Make::Report),
        None => finish(Err("neither SNAPFN_STORE nor HOME names a place for snapshots".to_owned())),
    }
}
