//! Snapshots go through registries: `snaprepo` as it is called, against Debian's docker-registry.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use snapfn_testkit::{Authority, DockerRegistry, Proxy, Record, has_program, is_available, skip};
use snapfn_tests::place;
use snapfn_tests::transport::{Transport, shown};

/// Bytes of the table in the snapshots that are sent.
const SIZE: usize = 1 << 20;

#[test]
fn a_snapshot_comes_back_the_same() {
    if !is_available() {
        return;
    }
    let transport = Transport::new();
    let (sender, receiver) = (transport.workspace.store(), transport.other("store"));
    transport.snapshot("fn", SIZE, 1);
    let expected = transport.run(&sender, "fn");
    let registry = DockerRegistry::start();
    let image = format!("{}/team/fn:v1", registry.host());
    // Without this option, what is pushed is a copy that lacks the recipe.
    let _ = transport.good(&sender, &["push", "fn", &image, "--plain-http", "--with-recipe"]);
    let _ = transport.good(&receiver, &["pull", &image, "--tag", "fn", "--plain-http"]);
    assert_eq!(transport.run(&receiver, "fn"), expected);
    let _ = transport.good(&receiver, &["verify", "--all"]);
    // Bit for bit: the snapshot's name is its digest.
    assert_eq!(snapshots(&sender), snapshots(&receiver));

    // The program, its libraries and its sources are gone: there are only the store and snaprun.
    for file in snapfn_tests::workspace::tree(&transport.workspace.out()) {
        let _ = fs::remove_file(file);
    }
    assert_eq!(transport.run(&receiver, "fn"), expected);
    in_an_empty_root(&receiver, "fn", &expected);
}

#[test]
fn snaprun_fetches_what_is_not_there() {
    if !is_available() {
        return;
    }
    let transport = Transport::new();
    let (sender, receiver) = (transport.workspace.store(), transport.other("store"));
    transport.snapshot("fn", SIZE, 8);
    let expected = transport.run(&sender, "fn");
    let registry = DockerRegistry::start();
    let image = format!("{}/team/fn:v1", registry.host());
    let _ = transport.good(&sender, &["push", "fn", &image]);
    // Neither the program nor the store that it was pushed from is left.
    for file in snapfn_tests::workspace::tree(&transport.workspace.out()) {
        let _ = fs::remove_file(file);
    }
    fs::remove_dir_all(&sender).unwrap();
    let run = |store: &Path, name: &str| {
        let mut command = Command::new(place::binary("snaprun"));
        command.args([name, "world"]).env_clear().env("SNAPFN_STORE", store).env("HOME", transport.other("home"));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).output().unwrap()
    };
    let first = run(&receiver, &image);
    assert_eq!(
        (first.status.code(), &*String::from_utf8_lossy(&first.stdout)),
        (Some(2), &*expected),
        "{}",
        shown(&first)
    );
    assert!(first.stderr.is_empty(), "stderr is the program's: {}", shown(&first));

    // A failed pull gives one line, and exit status 125.
    let nowhere = transport.other("nowhere");
    for (name, why) in [
        (format!("{}/team/none:v1", registry.host()), "not there"),
        (format!("{image}@sha256:{}", "0".repeat(64)), "not there"),
    ] {
        let failed = run(&nowhere, &name);
        let text = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert_eq!(failed.status.code(), Some(125), "{}", shown(&failed));
        assert!(
            text.lines().count() == 1 && text.starts_with(&format!("snaprun: {name}: ")) && text.contains(why),
            "{text}"
        );
        assert!(failed.stdout.is_empty());
    }
    // What is there needs no registry.
    drop(registry);
    assert_eq!(String::from_utf8_lossy(&run(&receiver, &image).stdout), expected);
    let _ = transport.good(&receiver, &["verify", "--all"]);
    in_an_empty_root(&receiver, &image, &expected);
}

/// Starts it in a root that has only the store and snaprun.
fn in_an_empty_root(store: &Path, name: &str, expected: &str) {
    if !has_program("bwrap") {
        skip("not installed: bubblewrap");
        return;
    }
    let (store, snaprun) = (store.to_string_lossy(), place::binary("snaprun"));
    let root = ["--ro-bind", &store, "/store", "--ro-bind", &snaprun.to_string_lossy(), "/snaprun", "--proc", "/proc"];
    let run = ["--dev", "/dev", "--clearenv", "--setenv", "SNAPFN_STORE", "/store", "/snaprun", name, "world"];
    let output = Command::new("bwrap").args(root).args(run).output().unwrap();
    if !output.status.success() && String::from_utf8_lossy(&output.stderr).starts_with("bwrap:") {
        skip(&format!("bwrap cannot make a root here: {}", shown(&output)));
        return;
    }
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{}", shown(&output));
}

/// The names of all snapshot files of a store.
fn snapshots(store: &Path) -> BTreeSet<PathBuf> {
    fs::read_dir(store.join("snap")).unwrap().map(|entry| entry.unwrap().file_name().into()).collect()
}

