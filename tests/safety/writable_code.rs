//! Memory that is writable and executable at once (W+X). An attacker who can write to it decides what the program does,
//! so the user must give `--allow-wx` to make, start or pull such a snapshot.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use snapfn::{Error, Pool, Snapshot, SnapshotOptions};
use snapfn_format::snap::{FEATURE_WX, peek_header};
use snapfn_image::INDEX_LABEL;
use snapfn_testkit::Hostile;
use snapfn_tests::place;
use snapfn_tests::pool::Pool as Served;
use snapfn_tests::run::Outcome;
use snapfn_tests::transport::{Transport, shown};
use snapfn_tests::workspace::Workspace;

/// A program that exits with 6, by code that it writes after the snapshot point. It also has a page that cannot be read
/// (MADV_GUARD_INSTALL, if the kernel has it), which a refusal must survive.
const JIT: &str = include_str!("writable_code/jit.c");

/// A snapshot of [`JIT`] in the store and in a file.
fn made(workspace: &Workspace, options: &[&str]) -> String {
    let exe = workspace.compile("jit", JIT, &["-O1"]);
    let made = workspace.snapshotter(&[&["create", "--allow-wx"], options, &["--", &exe]].concat());
    assert_eq!(made.status, "0", "{made}");
    assert!(made.err().contains("4 KiB of memory are writable and executable"), "{made}");
    assert!(made.out().contains("\nstart it with: snaprun --allow-wx "), "{made}");
    exe
}

/// One line, exit status 125.
fn is_refused(outcome: &Outcome) {
    assert_eq!((outcome.status.as_str(), outcome.out().as_str()), ("125", ""), "{outcome}");
    assert!(outcome.err().starts_with("snaprun: ") && outcome.err().matches('\n').count() == 1, "{outcome}");
    assert!(
        outcome.err().contains("writable and executable at once") && outcome.err().contains("--allow-wx"),
        "{outcome}"
    );
}

#[test]
fn create_and_check_refuse_it_by_range() {
    let workspace = Workspace::new();
    let exe = workspace.compile("jit", JIT, &["-O1"]);
    let before = workspace.stored();
    for options in [&["create", "--tag", "jit"][..], &["create", "--tag", "jit", "--variants", "2"], &["check"]] {
        let refused = workspace.snapshotter(&[options, &["--", &exe]].concat());
        let text = if options[0] == "check" { refused.out() } else { refused.err() };
        assert_eq!(refused.status, "1", "{refused}");
        let lines: Vec<&str> = text.lines().filter(|line| line.trim_start().starts_with("memory ")).collect();
        let [line] = lines[..] else { panic!("{refused}") };
        assert!(line.contains("writable and executable at once") && line.contains("--allow-wx"), "{refused}");
        let range = line.trim_start().strip_prefix("memory ").unwrap().split([' ', ':']).next().unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let number = |hex| u64::from_str_radix(hex, 16).unwrap();
        assert_eq!(number(end) - number(start), 4096, "{refused}");
    }
    assert_eq!(workspace.snaprun(&["--allow-wx", "jit"]).run().status, "127");
    let checked = workspace.snapshotter(&["check", "--allow-wx", "--", &exe]);
    assert_eq!(checked.status, "0", "{checked}");
    assert_eq!(workspace.stored(), before);
}

/// Cases that no single mapping shows: a file that is writable at one place and executable at another, and a
/// personality that makes all readable memory executable. Both programs run code that they write after the point.
#[test]
fn one_file_mapped_twice_and_implied_execution_count() {
    let workspace = Workspace::new();
    let exe = workspace.compile("implied", include_str!("writable_code/implied.c"), &["-O1"]);
    for (how, why) in [("twice", "and a file is writable at"), ("personality", "READ_IMPLIES_EXEC")] {
        for command in [&["create", "--tag", how][..], &["check"]] {
            let refused = workspace.snapshotter(&[command, &["--", &exe, how]].concat());
            let text = refused.out() + &refused.err();
            assert_eq!(refused.status, "1", "{how}: {refused}");
            assert!(text.contains(why) && text.contains("--allow-wx"), "{how}: {refused}");
        }
        let made = workspace.created(&["--allow-wx", "--tag", how, "--", &exe, how]);
        assert!(made.out().contains("\nstart it with: snaprun --allow-wx "), "{how}: {made}");
        is_refused(&workspace.snaprun(&[how]).run());
        assert_eq!(workspace.snaprun(&["--allow-wx", how]).run().status, "7", "{how}");
    }
}

