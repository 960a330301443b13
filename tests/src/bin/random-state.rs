//! `random-state [--programs N] [--seed S]`: see `snapfn_tests::random`.

use snapfn_tests::random;
use std::process::ExitCode;

const USAGE: &str = "\
Usage: random-state [--programs N] [--seed S]

Makes programs with random kernel state, takes a snapshot of each and compares its instances with an ordinary run. The
first one that is neither the same nor refused by name ends it, with its seed.

  --programs N  how many [default: 2000]
  --seed S      the seed of the first; the others follow [default: 1]
  -h, --help    this text";

fn parse(args: &[String]) -> Option<(u64, u64)> {
    let (mut programs, mut seed) = (2000, 1);
    for pair in args.chunks(2) {
        let [name, value] = pair else { return None };
        match name.as_str() {
            "--programs" => programs = value.parse().ok()?,
            "--seed" => seed = value.parse().ok()?,
            _ => return None,
        }
    }
    Some((programs, seed))
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "-h" || arg == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let Some((programs, seed)) = parse(&args) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    println!("{}", random::run(seed..seed + programs, false));
    ExitCode::SUCCESS
}