#[test]
fn with_passwords_and_tls() {
    if !is_available() {
        return;
    }
    let transport = Transport::new();
    let (sender, receiver) = (transport.workspace.store(), transport.other("store"));
    transport.snapshot("fn", SIZE, 2);
    let authority = Authority::new();
    let registry = DockerRegistry::builder().password("user", "secret").tls(&authority).start();
    let image = format!("{}/fn:v1", registry.host());
    let run = |store: &Path, args: &[&str]| {
        transport.command(store, args).env("SSL_CERT_FILE", authority.certificate()).output().unwrap()
    };
    let untrusted = transport.snaprepo(&sender, &["push", "fn", &image]);
    assert_eq!(untrusted.status.code(), Some(1), "{}", shown(&untrusted));
    let anonymous = run(&sender, &["push", "fn", &image]);
    assert_eq!(anonymous.status.code(), Some(1), "{}", shown(&anonymous));
    assert!(shown(&anonymous).contains("login"), "the remedy: {}", shown(&anonymous));
    // dXNlcjpzZWNyZXQ= is user:secret.
    fs::create_dir_all(transport.other(".docker")).unwrap();
    let auths = format!(r#"{{"auths":{{"{}":{{"auth":"dXNlcjpzZWNyZXQ="}}}}}}"#, registry.host());
    fs::write(transport.other(".docker/config.json"), auths).unwrap();
    for (store, args) in [(&sender, ["push", "fn", &image]), (&receiver, ["pull", &image, "--tag=fn"])] {
        let output = run(store, &args);
        assert!(output.status.success(), "{}", shown(&output));
    }
    assert_eq!(transport.run(&receiver, "fn"), transport.run(&sender, "fn"));
}

/// The digests of blobs that were uploaded whole, and of those that were fetched whole.
fn complete(records: &[Record]) -> BTreeSet<String> {
    let uploaded = records.iter().filter(|r| r.status == 201 && r.target.contains("/blobs/uploads/")).filter_map(|r| {
        let at = r.target.find("digest=sha256")? + 7;
        Some(r.target[at..].split('&').next()?.replace("%3A", ":").replace("%3a", ":"))
    });
    uploaded.collect()
}

fn sent(records: &[Record]) -> u64 {
    records.iter().filter(|record| record.target.contains("/blobs/uploads/")).map(|record| record.sent).sum()
}

#[test]
fn what_two_functions_share_is_sent_once() {
    if !is_available() {
        return;
    }
    let transport = Transport::new();
    let sender = transport.workspace.store();
    transport.snapshot("one", SIZE, 3);
    transport.snapshot("two", SIZE, 4);
    let registry = DockerRegistry::start();
    let proxy = Proxy::builder(&registry.host()).start();
    let push = |name: &str, to: &str| {
        let image = format!("{}/{to}:v1", proxy.host());
        let _ = transport.good(&sender, &["push", name, &image, "--plain-http", "--json"]);
        proxy.take_records()
    };
    let first = push("one", "same");
    let second = push("two", "same");
    let both: Vec<_> = complete(&first).intersection(&complete(&second)).cloned().collect();
    assert!(both.is_empty(), "sent twice: {both:?}");
    // Without its table, more than half of an image is the loader, libc and ld.so.
    assert!(sent(&second) + 700_000 < sent(&first), "{} and then {} bytes", sent(&first), sent(&second));
    let again = push("two", "same");
    assert_eq!(sent(&again), 0, "nothing has changed");
}

#[test]
fn without_the_required_signature_nothing_is_downloaded() {
    if !is_available() {
        return;
    }
    let transport = Transport::new();
    let (sender, receiver) = (transport.workspace.store(), transport.other("store"));
    transport.snapshot("fn", SIZE, 6);
    let registry = DockerRegistry::start();
    let proxy = Proxy::builder(&registry.host()).start();
    let image = format!("{}/team/fn:v1", proxy.host());
    let key = transport.other("key").to_string_lossy().into_owned();
    let public = format!("{key}.pub");
    let _ = transport.good(&sender, &["keygen", &key, "--no-password"]);
    let _ = transport.good(&sender, &["push", "fn", &image, "--plain-http"]);
    let config = format!("[registry.\"{}\"]\nplain-http = true\nrequire-signature = \"{public}\"\n", proxy.host());
    fs::create_dir_all(transport.other(".config/snapfn")).unwrap();
    let file = transport.other(".config/snapfn/config.toml");
    let by_option = ["pull", &image, "--tag", "fn", "--plain-http", "--require-signature", &public];
    let by_setting = ["pull", &image, "--tag", "fn"];
    let _ = proxy.take_records();
    for args in [&by_option[..], &by_setting[..]] {
        if args.len() == by_setting.len() {
            fs::write(&file, &config).unwrap();
        }
        let refused = transport.snaprepo(&receiver, args);
        assert_eq!(refused.status.code(), Some(1), "{}", shown(&refused));
        assert!(shown(&refused).contains("not signed"), "{}", shown(&refused));
        let blobs: Vec<_> = proxy.take_records().into_iter().filter(|r| r.target.contains("/blobs/")).collect();
        assert!(blobs.is_empty(), "{blobs:?}");
        assert!(!receiver.join("refs").exists() || fs::read_dir(receiver.join("refs")).unwrap().next().is_none());
    }
    let _ = transport.good(&sender, &["sign", &image, "--key", &key]);
    for args in [&by_option[..], &by_setting[..]] {
        let _ = transport.good(&receiver, args);
    }
    assert_eq!(transport.run(&receiver, "fn"), transport.run(&sender, "fn"));
    // Another image under the same tag is not covered.
    transport.snapshot("fn2", SIZE, 7);
    let _ = transport.good(&sender, &["push", "fn2", &image]);
    let refused = transport.snaprepo(&receiver, &by_setting);
    assert_eq!(refused.status.code(), Some(1), "{}", shown(&refused));
}
