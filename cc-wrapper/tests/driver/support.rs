//! Scratch directories, tools that may be missing, and finished commands.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A scratch directory with `snapcc` and `snapc++` in `bin` and a working directory.
pub(crate) struct Sandbox {
    root: TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Sandbox {
        let sandbox = Sandbox { root: tempfile::tempdir().unwrap() };
        for directory in ["bin", "work", "tmp"] {
            fs::create_dir(sandbox.path(directory)).unwrap();
        }
        for name in ["snapcc", "snapc++"] {
            symlink(env!("CARGO_BIN_EXE_snapcc"), sandbox.path("bin").join(name)).unwrap();
        }
        sandbox
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn work(&self, name: &str) -> PathBuf {
        self.path("work").join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        let file = self.work(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }

    /// An executable script in the working directory.
    pub(crate) fn script(&self, name: &str, body: &str) -> PathBuf {
        self.write(name, &format!("#!/bin/sh\n{body}\n"));
        let file = self.work(name);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        file
    }

    /// `program` in the working directory, with an environment that is the same on all machines. `snapcc` and `snapc++`
    /// are those of the sandbox.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let own = self.path("bin").join(program.as_ref());
        let mut command = Command::new(if own.exists() { own.as_os_str() } else { program.as_ref() });
        command.current_dir(self.path("work")).env("LC_ALL", "C").env("TMPDIR", self.path("tmp"));
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("SNAPFN_") {
                command.env_remove(variable);
            }
        }
        command
    }

    /// `snapcc` in front of `compiler`.
    pub(crate) fn snapcc(&self, compiler: impl AsRef<OsStr>) -> Command {
        let mut command = self.command("snapcc");
        command.env("SNAPFN_CC", compiler);
        command
    }

    /// Every file of the working directory with its content.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(&self.path("work"), &mut files);
        files
    }

    /// Empties the working directory.
    pub(crate) fn clear(&self) {
        fs::remove_dir_all(self.path("work")).unwrap();
        fs::create_dir(self.path("work")).unwrap();
    }
}

fn collect(directory: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
}

/// Whether every tool is installed. If not, the function prints so, and fails under `SNAPFN_STRICT_TESTS=1`.
pub(crate) fn have(tools: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let missing: Vec<_> =
        tools.iter().filter(|tool| !std::env::split_paths(&path).any(|dir| dir.join(tool).is_file())).collect();
    if missing.is_empty() {
        return true;
    }
    let strict = std::env::var_os("SNAPFN_STRICT_TESTS").is_some_and(|value| value == "1");
    assert!(!strict, "not installed: {missing:?}");
    eprintln!("skipped: not installed: {missing:?}");
    false
}

/// The installed compilers, of those that the tests know.
pub(crate) fn compilers() -> Vec<&'static str> {
    ["gcc", "clang"].into_iter().filter(|compiler| have(&[compiler])).collect()
}

/// Runs to the end and expects success.
#[track_caller]
pub(crate) fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    output
}

#[track_caller]
pub(crate) fn stdout(command: &mut Command) -> String {
    String::from_utf8(succeed(command).stdout).unwrap()
}
