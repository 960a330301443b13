//! The function speaks HTTP/1.1 on a socket that is its descriptor 0 and 1, as inetd's servers do, for one request.

mod socket;

use super::{Call, without_answer};
use crate::request::{Spool, remove_connection_headers};
use crate::response::relay::Stream;
use crate::response::{Body, Refusal, Response};
use bytes::Bytes;
use futures_util::stream::try_unfold;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body as _, Frame};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use snapfn::Stdio;
use socket::Socket;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::time::timeout_at;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

pub(super) async fn run(call: &Call<'_>, queued: &mut Duration) -> Result<Response, Refusal> {
    let ours = Mutex::new(None);
    let (instance, deadlines) = call
        .instance(queued, |command| {
            let (mine, theirs) = UnixStream::pair().map_err(Refusal::resources)?;
            let second: OwnedFd = theirs.try_clone().map_err(Refusal::resources)?.into();
            command.stdin(Stdio::from(theirs)).stdout(Stdio::from(second));
            *ours.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(mine);
            Ok(())
        })
        .await?;
    let ours = ours.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let ours = ours.ok_or_else(|| Refusal::resources("no socket"))?;
    ours.set_nonblocking(true).map_err(Refusal::resources)?;
    let socket = tokio::net::UnixStream::from_std(ours).map_err(Refusal::resources)?;
    let handshake = http1::Builder::new().max_buf_size(128 << 10).handshake(TokioIo::new(Socket::new(socket))).await;
    let (mut sender, connection) = handshake.map_err(Refusal::bad_answer)?;
    // The connection ends with the relay, which owns it.
    let connection = tokio::spawn(connection);
    let request = request(call)?;
    let response = match timeout_at(deadlines.first_byte, sender.send_request(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            connection.abort();
            return Err(without_answer(instance, deadlines, &format!("no HTTP answer ({error})")).await);
        }
        Err(_) => {
            connection.abort();
            return Err(Refusal::timeout("it gave no head in time"));
        }
    };
    deadlines.answered(call.function);
    let (mut parts, body) = response.into_parts();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        connection.abort();
        return Err(Refusal::bad_answer("it switches protocols"));
    }
    // hyper undoes "chunked" and nothing else. A length beside it counts for nothing (RFC 9112, 6.3).
    let is_coded = parts.headers.contains_key(TRANSFER_ENCODING);
    if is_coded {
        let mut codings = parts.headers.get_all(TRANSFER_ENCODING).iter();
        if !codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
            connection.abort();
            return Err(Refusal::bad_answer("its answer has another transfer coding than chunked"));
        }
        parts.headers.remove(CONTENT_LENGTH);
    }
    let length = body.size_hint().exact();
    let until_end = length.is_none() && !is_coded;
    let most = call.function.config.response_max;
    if length.is_some_and(|length| length > most) && call.request.method != Method::HEAD {
        connection.abort();
        return Err(Refusal::bad_answer("its answer is longer than response-max"));
    }
    remove_connection_headers(&mut parts.headers);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = parts.status;
    *response.headers_mut() = parts.headers;
    let stream = Stream { instance, body, connection, length, until_end, most, deadline: deadlines.whole };
    *response.body_mut() = stream.body();
    Ok(response)
}

type RequestBody = UnsyncBoxBody<Bytes, io::Error>;

fn request(call: &Call<'_>) -> Result<hyper::Request<RequestBody>, Refusal> {
    let target = &call.request.target;
    // The function sees the path behind its route, as CGI's PATH_INFO.
    let path = target.raw_path_from(call.prefix);
    let uri = match &target.query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut request = hyper::Request::new(body(&call.request.body)?);
    *request.method_mut() = call.request.method.clone();
    *request.uri_mut() = uri.parse().map_err(|_| Refusal::bad_request("the path is not valid"))?;
    *request.headers_mut() = call.request.headers.clone();
    let headers = request.headers_mut();
    let text = |text: &str| HeaderValue::from_str(text).map_err(|_| Refusal::bad_request("the Host is not valid"));
    headers.insert(HOST, text(&target.host)?);
    headers.append(FORWARDED_FOR, text(&call.request.peer.remote_address())?);
    headers.entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.remove(CONTENT_LENGTH);
    if call.request.has_body {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(call.request.body.len()));
    }
    Ok(request)
}

/// The body again, from memory or from its file.
fn body(spool: &Spool) -> Result<RequestBody, Refusal> {
    match spool {
        Spool::Small(bytes) => Ok(Full::new(bytes.clone()).map_err(|never| match never {}).boxed_unsync()),
        Spool::File(..) => {
            let file = std::fs::File::from(spool.stdin().map_err(Refusal::resources)?);
            let pieces = try_unfold(tokio::fs::File::from_std(file), |mut file| async move {
                let mut piece = bytes::BytesMut::with_capacity(64 << 10);
                let count = file.read_buf(&mut piece).await?;
                Ok((count > 0).then(|| (Frame::data(piece.freeze()), file)))
            });
            Ok(StreamBody::new(pieces).boxed_unsync())
        }
    }
}
