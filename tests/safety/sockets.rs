//! Unix sockets with a name in a directory of hostile users: the user who serves one, and files with that name.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use snapfn_tests::place;
use snapfn_tests::run::{Run, is_root};
use snapfn_tests::workspace::{WorkFile, Workspace};

/// A program that serves a socket as another user, and prints the number of bytes, and of bytes of control messages,
/// that a client sends.
const STRANGER: &str = include_str!("sockets/stranger.c");

#[test]
fn a_client_sends_nothing_to_a_stranger() {
    if !is_root() {
        place::skip("needs root to be another user");
        return;
    }
    let workspace = Workspace::new();
    let exe = workspace.compile("stranger", STRANGER, &[]);
    let open = workspace.out().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let socket = open.join("pool.sock").to_string_lossy().into_owned();
    let mut stranger = Command::new(exe).args([&socket, "12345"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(stranger.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "listening\n");
    let outcome = workspace.snaprun(&["--from", &socket, "an argument"]).run();
    assert_eq!(outcome.status, "126", "{outcome}");
    assert!(outcome.err().contains("user 12345 serves this socket"), "{outcome}");
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(stranger.wait().unwrap().success());
    assert_eq!(rest, "0 0\n", "bytes and descriptors that the stranger got");
}

/// A program that binds a socket, sets its mode, and prints in an instance the type and mode of its file.
const SERVER: &str = include_str!("sockets/server.c");

/// Runs a command, and replaces its socket by a link to another file as soon as the socket is bound.
const EXCHANGE: &str = include_str!("sockets/exchange.c");

/// A snapshot `served` whose socket lies in the working directory: the socket.
fn served(workspace: &Workspace) -> PathBuf {
    let exe = workspace.compile("served", SERVER, &["-O1"]);
    let socket = workspace.work().join("socket");
    workspace.created(&["--tag", "served", "--at", "ready", "--", &exe, &socket.to_string_lossy()]);
    fs::remove_file(&socket).unwrap();
    socket
}

#[test]
fn the_mode_of_a_bound_socket_is_set_for_no_other_file() {
    let workspace = Workspace::new();
    let socket = served(&workspace);
    // With any umask, the mode is the snapshot's.
    let outcome = workspace.snaprun(&["served"]).run();
    assert_eq!((outcome.status.as_str(), outcome.out().as_str()), ("0", "140602\n"), "{outcome}");
    let victim = WorkFile { name: "victim".into(), content: Some(Vec::new()), mode: 0o640, modified: None };
    workspace.set_work(&[victim]);
    let victim = workspace.work().join("victim");
    let exchange = workspace.compile("exchange", EXCHANGE, &[]);
    let started = workspace.snaprun(&["served"]);
    let before = [exchange, socket.to_string_lossy().into_owned(), victim.to_string_lossy().into_owned()];
    let outcome = Run { argv: before.into_iter().chain(started.argv.clone()).collect(), ..started }.run();
    assert_eq!((outcome.status.as_str(), outcome.out().as_str()), ("0", "120777\n"), "{outcome}");
    assert_eq!(fs::metadata(&victim).unwrap().permissions().mode() & 0o7777, 0o640);
}

#[test]
fn only_stale_sockets_of_this_user_are_replaced() {
    let workspace = Workspace::new();
    let socket = served(&workspace);
    let start = || workspace.snaprun(&["served"]).run();
    let in_use = |what: &str| {
        let outcome = start();
        assert_eq!(outcome.status, "125", "{what}: {outcome}");
        assert!(outcome.err().contains("in use"), "{what}: {outcome}");
    };
    for _ in 0..2 {
        let outcome = start();
        assert_eq!((outcome.status.as_str(), outcome.out().as_str()), ("0", "140602\n"), "{outcome}");
    }
    let own = workspace.work().join("own");
    fs::rename(&socket, &own).unwrap();
    std::os::unix::fs::symlink(&own, &socket).unwrap();
    in_use("a link to a stale socket");
    assert!(own.exists() && socket.is_symlink());
    fs::remove_file(&socket).unwrap();
    fs::write(&socket, "a file").unwrap();
    in_use("a file");
    assert_eq!(fs::read(&socket).unwrap(), b"a file");
    fs::remove_file(&socket).unwrap();
    let live = UnixListener::bind(&socket).unwrap();
    in_use("a socket that is served");
    drop(live);
    if is_root() {
        in_use("another user's socket");
        assert!(fs::symlink_metadata(&socket).unwrap().file_type().is_socket());
    }
}
