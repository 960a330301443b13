//! `create` proves that its snapshot can be started here before the snapshot gets a name.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use snapfn_tests::place::{self, skip};
use snapfn_tests::run::{Run, is_root};
use snapfn_tests::workspace::Workspace;

/// The programs in a directory that the plain user reaches.
fn copies(workspace: &Workspace, names: &[&str]) -> PathBuf {
    let bin = workspace.out().join("bin");
    fs::create_dir(&bin).unwrap();
    for name in names {
        fs::copy(place::binary(name), bin.join(name)).unwrap();
    }
    bin
}

/// Nobody can open the file again, which only an attempt shows: not even its owner, who has it open.
#[test]
fn what_cannot_be_started_here_is_not_stored() {
    let workspace = Workspace::new();
    let source = r#"
        #include <fcntl.h>
        #include <snap.h>
        #include <stdio.h>
        #include <sys/stat.h>
        int main(void) {
            int fd = open("closed", O_RDWR | O_CREAT, 0600);
            if (fd < 0 || fchmod(fd, 0)) return 1;
            snap_ready();
            return puts("went on") < 0;
        }"#;
    let exe = workspace.compile("closed", source, &["-O1"]);
    let bin = copies(&workspace, &["snapshotter", "snaprun", "snapboot"]);
    let store = workspace.run_dir().join("store");
    let snapshotter = bin.join("snapshotter").to_string_lossy().into_owned();
    let argv = [snapshotter.as_str(), "create", "--tag", "never", "--", exe.as_str()];
    let env = workspace.env(&[("SNAPFN_STORE".to_owned(), store.to_string_lossy().into_owned())]);
    let argv = argv.map(str::to_owned).to_vec();
    let made = Run { argv, env, cwd: workspace.work(), ..Run::default() }.run();
    assert_eq!(made.status, "1", "{made}");
    assert!(made.err().contains("/closed, which cannot be opened again"), "{made}");
    assert!(made.out().contains("went on") || made.err().contains("went on"), "{made}");
    for directory in ["snap", "tmp", "refs"] {
        assert_eq!(fs::read_dir(store.join(directory)).unwrap().count(), 0, "something is left in {directory}");
    }
}

/// The answer is that of the `snaprun` beside `snapshotter`.
#[test]
fn a_proof_is_made_by_snaprun() {
    let workspace = Workspace::new();
    let exe =
        workspace.compile("hello", "#include <stdio.h>\nint main(void) { return puts(\"hello\") < 0; }", &["-O1"]);
    let bin = copies(&workspace, &["snapshotter", "snapboot"]);
    let snapshotter = bin.join("snapshotter").to_string_lossy().into_owned();
    // Its last words go to the descriptor behind --prove.
    let reports = "#!/bin/sh\nprintf 'snaprun: it: no room for an instance' >/proc/self/fd/$2\nexit 125\n";
    let silent = "#!/bin/sh\nexit 1\n";
    for (snaprun, words) in [(silent, "prepared no instance"), (reports, "no room for an instance")] {
        fs::write(bin.join("snaprun"), snaprun).unwrap();
        fs::set_permissions(bin.join("snaprun"), fs::Permissions::from_mode(0o755)).unwrap();
        let create = ["create", "--tag", "hello", "--"].map(str::to_owned);
        let argv = [vec![snapshotter.clone()], create.to_vec(), vec![exe.clone()]].concat();
        let made = Run { argv, ..workspace.command("snapshotter", &[]) }.run();
        assert_eq!(made.status, "1", "{made}");
        assert!(made.err().contains(words), "{made}");
        assert_eq!(fs::read_dir(workspace.store().join("snap")).unwrap().count(), 0, "a snapshot is left");
    }
}

