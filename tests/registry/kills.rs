//! `snaprepo push` and `pull` are killed at any moment: every file in the store is whole, no complete layer moves a
//! second time, and the end is the same as without kills.
//!
//! `SNAPFN_KILLS` is the number of kills; `scripts/registry-faults.sh` makes more.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use snapfn_testkit::{DockerRegistry, Proxy, Record, is_available};
use snapfn_tests::transport::{Transport, names};

/// Bytes of the tables, which cannot be compressed. The larger one begins like the smaller one.
const SIZE: usize = 24 << 20;
const OLD_SIZE: usize = 14 << 20;
/// The most kills of a side before it may come to its end.
const TURN: u64 = 6;

/// One side of the transfers, with its command.
struct Side<'a> {
    transport: &'a Transport,
    store: PathBuf,
    kills: u64,
}

impl Side<'_> {
    /// Runs `snaprepo ARGS…` and kills it within `window`. Returns whether it came to its end before.
    fn killed(&mut self, args: &[&str], window: Duration) -> bool {
        let mut child = self.transport.start(&self.store, args);
        // Kills are more often early than late, so that there are many before the end.
        thread::sleep(window.mul_f64(fastrand::f64().powi(2)));
        let _ = child.kill();
        let status = child.wait().unwrap();
        self.kills += u64::from(status.code().is_none());
        assert!(status.code().is_none_or(|code| code == 0), "{args:?}: {status}");
        self.check();
        status.success()
    }

    /// Every file with a name is whole, and a garbage collection removes all other files except transfers that can go
    /// on.
    fn check(&self) {
        if !self.store.exists() {
            return;
        }
        let _ = self.transport.good(&self.store, &["verify", "--all"]);
        if fastrand::bool() {
            let _ = self.transport.good(&self.store, &["gc"]);
            let left = names(&self.store.join("tmp"));
            assert!(left.is_empty(), "{left:?}");
            let _ = self.transport.good(&self.store, &["verify", "--all"]);
        }
    }
}

/// Digests and sizes of the blobs that the registry has stored.
fn blobs(registry: &DockerRegistry) -> BTreeMap<String, u64> {
    let data = names(&registry.storage().join("docker/registry/v2/blobs/sha256"));
    let entry = |path: PathBuf| {
        let digest = path.parent()?.file_name()?.to_str()?.to_owned();
        Some((digest, fs::metadata(path).ok()?.len()))
    };
    data.into_iter().filter_map(entry).collect()
}

/// The digest in the path of a blob.
fn blob(target: &str) -> Option<String> {
    Some(target.split_once("/blobs/sha256:")?.1.to_owned())
}

/// The blob that an upload has completed.
fn uploaded(record: &Record) -> Option<String> {
    let (path, query) = record.target.split_once('?').filter(|_| record.method == "PUT" && record.status == 201)?;
    let digest = query.split('&').find_map(|part| part.strip_prefix("digest=sha256"))?;
    path.contains("/blobs/uploads/").then(|| digest.trim_start_matches("%3A").trim_start_matches(':').to_owned())
}

/// Digest of the image of a tag, as the registry stores it.
fn tagged(registry: &DockerRegistry, repository: &str) -> Option<String> {
    let tags = registry.storage().join("docker/registry/v2/repositories").join(repository).join("_manifests/tags");
    fs::read_to_string(tags.join("v1/current/link")).ok()
}

/// Position of each layer that was under way.
fn under_way(store: &Path) -> BTreeMap<String, u64> {
    let name = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let files = names(&store.join("transfers"));
    files.iter().filter_map(|path| Some((name(path)?, fs::metadata(path).ok()?.len()))).collect()
}

/// Pushes until it comes to its end. Returns the number of blobs that were uploaded.
fn push(side: &mut Side<'_>, image: &str, proxy: &Proxy, window: Duration, kills: u64) -> usize {
    let args = ["push", "fn", image, "--plain-http"];
    let mut complete = BTreeSet::new();
    loop {
        // Transfers of an earlier run count for this one.
        let before = proxy.records();
        complete.extend(before.iter().filter_map(uploaded));
        let done = match side.kills < kills {
            true => side.killed(&args, window),
            false => side.transport.good(&side.store, &args).contains("sha256:"),
        };
        for record in &proxy.records()[before.len()..] {
            let again = uploaded(record).filter(|digest| complete.contains(digest));
            assert_eq!(again, None, "it was complete, and went up again");
            let known = blob(&record.target).is_some_and(|digest| complete.contains(&digest));
            assert!(!known || record.status == 200, "a complete blob is not there: {record:?}");
        }
        if done {
            return proxy.records().iter().filter_map(uploaded).collect::<BTreeSet<_>>().len();
        }
    }
}

