//! `snaprepo`: manages the local store of snapshots, and moves snapshots to and from registries.
//!
//! ```text
//!  cli       arguments → Command             verify    reads files and compares them with their names
//!  list      ls, tags                        output    text for people, one-line errors
//!  collect   rm, gc                          generate  man pages and completions (for the installer)
//!  signing   sign, keygen, verify REF        transfer  push, pull; progress reports them
//!  remote    tags REF, inspect REF, rm REF   login     login, logout
//!  start     pulls for `snaprun REF`         access    configuration, REF, clients
//!  scan      looks for credentials
//! ```
//! Exit status: 0 done, 1 a check or an operation failed, 2 wrong usage.

mod access;
mod cli;
mod collect;
mod generate;
mod list;
mod login;
mod output;
mod progress;
mod remote;
mod scan;
mod signing;
mod start;
mod transfer;
mod verify;

use access::Access;
use clap::Parser;
use cli::{Cli, Command};
use output::Failures;
use snapfn_store::{Stores, Target};
use std::ffi::OsString;
use std::process::ExitCode;

/// Whether a name is that of an image in a registry.
fn is_image(name: &OsString) -> bool {
    matches!(Target::parse(name), Ok(Target::Registry(_)))
}

fn main() -> ExitCode {
    if let Some((args, index)) = start::requested() {
        return start::run(args, index);
    }
    let cli = Cli::parse();
    let stores = Stores::from_env();
    let mut failures = Failures::default();
    let result = match cli.command {
        Command::Ls { json } => list::ls(&stores, json, &mut failures),
        Command::Tags { name, plain_http, json } => match is_image(&name) {
            true => remote::tags(&name, &Access { plain_http, json }, &mut failures),
            false => list::tags(&stores, &name, json, &mut failures),
        },
        Command::Inspect { name, plain_http, json } => match is_image(&name) {
            true => remote::inspect(&name, &Access { plain_http, json }, &mut failures),
            false => list::inspect(&stores, &name, json, &mut failures),
        },
        Command::Rm { names, pulled, plain_http } => {
            let (remote, local): (Vec<_>, Vec<_>) = names.into_iter().partition(is_image);
            let access = Access { plain_http, json: false };
            let far = remote.iter().try_for_each(|name| match pulled {
                true => collect::rm_pulled(&stores, name, &mut failures),
                false => remote::rm(name, &access, &mut failures),
            });
            far.and_then(|()| collect::rm(&stores, &local, &mut failures))
        }
        Command::Login { host, username, password_stdin, plain_http } => {
            let access = Access { plain_http, json: false };
            login::login(&host, username, password_stdin, &access, &mut failures)
        }
        Command::Logout { host } => login::logout(&host, &mut failures),
        Command::Gc { dry_run } => collect::gc(&stores, dry_run, &mut failures),
        Command::Verify { names, all: _, key, plain_http, json } => {
            // With a key, every name is a reference, even one without a host.
            let is_remote = |name: &OsString| !key.is_empty() || is_image(name);
            let (remote, local): (Vec<_>, Vec<_>) = names.into_iter().partition(is_remote);
            let result = match remote.is_empty() {
                true => Ok(()),
                false => signing::verify_images(&remote, &key, &Access { plain_http, json }, &mut failures),
            };
            match local.is_empty() && !remote.is_empty() {
                true => result,
                false => result.and_then(|()| verify::run(&stores, &local, &mut failures)),
            }
        }
        Command::Push(args) => transfer::push(&stores, &args, &mut failures),
        Command::Pull(args) => transfer::pull(&stores, &args, &mut failures),
        Command::Scan { names, json } => scan::run(&stores, &names, json, &mut failures),
        Command::Sign { name, key, plain_http, json } => {
            signing::sign_image(&name, &key, &Access { plain_http, json }, &mut failures)
        }
        Command::Keygen { file, no_password } => signing::keygen(&file, no_password, &mut failures),
        Command::Generate { what, dir } => generate::run(what, &dir),
    };
    // A reader that has seen enough (`snaprepo ls | head`) is no failure.
    if let Err(error) = result
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        failures.add("output", error);
    }
    failures.exit_code()
}
