//! Layouts: random per snapshot, and several under one name.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use snapfn::{PoolOptions, SnapshotOptions};
use snapfn_tests::place;
use snapfn_tests::workspace::Workspace;

const PROGRAM: &str = include_str!("variants/places.c");

/// What one start prints: place → address.
fn places(workspace: &Workspace, name: &str) -> BTreeMap<String, String> {
    let outcome = workspace.snaprun(&[name]).run();
    assert_eq!(outcome.status, "0", "{outcome}");
    let out = outcome.out();
    let pairs: BTreeMap<String, String> =
        out.lines().filter_map(|line| line.split_once(' ')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    assert_eq!(pairs.len(), 8, "{outcome}");
    pairs
}

#[test]
fn two_snapshots_of_one_program_share_no_address() {
    let workspace = Workspace::new();
    workspace.snapshot("one", PROGRAM, &["-O2", "-pthread"], "ready");
    workspace.snapshot("two", PROGRAM, &["-O2", "-pthread"], "ready");
    let (one, two) = (places(&workspace, "one"), places(&workspace, "two"));
    for (place, address) in &one {
        assert_ne!(address, &two[place], "{place}");
    }
    assert_eq!(one, places(&workspace, "one"), "the layout is the snapshot's");
}

#[test]
fn every_variant_is_used_and_has_its_own_layout() {
    const VARIANTS: usize = 4;
    let workspace = Workspace::new();
    let exe = workspace.compile("many", PROGRAM, &["-O2", "-pthread"]);
    let create = |name: &str, count: &str| {
        let args = ["create", "--tag", name, "--variants", count, "--at", "ready", "--json", "--", &exe];
        let made = workspace.snapshotter(&args);
        assert_eq!(made.status, "0", "{made}");
        made.out()
    };
    let json = create("many", &VARIANTS.to_string());
    assert_eq!(json.matches("\"variants\"").count(), 1, "{json}");
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for _ in 0..200 {
        for (place, address) in places(&workspace, "many") {
            seen.entry(place).or_default().insert(address);
        }
    }
    for (place, addresses) in &seen {
        assert_eq!(addresses.len(), VARIANTS, "{place}: {addresses:?}");
    }
    let inspected = workspace.snapshotter(&["inspect", "many"]);
    assert!(inspected.out().contains("the first of 4"), "{inspected}");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let digests = json["variants"].as_array().unwrap();
    assert!(digests.iter().all(|digest| inspected.out().contains(digest.as_str().unwrap())), "{inspected}");
    let inspected = workspace.snapshotter(&["inspect", "--json", "many"]).out();
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["variants"], json["variants"]);
    assert_eq!(inspected["variant_sizes"].as_array().unwrap().len(), VARIANTS);
    // The library and its pools pick any of them at every start, too.
    let options = SnapshotOptions::new().store(workspace.store()).loader(place::binary("snaprun"));
    let snapshot = options.open("many").unwrap();
    let pool = PoolOptions::new(2).rest(Duration::ZERO).build(&snapshot).unwrap();
    for start in [&|| snapshot.command() as _, &|| pool.command()] as [&dyn Fn() -> snapfn::Command; 2] {
        let outputs = (0..100).map(|_| start().output().unwrap().stdout);
        assert_eq!(outputs.collect::<BTreeSet<_>>().len(), VARIANTS);
    }
    // A single snapshot replaces them: there is one link and no set.
    create("many", "1");
    let addresses: BTreeSet<_> = (0..10).map(|_| places(&workspace, "many")).collect();
    assert_eq!(addresses.len(), 1);
    for bad in [&["--variants", "0"][..], &["--variants", "65"], &["--variants", "2", "--output", "x.snap"]] {
        let refused = workspace.snapshotter(&[&["create"], bad, &["--", &exe]].concat());
        assert_eq!(refused.status, "2", "{refused}");
    }
}
