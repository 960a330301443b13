//! The command line.

use crate::config::{Address, Name, Protocol, Variable};
use clap::{CommandFactory, Parser, ValueEnum};
use clap_complete::Shell;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// Answer HTTP requests with instances of snapshots, a fresh process for each request.
#[derive(Debug, Parser)]
#[command(name = "snapserve", version, max_term_width = 100, after_long_help = LONG_HELP)]
pub(crate) struct Cli {
    /// The snapshot that answers every path: NAME[:TAG] or a file
    #[arg(required_unless_present_any = ["config", "generate"], conflicts_with = "config")]
    pub(crate) name: Option<OsString>,
    /// Read functions and settings from this TOML file; SIGHUP reads it again
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Check the configuration and the snapshots, and end
    #[arg(long)]
    pub(crate) check: bool,
    /// Listen here: HOST:PORT or unix:PATH (repeatable) [default: 127.0.0.1:8080]
    #[arg(short, long, value_name = "ADDRESS")]
    pub(crate) listen: Vec<Address>,
    /// Answer /healthz, /readyz and /metrics here, and not at the other addresses
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) admin: Option<Address>,
    /// How the function gets a request
    #[arg(short, long, value_enum, conflicts_with = "config")]
    pub(crate) protocol: Option<Protocol>,
    /// Instances that are kept prepared [default: 2]
    #[arg(long, value_name = "COUNT", conflicts_with = "config")]
    pub(crate) min: Option<usize>,
    /// Most processes at a time, prepared and running [default: 32]
    #[arg(long, value_name = "COUNT", conflicts_with = "config")]
    pub(crate) max: Option<usize>,
    /// Most requests that wait for an instance [default: 128]
    #[arg(long, value_name = "COUNT", conflicts_with = "config")]
    pub(crate) queue: Option<usize>,
    /// Set a variable of the function (repeatable)
    #[arg(short, long, value_name = "NAME=VALUE", conflicts_with = "config")]
    pub(crate) env: Vec<Variable>,
    /// Allow memory of the snapshot that is writable and executable at once
    #[arg(long, conflicts_with = "config")]
    pub(crate) allow_wx: bool,
    /// Write man pages or completions
    #[arg(long, hide = true, num_args = 2, value_names = ["KIND", "DIR"])]
    pub(crate) generate: Vec<OsString>,
}

const LONG_HELP: &str = "\
Requests:
  Without --config the function answers every path except /healthz, /readyz and /metrics. A request is read whole \
before it takes an instance. Every request has a process of its own, which ends with it.

Signals:
  SIGTERM, SIGINT   stop accepting, finish the requests that have begun, end; a second one ends at once
  SIGHUP            read the configuration again, and look for tags that have moved

Environment:
  SNAPFN_STORE      search path of stores, as for snaprun
  SNAPFN_SNAPRUN    the snaprun that makes instances; default: the one in PATH, else /usr/local/bin/snaprun
  TMPDIR            where large request bodies are kept meanwhile, unless the configuration says it
  LISTEN_FDS, NOTIFY_SOCKET, WATCHDOG_USEC   sockets, readiness and watchdog of systemd

Exit status:
  0  ended by a signal, all requests answered or cut at the deadline
  1  it could not start; stderr has one line that says why
  2  wrong usage";

/// What the installer needs.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Artifact {
    Man,
    Bash,
    Zsh,
    Fish,
}

impl Cli {
    /// The function of a command line without a configuration file.
    pub(crate) fn function(&self) -> Option<(Name, OsString)> {
        self.name.clone().map(|snapshot| (Name::of_snapshot(&snapshot), snapshot))
    }

    /// Writes what `--generate` asks for. Returns whether it does.
    pub(crate) fn generate(&self) -> io::Result<bool> {
        let [kind, dir] = &self.generate[..] else { return Ok(false) };
        let kind = kind.to_str().and_then(|kind| Artifact::from_str(kind, false).ok());
        let mut command = Cli::command();
        let shell = match kind.ok_or(io::ErrorKind::InvalidInput)? {
            Artifact::Man => return clap_mangen::generate_to(command, Path::new(dir)).map(|()| true),
            Artifact::Bash => Shell::Bash,
            Artifact::Zsh => Shell::Zsh,
            Artifact::Fish => Shell::Fish,
        };
        clap_complete::generate_to(shell, &mut command, "snapserve", dir).map(|_| true)
    }
}
