//! Prepared instances: measures a request to a pool up to its first output.

use crate::start::{Starter, micros, settle};
use anyhow::{Context, Result, bail};
use snapfn::{Pool, PoolOptions, Snapshot, Stdio};
use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

/// A pool of instances of one snapshot.
pub(crate) struct Prepared {
    pool: Pool,
    args: Vec<String>,
    stdin: String,
}

impl Prepared {
    /// A pool of `tag`, whose instances are started with the arguments and the input of `starter`.
    pub(crate) fn start(tag: &str, starter: &Starter) -> Result<Self> {
        let snapshot = Snapshot::open(tag).context("a pool's snapshot")?;
        let pool = PoolOptions::new(2).build(&snapshot).context("a pool")?;
        Ok(Prepared { pool, args: starter.words.iter().skip(2).cloned().collect(), stdin: starter.stdin.clone() })
    }

    /// µs to the first output of one instance, which must write `wanted`. No other instance is being prepared at that
    /// time.
    pub(crate) fn release(&self, wanted: &[u8]) -> Result<f64> {
        let begin = Instant::now();
        settle();
        while self.pool.prepared() < 2 {
            if let Some(why) = self.pool.failure() {
                bail!("nothing is prepared: {why}");
            }
            if begin.elapsed() > Duration::from_secs(30) {
                bail!("nothing is prepared after 30 s");
            }
            settle();
        }
        let stdin = File::open(&self.stdin).with_context(|| self.stdin.clone())?;
        let mut command = self.pool.command();
        command.args(&self.args).stdin(stdin).stdout(Stdio::piped());
        let begin = Instant::now();
        let mut child = command.spawn()?;
        let mut reader = child.stdout.take().context("no pipe")?;
        let mut output = vec![0; 4096];
        let got = reader.read(&mut output)?;
        let first = micros(begin);
        output.truncate(got);
        reader.read_to_end(&mut output)?;
        if !child.wait()?.success() || output != wanted {
            bail!("an instance of the pool did not do the same as the ordinary start");
        }
        Ok(first)
    }
}
