//! `check`: prints what works on this host, what does not, and what follows. docs/reference/inspect.md describes the
//! output.
//!
//! ```text
//!  check [NAME]                    examine::check   host, snapshot, installed, package: whether this host can make and
//!                                                   start snapshots
//!  check NAME --stale              examine::stale   whether a file that it was made of has changed
//!  check --pid PID, -- PROGRAM     make::blockers   what stands in the way of one
//! ```

use super::examine::{self, check::Form};
use super::make::blockers::{self, Target};
use crate::options::RunArgs;
use anyhow::{Result, bail};
use std::ffi::OsString;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Check whether this host can start that snapshot; without a name: what works on this host
    #[arg(value_name = "NAME", conflicts_with_all = ["pid", "program"])]
    name: Option<OsString>,
    /// With NAME: also print what this host is, and everything that works on it
    #[arg(short, long, conflicts_with_all = ["pid", "program", "json"])]
    verbose: bool,
    /// Whether a file that the program read before the point has changed since: one line. The status is 0 if the
    /// snapshot is fresh, 1 if it is stale, 2 if it has no record
    #[arg(long, requires = "name", conflicts_with_all = ["pid", "program", "verbose"])]
    stale: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// List what stands in the way of a snapshot of a running process, which then goes on
    #[arg(long, value_name = "PID", conflicts_with_all = ["program", "at", "env", "cwd", "stdin"])]
    pid: Option<i32>,
    #[command(flatten)]
    run: RunArgs,
    /// List what stands in the way of a snapshot of this program, which is run up to its snapshot point and ended
    #[arg(last = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

impl Args {
    fn form(&self) -> Form {
        match (self.json, self.verbose) {
            (true, _) => Form::Json,
            (false, true) => Form::Everything,
            (false, false) => Form::Text,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if let Some(name) = args.name.as_deref().filter(|_| args.stale) {
        return Ok(examine::stale::run(name, args.json)?);
    }
    look(args).map(|()| ExitCode::SUCCESS)
}

fn look(args: &Args) -> Result<()> {
    let target = match args.pid {
        Some(pid) => Target::Process(pid),
        None if !args.program.is_empty() => Target::Program(&args.program),
        None if args.run.is_given() => {
            bail!("--at, --env, --cwd and --stdin need a PROGRAM: name it after --");
        }
        None => return Ok(examine::check::run(args.name.as_deref(), args.form())?),
    };
    blockers::run(target, &args.run, args.json)
}
