//! What an ordinary start would have new is new in every instance.
//!
//! `SNAPFN_UNIQUE_INSTANCES` is the number of instances of each program, 200 without it; `scripts/uniqueness.sh` runs
//! 1,000.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use snapfn_tests::bench::Bench;
use snapfn_tests::place::{self, PYTHON, has_python, skip};
use snapfn_tests::run::{Outcome, is_root};

const MUSL: &str = "/usr/lib/x86_64-linux-musl/musl-gcc.specs";

/// Before the source, where the linker would drop a library that nothing has asked for yet.
const LINKED: &[&str] = &["-O2", "-Wl,--no-as-needed", "-lcrypto"];

fn count() -> usize {
    std::env::var("SNAPFN_UNIQUE_INSTANCES").map_or(200, |count| count.parse().unwrap())
}

fn source(name: &str) -> String {
    std::fs::read_to_string(place::tests().join("safety/uniqueness").join(name)).unwrap()
}

fn created(bench: &Bench, args: &[&str]) -> Outcome {
    bench.created(args).unwrap()
}

/// Starts instances and collects what they print as `NAME VALUE`; every value of every name must be the only one.
fn all_differ(bench: &Bench, name: &str, draws: &[&str]) {
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for number in 0..count() {
        let outcome = bench.snaprun(&[name]).run().unwrap();
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
        let bench = Bench::new().unwrap();
        bench.snapshot(name, &source("kernel.c"), flags, "ready").unwrap();
        let mut draws = vec!["getrandom", "getentropy", "at_random", "canary", "generation", "hook"];
        if name.starts_with("glibc") {
            draws.push("arc4random");
        }
        all_differ(&bench, name, &draws);
    }
}

#[test]
fn openssl() {
    if !Path::new("/usr/include/openssl/rand.h").exists() {
        return skip("libssl-dev is not installed");
    }
    let bench = Bench::new().unwrap();
    bench.snapshot("openssl", &source("openssl.c"), LINKED, "ready").unwrap();
    all_differ(&bench, "openssl", &["public", "private"]);
}

/// OpenSSL tells a new process by its ID. In another PID namespace an instance can have the very ID of the snapshot.
/// `flags` are those with which openssl.c is compiled.
fn openssl_as_the_snapshot(bench: &Bench, flags: &[&str]) {
    if !is_root() {
        return skip("a PID namespace with chosen IDs takes root");
    }
    let exe = bench.compile("openssl", &source("openssl.c"), flags).unwrap();
    let snapshotter = bench.command("snapshotter", &["create", "--tag", "same", "--at", "ready", "--", &exe]);
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
    let report = bench.snapshotter(&["inspect", "same", "--json"]).unwrap().out();
    let pid = report.split("\"pid\": ").nth(1).and_then(|rest| rest.split(',').next()).unwrap().trim().to_owned();
    let pid: u32 = pid.parse().unwrap();
    let snaprun = bench.snaprun(&[]).argv.remove(0);
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
    openssl_as_the_snapshot(&Bench::new().unwrap(), LINKED);
}

const ARCHIVE: &str = "/usr/lib/x86_64-linux-gnu/libcrypto.a";

/// Before the source, where the linker would take nothing from an archive that nothing has asked for yet.
const FROM_ARCHIVE: &[&str] = &["-O2", "-u", "RAND_bytes", "-u", "RAND_priv_bytes", ARCHIVE];

#[test]
fn openssl_in_a_stripped_static_program() {
    if !Path::new(ARCHIVE).exists() {
        return skip("libssl-dev is not installed");
    }
    openssl_as_the_snapshot(&Bench::new().unwrap(), &[FROM_ARCHIVE, &["-static", "-s"]].concat());
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
    let bench = Bench::new().unwrap();
    let hidden = ["-shared", "-fPIC", "-s", "-Wl,--exclude-libs,ALL"];
    let library = bench.compile("wrapper.so", wrapper, &[FROM_ARCHIVE, &hidden].concat()).unwrap();
    let own = ["-DRAND_bytes=own_bytes", "-DRAND_priv_bytes=own_priv_bytes"];
    openssl_as_the_snapshot(&bench, &[&own[..], &["-O2", "-Wl,--no-as-needed", &library]].concat());
}

/// As packages bring along a copy of their own.
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
    let bench = Bench::new().unwrap();
    let file = bench.out().join("librandom.so.3");
    std::fs::write(&file, library).unwrap();
    let rpath = format!("-Wl,--no-as-needed,-rpath,{}", bench.out().display());
    openssl_as_the_snapshot(&bench, &["-O2", &rpath, file.to_str().unwrap()]);
}