#[test]
fn a_snapshot_says_so_and_is_started_with_the_option_only() {
    let workspace = Workspace::new();
    let file = workspace.out().join("jit.snap").to_string_lossy().into_owned();
    made(&workspace, &["-o", &file, "--tag", "jit"]);
    let bytes = fs::read(&file).unwrap();
    let header = peek_header(&bytes[..4096], bytes.len() as u64).unwrap();
    assert_ne!(header.incompatible & FEATURE_WX, 0);
    for name in ["jit", &file] {
        for options in [&[][..], &["--fallback"], &["--timens"], &["--local"]] {
            is_refused(&workspace.snaprun(&[options, &[name]].concat()).run());
        }
        let run = workspace.snaprun(&["--allow-wx", name]).run();
        assert_eq!(run.status, "6", "{run}");
        // Printing the plan runs no code.
        let dry = workspace.snaprun(&["--dry-run", name]).run();
        assert!(dry.status == "0" && dry.out().contains(" rwx "), "{dry}");
        let checked = workspace.snapshotter(&["check", name]);
        assert!(checked.status == "0" && checked.out().contains("start it with --allow-wx"), "{checked}");
    }
    let timed = workspace.snaprun(&["--timing", "--allow-wx", "jit"]).run();
    assert_eq!(timed.status, "6", "{timed}");
    is_refused(&workspace.snaprun(&["--timing", "jit"]).run());

    // A snapshot without such memory needs no option, and the output does not mention it.
    let quiet = workspace.compile("quiet", "int main(void) { return 3; }", &["-O1"]);
    let made = workspace.snapshotter(&["create", "--tag", "quiet", "--", &quiet]);
    assert!(made.status == "0" && !made.err().contains("writable"), "{made}");
    assert_eq!(workspace.snaprun(&["quiet"]).run().status, "3");
    assert_eq!(workspace.snaprun(&["--allow-wx", "quiet"]).run().status, "3");
}

#[test]
fn variants_and_training() {
    let workspace = Workspace::new();
    made(&workspace, &["--tag", "jit", "--variants", "3"]);
    for _ in 0..8 {
        is_refused(&workspace.snaprun(&["jit"]).run());
        assert_eq!(workspace.snaprun(&["--allow-wx", "jit"]).run().status, "6");
    }
    made(&workspace, &["--tag", "one"]);
    let refused = workspace.snapshotter(&["train", "--measure", "0", "one"]);
    assert!(refused.status == "1" && refused.err().contains("--allow-wx"), "{refused}");
    let trained = workspace.snapshotter(&["train", "--measure", "0", "--allow-wx", "one"]);
    assert_eq!(trained.status, "0", "{trained}");
    assert!(trained.out().contains("\nstart it with: snaprun --allow-wx one"), "{trained}");
    is_refused(&workspace.snaprun(&["one"]).run());
    assert_eq!(workspace.snaprun(&["--allow-wx", "one"]).run().status, "6");
}

