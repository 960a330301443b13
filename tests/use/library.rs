//! Instances started by a program through the library, and prepared ones: the same results as with `snaprun`.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::thread::{self, sleep};
use std::time::Duration;

use snapfn::{Error, Notice, Pool, PoolOptions, Snapshot, Stdio};
use snapfn_tests::place;
use snapfn_tests::pool::Pool as Served;
use snapfn_tests::run::{drop_privileges, finish};
use snapfn_tests::trial::{self, Trial};
use snapfn_tests::workspace::Workspace;

const PROGRAM: &str = include_str!("library/program.c");

/// The snapshot file, by which the library finds programs and files without a variable.
fn snapshot(workspace: &Workspace) -> Snapshot {
    let exe = workspace.compile("fn", PROGRAM, &["-O2"]);
    workspace.created(&["--tag", "fn", "--", &exe]);
    open(workspace, "fn").unwrap()
}

/// Opens a snapshot of the workspace's store: no variable of this process, which other tests share, is changed.
fn open(workspace: &Workspace, name: &str) -> Result<Snapshot, Error> {
    let refs = workspace.store().join("refs").join(name).join("latest");
    let target = std::fs::canonicalize(&refs).unwrap_or(refs);
    Snapshot::open_in(&target, &workspace.store(), &place::binary("snaprun"))
}

/// Arguments, environment, streams, directory and status of both origins.
fn same_as_told(mut command: snapfn::Command) {
    command.args(["red", "7", ""]).env_clear().env("COLOUR", "blue").current_dir("/usr");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(child.id() > 1);
    child.stdin.take().unwrap().write_all(b"a line\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "3 [red] [7] [] blue /usr a line\n");
    assert_eq!(output.stderr, b"told\n");
    assert_eq!(output.status.code(), Some(7));
}

fn signals(make: impl Fn() -> snapfn::Command) {
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(make().arg("abort").status().unwrap().signal(), Some(6));
    let mut child = make().arg("wait").spawn().unwrap();
    assert!(child.try_wait().unwrap().is_none());
    assert!(child.pidfd().is_ok());
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert_eq!(child.try_wait().unwrap().unwrap().signal(), Some(9));
}

#[test]
fn the_library_starts_what_it_is_told() {
    let workspace = Workspace::new();
    let snapshot = snapshot(&workspace);
    same_as_told(snapshot.command());
    signals(|| snapshot.command());
    // Without input and output of its own.
    let output = snapshot.command().env_remove("COLOUR").current_dir("/").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0 none / ");
}

#[test]
fn a_pool_in_the_process_gives_the_same() {
    let workspace = Workspace::new();
    let snapshot = snapshot(&workspace);
    let pool = Pool::new(&snapshot, 2).unwrap();
    assert_eq!(pool.prepared(), 2);
    same_as_told(pool.command());
    signals(|| pool.command());
    // More than what is prepared, at once.
    let children: Vec<_> = (0..6).map(|_| pool.command().arg("wait").spawn().unwrap()).collect();
    let ids: BTreeSet<u32> = children.iter().map(snapfn::Child::id).collect();
    assert_eq!(ids.len(), 6);
    for mut child in children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    // What has died is not used.
    while pool.prepared() < 2 {
        sleep(Duration::from_millis(5));
    }
    let waiting = waiting_for(snapshot.name().to_str().unwrap());
    assert!(waiting.len() >= 2, "{waiting:?}");
    for pid in &waiting {
        let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    }
    while waiting.iter().any(|pid| is_alive(*pid)) {
        sleep(Duration::from_millis(5));
    }
    same_as_told(pool.command());
    drop(pool);
    assert!(waiting.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()));
}

