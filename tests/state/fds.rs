//! Descriptors: each program prepares its state, calls `snap_ready()` and checks itself. A plain user without
//! capabilities, who owns the files, makes and starts the snapshots.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Child;

use snapfn_tests::place;
use snapfn_tests::run::{Run, finish};
use snapfn_tests::state::{MUSL, State};

/// With both C libraries; the same snapshot is started three times.
fn holds(name: &str) {
    for musl in [false, true] {
        let state = State::new();
        let flags: &[&str] = if musl { MUSL } else { &[] };
        let exe = state.compile(name, flags);
        let made = state.create(name, &[&exe]);
        assert_eq!(made.status, "0", "musl: {musl}: {made}");
        for _ in 0..3 {
            let restored = state.snaprun(&[name]);
            assert_eq!((restored.status.as_str(), restored.out().as_str()), ("0", "ok\n"), "musl: {musl}: {restored}");
        }
    }
}

/// In an ordinary container the snapshotter has neither `kcmp` nor, with Docker, `pidfd_getfd`.
#[test]
fn the_default_profiles_of_container_engines_are_enough() {
    let state = State::new();
    let wrapper = state.compile("wrap_container", &[]);
    let snapshotter = state.command("snapshotter", &[]).argv.remove(0);
    // Those that hold duplicates, descriptors of one anonymous inode, and descriptors in flight.
    const DOCKER: &[&str] =
        &["fd_files", "fd_pipes", "fd_events", "fd_epoll", "fd_socketpairs", "fd_memfd", "fd_numbers", "fd_pty"];
    const PODMAN: &[&str] = &["fd_epoll", "fd_socketpairs"];
    let of = |names: &'static [&str], profile: Option<&'static str>| names.iter().map(move |name| (*name, profile));
    for (name, profile) in of(DOCKER, None).chain(of(PODMAN, Some("--podman"))) {
        let exe = state.compile(name, &[]);
        let words = profile.into_iter().chain([&*snapshotter, "create", "--tag", name, "--at", "ready", "--", &exe]);
        let mut create = state.command("snapshotter", &[]);
        create.argv = std::iter::once(wrapper.clone()).chain(words.map(str::to_owned)).collect();
        let made = create.run();
        assert_eq!(made.status, "0", "{profile:?}: {made}");
        let restored = state.snaprun(&[name]);
        assert_eq!((restored.status.as_str(), restored.out().as_str()), ("0", "ok\n"), "{profile:?}: {restored}");
    }
}

#[test]
fn files_and_directories() {
    holds("fd_files");
}

#[test]
fn deleted_files() {
    holds("fd_deleted");
}

#[test]
fn pipes_and_fifos() {
    holds("fd_pipes");
}

#[test]
fn eventfd_timerfd_signalfd_pidfd() {
    holds("fd_events");
}

#[test]
fn epoll() {
    holds("fd_epoll");
}

#[test]
fn attributes_of_files_without_a_name() {
    holds("fd_attributes");
}

#[test]
fn every_option_of_a_socket() {
    holds("fd_socket_options");
}

#[test]
fn memfd() {
    holds("fd_memfd");
}

#[test]
fn socket_pairs() {
    holds("fd_socketpairs");
}

#[test]
fn sockets() {
    holds("fd_sockets");
}

#[test]
fn peers_and_files_of_threads() {
    holds("fd_peers");
}

/// Files that the program has made and still uses are named: an instance that removes them takes them from the others.
#[test]
fn files_that_the_program_has_made() {
    let state = State::new();
    let exe = state.compile("files_made", &["-lrt"]);
    let before = state.workspace.work().join("there-before");
    fs::write(&before, "").unwrap();
    fs::set_permissions(&before, fs::Permissions::from_mode(0o666)).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    let made = state.create("files_made", &[&exe]);
    let said = made.err();
    let note = said.lines().find(|line| line.contains("the program has made ")).unwrap_or_default();
    assert_eq!(made.status, "0", "{made}");
    assert!(note.contains("made.log") && note.contains("/dev/shm/snapfn-made-"), "{made}");
    assert!(!note.contains("made.cache") && !note.contains("there-before"), "{made}");
    assert_eq!(state.snaprun(&["files_made"]).out(), "ok\n");
    let second = state.snaprun(&["files_made"]);
    assert!(second.status == "125" && second.err().contains("/dev/shm/snapfn-made-"), "{second}");
}

