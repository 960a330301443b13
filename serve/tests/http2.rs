//! HTTP/2 without TLS, by prior knowledge, with hyper's client.
#![allow(clippy::unwrap_used)] // a test fails by panicking

mod server;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Method, Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use server::Server;
use snapfn_tests::workspace::Workspace;
use std::time::Duration;
use tokio::net::TcpStream;

const CGI: &str = include_str!("functions/cgi.c");

type Client = SendRequest<Full<Bytes>>;

async fn connect(server: &Server) -> Client {
    let stream = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    let (client, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn send(client: &mut Client, method: Method, path: &str, body: &[u8]) -> Response<hyper::body::Incoming> {
    client.send_request(request(method, path, body)).await.unwrap()
}

fn request(method: Method, path: &str, body: &[u8]) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(format!("http://example.org{path}"));
    request.body(Full::new(Bytes::copy_from_slice(body))).unwrap()
}

/// Status and body.
async fn answer(client: &mut Client, method: Method, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let response = send(client, method, path, body).await;
    assert_eq!(response.version(), Version::HTTP_2);
    (response.status().as_u16(), response.into_body().collect().await.unwrap().to_bytes().to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_one_connection_are_requests_like_others() {
    let workspace = Workspace::new();
    let server = Server::with_function(&workspace, "cgi", CGI, &[]);
    let mut client = connect(&server).await;
    let client = &mut client;
    assert_eq!(answer(client, Method::GET, "/", b"").await, (200, b"hello\n".to_vec()));
    assert_eq!(answer(client, Method::HEAD, "/", b"").await, (200, Vec::new()));
    assert_eq!(answer(client, Method::TRACE, "/", b"").await.0, 405);
    assert_eq!(answer(client, Method::GET, "/a/%2e%2e/b", b"").await.0, 400);
    assert_eq!(answer(client, Method::GET, "/?nonsense", b"").await.0, 502);
    assert_eq!(answer(client, Method::GET, "/healthz", b"").await.0, 200);
    let (_, variables) = answer(client, Method::GET, "/?variables", b"").await;
    let variables = String::from_utf8(variables).unwrap();
    for variable in ["SERVER_PROTOCOL=HTTP/2.0", "HTTP_HOST=example.org", "SERVER_NAME=example.org"] {
        assert!(variables.contains(&format!("\n{variable}\n")), "{variables}");
    }
    for length in [0, 1, 65_536, 65_537, 1_000_000] {
        let body: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        assert!(answer(client, Method::POST, "/?echo", &body).await == (200, body), "{length}");
    }
    assert_eq!(answer(client, Method::POST, "/?echo", &vec![0; 2 << 20]).await.0, 413);
    // What is not complete does not look complete: the stream is reset, and the connection goes on.
    for path in ["/?short", "/?killed"] {
        // If the reset comes soon, the client sees it instead of the head.
        if let Ok(response) = client.send_request(request(Method::GET, path, b"")).await {
            assert!(response.into_body().collect().await.is_err(), "{path}");
        }
    }
    // Many streams at once, each with an answer of its own.
    let all = (0..60).map(|number| {
        let mut client = client.clone();
        tokio::spawn(async move {
            let body = format!("stream {number}");
            (answer(&mut client, Method::POST, "/?echo", body.as_bytes()).await, body)
        })
    });
    for stream in all.collect::<Vec<_>>() {
        let ((status, answer), body) = stream.await.unwrap();
        assert_eq!((status, answer), (200, body.into_bytes()));
    }
}

/// A stream that its client resets takes its instance along; the connection goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_reset_ends_its_instance() {
    let workspace = Workspace::new();
    let mut server = Server::with_function(&workspace, "cgi", CGI, &["--min", "1", "--max", "1"]);
    let mut client = connect(&server).await;
    let waiting = tokio::spawn({
        let mut client = client.clone();
        async move { send(&mut client, Method::GET, "/?wait", b"").await }
    });
    let line = tokio::task::block_in_place(|| server.line_with("\"stream\":\"stderr\""));
    waiting.abort();
    // There is one instance at a time, so the next answer needs the end of that one.
    let next = tokio::time::timeout(Duration::from_secs(20), answer(&mut client, Method::GET, "/", b"")).await;
    assert_eq!(next.unwrap().0, 200, "{line}");
}
