//! Measures the time of a start, each kind in turn. Prints medians in microseconds as tab-separated values.
//!
//! `start RUNS FLOOR NAME…`: FLOOR is an empty static program; NAMEs are snapshots that write something to standard
//! output. Rows: kind, snapshot, to the first output, to the end.
#![allow(unsafe_code, clippy::unwrap_used)] // fork of this process; a benchmark ends when something fails

use snapfn::{Pool, PoolOptions, Snapshot, Stdio};
use std::env;
use std::hint::black_box;
use std::io::{Read, Write};
use std::process::{Command, Stdio as StdStdio};
use std::time::{Duration, Instant};

type Sample = (f64, f64);

fn micros(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}

/// First output and end.
fn watch(began: Instant, mut out: impl Read, end: impl FnOnce()) -> Sample {
    let mut buffer = [0; 4096];
    assert!(out.read(&mut buffer).unwrap() > 0);
    let first = micros(began);
    while out.read(&mut buffer).unwrap() > 0 {}
    end();
    (first, micros(began))
}

fn floor(program: &str) -> Sample {
    let began = Instant::now();
    let mut child = Command::new(program).env_clear().stdout(StdStdio::null()).spawn().unwrap();
    child.wait().unwrap();
    (micros(began), micros(began))
}

fn std_command(name: &str) -> Sample {
    let snaprun = env::var_os("SNAPFN_SNAPRUN").unwrap_or("snaprun".into());
    let mut command = Command::new(snaprun);
    let began = Instant::now();
    let mut child = command.arg(name).stdout(StdStdio::piped()).spawn().unwrap();
    watch(began, child.stdout.take().unwrap(), || assert!(child.wait().unwrap().success()))
}

fn library(snapshot: &Snapshot) -> Sample {
    let began = Instant::now();
    let mut child = snapshot.command().stdout(Stdio::piped()).spawn().unwrap();
    watch(began, child.stdout.take().unwrap(), || assert!(child.wait().unwrap().success()))
}

fn pool(pool: &Pool) -> Sample {
    while pool.prepared() < 2 {
        std::thread::sleep(Duration::from_millis(1));
    }
    // Preparing others is not part of it.
    std::thread::sleep(Duration::from_millis(2));
    let began = Instant::now();
    let mut child = pool.command().stdout(Stdio::piped()).spawn().unwrap();
    watch(began, child.stdout.take().unwrap(), || assert!(child.wait().unwrap().success()))
}

/// Measures a child of this process that writes a word and ends.
fn fork() -> Sample {
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let began = Instant::now();
    // SAFETY: no other thread of this process holds a lock that the child needs: it writes to a descriptor.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        writer.write_all(b"x\n").unwrap();
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    drop(writer);
    watch(began, &mut reader, || {
        let mut status = 0;
        // SAFETY: a local.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    })
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let [runs, program, names @ ..] = &args[..] else {
        eprintln!("usage: start RUNS FLOOR NAME…");
        std::process::exit(2);
    };
    // A small warm parent has a megabyte in use.
    black_box(vec![1u8; 1 << 20]);
    let heap: Vec<u8> = (0..1 << 20).map(|i| i as u8).collect();
    let mut rows: Vec<(&str, &str, Vec<Sample>)> = vec![("floor", "-", vec![]), ("fork", "-", vec![])];
    let snapshots: Vec<_> = names.iter().map(|name| (name.as_str(), Snapshot::open(name).unwrap())).collect();
    let pools: Vec<_> = snapshots.iter().map(|(_, s)| PoolOptions::new(3).build(s).unwrap()).collect();
    for (name, _) in &snapshots {
        rows.extend(["std", "library", "pool"].map(|kind| (kind, *name, vec![])));
    }
    for _ in 0..runs.parse().unwrap() {
        let mut next = rows.iter_mut();
        let mut put = |sample| next.next().unwrap().2.push(sample);
        put(floor(program));
        put(fork());
        for ((name, snapshot), prepared) in snapshots.iter().zip(&pools) {
            put(std_command(name));
            put(library(snapshot));
            put(pool(prepared));
        }
    }
    black_box(heap);
    println!("kind\tsnapshot\tfirst_us\tend_us");
    for (kind, name, mut samples) in rows {
        let [first, end] = [0, 1].map(|which| {
            let mut values: Vec<f64> = samples.iter_mut().map(|s| if which == 0 { s.0 } else { s.1 }).collect();
            median(&mut values)
        });
        println!("{kind}\t{name}\t{first:.1}\t{end:.1}");
    }
}
