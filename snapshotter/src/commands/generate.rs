//! Man pages and completions, for the installer; the page of system calls, for the documentation.

use super::examine::source::ExamineError;
use crate::tracee::ledger::page;
use clap::{Command, ValueEnum};
use clap_complete::Shell;
use std::path::PathBuf;

/// What `generate` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Artifact {
    Man,
    Bash,
    Zsh,
    Fish,
    /// `system-calls.md`
    Calls,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to write
    what: Artifact,
    /// Where to write it
    dir: PathBuf,
}

/// Writes man pages or completions of `command`, under the names that `man` and the shells look for.
pub(crate) fn run(args: &Args, mut command: Command) -> Result<(), ExamineError> {
    if args.what == Artifact::Calls {
        let path = args.dir.join("system-calls.md");
        return std::fs::write(&path, page()).map_err(ExamineError::io("write", &path));
    }
    let shell = match args.what {
        Artifact::Man | Artifact::Calls => None,
        Artifact::Bash => Some(Shell::Bash),
        Artifact::Zsh => Some(Shell::Zsh),
        Artifact::Fish => Some(Shell::Fish),
    };
    let written = match shell {
        None => clap_mangen::generate_to(command, &args.dir),
        Some(shell) => clap_complete::generate_to(shell, &mut command, "snapshotter", &args.dir).map(drop),
    };
    written.map_err(ExamineError::io("write into", &args.dir))
}
