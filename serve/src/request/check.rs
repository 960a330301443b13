//! What must hold for every request before it is routed. hyper has checked syntax and framing; the rest is here.

use crate::listen::Peer;
use crate::response::{Reason, Refusal};
use hyper::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderName, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Version};
use std::borrow::Cow;

/// What a request asks for.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// As the client wrote it.
    pub(crate) host: String,
    /// The host in lower case without its port, for routes and `SERVER_NAME`.
    pub(crate) name: String,
    pub(crate) port: Option<u16>,
    /// The path as it was sent, and what it stands for.
    pub(crate) raw_path: String,
    pub(crate) path: Vec<u8>,
    pub(crate) query: Option<String>,
}

/// The methods of RFC 9110 and 5789 that a function may get. Unknown ones are passed on, too.
pub(crate) const ALLOWED: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Headers that are about the connection and not about the request.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Checks a request and removes the headers that end here.
pub(crate) fn check(parts: &mut Parts, peer: &Peer) -> Result<Target, Refusal> {
    let is_http1 = parts.version <= Version::HTTP_11;
    if matches!(parts.method, Method::TRACE | Method::CONNECT) {
        return Err(Refusal::new(Reason::Method, "this method is not supported"));
    }
    let codings = parts.headers.get_all(TRANSFER_ENCODING);
    if let Some(first) = codings.iter().next() {
        if peer.has_two_lengths() || !is_http1 {
            return Err(Refusal::bad_request("Content-Length and Transfer-Encoding exclude each other"));
        }
        if codings.iter().count() > 1 || !first.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::new(Reason::Coding, "the only transfer coding is chunked"));
        }
    }
    if let Some(expected) = parts.headers.get(EXPECT)
        && !expected.as_bytes().eq_ignore_ascii_case(b"100-continue")
    {
        return Err(Refusal::new(Reason::Expectation, "the only expectation is 100-continue"));
    }
    let target = target(parts)?;
    remove_connection_headers(&mut parts.headers);
    // What the client calls a proxy for the function's own requests; CGI would make HTTP_PROXY of it.
    parts.headers.remove("proxy");
    parts.headers.remove(EXPECT);
    // The body is complete before a function gets it, so its length is known better then.
    parts.headers.remove(CONTENT_LENGTH);
    Ok(target)
}

/// Removes the headers that a message's `Connection` names, and those that are always about the connection.
pub(crate) fn remove_connection_headers(headers: &mut HeaderMap) {
    let lines = headers.get_all("connection").iter().filter_map(|line| line.to_str().ok());
    let named: Vec<HeaderName> =
        lines.flat_map(|line| line.split(',')).filter_map(|name| name.trim().parse().ok()).collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

fn target(parts: &Parts) -> Result<Target, Refusal> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let header = hosts.next();
    if hosts.next().is_some() {
        return Err(Refusal::bad_request("there is more than one Host"));
    }
    let header = header.map(|host| host.to_str().map_err(|_| Refusal::bad_request("the Host is not valid")));
    let host = match (parts.uri.authority(), header.transpose()?) {
        // The authority of an absolute target wins over Host (RFC 9112, 3.2.2); HTTP/2 has nothing else.
        (Some(authority), _) => authority.as_str(),
        (None, Some(host)) => host,
        (None, None) if parts.version == Version::HTTP_10 => "",
        (None, None) => return Err(Refusal::bad_request("there is no Host")),
    };
    let (name, port) = split_host(host).ok_or_else(|| Refusal::bad_request("the Host is not valid"))?;
    let path = decoded(parts.uri.path()).map_err(Refusal::bad_request)?;
    Ok(Target {
        host: host.to_owned(),
        name: name.to_ascii_lowercase(),
        port,
        raw_path: parts.uri.path().to_owned(),
        path,
        query: parts.uri.query().map(str::to_owned),
    })
}

/// The same host with another path and query, which a function has named.
pub(crate) fn retarget(target: &Target, path_and_query: &str) -> Result<Target, &'static str> {
    let (path, query) = match path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (path_and_query, None),
    };
    Ok(Target { path: decoded(path)?, raw_path: path.to_owned(), query, ..target.clone() })
}

