//! The command line.

use crate::commands::examine::{core, diff, inspect};
use crate::commands::make::{create, train};
use crate::commands::{check, generate};
use clap::{Parser, Subcommand};

/// Makes and examines snapshots of initialised programs.
#[derive(Debug, Parser)]
#[command(name = "snapshotter", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a program up to its snapshot point and store what it has in memory
    Create(create::Args),
    /// Record what a request writes, and have every start take those pages at once
    Train(train::Args),
    /// Show what is in a snapshot
    Inspect(inspect::Args),
    /// Compare two snapshots
    Diff(diff::Args),
    /// Say what works on this host, whether it can start a snapshot, or what stands in the way of taking one
    Check(check::Args),
    /// Copy a snapshot for debuggers, with the paths of the local store's files in it
    Core(core::Args),
    /// Write man pages or shell completions into a directory
    #[command(hide = true)]
    Generate(generate::Args),
}
