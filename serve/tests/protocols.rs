//! The protocols `json` and `http`, routes, and deadlines.
#![allow(clippy::unwrap_used)] // a test fails by panicking

mod server;

use server::{Server, status};
use snapfn_tests::workspace::Workspace;

const JSON: &str = include_str!("functions/json.c");
const HTTP: &str = include_str!("functions/http.c");

#[test]
fn json_is_body_in_and_body_out() {
    let workspace = Workspace::new();
    let mut server = Server::with_function(&workspace, "json", JSON, &["--protocol", "json", "--env", "A=set"]);
    let kind = |kind: &str| format!("Content-Type: {kind}\r\n");
    let large = vec![b'x'; 200_000];
    let table: &[(&str, String, &[u8], &str, &str)] = &[
        ("no type", String::new(), b"{}", "200", "\"count\":2}"),
        ("its type", kind("application/json; charset=utf-8"), b"{}", "200", "content-type: application/json\r\n"),
        ("a kind of JSON", kind("application/problem+json"), b"{}", "200", "\"count\":2}"),
        ("another type", kind("text/plain"), b"{}", "415", "application/json only"),
        ("no body", String::new(), b"", "200", "\"count\":0}"),
        ("a body in a file", String::new(), &large, "200", "\"count\":200000}"),
        ("a status", String::new(), b"fail", "500", "the function has failed"),
        ("a signal", String::new(), b"killed", "500", "the function has failed"),
        ("variables", "X-Request-Id: id-7\r\n".to_owned(), b"variables", "200", "\r\n\r\nset id-7"),
    ];
    for (what, headers, body, wanted, text) in table {
        let answer = server.post("/any/path", headers, body);
        assert_eq!(status(&answer), *wanted, "{what}: {answer}");
        assert!(answer.contains(text), "{what}: {answer}");
    }
    assert!(server.line_with("exit status: 3").contains("\"refused\":\"failed\""));
    let answer = server.get("/");
    assert!(status(&answer) == "405" && answer.contains("allow: POST\r\n"), "{answer}");
    let answer = String::from_utf8(server.raw(b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nConnection: close\r\n\r\n"));
    assert_eq!(status(&answer.unwrap()), "405");
}

#[test]
fn http_goes_through_for_one_request() {
    let workspace = Workspace::new();
    let server = Server::with_function(&workspace, "http", HTTP, &["--protocol", "http"]);
    for (path, wanted, end) in [
        ("/chunks", "200", "\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
        // A length beside chunks counts for nothing; another coding is not understood.
        ("/both", "200", "\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        ("/coded", "502", "no valid answer\n"),
        ("/old", "200", "until the end\r\n0\r\n\r\n"),
        ("/hop", "200", "\r\n\r\nok"),
        ("/nothing", "502", "no valid answer\n"),
        ("/nonsense", "502", "no valid answer\n"),
        ("/switch", "502", "no valid answer\n"),
        ("/early", "422", "early"),
    ] {
        let answer = server.get(path);
        assert!(status(&answer) == wanted && answer.ends_with(end), "{path}: {answer}");
    }
    let answer = server.get("/hop");
    assert!(!answer.contains("x-hop") && answer.contains("x-kept: 1"), "{answer}");
    // What is not complete must not look complete.
    for path in ["/killed", "/short", "/cut"] {
        let answer = server.get(path);
        assert!(status(&answer) == "200" && !answer.ends_with("0\r\n\r\n") && answer.len() < 250, "{path}: {answer}");
    }
    let head = String::from_utf8(server.raw(b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).unwrap();
    assert!(head.contains("content-length: 77\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    for length in [0, 1, 65_536, 65_537, 1_000_000] {
        let body: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let sum: usize = body.iter().map(|byte| usize::from(*byte)).sum();
        let answer =
            server.post("/a?b=%20", "Connection: X-Mine\r\nX-Mine: 1\r\nX-Forwarded-For: 192.0.2.1\r\n", &body);
        assert!(answer.contains(&format!("length {length} sum {sum}\nPOST /a?b=%20 HTTP/1.1\r\n")), "{answer}");
        assert!(answer.contains("x-forwarded-for: 192.0.2.1\r\nx-forwarded-for: 127.0.0.1\r\n"), "{answer}");
        assert!(!answer.contains("x-mine") && answer.contains("x-forwarded-proto: http\r\n"), "{answer}");
    }
    // An answer to a body that the function does not read, as often as it takes to find a race.
    let body = vec![0; 1_000_000];
    for _ in 0..30 {
        let answer = server.post("/early", "", &body);
        assert!(status(&answer) == "422" && answer.ends_with("early"), "{answer}");
    }
}

#[test]
fn the_longest_route_of_the_host_has_the_request() {
    let workspace = Workspace::new();
    server::tag(&workspace, "http", HTTP);
    let function = |name: &str, route: &str| {
        format!("[functions.{name}]\nsnapshot = \"http\"\nprotocol = \"http\"\nmin = 1\nroute = {route}\n")
    };
    let config = function("short", "\"/a\"") + &function("long", r#"["/a/b", "Example.org/a"]"#);
    let mut server = Server::with_config(&workspace, &config);
    for (host, path, name, rest) in [
        ("x", "/a", "short", "/"),
        ("x", "/a/", "short", "/"),
        ("x", "/a/c?q", "short", "/c?q"),
        ("x", "/a//c", "short", "//c"),
        ("x", "/a/b", "long", "/"),
        ("x", "/a/b/c%2f", "long", "/c%2f"),
        ("x", "/a/bc", "short", "/bc"),
        ("EXAMPLE.org:81", "/a/c", "long", "/c"),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = String::from_utf8(server.raw(request.as_bytes())).unwrap();
        assert!(answer.contains(&format!("\nGET {rest} HTTP/1.1\r\nhost: {host}\r\n")), "{path}: {answer}");
        assert!(server.line_with("\"status\":200").contains(&format!("\"function\":\"{name}\"")), "{path}");
    }
    for path in ["/", "/ab", "/b"] {
        assert_eq!(status(&server.get(path)), "404", "{path}");
    }
}

#[test]
fn what_is_late_is_refused() {
    let workspace = Workspace::new();
    server::tag(&workspace, "json", JSON);
    server::tag(&workspace, "http", HTTP);
    server::tag(&workspace, "cgi", include_str!("functions/cgi.c"));
    let function = |name: &str, time: &str| {
        format!("[functions.{name}]\nsnapshot = \"{name}\"\nprotocol = \"{name}\"\nroute = \"/{name}\"\n{time}\n")
    };
    let config = function("json", "timeout = \"50ms\"\nbody-timeout = \"50ms\"")
        + &function("http", "first-byte-timeout = \"50ms\"")
        + &function("cgi", "first-byte-timeout = \"50ms\"");
    let server = Server::with_config(&workspace, &config);
    assert_eq!(status(&server.post("/json", "", b"wait")), "504");
    assert_eq!(status(&server.get("/http/wait")), "504");
    assert_eq!(status(&server.get("/cgi?wait")), "504");
    let late = server.raw(b"POST /json HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf");
    assert_eq!(status(&String::from_utf8(late).unwrap()), "408");
}