/// What a path stands for, if it is one that can be routed.
fn decoded(raw_path: &str) -> Result<Vec<u8>, &'static str> {
    if !raw_path.starts_with('/') {
        return Err("the target is not a path");
    }
    let path = decode(raw_path).ok_or("the path is not valid")?;
    // Such a path would lead to another function, or past what a proxy in front has allowed.
    if path.split(|byte| *byte == b'/').any(|part| matches!(part, b"." | b"..")) || path.contains(&0) {
        return Err("the path has parts that are dots alone, or a zero byte");
    }
    Ok(path.into_owned())
}

impl Target {
    /// The path as it was sent, without so many bytes of the path that it stands for.
    pub(crate) fn raw_path_from(&self, prefix: usize) -> String {
        let mut rest = self.raw_path.as_str();
        for _ in 0..prefix {
            rest = rest.get(if rest.starts_with('%') { 3 } else { 1 }..).unwrap_or_default();
        }
        if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") }
    }
}

/// A host and its port: a name, an IPv4 address, or an IPv6 address in brackets.
fn split_host(host: &str) -> Option<(&str, Option<u16>)> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']')?;
            if !rest[..end].bytes().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(&byte)) {
                return None;
            }
            (&host[..end + 2], &rest[end + 1..])
        }
        None => {
            let end = host.find(':').unwrap_or(host.len());
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&byte);
            if !host[..end].bytes().all(is_name) {
                return None;
            }
            (&host[..end], &host[end..])
        }
    };
    match port.strip_prefix(':') {
        None if port.is_empty() => Some((name, None)),
        Some("") => Some((name, None)),
        Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => Some((name, Some(number.parse().ok()?))),
        _ => None,
    }
}

/// A path without its percent signs. `None` if one of them has no two digits behind it.
fn decode(path: &str) -> Option<Cow<'_, [u8]>> {
    if !path.contains('%') {
        return Some(Cow::Borrowed(path.as_bytes()));
    }
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                (high << 4 | low) as u8
            }
            _ => byte,
        });
    }
    Some(Cow::Owned(decoded))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test fails by panicking
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for (text, expected) in [
            ("a.example:80", Some(("a.example", Some(80)))),
            ("a", Some(("a", None))),
            ("a:", Some(("a", None))),
            ("[::1]:8080", Some(("[::1]", Some(8080)))),
            ("[::1]", Some(("[::1]", None))),
            ("", Some(("", None))),
            ("a b", None),
            ("a:b", None),
            ("a:99999", None),
            ("[::1", None),
            ("[::1]x", None),
            ("[a/b]", None),
            ("user@host", None),
            ("a/b", None),
        ] {
            assert_eq!(split_host(text), expected, "{text}");
        }
    }

    #[test]
    fn paths_behind_a_route() {
        let parse = |text: &str| Target {
            host: String::new(),
            name: String::new(),
            port: None,
            raw_path: text.to_owned(),
            path: decoded(text).unwrap(),
            query: None,
        };
        assert_eq!(parse("/a/b%20c").raw_path_from(2), "/b%20c");
        assert_eq!(parse("/%61/b").raw_path_from(2), "/b");
        assert_eq!(parse("/a").raw_path_from(2), "/");
        assert_eq!(parse("/a").raw_path_from(0), "/a");
        for wrong in ["/a/../b", "/a/%2e%2E/b", "/.", "/a%00", "*", ""] {
            assert!(decoded(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn paths() {
        assert_eq!(decode("/a%20b%2F").unwrap().as_ref(), b"/a b/");
        assert_eq!(decode("/%ff").unwrap().as_ref(), b"/\xff");
        for wrong in ["/%", "/%a", "/%g0", "/%+1"] {
            assert!(decode(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn what_connection_names_goes_with_it() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("connection", "close, X-Secret"), ("x-secret", "1"), ("te", "trailers"), ("x-kept", "1")]
        {
            headers.insert(name, value.parse().unwrap());
        }
        remove_connection_headers(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-kept"]);
    }
}
