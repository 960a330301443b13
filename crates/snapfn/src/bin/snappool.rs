//! `snaprun --pool` executes this program: prepared instances behind a Unix socket. Do not start it by hand.

use snapfn::{PoolOptions, Populate, SnapshotOptions};
use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::exit;

fn main() {
    let args: Vec<OsString> = env::args_os().skip(1).collect();
    let (allow_wx, args) = match args.split_last() {
        Some((last, args)) if args.len() == 5 && last == "--allow-wx" => (true, args),
        _ => (false, &args[..]),
    };
    let [loader, size, socket, populate, name] = args else {
        eprintln!("snappool: this program is run by snaprun --pool only");
        exit(2);
    };
    let size = size.to_str().and_then(|size| size.parse().ok()).filter(|size| (1..=MOST).contains(size));
    let populate = match populate.to_str() {
        Some("none") => Populate::None,
        Some("all") => Populate::All,
        _ => Populate::Auto,
    };
    let Some(size) = size else {
        eprintln!("snaprun: --pool wants a number from 1 to {MOST}, a socket and a snapshot, see snaprun --help");
        exit(125);
    };
    let options = SnapshotOptions::new().loader(loader).allow_wx(allow_wx);
    let served = options.open(name).and_then(|snapshot| {
        let pool = PoolOptions::new(size).populate(populate);
        snapfn::serve::serve(&snapshot, pool, Path::new(socket))
    });
    if let Err(error) = served {
        let line = error.to_string();
        // The message of snaprun already begins with its name.
        eprintln!("snaprun: {}", line.strip_prefix("snaprun: ").unwrap_or(&line));
        exit(error.exit_status());
    }
}

/// Most prepared instances of a pool.
const MOST: usize = 4096;