#[test]
fn library_and_pools() {
    let workspace = Workspace::new();
    let file = workspace.out().join("jit.snap");
    made(&workspace, &["-o", &file.to_string_lossy(), "--tag", "jit"]);
    let loader = place::binary("snaprun");
    let refused = Snapshot::open_in(&file, &workspace.store(), &loader).unwrap_err();
    assert!(matches!(refused, Error::WritableCode(_)) && refused.exit_status() == 125, "{refused}");
    assert!(refused.to_string().contains("allow_wx"), "{refused}");
    let options = SnapshotOptions::new().store(workspace.store()).loader(loader).allow_wx(true);
    let snapshot = options.open(&file).unwrap();
    assert_eq!(snapshot.command().status().unwrap().code(), Some(6));
    let pool = Pool::new(&snapshot, 1).unwrap();
    assert_eq!(pool.command().status().unwrap().code(), Some(6));

    // `snaprun --pool` hands the option over.
    let socket = workspace.run_dir().join("refused.sock").to_string_lossy().into_owned();
    is_refused(&workspace.snaprun(&["--pool", "1", &socket, "jit"]).run());
    let served = Served::start_with(&workspace, &["--allow-wx"], "jit", 1);
    let run = workspace.snaprun(&["--from", &served.socket.to_string_lossy()]).run();
    assert_eq!(run.status, "6", "{run}");
}

#[test]
fn the_c_library() {
    const C: &str = include_str!("writable_code/host.c");
    let library = place::bin().join("libsnapfn_c.a");
    let workspace = Workspace::new();
    let file = workspace.out().join("jit.snap").to_string_lossy().into_owned();
    made(&workspace, &["-o", &file]);
    let source = workspace.out().join("host.c");
    fs::write(&source, C).unwrap();
    let exe = workspace.out().join("host");
    let mut compiler = Command::new("cc");
    compiler.arg("-I").arg(place::root().join("crates/snapfn/capi/include")).arg(&source).arg(&library);
    assert!(compiler.args(["-lpthread", "-ldl", "-lm", "-o"]).arg(&exe).status().unwrap().success());
    let mut host = Command::new(&exe);
    host.arg(&file).env("SNAPFN_STORE", workspace.store()).env("SNAPFN_SNAPRUN", place::binary("snaprun"));
    let output = host.output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("SNAPFN_ALLOW_WX"), "{}", shown(&output));
}

/// Files of the transport's receiver, by kind.
fn entries(store: &Path, kind: &str) -> usize {
    fs::read_dir(store.join(kind)).map_or(0, Iterator::count)
}