#[test]
fn cxx_random_device() {
    let bench = Bench::new().unwrap();
    let file = place::tests().join("safety/uniqueness/device.cc");
    let exe = bench.out().join("device");
    let built =
        Command::new(place::driver(true, &bench.out())).args(["-O2", "-o"]).arg(&exe).arg(file).status().unwrap();
    assert!(built.success());
    created(&bench, &["--tag", "device", "--at", "ready", "--", exe.to_str().unwrap()]);
    all_differ(&bench, "device", &["random_device", "urandom", "mt19937", "later"]);
}

#[test]
fn python() {
    if !has_python() {
        return;
    }
    let bench = Bench::new().unwrap();
    let script = place::tests().join("safety/uniqueness/draws.py");
    let path = format!("PYTHONPATH={}", place::root().join("examples/python").display());
    let made = created(
        &bench,
        &["--tag", "draws", "--at", "ready", "--env", &path, "--", PYTHON, "-B", script.to_str().unwrap()],
    );
    assert_eq!(made.err(), "", "{made}");
    let mut draws =
        vec!["random", "secrets", "uuid4", "uuid1", "ssl", "sqlite", "urandom", "tempfile", "authkey", "hook"];
    let has_numpy = Command::new(PYTHON).args(["-c", "import numpy"]).output().is_ok_and(|o| o.status.success());
    if has_numpy {
        draws.extend(["numpy", "default_rng"]);
    } else {
        skip("python3-numpy is not installed");
    }
    all_differ(&bench, "draws", &draws);
}