/// A pool whose owner waits for instances: no more processes than allowed, a notice for each prepared one, and nothing
/// left of an instance that was dropped or has ended.
#[test]
fn a_bounded_pool_keeps_its_bound_and_leaves_nothing() {
    let workspace = Workspace::new();
    let snapshot = snapshot(&workspace);
    let (notify, notices) = std::sync::mpsc::channel();
    let options = PoolOptions::new(1).most(2).at_once(2).contained(true);
    let options = options.notice(move |notice| notify.send(matches!(notice, Notice::Prepared)).unwrap());
    let pool = options.build(&snapshot).unwrap();
    let start = |word: &str, more: &mut dyn FnMut(&mut snapfn::Command)| {
        let mut command = pool.command();
        more(command.arg(word));
        command.spawn_prepared().unwrap()
    };
    let first = start("wait", &mut |_| ()).unwrap();
    assert!(notices.recv().unwrap());
    let second = start("wait", &mut |_| ()).unwrap();
    // Two run, so none is prepared, however many are asked for.
    let counts = pool.counts();
    assert_eq!((counts.preparing, counts.prepared, counts.running), (0, 0, 2));
    pool.demand(5);
    assert!(start("wait", &mut |_| ()).is_none());
    assert!(snapshot.command().spawn_prepared().unwrap().is_none());
    let ids = [first.id(), second.id()];
    drop(first);
    assert!(!Path::new(&format!("/proc/{}", ids[0])).exists());
    assert!(notices.recv().unwrap());
    // A process that an instance leaves behind in its group ends with it, whether the instance ends by itself or not.
    let mut third = start("leave", &mut |command| {
        command.stdout(Stdio::piped());
    });
    let mut line = String::new();
    let mut child = third.take().unwrap();
    child.stdout.take().unwrap().read_to_string(&mut line).unwrap();
    let left: u32 = line.trim().parse().unwrap();
    assert!(child.wait().unwrap().success());
    while is_alive(left) {
        sleep(Duration::from_millis(5));
    }
    // A prepared one that ends is replaced.
    assert!(notices.recv().unwrap());
    let [parked] = waiting_for(snapshot.name().to_str().unwrap())[..] else { panic!("one is prepared") };
    let _ = Command::new("kill").args(["-KILL", &parked.to_string()]).status();
    assert!(notices.recv().unwrap());
    pool.close();
    assert!(start("wait", &mut |_| ()).is_none());
    // The pool's thread, with which its instances end, lives as long as they do.
    sleep(Duration::from_millis(100));
    assert!(is_alive(ids[1]));
    drop(pool);
    assert!(is_alive(ids[1]));
    drop(second);
    assert!(!Path::new(&format!("/proc/{}", ids[1])).exists());
}

#[test]
fn a_name_that_is_given_to_another_snapshot_has_another_identity() {
    let workspace = Workspace::new();
    let old = snapshot(&workspace);
    assert_eq!(old.current_identity().unwrap(), old.identity());
    let copy = workspace.out().join("copy.snap");
    std::fs::copy(old.name(), &copy).unwrap();
    let by_path = Snapshot::open_in(&copy, &workspace.store(), &place::binary("snaprun")).unwrap();
    std::fs::copy(old.name(), workspace.out().join("new")).unwrap();
    std::fs::rename(workspace.out().join("new"), &copy).unwrap();
    assert_ne!(by_path.current_identity().unwrap(), by_path.identity());
    std::fs::remove_file(&copy).unwrap();
    assert_eq!(by_path.current_identity().unwrap_err().exit_status(), 127);
}

/// PIDs of this process's prepared instances of a snapshot; other tests may have others.
fn waiting_for(name: &str) -> Vec<u32> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let pids = lists.flat_map(|list| list.split_whitespace().filter_map(|p| p.parse().ok()).collect::<Vec<u32>>());
    pids.filter(|pid| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains("--park") && line.contains(name)
    })
    .collect()
}

#[test]
fn failures_are_told_from_the_programs_own_status() {
    let workspace = Workspace::new();
    let snapshot = snapshot(&workspace);
    // The program's own.
    assert_eq!(snapshot.command().args(["x", "127"]).stdout(Stdio::null()).status().unwrap().code(), Some(127));
    assert!(matches!(open(&workspace, "nothing"), Err(error) if error.exit_status() == 127));
    let missing = snapshot.command().current_dir("/nonexistent").spawn();
    assert!(matches!(missing, Err(Error::System { .. })), "{missing:?}");
    assert!(matches!(snapshot.command().arg("a\0b").spawn(), Err(Error::Text(_))));
    // The plan of the file is damaged after it was opened: snaprun refuses it, and the library returns the message.
    let path = workspace.out().join("damaged.snap");
    std::fs::copy(std::fs::canonicalize(workspace.store().join("refs/fn/latest")).unwrap(), &path).unwrap();
    Command::new("chmod").arg("644").arg(&path).status().unwrap();
    let damaged = Snapshot::open_in(&path, &workspace.store(), &place::binary("snaprun")).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xff; 8], 600).unwrap();
    match damaged.command().status() {
        Err(Error::NotStarted { status: 125, message }) => assert!(message.starts_with("snaprun: "), "{message}"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(Pool::new(&damaged, 1), Err(Error::NotStarted { .. })));
}

