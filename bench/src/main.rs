//! Ordinary starts against starts from a snapshot.
//!
//! ```text
//!  cases     the programs that scripts/bench.sh has put into the working directory
//!  start     one start, timed: to the first output, to the exit    rate    starts per second
//!  count     one start under ptrace: system calls, VMAs, pages     live    many instances at once
//!  warm      fork of a parent that has everything in memory        peers   other tools, if installed
//!  prepared  a request to a pool of prepared instances             warmed  small against large
//!  report    tables        plot  pictures        stats  medians and spread
//! ```
//! The ways to start are measured in turns, one run of each in every round, so that other load of the machine meets all
//! of them alike. All figures are medians; the spread is the interquartile range.

mod cases;
mod count;
mod live;
mod measure;
mod peers;
mod plot;
mod prepared;
mod rate;
mod report;
mod start;
mod stats;
mod warm;
mod warmed;

use anyhow::{Context, Result};
use clap::Parser;
use std::path::PathBuf;

/// Measures ordinary starts, starts from a snapshot and forks of a warm parent, in turns
#[derive(Debug, Parser)]
#[command(name = "snapfn-bench", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// Directory with the prepared programs, in which they run
    #[arg(long, value_name = "DIR")]
    work: PathBuf,
    /// Measured starts of each kind; a quarter of it for starts of more than 100 ms
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Seconds for which starts per second are counted
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    seconds: f64,
    /// Number of instances that are alive while the next one is started (repeatable)
    #[arg(long, value_name = "N", default_values_t = [1, 100, 1000, 5000])]
    live: Vec<u32>,
    /// Write all figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write pictures (SVG) into this directory
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
    /// Only cases whose names contain one of these words
    #[arg(value_name = "WORD")]
    words: Vec<String>,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    std::env::set_current_dir(&cli.work).with_context(|| cli.work.display().to_string())?;
    let results = measure::all(&cli)?;
    report::print(&results);
    if let Some(path) = &cli.json {
        let text = serde_json::to_string_pretty(&results)?;
        std::fs::write(path, text + "\n").with_context(|| path.display().to_string())?;
    }
    if let Some(dir) = &cli.svg {
        std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        plot::write(&results, dir)?;
    }
    Ok(())
}
