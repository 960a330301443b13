//! `create --measure`: the program and instances of its snapshot run to their ends in turn. Nothing else that `create`
//! does runs the program after its point.

use super::prove::wait_readable;
use super::start::environment;
use crate::options::RunArgs;
use crate::tracee::Deadline;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Each of the two runs so many times.
pub(super) const RUNS: usize = 5;

/// Medians of [`RUNS`] runs of the program and of instances, one after the other.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) ordinary: Times,
    pub(super) instance: Times,
}

/// From the spawn of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    /// To the first byte on its standard output or error; missing if it wrote none.
    pub(super) first_output: Option<Duration>,
    pub(super) exit: Duration,
    pub(super) status: ExitStatus,
}

impl Measured {
    /// How many times longer the program takes to its exit.
    pub(super) fn gain(&self) -> f64 {
        self.ordinary.exit.as_secs_f64() / self.instance.exit.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) run: &'a RunArgs,
    pub(super) program: &'a [OsString],
    pub(super) snaprun: &'a Path,
    pub(super) snapshot: &'a Path,
    /// The arguments of an instance.
    pub(super) args: &'a [OsString],
    pub(super) allow_wx: bool,
}

impl Subject<'_> {
    /// Runs both in turn.
    pub(super) fn measure(&self) -> Result<Measured> {
        let (mut ordinary, mut instance) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            ordinary.push(self.once(self.ordinary()).context("the program")?);
            instance.push(self.once(self.instance()).context("an instance")?);
        }
        Ok(Measured { ordinary: median(ordinary), instance: median(instance) })
    }

    fn ordinary(&self) -> Command {
        let mut words = self.program.iter();
        let mut command = Command::new(words.next().map(OsString::as_os_str).unwrap_or_default());
        command.args(words);
        if let Some(cwd) = &self.run.cwd {
            command.current_dir(cwd);
        }
        command
    }

    fn instance(&self) -> Command {
        let mut command = Command::new(self.snaprun);
        command.args(self.allow_wx.then_some("--allow-wx"));
        command.args(["--local", "--"]).arg(self.snapshot).args(self.args);
        command
    }

    /// One run of `command` with the program's environment and input.
    fn once(&self, mut command: Command) -> Result<Times> {
        command.env_clear().envs(environment(self.run)?);
        command.stdin(match &self.run.stdin {
            Some(path) => File::open(path)?.into(),
            None => Stdio::null(),
        });
        let (mut reader, writer) = io::pipe()?;
        command.stdout(writer.try_clone()?).stderr(writer);
        let begin = Instant::now();
        let mut child = command.spawn()?;
        // The writing ends that this process has.
        drop(command);
        let deadline = Deadline::after(self.run.timeout);
        let mut first_output = None;
        let mut buffer = [0; 1 << 16];
        loop {
            match wait_readable(&reader, deadline)? {
                false => {
                    child.kill()?;
                    child.wait()?;
                    let seconds = self.run.timeout;
                    bail!("it did not end within {seconds} s (--timeout)");
                }
                true if reader.read(&mut buffer)? == 0 => break,
                true => drop(first_output.get_or_insert_with(|| begin.elapsed())),
            }
        }
        let status = child.wait()?;
        Ok(Times { first_output, exit: begin.elapsed(), status })
    }
}

/// The run in the middle by the time to the exit, with the first status that differs from the others' if there is one.
fn median(mut runs: Vec<Times>) -> Times {
    runs.sort_by_key(|times| times.exit);
    let mut middle = runs[runs.len() / 2];
    middle.status =
        runs.iter().map(|times| times.status).find(|status| *status != middle.status).unwrap_or(middle.status);
    middle
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn the_middle_run_counts_and_a_failure_is_kept() {
        let run = |ms, status| Times {
            first_output: None,
            exit: Duration::from_millis(ms),
            status: ExitStatus::from_raw(status),
        };
        let found = median(vec![run(9, 0), run(1, 256), run(5, 0)]);
        assert_eq!((found.exit, found.status.code()), (Duration::from_millis(5), Some(1)));
    }
}
