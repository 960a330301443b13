//! Starts per second, by one worker and by two.

use crate::start::Starter;
use anyhow::Result;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Starts per second of one way to start.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Rate {
    /// One worker that starts and waits.
    pub(crate) one: f64,
    /// Two of them.
    pub(crate) two: f64,
}

/// Measures all `starters` in turns, in slices of a quarter of a second, `seconds` for each number of workers.
pub(crate) fn measure(starters: &[&Starter], seconds: f64) -> Result<Vec<Rate>> {
    let slice = Duration::from_secs_f64(seconds.clamp(0.05, 0.25));
    let rounds = (seconds / slice.as_secs_f64()).ceil().max(1.0) as usize;
    let mut rates = vec![Rate::default(); starters.len()];
    for _ in 0..rounds {
        for (rate, starter) in rates.iter_mut().zip(starters) {
            rate.one += workers(starter, 1, slice)? / rounds as f64;
            rate.two += workers(starter, 2, slice)? / rounds as f64;
        }
    }
    Ok(rates)
}

fn workers(starter: &Starter, count: usize, slice: Duration) -> Result<f64> {
    let begin = Instant::now();
    let work = || -> Result<u64> {
        let mut starts = 0;
        while begin.elapsed() < slice {
            starter.start()?;
            starts += 1;
        }
        Ok(starts)
    };
    let counts: Result<Vec<u64>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(Ok(0))).collect()
    });
    let starts: u64 = counts?.iter().sum();
    Ok(starts as f64 / begin.elapsed().as_secs_f64())
}