/// The proof binds the port that the program has held, and ends before the jump.
#[test]
fn nothing_behind_the_point_runs() {
    let workspace = Workspace::new();
    let source = r#"
        #include <fcntl.h>
        #include <netinet/in.h>
        #include <snap.h>
        #include <sys/socket.h>
        int main(int argc, char **argv) {
            struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
            int s = socket(AF_INET, SOCK_STREAM, 0);
            if (bind(s, (void *)&at, sizeof at) || listen(s, 5)) return 1;
            snap_ready();
            return creat("ran", 0644) < 0;
        }"#;
    let exe = workspace.compile("listener", source, &["-O1"]);
    let made = workspace.created(&["--tag", "it", "--at", "ready", "--json", "--", &exe]);
    let json: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    assert!(!workspace.work().join("ran").exists(), "{made}");
    assert!(json["spawn_to_jump_us"].as_f64().unwrap() > 0.0, "{made}");
    assert!(json["spawn_to_point_us"].as_f64().unwrap() > 0.0, "{made}");
    assert_eq!(json["point"], "ready", "{made}");
}

/// Both get the same arguments: the instance's own at `main`, behind the words that it keeps.
#[test]
fn measure_runs_the_program_and_instances_to_their_ends() {
    let workspace = Workspace::new();
    let script = workspace.work().join("script");
    fs::write(&script, "#!/bin/sh\necho \"$0 $*\" >>log\necho done\nexit 3\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let script = script.to_string_lossy().into_owned();
    let made = workspace.created(&["--tag", "it", "--at", "main", "--measure", "--json", "--", &script, "a", "b"]);
    let json: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let log = fs::read_to_string(workspace.work().join("log")).unwrap();
    assert_eq!(log, format!("{script} a b\n").repeat(10), "{made}");
    for which in ["ordinary", "instance"] {
        let times = &json["measured"][which];
        assert_eq!(times["status"], "exit status: 3", "{made}");
        assert!(times["exit_us"].as_f64() >= times["first_output_us"].as_f64(), "{made}");
        assert!(times["first_output_us"].as_f64() > Some(0.0), "{made}");
    }
    let exe = workspace.compile("endless", "#include <unistd.h>\nint main(void) { for (;;) pause(); }", &["-O1"]);
    let made = workspace.created(&["--tag", "it", "--timeout", "1", "--measure", "--", &exe]);
    assert!(made.err().contains("nothing was measured: the program: it did not end within 1 s"), "{made}");
}

#[test]
fn the_result_says_what_was_made_and_what_to_do() {
    let workspace = Workspace::new();
    let source = r#"
        #include <snap.h>
        #include <stdlib.h>
        #include <string.h>
        char *copy;
        int main(void) { copy = strdup(getenv("MY_TOKEN")); setenv("OWN_TOKEN", "0123-made-by-itself", 1); snap_ready(); return 0; }"#;
    let exe = workspace.compile("result", source, &["-O1"]);
    let token = "MY_TOKEN=q8Zr1LxP0vT6sWb3Nd9K";
    let vain = ["--scrub-env", "NONE_A", "--scrub-env", "NONE_B", "--scrub-env", "NONE_C"];
    let run = |options: &[&str]| {
        workspace.created(&[&["--tag", "it", "--env", token], &vain[..], options, &["--", exe.as_str()]].concat())
    };
    let first = run(&[]);
    for line in ["\npoint: ready, ", "\ntried: one instance was prepared here, by user ", "\nstart it with: snaprun it"]
    {
        assert!(first.out().contains(line), "{line}\n{first}");
    }
    // The C library may leave pieces on the stack, which depends on the vector registers that the CPU has.
    let out = first.out();
    let copies = out.lines().find_map(|line| line.strip_prefix("left out: the values of MY_TOKEN, and "));
    let copies = copies.unwrap_or_else(|| panic!("{first}"));
    assert!(
        copies.contains(" that the program had made, which ") && copies.contains(" zeros: 1 in the heap"),
        "{first}"
    );
    assert!(!first.out().contains("replaced"), "{first}");
    assert_eq!(first.err().matches("note: ").count(), 3, "{first}");
    assert!(first.err().contains("(create -v prints all of them)"), "{first}");
    let second = run(&["-v"]);
    assert!(second.out().contains("\nreplaced: it:latest was "), "{second}");
    assert!(second.err().matches("note: ").count() > 3 && !second.err().contains("create -v"), "{second}");
    assert!(second.err().contains("the program has set OWN_TOKEN itself"), "{second}");
    let json: serde_json::Value = serde_json::from_slice(&run(&["--json"]).stdout).unwrap();
    assert_eq!(json["notes"].as_array().unwrap().len(), second.err().matches("note: ").count(), "{json}");
    assert_eq!(json["replaced"].as_array().unwrap().len(), 1, "{json}");
    assert_eq!(json["next"], "start it with: snaprun it:latest", "{json}");
}

#[test]
fn the_result_says_what_was_decided_before_the_point() {
    let workspace = Workspace::new();
    let source = r#"
        #include <sched.h>
        #include <snap.h>
        #include <stdio.h>
        #include <time.h>
        #include <unistd.h>
        int main(void) {
            char name[64];
            cpu_set_t set;
            time_t now = 0;
            snprintf(name, sizeof name, "log.%d", (int)getpid());
            FILE *log = fopen(name, "w");
            if (!log || fclose(log) || unlink(name) || sched_getaffinity(0, sizeof set, &set)) return 1;
            if (isatty(1) || !localtime(&now) || write(2, "begun\n", 6) != 6) return 1;
            snap_ready();
            return 0;
        }"#;
    let exe = workspace.compile("decides", source, &["-O1"]);
    let made = workspace.created(&["--tag", "it", "--env", "TZ=UTC", "--env", "LD_BIND_NOW=1", "--", &exe]);
    let out = made.out();
    let line = out.lines().find(|line| line.starts_with("decided before the point, unless the program looks again: "));
    let line = line.unwrap_or_else(|| panic!("{made}"));
    for phrase in [
        "what standard output is;",
        "the time zone (TZ);",
        "the number of processors;",
        "a file name with the process ID (log.",
        "what it has written to standard error;",
        "LD_BIND_NOW",
    ] {
        assert!(line.contains(phrase), "{phrase}\n{made}");
    }
    assert!(!line.contains("standard input") && !line.contains("locale") && !line.contains("LD_PRELOAD"), "{made}");
    // snap_ready() looks at standard output itself, and does so again in each instance.
    let plain = workspace.compile("plain", "#include <snap.h>\nint main(void) { snap_ready(); return 0; }", &["-O1"]);
    assert!(!workspace.created(&["--tag", "it", "--", &plain]).out().contains("decided"));
    // A wrapper that has written something is part of the program.
    let wrapper = format!("echo starting; exec {exe}");
    let made = workspace.created(&["--tag", "it", "--at", "ready", "--", "/bin/sh", "-c", &wrapper]);
    assert!(made.out().contains("what it has written to standard output"), "{made}");
    // At `main` nothing of that has happened.
    let made = workspace.created(&["--tag", "it", "--at", "main", "--", &exe]);
    assert!(!made.out().contains("decided"), "{made}");
    let json = workspace.created(&["--tag", "it", "--at", "main", "--env", "LD_BIND_NOW=1", "--json", "--", &exe]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["decided"], serde_json::json!(["LD_BIND_NOW"]), "{json}");
}

/// In a container the program would be process 2 or so, and any word may be 2 by chance.
#[test]
fn the_process_id_is_no_small_number() {
    if !is_root() {
        return skip("a PID namespace takes root");
    }
    let workspace = Workspace::new();
    let source = r#"
        #include <snap.h>
        #include <stdio.h>
        #include <unistd.h>
        static pid_t own;
        int main(void) { own = getpid(); snap_ready(); printf("%d\n", own); return 0; }"#;
    let exe = workspace.compile("container", source, &["-O1"]);
    let namespace = |script: &str| {
        let words = ["unshare", "--pid", "--fork", "--mount-proc", "--", "sh", "-c", script];
        Run { argv: words.map(str::to_owned).to_vec(), ..workspace.command("snapshotter", &[]) }.run()
    };
    let snapshotter = place::binary("snapshotter").display().to_string();
    let made = namespace(&format!("{snapshotter} create --tag it --at ready -- {exe}"));
    if made.err().contains("unshare") {
        return skip(&made.err());
    }
    assert!(made.err().contains("words equal the process ID, for which container (main+"), "{made}");
    let own: u32 = workspace.command("snaprun", &["it"]).run().success().out().trim().parse().unwrap();
    assert!(own >= 1024, "{own}");
    // A thread gets a small ID if the kernel has begun again with them.
    let source = r#"
        #include <pthread.h>
        #include <snap.h>
        #include <stdio.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        static pid_t thread;
        static int ready[2];
        static void *run(void *arg) {
            thread = (pid_t)syscall(SYS_gettid);
            if (write(ready[1], "", 1) != 1) return arg;
            for (;;) pause();
        }
        int main(void) {
            FILE *last = fopen("/proc/sys/kernel/ns_last_pid", "w");
            if (!last || fprintf(last, "500") < 0 || fclose(last) || pipe(ready)) return 1;
            pthread_t made;
            char byte;
            if (pthread_create(&made, NULL, run, NULL) || read(ready[0], &byte, 1) != 1) return 2;
            snap_ready();
            return thread < 1024;
        }"#;
    let exe = workspace.compile("again", source, &["-O1", "-pthread"]);
    let made = namespace(&format!("{snapshotter} create --tag it --at ready -- {exe}")).success();
    let note = "a thread has the small ID 501, for which again (run+";
    assert!(made.err().contains(note), "{made}");
}

/// As with `snapshotter create … | head -1`, where the reader is gone before the last line.
#[test]
fn a_closed_pipe_ends_nothing() {
    let workspace = Workspace::new();
    let exe = workspace.compile("hello", "int main(void) { return 0; }", &["-O1"]);
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut create = Command::new(place::binary("snapshotter"));
    create.args(["create", "--tag", "it", "--scrub-env", "NONE", "--", &exe]);
    create.env_clear().envs(workspace.env(&[])).stdout(writer.try_clone().unwrap()).stderr(writer);
    assert!(create.status().unwrap().success());
    workspace.snaprepo(&["tags", "it"]).success();
}

/// The kernel writes the same behind the name of a file that has been deleted.
#[test]
fn a_program_may_be_called_deleted() {
    let workspace = Workspace::new();
    let exe = workspace.compile("odd", "#include <stdio.h>\nint main(void) { return puts(\"odd\") < 0; }", &["-O1"]);
    let odd = format!("{exe} (deleted)");
    fs::rename(&exe, &odd).unwrap();
    workspace.created(&["--tag", "odd", "--", &odd]);
    assert_eq!(workspace.snaprun(&["odd"]).run().out(), "odd\n");
}

/// Without a map of its users, a user namespace shows every owner as the same number, this process's own included.
#[test]
fn a_user_without_a_number_owns_no_trusted_file() {
    let workspace = Workspace::new();
    let exe =
        workspace.compile("hello", "#include <stdio.h>\nint main(void) { return puts(\"hello\") < 0; }", &["-O1"]);
    workspace.created(&["--tag", "it", "--", &exe]);
    let plain = workspace.snaprun(&["it"]);
    assert_eq!(plain.run().out(), "hello\n");
    let argv = [vec!["unshare".to_owned(), "--user".to_owned()], plain.argv.clone()].concat();
    let alone = Run { argv, ..plain }.run();
    if alone.err().contains("unshare") {
        return place::skip(&format!("no user namespaces here: {alone}"));
    }
    assert_eq!(alone.status, "125", "{alone}");
    assert!(alone.err().contains("no number for its owner"), "{alone}");
}
