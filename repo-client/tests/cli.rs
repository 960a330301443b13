//! `snaprepo` as it is called: output, exit status, one line for each failure.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test panics where it fails")]

#[path = "../../crates/store/tests/common/mod.rs"]
mod common;

use common::snapshot;
use snapfn_store::{Digest, Kind, Ref, Store};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

struct Fixture {
    dir: TempDir,
    store: Store,
    code: Digest,
    snap: Digest,
}

/// `fn:v1` and `fn:v2`, the same snapshot with one code segment file, and a data file that no snapshot needs.
fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path().join("store"));
    let tx = store.begin().unwrap();
    let code = tx.put_bytes(Kind::Code, b"code").unwrap().digest;
    tx.put_bytes(Kind::Data, b"not needed").unwrap();
    let bytes = snapshot("/opt/\x1b[2Jfn", &[(Kind::Code, code)], 1);
    let snap = tx.put_bytes(Kind::Snap, &bytes).unwrap().digest;
    for tag in ["fn:v1", "fn:v2"] {
        tx.set_ref(&Ref::parse(tag).unwrap(), snap).unwrap();
    }
    drop(tx);
    Fixture { dir, store, code, snap }
}

impl Fixture {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_snaprepo"));
        command.args(args).env_clear().env("SNAPFN_STORE", self.store.root()).current_dir(self.dir.path());
        command
    }

    /// Runs it and returns stdout and stderr after checking the exit status.
    fn run(&self, status: i32, args: &[&str]) -> (String, String) {
        check(status, self.command(args).output().unwrap())
    }

    fn replace(&self, path: PathBuf, content: &[u8]) {
        fs::remove_file(&path).unwrap();
        fs::write(path, content).unwrap();
    }
}

fn check(status: i32, output: Output) -> (String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(status), "stdout: {out}\nstderr: {err}");
    (out, err)
}

/// stderr is exactly one line, with the program's name and the subject.
fn one_line(err: &str, subject: &str, what: &str) {
    assert!(err.starts_with(&format!("snaprepo: {subject}: ")) && err.contains(what), "{err}");
    assert_eq!(err.matches('\n').count(), 1, "{err}");
}

#[test]
fn ls_shows_what_there_is() {
    let f = fixture();
    let (out, _) = f.run(0, &["ls"]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 3, "{out}");
    assert!(lines[0].starts_with("NAME  TAG  DIGEST"), "{out}");
    let words: Vec<&str> = lines[1].split_whitespace().collect();
    let digest = f.snap.to_string();
    assert_eq!(words[..5], ["fn", "v1", &digest[..12], "12.0", "KiB"], "{out}");
    // The program's path comes from a file, so its control characters are escaped.
    assert_eq!(words[5..], ["2023-11-14", "22:13:20Z", "/opt/\\u{1b}[2Jfn"]);
}

#[test]
fn ls_json_is_complete() {
    let f = fixture();
    let (out, _) = f.run(0, &["ls", "--json"]);
    let rows: serde_json::Value = serde_json::from_str(&out).unwrap();
    let row = &rows[1];
    assert_eq!(row["name"], "fn");
    assert_eq!(row["tag"], "v2");
    assert_eq!(row["digest"], f.snap.to_string());
    assert_eq!(row["size"], 12288);
    assert_eq!(row["created"], "2023-11-14T22:13:20Z");
    assert_eq!(row["program"], "/opt/\x1b[2Jfn");
    assert_eq!(row["store"], f.store.root().to_str().unwrap());
    assert_eq!(row["files"], serde_json::json!([{"kind": "code", "digest": f.code.to_string()}]));
}

#[test]
fn ls_of_nothing_is_an_empty_list_and_makes_no_store() {
    let f = fixture();
    let none = f.dir.path().join("none");
    let (out, err) = check(0, f.command(&["ls", "--json"]).env("SNAPFN_STORE", &none).output().unwrap());
    assert_eq!((out.as_str(), err.as_str()), ("[]\n", ""));
    check(0, f.command(&["gc"]).env("SNAPFN_STORE", &none).output().unwrap());
    check(0, f.command(&["verify", "--all"]).env("SNAPFN_STORE", &none).output().unwrap());
    assert!(!none.exists());
}

