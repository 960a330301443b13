//! Snapshots whose inputs have changed: what counts as stale, `snaprun --if-stale`, `rebuild`, links that start one.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use snapfn_tests::run::Outcome;
use snapfn_tests::workspace::Workspace;

/// Reads the files that its arguments name, or tries to, before it marks its point, and prints their first bytes.
const READER: &str = include_str!("stale/reader.c");

/// A file with a time of its own.
struct Input {
    path: PathBuf,
}

impl Input {
    fn new(workspace: &Workspace, name: &str, text: &str) -> Self {
        let path = workspace.out().join(name);
        fs::write(&path, text).unwrap();
        Input { path }
    }

    fn name(&self) -> &str {
        self.path.to_str().unwrap()
    }

    fn write(&self, text: &str) {
        fs::write(&self.path, text).unwrap();
        self.touch(1);
    }

    fn touch(&self, hours: u64) {
        let time = SystemTime::now() + Duration::from_secs(3600 * hours);
        File::options().write(true).open(&self.path).unwrap().set_modified(time).unwrap();
    }
}

fn check(workspace: &Workspace, name: &str) -> Outcome {
    workspace.snapshotter(&["check", name, "--stale"])
}

/// The line is `NAME: stale: FILE WHY`.
#[track_caller]
fn is_stale(workspace: &Workspace, name: &str, file: &Path, why: &str) {
    let outcome = check(workspace, name);
    assert_eq!(outcome.status, "1", "{outcome}");
    assert_eq!(outcome.out(), format!("{name}: stale: {} {why}\n", file.display()), "{outcome}");
}

#[track_caller]
fn is_fresh(workspace: &Workspace, name: &str) {
    let outcome = check(workspace, name);
    assert_eq!((outcome.status.as_str(), outcome.out().contains(": fresh (")), ("0", true), "{outcome}");
}

