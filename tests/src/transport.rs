//! Two stores and the transport between them: calls of `snaprepo`, and a snapshot with enough content.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use crate::workspace::Workspace;
use crate::{must, place};

/// A program that makes its state before `main`: a table that cannot be compressed, and the time at which it was made,
/// which a second initialisation would not give again.
pub const PROGRAM: &str = include_str!("transport.c");

/// A store with snapshots, and a directory for others.
#[derive(Debug)]
pub struct Transport {
    /// The sender.
    pub workspace: Workspace,
    dir: TempDir,
}

impl Transport {
    /// Makes the directories.
    ///
    /// # Panics
    /// When the file system refuses.
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        let workspace = Workspace::new();
        let dir = must(tempfile::Builder::new().prefix("snapfn-other-").tempdir(), "scratch directory");
        Self { workspace, dir }
    }

    /// Makes a snapshot `name` of [`PROGRAM`] with a table of `size` bytes.
    ///
    /// # Panics With the message of the compiler or the snapshotter.
    #[track_caller]
    pub fn snapshot(&self, name: &str, size: usize, seed: u32) {
        let flags = ["-O1".to_owned(), format!("-DSIZE={size}"), format!("-DSEED={seed}")];
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let exe = self.workspace.compile(name, PROGRAM, &flags);
        self.workspace.created(&["--tag", name, "--", &exe]);
    }

    /// A directory of the receiver, which does not exist yet.
    #[must_use]
    pub fn other(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `snaprepo ARGS…` with `store` as the store and without the user's settings.
    #[must_use]
    pub fn command(&self, store: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(place::binary("snaprepo"));
        command.args(args).env_clear().env("SNAPFN_STORE", store).env("HOME", self.dir.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
        command
    }

    /// Runs `snaprepo ARGS…`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn snaprepo(&self, store: &Path, args: &[&str]) -> Output {
        must(self.command(store, args).output(), "snaprepo")
    }

    /// Runs it and returns its output. The test fails unless it succeeds.
    ///
    /// # Panics
    /// When it does not succeed.
    #[must_use]
    #[track_caller]
    pub fn good(&self, store: &Path, args: &[&str]) -> String {
        let output = self.snaprepo(store, args);
        assert!(output.status.success(), "snaprepo {args:?}: {}", shown(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(&self, store: &Path, args: &[&str]) -> Child {
        let mut command = self.command(store, args);
        must(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn(), "snaprepo")
    }

    /// The output of `snaprun NAME world` with this store.
    ///
    /// # Panics
    /// When it does not end as the program does.
    #[must_use]
    #[track_caller]
    pub fn run(&self, store: &Path, name: &str) -> String {
        let mut command = Command::new(place::binary("snaprun"));
        let output = must(command.args([name, "world"]).env_clear().env("SNAPFN_STORE", store).output(), "snaprun");
        assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Default for Transport {
    fn default() -> Self {
        Self::new()
    }
}

/// Status and output for a message.
#[must_use]
pub fn shown(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// All files below `dir` with their content, except files whose name is the digest of their content.
#[must_use]
pub fn names(dir: &Path) -> Vec<PathBuf> {
    let mut names = crate::workspace::tree(dir);
    names.retain(|path| fs::symlink_metadata(path).is_ok_and(|about| !about.is_dir()));
    names
}