#[test]
fn instances_of_a_pool_are_all_different() {
    let workspace = Workspace::new();
    let pool = Pool::new(&snapshot(&workspace), 4).unwrap();
    // Values are compared by column: a canary is a random word whose lowest byte is zero, so two may have equal bytes.
    let mut columns = vec![BTreeSet::new(); 5];
    for _ in 0..20 {
        let output = pool.command().arg("unique").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        for (column, word) in columns.iter_mut().zip(text.split_whitespace()) {
            column.insert(word.to_owned());
        }
    }
    assert!(columns.iter().all(|column| column.len() == 20), "{columns:?}");
}

/// Threads of the calling program open files at any moment, in C often without close-on-exec.
#[test]
fn prepared_instances_keep_no_descriptors_of_the_caller() {
    let workspace = Workspace::new();
    let snapshot = snapshot(&workspace);
    let inherited = nix::unistd::dup(std::io::stderr()).unwrap();
    let pool = Pool::new(&snapshot, 1).unwrap();
    let output =
        |mut command: snapfn::Command| String::from_utf8(command.arg("descriptors").output().unwrap().stdout).unwrap();
    assert_eq!(output(pool.command()), "0\n");
    // An ordinary child has the descriptor, as after any fork and execve.
    assert_ne!(output(snapshot.command()), "0\n");
    drop(inherited);
}

#[test]
fn a_thousand_requests_of_many_threads() {
    let workspace = Workspace::new();
    let pool = Pool::new(&snapshot(&workspace), 8).unwrap();
    thread::scope(|scope| {
        for worker in 0..8 {
            let pool = &pool;
            scope.spawn(move || {
                for request in 0..125 {
                    let name = format!("{worker}-{request}");
                    let mut command = if request % 5 == 0 { pool.snapshot().command() } else { pool.command() };
                    let output = command.args([&name, "3"]).current_dir("/").output().unwrap();
                    let expected = format!("2 [{name}] [3] ");
                    assert!(String::from_utf8_lossy(&output.stdout).starts_with(&expected), "{output:?}");
                    assert_eq!(output.status.code(), Some(3));
                }
            });
        }
    });
}

/// Programs of the corpus through `snaprun --from`, as a plain user without capabilities.
#[test]
fn corpus_programs_through_a_pool() {
    const WORDS: [&str; 14] = [
        "argv_echo",
        "argv_many",
        "argv_cmdline",
        "env_iterate",
        "env_setenv",
        "env_clear",
        "cwd_changed",
        "cwd_kept",
        "exit_status",
        "exit_signal",
        "file_read",
        "stdin",
        "thread_many",
        "nolibc",
    ];
    let mut ran = 0;
    for program in trial::corpus() {
        if !WORDS.iter().any(|word| program.name.starts_with(word)) {
            continue;
        }
        let Some(trial) = Trial::of(&program).into_iter().next() else { continue };
        eprintln!("{}", trial.name());
        trial.check_pool();
        ran += 1;
    }
    assert!(ran >= 10, "only {ran} programs");
}

#[test]
fn a_pool_that_is_killed_leaves_nothing() {
    let workspace = Workspace::new();
    drop(snapshot(&workspace));
    let mut pool = Served::start(&workspace, "fn", 3);
    let socket = pool.socket.to_string_lossy().into_owned();
    let running = workspace.snaprun(&["--from", &socket, "wait"]).spawn();
    let client = running.id();
    // The parked instances and the running one.
    let mut children = pool.children();
    while children.len() < 4 || !is_waiting(client) {
        sleep(Duration::from_millis(10));
        children = pool.children();
    }
    pool.process.kill().unwrap();
    pool.process.wait().unwrap();
    let outcome = finish(running);
    assert_eq!(outcome.status, "125", "{outcome}");
    for pid in children {
        while is_alive(pid) {
            sleep(Duration::from_millis(10));
        }
    }
}

