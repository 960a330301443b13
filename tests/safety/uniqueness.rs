//! Values that are new in an ordinary start are new in every instance.
//!
//! `SNAPFN_UNIQUE_INSTANCES` is the number of instances of each program (default: 200); `scripts/uniqueness.sh` runs
//! 1,000.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use snapfn_tests::place::{self, PYTHON, has_python, skip};
use snapfn_tests::run::is_root;
use snapfn_tests::workspace::Workspace;

const MUSL: &str = "/usr/lib/x86_64-linux-musl/musl-gcc.specs";

/// These flags come before the source, where the linker would drop a library that no object needs yet.
const LINKED: &[&str] = &["-O2", "-Wl,--no-as-needed", "-lcrypto"];

fn count() -> usize {
    std::env::var("SNAPFN_UNIQUE_INSTANCES").map_or(200, |count| count.parse().unwrap())
}

fn source(name: &str) -> String {
    std::fs::read_to_string(place::tests().join("safety/uniqueness").join(name)).unwrap()
}

/// Starts instances and collects what they print as `NAME VALUE`; every value of every name must be the only one.
fn all_differ(workspace: &Workspace, name: &str, draws: &[&str]) {
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for number in 0..count() {
        let outcome = workspace.snaprun(&[name]).run();
        assert_eq!(outcome.status, "0", "{outcome}");
        for (draw, value) in outcome.out().lines().filter_map(|line| line.split_once(' ')) {
            let new = seen.entry(draw.to_owned()).or_default().insert(value.to_owned());
            assert!(new, "{name}: instance {number} has drawn {draw} {value} like one before");
        }
    }
    let names: Vec<&str> = seen.keys().map(String::as_str).collect();
    for draw in draws {
        assert!(names.contains(draw), "{name} has not drawn {draw}, only {names:?}");
    }
}

#[test]
fn c_library() {
    let variants: [(&str, &[&str]); 4] = [
        ("glibc", &["-O2"]),
        ("glibc-static", &["-O2", "-static"]),
        ("musl", &["-O2", "-specs", MUSL]),
        ("musl-static", &["-O2", "-static", "-specs", MUSL]),
    ];
    for (name, flags) in variants {
        if name.contains("musl") && !Path::new(MUSL).exists() {
            skip("musl-tools is not installed");
            continue;
        }
        let workspace = Workspace::new();
        workspace.snapshot(name, &source("kernel.c"), flags, "ready");
        let mut draws = vec!["getrandom", "getentropy", "at_random", "canary", "generation", "hook"];
        if name.starts_with("glibc") {
            draws.push("arc4random");
        }
        all_differ(&workspace, name, &draws);
    }
}

#[test]
fn openssl() {
    if !Path::new("/usr/include/openssl/rand.h").exists() {
        return skip("libssl-dev is not installed");
    }
    let workspace = Workspace::new();
    workspace.snapshot("openssl", &source("openssl.c"), LINKED, "ready");
    all_differ(&workspace, "openssl", &["public", "private"]);
}

