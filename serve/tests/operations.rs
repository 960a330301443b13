//! What operators do: another configuration, another snapshot, sockets and notices of systemd, and kills.
#![allow(clippy::unwrap_used)] // a test fails by panicking

mod server;

use server::{Server, configure, is_alive, kill, rest, status, tag};
use snapfn_tests::workspace::Workspace;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

const JSON: &str = include_str!("functions/json.c");

/// Another version of the function.
fn second() -> String {
    format!("#define VERSION \"two\"\n{JSON}")
}

fn function(name: &str, more: &str) -> String {
    format!("[functions.{name}]\nsnapshot = \"json\"\nprotocol = \"json\"\nroute = \"/{name}\"\n{more}\n")
}

#[test]
fn sighup_puts_a_good_file_in_force_and_leaves_all_as_it_was_with_a_bad_one() {
    let workspace = Workspace::new();
    tag(&workspace, "json", JSON);
    let mut server = Server::with_config(&workspace, &(function("a", "") + &function("b", "")));
    let counts = server.children().len();
    let file = workspace.out().join("go");
    let waiting = server.connect(&server::post("/b", "", format!("until {}", file.display()).as_bytes()));
    server.line_with("begun");
    configure(&workspace, &(function("a", "") + &function("c", "env = { A = \"new\" }")));
    server.signal("HUP");
    server.line_with("the configuration has been read again");
    assert_eq!(status(&server.post("/b", "", b"")), "404");
    assert!(server.post("/c", "X-Request-Id: i\r\n", b"variables").ends_with("new i"));
    // The request at the function that has gone is finished, and then nothing of it is left.
    std::fs::write(&file, "").unwrap();
    assert_eq!(status(&String::from_utf8(rest(waiting)).unwrap()), "200");
    while server.children().len() != counts {
        sleep(Duration::from_millis(5));
    }
    // The server may notice the end of the earlier connections later.
    let metrics = loop {
        let metrics = server.get("/metrics");
        if metrics.contains("snapserve_connections 1\n") {
            break metrics;
        }
        sleep(Duration::from_millis(5));
    };
    assert!(metrics.contains("snapserve_instances{function=\"c\"") && metrics.contains("snapserve_reloads_total 1\n"));
    assert!(!metrics.contains("snapserve_instances{function=\"b\""));
    // Functions with names before and behind that of the bad one, so that some have been started already.
    let bad = function("B", "") + &function("d", "").replace("\"json\"\nprotocol", "\"nothing\"\nprotocol");
    for (config, why) in [
        ("nonsense".to_owned(), "serve.toml"),
        (bad, "functions.d: nothing: no such snapshot"),
        (function("a", "colour = 1"), "colour"),
        (format!("connections = 7\n{}", function("a", "")), "only in a new start"),
    ] {
        configure(&workspace, &config);
        server.signal("HUP");
        assert!(server.line_with("the configuration stays as it was").contains(why), "{why}");
        for path in ["/a", "/c"] {
            assert_eq!(status(&server.post(path, "", b"")), "200", "{why}");
        }
        while server.children().len() != counts {
            sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_tag_that_moves_is_taken_over_without_a_lost_request() {
    let workspace = Workspace::new();
    let mut server = Server::with_function(&workspace, "json", JSON, &["--protocol", "json"]);
    let file = workspace.out().join("go");
    let body = format!("until {}", file.display());
    let waiting = server.connect(&server::post("/", "", body.as_bytes()));
    server.line_with("begun");
    let is_done = AtomicBool::new(false);
    let port = server.port;
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
                    std::io::Write::write_all(&mut stream, &server::post("/", "", b"{}")).unwrap();
                    let answer = String::from_utf8(rest(stream)).unwrap();
                    let is_one = ["one", "two"].iter().any(|version| answer.contains(&format!("\"{version}\"")));
                    assert!(status(&answer) == "200" && is_one, "{answer}");
                }
            });
        }
        for source in [&*second(), JSON, &*second()] {
            tag(&workspace, "json", source);
            server.line_with("has taken over");
            let version = if source == JSON { "one" } else { "two" };
            assert!(server.post("/", "", b"").contains(&format!("\"version\":\"{version}\"")));
        }
        is_done.store(true, Ordering::Relaxed);
    });
    // One that was running all the time counts, whichever snapshot it is of.
    let running = |count| format!("snapserve_instances{{function=\"json\",state=\"running\"}} {count}\n");
    assert!((0..200).any(|_| {
        sleep(Duration::from_millis(5));
        server.get("/metrics").contains(&running(1))
    }));
    // It is answered by the snapshot that has begun it.
    std::fs::write(&file, "").unwrap();
    let answer = String::from_utf8(rest(waiting)).unwrap();
    assert!(status(&answer) == "200" && answer.contains("\"version\":\"one\""), "{answer}");
    // A snapshot that cannot be prepared takes nothing over; the next one does.
    tag(&workspace, "other", &second());
    let refs = workspace.store().join("refs");
    let damaged = std::fs::canonicalize(refs.join("other/latest")).unwrap();
    let half = std::fs::read(&damaged).unwrap();
    std::fs::remove_file(&damaged).unwrap();
    std::fs::write(&damaged, &half[..half.len() / 2]).unwrap();
    // The same file as another name of the store, so that it has another identity.
    let copy = damaged.with_file_name("0".repeat(64));
    std::fs::rename(&damaged, &copy).unwrap();
    let link = refs.join("json/new");
    std::os::unix::fs::symlink(format!("../../snap/{}", "0".repeat(64)), &link).unwrap();
    std::fs::rename(&link, refs.join("json/latest")).unwrap();
    server.line_with("cannot take over");
    assert!(server.post("/", "", b"").contains("\"version\":\"two\""));
    assert!(server.get("/metrics").contains("takeovers_total{function=\"json\",result=\"failed\"} 1\n"));
    tag(&workspace, "json", JSON);
    server.line_with("has taken over");
    assert!(server.post("/", "", b"").contains("\"version\":\"one\""));
}

