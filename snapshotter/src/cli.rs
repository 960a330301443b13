//! The command line.

use crate::commands::examine::{core, diff, export, inspect};
use crate::commands::make::{create, rebuild, train};
use crate::commands::{check, generate, install};
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
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
    /// Run a program up to its snapshot point and store its memory
    Create(create::Args),
    /// Make snapshots again by the command, the directory and the environment with which they were made
    Rebuild(rebuild::Args),
    /// Make a link by which a snapshot is started by its name alone
    Install(install::Args),
    /// Record the pages that a request writes, and make every start copy them at once
    Train(train::Args),
    /// Show what is in a snapshot
    Inspect(inspect::Args),
    /// Compare two snapshots
    Diff(diff::Args),
    /// Check what works on this host, whether it can start a snapshot, or what stands in the way of taking one
    Check(check::Args),
    /// Copy a snapshot for debuggers, with the paths of the local store's files in it
    Core(core::Args),
    /// Write a snapshot's memory as an init data file, of which create --init makes a snapshot on another host
    Export(export::Args),
    /// Write man pages or shell completions into a directory
    #[command(hide = true)]
    Generate(generate::Args),
}

/// Adds the remedy to an error about a program in the place of an option.
pub(crate) fn explained(mut error: clap::Error) -> clap::Error {
    if let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg)
        && error.kind() == ErrorKind::UnknownArgument
        && !argument.starts_with('-')
    {
        let tip = format!("write -- in front of the program and its arguments: -- {argument} …");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(tip)]));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_without_dashes_gets_the_remedy() {
        for words in [&["create", "./hello", "7"][..], &["create", "--tag", "a", "hello"]] {
            let error = Cli::try_parse_from([&["snapshotter"], words].concat()).unwrap_err();
            let program = words.iter().find(|word| word.contains("hello")).unwrap();
            let text = explained(error).to_string();
            assert!(text.contains(&format!("-- {program} …")), "{text}");
        }
        let other = explained(Cli::try_parse_from(["snapshotter", "create", "--tags", "a"]).unwrap_err()).to_string();
        assert!(other.contains("--tag") && !other.contains("in front of"), "{other}");
    }
}
