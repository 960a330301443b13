//! The command line.

use clap::{Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

/// Look after the local store of snapshots.
#[derive(Debug, Parser)]
#[command(name = "snaprepo", version, max_term_width = 100, after_long_help = LONG_HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const LONG_HELP: &str = "\
Names:
  NAME[:TAG] is a snapshot in the store; the default tag is \"latest\". Letters, digits and _ . + - are allowed, not \
starting with . or -. ./FILE, /FILE and FILE.snap name a file.

Environment:
  SNAPFN_STORE   search path of stores, separated by colons; the first is written to.
                 Default: $XDG_DATA_HOME/snapfn, else ~/.local/share/snapfn.
                 /var/lib/snapfn is searched last.
  NO_COLOR       no colours

Exit status:
  0  done
  1  a check or an operation failed; stderr has one line for each failure
  2  wrong usage";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the snapshots of all stores on the search path
    Ls {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// List the tags of a name
    Tags {
        /// The name, without a tag
        name: OsString,
    },
    /// Remove tags from the store; `gc` then frees what they alone needed
    Rm {
        /// What to remove
        #[arg(required = true, value_name = "NAME[:TAG]")]
        names: Vec<OsString>,
    },
    /// Delete every file of the store that no tag needs
    ///
    /// Files of snapshots that were written outside the store are kept as long as those exist. Refuses while a
    /// snapshot is being made, and when what some snapshot needs cannot be read.
    Gc {
        /// Only say what would be deleted
        #[arg(short = 'n', long)]
        dry_run: bool,
    },
    /// Compare the content of snapshots and of all files that they need with their digests
    Verify {
        /// Snapshots in the store, or snapshot files
        #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "NAME|FILE")]
        names: Vec<OsString>,
        /// Every snapshot and every file of all stores on the search path
        #[arg(long)]
        all: bool,
    },
    /// Write man pages or shell completions into a directory
    #[command(hide = true)]
    Generate {
        /// What to write
        what: Artifact,
        /// Where to write it
        dir: PathBuf,
    },
}

/// What `generate` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Artifact {
    Man,
    Bash,
    Zsh,
    Fish,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
