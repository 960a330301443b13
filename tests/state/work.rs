//! The work of the snapshotter follows the program's memory in use and its descriptors, never its reserved memory. The
//! tests count bytes, memory and system calls, since times are unreliable on a loaded machine.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs;
use std::time::{Duration, Instant};

use snapfn_tests::state::State;

/// What a command has cost.
#[derive(Debug)]
struct Cost {
    /// Bytes that it has read.
    read: u64,
    /// The most KiB that it had in memory.
    resident: u64,
}

/// The number in the line of `text` that begins with `name`.
fn number(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

/// `snapshotter create` of `work KIND COUNT`, which must succeed.
fn cost(state: &State, exe: &str, kind: &str, count: &str) -> Cost {
    let args = ["create", "--tag", "work", "--at", "ready", "--", exe, kind, count];
    let mut child = state.command("snapshotter", &args).spawn();
    let of = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", child.id())).unwrap_or_default();
    let start = Instant::now();
    let mut resident = 0;
    // The kernel reports bytes read up to the end and later, but memory only before the end.
    while !of("stat").contains(") Z ") {
        resident = number(&of("status"), "VmHWM:").unwrap_or(resident);
        assert!(start.elapsed() < Duration::from_secs(120), "{kind} {count} does not end");
        std::thread::sleep(Duration::from_millis(1));
    }
    let read = number(&of("io"), "rchar:").unwrap();
    assert!(child.wait().unwrap().success(), "{kind} {count}");
    Cost { read, resident }
}

/// Ten tebibytes would be 2.5 billion entries of the page table.
#[test]
fn reserved_memory_costs_nothing() {
    let state = State::new();
    let exe = state.compile("work", &[]);
    let small = cost(&state, &exe, "reserved", "1");
    let large = cost(&state, &exe, "reserved", "10");
    eprintln!("{small:?} {large:?}");
    assert!(large.read < small.read + (8 << 20) && large.read < 512 << 20, "{small:?} {large:?}");
    assert!(large.resident < small.resident + (16 << 10) && large.resident < 512 << 10, "{small:?} {large:?}");
}

#[test]
fn a_secret_that_is_declared_again_costs_nothing() {
    let state = State::new();
    let exe = state.compile("work", &[]);
    let once = cost(&state, &exe, "secrets", "1");
    let often = cost(&state, &exe, "secrets", "300");
    eprintln!("{once:?} {often:?}");
    assert!(often.resident < once.resident + (64 << 10), "{once:?} {often:?}");
}

/// Duplicates are found by the order of the kernel's comparison, not by comparing each descriptor with each.
#[test]
fn comparisons_of_descriptors_are_few() {
    let state = State::new();
    let exe = state.compile("work", &[]);
    let counts = state.workspace.work().join("counts");
    let mut create = state.command("snapshotter", &["create", "--at", "ready", "--", &exe, "descriptors", "900"]);
    let strace = ["strace", "-c", "-e", "trace=kcmp", "-o", counts.to_str().unwrap()].map(str::to_owned);
    create.argv = strace.into_iter().chain(create.argv).collect();
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        assert!(std::env::var_os("SNAPFN_STRICT_TESTS").is_none(), "there is no strace");
        return eprintln!("skipped: there is no strace");
    }
    let made = create.run();
    assert_eq!(made.status, "0", "{made}");
    let text = fs::read_to_string(counts).unwrap();
    let line = text.lines().find(|line| line.ends_with("kcmp")).unwrap();
    let calls: u64 = line.split_whitespace().nth(3).unwrap().parse().unwrap();
    // The limit covers three standard streams, and a binary search among 900.
    assert!((900..900 * 15).contains(&calls), "{text}");
}