#[test]
fn pseudo_terminals() {
    holds("fd_pty");
}

#[test]
fn inotify() {
    holds("fd_inotify");
}

#[test]
fn locks() {
    holds("fd_locks");
}

#[test]
fn numbers_that_cross() {
    holds("fd_numbers");
}

/// The refusal names all obstacles at once, with the remedy, and the program goes on unchanged.
#[test]
fn refusals_leave_the_program_alone() {
    let state = State::new();
    let exe = state.compile("fd_refused", &[]);
    let refused = state.create("fd_refused", &[&exe]);
    assert_eq!(refused.status, "1", "{refused}");
    for words in
        ["connected to 127.0.0.1:", "netlink socket", "pidfd of process 1", "waiting connections", "descriptor 4"]
    {
        assert!(refused.err().contains(words), "{words}: {refused}");
    }
    let survived = fs::read_to_string(state.workspace.work().join("survived"));
    assert!(survived.is_ok(), "the program did not get through its checks: {refused}");
    if survived.unwrap() == "ring" {
        assert!(refused.err().contains("io_uring"), "{refused}");
    }
    assert_eq!(state.snaprun(&["fd_refused"]).status, "127");
}

#[test]
fn files_that_have_changed_or_gone_are_named() {
    let state = State::new();
    let exe = state.compile("fd_one", &[]);
    let subject = state.workspace.work().join("subject");
    fs::write(&subject, "as it was").unwrap();
    fs::set_permissions(&subject, fs::Permissions::from_mode(0o666)).unwrap();
    let made = state.create("reader", &[&exe]);
    assert_eq!(made.status, "0", "{made}");
    assert_eq!(state.snaprun(&["reader"]).out(), "ok\n");
    for (content, words) in [(Some("changed"), "has changed since"), (None, "no such file")] {
        match content {
            Some(content) => fs::write(&subject, content).unwrap(),
            None => fs::remove_file(&subject).unwrap(),
        }
        let failed = state.snaprun(&["reader"]);
        assert_eq!((failed.status.as_str(), failed.out().as_str()), ("125", ""), "{failed}");
        let path = subject.to_string_lossy().into_owned();
        assert!(failed.err().contains(words) && failed.err().contains(&path), "{failed}");
    }
}

#[test]
fn a_lock_that_somebody_holds_is_named() {
    let state = State::new();
    let exe = state.compile("fd_one", &[]);
    let subject = state.workspace.work().join("subject");
    fs::write(&subject, "").unwrap();
    fs::set_permissions(&subject, fs::Permissions::from_mode(0o666)).unwrap();
    let made = state.create("locker", &[&exe, "lock"]);
    assert_eq!(made.status, "0", "{made}");
    assert_eq!(state.snaprun(&["locker"]).out(), "ok\n");
    let file = fs::File::open(&subject).unwrap();
    file.lock_shared().unwrap();
    let failed = state.snaprun(&["locker"]);
    assert_eq!(failed.status, "125", "{failed}");
    assert!(failed.err().contains("subject is locked by another process"), "{failed}");
    file.unlock().unwrap();
    assert_eq!(state.snaprun(&["locker"]).out(), "ok\n");
}

/// A snapshot of the server, and its port.
fn server() -> (State, u16) {
    let state = State::new();
    let exe = state.compile("fd_server", &[]);
    let made = state.create("server", &[&exe]);
    assert_eq!(made.status, "0", "{made}");
    let port = fs::read_to_string(state.workspace.work().join("port")).unwrap().parse().unwrap();
    (state, port)
}

/// The line that an instance prints when it has begun to serve.
fn serves(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line.trim().to_owned()
}

