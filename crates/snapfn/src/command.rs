//! What an instance is started with.

use crate::Error;
use crate::child::Child;
use crate::pool::Pool;
use crate::request::Strings;
use crate::snapshot::{Snapshot, c_string};
use crate::spawn;
use crate::stdio::{Kind, Stdio, Stream};
use crate::sys;
use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};

/// Where instances come from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    Snapshot(Snapshot),
    Pool(Pool),
}

/// An instance that is to be started, like [`std::process::Command`]. By default it has no arguments, and this
/// process's environment, working directory and standard streams ([`Command::output`] pipes them).
///
/// The same `Command` can be used several times.
#[derive(Debug)]
pub struct Command {
    origin: Origin,
    args: Vec<OsString>,
    clear: bool,
    changes: BTreeMap<OsString, Option<OsString>>,
    directory: Option<PathBuf>,
    streams: [Option<Stdio>; 3],
    umask: Option<u32>,
}

/// What a pool answers; streams that it did not use come back.
enum Released {
    Child(Child),
    Nothing([Stream; 3]),
    TooLong([Stream; 3]),
}

impl Snapshot {
    /// A command for a new instance.
    #[must_use]
    pub fn command(&self) -> Command {
        Command::new(Origin::Snapshot(self.clone()))
    }

    /// Proves that instances can be started here and now: prepares one up to its first instruction, with all files that
    /// its program had open, and drops it. Prepared instances do not prove that, since they open these files when a
    /// request comes. Of a tag with variants, one is tried.
    ///
    /// # Errors
    /// [`Error::NotStarted`] with what `snaprun` says, or when no process can be made.
    pub fn prove(&self) -> Result<(), Error> {
        const PATIENCE: i32 = 60_000;
        let streams = [Kind::Null.open(0)?, Kind::Null.open(1)?, Kind::Null.open(2)?];
        let mut strings = Strings::new();
        strings.arg(self.name())?;
        let fds = streams.each_ref().map(|stream| stream.fd);
        let mut child = Child::new(spawn::start(self, c"--prove", &strings, fds, None, None)?, streams, None);
        let ended = child.pidfd().and_then(|pidfd| sys::poll(&[pidfd.as_raw_fd()], PATIENCE));
        if ended.ok().as_deref() != Some(&[true]) {
            let _ = child.kill();
        }
        let status = child.wait()?;
        let message = || format!("{}: no instance was prepared: {status}", self.name().to_string_lossy());
        if status.success() { Ok(()) } else { Err(Error::NotStarted { status: 125, message: message() }) }
    }
}

impl Pool {
    /// A command for a new instance, which is a prepared one if there is any when it is started.
    #[must_use]
    pub fn command(&self) -> Command {
        Command::new(Origin::Pool(self.clone()))
    }
}

impl Command {
    pub(crate) fn new(origin: Origin) -> Self {
        Command {
            origin,
            args: Vec::new(),
            clear: false,
            changes: BTreeMap::new(),
            directory: None,
            streams: [None, None, None],
            umask: None,
        }
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(&mut self, args: impl IntoIterator<Item = S>) -> &mut Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.changes.insert(name.as_ref().to_owned(), Some(value.as_ref().to_owned()));
        self
    }

    /// Sets variables.
    pub fn envs<K: AsRef<OsStr>, V: AsRef<OsStr>>(&mut self, vars: impl IntoIterator<Item = (K, V)>) -> &mut Self {
        for (name, value) in vars {
            self.env(name, value);
        }
        self
    }

    /// Removes a variable.
    pub fn env_remove(&mut self, name: impl AsRef<OsStr>) -> &mut Self {
        self.changes.insert(name.as_ref().to_owned(), None);
        self
    }

    /// Removes all variables, also those set before.
    pub fn env_clear(&mut self) -> &mut Self {
        self.changes.clear();
        self.clear = true;
        self
    }

    /// Sets the working directory. A snapshot made with `--cwd`, or whose program has changed it, keeps its own.
    pub fn current_dir(&mut self, directory: impl AsRef<Path>) -> &mut Self {
        self.directory = Some(directory.as_ref().to_owned());
        self
    }

    /// Sets standard input.
    pub fn stdin(&mut self, stream: impl Into<Stdio>) -> &mut Self {
        self.stream(0, stream.into())
    }

    /// Sets standard output.
    pub fn stdout(&mut self, stream: impl Into<Stdio>) -> &mut Self {
        self.stream(1, stream.into())
    }

    /// Sets standard error.
    pub fn stderr(&mut self, stream: impl Into<Stdio>) -> &mut Self {
        self.stream(2, stream.into())
    }

