//! `cargo bench -p snapfn-format` measures the validation of the worst plans that fit. It prints tab-separated values
//! and asserts no time.
#![allow(clippy::unwrap_used)] // a benchmark fails by panicking

#[path = "../tests/common/sample.rs"]
mod sample;

use sample::Sample;
use snapfn_format::PAGE;
use snapfn_format::snap::*;
use std::time::Instant;
use zerocopy::IntoBytes;

/// The bytes that a plan may have, less room for all other tables.
const ROOM: usize = META_MAX as usize - (2 << 20);

/// Appends mappings of one page each behind all others, writable or not. Returns their address and number.
fn mappings(tables: &mut PlanTables, count: usize) -> u64 {
    let last = *tables.ops.iter().rfind(|op| op.is_map()).unwrap();
    let start = last.addr + last.len;
    let op = |at: usize| Op {
        kind: OP_MAP_ANON,
        prot: PROT_READ | PROT_WRITE,
        addr: start + at as u64 * PAGE,
        len: PAGE,
        ..Op::default()
    };
    tables.ops.extend((0..count).map(op));
    start
}

/// The validation looks for every patch in the mappings. Many operations on parts of them follow some mappings.
fn patches(tables: &mut PlanTables) {
    let count = ROOM / (size_of::<Op>() + size_of::<Patch>());
    let start = mappings(tables, count / 2);
    let advice = Op { kind: OP_ADVISE, offset: 14, ..*tables.ops.last().unwrap() };
    tables.ops.extend(vec![Op { prot: 0, ..advice }; count / 2]);
    let patch = |at: usize| Patch { addr: start + at as u64 * 2048 + 8, kind: PATCH_INFO, place: PATCH_MEMORY, arg: 0 };
    tables.patches.retain(|patch| patch.place == PATCH_MEMORY);
    tables.patches.extend((0..count - 8).map(patch));
}

/// Each variable names an address, in no order.
fn addresses(tables: &mut PlanTables) {
    const VARIABLES: usize = 65_536 - 2;
    let room = ROOM - VARIABLES * size_of::<EnvChange>();
    let count = room / size_of::<Op>();
    let start = mappings(tables, count);
    let name = tables.add_bytes(b"NAME");
    let any = |at: usize| start + (at as u64 * 2_654_435_761 % count as u64) * PAGE;
    let change = |at| EnvChange { kind: ENV_SET, reserved: 0, name, addr: any(at) };
    tables.env_changes.extend((0..VARIABLES).map(change));
}

/// As many paths as fit, each as long as it may be.
fn paths(tables: &mut PlanTables) {
    let path = tables.add_path(&[b'/'; 4095]);
    let count = (META_MAX / 4096 - 64) as u32;
    tables.fds.extend((20..count).map(|fd| Fd { fd, kind: FD_PATH, path, ..Fd::default() }));
}

fn main() {
    println!("plan\tMiB\tresult\tms");
    let cases: [(&str, fn(&mut PlanTables)); 4] =
        [("sample", |_| ()), ("patches", patches), ("addresses", addresses), ("paths", paths)];
    for (name, change) in cases {
        let mut tables = Sample::default().tables(META_MAX);
        change(&mut tables);
        let meta = sample::build(&tables, tables.files[0].size).0;
        let words = sample::aligned(&meta);
        let began = Instant::now();
        let parsed = Plan::parse(words.as_bytes(), tables.files[0].size);
        let took = began.elapsed();
        let result = parsed.map_or_else(|error| error.to_string(), |plan| format!("{} operations", plan.ops.len()));
        println!("{name}\t{:.1}\t{result}\t{:.1}", meta.len() as f64 / f64::from(1 << 20), took.as_secs_f64() * 1e3);
    }
}
