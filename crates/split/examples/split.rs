//! Splits the ELF files named, `FILE` into `FILE.code` and `FILE.init`, and prints the time.
//!
//! `cargo run --release -p snapfn-split --example split -- FILE…`

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let mut status = ExitCode::SUCCESS;
    for file in std::env::args_os().skip(1) {
        let start = Instant::now();
        match snapfn_split::split_output(Path::new(&file)) {
            Ok(()) => println!("{}: {:?}", file.display(), start.elapsed()),
            Err(error) => {
                eprintln!("{}: {error}", file.display());
                status = ExitCode::FAILURE;
            }
        }
    }
    status
}
