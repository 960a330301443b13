//! What the host lacks: files of a snapshot, descriptors, space for bodies, room for variables.
#![allow(clippy::unwrap_used)] // a test fails by panicking

mod server;

use server::{Server, status, tag};
use snapfn_tests::workspace::Workspace;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

const JSON: &str = include_str!("functions/json.c");
const CGI: &str = include_str!("functions/cgi.c");

/// A snapshot whose program has a file open, which is gone when it is started.
#[test]
fn a_snapshot_whose_file_is_gone_neither_takes_over_nor_starts() {
    let workspace = Workspace::new();
    let mut server = Server::with_function(&workspace, "json", JSON, &["--protocol", "json"]);
    let data = workspace.out().join("data");
    std::fs::write(&data, "data").unwrap();
    let open = format!(
        "#include <fcntl.h>\n__attribute__((constructor)) static void data(void) {{ open(\"{}\", O_RDONLY); }}\n",
        data.display()
    );
    tag(&workspace, "gone", &format!("#define VERSION \"two\"\n{JSON}{open}"));
    let aside = workspace.out().join("aside");
    std::fs::rename(&data, &aside).unwrap();
    server::move_tag(&workspace, "gone", "json");
    let line = server.line_with("cannot take over");
    assert!(line.contains("goes on") && line.contains("data"), "{line}");
    assert!(server.post("/", "", b"").contains("\"version\":\"one\""));
    assert_eq!(status(&server.get("/readyz")), "200");
    assert!(server.get("/metrics").contains("takeovers_total{function=\"json\",result=\"failed\"} 1\n"));
    let start = server::snapserve(&workspace).args(["--check", "gone"]).output().unwrap();
    let error = String::from_utf8_lossy(&start.stderr);
    assert!(start.status.code() == Some(1) && error.contains("data"), "{error}");
    // With its file, it takes over.
    std::fs::rename(&aside, &data).unwrap();
    server.signal("HUP");
    server.line_with("has taken over");
    assert!(server.post("/", "", b"").contains("\"version\":\"two\""));
}

/// The most that may be configured, with the longest head.
#[test]
fn variables_that_an_instance_does_not_accept_are_refused_when_the_configuration_is_read() {
    let workspace = Workspace::new();
    tag(&workspace, "cgi", CGI);
    let config = |length: usize| {
        let value = "v".repeat(length);
        format!(
            "header-bytes = \"64KiB\"\n[functions.cgi]\nsnapshot = \"cgi\"\nroute = \"/\"\nenv = {{ A = \"{value}\" }}\n"
        )
    };
    server::configure(&workspace, &config(1 << 20));
    let file = workspace.out().join("serve.toml");
    let start = server::snapserve(&workspace).arg("--check").arg("--config").arg(&file).output().unwrap();
    let error = String::from_utf8_lossy(&start.stderr);
    assert!(start.status.code() == Some(1) && error.contains("functions.cgi: arguments and variables"), "{error}");
    let server = Server::with_config(&workspace, &config((1 << 20) - 3));
    let (path, header) = ("p".repeat(30_000), "h".repeat(30_000));
    // HTTP/1.0 has no chunks, which would break the lines.
    let request = format!("GET /{path}?variables HTTP/1.0\r\nX: {header}\r\n\r\n");
    let answer = String::from_utf8(server.raw(request.as_bytes())).unwrap();
    assert_eq!(status(&answer), "200");
    assert!(answer.contains(&format!("\nPATH_INFO=/{path}\n")) && answer.contains(&format!("\nHTTP_X={header}\n")));
}

/// A client that keeps its connection: the head of the next answer.
fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while !String::from_utf8_lossy(&answer).contains("\r\n\r\n") {
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "the connection has ended");
        answer.extend_from_slice(&piece[..count]);
    }
    String::from_utf8(answer).unwrap()
}

#[test]
fn without_descriptors_requests_get_503_and_later_200_again() {
    let workspace = Workspace::new();
    tag(&workspace, "cgi", CGI);
    let mut command = Command::new("sh");
    let script = "ulimit -S -n 48; exec \"$0\" --listen 127.0.0.1:0 cgi";
    command.args(["-c", script, env!("CARGO_BIN_EXE_snapserve")]);
    let mut server = Server::start(server::with_environment(command, &workspace));
    let mut first = server.connect(b"");
    assert_eq!(status(&ask(&mut first)), "200");
    let idle: Vec<TcpStream> = (0..60).map(|_| server.connect(b"")).collect();
    server.line_with("accept: ");
    let refused = ask(&mut first);
    assert!(status(&refused) == "503" && refused.contains("retry-after: 1\r\n"), "{refused}");
    drop(idle);
    loop {
        match status(&ask(&mut first)) {
            "200" => break,
            other => assert_eq!(other, "503"),
        }
        sleep(Duration::from_millis(20));
    }
    // The pool is as it was.
    while server.children().len() != 2 {
        sleep(Duration::from_millis(5));
    }
    assert_eq!(status(&server.get("/readyz")), "200");
}

/// The folder of bodies is a small tmpfs in a namespace of the server's own.
#[test]
fn without_space_for_its_body_a_request_gets_503() {
    let workspace = Workspace::new();
    let can = Command::new("unshare").args(["--user", "--map-root-user", "--mount", "true"]).status();
    if !can.is_ok_and(|status| status.success()) {
        assert!(!snapfn_tests::place::strict(), "no namespace for a small tmpfs");
        eprintln!("skipped: a small tmpfs needs a user namespace");
        return;
    }
    tag(&workspace, "cgi", CGI);
    let spool = workspace.out().join("spool");
    std::fs::create_dir(&spool).unwrap();
    let script = "mount -t tmpfs -o size=512k none \"$TMPDIR\" && exec \"$0\" --listen 127.0.0.1:0 cgi";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_snapserve")]);
    command.env("TMPDIR", &spool);
    let mut server = Server::start(server::with_environment(command, &workspace));
    for (length, expected) in [(200_000, "200"), (1_000_000, "503"), (60_000, "200"), (200_000, "200")] {
        let answer = server.post("/?echo", "", &vec![b'a'; length]);
        assert_eq!(status(&answer), expected, "{length}: {}", &answer[..answer.len().min(300)]);
        if expected == "503" {
            assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
            let line = server.line_with("\"refused\":\"resources\"");
            assert!(line.contains("spooling: No space left"), "{line}");
        }
    }
}
