//! `inspect`, `diff`, `check` and `generate` as they are called, on snapshots made without running a program.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test panics where it fails")]

#[path = "../../crates/format/tests/common/sample.rs"]
mod sample;

use sample::{PAGES, SIZES, Sample, build, code_file, fix_checksum};
use serde_json::{Value, json};
use snapfn_format::PAGE;
use snapfn_format::snap::*;
use snapfn_store::{Digest, Kind, Ref, Store};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

struct Fixture {
    dir: TempDir,
    store: Store,
    sample: Sample,
}

/// A store with `fn:latest`: program, library and data file are there, so that mappings get their names.
fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path().join("store"));
    let tx = store.begin().unwrap();
    let put = |kind, bytes: &[u8]| tx.put_bytes(kind, bytes).unwrap().digest;
    let digests = [
        put(Kind::Code, &code_file(4, 4, SIZES[0])),
        put(Kind::Code, &code_file(8, 2, SIZES[1])),
        put(Kind::Data, &vec![7; SIZES[2] as usize]),
    ];
    drop(tx);
    let fixture = Fixture { store, sample: Sample { digests, ..Sample::default() }, dir };
    fixture.put("fn", &fixture.sample.file());
    fixture
}

impl Fixture {
    fn put(&self, name: &str, bytes: &[u8]) -> Digest {
        let tx = self.store.begin().unwrap();
        let stored = tx.put_bytes(Kind::Snap, bytes).unwrap().digest;
        tx.set_ref(&Ref::parse(name).unwrap(), stored).unwrap();
        stored
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_snapshotter"));
        command.args(args).env_clear().env("SNAPFN_STORE", self.store.root()).current_dir(self.dir.path());
        command
    }

    /// Runs it, checks the exit status, and returns stdout and stderr.
    fn run(&self, status: i32, args: &[&str]) -> (String, String) {
        check(status, self.command(args).output().unwrap())
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.run(0, args).0).unwrap()
    }

    /// The text without what is different in every run.
    fn neutral(&self, text: &str) -> String {
        text.replace(self.dir.path().to_str().unwrap(), "DIR")
    }
}

fn check(status: i32, output: Output) -> (String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(status), "stdout: {out}\nstderr: {err}");
    (out, err)
}

/// stderr is exactly one line, with the program's name and the fault.
fn one_line(err: &str, what: &str) {
    assert!(err.starts_with("snapshotter: ") && err.contains(what), "{err}");
    assert_eq!(err.matches('\n').count(), 1, "{err}");
}

/// Compares with a file beside this one; SNAPFN_BLESS=1 writes it.
fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("SNAPFN_BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap();
    assert!(text == expected, "{} is not\n{text}", path.display());
}

#[test]
fn inspect_text() {
    let f = fixture();
    let (out, err) = f.run(0, &["inspect", "fn"]);
    assert_eq!(err, "");
    golden("inspect.txt", &f.neutral(&out));
}

#[test]
fn inspect_json() {
    let f = fixture();
    let (out, _) = f.run(0, &["inspect", "fn:latest", "--json"]);
    golden("inspect.json", &f.neutral(&out));
    let report: Value = serde_json::from_str(&out).unwrap();
    let memory = &report["memory"];
    let parts = ["code", "data", "host", "descriptor", "snapshot", "read", "zeros", "stack"]
        .map(|part| memory[part].as_u64().unwrap());
    assert_eq!(parts.iter().sum::<u64>(), memory["total"].as_u64().unwrap());
    let mappings = memory["mappings"].as_array().unwrap();
    let sizes: u64 = mappings.iter().map(|mapping| mapping["size"].as_u64().unwrap()).sum();
    assert_eq!(sizes, memory["total"].as_u64().unwrap());
    assert_eq!(memory["code"], 12 * PAGE);
    assert_eq!(memory["read"], 2 * PAGE);
}