/// `snapserve` with a socket as its descriptor 3, as systemd passes it.
fn with_socket(workspace: &Workspace, socket: OwnedFd) -> Command {
    // A shell, so that LISTEN_PID is the process that becomes snapserve; a descriptor that is not a standard stream
    // would be closed by then.
    let script = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" --protocol json json 3<&0 </dev/null";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_snapserve")]).stdin(socket);
    server::with_environment(command, workspace)
}

#[test]
fn sockets_of_systemd_are_used_or_refused() {
    let workspace = Workspace::new();
    tag(&workspace, "json", JSON);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let server = Server::start(with_socket(&workspace, socket.into()));
    assert_eq!(server.port, port);
    assert_eq!(status(&server.post("/", "", b"")), "200");
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap().into();
    let (connected, _other) = UnixStream::pair().unwrap();
    let file = std::fs::File::open("/dev/null").unwrap().into();
    for (fd, why) in [(datagrams, "does not listen"), (connected.into(), "does not listen"), (file, "is no socket")] {
        let output = with_socket(&workspace, fd).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("LISTEN_FDS: descriptor 3") && text.contains(why), "{text}");
    }
}

#[test]
fn systemd_hears_of_start_reload_and_end() {
    let workspace = Workspace::new();
    tag(&workspace, "json", JSON);
    configure(&workspace, &function("a", ""));
    let path = workspace.out().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let mut command = server::snapserve(&workspace);
    command.args(["--listen", "127.0.0.1:0", "--config"]).arg(workspace.out().join("serve.toml"));
    let mut server = Server::start({
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
        command
    });
    let hear = |word: &str| {
        let mut buffer = [0; 256];
        loop {
            let count = socket.recv(&mut buffer).unwrap();
            if String::from_utf8_lossy(&buffer[..count]).starts_with(word) {
                return;
            }
        }
    };
    hear("READY=1");
    hear("WATCHDOG=1");
    server.signal("HUP");
    hear("RELOADING=1\nMONOTONIC_USEC=");
    hear("READY=1");
    server.signal("TERM");
    hear("STOPPING=1");
    assert!(server.process.wait().unwrap().success());
}

