//! Sends a function's output to the client as it comes. A task of its own does it, so that the function's deadline
//! holds whether or not the client reads.

use super::Body;
use crate::instance::Instance;
use crate::observe::RequestLog;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use std::io;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// Pieces on their way to a client that does not read; a piece has [`PIECE`] bytes at most.
const PIECES: usize = 4;
const PIECE: usize = 32 << 10;

/// The rest of an answer that an instance writes to a pipe.
#[derive(Debug)]
pub(crate) struct Rest {
    pub(crate) instance: Instance,
    pub(crate) output: Receiver,
    /// What has been read behind the head.
    pub(crate) first: BytesMut,
    /// What the function has announced.
    pub(crate) length: Option<u64>,
    pub(crate) most: u64,
    pub(crate) deadline: Instant,
}

impl Rest {
    /// The body of the answer. If there is one that is complete already, nothing has to be relayed.
    pub(crate) fn body(mut self) -> Body {
        match self.length {
            Some(length) if length <= self.first.len() as u64 => {
                self.first.truncate(length as usize);
                self.instance.finish(Some(self.output), self.deadline);
                Body::whole(self.first.freeze())
            }
            length => {
                let (to, from) = channel(PIECES);
                tokio::spawn(async move { self.relay(to).await });
                Body::stream(from, length)
            }
        }
    }

    /// Nothing of the rest is wanted.
    pub(crate) fn discard(self) {
        self.instance.finish(Some(self.output), self.deadline);
    }

    async fn relay(mut self, to: Sender<io::Result<Bytes>>) {
        let mut sent = 0u64;
        let why = loop {
            if !self.first.is_empty() {
                let mut piece = self.first.split().freeze();
                if let Some(length) = self.length {
                    piece.truncate((length - sent).min(usize::MAX as u64) as usize);
                }
                sent += piece.len() as u64;
                match pass(&to, piece, sent <= self.most, self.deadline).await {
                    Passed::On => {}
                    // The client has gone, so the instance ends.
                    Passed::Gone => return,
                    Passed::Cut(why) => break why.to_owned(),
                }
                if self.length == Some(sent) {
                    self.instance.finish(Some(self.output), self.deadline);
                    return;
                }
            }
            self.first.reserve(PIECE);
            let mut limited = (&mut self.output).take(PIECE as u64);
            let read = tokio::select! {
                () = to.closed() => return,
                read = timeout_at(self.deadline, limited.read_buf(&mut self.first)) => read,
            };
            match read {
                Ok(Ok(0)) => {
                    let log = self.instance.log.clone();
                    let end = match self.length {
                        Some(length) => Err(format!("the answer has {sent} bytes instead of {length}")),
                        None => self.instance.verdict(self.deadline).await,
                    };
                    if let Err(why) = end {
                        cut(&log, &to, &why).await;
                    }
                    return;
                }
                Ok(Ok(_)) => {}
                Ok(Err(error)) => break error.to_string(),
                Err(_) => break "it did not end before the deadline".to_owned(),
            }
        };
        let log = self.instance.log.clone();
        drop(self.instance);
        cut(&log, &to, &why).await;
    }
}

/// The rest of an answer that an instance sends by HTTP.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) instance: Instance,
    pub(crate) body: Incoming,
    /// What reads from the instance's socket.
    pub(crate) connection: JoinHandle<hyper::Result<()>>,
    pub(crate) length: Option<u64>,
    /// The end of the connection is the end of the answer.
    pub(crate) until_end: bool,
    pub(crate) most: u64,
    pub(crate) deadline: Instant,
}

impl Stream {
    pub(crate) fn body(self) -> Body {
        if self.body.is_end_stream() {
            self.instance.finish(None, self.deadline);
            return Body::empty();
        }
        let (to, from) = channel(PIECES);
        let length = self.length;
        tokio::spawn(async move {
            let connection = self.connection.abort_handle();
            self.relay(to).await;
            connection.abort();
        });
        Body::stream(from, length)
    }

    async fn relay(mut self, to: Sender<io::Result<Bytes>>) {
        let mut sent = 0u64;
        let why = loop {
            let frame = tokio::select! {
                () = to.closed() => return,
                frame = timeout_at(self.deadline, self.body.frame()) => frame,
            };
            let piece = match frame {
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Ok(Some(Err(error))) => break format!("what it sends is not valid HTTP: {error}"),
                Ok(None) if self.until_end => {
                    let log = self.instance.log.clone();
                    match self.instance.verdict(self.deadline).await {
                        Ok(()) => {}
                        Err(why) => cut(&log, &to, &why).await,
                    }
                    return;
                }
                Ok(None) => return self.instance.finish(None, self.deadline),
                Err(_) => break "it did not end before the deadline".to_owned(),
            };
            sent += piece.len() as u64;
            match pass(&to, piece, sent <= self.most, self.deadline).await {
                Passed::On => {}
                // The client has gone, so the instance ends.
                Passed::Gone => return,
                Passed::Cut(why) => break why.to_owned(),
            }
        };
        let log = self.instance.log.clone();
        drop(self.instance);
        cut(&log, &to, &why).await;
    }
}

/// What has become of a piece.
enum Passed {
    On,
    /// There is no client any more.
    Gone,
    /// The answer must be cut.
    Cut(&'static str),
}

/// Passes a piece on to the client; an answer that is not `allowed` to be as long is cut.
async fn pass(to: &Sender<io::Result<Bytes>>, piece: Bytes, allowed: bool, deadline: Instant) -> Passed {
    if !allowed {
        return Passed::Cut("the answer is longer than response-max");
    }
    match timeout_at(deadline, to.send(Ok(piece))).await {
        Ok(Ok(())) => Passed::On,
        Ok(Err(_)) => Passed::Gone,
        Err(_) => Passed::Cut("the client did not read the answer before the deadline"),
    }
}

/// The client gets an error instead of the end of the answer: its connection is cut, or the stream reset.
async fn cut(log: &RequestLog, to: &Sender<io::Result<Bytes>>, why: &str) {
    log.line("error", &format!("the answer is cut: {why}"));
    let _ = to.send(Err(io::ErrorKind::UnexpectedEof.into())).await;
}
