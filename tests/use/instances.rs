//! Many instances of one snapshot at once, each with its own memory, arguments and input; and snapshots of instances.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::collections::BTreeSet;

use snapfn_tests::place;
use snapfn_tests::run::finish;
use snapfn_tests::workspace::Workspace;

const PROGRAM: &str = include_str!("instances/program.c");

#[test]
fn two_hundred_instances_at_once() {
    const COUNT: usize = 200;
    let workspace = Workspace::new();
    let exe = workspace.compile("many", PROGRAM, &["-O2"]);
    workspace.created(&["--tag", "many", "--at", "ready", "--", &exe, "0"]);
    // There is no input yet, so every instance waits in fgets() with its memory changed.
    let mut children: Vec<_> = (0..COUNT)
        .map(|id| {
            let run = workspace.snaprun(&["many", &id.to_string()]);
            let mut command = std::process::Command::new(&run.argv[0]);
            command.args(&run.argv[1..]).env_clear().envs(run.env);
            let pipe = std::process::Stdio::piped;
            command.stdin(pipe()).stdout(pipe()).stderr(pipe()).spawn().unwrap()
        })
        .collect();
    let inputs: Vec<_> = children.iter_mut().map(|child| child.stdin.take().unwrap()).collect();
    let pids: BTreeSet<u32> = children.iter().map(std::process::Child::id).collect();
    assert_eq!(pids.len(), COUNT);
    for (id, mut input) in inputs.into_iter().enumerate().rev() {
        use std::io::Write;
        // An instance that failed at its start has closed the pipe; its output below has the reason.
        let _ = writeln!(input, "line for {id}");
    }
    for (id, child) in children.into_iter().enumerate() {
        let pid = child.id();
        let outcome = finish(child);
        assert_eq!(outcome.out(), format!("{id} 1 {pid} line for {id}\n"), "{outcome}");
        assert_eq!(outcome.status, (id % 100).to_string(), "{outcome}");
    }
}

#[test]
fn instances_differ_in_what_must_be_random() {
    let workspace = Workspace::new();
    let source = r#"
        #include <snap.h>
        #include <stdio.h>
        #include <sys/auxv.h>
        int main(void) {
            snap_ready();
            unsigned long canary, *random = (unsigned long *)getauxval(AT_RANDOM);
            __asm__("mov %%fs:0x28, %0" : "=r"(canary));
            printf("%016lx %016lx %016lx %016lx\n", canary, random[0], random[1], (unsigned long)snap_generation());
            return 0;
        }"#;
    workspace.snapshot("random", source, &["-O2"], "ready");
    // Values are compared by column: a canary is a random word whose lowest byte is zero, so two may have equal bytes.
    let mut columns = vec![BTreeSet::new(); 4];
    for _ in 0..20 {
        let outcome = workspace.snaprun(&["random"]).run();
        assert_eq!(outcome.status, "0", "{outcome}");
        for (column, word) in columns.iter_mut().zip(outcome.out().split_whitespace()) {
            column.insert(word.to_owned());
        }
    }
    assert!(columns.iter().all(|column| column.len() == 20), "{columns:?}");
}

#[test]
fn an_instance_is_the_process_that_was_started() {
    let workspace = Workspace::new();
    let source = include_str!("instances/same_process.c");
    workspace.snapshot("same", source, &["-O2"], "ready");
    let mut child = workspace.snaprun(&["same"]).spawn();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.as_mut().unwrap()), &mut line).unwrap();
    assert_eq!(line.trim(), child.id().to_string());
    // Between the line and pause() a signal could be lost for the program: send it until it ends.
    let pid = child.id().to_string();
    while child.try_wait().unwrap().is_none() {
        let _ = std::process::Command::new("kill").args(["-TERM", &pid]).status();
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(finish(child).status, "55");
}

#[test]
fn the_working_directory_is_the_instances_unless_the_snapshot_names_one() {
    let workspace = Workspace::new();
    let source = r#"
        #include <snap.h>
        #include <stdio.h>
        #include <unistd.h>
        int main(void) {
            char path[4096];
            snap_ready();
            return puts(getcwd(path, sizeof path) ? path : "none") < 0;
        }"#;
    let exe = workspace.compile("where", source, &["-O2"]);
    let create = |options: &[&str]| {
        let args = [&["create", "--tag", "where", "--at", "ready"], options, &["--", &exe]].concat();
        let made = workspace.snapshotter(&args);
        assert_eq!(made.status, "0", "{made}");
    };
    create(&[]);
    assert_eq!(workspace.snaprun(&["where"]).run().out(), "/\n");
    create(&["--cwd", "/usr"]);
    assert_eq!(workspace.snaprun(&["where"]).run().out(), "/usr\n");
}

/// A program without a C library has its stack pointer at the argument vectors, which an instance that will be
/// snapshotted again has in a mapping of its own. There must be a stack in front of them.
#[test]
fn a_snapshot_of_an_instance_without_a_c_library() {
    let workspace = Workspace::new();
    let source = std::fs::read_to_string(place::tests().join("corpus/nolibc_ready.c")).unwrap();
    let exe = workspace.compile("bare", &source, &["-nostdlib", "-static", "-ffreestanding", "-fno-stack-protector"]);
    let snaprun = place::binary("snaprun");
    workspace.created(&["--tag", "once", "--at", "main", "--", &exe]);
    for at in ["ready", "syscall:write"] {
        workspace.created(&["--tag", "twice", "--at", at, "--", snaprun.to_str().unwrap(), "once", "argument"]);
        let outcome = workspace.snaprun(&["twice", "other"]).run();
        assert_eq!((outcome.out(), outcome.status.as_str()), ("good\n".into(), "42"), "{at}: {outcome}");
    }
}