    fn stream(&mut self, number: usize, stream: Stdio) -> &mut Self {
        self.streams[number] = Some(stream);
        self
    }

    /// Sets the file mode creation mask. The default is that of this process at the time at which it made the
    /// instance's process.
    pub fn umask(&mut self, mask: u32) -> &mut Self {
        self.umask = Some(mask & 0o777);
        self
    }

    /// Starts the instance. With a [`Pool`] it is a prepared one, or an ordinary one if none is prepared.
    ///
    /// # Errors
    /// When no process can be made. [`Child::wait`] reports what `snaprun` finds out later.
    pub fn spawn(&mut self) -> Result<Child, Error> {
        self.spawn_with(Kind::Inherit)
    }

    /// Releases a prepared instance of a [`Pool`], and makes no process if none is prepared: then it returns `None`, as
    /// it does for a command of a [`Snapshot`]. So the caller can wait for a prepared one
    /// ([`PoolOptions::notice`](crate::PoolOptions::notice)).
    ///
    /// # Errors
    /// When a stream or the working directory cannot be opened, or arguments and variables are too long.
    pub fn spawn_prepared(&mut self) -> Result<Option<Child>, Error> {
        let streams = self.open_streams(&Kind::Inherit)?;
        match self.release(streams)? {
            Released::Child(child) => Ok(Some(child)),
            Released::Nothing(_) => Ok(None),
            Released::TooLong(_) => Err(Error::TooLong),
        }
    }

    fn open_streams(&self, default: &Kind) -> Result<[Stream; 3], Error> {
        let open = |number: usize| {
            let kind = self.streams[number].as_ref().map_or(default, |stream| &stream.0);
            kind.open(number as i32)
        };
        Ok([open(0)?, open(1)?, open(2)?])
    }

    fn release(&self, streams: [Stream; 3]) -> Result<Released, Error> {
        let Origin::Pool(pool) = &self.origin else { return Ok(Released::Nothing(streams)) };
        let mut strings = self.strings(pool.snapshot().name())?;
        if !strings.fits() {
            return Ok(Released::TooLong(streams));
        }
        Ok(match pool.release(&mut strings, &streams, self.directory.as_deref(), self.umask)? {
            Some((started, lease)) => Released::Child(Child::new(started, streams, Some(lease))),
            None => Released::Nothing(streams),
        })
    }

    fn spawn_with(&mut self, default: Kind) -> Result<Child, Error> {
        let streams = self.open_streams(&default)?;
        let streams = match self.release(streams)? {
            Released::Child(child) => return Ok(child),
            Released::Nothing(streams) | Released::TooLong(streams) => streams,
        };
        let snapshot = match &self.origin {
            Origin::Snapshot(snapshot) => snapshot,
            Origin::Pool(pool) => pool.snapshot(),
        };
        let strings = self.strings(snapshot.name())?;
        let directory = match &self.directory {
            Some(path) => Some(c_string(path.clone().into_os_string(), "the working directory")?),
            None => None,
        };
        let streams_at = streams.each_ref().map(|stream| stream.fd);
        let started = spawn::start(snapshot, c"--report", &strings, streams_at, directory.as_deref(), self.umask)?;
        Ok(Child::new(started, streams, None))
    }

    /// The snapshot's name, the arguments, and the environment with its changes.
    fn strings(&self, name: &OsStr) -> Result<Strings, Error> {
        let mut strings = Strings::new();
        strings.arg(name)?;
        self.args.iter().try_for_each(|arg| strings.arg(arg))?;
        if !self.clear {
            for (name, value) in env::vars_os().filter(|(name, _)| !self.changes.contains_key(name)) {
                strings.variable(&name, &value)?;
            }
        }
        for (name, value) in &self.changes {
            if name.is_empty() || name.as_bytes().contains(&b'=') {
                return Err(Error::Text("a variable"));
            }
            if let Some(value) = value {
                strings.variable(name, value)?;
            }
        }
        Ok(strings)
    }

    /// Starts it and waits for its end.
    ///
    /// # Errors
    /// As [`Command::spawn`] and [`Child::wait`].
    pub fn status(&mut self) -> Result<ExitStatus, Error> {
        self.spawn()?.wait()
    }

    /// Starts it with pipes for output, waits for its end and collects what it wrote.
    ///
    /// # Errors
    /// As [`Command::spawn`] and [`Child::wait`].
    pub fn output(&mut self) -> Result<Output, Error> {
        let nothing = self.streams[0].is_none();
        if nothing {
            self.streams[0] = Some(Stdio::null());
        }
        let child = self.spawn_with(Kind::Piped);
        if nothing {
            self.streams[0] = None;
        }
        child?.wait_with_output()
    }
}