/// The report names the library of a writable part, because the library's program headers have its length.
#[test]
fn mappings_have_names() {
    let f = fixture();
    let names = |report: &Value| -> Vec<String> {
        let mappings = report["memory"]["mappings"].as_array().unwrap().iter();
        mappings.map(|mapping| mapping["name"].as_str().unwrap().to_string()).collect()
    };
    let (program, library) = ("/opt/app/fn", "/usr/lib/libdemo.so.1");
    let rest = ["/usr/share/demo.dat", "/var/cache/demo.map", "[anonymous]", "[descriptor 9]"];
    let own = ["[heap]", "[heap]", "[stack]", "[snapfn]", "[snapfn]"];
    let wanted = [&[program; 3][..], &own, &[library; 3], &rest].concat();
    assert_eq!(names(&f.json(&["inspect", "fn", "--json"])), wanted);
    // Without the code segment files the report cannot name it.
    let report = serde_json::from_str(
        &check(0, {
            f.command(&["inspect", "--json", f.store.path(Kind::Snap, f.put("x", &f.sample.file())).to_str().unwrap()])
                .env("SNAPFN_STORE", "/nonexistent")
                .output()
                .unwrap()
        })
        .0,
    )
    .unwrap();
    let wanted = [&[program, "[anonymous]", "[anonymous]"][..], &own, &[library, "[anonymous]", "[anonymous]"], &rest];
    assert_eq!(names(&report), wanted.concat());
    assert_eq!(report["files"][1]["stored"], Value::Null);
    assert_eq!(report["digest"], Value::Null);
}

