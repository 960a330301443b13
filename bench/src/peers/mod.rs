//! Other tools that start from a snapshot, if they are installed and can be used, for the C programs with a heap.

mod criu;
mod wasmtime;

use crate::cases::{Case, Series};
use crate::stats::Summary;
use anyhow::Result;
use serde::Serialize;
use std::fs;
use std::path::Path;

/// Another tool's times to the first output.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Peer {
    pub(crate) tool: String,
    pub(crate) first: Summary,
}

/// A tool: its name, the check whether it can be used here, and the measurement of a number of starts with a number of
/// MiB of heap, in a directory of its own.
struct Tool {
    name: &'static str,
    usable: fn() -> std::result::Result<(), String>,
    measure: fn(&Path, mib: u32, runs: u32) -> Result<Option<Summary>>,
}

const TOOLS: [Tool; 2] = [
    Tool { name: "CRIU", usable: criu::usable, measure: criu::measure },
    Tool { name: "wasmtime + Wizer", usable: wasmtime::usable, measure: wasmtime::measure },
];

/// The tools that can be used here.
pub(crate) struct Peers(Vec<&'static Tool>);

impl Peers {
    /// Finds the tools, and prints which are left out and why.
    pub(crate) fn find() -> Self {
        let usable =
            |tool: &&Tool| (tool.usable)().inspect_err(|why| eprintln!("  without {}: {why}", tool.name)).is_ok();
        Peers(TOOLS.iter().filter(usable).collect())
    }

    /// Measures what can start `case`.
    pub(crate) fn measure(&self, case: &Case, runs: u32) -> Result<Vec<Peer>> {
        let Series::Heap(mib) = case.series else { return Ok(Vec::new()) };
        let dir = Path::new("peer");
        let mut peers = Vec::new();
        for tool in &self.0 {
            fs::create_dir(dir)?;
            match (tool.measure)(dir, mib, runs.clamp(1, 30)) {
                Ok(first) => peers.extend(first.map(|first| Peer { tool: tool.name.to_owned(), first })),
                Err(error) => eprintln!("  without {}: {error:#}", tool.name),
            }
            fs::remove_dir_all(dir)?;
        }
        Ok(peers)
    }
}