#[test]
fn ls_reports_a_bad_tag_and_shows_the_others() {
    let f = fixture();
    let tag = f.store.root().join("refs/fn/v1");
    fs::remove_file(&tag).unwrap();
    symlink("/etc/passwd", &tag).unwrap();
    let (out, err) = f.run(1, &["ls"]);
    one_line(&err, "fn:v1", "not a reference");
    assert_eq!(out.lines().count(), 2, "{out}");
}

#[test]
fn the_search_path_is_followed() {
    let f = fixture();
    let first = Store::at(f.dir.path().join("first"));
    let bytes = snapshot("/bin/other", &[], 2);
    let tx = first.begin().unwrap();
    let snap = tx.put_bytes(Kind::Snap, &bytes).unwrap().digest;
    tx.set_ref(&Ref::parse("fn:v1").unwrap(), snap).unwrap();
    drop(tx);
    let path = format!("{}:{}", first.root().display(), f.store.root().display());
    let (out, _) = check(0, f.command(&["ls"]).env("SNAPFN_STORE", &path).output().unwrap());
    assert_eq!(out.matches("/bin/other").count(), 1, "{out}");
    assert_eq!(out.lines().count(), 3, "{out}");
    let (_, err) = check(1, f.command(&["rm", "fn:v2"]).env("SNAPFN_STORE", &path).output().unwrap());
    one_line(&err, "fn:v2", "not the writable store");
    let (out, _) = check(0, f.command(&["verify", "--all"]).env("SNAPFN_STORE", &path).output().unwrap());
    assert!(out.starts_with("checked 4 files"), "{out}");
}

#[test]
fn tags_are_listed_one_a_line() {
    let f = fixture();
    assert_eq!(f.run(0, &["tags", "fn"]).0, "v1\nv2\n");
    one_line(&f.run(1, &["tags", "none"]).1, "none", "no such name");
    one_line(&f.run(2, &["tags", "fn:v1"]).1, "fn:v1", "without a tag");
}

#[test]
fn rm_and_gc_free_what_nothing_needs() {
    let f = fixture();
    let (out, _) = f.run(0, &["gc", "--dry-run"]);
    assert!(out.contains("/data/") && out.contains("would delete 1 file ") && out.contains("kept 2"), "{out}");
    assert!(f.run(0, &["gc"]).0.starts_with("deleted 1 file "));

    one_line(&f.run(1, &["rm", "fn"]).1, "fn:latest", "there is v1, v2");
    f.run(0, &["rm", "fn:v1"]);
    assert!(f.run(0, &["gc"]).0.contains("kept 2"));
    // If one name is wrong, no tag is removed.
    one_line(&f.run(2, &["rm", "fn:v2", "a b"]).1, "a b", "character");
    // If one tag does not exist, the others are removed.
    one_line(&f.run(1, &["rm", "none", "fn:v2"]).1, "none:latest", "no such snapshot");
    assert!(f.run(0, &["gc"]).0.contains("deleted 2 files"));
    assert_eq!(f.run(0, &["ls"]).0.lines().count(), 1);
}

#[test]
fn gc_waits_for_nobody() {
    let f = fixture();
    let tx = f.store.begin().unwrap();
    one_line(&f.run(1, &["gc"]).1, "gc", "in use");
    drop(tx);
    f.run(0, &["gc"]);
}

#[test]
fn gc_deletes_nothing_when_a_snapshot_is_damaged() {
    let f = fixture();
    let path = f.store.path(Kind::Snap, f.snap);
    let mut bytes = fs::read(&path).unwrap();
    bytes[200] ^= 1;
    f.replace(path, &bytes);
    one_line(&f.run(1, &["gc"]).1, "gc", "nothing was deleted");
    assert_eq!(f.store.list(Kind::Data).unwrap().len(), 1);
}

