//! Fork of a warm parent: the time of a start if a process that has everything in memory may stay alive.
//!
//! The parent reads a byte from its standard input for every start, forks, and waits for its child before the next.

use crate::start::{micros, settle};
use anyhow::{Context, Result, bail};
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::process::{Child, Command};
use std::time::Instant;

/// A parent that forks on demand.
pub(crate) struct Warm {
    parent: Child,
    requests: PipeWriter,
    output: PipeReader,
}

impl Warm {
    /// Starts `words`.
    pub(crate) fn start(words: &[&str]) -> Result<Self> {
        let (program, args) = words.split_first().context("no program")?;
        let (input, requests) = std::io::pipe()?;
        let (output, writer) = std::io::pipe()?;
        let parent =
            Command::new(program).args(args).stdin(input).stdout(writer).spawn().with_context(|| words.join(" "))?;
        let mut warm = Warm { parent, requests, output };
        // The first fork is not counted: the parent answers when it has initialised.
        warm.fork()?;
        Ok(warm)
    }

    /// µs to the first output of one child.
    pub(crate) fn fork(&mut self) -> Result<f64> {
        settle();
        let begin = Instant::now();
        self.requests.write_all(b"\n")?;
        let mut output = [0; 4096];
        let mut got = self.output.read(&mut output)?;
        let first = micros(begin);
        // A child writes one line, not always with one call.
        while output.get(got.wrapping_sub(1)) != Some(&b'\n') {
            match self.output.read(&mut output)? {
                0 => bail!("the warm parent is gone"),
                more => got = more,
            }
        }
        Ok(first)
    }
}

impl Drop for Warm {
    fn drop(&mut self) {
        let _ = self.parent.kill();
        let _ = self.parent.wait();
    }
}
