//! Looks at what a connection reads, for three things that hyper does not do:
//!
//! - A request with both Content-Length and Transfer-Encoding is how one request is smuggled in another past a proxy in
//!   front. hyper goes by Transfer-Encoding and removes the other, so the service does not see it. The tap tells it.
//! - An answer that is cut ends with a reset of the connection, since its end alone looks like that of an answer in
//!   HTTP/1.0.
//! - hyper's timeout for a head begins when it knows whether the connection speaks HTTP/1 or HTTP/2. The tap ends a
//!   connection that does not say that in time.
//!
//! It follows a connection from head to head, since a body has to be skipped, and parses heads by the parser that hyper
//! uses, so that both find the same. A request with Transfer-Encoding is the last one that it looks at, since it does
//! not know where that one ends. If a later one has two lengths, hyper goes by Transfer-Encoding and closes the
//! connection behind it, as RFC 9112 (6.3) allows.

use super::{Connection, Peer};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Debug)]
pub(super) struct Tap<T: Connection> {
    inner: T,
    peer: Arc<Peer>,
    state: State,
    /// Ends a connection that does not begin.
    patience: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum State {
    /// The first bytes, as long as they may be the preface of HTTP/2.
    Preface(usize),
    /// A head, as far as it has come.
    Head(Vec<u8>),
    /// So many bytes of a body are to come.
    Body(u64),
    /// HTTP/2, or a request whose end the tap does not know.
    Done,
}

impl<T: Connection> Tap<T> {
    pub(super) fn new(inner: T, peer: Arc<Peer>, patience: Duration) -> Self {
        Tap { inner, peer, state: State::Preface(0), patience: Some(Box::pin(sleep(patience))) }
    }

    fn look(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = match &mut self.state {
                State::Done => return,
                State::Preface(seen) => {
                    let same = bytes.iter().zip(&PREFACE[*seen..]).take_while(|(byte, wanted)| byte == wanted).count();
                    if *seen + same == PREFACE.len() {
                        self.state = State::Done;
                        self.patience = None;
                    } else if same == bytes.len() {
                        *seen += same;
                        return;
                    } else {
                        self.state = State::Head(PREFACE[..*seen].to_vec());
                        self.patience = None;
                    }
                    bytes
                }
                State::Body(left) => {
                    let skipped = (*left).min(bytes.len() as u64) as usize;
                    *left -= skipped as u64;
                    if *left == 0 {
                        self.state = State::Head(Vec::new());
                    }
                    &bytes[skipped..]
                }
                State::Head(head) => {
                    let before = head.len();
                    head.extend_from_slice(bytes);
                    match Head::parse(head) {
                        Parsed::Partial => return,
                        // hyper refuses it and closes the connection.
                        Parsed::Wrong => {
                            self.state = State::Done;
                            return;
                        }
                        Parsed::Whole(parsed) => {
                            if parsed.has_coding {
                                self.peer.two_lengths.store(parsed.length.is_some(), Ordering::Relaxed);
                                self.state = State::Done;
                                return;
                            }
                            self.state = match parsed.length {
                                Some(length @ 1..) => State::Body(length),
                                _ => State::Head(Vec::new()),
                            };
                            // The head may have ended in an earlier piece only if it was parsed there.
                            &bytes[parsed.len.saturating_sub(before)..]
                        }
                    }
                }
            };
        }
    }
}

struct Head {
    len: usize,
    length: Option<u64>,
    has_coding: bool,
}

enum Parsed {
    Whole(Head),
    Partial,
    Wrong,
}

impl Head {
    fn parse(bytes: &[u8]) -> Parsed {
        /// Most bytes of a head that could be one: hyper refuses longer ones.
        const LONGEST: usize = 128 << 10;
        // Without an end there is nothing to parse; so a head that comes byte by byte costs no more than its bytes.
        let tail = &bytes[bytes.len().saturating_sub(64 << 10)..];
        if bytes.len() > LONGEST {
            return Parsed::Wrong;
        }
        if !tail.contains(&b'\n') {
            return Parsed::Partial;
        }
        let mut headers = [httparse::EMPTY_HEADER; 128];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(bytes) {
            Ok(httparse::Status::Complete(len)) => {
                let named = |name: &str| {
                    request
                        .headers
                        .iter()
                        .find(|header| header.name.eq_ignore_ascii_case(name))
                        .map(|header| header.value)
                };
                let length = named("content-length");
                // hyper refuses what is not a number.
                let length =
                    length.map(|value| std::str::from_utf8(value).ok().and_then(|t| t.parse().ok()).unwrap_or(0));
                Parsed::Whole(Head { len, length, has_coding: named("transfer-encoding").is_some() })
            }
            Ok(httparse::Status::Partial) => Parsed::Partial,
            Err(_) => Parsed::Wrong,
        }
    }
}

impl<T: Connection> Drop for Tap<T> {
    fn drop(&mut self) {
        if self.peer.is_cut() {
            self.inner.reset_when_closed();
        }
    }
}

impl<T: Connection> AsyncRead for Tap<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        match Pin::new(&mut this.inner).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                this.look(&buf.filled()[before..]);
                Poll::Ready(Ok(()))
            }
            Poll::Pending => {
                let is_late = this.patience.as_mut().is_some_and(|patience| patience.as_mut().poll(cx).is_ready());
                if is_late { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { Poll::Pending }
            }
            error => error,
        }
    }
}

impl<T: Connection> AsyncWrite for Tap<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The end of the connection is the end of an answer in HTTP/1.0, so one that is cut does not end that way.
        if self.peer.is_cut() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Connection for tokio::io::Empty {}

    /// Whether two lengths are found, with the bytes in pieces of that size.
    fn found(text: &str, piece: usize) -> bool {
        let peer = Arc::new(Peer::default());
        let mut tap =
            Tap { inner: tokio::io::empty(), peer: Arc::clone(&peer), state: State::Preface(0), patience: None };
        text.as_bytes().chunks(piece).for_each(|bytes| tap.look(bytes));
        peer.has_two_lengths()
    }

    #[test]
    fn two_lengths_are_found_wherever_they_are() {
        let coding = "Transfer-Encoding: chunked\r\n";
        let length = "Content-Length: 5\r\n";
        let plain = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        // Its body looks like a head.
        let body = format!("POST / HTTP/1.1\r\n{length}\r\nGET /");
        for piece in [1, 2, 3, 7, 1000] {
            for before in ["", plain, &body, &plain.repeat(3), "\r\n"] {
                let post = format!("{before}POST / HTTP/1.1\r\n");
                assert!(found(&format!("{post}{coding}{length}\r\n"), piece), "{before}");
                assert!(found(&format!("{post}{length}{coding}\r\n"), piece), "{before}");
                assert!(!found(&format!("{post}{coding}\r\n"), piece), "{before}");
                assert!(!found(&format!("{post}{length}\r\n{coding}"), piece), "{before}");
            }
            let http2 = String::from_utf8_lossy(PREFACE).into_owned();
            assert!(!found(&format!("{http2}POST / HTTP/1.1\r\n{coding}{length}\r\n"), piece));
            assert!(found(&format!("PRI / HTTP/1.1\r\n{coding}{length}\r\n"), piece));
        }
    }
}
