//! Programs of `state/`, snapshotted and restored as a plain user.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;

use crate::bench::Bench;
use crate::place;
use crate::run::{self, Outcome, Run};

/// What makes snapcc compile with musl.
pub const MUSL: &[&str] = &["-specs", "/usr/lib/x86_64-linux-musl/musl-gcc.specs"];

/// A scratch place whose store and binaries the plain user may use.
#[derive(Debug)]
pub struct State {
    /// The place.
    pub bench: Bench,
    /// The binaries where every user may start them.
    bin: PathBuf,
}

impl Default for State {
    /// Makes the place.
    ///
    /// # Panics
    /// When it cannot be made, as all here: a test fails by panicking.
    fn default() -> Self {
        let bench = Bench::new().unwrap();
        let mut bin = place::bin();
        if run::is_root() {
            chown(bench.store(), Some(run::PLAIN_USER), Some(run::PLAIN_USER)).unwrap();
            let copies = bench.out().join("bin");
            fs::create_dir(&copies).unwrap();
            for name in ["snapshotter", "snapboot", "snaprun"] {
                fs::copy(place::binary(name), copies.join(name)).unwrap();
            }
            bin = copies;
        }
        State { bench, bin }
    }
}

impl State {
    /// As [`State::default`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Compiles `state/NAME.c`; gives the executable.
    #[must_use]
    pub fn compile(&self, name: &str, flags: &[&str]) -> String {
        let include = format!("-I{}", place::tests().join("state").display());
        let source = fs::read_to_string(place::tests().join(format!("state/{name}.c"))).unwrap();
        let flags: Vec<&str> = flags.iter().copied().chain([include.as_str(), "-O1", "-Wall"]).collect();
        self.bench.compile(name, &source, &flags).unwrap()
    }

    /// A command of ours, as the plain user in the working directory.
    #[must_use]
    pub fn command(&self, program: &str, args: &[&str]) -> Run {
        let program = self.bin.join(program).to_string_lossy().into_owned();
        let argv = std::iter::once(program).chain(args.iter().map(|&arg| arg.to_owned())).collect();
        Run { argv, env: self.bench.env(&[]), cwd: self.bench.work(), ..Run::default() }
    }

    /// `snapshotter create` at the point that the program marks.
    #[must_use]
    pub fn create(&self, name: &str, command: &[&str]) -> Outcome {
        let args: Vec<&str> = ["create", "--tag", name, "--at", "ready", "--"].iter().chain(command).copied().collect();
        self.command("snapshotter", &args).run().unwrap()
    }

    /// `snaprun ARGS`.
    #[must_use]
    pub fn snaprun(&self, args: &[&str]) -> Outcome {
        self.command("snaprun", args).run().unwrap()
    }
}
