//! A short version of the soak that `scripts/soak.sh` and `scripts/random-state.sh` run for hours. Each day has another
//! seed, so that more is tried over time. A failure names the seed.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

use snapfn_tests::random;
use snapfn_tests::soak::{Options, run};
use std::time::{SystemTime, UNIX_EPOCH};

fn today() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 86_400
}

/// `scripts/random-state.sh` runs longer. Most programs must come to an instance, or the test tries little.
#[test]
fn programs_with_random_state() {
    let first = today() * 1000;
    let figures = random::run(first..first + 100, true);
    eprintln!("{figures}");
    assert!(figures.same >= 60, "{figures}");
}

#[test]
fn snapshots_instances_and_kills_in_random_order() {
    let figures = run(&Options { cycles: 60, seed: today(), quiet: true });
    eprintln!("{figures}");
    assert_eq!(figures.cycles, 60);
}
