//! State that no instance can have is refused by name, all of it at once, before anything is written, and the program
//! does not notice. `check` reports the same about a program and a running process without taking a snapshot.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command};
use std::time::Instant;

use snapfn_tests::place;
use snapfn_tests::run::{Outcome, Run, finish, is_root};
use snapfn_tests::state::{MUSL, State};

/// The state that `refused.c` holds, with words of the message: which one, what it is, what to do.
const KINDS: &[(&str, &[&str])] = &[
    ("tcp", &["descriptor 4", "connected to 127.0.0.1:", "close the connection"]),
    ("tcp6", &["connected to [::1]:", "close the connection"]),
    ("io_uring", &["descriptor 3", "io_uring", "snapshot point"]),
    ("io_uring-mapped", &["memory ", "io_uring", "snapshot point"]),
    ("aio", &["memory ", "asynchronous I/O context (io_setup)", "io_destroy"]),
    ("userfaultfd", &["descriptor 3", "userfaultfd", "snapshot point"]),
    ("userfault-memory", &["memory ", "watched by userfaultfd", "unregister it"]),
    ("perf", &["descriptor 3", "perf", "snapshot point"]),
    ("bpf", &["descriptor 3", "bpf", "snapshot point"]),
    ("landlock", &["descriptor 3", "landlock", "snapshot point"]),
    ("fanotify", &["descriptor 3", "fanotify", "snapshot point"]),
    ("netlink", &["descriptor 3", "netlink socket", "snapshot point"]),
    ("crypto", &["descriptor 3", "socket", "snapshot point"]),
    ("vsock", &["descriptor 3", "socket", "snapshot point"]),
    ("packet", &["descriptor 3", "packet", "snapshot point"]),
    ("kvm", &["descriptor 3", "/dev/kvm", "snapshot point"]),
    ("device", &["descriptor 3", "/dev/fuse", "snapshot point"]),
    ("secret", &["descriptor 3", "secret", "snapshot point"]),
    ("pidfd", &["descriptor 3", "pidfd of process 1", "snapshot point"]),
    ("queue", &["descriptor 3", "queue", "snapshot point"]),
    ("waiting-connection", &["descriptor 3", "waiting connection", "127.0.0.1:"]),
    ("waiting-datagram", &["descriptor 3", "waiting", "127.0.0.1:"]),
    ("inotify", &["descriptor 3", "unread events", "snapshot point"]),
    ("terminal", &["descriptor ", "unread", "snapshot point"]),
    ("other-name", &["descriptor 3", "first", "snapshot point"]),
    ("stale-epoll", &["descriptor 5", "closed", "remove it from the set"]),
    ("owner", &["descriptor 3", "process 1", "F_SETOWN after the snapshot point"]),
    ("write-execute", &["memory ", "writable and executable at once", "--allow-wx"]),
    ("hugetlb", &["memory ", "huge pages of hugetlbfs", "transparent huge pages"]),
    ("system-v", &["memory ", "System V shared memory", "attach it after the snapshot point"]),
    ("protection-key", &["memory ", "memory protection key", "use keys after the snapshot point"]),
    ("sealed", &["memory ", "sealed memory", "snapshot point"]),
    ("mapped-twice", &["memory ", "mapped twice", "unmap one of the two"]),
    ("filter", &["thread ", "has a seccomp filter", "install filters after the snapshot point"]),
    ("child", &["child process ", "'refused' is running", "end or wait for child processes"]),
    ("named-child", &["child process ", "is running", "end or wait for child processes"]),
    ("no-dump", &["process: ", "not dumpable", "CAP_SYS_PTRACE"]),
    ("tracer", &["process ", "is traced by thread ", "detach from it"]),
    ("root-directory", &["root directory: ", "call chroot after the snapshot point"]),
    ("other-group", &["process: ", "process group of another process", "setpgid after the snapshot point"]),
    ("memory-policy", &["process: ", "NUMA memory policy", "after the snapshot point"]),
    ("dispatch", &["process: ", "user dispatch", "after the snapshot point"]),
    ("cpuid", &["process: ", "CPUID instruction", "after the snapshot point"]),
    ("amx", &["thread ", "AMX tile registers", "before the snapshot point"]),
    ("tagged", &["process: ", "tagged addresses", "after the snapshot point"]),
    ("ldt", &["process: ", "LDT (modify_ldt)", "after the snapshot point"]),
    ("thread-keyring", &["process: ", "has a thread keyring", "after the snapshot point"]),
    ("process-keyring", &["process: ", "has a process keyring", "after the snapshot point"]),
    ("session-keyring", &["process: ", "has a session keyring of its own", "after the snapshot point"]),
    ("semaphore-undo", &["system call semop:SEM_UNDO: ", "its end would undo that", "--accept"]),
    ("landlock-rules", &["system call landlock_restrict_self: ", "restricts the thread for ever", "--accept"]),
    ("dnotify", &["system call fcntl:F_NOTIFY on descriptor 3: ", "dnotify", "--accept"]),
    ("dnotify-duplicate", &["system call fcntl:F_NOTIFY on descriptor 50: ", "dnotify", "--accept"]),
    ("socket-filter", &["descriptor 3", "SO_ATTACH_FILTER", "after the snapshot point"]),
    ("pair-filter", &["descriptor 3", "SO_ATTACH_FILTER", "after the snapshot point"]),
    ("multicast", &["system call setsockopt:IP_ADD_MEMBERSHIP on descriptor 3: ", "multicast group", "--accept"]),
    ("32-bit", &["system call 32-bit:20: ", "32-bit interface", "--accept"]),
    ("bound-memory", &["memory ", "NUMA memory policy", "after the snapshot point"]),
    ("io-ports", &["process: ", "I/O ports", "after the snapshot point"]),
    ("core-scheduling", &["process: ", "PR_SCHED_CORE", "after the snapshot point"]),
    ("thread-directory", &["thread ", "has a working directory, root directory and umask of its own", "share it"]),
    ("thread-descriptors", &["thread ", "has descriptors of its own", "share it"]),
    ("thread-namespace", &["thread ", "has entered another namespace (uts)", "share it"]),
    ("owner-thread", &["descriptor 3", "sends its signals to thread ", "F_SETOWN_EX after the snapshot point"]),
    ("memory-owner", &["descriptor 3", "belongs to user 12345", "after the snapshot point"]),
    ("trusted-attribute", &["descriptor 3", "trusted.colour", "after the snapshot point"]),
    ("shut-down", &["descriptor 4", "descriptor 5", "connection has ended", "before the snapshot point"]),
    ("parent-file", &["descriptor 3", "/comm, a file of process ", "after the snapshot point"]),
    ("descriptor-file", &["descriptor 3", "/fdinfo/0, which belongs to a descriptor", "after the snapshot point"]),
    ("no-right", &["descriptor 3", "locked, which cannot be opened again", "after the snapshot point"]),
    ("guarded-data", &["memory ", "data under guard pages", "before the snapshot point"]),
    ("first-thread", &["process: ", "its first thread has ended", "wait for the other threads"]),
];