/// The notes of `create` and `check` about a program that maps a file with the name of a known library.
fn notes(flags: &[&str], source: &str) -> [bool; 2] {
    let bench = Bench::new().unwrap();
    let library = bench.out().join("libgsl.so.27");
    std::fs::write(bench.out().join("gsl.c"), "int known(void) { return 1; }").unwrap();
    let mut build = Command::new(place::driver(false, &bench.out()));
    build.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(bench.out().join("gsl.c"));
    assert!(build.status().unwrap().success());
    let rpath = format!("-Wl,--no-as-needed,-rpath,{}", bench.out().display());
    let flags = [flags, &[&rpath, library.to_str().unwrap()]].concat();
    let exe = bench.compile("known", source, &flags).unwrap();
    let made = created(&bench, &["--tag", "known", "--", &exe]);
    let checked = bench.snapshotter(&["check", "known"]).unwrap();
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

/// `snapfn.ready()` seeds Python's own generators; of others, `snapfn.on_restore` tells.
#[test]
fn known_generators_in_python_are_named() {
    if !has_python() {
        return;
    }
    let bench = Bench::new().unwrap();
    let path = format!("PYTHONPATH={}", place::root().join("examples/python").display());
    let load = "import snapfn, ctypes; ctypes.CDLL('./libgnutls.so.30');";
    let built = bench.compile("other", "int main(void) { return 0; }", &["-shared", "-fPIC"]).unwrap();
    std::fs::rename(built, bench.work().join("libgnutls.so.30")).unwrap();
    let cases = [
        ("pass", "main", true, false),
        ("snapfn.ready()", "ready", false, true),
        ("snapfn.on_restore(print); snapfn.ready()", "ready", false, false),
    ];
    for (program, at, python, gnutls) in cases {
        let program = if at == "main" { program.to_owned() } else { format!("{load} {program}") };
        let made = created(&bench, &["--tag", "named", "--at", at, "--env", &path, "--", PYTHON, "-B", "-c", &program]);
        let checked = bench.snapshotter(&["check", "named"]).unwrap();
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
    let source = r#"
        #include <snap.h>
        #include <sqlite3.h>
        #include <stdio.h>
        static int draw(void *name, int columns, char **values, char **names) {
            (void)columns, (void)names;
            if (name) printf("%s %s\n", (char *)name, values[0]);
            return 0;
        }
        static void reseed(void *arg) {
            (void)arg;
            sqlite3_randomness(0, NULL);
        }
        int main(void) {
            sqlite3 *database;
            sqlite3_open(":memory:", &database);
            sqlite3_exec(database, "SELECT random()", draw, NULL, NULL);
            snap_on_restore(reseed, NULL);
            snap_ready();
            sqlite3_exec(database, "SELECT hex(randomblob(8))", draw, "randomblob", NULL);
            return 0;
        }"#;
    let bench = Bench::new().unwrap();
    bench.snapshot("sqlite", source, &["-O2", "-Wl,--no-as-needed", "-lsqlite3"], "ready").unwrap();
    all_differ(&bench, "sqlite", &["randomblob"]);
}

/// Twenty protected frames are live in each of five threads; every one returns.
#[test]
fn canaries_of_live_frames_in_all_threads() {
    let source = r#"
        #include <pthread.h>
        #include <snap.h>
        #include <stdio.h>
        #include <string.h>
        #include <unistd.h>
        static pthread_barrier_t ready, go;
        static unsigned long canaries[5];
        static unsigned long canary(void) {
            unsigned long value;
            __asm__ volatile("mov %%fs:0x28, %0" : "=r"(value));
            return value;
        }
        __attribute__((noinline)) static int deep(int n, int who) {
            volatile char buffer[64];
            memset((char *)buffer, n, sizeof buffer);
            if (n == 0) {
                if (who == 0) {
                    pthread_barrier_wait(&ready);
                    usleep(50000);
                    if (!snap_ready()) return 0;
                    pthread_barrier_wait(&go);
                } else {
                    pthread_barrier_wait(&ready);
                    pthread_barrier_wait(&go);
                }
                canaries[who] = canary();
                return buffer[5];
            }
            int below = deep(n - 1, who);
            return below + buffer[63];
        }
        static void *run(void *arg) {
            return (void *)(long)deep(20, (int)(long)arg);
        }
        int main(void) {
            pthread_t threads[4];
            void *sum;
            pthread_barrier_init(&ready, 0, 5);
            pthread_barrier_init(&go, 0, 5);
            for (long i = 0; i < 4; i++) pthread_create(&threads[i], 0, run, (void *)(i + 1));
            int total = deep(20, 0);
            for (int i = 0; i < 4; i++) pthread_join(threads[i], &sum), total += (int)(long)sum;
            for (int i = 1; i < 5; i++)
                if (canaries[i] != canaries[0]) return 3;
            printf("%d %016lx\n", total, canaries[0]);
            return 0;
        }"#;
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
        let bench = Bench::new().unwrap();
        let flags = [&["-O1", "-fstack-protector-all", "-pthread"], flags].concat();
        bench.snapshot(name, source, &flags, "ready").unwrap();
        let mut seen = BTreeSet::new();
        for _ in 0..5 {
            let outcome = bench.snaprun(&[name]).run().unwrap();
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
    let source = r#"
        #define _GNU_SOURCE
        #include <snap.h>
        #include <stdio.h>
        #include <string.h>
        #include <sys/mman.h>
        #include <sys/wait.h>
        #include <unistd.h>
        static const char *zero(const unsigned char *at) {
            for (int i = 0; i < 8192; i++)
                if (at[i]) return "filled";
            return "zero";
        }
        static const char *flag(const void *at, const char *wanted) {
            char line[512], *end;
            FILE *maps = fopen("/proc/self/smaps", "r");
            int inside = 0;
            while (fgets(line, sizeof line, maps)) {
                unsigned long from, to;
                if (sscanf(line, "%lx-%lx ", &from, &to) == 2) inside = (unsigned long)at >= from && (unsigned long)at < to;
                else if (inside && !strncmp(line, "VmFlags:", 8)) {
                    end = strstr(line, wanted);
                    fclose(maps);
                    return end ? wanted : "no flag";
                }
            }
            return "no line";
        }
        int main(void) {
            int prot = PROT_READ | PROT_WRITE;
            unsigned char *wipe = mmap(0, 8192, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            unsigned char *drop = mmap(0, 8192, prot, 0x08 /* MAP_DROPPABLE */ | MAP_ANONYMOUS, -1, 0);
            madvise(wipe, 8192, MADV_WIPEONFORK);
            memset(wipe, 'w', 8192);
            if (drop != MAP_FAILED) memset(drop, 'd', 8192);
            if (!snap_ready()) return 0;
            printf("wipe %s %s\n", zero(wipe), flag(wipe, "wf"));
            if (drop == MAP_FAILED) puts("drop none");
            else printf("drop %s %s\n", zero(drop), flag(drop, "dp"));
            memset(wipe, 'x', 8192);
            if (fork() == 0) _exit(strcmp(zero(wipe), "zero") != 0);
            int status;
            wait(&status);
            printf("child %d\n", status);
            return 0;
        }"#;
    let bench = Bench::new().unwrap();
    bench.snapshot("wiped", source, &["-O1"], "ready").unwrap();
    let outcome = bench.snaprun(&["wiped"]).run().unwrap();
    let out = outcome.out();
    assert!(out.starts_with("wipe zero wf\n") && out.ends_with("child 0\n"), "{outcome}");
    if out.contains("drop none") {
        return skip("MAP_DROPPABLE needs Linux 6.11");
    }
    assert!(out.contains("drop zero dp\n"), "{outcome}");
}
