//! The Common Gateway Interface, RFC 3875.
//!
//! ```text
//!  variables  the request as meta-variables     head  the answer's header fields, and what they mean
//! ```

mod head;
mod variables;

use super::{Answer, Call, Deadlines, without_answer};
use crate::instance::Instance;
use crate::response::relay::Rest;
use crate::response::{Body, Refusal, Response};
use bytes::BytesMut;
use head::{Head, Kind};
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use hyper::{Method, StatusCode};
use snapfn::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::time::timeout_at;

/// Most bytes of an answer's head.
const HEAD_MAX: usize = 64 << 10;

pub(super) async fn run(call: &Call<'_>, queued: &mut Duration) -> Result<Answer, Refusal> {
    let (mut instance, deadlines) = call
        .instance(queued, |command| {
            command.stdin(call.request.body.stdin().map_err(Refusal::resources)?).stdout(Stdio::piped());
            variables::set(command, call);
            Ok(())
        })
        .await?;
    let mut output = instance.stdout().map_err(Refusal::resources)?;
    let mut buffer = BytesMut::with_capacity(8 << 10);
    let read = timeout_at(deadlines.first_byte, read_head(&mut output, &mut buffer)).await;
    let end = match read {
        Ok(Ok(Some(end))) => end,
        Ok(Ok(None)) if buffer.len() > HEAD_MAX => return Err(Refusal::bad_answer("its head is longer than 64 KiB")),
        Ok(Ok(None)) => return Err(without_answer(instance, deadlines, "it ended before the end of the head").await),
        Ok(Err(error)) => return Err(Refusal::bad_answer(error)),
        Err(_) => return Err(Refusal::timeout("it gave no head in time")),
    };
    deadlines.answered(call.function);
    let head = head::parse(&buffer.split_to(end)).map_err(Refusal::bad_answer)?;
    match head.kind {
        Kind::Local(path) => {
            instance.finish(Some(output), deadlines.whole);
            Ok(Answer::Redirect(path))
        }
        Kind::Document(status) => {
            let rest = Output { instance, output, first: buffer, deadlines };
            respond(call, Head { kind: Kind::Document(status), ..head }, status, rest).map(Answer::Response)
        }
    }
}

/// What comes behind the head.
struct Output {
    instance: Instance,
    output: Receiver,
    first: BytesMut,
    deadlines: Deadlines,
}

fn respond(call: &Call<'_>, head: Head, status: StatusCode, rest: Output) -> Result<Response, Refusal> {
    let response_max = call.function.config.response_max;
    if head.length.is_some_and(|length| length > response_max) {
        return Err(Refusal::bad_answer("its answer is longer than response-max"));
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    *response.headers_mut() = head.headers;
    let is_empty = matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
    let rest = Rest {
        instance: rest.instance,
        output: rest.output,
        first: rest.first,
        length: head.length,
        most: response_max,
        deadline: rest.deadlines.whole,
    };
    if is_empty || call.request.method == Method::HEAD {
        if let Some(length) = head.length.filter(|_| !is_empty) {
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        rest.discard();
    } else {
        *response.body_mut() = rest.body();
    }
    Ok(response)
}

/// Reads until the empty line behind the head: returns where the body begins, or `None` if there is none.
async fn read_head(output: &mut Receiver, buffer: &mut BytesMut) -> std::io::Result<Option<usize>> {
    let mut searched = 0;
    loop {
        if let Some(end) = head::end(buffer, searched) {
            return Ok(Some(end).filter(|end| *end <= HEAD_MAX));
        }
        searched = buffer.len();
        if buffer.len() > HEAD_MAX || output.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}
