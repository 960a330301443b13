//! The request as meta-variables (RFC 3875, section 4).

use crate::protocol::Call;
use hyper::Version;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use snapfn::Command;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

pub(super) fn set(command: &mut Command, call: &Call<'_>) {
    let (request, target) = (call.request, &call.request.target);
    let (script, path) = target.path.split_at(call.prefix.min(target.path.len()));
    let uri = match &target.query {
        Some(query) => format!("{}?{query}", target.raw_path),
        None => target.raw_path.clone(),
    };
    let mut set = |name: &str, value: &[u8]| {
        command.env(name, OsStr::from_bytes(value));
    };
    set("GATEWAY_INTERFACE", b"CGI/1.1");
    set("SERVER_SOFTWARE", concat!("snapserve/", env!("CARGO_PKG_VERSION")).as_bytes());
    set("SERVER_PROTOCOL", protocol(request.version).as_bytes());
    set("SERVER_NAME", if target.name.is_empty() { request.peer.local_name() } else { target.name.clone() }.as_bytes());
    set("SERVER_PORT", request.peer.local_port(target.port).to_string().as_bytes());
    set("REQUEST_METHOD", request.method.as_str().as_bytes());
    set("REQUEST_URI", uri.as_bytes());
    set("SCRIPT_NAME", script);
    set("PATH_INFO", path);
    set("QUERY_STRING", target.query.as_deref().unwrap_or_default().as_bytes());
    set("REMOTE_ADDR", request.peer.remote_address().as_bytes());
    if let Some(port) = request.peer.remote_port() {
        set("REMOTE_PORT", port.to_string().as_bytes());
    }
    if request.body.len() > 0 || request.has_body {
        set("CONTENT_LENGTH", request.body.len().to_string().as_bytes());
    }
    if let Some(kind) = request.headers.get(CONTENT_TYPE) {
        set("CONTENT_TYPE", kind.as_bytes());
    }
    for (name, value) in header_variables(call) {
        set(&name, &value);
    }
}

/// `HTTP_…` for all other headers; the values of several with one name are joined.
fn header_variables(call: &Call<'_>) -> BTreeMap<String, Vec<u8>> {
    let mut variables: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (name, value) in &call.request.headers {
        // X_A and X-A would be one variable, so a client could replace what a proxy in front has set.
        let is_plain = name.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_plain || name == CONTENT_TYPE || name == CONTENT_LENGTH {
            continue;
        }
        let key = format!("HTTP_{}", name.as_str().to_ascii_uppercase().replace('-', "_"));
        let joined = variables.entry(key).or_default();
        if !joined.is_empty() {
            joined.extend_from_slice(if name == "cookie" { b"; " } else { b", " });
        }
        joined.extend_from_slice(value.as_bytes());
    }
    if !call.request.target.host.is_empty() {
        variables.insert("HTTP_HOST".to_owned(), call.request.target.host.clone().into_bytes());
    }
    variables
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}