fn answer(mut stream: impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn many_instances_listen_at_their_own_addresses() {
    let (state, port) = server();
    let mut instances = Vec::new();
    for index in 0..3 {
        let (new, path) = (free_port(), state.workspace.work().join(format!("socket.{index}")));
        let (tcp, unix) = (format!("{port}=127.0.0.1:{new}"), format!("server.sock=unix:{}", path.display()));
        let unix = format!("{}/{unix}", state.workspace.work().display());
        let child = state.command("snaprun", &["--bind", &tcp, &format!("--bind={unix}"), "server", "tu"]).spawn();
        instances.push((child, new, path));
    }
    for (mut child, new, path) in instances {
        assert_eq!(serves(&mut child), format!("at ipv4 {new}"));
        assert_eq!(answer(TcpStream::connect(("127.0.0.1", new)).unwrap()), format!("ipv4 {new}"));
        assert_eq!(answer(UnixStream::connect(&path).unwrap()), format!("unix {}", path.display()));
        let ended = finish(child);
        assert_eq!(ended.status, "0", "{ended}");
    }
}

#[test]
fn a_tcp_socket_can_become_a_unix_socket_and_keep_its_address() {
    let (state, port) = server();
    let path = state.workspace.work().join("http.sock");
    let bind = format!("{port}=unix:{}", path.display());
    let mut child = state.command("snaprun", &["-b", &bind, "server", "tt"]).spawn();
    assert_eq!(serves(&mut child), format!("at unix {}", path.display()));
    assert!(answer(UnixStream::connect(&path).unwrap()).starts_with("unix"));
    // The file that a killed instance leaves is no obstacle.
    child.kill().unwrap();
    child.wait().unwrap();
    let mut child = state.command("snaprun", &["-b", &bind, "server", "t"]).spawn();
    serves(&mut child);
    assert!(answer(UnixStream::connect(&path).unwrap()).starts_with("unix"));
    assert_eq!(finish(child).status, "0");
    // Without --bind the address is the one at the snapshot.
    let mut child = state.command("snaprun", &["server", "t"]).spawn();
    assert_eq!(serves(&mut child), format!("at ipv4 {port}"));
    assert_eq!(answer(TcpStream::connect(("127.0.0.1", port)).unwrap()), format!("ipv4 {port}"));
    assert_eq!(finish(child).status, "0");
}

#[test]
fn an_address_in_use_and_a_bind_without_a_socket_are_named() {
    let (state, port) = server();
    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let failed = state.snaprun(&["server"]);
    assert_eq!(failed.status, "125", "{failed}");
    assert!(
        failed.err().contains(&format!("snaprun: server: cannot listen on 127.0.0.1:{port}: address already in use"))
    );
    assert!(failed.err().contains("--bind"), "{failed}");
    drop(taken);
    let failed = state.snaprun(&["--bind", "1=2", "server"]);
    assert!(failed.status == "125" && failed.err().contains("no socket of the snapshot is there"), "{failed}");
    let failed = state.snaprun(&["--bind", "nonsense", "server"]);
    assert!(failed.status == "125" && failed.err().contains("OLD=NEW"), "{failed}");
}

/// An instance started as systemd does: with sockets that listen at `at` from descriptor 3 on.
fn activated(state: &State, names: &str, at: &[&str], args: &[&str]) -> Child {
    let source = fs::read_to_string(place::tests().join("state/activate.c")).unwrap();
    let activate = state.workspace.compile("activate", &source, &["-O1"]);
    let run = state.command("snaprun", args);
    let mut argv = vec![activate, names.to_owned()];
    argv.extend(at.iter().map(|&at| at.to_owned()));
    argv.push("--".to_owned());
    argv.extend(run.argv.iter().cloned());
    Run { argv, ..run }.spawn()
}

#[test]
fn sockets_are_handed_in_by_name_address_and_order() {
    let (state, port) = server();
    let path = |name: &str| state.workspace.work().join(name).to_string_lossy().into_owned();
    let (own, other) = (path("server.sock"), path("other.sock"));
    let new = free_port().to_string();
    fs::remove_file(&own).unwrap();
    // The sockets match by order, by address in another order, or by name if nothing else fits.
    let named = format!("unknown:{port}");
    for (names, at, unix) in [
        ("", [new.as_str(), other.as_str()], &other),
        ("", [own.as_str(), new.as_str()], &own),
        (named.as_str(), [other.as_str(), new.as_str()], &other),
    ] {
        let mut child = activated(&state, names, &at, &["server", "tu"]);
        let first = serves(&mut child);
        if first != format!("at ipv4 {new}") {
            let _ = child.kill();
            panic!("{at:?}: {first}: {}", finish(child));
        }
        assert_eq!(answer(TcpStream::connect(format!("127.0.0.1:{new}")).unwrap()), format!("ipv4 {new}"));
        assert_eq!(answer(UnixStream::connect(unix).unwrap()), format!("unix {unix}"));
        let ended = finish(child);
        assert_eq!(ended.status, "0", "{ended}");
        fs::remove_file(unix).unwrap();
    }
}
