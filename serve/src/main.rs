//! `snapserve`: HTTP in front of instances of snapshots. Every request has a fresh process, which ends with it.
//!
//! ```text
//!  cli, config ──▶ serve ──▶ listen ──▶ answer ──▶ route ──▶ queue ──▶ instance ──▶ protocol ──▶ response
//!
//!  cli       arguments                          request    checked, with its body complete
//!  config    a file or arguments → Config       function   a snapshot's pool and queue; takes over when a tag moves
//!  serve     signals, reload, drain             queue      requests that wait for a prepared instance
//!  listen    sockets, connections               instance   one process, from its release to its end
//!  answer    one request, step by step          protocol   cgi, http, json
//!  route     host and path → function           response   refusals; answers, streamed
//!                                               observe    log, metrics, IDs
//! ```
//! Exit status: 0 ended by a signal, 1 could not start, 2 wrong usage.

mod answer;
mod cli;
mod config;
mod function;
mod instance;
mod listen;
mod observe;
mod protocol;
mod queue;
mod request;
mod response;
mod route;
mod serve;

use clap::Parser;
use std::process::ExitCode;
use tokio::runtime::Builder;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("snapserve: {why}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: cli::Cli) -> Result<(), String> {
    if cli.generate().map_err(|error| format!("--generate: {error}"))? {
        return Ok(());
    }
    let inherited = listen::inherited().map_err(|error| format!("LISTEN_FDS: {error}"))?;
    let runtime =
        Builder::new_multi_thread().enable_all().build().map_err(|error| format!("starting threads: {error}"))?;
    let result = runtime.block_on(serve::run(cli, inherited));
    // What is left of requests is dropped, and with it their instances. A thread that still prepares instances is not
    // waited for: the kernel ends them with this process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}
