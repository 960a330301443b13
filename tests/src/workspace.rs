//! A scratch place: output directory, working directory and store of one test.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::run::{self, Outcome, Run};
use crate::{must, place};

/// Directories and environment of one test.
#[derive(Debug)]
pub struct Workspace {
    dir: TempDir,
    /// The directory of `snaprun`: a copy if the build directory is closed to other users.
    snaprun: PathBuf,
}

impl Workspace {
    /// Makes the directories; the working directory belongs to the plain user.
    ///
    /// # Panics When the file system refuses, as all helpers: a test fails by panicking.
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        let mut dir = must(tempfile::Builder::new().prefix("snapfn-test-").tempdir(), "scratch directory");
        if std::env::var_os("SNAPFN_KEEP").is_some() {
            dir.disable_cleanup(true);
        }
        must(fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)), "scratch directory");
        for sub in ["out", "work", "run", "store", "inputs"] {
            must(fs::create_dir(dir.path().join(sub)), sub);
        }
        for sub in ["work", "run"] {
            give_away(&dir.path().join(sub));
        }
        let mut snaprun = place::bin().join("snaprun");
        if run::is_root() && snaprun.exists() && !place::is_reachable_by_all(&snaprun) {
            let copy = dir.path().join("snaprun");
            must(fs::copy(&snaprun, &copy), "copy of snaprun");
            let pool = snaprun.with_file_name("snappool");
            if pool.exists() {
                must(fs::copy(&pool, dir.path().join("snappool")), "copy of snappool");
            }
            snaprun = copy;
        }
        Self { dir, snaprun }
    }

    /// Compiler output.
    #[must_use]
    pub fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    /// Working directory of the program.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// Where the plain user's sockets are.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// `$SNAPFN_STORE`.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// The file for standard input, if that is a regular file.
    #[must_use]
    pub fn stdin_file(&self) -> PathBuf {
        self.dir.path().join("inputs/stdin")
    }

    /// The base environment with `extra` over it; the same for ordinary and restored runs.
    #[must_use]
    pub fn env(&self, extra: &[(String, String)]) -> Vec<(String, String)> {
        let mut env = vec![
            ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()),
            ("HOME".to_owned(), "/nonexistent".to_owned()),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
            ("SNAPFN_STORE".to_owned(), self.store().to_string_lossy().into_owned()),
        ];
        env.extend(extra.iter().cloned());
        env
    }

    /// `snapshotter ARGS…` in the working directory, with the tests' own privileges.
    #[track_caller]
    pub fn snapshotter(&self, args: &[&str]) -> Outcome {
        let mut run = self.command("snapshotter", args);
        if args.first() == Some(&"create") && run::is_root() {
            // Instances are started by another user.
            run.argv.insert(2, "--share".to_owned());
        }
        run.run()
    }

    /// `snapshotter create ARGS…`, which must succeed.
    #[track_caller]
    pub fn created(&self, args: &[&str]) -> Outcome {
        self.snapshotter(&[&["create"], args].concat()).success()
    }

    /// `snaprepo ARGS…`, likewise.
    #[track_caller]
    pub fn snaprepo(&self, args: &[&str]) -> Outcome {
        self.command("snaprepo", args).run()
    }

    /// One of the project's programs in the working directory, with the tests' own privileges.
    #[must_use]
    pub fn command(&self, program: &str, args: &[&str]) -> Run {
        let mut argv = vec![place::binary(program).to_string_lossy().into_owned()];
        argv.extend(args.iter().map(|&a| a.to_owned()));
        Run { argv, env: self.env(&[]), cwd: self.work(), privileged: true, ..Run::default() }
    }

    /// A `snaprun ARGS…` as a plain user, from another directory than the program's.
    #[must_use]
    pub fn snaprun(&self, args: &[&str]) -> Run {
        let mut argv = vec![self.snaprun.to_string_lossy().into_owned()];
        argv.extend(args.iter().map(|&a| a.to_owned()));
        Run { argv, env: self.env(&[]), cwd: PathBuf::from("/"), ..Run::default() }
    }

    /// Compiles `source` with `snapcc FLAGS`. Returns the executable.
    #[must_use]
    #[track_caller]
    pub fn compile(&self, name: &str, source: &str, flags: &[&str]) -> String {
        let file = self.out().join(format!("{name}.c"));
        must(fs::write(&file, source), file.display());
        let exe = self.out().join(name).to_string_lossy().into_owned();
        let mut argv = vec![place::binary("snapcc").to_string_lossy().into_owned()];
        argv.extend(flags.iter().map(|&f| f.to_owned()));
        argv.extend([file.to_string_lossy().into_owned(), "-o".to_owned(), exe.clone()]);
        Run { argv, env: self.env(&[]), cwd: self.out(), privileged: true, ..Run::default() }.run().success();
        exe
    }

    /// Compiles `source` and makes a snapshot `name`, in the store and as the file that is returned.
    #[track_caller]
    pub fn snapshot(&self, name: &str, source: &str, flags: &[&str], at: &str) -> PathBuf {
        let exe = self.compile(name, source, flags);
        let file = self.out().join(format!("{name}.snap"));
        for output in [["--tag", name], ["-o", &*file.to_string_lossy()]] {
            self.created(&[output[0], output[1], "--at", at, "--", &exe]);
        }
        file
    }

    /// Gives the working directory exactly the content `files`. Time stamps are equal, so that a program that reads
    /// them sees the same in both runs.
    #[track_caller]
    pub fn set_work(&self, files: &[WorkFile]) {
        for entry in must(fs::read_dir(self.work()), "working directory") {
            let path = must(entry, "working directory").path();
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            must(removed, path.display());
        }
        for file in files {
            let path = self.work().join(&file.name);
            let Some(content) = &file.content else {
                must(fs::create_dir_all(&path), path.display());
                give_away(&path);
                continue;
            };
            must(fs::write(&path, content), path.display());
            must(fs::set_permissions(&path, fs::Permissions::from_mode(file.mode)), path.display());
            if let Some(time) = file.modified {
                let set = fs::File::options().write(true).open(&path).and_then(|f| f.set_modified(time));
                must(set, path.display());
            }
            give_away(&path);
        }
    }

    /// The directories and regular files in the working directory, parents first.
    #[must_use]
    #[track_caller]
    pub fn work_files(&self) -> Vec<WorkFile> {
        let mut files = Vec::new();
        for path in tree(&self.work()) {
            let meta = must(path.symlink_metadata(), path.display());
            let name = path.strip_prefix(self.work()).unwrap_or(&path).to_string_lossy().into_owned();
            let mode = meta.permissions().mode() & 0o7777;
            let content = meta.is_file().then(|| must(fs::read(&path), path.display()));
            files.push(WorkFile { name, content, mode, modified: meta.modified().ok() });
        }
        files
    }

    /// The files of the store except those that the next attempt finds again: the lock, and complete splits of
    /// executables and libraries, which are named by their content. The list has names, snapshots and temporary files.
    #[must_use]
    pub fn stored(&self) -> Vec<PathBuf> {
        let store = self.store();
        let is_split = |path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let in_place =
                path.parent().is_some_and(|dir| [store.join("code"), store.join("init")].contains(&dir.to_owned()));
            in_place && name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit())
        };
        let is_lock = |path: &Path| path == store.join(".lock");
        tree(&store).into_iter().filter(|p| !p.is_dir() && !is_split(p) && !is_lock(p)).collect()
    }
}

impl Default for Workspace {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

/// Root gives `path` to the plain user.
#[track_caller]
fn give_away(path: &Path) {
    if run::is_root() {
        must(chown(path, Some(run::PLAIN_USER), Some(run::PLAIN_USER)), path.display());
    }
}

/// A file in the working directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkFile {
    /// Its path below the working directory.
    pub name: String,
    /// Its bytes; none for a directory.
    pub content: Option<Vec<u8>>,
    /// Permission bits.
    pub mode: u32,
    /// Modification time to set; now without.
    pub modified: Option<std::time::SystemTime>,
}

impl WorkFile {
    /// A readable and writable file.
    #[must_use]
    pub fn new(name: &str, content: &[u8]) -> Self {
        Self { name: name.to_owned(), content: Some(content.to_vec()), mode: 0o644, modified: None }
    }
}

/// All paths below `dir`, sorted. A failed operation must not change them.
#[must_use]
pub fn tree(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.is_symlink() {
                todo.push(path.clone());
            }
            out.push(path);
        }
    }
    out.sort();
    out
}
