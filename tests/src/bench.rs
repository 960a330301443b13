//! A scratch place: output directory, working directory and store of one test.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::place;
use crate::run::{self, Outcome, Run};

/// Directories and environment that one test has to itself.
#[derive(Debug)]
pub struct Bench {
    dir: TempDir,
    /// Where `snaprun` is started from; a copy where the build directory is closed to other users.
    snaprun: PathBuf,
}

impl Bench {
    /// Makes the directories; the working directory belongs to the plain user.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn new() -> Result<Self, String> {
        let text = |e: std::io::Error| format!("scratch directory: {e}");
        let mut dir = tempfile::Builder::new().prefix("snapfn-test-").tempdir().map_err(text)?;
        if std::env::var_os("SNAPFN_KEEP").is_some() {
            dir.disable_cleanup(true);
        }
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).map_err(text)?;
        for sub in ["out", "work", "run", "store", "inputs"] {
            fs::create_dir(dir.path().join(sub)).map_err(text)?;
        }
        if run::is_root() {
            for sub in ["work", "run"] {
                chown(dir.path().join(sub), Some(run::PLAIN_USER), Some(run::PLAIN_USER)).map_err(text)?;
            }
        }
        let mut snaprun = place::bin().join("snaprun");
        if run::is_root() && snaprun.exists() && !place::is_reachable_by_all(&snaprun) {
            let copy = dir.path().join("snaprun");
            fs::copy(&snaprun, &copy).map_err(text)?;
            let pool = snaprun.with_file_name("snappool");
            if pool.exists() {
                fs::copy(&pool, dir.path().join("snappool")).map_err(text)?;
            }
            snaprun = copy;
        }
        Ok(Self { dir, snaprun })
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

    /// Where standard input is kept when it is a regular file.
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
    ///
    /// # Errors
    /// When it cannot be started or does not end.
    pub fn snapshotter(&self, args: &[&str]) -> Result<Outcome, String> {
        let mut run = self.command("snapshotter", args);
        if args.first() == Some(&"create") && run::is_root() {
            // Instances are started by another user.
            run.argv.insert(2, "--share".to_owned());
        }
        run.run()
    }

    /// `snaprepo ARGS…`, likewise.
    ///
    /// # Errors
    /// When it cannot be started or does not end.
    pub fn snaprepo(&self, args: &[&str]) -> Result<Outcome, String> {
        self.command("snaprepo", args).run()
    }

    /// One of our programs in the working directory, with the tests' own privileges.
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

    /// Makes the working directory what `files` says and nothing else. Time stamps are kept equal, so that a program
    /// that looks at them sees the same in both runs.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn set_work(&self, files: &[WorkFile]) -> Result<(), String> {
        let text = |e: std::io::Error| format!("working directory: {e}");
        for entry in fs::read_dir(self.work()).map_err(text)? {
            let path = entry.map_err(text)?.path();
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.map_err(text)?;
        }
        for file in files {
            let path = self.work().join(&file.name);
            let Some(content) = &file.content else {
                fs::create_dir_all(&path).map_err(text)?;
                if run::is_root() {
                    chown(&path, Some(run::PLAIN_USER), Some(run::PLAIN_USER)).map_err(text)?;
                }
                continue;
            };
            fs::write(&path, content).map_err(text)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(file.mode)).map_err(text)?;
            if let Some(time) = file.modified {
                fs::File::options().write(true).open(&path).and_then(|f| f.set_modified(time)).map_err(text)?;
            }
            if run::is_root() {
                chown(&path, Some(run::PLAIN_USER), Some(run::PLAIN_USER)).map_err(text)?;
            }
        }
        Ok(())
    }

    /// The directories and regular files in the working directory, parents first.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn work_files(&self) -> Result<Vec<WorkFile>, String> {
        let text = |e: std::io::Error| format!("working directory: {e}");
        let mut files = Vec::new();
        for path in tree(&self.work()) {
            let meta = path.symlink_metadata().map_err(text)?;
            let name = path.strip_prefix(self.work()).unwrap_or(&path).to_string_lossy().into_owned();
            let mode = meta.permissions().mode() & 0o7777;
            let content = if meta.is_file() { Some(fs::read(&path).map_err(text)?) } else { None };
            files.push(WorkFile { name, content, mode, modified: meta.modified().ok() });
        }
        Ok(files)
    }
}

impl Bench {
    /// Compiles `source` with `snapcc FLAGS`; gives the executable.
    ///
    /// # Errors
    /// The compiler's message.
    pub fn compile(&self, name: &str, source: &str, flags: &[&str]) -> Result<String, String> {
        let file = self.out().join(format!("{name}.c"));
        fs::write(&file, source).map_err(|e| e.to_string())?;
        let exe = self.out().join(name).to_string_lossy().into_owned();
        let mut argv = vec![place::binary("snapcc").to_string_lossy().into_owned()];
        argv.extend(flags.iter().map(|&f| f.to_owned()));
        argv.extend([file.to_string_lossy().into_owned(), "-o".to_owned(), exe.clone()]);
        let built = Run { argv, env: self.env(&[]), cwd: self.out(), privileged: true, ..Run::default() }.run()?;
        if built.status == "0" { Ok(exe) } else { Err(built.to_string()) }
    }

    /// Compiles `source` and makes a snapshot `name`, in the store and as the file that is returned.
    ///
    /// # Errors
    /// The compiler's or the snapshotter's message.
    pub fn snapshot(&self, name: &str, source: &str, flags: &[&str], at: &str) -> Result<PathBuf, String> {
        let exe = self.compile(name, source, flags)?;
        let file = self.out().join(format!("{name}.snap"));
        for output in [["--tag", name], ["-o", &*file.to_string_lossy()]] {
            let made = self.snapshotter(&["create", output[0], output[1], "--at", at, "--", &exe])?;
            if made.status != "0" {
                return Err(made.to_string());
            }
        }
        Ok(file)
    }
}

impl Bench {
    /// `snapshotter create ARGS…`, which must succeed.
    pub fn created(&self, args: &[&str]) -> Result<Outcome, String> {
        let made = self.snapshotter(&[&["create"], args].concat())?;
        if made.status == "0" { Ok(made) } else { Err(made.to_string()) }
    }

    /// The files of the store but for those that the next attempt finds again: the lock, and complete splits of executables
    /// and libraries, which are named by their content. Names, snapshots and temporary files are among what is listed.
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

/// All paths below `dir`, sorted: what a failed operation must leave as it was.
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
