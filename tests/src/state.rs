//! Programs of `state/`, snapshotted and restored as a plain user.

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;

use crate::run::{self, Outcome, Run};
use crate::workspace::Workspace;
use crate::{must, place};

/// What makes snapcc compile with musl.
pub const MUSL: &[&str] = &["-specs", "/usr/lib/x86_64-linux-musl/musl-gcc.specs"];

/// A scratch place whose store and binaries the plain user may use.
#[derive(Debug)]
pub struct State {
    /// The place.
    pub workspace: Workspace,
    /// A directory with the binaries, in which every user may start them.
    bin: PathBuf,
}

impl Default for State {
    /// Makes the place.
    ///
    /// # Panics When it cannot be made, as all helpers: a test fails by panicking.
    #[track_caller]
    fn default() -> Self {
        let workspace = Workspace::new();
        let mut bin = place::bin();
        if run::is_root() {
            must(chown(workspace.store(), Some(run::PLAIN_USER), Some(run::PLAIN_USER)), "store");
            let copies = workspace.out().join("bin");
            must(fs::create_dir(&copies), copies.display());
            for name in ["snapshotter", "snapboot", "snaprun"] {
                must(fs::copy(place::binary(name), copies.join(name)), name);
            }
            bin = copies;
        }
        State { workspace, bin }
    }
}

impl State {
    /// As [`State::default`].
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        Self::default()
    }

    /// Compiles `state/NAME.c`; gives the executable.
    #[must_use]
    #[track_caller]
    pub fn compile(&self, name: &str, flags: &[&str]) -> String {
        let include = format!("-I{}", place::tests().join("state").display());
        let source = must(fs::read_to_string(place::tests().join(format!("state/{name}.c"))), name);
        let flags: Vec<&str> = flags.iter().copied().chain([include.as_str(), "-O1", "-Wall"]).collect();
        self.workspace.compile(name, &source, &flags)
    }

    /// A command of the project, as the plain user in the working directory.
    #[must_use]
    pub fn command(&self, program: &str, args: &[&str]) -> Run {
        let program = self.bin.join(program).to_string_lossy().into_owned();
        let argv = std::iter::once(program).chain(args.iter().map(|&arg| arg.to_owned())).collect();
        Run { argv, env: self.workspace.env(&[]), cwd: self.workspace.work(), ..Run::default() }
    }

    /// `snapshotter create` at the point that the program marks.
    #[must_use]
    #[track_caller]
    pub fn create(&self, name: &str, command: &[&str]) -> Outcome {
        let args: Vec<&str> = ["create", "--tag", name, "--at", "ready", "--"].iter().chain(command).copied().collect();
        self.command("snapshotter", &args).run()
    }

    /// `snaprun ARGS`.
    #[must_use]
    #[track_caller]
    pub fn snaprun(&self, args: &[&str]) -> Outcome {
        self.command("snaprun", args).run()
    }
}
