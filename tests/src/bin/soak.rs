//! `soak [--cycles N] [--seed S]`: see `snapfn_tests::soak`.

use snapfn_tests::soak::{Options, run};
use std::process::ExitCode;

const USAGE: &str = "\
Usage: soak [--cycles N] [--seed S]

Takes snapshots of many programs and starts instances, in random order, with kill -9 of both at random moments. At the
end nothing is left: no process, temporary file, shared memory or entry of the store, and all results were equal.

  --cycles N  snapshots to take [default: 2000]
  --seed S    what the order follows from [default: 1]
  -h, --help  this text";

fn parse(args: &[String]) -> Option<Options> {
    let mut options = Options { cycles: 2000, seed: 1, quiet: false };
    for pair in args.chunks(2) {
        let [name, value] = pair else { return None };
        match name.as_str() {
            "--cycles" => options.cycles = value.parse().ok()?,
            "--seed" => options.seed = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(options)
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "-h" || arg == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let Some(options) = parse(&args) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    // After a failure the workspace stays, so that a developer can look at it, but no process does.
    let message = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |about| {
        message(about);
        std::process::exit(1);
    }));
    println!("{}", run(&options));
    ExitCode::SUCCESS
}
