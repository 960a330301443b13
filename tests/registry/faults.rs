//! Faults between `snapfn-distribution` and a registry: after any fault, the right bytes arrive or there is one error,
//! and no store is ever damaged. `scripts/registry-faults.sh` makes more runs.
//!
//! `SNAPFN_FAULT_RUNS` is the number of runs, `SNAPFN_FAULT_SEED` the first seed.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use snapfn_distribution::{PullOptions, PushOptions, Repo};
use snapfn_image::Compression;
use snapfn_registry::{ClientOptions, Credentials, Reference};
use snapfn_store::{Kind, Ref, Stores};
use snapfn_testkit::{DockerRegistry, Kind as Faults, Proxy, Random, is_available};
use snapfn_tests::place;
use snapfn_tests::transport::{Transport, names};

fn number(name: &str, otherwise: u64) -> u64 {
    env::var(name).ok().map_or(otherwise, |text| text.parse().unwrap())
}

fn stores(root: &Path) -> Stores {
    Stores::from_vars(|name| (name == "SNAPFN_STORE").then(|| root.into()))
}

fn repo(root: &Path) -> Repo {
    let client = ClientOptions {
        plain_http: true,
        credentials: Credentials::Password { username: "user".into(), password: "secret".into() },
        backoff: Duration::from_millis(2),
        longest_wait: Duration::from_millis(20),
        stall_timeout: Duration::from_millis(400),
        // The blobs have several pieces, so that uploads are resumed inside.
        chunk_size: 256 << 10,
        ..ClientOptions::default()
    };
    Repo { stores: stores(root), client, events: Arc::new(|_: snapfn_distribution::Event<'_>| ()) }
}

/// Compares every file of a store with its name.
fn verify_all(root: &Path, seed: u64) {
    let stores = stores(root);
    let Some(store) = stores.iter().next().filter(|_| root.exists()) else { return };
    for kind in Kind::ALL {
        for digest in store.digests(kind).unwrap_or_default() {
            let blob = store.blob(kind, digest).unwrap().unwrap();
            if let Err(damage) = store.verify(&blob, &mut |_| ()) {
                panic!("seed {seed}: {damage}");
            }
        }
    }
    for entry in store.refs().unwrap_or_default() {
        let digest = entry.digest.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let snapshot = store.open(Kind::Snap, digest).unwrap();
        for (kind, digest) in snapfn_store::summarize(&snapshot).unwrap().files {
            assert!(stores.locate(kind, digest).is_ok(), "seed {seed}: a tag without all that it needs");
        }
    }
}

/// Checks that the error is one line with text.
fn one_line(error: &impl std::fmt::Display, seed: u64) -> String {
    let text = error.to_string();
    assert!(!text.contains('\n') && text.len() > 20, "seed {seed}: {text}");
    text
}

/// Pulls code and init data file through the faults and, if that fails, without them. There is the right file, or one
/// error, which is returned, and no file.
fn init_file(transport: &Transport, faulty: &Reference, honest: &Reference, seed: u64) -> Option<String> {
    let (dir, store) = (transport.other(&format!("files-{seed}")), transport.other(&format!("init-{seed}")));
    std::fs::create_dir(&dir).unwrap();
    let (file, receiver) = (dir.join("fn.init"), repo(&store));
    let options = PullOptions { jobs: 2, ..PullOptions::default() };
    let result = receiver.pull_init(faulty, &file, &options);
    verify_all(&store, seed);
    let error = result.err().map(|error| one_line(&error, seed));
    if error.is_some() {
        assert!(names(&dir).is_empty(), "seed {seed}: a file after a failure");
        receiver.pull_init(honest, &file, &options).unwrap();
    }
    assert_eq!(names(&dir), std::slice::from_ref(&file), "seed {seed}");
    let opened = std::fs::File::open(&file).unwrap();
    let digest = snapfn_store::hash_file(&opened, &mut |_| ()).unwrap();
    assert_eq!(receiver.pull_init(honest, &file, &options).unwrap().init, digest, "seed {seed}");
    for (kind, digest) in snapfn_store::summarize_exported(&opened).unwrap().files {
        assert!(receiver.stores.locate(kind, digest).is_ok(), "seed {seed}: a file without all that it needs");
    }
    for dir in [dir, store] {
        std::fs::remove_dir_all(dir).unwrap();
    }
    error
}

#[test]
fn the_right_bytes_or_one_error() {
    if !is_available() {
        return;
    }
    let (runs, first) = (number("SNAPFN_FAULT_RUNS", 30), number("SNAPFN_FAULT_SEED", 1));
    let transport = Transport::new();
    transport.snapshot("fn", 1 << 20, 1);
    let sender = repo(&transport.workspace.store());
    let name = Ref::parse("fn").unwrap();
    let snapshot = sender.stores.resolve(&name).unwrap().blob.digest;
    let registry = DockerRegistry::start();
    // The ends of the runs, and the errors by their beginning, with one seed each.
    let (mut pushed, mut pulled, mut faults) = (0, 0, 0);
    let mut errors: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut count = |text: &str, seed: u64| {
        let kind: String = text.split(['(', '\'']).next().unwrap_or_default().chars().take(60).collect();
        let kind = kind.split("sha256:").next().unwrap_or_default().to_owned();
        errors.entry(kind).or_insert((0, seed)).0 += 1;
    };
    for seed in first..first + runs {
        let mut rng = fastrand::Rng::with_seed(seed);
        // One kind of fault, or all of them; few or many.
        let kinds = match rng.usize(0..12) {
            kind @ 0..8 => vec![Faults::ALL[kind]],
            _ => Faults::ALL.to_vec(),
        };
        let random = Random::new(seed, &kinds, rng.u32(20..500), rng.u32(1..60), Duration::from_millis(600));
        let mut proxy = Proxy::builder(&registry.host()).random(random);
        if rng.bool() || kinds.contains(&Faults::Token) {
            proxy = proxy.tokens("user", "secret", rng.u32(3..30));
        }
        if rng.u8(0..4) == 0 {
            proxy = proxy.redirects();
        }
        let proxy = proxy.start();
        let image = |host: &str| Reference::parse(&format!("{host}/run/{seed}:v1"), None).unwrap();
        let options = PushOptions {
            compression: if rng.u8(0..4) == 0 { Compression::Gzip } else { Compression::Zstd },
            allow_secrets: true,
            // The snapshot keeps its digest.
            with_recipe: true,
            init: seed.is_multiple_of(3),
            jobs: rng.usize(1..5),
            ..PushOptions::new(place::binary("snaprun"))
        };
        let digest = match sender.push(&name, &image(&proxy.host()), &options) {
            Ok(done) => {
                pushed += 1;
                done.digest
            }
            Err(error) => {
                count(&one_line(&error, seed), seed);
                // Existing files are not in the way.
                sender.push(&name, &image(&registry.host()), &options).unwrap().digest
            }
        };
        if options.init
            && let Some(text) = init_file(&transport, &image(&proxy.host()), &image(&registry.host()), seed)
        {
            count(&text, seed);
        }
        let store = transport.other(&format!("store-{seed}"));
        let receiver = repo(&store);
        let options = PullOptions { tag: Some(name.clone()), jobs: rng.usize(1..5), ..PullOptions::default() };
        let result = receiver.pull(&image(&proxy.host()), &options);
        verify_all(&store, seed);
        let records = proxy.records();
        faults += records.iter().filter(|record| record.fault.is_some()).count();
        for record in records.iter().filter(|record| !record.is_registry) {
            assert!(record.authorization.is_none(), "seed {seed}: credentials went to another host");
        }
        drop(proxy);
        match result {
            Ok(done) => {
                assert_eq!((done.snapshot, done.digest), (snapshot, digest), "seed {seed}");
                pulled += 1;
            }
            Err(error) => {
                count(&one_line(&error, seed), seed);
                assert!(receiver.stores.resolve(&name).is_err(), "seed {seed}: a tag after a failure");
                let done = receiver.pull(&image(&registry.host()), &options).unwrap();
                assert_eq!((done.snapshot, done.digest), (snapshot, digest), "seed {seed}");
                verify_all(&store, seed);
            }
        }
        assert_eq!(receiver.stores.resolve(&name).unwrap().blob.digest, snapshot, "seed {seed}");
        std::fs::remove_dir_all(&store).unwrap();
    }
    println!("{runs} runs from seed {first}, {faults} faults: {pushed} pushes and {pulled} pulls came through");
    for (text, (count, seed)) in errors {
        println!("{count:5}  {text} (seed {seed})");
    }
    assert!(pulled * 2 > runs && pushed * 2 > runs, "most faults are overcome");
}