/// A zombie without a parent that reaps it (an orphan in a container without an init) is not alive.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z")
}

/// Whether a client knows its instance: it then waits in poll for both.
fn is_waiting(pid: u32) -> bool {
    std::fs::read_dir(format!("/proc/{pid}/fd")).is_ok_and(|fds| {
        fds.flatten().any(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().contains("signalfd")))
    })
}

#[test]
fn a_pool_ends_on_request_and_a_client_takes_its_instance_along() {
    let workspace = Workspace::new();
    drop(snapshot(&workspace));
    let mut pool = Served::start(&workspace, "fn", 2);
    let socket = pool.socket.to_string_lossy().into_owned();
    // A client that is killed.
    let mut client = workspace.snaprun(&["--from", &socket, "wait"]).spawn();
    while !is_waiting(client.id()) {
        sleep(Duration::from_millis(10));
    }
    client.kill().unwrap();
    client.wait().unwrap();
    // A signal that is handed on.
    let client = workspace.snaprun(&["--from", &socket, "wait"]).spawn();
    while !is_waiting(client.id()) {
        sleep(Duration::from_millis(10));
    }
    Command::new("kill").args(["-USR1", &client.id().to_string()]).status().unwrap();
    assert_eq!(finish(client).status, "SIGUSR1");
    Command::new("kill").args(["-TERM", &pool.process.id().to_string()]).status().unwrap();
    assert!(pool.process.wait().unwrap().success());
    assert!(!pool.socket.exists());
    let outcome = workspace.snaprun(&["--from", &socket]).run();
    assert_eq!(outcome.status, "127", "{outcome}");
}

#[test]
fn hostile_clients_do_no_harm() {
    let workspace = Workspace::new();
    drop(snapshot(&workspace));
    let pool = Served::start(&workspace, "fn", 2);
    let header = |version: u16, flags: u16, argc: u32, envc: u32, strings: u32| {
        let mut bytes = b"snappool".to_vec();
        bytes.extend(version.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        for word in [0o22, argc, envc, strings, 0] {
            bytes.extend(u32::to_le_bytes(word));
        }
        bytes
    };
    let with = |head: Vec<u8>, strings: &[u8]| [&head[..], strings].concat();
    let requests = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        header(2, 0, 1, 0, 2),
        header(1, 0x8000, 1, 0, 2),
        header(1, 0, u32::MAX, u32::MAX, u32::MAX),
        header(1, 0, 0, 0, 0),
        with(header(1, 0, 1, 0, 2), b"ab"),
        with(header(1, 0, 3, 0, 2), b"a\0"),
        // Descriptors that do not come.
        with(header(1, 7, 1, 0, 2), b"a\0"),
        Vec::new(),
        header(1, 7, 1, 0, 100)[..20].to_vec(),
    ];
    // The client runs as the pool's own user: the socket's mode keeps others away, and root would be refused by its
    // user ID.
    let talk = r#"
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
try:
    s.sendall(bytes.fromhex(sys.argv[2])); s.shutdown(socket.SHUT_WR)
    answer = b""
    while (got := s.recv(4096)): answer += got
except OSError: answer = b"gone"
sys.stdout.write(answer[:4].hex())"#;
    for request in requests {
        let hex: String = request.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut argv = drop_privileges();
        argv.extend([
            "/usr/bin/python3".into(),
            "-c".into(),
            talk.into(),
            pool.socket.to_string_lossy().into_owned(),
            hex,
        ]);
        let output = Command::new(&argv[0]).args(&argv[1..]).output().unwrap();
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(["03000000", "676f6e65"].contains(&answer.as_str()), "{request:?}: {output:?}");
    }
    if drop_privileges().is_empty() {
        eprintln!("skipped: another user's connection needs root");
    } else {
        let mut stream = UnixStream::connect(&pool.socket).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(String::from_utf8_lossy(&answer).contains("another user"), "{answer:?}");
    }
    let idle: Vec<_> = (0..20).map(|_| UnixStream::connect(&pool.socket)).collect();
    let socket = pool.socket.to_string_lossy().into_owned();
    let outcome = workspace.snaprun(&["--from", &socket, "still", "5"]).run();
    assert_eq!(outcome.status, "5", "{outcome}");
    drop(idle);
}
