//! A CGI program in C behind `snapserve`: statuses, framing, refusals, and that nothing is left over.
#![allow(clippy::unwrap_used)] // a test fails by panicking

mod server;

use server::Server;
use snapfn_tests::workspace::Workspace;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;

const CGI: &str = include_str!("functions/cgi.c");

/// Statuses by RFC 9110, 9112 and 3875.
#[test]
fn a_table_of_requests() {
    let workspace = Workspace::new();
    let mut server = Server::with_function(&workspace, "cgi", CGI, &[]);
    let close = "Host: a\r\nConnection: close\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let table: &[(&str, String, &str, &str)] = &[
        ("a document", format!("GET / HTTP/1.1\r\n{close}\r\n"), "200", "hello"),
        ("HTTP/1.0", "GET / HTTP/1.0\r\n\r\n".into(), "200", "\r\n\r\nhello\n"),
        ("no body", format!("HEAD / HTTP/1.1\r\n{close}\r\n"), "200", ""),
        ("own status", format!("GET /?status HTTP/1.1\r\n{close}\r\n"), "418", "x-own: yes"),
        (
            "local redirect",
            format!("POST /?redirect HTTP/1.1\r\n{close}Content-Length: 1\r\n\r\nx"),
            "200",
            "GET /other",
        ),
        ("redirect", format!("GET /?away HTTP/1.1\r\n{close}\r\n"), "302", "location: http://example.org/"),
        ("body ends at its length", format!("GET /?long HTTP/1.1\r\n{close}\r\n"), "200", "\r\n\r\nlonge"),
        ("no content", format!("GET /?none HTTP/1.1\r\n{close}\r\n"), "204", ""),
        ("body", format!("POST /?echo HTTP/1.1\r\n{close}Content-Length: 3\r\n\r\nabc"), "200", "\r\n\r\nabc"),
        ("empty body", format!("POST /?echo HTTP/1.1\r\n{close}Content-Length: 0\r\n\r\n"), "200", "content-length: 0"),
        (
            "chunks",
            format!("POST /?echo HTTP/1.1\r\n{close}{chunked}\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"),
            "200",
            "\r\n\r\nabc",
        ),
        (
            "continue",
            format!("POST /?echo HTTP/1.1\r\n{close}Expect: 100-continue\r\nContent-Length: 2\r\n\r\nab"),
            "100",
            "ab",
        ),
        (
            "two lengths",
            format!("POST /?echo HTTP/1.1\r\n{close}{chunked}Content-Length: 5\r\n\r\n0\r\n\r\n"),
            "400",
            "",
        ),
        (
            "two lengths",
            format!("POST /?echo HTTP/1.1\r\n{close}Content-Length: 5\r\n{chunked}\r\n0\r\n\r\n"),
            "400",
            "",
        ),
        ("unknown coding", format!("POST / HTTP/1.1\r\n{close}Transfer-Encoding: gzip, chunked\r\n\r\n"), "501", ""),
        ("no chunks", format!("POST / HTTP/1.1\r\n{close}Transfer-Encoding: identity\r\n\r\n"), "400", ""),
        ("not a chunk", format!("POST /?echo HTTP/1.1\r\n{close}{chunked}\r\nxyz\r\n"), "400", ""),
        ("not a length", format!("POST / HTTP/1.1\r\n{close}Content-Length: +1\r\n\r\na"), "400", ""),
        (
            "different lengths",
            format!("POST / HTTP/1.1\r\n{close}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
            "400",
            "",
        ),
        ("folded header", format!("GET / HTTP/1.1\r\n{close}X: a\r\n b\r\n\r\n"), "400", ""),
        ("space before the colon", format!("GET / HTTP/1.1\r\n{close}X : a\r\n\r\n"), "400", ""),
        ("no Host", "GET / HTTP/1.1\r\nConnection: close\r\n\r\n".into(), "400", ""),
        ("two Hosts", format!("GET / HTTP/1.1\r\n{close}Host: b\r\n\r\n"), "400", ""),
        ("no Host at all", "GET / HTTP/1.1\r\nHost: a/b\r\nConnection: close\r\n\r\n".into(), "400", ""),
        ("dots", format!("GET /a/%2e%2e/b HTTP/1.1\r\n{close}\r\n"), "400", ""),
        ("zero byte", format!("GET /%00 HTTP/1.1\r\n{close}\r\n"), "400", ""),
        ("percent", format!("GET /%zz HTTP/1.1\r\n{close}\r\n"), "400", ""),
        ("no method", format!("TRACE / HTTP/1.1\r\n{close}\r\n"), "405", "allow: GET"),
        ("unknown method", format!("FROB /?path HTTP/1.1\r\n{close}\r\n"), "200", "FROB /"),
        ("expectation", format!("GET / HTTP/1.1\r\n{close}Expect: rain\r\n\r\n"), "417", ""),
        ("too large", format!("POST /?echo HTTP/1.1\r\n{close}Content-Length: 9999999\r\n\r\n"), "413", ""),
        ("large head", format!("GET / HTTP/1.1\r\n{close}X: {}\r\n\r\n", "a".repeat(70_000)), "431", ""),
        ("silent program", format!("GET /?silent HTTP/1.1\r\n{close}\r\n"), "502", ""),
        ("nonsense", format!("GET /?nonsense HTTP/1.1\r\n{close}\r\n"), "502", ""),
        ("the server", format!("OPTIONS * HTTP/1.1\r\n{close}\r\n"), "204", "allow: GET"),
        ("health", format!("GET /healthz HTTP/1.1\r\n{close}\r\n"), "200", "ok"),
        ("readiness", format!("GET /readyz HTTP/1.1\r\n{close}\r\n"), "200", "ready"),
        ("metrics", format!("GET /metrics HTTP/1.1\r\n{close}\r\n"), "200", "# EOF"),
        (
            "pipelined",
            format!("GET /?path HTTP/1.1\r\nHost: a\r\n\r\nPUT /?path HTTP/1.1\r\n{close}\r\n"),
            "200",
            "PUT /",
        ),
    ];
    for (what, request, status, text) in table {
        let answer = String::from_utf8_lossy(&server.raw(request.as_bytes())).into_owned();
        assert_eq!(answer.split(' ').nth(1), Some(*status), "{what}: {answer}");
        assert!(answer.contains(text), "{what}: {answer}");
    }
    // What is not complete must not look complete: neither an answer that is too short, nor one whose program
    // was killed.
    for query in ["short", "killed"] {
        let answer = server.get(&format!("/?{query}"));
        assert!(!answer.ends_with("0\r\n\r\n") && !answer.contains("\r\n\r\nshort12345"), "{answer}");
        assert!(server.line_with("the answer is cut").contains("\"function\":\"cgi\""));
    }
    // In HTTP/1.0 an answer ends with its connection: one that is cut ends with a reset.
    for (query, is_reset) in [("killed", true), ("long-ago", false)] {
        let mut stream = server.connect(format!("GET /?{query} HTTP/1.0\r\nHost: a\r\n\r\n").as_bytes());
        let ended = stream.read_to_end(&mut Vec::new());
        assert_eq!(ended.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset), is_reset, "{query}");
    }
    // A body in a file, and one in memory.
    for len in [0usize, 1, 65_536, 65_537, 1_000_000] {
        let body: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        let mut request = format!("POST /?echo HTTP/1.1\r\n{close}Content-Length: {len}\r\n\r\n").into_bytes();
        request.extend_from_slice(&body);
        let answer = server.raw(&request);
        assert!(answer.ends_with(&body) && answer.starts_with(b"HTTP/1.1 200"), "{len}");
    }
    let head =
        format!("GET /?variables HTTP/1.1\r\n{close}Proxy: a\r\nX-A: 1\r\nX_A: 2\r\nX-A: 3\r\nTE: trailers\r\n\r\n");
    let answer = String::from_utf8(server.raw(head.as_bytes())).unwrap();
    assert!(answer.contains("\nHTTP_X_A=1, 3\n") && answer.contains("\nGATEWAY_INTERFACE=CGI/1.1\n"), "{answer}");
    assert!(!answer.contains("HTTP_PROXY") && !answer.contains("HTTP_TE") && !answer.contains("HTTP_CONNECTION"));
}

/// More clients than instances and places in the queue; then all of them go.
#[test]
fn clients_that_wait_are_bounded_and_take_their_instances_along() {
    let workspace = Workspace::new();
    let mut server = Server::with_function(&workspace, "cgi", CGI, &["--max", "2", "--queue", "1"]);
    let request = b"GET /?wait HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let running: Vec<TcpStream> = (0..2)
        .map(|_| {
            let stream = server.connect(request);
            server.line_with("\"stream\":\"stderr\"");
            stream
        })
        .collect();
    assert_eq!(server.children().len(), 2);
    // One of the others may wait, whichever comes first; the rest is refused at once.
    let others: Vec<TcpStream> = (0..20).map(|_| server.connect(request)).collect();
    for _ in 0..19 {
        server.line_with("\"refused\":\"queue-full\"");
    }
    assert_eq!(server.children().len(), 2);
    drop((running, others));
    // The server notices one after the other; then instances are free for the next client.
    while !server.get("/").contains("hello") {}
    // A signal ends it, and with it everything.
    server.signal("TERM");
    assert!(server.process.wait().unwrap().success());
}
