//! `snapshotter`: runs a program up to its snapshot point under ptrace and dumps it.
//!
//! ```text
//!  create   commands::create → tracee (spawn, boot, run to the point) → dump (gather → plan → write)
//!  check    the same up to gather, or tracee::attach (a running process); or this host and a snapshot
//!           create --init: split::deserialize → the file; no program runs
//!  inspect, diff, core, export   read snapshots; change nothing
//! ```

mod arch;
mod cli;
mod commands;
mod dump;
mod options;
mod pin;
mod print;
mod prng;
mod proc;
mod tracee;
mod vdso;

use clap::{CommandFactory, Parser};
use commands::{check, examine, generate, install, make};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::try_parse().unwrap_or_else(|error| cli::explained(error).exit());
    let result = match cli.command {
        cli::Command::Create(args) => make::create::run(&args),
        cli::Command::Rebuild(args) => make::rebuild::run(&args),
        cli::Command::Install(args) => install::run(&args),
        cli::Command::Train(args) => make::train::run(&args),
        cli::Command::Inspect(args) => examine::inspect::run(&args).map_err(Into::into),
        cli::Command::Diff(args) => examine::diff::run(&args).map_err(Into::into),
        cli::Command::Check(args) => return ended(check::run(&args)),
        cli::Command::Export(args) => examine::export::run(&args).map_err(Into::into),
        cli::Command::Core(args) => examine::core::run(&args).map_err(Into::into),
        cli::Command::Generate(args) => generate::run(&args, cli::Cli::command()).map_err(Into::into),
    };
    ended(result.map(|()| ExitCode::SUCCESS))
}

/// The status of a command; prints why it has failed.
fn ended(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(status) => status,
        Err(error) => {
            print::err(message(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes in one line. Many errors name their cause themselves, and then it is not repeated. Rust's
/// "(os error N)" is left out, since the words in front of it have the same meaning.
fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(|cause| without_number(&cause.to_string())) {
        match text.is_empty() {
            true => text = cause,
            false if text.contains(&cause) => {}
            false => text = format!("{text}: {cause}"),
        }
    }
    text
}

/// A message without Rust's "(os error N)".
fn without_number(message: &str) -> String {
    let mut parts = message.split(" (os error ");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text += part.split_once(')').map_or(part, |(_, rest)| rest);
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
        assert_eq!(message(&own.into()), "cannot run ./nosuch: No such file or directory");
        let added = Err::<(), _>(source()).context("--cwd").unwrap_err();
        assert_eq!(message(&added), "--cwd: No such file or directory");
        let denied = snapfn_store::StoreError::ReadOnly { path: "/s".into(), source: io::Error::from_raw_os_error(13) };
        let text = message(&denied.into());
        assert_eq!(text.matches("Permission denied").count(), 1, "{text}");
    }
}