/// These cases need rights that a plain user does not have; the snapshotter then has them, too.
const NEEDS_ROOT: &[&str] = &[
    "bpf",
    "fanotify",
    "packet",
    "kvm",
    "root-directory",
    "io-ports",
    "thread-namespace",
    "memory-owner",
    "trusted-attribute",
];

fn command(state: &State, name: &str, args: &[&str]) -> Outcome {
    Run { privileged: NEEDS_ROOT.contains(&name), ..state.command("snapshotter", args) }.run()
}

#[test]
fn every_kind_is_refused_by_name_and_the_program_goes_on() {
    let state = State::new();
    let exe = state.compile("refused", &["-pthread", "-w"]);
    let went_on = state.workspace.work().join("went-on");
    let (mut missing, mut wrong) = (Vec::new(), Vec::new());
    for (name, words) in KINDS.iter().filter(|(name, _)| is_root() || !NEEDS_ROOT.contains(name)) {
        let _ = fs::remove_file(&went_on);
        let checked = command(&state, name, &["check", "--at", "ready", "--", &exe, name]);
        if fs::read_to_string(&went_on).unwrap_or_default() == "missing" {
            missing.push(*name);
            continue;
        }
        let refused = command(&state, name, &["create", "--tag", "refused", "--at", "ready", "--", &exe, name]);
        let survived = fs::read_to_string(&went_on).unwrap_or_default();
        let written = state.snaprun(&["refused"]).status != "127";
        let unsaid = words.iter().find(|word| !refused.err().contains(**word) || !checked.out().contains(**word));
        if (refused.status.as_str(), checked.status.as_str(), survived.as_str()) != ("1", "1", "went on")
            || written
            || unsaid.is_some()
        {
            wrong.push(format!("{name}: '{survived}' {written} {unsaid:?}\ncreate: {refused}\ncheck: {checked}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    eprintln!("not on this machine: {missing:?}");
    assert!(missing.len() < KINDS.len() / 2, "{missing:?}");
}

/// Where kcmp and pidfd_getfd are forbidden, what cannot be told apart by other means is refused.
#[test]
fn in_a_container_what_cannot_be_compared_is_refused() {
    let state = State::new();
    let wrapper = state.compile("wrap_container", &[]);
    let exe = state.compile("refused", &["-pthread", "-w"]);
    let source = fs::read_to_string(place::tests().join("corpus/refused_shared_process.c")).unwrap();
    let shared = state.workspace.compile("shared", &source, &[]);
    for (command, words) in [
        (
            &[exe.as_str(), "stale-epoll"][..],
            &["watches what was opened as descriptor 3", "remove it from the set"][..],
        ),
        (&[exe.as_str(), "tcp"], &["descriptor 4", "connected to 127.0.0.1:"]),
        (&[exe.as_str(), "owner-twin"], &["has an owner, F_SETOWN, and kcmp is forbidden", "allow kcmp"]),
        (&[shared.as_str()], &["shares the program's memory (clone), or did", "start it after the snapshot point"]),
    ] {
        let mut create = state.command("snapshotter", &["create", "--tag", "refused", "--at", "ready", "--"]);
        create.argv.extend(command.iter().map(|&word| word.to_owned()));
        create.argv.insert(0, wrapper.clone());
        let refused = create.run();
        let unsaid = words.iter().find(|word| !refused.err().contains(**word));
        assert!(refused.status == "1" && unsaid.is_none(), "{command:?}: {unsaid:?}: {refused}");
    }
}

/// If only a call reports the state, `--accept` names the call, and a note says what instances lack.
#[test]
fn the_effect_of_a_call_can_be_accepted() {
    let state = State::new();
    let exe = state.compile("refused", &["-pthread", "-w"]);
    for (kind, name) in [("dnotify", "fcntl"), ("dnotify", "fcntl:F_NOTIFY"), ("semaphore-undo", "semop:SEM_UNDO")] {
        let args = ["create", "--tag", "accepted", "--at", "ready", "--accept", name, "--", &exe, kind];
        let made = command(&state, kind, &args);
        assert_eq!(made.status, "0", "{kind}: {made}");
        assert!(made.err().contains("note: instances lack what "), "{kind}: {made}");
        assert_eq!(state.snaprun(&["accepted"]).status, "0", "{kind}");
    }
    let wrong = command(&state, "dnotify", &["create", "--accept", "fcntl:F_NOTHING", "--", &exe, "dnotify"]);
    assert!(wrong.status != "0" && wrong.err().contains("name of a system call"), "{wrong}");
}

/// A refused program goes on, and the message names its PID. With `--end` it is ended, since it may hold resources that
/// the next try needs.
#[test]
fn a_refused_program_goes_on_or_is_ended() {
    let state = State::new();
    let exe = state.compile("refused", &["-pthread", "-w"]);
    let went_on = state.workspace.work().join("went-on");
    for (option, goes_on) in [("--keep-running", true), ("--end", false)] {
        let _ = fs::remove_file(&went_on);
        let args = ["create", option, "--tag", "refused", "--at", "ready", "--", &exe, "tcp"];
        let refused = state.command("snapshotter", &args).run();
        let said = if goes_on { "goes on without a snapshot as process " } else { "the program was ended (--end)" };
        assert!(refused.status == "1" && refused.err().contains(said), "{option}: {refused}");
        let survived = fs::read_to_string(&went_on).unwrap_or_default();
        assert_eq!(survived == "went on", goes_on, "{option}: '{survived}'\n{refused}");
    }
    let both = state.command("snapshotter", &["create", "--end", "--keep-running", "--", &exe]).run();
    assert!(both.err().contains("cannot be used with"), "{both}");
}

#[test]
fn check_of_a_program_takes_no_snapshot_and_leaves_nothing() {
    let state = State::new();
    let exe = state.compile("fd_one", &[]);
    fs::write(state.workspace.work().join("subject"), "").unwrap();
    let before = state.workspace.stored();
    let good = state.command("snapshotter", &["check", "--at", "ready", "--", &exe]).run();
    assert_eq!(good.status, "0", "{good}");
    assert!(good.out().contains("nothing stands in the way"), "{good}");
    let refused = state.compile("refused", &["-pthread", "-w"]);
    let bad = state.command("snapshotter", &["check", "--json", "--", &refused, "tcp"]).run();
    assert_eq!(bad.status, "1", "{bad}");
    for words in ["\"ok\": false", "\"subject\": \"descriptor 4\"", "\"what\": ", "\"remedy\": ", "\"pid\": null"] {
        assert!(bad.out().contains(words), "{words}: {bad}");
    }
    assert_eq!(state.workspace.stored(), before);
    for (args, words) in [
        (&["check", "--at", "main"][..], "PROGRAM"),
        (&["check", "--pid", "1", "--at", "main"], "cannot be used with"),
        (&["check", "--", "/nonexistent"], "cannot run /nonexistent"),
        (&["check", "--pid", "999999999"], "there is no process 999999999"),
    ] {
        let wrong = state.command("snapshotter", args).run();
        assert!(wrong.status != "0" && wrong.err().contains(words), "{args:?}: {wrong}");
    }
}

/// Starts `program` as the plain user, and returns when it has printed "ready".
fn running(state: &State, command: &[&str]) -> Child {
    let argv = command.iter().map(|&word| word.to_owned()).collect();
    let run = Run { argv, ..state.command("snapshotter", &[]) };
    let mut child = run.spawn_interactive();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child
}

/// The address ranges that are mapped.
fn maps(pid: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    text.lines().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
}

/// The first letter of the state, and the process that traces it.
fn state_of(pid: &str) -> (String, String) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    (field("State:")[..1].to_owned(), field("TracerPid:"))
}

/// SIGKILL ends the snapshotter at a random moment, many times, while the process waits in every way, computes, makes
/// short sleeps, or is stopped. The process does not notice, and the snapshotter leaves nothing in it. `SNAPFN_KILLS`
/// is the number of kills.
#[test]
fn a_kill_of_the_snapshotter_does_the_process_no_harm() {
    let kills: u32 = std::env::var("SNAPFN_KILLS").map_or(60, |text| text.parse().unwrap());
    let state = State::new();
    let exe = state.compile("check_running", &["-pthread"]);
    let mut random = std::process::id();
    // A stop signal itself ends some calls with EINTR; a busy process does not make those.
    for (words, is_stopped) in [(&[][..], false), (&["busy"], false), (&["busy"], true)] {
        let mut child = running(&state, &[&[exe.as_str()], words].concat());
        let pid = child.id().to_string();
        let send = |signal: &str| assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        if is_stopped {
            send("-STOP");
        }
        let before = maps(&pid);
        let look = || state.command("snapshotter", &["check", "--pid", &pid]);
        let start = Instant::now();
        assert_eq!(look().run().status, "1");
        let whole = start.elapsed();
        for _ in 0..kills / 3 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let mut looker = look().spawn();
            std::thread::sleep(whole * (random >> 16) / (1 << 16));
            looker.kill().unwrap();
            looker.wait().unwrap();
            assert_eq!(maps(&pid), before, "a mapping was left");
            let (mut letter, tracer) = state_of(&pid);
            while letter == "R" {
                letter = state_of(&pid).0; // on its way back into the call that it waits in
            }
            assert!(letter == if is_stopped { "T" } else { "S" } && tracer == "0", "{letter} {tracer}");
        }
        send("-CONT");
        child.stdin.take().unwrap().write_all(b"x").unwrap();
        let ended = finish(child);
        assert_eq!((ended.out().as_str(), ended.status.as_str()), ("ok\n", "0"), "{words:?} {is_stopped}: {ended}");
    }
}

/// The program has threads blocked in every way and connected sockets. After ten checks none of them has noticed.
#[test]
fn a_running_process_is_looked_at_and_goes_on() {
    for flags in [&["-pthread"][..], MUSL] {
        let state = State::new();
        let exe = state.compile("check_running", flags);
        let mut child = running(&state, &[&exe]);
        let pid = child.id().to_string();
        let before = maps(&pid);
        for _ in 0..10 {
            let seen = state.command("snapshotter", &["check", "--pid", &pid]).run();
            assert_eq!(seen.status, "1", "{seen}");
            assert_eq!(seen.out().matches("is a socket connected to 127.0.0.1:").count(), 2, "{seen}");
            assert!(seen.out().contains("note: a snapshot is not taken from a running process"), "{seen}");
            assert_eq!(maps(&pid), before, "the memory map has changed");
        }
        child.stdin.take().unwrap().write_all(b"x").unwrap();
        let ended = finish(child);
        assert_eq!((ended.out().as_str(), ended.status.as_str()), ("ok\n", "0"), "{ended}");
    }
}

/// A stopped process stays stopped, and a process under a debugger stays with the debugger.
#[test]
fn a_stopped_process_stays_stopped() {
    let state = State::new();
    let exe = state.compile("check_running", &["-pthread"]);
    let mut child = running(&state, &[&exe, "busy"]);
    let pid = child.id().to_string();
    let send = |signal: &str| assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    let wait_for = |wanted: &str| {
        while state_of(&pid).0 != wanted {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    };
    send("-STOP");
    wait_for("T");
    let seen = state.command("snapshotter", &["check", "--pid", &pid]).run();
    assert_eq!(seen.status, "1", "{seen}");
    wait_for("T");
    send("-CONT");
    child.stdin.take().unwrap().write_all(b"x").unwrap();
    let ended = finish(child);
    assert_eq!((ended.out().as_str(), ended.status.as_str()), ("ok\n", "0"), "{ended}");
}