#[test]
fn verify_accepts_what_is_sound() {
    let f = fixture();
    assert_eq!(f.run(0, &["verify", "fn:v1"]), ("checked 2 files (12.0 KiB): all sound\n".into(), String::new()));
    assert!(f.run(0, &["verify", "fn:v1", "fn:v2"]).0.starts_with("checked 2 files"));
    assert!(f.run(0, &["verify", "--all"]).0.starts_with("checked 3 files"));
    fs::copy(f.store.path(Kind::Snap, f.snap), f.dir.path().join("copy.snap")).unwrap();
    assert!(f.run(0, &["verify", "copy.snap"]).0.starts_with("checked 1 file "));
}

#[test]
fn verify_names_directories_that_others_may_write_to() {
    use std::os::unix::fs::PermissionsExt;
    let f = fixture();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let snap = f.store.root().join("snap");
    for open in [0o777, 0o775, 0o1757] {
        mode(&snap, open);
        let (out, err) = f.run(1, &["verify", "--all"]);
        one_line(&err, &snap.to_string_lossy(), &format!("exchange files in it (mode {open:04o})"));
        assert!(out.ends_with("1 failure\n"), "{out}");
    }
    mode(&snap, 0o755);
    mode(f.store.root(), 0o777);
    one_line(&f.run(1, &["verify", "fn:v1"]).1, &f.store.root().to_string_lossy(), "exchange files");
    mode(f.store.root(), 0o755);
    assert!(f.run(0, &["verify", "--all"]).0.contains("all sound"));
}

#[test]
fn verify_reports_every_damaged_and_missing_file() {
    let f = fixture();
    // The test flips a bit in a page, which no checksum of the loader covers.
    let path = f.store.path(Kind::Snap, f.snap);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    f.replace(path, &bytes);
    one_line(&f.run(1, &["verify", "fn:v1"]).1, "fn:v1", "is damaged");

    fs::remove_file(f.store.path(Kind::Code, f.code)).unwrap();
    let (out, err) = f.run(1, &["verify", "fn:v1"]);
    assert!(err.contains("is damaged") && err.contains(&format!("code/{} is missing", f.code)), "{err}");
    assert_eq!(err.lines().count(), 2, "{err}");
    assert!(out.ends_with("2 failures\n"), "{out}");

    let data = f.store.list(Kind::Data).unwrap().remove(0);
    f.replace(data.path, b"changed");
    let init = f.store.root().join("init").join("0".repeat(64));
    fs::create_dir(init).unwrap();
    let (_, err) = f.run(1, &["verify", "--all"]);
    // Both tags miss the code segment file.
    assert_eq!(err.lines().count(), 5, "{err}");
    assert!(err.contains("is a directory"), "{err}");
}

#[test]
fn verify_refuses_what_is_no_snapshot() {
    let f = fixture();
    one_line(&f.run(1, &["verify", "none"]).1, "none:latest", "no such snapshot");
    one_line(&f.run(2, &["verify", "host/name"]).1, "host/name", "names no registry");
    one_line(&f.run(1, &["push", "none", "127.0.0.1:1/none:v1"]).1, "none:latest", "no such snapshot");
    one_line(&f.run(1, &["verify", "./none"]).1, "./none", "No such file");
    one_line(&f.run(1, &["verify", "./store"]).1, "./store", "not a regular file");
    let fifo = f.dir.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    one_line(&f.run(1, &["verify", "./fifo"]).1, "./fifo", "not a regular file");
    fs::write(f.dir.path().join("empty.snap"), b"").unwrap();
    one_line(&f.run(1, &["verify", "empty.snap"]).1, "empty.snap", "truncated");
    fs::write(f.dir.path().join("elf.snap"), fs::read(env!("CARGO_BIN_EXE_snaprepo")).unwrap()).unwrap();
    one_line(&f.run(1, &["verify", "elf.snap"]).1, "elf.snap", "magic");
}

#[test]
fn without_a_place_to_write_to_the_remedy_is_named() {
    let f = fixture();
    let (_, err) = check(1, f.command(&["gc"]).env_remove("SNAPFN_STORE").output().unwrap());
    one_line(&err, "gc", "set SNAPFN_STORE, XDG_DATA_HOME or HOME");
}

