//! The body of an answer: bytes at hand, or what a [`relay`](super::relay) sends.

use crate::answer::Recorded;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc::Receiver;

/// A body. If it ends with an error, hyper cuts the connection or resets the stream, so that the client notices.
#[derive(Debug)]
pub(crate) struct Body {
    source: Source,
    /// Hears what has been sent, and by being dropped that nothing more will be.
    recorded: Option<Box<Recorded>>,
}

#[derive(Debug)]
enum Source {
    Whole(Option<Bytes>),
    Stream {
        from: Receiver<io::Result<Bytes>>,
        /// What is still to come, if the function has announced it.
        left: Option<u64>,
        ended: bool,
    },
}

impl Body {
    pub(crate) fn empty() -> Self {
        Body { source: Source::Whole(None), recorded: None }
    }

    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        Body { source: Source::Whole(Some(bytes.into()).filter(|bytes| !bytes.is_empty())), recorded: None }
    }

    pub(crate) fn stream(from: Receiver<io::Result<Bytes>>, length: Option<u64>) -> Self {
        Body { source: Source::Stream { from, left: length, ended: false }, recorded: None }
    }

    /// The same body, and who hears of it.
    pub(crate) fn recorded(mut self, mut recorded: Recorded) -> Self {
        if hyper::body::Body::is_end_stream(&self) {
            // Nobody will ask for it.
            recorded.complete();
        }
        self.recorded = Some(Box::new(recorded));
        self
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let next = match &mut this.source {
            Source::Whole(bytes) => bytes.take().map(Ok),
            Source::Stream { ended: true, .. } => None,
            Source::Stream { from, left, ended } => {
                let next = std::task::ready!(from.poll_recv(cx));
                *ended = !matches!(next, Some(Ok(_)));
                if let (Some(Ok(bytes)), Some(left)) = (&next, left) {
                    *left = left.saturating_sub(bytes.len() as u64);
                }
                next
            }
        };
        let is_end = !matches!(next, Some(Err(_))) && this.is_end_stream();
        if let Some(recorded) = &mut this.recorded {
            if let Some(Ok(bytes)) = &next {
                recorded.sent(bytes.len());
            }
            if is_end {
                recorded.complete();
            } else if matches!(next, Some(Err(_))) {
                recorded.cut();
            }
        }
        Poll::Ready(next.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Whole(bytes) => bytes.is_none(),
            Source::Stream { ended, left, .. } => *ended || *left == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Source::Stream { left: Some(left), .. } => SizeHint::with_exact(*left),
            Source::Stream { .. } => SizeHint::default(),
        }
    }
}