#[test]
fn each_change_of_an_input_is_named() {
    let workspace = Workspace::new();
    let exe = workspace.compile("reader", READER, &["-O1"]);
    let config = Input::new(&workspace, "config", "one\n");
    let gone = Input::new(&workspace, "gone", "two\n");
    let first = Input::new(&workspace, "first", "three\n");
    let second = Input::new(&workspace, "second", "three\n");
    let third = Input::new(&workspace, "third", "other\n");
    let link = workspace.out().join("link");
    let own = workspace.out().join("own");
    let absent = workspace.out().join("absent");
    symlink(&first.path, &link).unwrap();
    let names = [config.name(), gone.name(), link.to_str().unwrap(), absent.to_str().unwrap(), "/proc/self/maps"];
    let own_variable = format!("OWN={}", own.display());
    workspace.created(&[&["--env", &own_variable, "--tag", "r", "--", &exe], &names[..]].concat());
    is_fresh(&workspace, "r");

    // Equal content: touched, written again, replaced by a copy, by a link to a copy, back to an older time.
    config.write("one\n");
    is_fresh(&workspace, "r");
    config.touch(0);
    is_fresh(&workspace, "r");
    fs::rename(&config.path, workspace.out().join("moved")).unwrap();
    fs::copy(workspace.out().join("moved"), &config.path).unwrap();
    is_fresh(&workspace, "r");
    fs::remove_file(&config.path).unwrap();
    symlink("moved", &config.path).unwrap();
    is_fresh(&workspace, "r");
    // Other content of the same length, of another length, at the old time, behind a link, a directory.
    config.write("two\n");
    is_stale(&workspace, "r", &config.path, "has changed");
    config.write("longer\n");
    is_stale(&workspace, "r", &config.path, "has changed");
    fs::remove_file(&config.path).unwrap();
    is_stale(&workspace, "r", &config.path, "is gone");
    fs::create_dir(&config.path).unwrap();
    is_stale(&workspace, "r", &config.path, "is no file any more");
    fs::remove_dir(&config.path).unwrap();
    config.write("one\n");
    is_fresh(&workspace, "r");
    // A link of the path is pointed at a copy, at another file, at nothing.
    let point = |to: &Path| {
        fs::remove_file(&link).unwrap();
        symlink(to, &link).unwrap();
    };
    point(&second.path);
    is_fresh(&workspace, "r");
    point(&third.path);
    is_stale(&workspace, "r", &link, "has changed");
    point(Path::new("nowhere"));
    is_stale(&workspace, "r", &link, "is gone");
    point(&first.path);
    // A file that was looked for in vain; what the program wrote itself is no input.
    fs::write(&absent, "x").unwrap();
    is_stale(&workspace, "r", &absent, "is new");
    fs::remove_file(&absent).unwrap();
    fs::write(&own, "changed").unwrap();
    is_fresh(&workspace, "r");
    // Two at once, as text and as JSON.
    fs::remove_file(&gone.path).unwrap();
    config.write("two\n");
    is_stale(&workspace, "r", &config.path, "has changed, and 1 more");
    let json = workspace.snapshotter(&["check", "r", "--stale", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&json.out()).unwrap();
    assert_eq!((json.status.as_str(), &report["fresh"], &report["complete"]), ("1", &false.into(), &true.into()));
    assert_eq!(report["changes"][1]["why"], "is gone");
    config.write("one\n");
    gone.write("two\n");
    is_fresh(&workspace, "r");
    // The program itself: upgraded to an equal and to another one, and downgraded.
    let old = fs::read(&exe).unwrap();
    let install = |bytes: &[u8]| {
        fs::remove_file(&exe).unwrap();
        fs::write(&exe, bytes).unwrap();
    };
    install(&old);
    is_fresh(&workspace, "r");
    install(&[&old[..], b"\n"].concat());
    is_stale(&workspace, "r", Path::new(&exe), "has changed");
    install(&old);
    is_fresh(&workspace, "r");
}

#[test]
fn a_start_asks_for_stale_inputs_only_if_it_is_told_to() {
    let workspace = Workspace::new();
    let exe = workspace.compile("reader", READER, &["-O1"]);
    let config = Input::new(&workspace, "config", "one\n");
    workspace.created(&["--tag", "r", "--", &exe, config.name()]);
    let run = |words: &[&str]| {
        let outcome = workspace.snaprun(words).run();
        (outcome.status.clone(), outcome.out(), outcome.err())
    };
    let fresh = ("0".to_owned(), "one\n".to_owned(), String::new());
    for mode in ["--if-stale=warn", "--if-stale=fallback", "--if-stale=fail"] {
        assert_eq!(run(&[mode, "r"]), fresh);
    }
    config.write("two\n");
    assert_eq!(run(&["r"]), fresh);
    let (status, out, err) = run(&["--if-stale", "warn", "r"]);
    assert_eq!((status.as_str(), out.as_str()), ("0", "one\n"));
    assert!(err.starts_with("snaprun: r: stale: ") && err.contains(config.name()), "{err}");
    assert_eq!(run(&["--if-stale=fallback", "r"]), ("0".to_owned(), "two\n".to_owned(), String::new()));
    let (status, out, err) = run(&["--if-stale=fail", "r"]);
    assert!(status == "125" && out.is_empty() && err.contains("rebuild"), "{status} {out} {err}");
    assert_eq!(run(&["--if-stale=other", "r"]).0, "125");
}

#[test]
fn rebuild_runs_the_recipe_again_and_keeps_the_old_one_if_that_fails() {
    let workspace = Workspace::new();
    let exe = workspace.compile("reader", READER, &["-O1"]);
    let config = Input::new(&workspace, "config", "one\n");
    let options =
        ["--tag", "r:v1", "--env", "KEPT=value", "--timeout", "20", "--env", "A_TOKEN=hidden-0123456789abcdef"];
    workspace.created(&[&options[..], &["--", &exe, config.name()]].concat());
    let recipe = || {
        let inspected = workspace.snapshotter(&["inspect", "r:v1", "--json"]).success().out();
        assert!(!inspected.contains("hidden-0123456789abcdef"));
        let report: serde_json::Value = serde_json::from_str(&inspected).unwrap();
        report["recipe"].clone()
    };
    let before = recipe();
    assert_eq!(before["withheld"], serde_json::json!(["A_TOKEN"]));
    assert!(before["variables"].as_array().unwrap().contains(&"KEPT=value".into()));
    let fresh = workspace.snapshotter(&["rebuild", "r:v1", "--if-stale"]).success();
    assert!(fresh.out().contains("r:v1: fresh"), "{fresh}");
    config.write("two\n");
    let again = workspace.snapshotter(&["rebuild", "--all", "--if-stale"]).success();
    assert!(again.out().contains("making it again") && again.err().contains("A_TOKEN"), "{again}");
    assert_eq!(workspace.snaprun(&["r:v1"]).run().out(), "two\n");
    is_fresh(&workspace, "r:v1");
    // The variable without a value is gone, and nothing else differs.
    let mut expected = before;
    expected["withheld"] = serde_json::json!([]);
    assert_eq!(recipe(), expected);
    let program = fs::read(&exe).unwrap();
    fs::remove_file(&exe).unwrap();
    let failed = workspace.snapshotter(&["rebuild", "r:v1"]);
    assert!(failed.status == "1" && failed.err().contains("r:v1 is as it was"), "{failed}");
    fs::write(&exe, program).unwrap();
    assert_eq!(workspace.snaprun(&["r:v1"]).run().out(), "two\n");
}

#[test]
fn more_files_than_are_recorded_are_reported() {
    let workspace = Workspace::new();
    let exe = workspace.compile("reader", READER, &["-O1"]);
    let created = workspace.created(&["--env", "MANY=1", "--tag", "r", "--", &exe]);
    assert!(created.err().contains("not every file that the program has read is recorded"), "{created}");
    let outcome = check(&workspace, "r");
    assert_eq!((outcome.status.as_str(), outcome.out().contains("incomplete")), ("0", true), "{outcome}");
}

#[test]
fn a_link_starts_the_snapshot_of_its_name() {
    let workspace = Workspace::new();
    let exe = workspace.compile("reader", READER, &["-O1"]);
    workspace.created(&["--tag", "report", "--", &exe, exe.as_str()]);
    let dir = workspace.out().join("bin");
    let install = |dir: &Path| workspace.snapshotter(&["install", "report", dir.to_str().unwrap()]);
    let installed = install(&dir).success();
    assert!(installed.err().contains("is not in PATH"), "{installed}");
    install(&dir).success();
    let link = dir.join("report");
    let outcome = workspace.command(link.to_str().unwrap(), &["--help"]).run();
    assert_eq!((outcome.status.as_str(), outcome.out().contains("ELF")), ("0", true), "{outcome}");
    // Another name than that of a snapshot.
    let other = dir.join("other");
    symlink(fs::read_link(&link).unwrap(), &other).unwrap();
    let outcome = workspace.command(other.to_str().unwrap(), &[]).run();
    assert_eq!((outcome.status.as_str(), outcome.err().contains("no such snapshot")), ("127", true), "{outcome}");
    // Nothing else is overwritten.
    fs::remove_file(&link).unwrap();
    fs::write(&link, "mine").unwrap();
    let refused = install(&dir);
    assert!(refused.status == "1" && refused.err().contains("is there already"), "{refused}");
    assert_eq!(fs::read_to_string(&link).unwrap(), "mine");
}