/// OpenSSL detects a new process by its ID. In another PID namespace an instance can have the ID of the snapshot.
/// `flags` are those with which openssl.c is compiled.
fn openssl_as_the_snapshot(workspace: &Workspace, flags: &[&str]) {
    if !is_root() {
        return skip("a PID namespace with chosen IDs takes root");
    }
    let exe = workspace.compile("openssl", &source("openssl.c"), flags);
    let snapshotter = workspace.command("snapshotter", &["create", "--tag", "same", "--at", "ready", "--", &exe]);
    let namespace = |words: &[String]| {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc", "--"]).args(words);
        let output = command.env_clear().envs(snapshotter.env.clone()).current_dir("/").output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let (good, _, err) = namespace(&snapshotter.argv);
    if !good && err.contains("unshare") {
        return skip(&err);
    }
    assert!(good, "{err}");
    let report = workspace.snapshotter(&["inspect", "same", "--json"]).out();
    let pid = report.split("\"pid\": ").nth(1).and_then(|rest| rest.split(',').next()).unwrap().trim().to_owned();
    let pid: u32 = pid.parse().unwrap();
    let snaprun = workspace.snaprun(&[]).argv.remove(0);
    let script = format!(
        "echo {} > /proc/sys/kernel/ns_last_pid; {snaprun} same & child=$!; wait $child; echo pid $child",
        pid - 1
    );
    let words = ["sh", "-c", &script].map(str::to_owned);
    let mut seen = BTreeSet::new();
    for _ in 0..10 {
        let (good, out, err) = namespace(&words);
        assert!(good && out.contains(&format!("pid {pid}\n")), "{out}{err}");
        for line in out.lines().filter(|line| line.starts_with("p") && line.len() > 30) {
            assert!(seen.insert(line.to_owned()), "{line}");
        }
    }
    assert_eq!(seen.len(), 20, "{seen:?}");
}

#[test]
fn openssl_with_the_process_id_of_the_snapshot() {
    if !Path::new("/usr/include/openssl/rand.h").exists() {
        return skip("libssl-dev is not installed");
    }
    openssl_as_the_snapshot(&Workspace::new(), LINKED);
}

const ARCHIVE: &str = "/usr/lib/x86_64-linux-gnu/libcrypto.a";

/// These flags come before the source, where the linker would use nothing from an archive that no object needs yet.
const FROM_ARCHIVE: &[&str] = &["-O2", "-u", "RAND_bytes", "-u", "RAND_priv_bytes", ARCHIVE];

#[test]
fn openssl_in_a_stripped_static_program() {
    if !Path::new(ARCHIVE).exists() {
        return skip("libssl-dev is not installed");
    }
    openssl_as_the_snapshot(&Workspace::new(), &[FROM_ARCHIVE, &["-static", "-s"]].concat());
}

#[test]
fn openssl_hidden_in_a_library() {
    if !Path::new(ARCHIVE).exists() {
        return skip("libssl-dev is not installed");
    }
    let wrapper = r#"
        #include <openssl/rand.h>
        int own_bytes(unsigned char *to, int len) { return RAND_bytes(to, len); }
        int own_priv_bytes(unsigned char *to, int len) { return RAND_priv_bytes(to, len); }"#;
    let workspace = Workspace::new();
    let hidden = ["-shared", "-fPIC", "-s", "-Wl,--exclude-libs,ALL"];
    let library = workspace.compile("wrapper.so", wrapper, &[FROM_ARCHIVE, &hidden].concat());
    let own = ["-DRAND_bytes=own_bytes", "-DRAND_priv_bytes=own_priv_bytes"];
    openssl_as_the_snapshot(&workspace, &[&own[..], &["-O2", "-Wl,--no-as-needed", &library]].concat());
}

/// Some packages bring a copy of their own.
#[test]
fn openssl_under_another_name() {
    let Ok(mut library) = std::fs::read("/usr/lib/x86_64-linux-gnu/libcrypto.so.3") else {
        return skip("libssl3 is not installed");
    };
    if !Path::new("/usr/include/openssl/rand.h").exists() {
        return skip("libssl-dev is not installed");
    }
    let (name, other) = (b"libcrypto.so.3\0", b"librandom.so.3\0");
    let places: Vec<_> = (0..library.len()).filter(|at| library[*at..].starts_with(name)).collect();
    for at in places {
        library[at..at + other.len()].copy_from_slice(other);
    }
    let workspace = Workspace::new();
    let file = workspace.out().join("librandom.so.3");
    std::fs::write(&file, library).unwrap();
    let rpath = format!("-Wl,--no-as-needed,-rpath,{}", workspace.out().display());
    openssl_as_the_snapshot(&workspace, &["-O2", &rpath, file.to_str().unwrap()]);
}

#[test]
fn cxx_random_device() {
    let workspace = Workspace::new();
    let file = place::tests().join("safety/uniqueness/device.cc");
    let exe = workspace.out().join("device");
    let built =
        Command::new(place::driver(true, &workspace.out())).args(["-O2", "-o"]).arg(&exe).arg(file).status().unwrap();
    assert!(built.success());
    workspace.created(&["--tag", "device", "--at", "ready", "--", exe.to_str().unwrap()]);
    all_differ(&workspace, "device", &["random_device", "urandom", "mt19937", "later"]);
}

#[test]
fn python() {
    if !has_python() {
        return;
    }
    let workspace = Workspace::new();
    let script = place::tests().join("safety/uniqueness/draws.py");
    let path = format!("PYTHONPATH={}", place::root().join("python/src").display());
    let made = workspace.created(&[
        "--tag",
        "draws",
        "--at",
        "ready",
        "--env",
        &path,
        "--",
        PYTHON,
        "-B",
        script.to_str().unwrap(),
    ]);
    // The interpreter keeps the ID of its first thread, which the package renews.
    let notes: Vec<String> =
        made.err().lines().filter(|line| !line.contains("equal the process ID")).map(Into::into).collect();
    assert!(notes.is_empty(), "{made}");
    let mut draws =
        vec!["random", "secrets", "uuid4", "uuid1", "ssl", "sqlite", "urandom", "tempfile", "authkey", "hook"];
    let has_numpy = Command::new(PYTHON).args(["-c", "import numpy"]).output().is_ok_and(|o| o.status.success());
    if has_numpy {
        draws.extend(["numpy", "default_rng"]);
    } else {
        skip("python3-numpy is not installed");
    }
    all_differ(&workspace, "draws", &draws);
}

/// The notes of `create` and `check` about a program that maps a file with the name of a known library.
fn notes(flags: &[&str], source: &str) -> [bool; 2] {
    let workspace = Workspace::new();
    let library = workspace.out().join("libgsl.so.27");
    std::fs::write(workspace.out().join("gsl.c"), "int known(void) { return 1; }").unwrap();
    let mut build = Command::new(place::driver(false, &workspace.out()));
    build.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(workspace.out().join("gsl.c"));
    assert!(build.status().unwrap().success());
    let rpath = format!("-Wl,--no-as-needed,-rpath,{}", workspace.out().display());
    let flags = [flags, &[&rpath, library.to_str().unwrap()]].concat();
    let exe = workspace.compile("known", source, &flags);
    let made = workspace.created(&["--tag", "known", "--", &exe]);
    let checked = workspace.snapshotter(&["check", "known"]);
    [made.err(), checked.out()].map(|text| text.contains("gsl_rng_set()"))
}

#[test]
fn known_generators_without_a_hook_are_named() {
    let source = r#"
        #include <snap.h>
        static void hook(void *arg) { (void)arg; }
        int main(void) {
        #ifdef HOOK
            snap_on_restore(hook, 0);
        #endif
        #ifdef READY
            snap_ready();
        #endif
            return (long)hook == 1;
        }"#;
    assert_eq!(notes(&["-O2"], source), [true, true], "no snap_ready()");
    assert_eq!(notes(&["-O2", "-DREADY"], source), [true, true], "snap_ready() and no hook");
    assert_eq!(notes(&["-O2", "-DREADY", "-DHOOK"], source), [false, false], "a hook");
}

/// `snapfn.ready()` seeds Python's own generators; `snapfn.on_restore` is for others.
#[test]
fn known_generators_in_python_are_named() {
    if !has_python() {
        return;
    }
    let workspace = Workspace::new();
    let path = format!("PYTHONPATH={}", place::root().join("python/src").display());
    let load = "import snapfn, ctypes; ctypes.CDLL('./libgnutls.so.30');";
    let built = workspace.compile("other", "int main(void) { return 0; }", &["-shared", "-fPIC"]);
    std::fs::rename(built, workspace.work().join("libgnutls.so.30")).unwrap();
    let cases = [
        ("pass", "main", true, false),
        ("snapfn.ready()", "ready", false, true),
        ("snapfn.on_restore(print); snapfn.ready()", "ready", false, false),
    ];
    for (program, at, python, gnutls) in cases {
        let program = if at == "main" { program.to_owned() } else { format!("{load} {program}") };
        let made =
            workspace.created(&["--tag", "named", "--at", at, "--env", &path, "--", PYTHON, "-B", "-c", &program]);
        let checked = workspace.snapshotter(&["check", "named"]);
        for text in [made.err(), checked.out()] {
            assert_eq!(text.contains("random.seed()"), python, "{program}: {text}");
            assert_eq!(text.contains("gnutls_rnd_refresh()"), gnutls, "{program}: {text}");
        }
    }
}

#[test]
fn sqlite() {
    if !Path::new("/usr/include/sqlite3.h").exists() {
        return skip("libsqlite3-dev is not installed");
    }
    let source = include_str!("uniqueness/sqlite.c");
    let workspace = Workspace::new();
    workspace.snapshot("sqlite", source, &["-O2", "-Wl,--no-as-needed", "-lsqlite3"], "ready");
    all_differ(&workspace, "sqlite", &["randomblob"]);
}

/// Twenty protected frames are live in each of five threads; every one returns.
#[test]
fn canaries_of_live_frames_in_all_threads() {
    let source = include_str!("uniqueness/frames.c");
    let variants: [(&str, &[&str]); 4] = [
        ("glibc", &[]),
        ("static", &["-static"]),
        ("musl", &["-specs", MUSL]),
        ("musl-static", &["-static", "-specs", MUSL]),
    ];
    for (name, flags) in variants {
        if name.contains("musl") && !Path::new(MUSL).exists() {
            continue;
        }
        let workspace = Workspace::new();
        let flags = [&["-O1", "-fstack-protector-all", "-pthread"], flags].concat();
        workspace.snapshot(name, source, &flags, "ready");
        let mut seen = BTreeSet::new();
        for _ in 0..5 {
            let outcome = workspace.snaprun(&[name]).run();
            assert_eq!(outcome.status, "0", "{name}: {outcome}");
            let out = outcome.out();
            let (sum, canary) = out.trim().split_once(' ').unwrap();
            assert_eq!(sum, (5 * (0..=20).sum::<i32>()).to_string(), "{name}");
            assert!(seen.insert(canary.to_owned()), "{name}: {canary} twice");
        }
    }
}

/// Memory that the kernel empties in a child or under pressure is empty in an instance, and keeps these attributes.
#[test]
fn memory_that_must_not_be_copied_is_zero() {
    let source = include_str!("uniqueness/wiped.c");
    let workspace = Workspace::new();
    workspace.snapshot("wiped", source, &["-O1"], "ready");
    let outcome = workspace.snaprun(&["wiped"]).run();
    let out = outcome.out();
    assert!(out.starts_with("wipe zero wf\n") && out.ends_with("child 0\n"), "{outcome}");
    if out.contains("drop none") {
        return skip("MAP_DROPPABLE needs Linux 6.11");
    }
    assert!(out.contains("drop zero dp\n"), "{outcome}");
}
