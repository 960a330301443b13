//! Load while instances are killed and the tag moves: no wrong answer, no answer of another request, nothing left over.
//!
//! Requests come at a rate of their own, whether or not earlier ones have been answered, and a latency begins when its
//! request was due. Variables set the size: `SNAPFN_LOAD=REQUESTS,CONNECTIONS,RATE,MOVES`, for example
//! `10000,200,700,10`. It prints the latencies.
#![allow(clippy::unwrap_used)] // a test fails by panicking

mod server;

use server::{Server, is_alive, kill, tag};
use snapfn_tests::workspace::Workspace;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

const FUNCTION: &str = r#"
#include <stdio.h>
int main(void) {
    char body[4096];
    size_t count = fread(body, 1, sizeof body, stdin);
    printf("%s ", VERSION);
    return fwrite(body, 1, count, stdout) != count;
}
"#;

/// Sends a request on the connection, which is made anew where there is none: the status and the body.
fn ask(connection: &mut Option<TcpStream>, port: u16, body: &str) -> std::io::Result<(u16, String)> {
    let stream = match connection {
        Some(stream) => stream,
        None => connection.insert(TcpStream::connect(("127.0.0.1", port))?),
    };
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(stream, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    let mut answer = Vec::new();
    let mut piece = [0; 8192];
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, rest)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if rest.len() >= length.parse().unwrap() {
                return Ok((server::status(head).parse().unwrap(), rest.to_owned()));
            }
        }
        match stream.read(&mut piece)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => answer.extend_from_slice(&piece[..count]),
        }
    }
}

#[test]
fn answers_under_load_are_right_while_instances_are_killed_and_the_tag_moves() {
    let size = std::env::var("SNAPFN_LOAD").unwrap_or("800,20,250,2".to_owned());
    let size: Vec<usize> = size.split(',').map(|number| number.parse().unwrap()).collect();
    let [requests, connections, rate, moves] = size[..] else { panic!("SNAPFN_LOAD: four numbers") };
    let workspace = Workspace::new();
    for version in ["one", "two"] {
        tag(&workspace, version, &format!("#define VERSION \"{version}\"\n{FUNCTION}"));
    }
    let arguments = ["--protocol", "json", "--queue", "4096"];
    let mut server =
        Server::with_function(&workspace, "load", &format!("#define VERSION \"one\"\n{FUNCTION}"), &arguments);
    let (port, parent) = (server.port, server.process.id());
    let (next, is_done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let seen = Mutex::new(Vec::new());
    let answers: Mutex<(BTreeMap<u16, usize>, Vec<Duration>)> = Mutex::default();
    let begin = Instant::now();
    scope(|scope| {
        let clients: Vec<_> = (0..connections)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = None;
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= requests {
                            return;
                        }
                        let due = begin + Duration::from_secs_f64(number as f64 / rate as f64);
                        sleep(due.saturating_duration_since(Instant::now()));
                        let body = format!("request {number}");
                        let (status, answer) = ask(&mut connection, port, &body).unwrap();
                        let is_right = ["one", "two"].iter().any(|version| answer == format!("{version} {body}"));
                        // A `json` function that was killed has failed, and the queue has a bound and a time.
                        assert!(
                            status == 200 && is_right || [500, 502, 503, 504].contains(&status),
                            "{status} {answer}"
                        );
                        let mut answers = answers.lock().unwrap();
                        *answers.0.entry(status).or_default() += 1;
                        answers.1.push(due.elapsed());
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                let children = server::children_of(parent);
                if let Some(child) = children.get(begin.elapsed().subsec_micros() as usize % children.len().max(1)) {
                    kill("KILL", *child);
                }
                seen.lock().unwrap().extend(children);
                sleep(Duration::from_millis(20));
            }
        });
        for number in 0..moves {
            server::move_tag(&workspace, if number % 2 == 0 { "two" } else { "one" }, "load");
            server.line_with("has taken over");
        }
        let results: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        is_done.store(true, Ordering::Relaxed);
        results.into_iter().for_each(|result| result.unwrap());
    });
    let (statuses, mut latencies) = answers.into_inner().unwrap();
    assert_eq!(statuses.values().sum::<usize>(), requests);
    assert!(statuses.get(&200).copied().unwrap_or_default() * 10 >= requests * 9, "{statuses:?}");
    latencies.sort();
    let at = |share: f64| latencies[((requests - 1) as f64 * share) as usize];
    let memory = std::fs::read_to_string(format!("/proc/{parent}/status")).unwrap();
    let memory = memory.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default().to_owned();
    println!(
        "{requests} requests, {connections} connections, {rate}/s, {moves} moves: statuses {statuses:?}, {memory}"
    );
    println!(
        "latency from when a request was due: p50 {:?}, p90 {:?}, p99 {:?}, p99.9 {:?}, longest {:?}",
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        at(1.0)
    );
    // As many instances as without requests, and after the end none of all that were seen.
    while server.children().len() != 2 {
        sleep(Duration::from_millis(5));
    }
    let mut seen = seen.into_inner().unwrap();
    seen.extend(server.children());
    server.signal("TERM");
    assert!(server.process.wait().unwrap().success());
    let is_ours = |pid: &u32| {
        let name = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        is_alive(*pid) && name.starts_with(b"load\0")
    };
    seen.retain(is_ours);
    assert!(seen.is_empty(), "left over: {seen:?}");
}