#[test]
fn images_are_pulled_and_started_with_the_option_only() {
    let transport = Transport::new();
    let (sender, receiver, lied_to) =
        (transport.workspace.store(), transport.other("store"), transport.other("lied-to"));
    made(&transport.workspace, &["--tag", "jit"]);
    let registry = Hostile::start();
    let image = format!("{}/jit:v1", registry.host());
    let _ = transport.good(&sender, &["push", "jit", &image, "--plain-http"]);
    let shows = transport.good(&sender, &["inspect", &image, "--plain-http"]);
    assert!(shows.contains("writable and executable at once"), "{shows}");
    assert!(
        shows.contains("/usr/bin/snaprun --allow-wx -- jit:latest"),
        "a container has what the pusher has: {shows}"
    );

    // The configuration announces it: no layer is fetched.
    let pull = ["pull", &image, "--plain-http"];
    let asked = registry.requests().len();
    let refused = transport.snaprepo(&receiver, &pull);
    assert_eq!(refused.status.code(), Some(1), "{}", shown(&refused));
    assert!(shown(&refused).contains("--allow-wx"), "{}", shown(&refused));
    let manifest = registry.get_manifest("jit", "v1").unwrap();
    let mut manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let layers: Vec<&str> =
        manifest["layers"].as_array().unwrap().iter().filter_map(|l| l["digest"].as_str()).collect();
    let fetched = &registry.requests()[asked..];
    assert!(!fetched.iter().any(|request| layers.iter().any(|layer| request.path().contains(layer))));
    assert_eq!(entries(&receiver, "refs") + entries(&receiver, "snap"), 0);

    // If the configuration does not announce it, the snapshot itself does, before it has a name in the store.
    let name = manifest["config"]["digest"].as_str().unwrap().to_owned();
    let mut config: Value = serde_json::from_slice(&registry.get_blob(&name).unwrap()).unwrap();
    let label = &mut config["config"]["Labels"][INDEX_LABEL];
    let honest = label.as_str().unwrap().to_owned();
    *label = honest.replace("\"wx\":true,", "").into();
    assert_ne!(label.as_str().unwrap(), honest);
    let config = config.to_string();
    manifest["config"]["digest"] = registry.blob(config.as_bytes()).into();
    manifest["config"]["size"] = config.len().into();
    let media_type = manifest["mediaType"].as_str().unwrap().to_owned();
    registry.manifest("jit", "lie", &media_type, manifest.to_string().as_bytes());
    let lie = format!("{}/jit:lie", registry.host());
    let pull_lie = ["pull", &lie, "--plain-http"];
    for _ in 0..2 {
        let refused = transport.snaprepo(&lied_to, &pull_lie);
        assert_eq!(refused.status.code(), Some(1), "{}", shown(&refused));
        assert!(shown(&refused).contains("--allow-wx"), "{}", shown(&refused));
        assert_eq!(entries(&lied_to, "refs") + entries(&lied_to, "snap") + entries(&lied_to, "pulled"), 0);
    }
    // A snapshot that is already in the store gets no tag either.
    let _ = transport.good(&lied_to, &["pull", &image, "--plain-http", "--tag", "allowed", "--allow-wx"]);
    assert_eq!(transport.snaprepo(&lied_to, &pull_lie).status.code(), Some(1));
    assert_eq!(entries(&lied_to, "refs"), 1);

    let settings = transport.other("home/.config/snapfn");
    fs::create_dir_all(&settings).unwrap();
    let plain = format!("[registry.\"{}\"]\nplain-http = true\n", registry.host());
    fs::write(settings.join("config.toml"), plain).unwrap();
    // `snaprun REF` passes the option on, and needs it for a pulled image, too.
    let start = |options: &[&str]| {
        let mut command = Command::new(place::binary("snaprun"));
        command
            .args(options)
            .arg(&image)
            .env_clear()
            .env("SNAPFN_STORE", &receiver)
            .env("HOME", transport.other("home"));
        command.output().unwrap()
    };
    for _ in 0..2 {
        let refused = start(&[]);
        assert_eq!(refused.status.code(), Some(125), "{}", shown(&refused));
        assert!(shown(&refused).contains("--allow-wx"), "{}", shown(&refused));
        let run = start(&["--allow-wx"]);
        assert_eq!(run.status.code(), Some(6), "{}", shown(&run));
    }
    let _ = transport.good(&receiver, &["pull", &image, "--plain-http", "--allow-wx"]);
}

#[test]
fn snapshots_of_instances() {
    let workspace = Workspace::new();
    const TWICE: &str = r#"
        #define _GNU_SOURCE
        #include <snap.h>
        #include <sys/mman.h>
        int main(void) {
            unsigned char *code = mmap(0, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            code[0] = 0xb8, code[1] = 5, code[5] = 0xc3;
            snap_ready();
            snap_ready();
            return ((int (*)(void))code)();
        }"#;
    let exe = workspace.compile("twice", TWICE, &["-O1"]);
    let create = |allow: bool, rest: &[&str]| {
        let allow = if allow { &["--allow-wx"][..] } else { &[] };
        workspace.snapshotter(&[&["create"], allow, rest].concat())
    };
    assert_eq!(create(true, &["--tag", "first", "--", &exe]).status, "0");
    let snaprun = place::binary("snaprun").to_string_lossy().into_owned();
    let of_instance = ["--tag", "second", "--at", "ready", "--", &snaprun, "--allow-wx", "first"];
    let refused = create(false, &of_instance);
    assert!(refused.status == "1" && refused.err().contains("writable and executable at once"), "{refused}");
    let made = create(true, &of_instance);
    assert_eq!(made.status, "0", "{made}");
    is_refused(&workspace.snaprun(&["second"]).run());
    assert_eq!(workspace.snaprun(&["--allow-wx", "second"]).run().status, "5");
}