/// Pulls until it comes to its end. A layer that is fetched whole goes on from the last byte that had arrived.
fn pull(side: &mut Side<'_>, registry: &DockerRegistry, repository: &str, window: Duration, kills: u64) -> usize {
    let sizes = blobs(registry);
    let mut resumed = 0;
    loop {
        // Each run has its own proxy, so that the records are those of the run.
        let proxy = Proxy::builder(&registry.host()).start();
        let image = format!("{}/{repository}:v1", proxy.host());
        let args = ["pull", &*image, "--tag", "fn", "--plain-http"];
        let had = under_way(&side.store);
        let done = match side.kills < kills {
            true => side.killed(&args, window),
            false => !side.transport.good(&side.store, &args).is_empty(),
        };
        let mut seen = BTreeSet::new();
        for record in proxy.records() {
            let Some(digest) = blob(&record.target).filter(|_| record.method == "GET") else { continue };
            let Some(have) = had.get(&digest).copied().filter(|have| *have > 0 && seen.insert(digest.clone())) else {
                continue;
            };
            let last = sizes[&digest] - 1;
            assert!(have <= last, "all of {digest} was there, and was fetched again");
            assert_eq!(record.range.as_deref(), Some(&*format!("bytes={have}-{last}")), "{digest}");
            resumed += 1;
        }
        if done {
            return resumed;
        }
    }
}

#[test]
fn killed_at_any_moment() {
    if !is_available() {
        return;
    }
    let kills = std::env::var("SNAPFN_KILLS").map_or(12, |text| text.parse().unwrap());
    let transport = Transport::new();
    transport.snapshot("fn", OLD_SIZE, 5);
    let registry = DockerRegistry::start();
    let sender = transport.workspace.store();
    let image = |repository: &str| format!("{}/{repository}:v1", registry.host());
    let _ = transport.good(&sender, &["push", "fn", &image("old"), "--plain-http"]);
    transport.snapshot("fn", SIZE, 5);

    // The result and the time without kills.
    let begun = Instant::now();
    let _ = transport.good(&sender, &["push", "fn", &image("whole"), "--plain-http"]);
    let pushing = begun.elapsed();
    let begun = Instant::now();
    let _ = transport.good(&transport.other("whole"), &["pull", &image("whole"), "--tag", "fn", "--plain-http"]);
    let pulling = begun.elapsed();
    let (whole, expected) = (tagged(&registry, "whole"), transport.run(&sender, "fn"));
    assert!(whole.is_some());

    let mut up = Side { transport: &transport, store: sender.clone(), kills: 0 };
    let (mut pulled, mut blobs, mut resumed, mut rounds) = (0, 0, 0, 0);
    while up.kills + pulled < kills {
        // Neither this repository nor the record of others has a blob.
        let repository = format!("round/{rounds}");
        fs::remove_dir_all(sender.join("transfers")).unwrap();
        let proxy = Proxy::builder(&registry.host()).start();
        let to = format!("{}/{repository}:v1", proxy.host());
        let until = (up.kills + TURN).min(kills - pulled);
        blobs += push(&mut up, &to, &proxy, pushing, until);
        assert_eq!(tagged(&registry, &repository), whole, "another image");

        let mut down = Side { transport: &transport, store: transport.other(&repository), kills: 0 };
        // Every second receiver has an older snapshot, and fetches only the chunks that it lacks.
        if rounds % 2 == 1 {
            let old = ["pull", &*image("old"), "--tag", "fn:old", "--plain-http"];
            let _ = transport.good(&down.store, &old);
        }
        resumed += pull(&mut down, &registry, &repository, pulling, TURN.min(kills - up.kills - pulled));
        pulled += down.kills;
        assert_eq!(transport.run(&down.store, "fn"), expected);
        down.check();
        assert_eq!(under_way(&down.store), BTreeMap::new(), "left in transfers/");
        fs::remove_dir_all(&down.store).unwrap();
        rounds += 1;
    }
    println!(
        "{} kills of push and {pulled} of pull in {rounds} rounds: {blobs} blobs went up, none twice; {resumed} downloads went on",
        up.kills
    );
    // If all kills came too early or too late, the test would show nothing.
    assert!(blobs > 0, "nothing went up");
    assert!(resumed > 0 || pulled < 20, "no download of {pulled} went on");
}
