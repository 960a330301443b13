//! A short soak: as `scripts/soak.sh` runs it for hours. The seed is another one each day, so that time widens what
//! is tried; a failure names it.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

use snapfn_tests::soak::{Options, run};
use std::time::{SystemTime, UNIX_EPOCH};

#[test]
fn snapshots_instances_and_kills_in_random_order() {
    let day = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 86_400;
    let figures = run(&Options { cycles: 60, seed: day, quiet: true });
    eprintln!("{figures}");
    assert_eq!(figures.cycles, 60);
}