#[test]
fn inspect_html_is_one_harmless_page() {
    let mut f = fixture();
    f.sample.paths[0] = "/opt/<script>alert('1')</script>&\"\x1b[2J".into();
    f.put("evil", &f.sample.file());
    fs::write(f.path("page.html"), "an older one").unwrap();
    fs::set_permissions(f.path("page.html"), fs::Permissions::from_mode(0o644)).unwrap();
    let (out, _) = f.run(0, &["inspect", "evil", "--html", "page.html"]);
    assert_eq!(fs::metadata(f.path("page.html")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(out, "");
    let page = fs::read_to_string(f.path("page.html")).unwrap();
    assert!(page.contains("/opt/&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot;\\u{1b}[2J"), "{page}");
    for foreign in ["<script", "http:", "https:", "<link", "<img", "url(", "@import", "\x1b", "NaN", "inf"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert_eq!(page.matches("<rect").count(), 7 + 15, "a legend and a rectangle for each mapping");
    // Every element that is opened is closed.
    for element in ["html", "svg", "table", "tr", "td", "th", "title", "text", "h1", "h2", "style"] {
        let (open, close) = (format!("<{element}"), format!("</{element}>"));
        let opened = page.match_indices(&open).filter(|(at, _)| page[at + open.len()..].starts_with([' ', '>']));
        assert_eq!(opened.count(), page.matches(&close).count(), "{element}");
    }
}

#[test]
fn colours_only_on_a_terminal() {
    let f = fixture();
    assert!(!f.run(0, &["inspect", "fn"]).0.contains('\x1b'));
}

#[test]
fn a_snapshot_equals_itself_at_other_addresses() {
    let mut f = fixture();
    let a = f.json(&["diff", "fn", "fn", "--json"]);
    assert_eq!((&a["identical"], &a["pages_of_b_in_a"]), (&json!(true), &json!(PAGES)));
    f.sample.program += 0x5_0000_0000;
    f.sample.arena += 0x7_0000_0000;
    f.put("moved", &f.sample.file());
    let b = f.json(&["diff", "fn", "moved", "--json"]);
    assert_eq!(b["identical"], true, "{b:#}");
    assert_eq!(b["regions"], a["regions"]);
    assert!(f.run(0, &["diff", "fn", "moved"]).0.contains("nothing differs but addresses"));
}

#[test]
fn diff_counts_pages_by_region_and_names_the_rest() {
    let mut f = fixture();
    // Heap page 0 changed, heap page 1 now zeros, the library's data page now what heap page 0 was.
    f.sample.pages[2] = 99;
    f.sample.pages[3] = 0;
    f.sample.pages[8] = 3;
    f.sample.digests[2] = f.store.begin().unwrap().put_bytes(Kind::Data, &[9; 2 * PAGE as usize]).unwrap().digest;
    f.sample.cwd = "/".into();
    f.put("other", &f.sample.file());
    let d = f.json(&["diff", "fn", "other", "--json"]);
    assert_eq!(d["identical"], false);
    // Of B's contents 1 2 99 5 6 7 8 3, all but 99 are in A.
    assert_eq!((&d["b"]["stored_pages"], &d["pages_of_b_in_a"]), (&json!(8), &json!(7)));
    let row = |name: &str| d["regions"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap().clone();
    let counts =
        |name, same, changed| json!({"name": name, "same": same, "changed": changed, "only_a": 0, "only_b": 0});
    assert_eq!(row("[heap]"), counts("[heap]", 6, 2));
    assert_eq!(row("/usr/lib/libdemo.so.1"), counts("/usr/lib/libdemo.so.1", 9, 1));
    assert_eq!(row("/usr/share/demo.dat"), counts("/usr/share/demo.dat", 0, 2));
    assert_eq!(row("[stack]"), counts("[stack]", 32, 0));
    let what: Vec<(&str, &str)> = d["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| (change["what"].as_str().unwrap(), change["key"].as_str().unwrap()))
        .collect();
    assert_eq!(what, [("file", "/usr/share/demo.dat"), ("program", "directory")]);
    golden("diff.txt", &f.neutral(&f.run(0, &["diff", "fn", "other"]).0));
}

/// Stacks grow down: the same stack with more room below it is the same from its end.
#[test]
fn stacks_are_compared_from_their_end() {
    let f = fixture();
    let size = f.sample.file().len() as u64;
    let mut tables = f.sample.tables(size - PAGES as u64 * PAGE);
    let stack = tables.ops.iter_mut().find(|op| op.flags & OP_GROWSDOWN != 0).unwrap();
    stack.addr -= 8 * PAGE;
    stack.len += 8 * PAGE;
    let mut file = build(&tables, size).0;
    file.extend_from_slice(&f.sample.file()[file.len()..]);
    f.put("deep", &file);
    let d = f.json(&["diff", "fn", "deep", "--json"]);
    let row = d["regions"].as_array().unwrap().iter().find(|row| row["name"] == "[stack]").unwrap();
    assert_eq!(row, &json!({"name": "[stack]", "same": 32, "changed": 0, "only_a": 0, "only_b": 8}));
}

#[test]
fn hostile_files_give_one_line() {
    let f = fixture();
    let good = f.sample.file();
    let mut flipped = good.clone();
    flipped[2000] ^= 4;
    let mut version = good.clone();
    version[HEADER_OFFSET + 8] = 9;
    let mut machine = good.clone();
    machine[HEADER_OFFSET + 10] = 183;
    let mut endless = good.clone();
    endless[HEADER_OFFSET + 40..HEADER_OFFSET + 48].fill(0xff);
    let cases: [(&str, &[u8], &str); 9] = [
        ("empty", b"", "truncated"),
        ("short", &good[..300], "truncated"),
        ("cut", &good[..good.len() - 1], "bytes, its header says"),
        (
            "text",
            b"#!/bin/sh\nexit 0\n-------------------------------------------------------------------",
            "not a snapshot",
        ),
        ("elf", &code_file(4, 1, 5 * PAGE), "not a snapshot"),
        ("flipped", &flipped, "checksum"),
        ("version", &version, "version 9"),
        ("machine", &machine, "architecture"),
        ("endless", &endless, "limit"),
    ];
    for (name, bytes, what) in cases {
        let path = f.path(&format!("{name}.snap"));
        fs::write(&path, bytes).unwrap();
        let path = path.to_str().unwrap();
        for args in [&["inspect", path][..], &["inspect", "--json", path], &["diff", "fn", path], &["check", path]] {
            let (out, err) = f.run(1, args);
            assert_eq!(out, "");
            one_line(&err, what);
        }
    }
    fs::create_dir(f.path("dir.snap")).unwrap();
    assert!(Command::new("mkfifo").arg(f.path("fifo.snap")).status().unwrap().success());
    for (name, what) in [
        ("./none.snap", "No such file"),
        ("./dir.snap", "not a regular file"),
        ("./fifo.snap", "not a regular file"),
        ("/dev/zero", "not a regular file"),
        ("none", "no such snapshot"),
        ("registry.example/fn", "pull"),
        ("bad name", "character"),
        ("./\x1b[2J.snap", "\\u{1b}[2J"),
    ] {
        one_line(&f.run(1, &["inspect", name]).1, what);
    }
}

/// Forged addresses and lengths are printed, compared and drawn, and cost no time.
#[test]
fn forged_extents_are_harmless() {
    let f = fixture();
    let size = f.sample.file().len() as u64;
    let mut tables = f.sample.tables(size - PAGES as u64 * PAGE);
    let last = tables.ops.iter().rposition(|op| op.kind == OP_MAP_ANON).unwrap();
    tables.ops.truncate(last + 1);
    tables.ops[last].addr = 0x4900_0000_0000;
    tables.ops[last].len = 0x3000_0000_0000;
    tables.process.created = u64::MAX;
    tables.process.brk = 0x7fff_ffff_0000;
    tables.threads[0].regs[reg::PC] = 0x7fff_ffff_0000;
    let mut file = build(&tables, size).0;
    fix_checksum(&mut file);
    file.extend_from_slice(&f.sample.file()[file.len()..]);
    f.put("forged", &file);
    assert!(f.run(0, &["inspect", "forged"]).0.contains("48.0 TiB"));
    f.run(0, &["inspect", "forged", "--html", "page.html"]);
    let d = f.json(&["diff", "fn", "forged", "--json"]);
    let only_b = d["regions"].as_array().unwrap().iter().map(|row| row["only_b"].as_u64().unwrap()).max();
    assert_eq!(only_b, Some(0x3000_0000_0000 / PAGE));
}

#[test]
fn a_plan_that_repeats_its_pages_is_not_compared() {
    let f = fixture();
    let size = f.sample.file().len() as u64;
    let first_page = size - PAGES as u64 * PAGE;
    let mut tables = f.sample.tables(first_page + (1 << 20));
    let top = tables.ops.iter().map(|op| op.addr + op.len).max().unwrap();
    for index in 0..8000u64 {
        let addr = top + index * 16 * PAGE;
        tables.ops.push(Op {
            kind: OP_MAP_FILE,
            prot: 1,
            addr,
            len: 9 * PAGE,
            offset: first_page + (1 << 20),
            ..Op::default()
        });
    }
    let mut file = build(&tables, size + (1 << 20)).0;
    file.resize((size + (1 << 20)) as usize, 1);
    fs::write(f.path("repeat.snap"), file).unwrap();
    one_line(&f.run(1, &["diff", "fn", "repeat.snap"]).1, "again and again");
    f.run(0, &["inspect", "repeat.snap"]);
}

/// On every host the output of `check` is consistent, in both forms.
#[test]
fn check_says_what_this_host_can_do() {
    let f = fixture();
    let output = f.command(&["check", "--json"]).output().unwrap();
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ok = result["ok"].as_bool().unwrap();
    assert_eq!(output.status.code(), Some(if ok { 0 } else { 1 }));
    assert_eq!(result["host"]["page_size"], PAGE);
    assert_eq!(result["snapshot"], Value::Null);
    let behaviours = result["behaviours"].as_array().unwrap();
    let missing = |b: &&Value| b["result"] == "missing" && b["required"] != "optional";
    assert_eq!(behaviours.iter().filter(missing).count() == 0, ok);
    let (text, _) = check(if ok { 0 } else { 1 }, f.command(&["check"]).output().unwrap());
    for behaviour in behaviours {
        assert!(text.contains(behaviour["name"].as_str().unwrap()), "{text}");
    }
}

/// `check NAME` prints what concerns that snapshot, and with `-v` everything about the host.
#[test]
fn check_of_a_snapshot_is_about_that_snapshot() {
    let f = fixture();
    let all = f.command(&["check"]).output().unwrap();
    let all = String::from_utf8(all.stdout).unwrap();
    let host = |text: &str| text.lines().filter(|line| line.starts_with("ok ") && all.contains(*line)).count();
    assert!(host(&all) > 20, "{all}");
    let short = String::from_utf8(f.command(&["check", "fn"]).output().unwrap().stdout).unwrap();
    assert!(short.contains("requirements") && short.contains(" start this snapshot."), "{short}");
    assert_eq!(host(&short), 0, "{short}");
    let kernel = all.lines().find(|line| line.starts_with("kernel")).unwrap();
    assert!(!short.contains(kernel), "{short}");
    let long = String::from_utf8(f.command(&["check", "-v", "fn"]).output().unwrap().stdout).unwrap();
    assert!(long.contains(&short) && long.contains(kernel), "{long}");
    assert_eq!(host(&long), host(&all), "{long}");
}

/// The findings about a snapshot, by their subject.
fn findings(f: &Fixture, name: &str) -> Vec<(String, String)> {
    let output = f.command(&["check", name, "--json"]).output().unwrap();
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = result["snapshot"]["findings"].as_array().unwrap();
    let fails = findings.iter().any(|finding| finding["verdict"] == "fails");
    if fails {
        assert_eq!((output.status.code(), &result["ok"]), (Some(1), &json!(false)));
    }
    findings
        .iter()
        .filter(|finding| finding["verdict"] != "ok")
        .map(|finding| (finding["verdict"].as_str().unwrap().into(), finding["what"].as_str().unwrap().into()))
        .collect()
}

#[test]
fn check_of_a_snapshot_names_what_is_missing() {
    let mut f = fixture();
    // A host with all that the snapshot needs, and the very library installed. /etc/demo.conf is not there.
    let installed = |name: &str, bytes: &[u8]| {
        fs::write(f.path(name), bytes).unwrap();
        f.path(name).to_str().unwrap().to_string()
    };
    let own = fs::read(env!("CARGO_BIN_EXE_snapshotter")).unwrap();
    let (library, host) = (installed("own", &own), installed("map", &[0; PAGE as usize]));
    let split = snapfn_split::split_elf(&own).unwrap();
    let tx = f.store.begin().unwrap();
    tx.put_bytes(Kind::Code, &split.code.to_vec()).unwrap();
    drop(tx);
    f.sample.digests[1] = split.code_digest;
    f.sample.paths = [f.path("gone").display().to_string(), library.clone(), "/usr/share/demo.dat".into()];
    f.sample.host = host.clone();
    f.sample.cwd = f.dir.path().to_str().unwrap().into();
    let size = f.sample.file().len() as u64;
    let mut tables = f.sample.tables(size - PAGES as u64 * PAGE);
    tables.files[2].size = own.len() as u64;
    let mut file = build(&tables, size).0;
    file.extend_from_slice(&f.sample.file()[file.len()..]);
    f.put("fn", &file);
    let note = |what: &str| ("note".to_string(), what.to_string());
    let fails = |what: &str| ("fails".to_string(), what.to_string());
    let gone = f.sample.paths[0].clone();
    // The sample has no record of the CPU and kernel that it needs.
    assert_eq!(findings(&f, "fn"), [note("requirements"), fails("open file"), note(&gone)]);

    // Another version of the library, a file cut short, the data file and the directory gone, registers of no CPU.
    fs::write(&library, code_file(8, 2, SIZES[1])).unwrap();
    let data = f.sample.digests[2];
    fs::remove_file(f.store.path(Kind::Data, data)).unwrap();
    fs::remove_file(&host).unwrap();
    let code = f.store.path(Kind::Code, f.sample.digests[0]);
    fs::remove_file(&code).unwrap();
    fs::write(&code, b"short").unwrap();
    f.sample.cwd = f.path("nowhere").to_str().unwrap().into();
    f.sample.xfeatures = 7 | 1 << 61;
    let mut tables = f.sample.tables(size - PAGES as u64 * PAGE);
    tables.files[2].size = own.len() as u64;
    let mut file = build(&tables, size).0;
    file.extend_from_slice(&f.sample.file()[file.len()..]);
    f.put("fn", &file);
    let wanted = [
        fails("registers"),
        note("requirements"),
        fails(&format!("code/{} ({gone})", f.sample.digests[0])),
        fails(&format!("data/{data} (/usr/share/demo.dat)")),
        fails("mapped file"),
        fails("open file"),
        fails("working directory"),
        note(&gone),
        note(&library),
    ];
    assert_eq!(findings(&f, "fn"), wanted);
}

/// The copy differs in the paths, in what finds them, and in the sizes. It is still a valid snapshot.
#[test]
fn core_names_the_files_of_the_store() {
    let f = fixture();
    // Only the owner may read memory, even if the copy replaces a file for all.
    fs::write(f.path("fn.core"), "an older one").unwrap();
    f.run(0, &["core", "fn", "-o", "fn.core"]);
    assert_eq!(fs::metadata(f.path("fn.core")).unwrap().permissions().mode() & 0o777, 0o600);
    let (before, after) = (f.sample.file(), fs::read(f.path("fn.core")).unwrap());
    assert!(after.len() > before.len());
    let elf = goblin::elf::Elf::parse(&after).unwrap();
    let headers: Vec<_> = elf.program_headers.iter().collect();
    assert_eq!(headers.len(), 2);
    assert_eq!(headers[0].p_offset, 64);
    let notes: Vec<_> = elf.iter_note_headers(&after).unwrap().map(Result::unwrap).collect();
    let files = notes.iter().find(|note| note.n_type == 0x4649_4c45).unwrap().desc;
    let text = String::from_utf8_lossy(files);
    let paths: Vec<&str> = text.trim_end_matches('\0').rsplitn(4, '\0').take(3).collect();
    let stored = |index: usize| f.store.path(Kind::Code, f.sample.digests[index]).display().to_string();
    assert_eq!(paths[0], f.sample.host);
    assert_eq!(paths[1], stored(1));
    assert!(paths[2].ends_with(&stored(0)), "{paths:?}");
    assert_eq!(notes.iter().filter(|note| note.name == "CORE").count(), 3);
    // All other parts keep their offsets.
    let pages = before.len() - PAGES * PAGE as usize;
    assert!(before[pages..] == after[pages..before.len()]);
    let d = f.json(&["diff", "fn", "./fn.core", "--json"]);
    assert_eq!(d["identical"], true);
    assert_eq!(fs::read_dir(f.dir.path()).unwrap().count(), 3, "nothing but the store, the copy and the commands");
    let commands = fs::read_to_string(f.path("fn.core.gdb")).unwrap();
    let wanted = format!(
        "set confirm off\ncore-file {}\nadd-symbol-file {} -o {:#x}\nadd-symbol-file {} -o {:#x}\n",
        f.path("fn.core").display(),
        stored(0),
        f.sample.program,
        stored(1),
        f.sample.arena
    );
    assert_eq!(commands, wanted);
}

#[test]
fn core_refuses_what_has_no_sound_notes() {
    let f = fixture();
    let good = f.sample.file();
    let headers = u64::from_le_bytes(good[32..40].try_into().unwrap()) as usize;
    let mut none = good.clone();
    none[headers + 56] = 1;
    let mut outside = good.clone();
    outside[headers + 56 + 15] = 0xff;
    let mut damaged = good.clone();
    damaged[headers + 112 + 4] = 0xff;
    for (bytes, what) in [(none, "no notes"), (outside, "outside"), (damaged, "damaged")] {
        fs::write(f.path("bad.snap"), bytes).unwrap();
        one_line(&f.run(1, &["core", "bad.snap", "-o", "out"]).1, what);
        assert!(!f.path("out").exists());
    }
    one_line(&f.run(1, &["core", "fn", "-o", "/nonexistent/out"]).1, "No such file");
    one_line(&f.run(1, &["core", "fn", "-o", "a\nshell id"]).1, "a\\nshell id: gdb needs a path");
}

#[test]
fn generate_writes_what_the_installer_needs() {
    let f = fixture();
    for (what, file, content) in [
        ("man", "snapshotter.1", ".TH snapshotter"),
        ("man", "snapshotter-inspect.1", "html"),
        ("bash", "snapshotter.bash", "inspect"),
        ("zsh", "_snapshotter", "inspect"),
        ("fish", "snapshotter.fish", "inspect"),
    ] {
        f.run(0, &["generate", what, f.dir.path().to_str().unwrap()]);
        assert!(fs::read_to_string(f.path(file)).unwrap().contains(content), "{file}");
    }
    one_line(&f.run(1, &["generate", "man", "/nonexistent"]).1, "/nonexistent");
}

/// A snapshot may name any path: `check` does not open it, so that nothing happens to the file. To open a FIFO would
/// let its writer go on.
#[test]
fn paths_of_a_snapshot_are_only_looked_at() {
    let mut f = fixture();
    let fifo = f.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let name = fifo.to_string_lossy().into_owned();
    f.sample = Sample { paths: [(); 3].map(|()| name.clone()), host: name, ..f.sample };
    f.put("hostile", &f.sample.file());
    let went_on = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let opened = fs::OpenOptions::new().write(true).open(&fifo);
            went_on.store(true, std::sync::atomic::Ordering::SeqCst);
            opened.unwrap();
        });
        let commands = [&["check", "hostile"][..], &["inspect", "hostile"], &["diff", "hostile", "fn"]];
        let opened = commands.map(|args| {
            f.command(args).output().unwrap();
            std::thread::sleep(std::time::Duration::from_millis(50));
            went_on.load(std::sync::atomic::Ordering::SeqCst)
        });
        // Opening it for both ways does not wait, and the writer goes on now.
        fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
        assert_eq!(opened, [false; 3], "whether {commands:?} have opened it");
    });
}

#[test]
fn inspect_html_follows_no_link() {
    let f = fixture();
    fs::write(f.path("victim"), "kept").unwrap();
    std::os::unix::fs::symlink(f.path("victim"), f.path("page.html")).unwrap();
    let (_, err) = f.run(1, &["inspect", "fn", "--html", "page.html"]);
    one_line(&err, "symbolic link");
    assert_eq!(fs::read(f.path("victim")).unwrap(), b"kept");
    std::os::unix::fs::symlink(f.path("nowhere"), f.path("dangling.html")).unwrap();
    f.run(1, &["inspect", "fn", "--html", "dangling.html"]);
    assert!(!f.path("nowhere").exists());
    let page = f.command(&["inspect", "fn", "--html", "/dev/stdout"]).output().unwrap();
    assert!(page.status.success() && page.stdout.starts_with(b"<!DOCTYPE html>"));
}