#[test]
fn wrong_usage_exits_with_2() {
    let f = fixture();
    for args in [&["verify"][..], &["verify", "--all", "fn"], &["rm"], &["push", "fn", "h/x"], &[], &["ls", "--bad"]] {
        f.run(2, args);
    }
    let (help, _) = f.run(0, &["--help"]);
    assert!(help.contains("Exit status") && !help.contains("generate"), "{help}");
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let f = fixture();
    let script = r#""$0" ls | true; exit "${PIPESTATUS[0]}""#;
    let mut command = Command::new("bash");
    command.args(["-c", script, env!("CARGO_BIN_EXE_snaprepo")]).env("SNAPFN_STORE", f.store.root());
    assert_eq!(check(0, command.output().unwrap()).1, "");
}

#[test]
fn man_pages_and_completions_are_written() {
    let f = fixture();
    for (what, file, word) in [
        ("man", "snaprepo-verify.1", ".TH"),
        ("bash", "snaprepo.bash", "complete -F"),
        ("zsh", "_snaprepo", "#compdef snaprepo"),
        ("fish", "snaprepo.fish", "complete -c snaprepo"),
    ] {
        f.run(0, &["generate", what, "."]);
        let text = fs::read_to_string(f.dir.path().join(file)).unwrap();
        assert!(text.contains(word) && !text.contains("/tmp"), "{file}");
    }
}

#[test]
fn scan_finds_credentials_and_never_shows_them() {
    let f = fixture();
    f.run(0, &["scan", "fn:v1"]);
    let token = format!("ghp_{}", "aZ3bY4cX5dW6eV7fU8gT9hS0iR1jQ2kP3lO4"); // put together here: no scanner stops at it
    let tx = f.store.begin().unwrap();
    let settings = format!("url = x\ntoken = {token}\n");
    let data = tx.put_bytes(Kind::Data, settings.as_bytes()).unwrap().digest;
    let mut bytes = snapshot("/opt/fn", &[(Kind::Data, data)], 0);
    let at = bytes.len() - 100;
    bytes[at..at + token.len()].copy_from_slice(token.as_bytes());
    let snap = tx.put_bytes(Kind::Snap, &bytes).unwrap().digest;
    let clean = tx.put_bytes(Kind::Snap, &snapshot("/opt/fn", &[], 0)).unwrap().digest;
    tx.set_variants(&Ref::parse("leaky").unwrap(), &[clean, snap]).unwrap();
    drop(tx);
    let (out, err) = f.run(1, &["scan", "leaky", "--json"]);
    assert!(!out.contains(&token) && !err.contains(&token), "{out}{err}");
    let found: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap();
    assert_eq!(found.len(), 2, "{out}");
    assert_eq!(found[0]["kind"], "GitHub token");
    assert_eq!(found[0]["place"]["memory"], 0x1700_0000_0000u64 + 4096 - 100);
    assert_eq!(found[0]["offset"], at);
    assert_eq!(found[1]["file"], format!("data/{data}"));
    assert!(err.contains("memory at 0x170000000f9c") && err.contains("ghp_aZ3b…"), "{err}");
    let path = f.store.path(Kind::Snap, snap);
    f.run(1, &["scan", path.to_str().unwrap()]);
    // This credential was compiled into the program. Libraries are not searched.
    let tx = f.store.begin().unwrap();
    let code = tx.put_bytes(Kind::Code, token.as_bytes()).unwrap().digest;
    let other = tx.put_bytes(Kind::Code, b"nothing").unwrap().digest;
    for (files, findings) in [([code, other], 1), ([other, code], 0)] {
        let snap = tx.put_bytes(Kind::Snap, &snapshot("/opt/fn", &files.map(|file| (Kind::Code, file)), 0)).unwrap();
        tx.set_ref(&Ref::parse("built").unwrap(), snap.digest).unwrap();
        let err = f.run(findings, &["scan", "built"]).1;
        assert_eq!(err.contains(&format!("code/{code}")), findings == 1, "{err}");
    }
    drop(tx);
    f.run(1, &["scan", "missing"]);
    f.run(2, &["scan", "host.example/x"]);
}
