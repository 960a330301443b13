//! Runs one command to its end, with a time limit, as a plain user without capabilities.

use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::must;

/// The user and group of restored and ordinary runs when the tests run as root.
pub const PLAIN_USER: u32 = 65534;

/// The time limit of a run of a corpus program. It is long enough even on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A command to run.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Working directory.
    pub cwd: PathBuf,
    /// All of standard input.
    pub stdin: Vec<u8>,
    /// The file for standard input; without it, standard input is a pipe.
    pub stdin_file: Option<PathBuf>,
    /// Keep the privileges of the tests.
    pub privileged: bool,
}

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// `0`…`255`, or a signal's name.
    pub status: String,
}

impl Outcome {
    /// Standard output as text.
    #[must_use]
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    #[must_use]
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The same, but the command must have ended with status 0.
    ///
    /// # Panics
    /// When it has not.
    #[track_caller]
    pub fn success(self) -> Self {
        assert!(self.status == "0", "{self}");
        self
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "status {}", self.status)?;
        writeln!(f, "--- stdout ({} bytes)\n{}", self.stdout.len(), clip(&self.stdout))?;
        write!(f, "--- stderr ({} bytes)\n{}", self.stderr.len(), clip(&self.stderr))
    }
}

fn clip(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(4000)]).into_owned()
}

/// The name of an ending: the exit code, or the signal.
#[must_use]
pub fn status_name(status: ExitStatus) -> String {
    let signals = [
        (1, "SIGHUP"),
        (2, "SIGINT"),
        (3, "SIGQUIT"),
        (4, "SIGILL"),
        (5, "SIGTRAP"),
        (6, "SIGABRT"),
        (7, "SIGBUS"),
        (8, "SIGFPE"),
        (9, "SIGKILL"),
        (10, "SIGUSR1"),
        (11, "SIGSEGV"),
        (12, "SIGUSR2"),
        (13, "SIGPIPE"),
        (14, "SIGALRM"),
        (15, "SIGTERM"),
        (31, "SIGSYS"),
    ];
    match (status.code(), status.signal()) {
        (Some(code), _) => code.to_string(),
        (None, Some(signal)) => signals
            .iter()
            .find(|(number, _)| *number == signal)
            .map_or_else(|| format!("SIG{signal}"), |(_, name)| (*name).to_owned()),
        (None, None) => "?".to_owned(),
    }
}

/// Whether the tests themselves are privileged, so that runs must drop privileges.
#[must_use]
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

/// Prefix that makes the rest of a command line run as a plain user with an empty capability bounding set.
#[must_use]
pub fn drop_privileges() -> Vec<String> {
    if !is_root() {
        return Vec::new();
    }
    let (user, group) = (format!("--reuid={PLAIN_USER}"), format!("--regid={PLAIN_USER}"));
    ["setpriv", &user, &group, "--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--"]
        .map(str::to_owned)
        .to_vec()
}

impl Run {
    /// The command line in a form for the shell.
    #[must_use]
    pub fn shell(&self) -> String {
        let quoted = |s: &String| format!("'{}'", s.replace('\'', r"'\''"));
        let env: Vec<_> = self.env.iter().map(|(k, v)| quoted(&format!("{k}={v}"))).collect();
        let argv: Vec<_> = self.full_argv().iter().map(quoted).collect();
        format!("(cd '{}' && env -i {} {})", self.cwd.display(), env.join(" "), argv.join(" "))
    }

    fn full_argv(&self) -> Vec<String> {
        let mut argv = if self.privileged { Vec::new() } else { drop_privileges() };
        argv.extend(self.argv.iter().cloned());
        argv
    }

    /// Starts it with piped output; standard input is fed by a thread.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn spawn(&self) -> Child {
        let mut child = self.spawn_interactive();
        if let Some(mut pipe) = child.stdin.take() {
            let bytes = self.stdin.clone();
            // A program may close the pipe without reading its input.
            thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        child
    }

    /// Starts it with piped output and input. The caller writes the input, unless it is a file.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn spawn_interactive(&self) -> Child {
        let argv = self.full_argv();
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]).env_clear().envs(self.env.iter().cloned()).current_dir(&self.cwd);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(path) = &self.stdin_file {
            must(std::fs::write(path, &self.stdin), path.display());
            command.stdin(must(File::open(path), path.display()));
        } else {
            command.stdin(Stdio::piped());
        }
        must(command.spawn(), self.shell())
    }

    /// Runs it to its end, with any status.
    ///
    /// # Panics
    /// When it cannot be started, or does not end.
    #[track_caller]
    pub fn run(&self) -> Outcome {
        must(wait(self.spawn()), self.shell())
    }
}

/// Waits for a child and collects what it wrote.
///
/// # Panics
/// When it does not end; it is killed then.
#[track_caller]
pub fn finish(child: Child) -> Outcome {
    let pid = child.id();
    must(wait(child), format_args!("process {pid}"))
}

fn wait(mut child: Child) -> Result<Outcome, String> {
    let stdout = reader(child.stdout.take());
    let stderr = reader(child.stderr.take());
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            break status;
        }
        if started.elapsed() > LIMIT {
            let _ = child.kill();
            let _ = child.wait();
            return Err("did not end".to_owned());
        }
        thread::sleep(Duration::from_millis(2));
    };
    let join = |handle: thread::JoinHandle<Vec<u8>>| handle.join().map_err(|_| "a reader failed".to_owned());
    Ok(Outcome { stdout: join(stdout)?, stderr: join(stderr)?, status: status_name(status) })
}

fn reader<R: Read + Send + 'static>(stream: Option<R>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// The text of a file for a message.
#[must_use]
pub fn text_of(path: &Path) -> String {
    std::fs::read(path).map(|b| clip(&b)).unwrap_or_default()
}
