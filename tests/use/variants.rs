//! Layouts: random per snapshot, and several under one name.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use snapfn::{PoolOptions, SnapshotOptions};
use snapfn_tests::bench::Bench;
use snapfn_tests::place;

const PROGRAM: &str = r#"
    #include <pthread.h>
    #include <snap.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <sys/auxv.h>
    #include <sys/mman.h>
    #include <unistd.h>
    static void *other(void *arg) {
        return pause(), arg;
    }
    int main(void) {
        pthread_t thread;
        int local;
        pthread_create(&thread, 0, other, 0);
        void *small = malloc(100), *large = malloc(1 << 20);
        void *mapped = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        snap_ready();
        printf("exe %p\nstack %p\nheap %p\nmmap %p\nmapped %p\nlibc %p\nthread %p\nvdso %p\n", (void *)main, (void *)&local,
               small, large, mapped, (void *)puts, (void *)thread, (void *)getauxval(AT_SYSINFO_EHDR));
        return 0;
    }"#;

/// What one start prints: place → address.
fn places(bench: &Bench, name: &str) -> BTreeMap<String, String> {
    let outcome = bench.snaprun(&[name]).run().unwrap();
    assert_eq!(outcome.status, "0", "{outcome}");
    let out = outcome.out();
    let pairs: BTreeMap<String, String> =
        out.lines().filter_map(|line| line.split_once(' ')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    assert_eq!(pairs.len(), 8, "{outcome}");
    pairs
}

#[test]
fn two_snapshots_of_one_program_share_no_address() {
    let bench = Bench::new().unwrap();
    bench.snapshot("one", PROGRAM, &["-O2", "-pthread"], "ready").unwrap();
    bench.snapshot("two", PROGRAM, &["-O2", "-pthread"], "ready").unwrap();
    let (one, two) = (places(&bench, "one"), places(&bench, "two"));
    for (place, address) in &one {
        assert_ne!(address, &two[place], "{place}");
    }
    assert_eq!(one, places(&bench, "one"), "the layout is the snapshot's");
}

#[test]
fn every_variant_is_used_and_has_its_own_layout() {
    const VARIANTS: usize = 4;
    let bench = Bench::new().unwrap();
    let exe = bench.compile("many", PROGRAM, &["-O2", "-pthread"]).unwrap();
    let create = |name: &str, count: &str| {
        let args = ["create", "--tag", name, "--variants", count, "--at", "ready", "--json", "--", &exe];
        let made = bench.snapshotter(&args).unwrap();
        assert_eq!(made.status, "0", "{made}");
        made.out()
    };
    let json = create("many", &VARIANTS.to_string());
    assert_eq!(json.matches("\"variants\"").count(), 1, "{json}");
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for _ in 0..200 {
        for (place, address) in places(&bench, "many") {
            seen.entry(place).or_default().insert(address);
        }
    }
    for (place, addresses) in &seen {
        assert_eq!(addresses.len(), VARIANTS, "{place}: {addresses:?}");
    }
    let inspected = bench.snapshotter(&["inspect", "many"]).unwrap();
    assert!(inspected.out().contains("the first of 4"), "{inspected}");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let digests = json["variants"].as_array().unwrap();
    assert!(digests.iter().all(|digest| inspected.out().contains(digest.as_str().unwrap())), "{inspected}");
    let inspected = bench.snapshotter(&["inspect", "--json", "many"]).unwrap().out();
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["variants"], json["variants"]);
    assert_eq!(inspected["variant_sizes"].as_array().unwrap().len(), VARIANTS);
    // The library and its pools take any of them at every start, too.
    let options = SnapshotOptions::new().store(bench.store()).loader(place::binary("snaprun"));
    let snapshot = options.open("many").unwrap();
    let pool = PoolOptions::new(2).rest(Duration::ZERO).build(&snapshot).unwrap();
    for start in [&|| snapshot.command() as _, &|| pool.command()] as [&dyn Fn() -> snapfn::Command; 2] {
        let outputs = (0..100).map(|_| start().output().unwrap().stdout);
        assert_eq!(outputs.collect::<BTreeSet<_>>().len(), VARIANTS);
    }
    // Replaced by a single one: one link and no set.
    create("many", "1");
    let addresses: BTreeSet<_> = (0..10).map(|_| places(&bench, "many")).collect();
    assert_eq!(addresses.len(), 1);
    for bad in [&["--variants", "0"][..], &["--variants", "65"], &["--variants", "2", "--output", "x.snap"]] {
        let refused = bench.snapshotter(&[&["create"], bad, &["--", &exe]].concat()).unwrap();
        assert_eq!(refused.status, "2", "{refused}");
    }
}
