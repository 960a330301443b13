//! Body in, body out: the function reads the request's body from standard input and writes the answer's body to
//! standard output. Its exit status tells whether that is an answer.

use super::Call;
use crate::response::{Body, Reason, Refusal, Response};
use bytes::BytesMut;
use hyper::Method;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use snapfn::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::time::timeout_at;

pub(super) async fn run(call: &Call<'_>, queued: &mut Duration) -> Result<Response, Refusal> {
    if call.request.method != Method::POST {
        return Err(Refusal::new(Reason::Method, "this function takes POST only"));
    }
    if !is_json(&call.request.headers) {
        return Err(Refusal::new(Reason::MediaType, "this function takes application/json only"));
    }
    let (mut instance, deadlines) = call
        .instance(queued, |command| {
            command.stdin(call.request.body.stdin().map_err(Refusal::resources)?).stdout(Stdio::piped());
            Ok(())
        })
        .await?;
    let mut output = instance.stdout().map_err(Refusal::resources)?;
    let most = call.function.config.response_max;
    let mut answer = BytesMut::new();
    let end = async {
        while output.read_buf(&mut answer).await.map_err(Refusal::bad_answer)? > 0 {
            if answer.len() as u64 > most {
                return Err(Refusal::bad_answer("its answer is longer than response-max"));
            }
        }
        instance.ended().await.map_err(Refusal::bad_answer)
    };
    let status = timeout_at(deadlines.whole, end).await.map_err(|_| Refusal::timeout("it did not end in time"))??;
    deadlines.answered(call.function);
    if !status.success() {
        return Err(Refusal::new(Reason::Failed, "the function has failed").detail(status));
    }
    let length = answer.len();
    let mut response = Response::new(Body::whole(answer.freeze()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    Ok(response)
}

/// A request without a type, as simple clients make it, is taken to be JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE) else { return true };
    let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}
