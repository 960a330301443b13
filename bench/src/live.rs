//! Many instances at once: measures the next start, and the memory of each.

use crate::start::Starter;
use crate::stats::Summary;
use anyhow::{Context, Result};
use serde::Serialize;
use std::io::Read;
use std::process::{Child, Stdio};

/// The figures with this many alive.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Live {
    /// Instances that are alive and idle.
    pub(crate) count: u32,
    /// µs to the first output of the next one.
    pub(crate) next: Summary,
    /// KiB: proportional share of one instance, mean of up to 50.
    pub(crate) pss: f64,
    /// KiB that one instance shares with no other process.
    pub(crate) uss: f64,
}

/// Idle processes, killed at the end.
struct Crowd(Vec<Child>);

impl Crowd {
    /// Starts one more, which has written its first output and waits for the end of its standard input.
    fn add(&mut self, starter: &Starter) -> Result<()> {
        let mut command = starter.command()?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut byte = [0];
        let output = child.stdout.take();
        let input = child.stdin.take();
        self.0.push(child);
        output.context("no pipe")?.read_exact(&mut byte).context("an idle program said nothing")?;
        // The benchmark keeps no descriptors of it, since there are thousands: it sleeps in pause() and no longer uses
        // its pipes.
        drop(input);
        Ok(())
    }

    fn memory(&self) -> Result<(f64, f64)> {
        let step = (self.0.len() / 50).max(1);
        let sample: Vec<&Child> = self.0.iter().step_by(step).collect();
        let (mut pss, mut uss) = (0.0, 0.0);
        for child in &sample {
            let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", child.id()))?;
            for line in text.lines() {
                let mut words = line.split_whitespace();
                let (Some(name), Some(Ok(kib))) = (words.next(), words.next().map(str::parse::<f64>)) else { continue };
                match name {
                    "Pss:" => pss += kib,
                    "Private_Clean:" | "Private_Dirty:" => uss += kib,
                    _ => {}
                }
            }
        }
        let count = sample.len().max(1) as f64;
        Ok((pss / count, uss / count))
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
        }
        for child in &mut self.0 {
            let _ = child.wait();
        }
    }
}

/// For each of `counts`, ascending: that many of `idle`, and `runs` starts of `next` beside them.
pub(crate) fn measure(idle: &Starter, next: &Starter, counts: &[u32], runs: u32) -> Result<Vec<Live>> {
    let mut crowd = Crowd(Vec::new());
    let mut results = Vec::new();
    for &count in counts {
        while crowd.0.len() < count as usize {
            crowd.add(idle)?;
        }
        let mut times = Vec::new();
        for _ in 0..runs {
            times.push(next.start()?.first);
        }
        let (pss, uss) = crowd.memory()?;
        let next = Summary::of(&times).context("no runs")?;
        results.push(Live { count, next, pss, uss });
    }
    Ok(results)
}
