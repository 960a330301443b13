//! Man pages and completions, for the installer.

use crate::cli::{Artifact, Cli};
use clap::CommandFactory;
use clap_complete::Shell;
use std::io;
use std::path::Path;

/// Writes man pages or completions into `dir`, under the names that `man` and the shells look for.
pub(crate) fn run(what: Artifact, dir: &Path) -> io::Result<()> {
    let mut command = Cli::command();
    let shell = match what {
        Artifact::Man => return clap_mangen::generate_to(command, dir),
        Artifact::Bash => Shell::Bash,
        Artifact::Zsh => Shell::Zsh,
        Artifact::Fish => Shell::Fish,
    };
    clap_complete::generate_to(shell, &mut command, "snaprepo", dir).map(|_| ())
}