/// A program that stands in for `snaprun` and waits as long as the test wants.
#[test]
fn neither_the_watchdog_nor_sigterm_waits_for_a_reload() {
    let workspace = Workspace::new();
    tag(&workspace, "json", JSON);
    configure(&workspace, &function("a", ""));
    let (path, hold, held) =
        (workspace.out().join("notify"), workspace.out().join("hold"), workspace.out().join("held"));
    let script = format!(
        "#!/bin/sh\nif [ -e {hold} ]; then touch {held}; while [ -e {hold} ]; do sleep 0.01; done; fi\nexec {} \"$@\"\n",
        snapfn_tests::place::binary("snaprun").display(),
        hold = hold.display(),
        held = held.display()
    );
    let slow = workspace.out().join("snaprun");
    std::fs::write(&slow, script).unwrap();
    std::fs::set_permissions(&slow, std::fs::Permissions::from_mode(0o755)).unwrap();
    let socket = UnixDatagram::bind(&path).unwrap();
    let mut command = server::snapserve(&workspace);
    command.args(["--listen", "127.0.0.1:0", "--config"]).arg(workspace.out().join("serve.toml"));
    command.env("SNAPFN_SNAPRUN", &slow).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "100000");
    let mut server = Server::start(command);
    std::fs::write(&hold, "").unwrap();
    configure(&workspace, &function("b", ""));
    server.signal("HUP");
    while !held.exists() {
        sleep(Duration::from_millis(5));
    }
    // What was sent before does not count.
    socket.set_nonblocking(true).unwrap();
    while socket.recv(&mut [0; 256]).is_ok() {}
    socket.set_nonblocking(false).unwrap();
    let mut buffer = [0; 256];
    for _ in 0..3 {
        let count = socket.recv(&mut buffer).unwrap();
        assert!(buffer[..count].starts_with(b"WATCHDOG=1"));
    }
    assert_eq!(status(&server.post("/a", "", b"")), "200");
    server.signal("TERM");
    assert!(server.process.wait().unwrap().success());
    let _ = std::fs::remove_file(&hold);
}

#[test]
fn nothing_outlives_a_snapserve_that_is_killed() {
    let workspace = Workspace::new();
    let mut server = Server::with_function(&workspace, "json", JSON, &["--protocol", "json"]);
    let streams = [(); 3].map(|()| server.connect(&server::post("/", "", b"wait")));
    streams.iter().for_each(|_| drop(server.line_with("begun")));
    let instances = server.children();
    assert!(instances.len() >= 3);
    server.signal("KILL");
    server.process.wait().unwrap();
    while instances.iter().any(|pid| is_alive(*pid)) {
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn kills_of_instances_give_refusals_and_no_wrong_answer() {
    let workspace = Workspace::new();
    let server = Server::with_function(&workspace, "cgi", include_str!("functions/cgi.c"), &[]);
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let server = &server;
        let clients: Vec<_> = (0..3)
            .map(|client| {
                scope.spawn(move || {
                    for at in 0..100 {
                        let body = format!("{client} {at} ").repeat(at * 7 + 1);
                        let answer = server.post("/?echo", "", body.as_bytes());
                        match answer.split_once("\r\n\r\n") {
                            // A killed instance cuts its answer, which its length then tells.
                            Some((head, got)) if status(head) == "200" => {
                                assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
                                assert!(body.starts_with(got), "{got} instead of {body}");
                            }
                            _ => assert!(["502", "503"].contains(&status(&answer)), "{answer}"),
                        }
                    }
                })
            })
            .collect();
        let is_done = &is_done;
        scope.spawn(move || {
            while !is_done.load(Ordering::Relaxed) {
                server.children().iter().for_each(|pid| kill("KILL", *pid));
            }
        });
        let results: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        is_done.store(true, Ordering::Relaxed);
        results.into_iter().for_each(|result| result.unwrap());
    });
    while status(&server.get("/")) != "200" {}
}

/// More variables than a socket holds, and instances that something has stopped.
#[test]
fn a_stopped_instance_holds_up_nothing() {
    let workspace = Workspace::new();
    tag(&workspace, "json", JSON);
    let lines: String = (0..600).map(|at| format!("V{at}={}\n", "x".repeat(1000))).collect();
    std::fs::write(workspace.out().join("many"), lines).unwrap();
    let server = Server::with_config(&workspace, &function("a", "env-file = \"many\""));
    server.children().iter().for_each(|pid| kill("STOP", *pid));
    assert_eq!(status(&server.post("/a", "", b"")), "200");
}
