//! `snapshotter`: runs a program up to its snapshot point under ptrace and dumps it.
//!
//! ```text
//!  create   commands::create → tracee (spawn, boot, run to the point) → dump (gather → plan → write)
//!  check    the same up to gather, or tracee::attach (a running process); or this host and a snapshot
//!  inspect, diff, core       read snapshots; change nothing
//! ```

mod cli;
mod commands;
mod dump;
mod options;
mod pin;
mod prng;
mod proc;
mod tracee;
mod vdso;

use clap::{CommandFactory, Parser};
use commands::{check, examine, generate, make};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let result = match cli.command {
        cli::Command::Create(args) => make::create::run(&args),
        cli::Command::Train(args) => make::train::run(&args),
        cli::Command::Inspect(args) => examine::inspect::run(&args).map_err(Into::into),
        cli::Command::Diff(args) => examine::diff::run(&args).map_err(Into::into),
        cli::Command::Check(args) => check::run(&args),
        cli::Command::Core(args) => examine::core::run(&args).map_err(Into::into),
        cli::Command::Generate(args) => generate::run(&args, cli::Cli::command()).map_err(Into::into),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("snapshotter: {}", message(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes in one line. Many errors say their cause themselves; it is not said twice.
fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        match text.is_empty() {
            true => text = cause,
            false if text.contains(&cause) => {}
            false => text = format!("{text}: {cause}"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;
    use std::io;

    #[test]
    fn every_cause_is_said_once() {
        let source = || io::Error::from_raw_os_error(2);
        let own = tracee::TraceError::Exec { path: "./nosuch".into(), source: source() };
        let expected = format!("cannot run ./nosuch: {}", source());
        assert_eq!(message(&own.into()), expected);
        let added = Err::<(), _>(source()).context("--cwd").unwrap_err();
        assert_eq!(message(&added), format!("--cwd: {}", source()));
    }
}
