//! Two stores and what goes between them: `snaprepo` as it is called, and a snapshot that is worth sending.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use crate::workspace::Workspace;
use crate::{must, place};

/// A program whose state is made before `main`: a table that does not compress, and the time when it was made, which no
/// second initialisation would give again.
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
    /// # Panics
    /// With what the compiler or the snapshotter says.
    #[track_caller]
    pub fn snapshot(&self, name: &str, size: usize, seed: u32) {
        let flags = ["-O1".to_owned(), format!("-DSIZE={size}"), format!("-DSEED={seed}")];
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let exe = self.workspace.compile(name, PROGRAM, &flags);
        self.workspace.created(&["--tag", name, "--", &exe]);
    }

    /// A directory of the receiver's, not yet there.
    #[must_use]
    pub fn other(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `snaprepo ARGS…` with `store` as the store and nothing of the user's settings.
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

    /// Runs it and gives its output; anything but success is a failure of the test.
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

    /// What `snaprun NAME world` prints with this store.
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

/// All files below `dir` with their content, but for what is named by its content anyway.
#[must_use]
pub fn names(dir: &Path) -> Vec<PathBuf> {
    let mut names = crate::workspace::tree(dir);
    names.retain(|path| fs::symlink_metadata(path).is_ok_and(|about| !about.is_dir()));
    names
}
