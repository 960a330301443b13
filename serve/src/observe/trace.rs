//! IDs of requests: `X-Request-Id`, and `traceparent` of W3C Trace Context.

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use std::fmt::Write;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The client's ID of the request if it is one that a log can have, else a new one. The headers have it afterwards.
pub(crate) fn request_id(headers: &mut HeaderMap) -> String {
    let is_plain = |id: &&str| {
        !id.is_empty() && id.len() <= 128 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:+/=".contains(&b))
    };
    let id = match headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(is_plain) {
        Some(id) => id.to_owned(),
        None => hex(16),
    };
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    id
}

/// The trace that the request belongs to: the client's, if its header is valid, else a new one. The headers have it
/// afterwards.
pub(crate) fn traceparent(headers: &mut HeaderMap) -> String {
    let given = headers.get_all(TRACEPARENT);
    let mut all = given.iter();
    let first = all.next().and_then(|value| value.to_str().ok()).filter(|text| is_traceparent(text)).map(str::to_owned);
    let text = match (first, all.next()) {
        (Some(text), None) => text,
        _ => {
            headers.remove("tracestate");
            format!("00-{}-{}-00", hex(16), hex(8))
        }
    };
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.insert(TRACEPARENT, value);
    }
    text
}

/// `00-TRACE-PARENT-FLAGS`; a later version may have more behind it.
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, parent, flags, more @ ..] = &parts[..] else { return false };
    let is_hex =
        |part: &str, len| part.len() == len && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    is_hex(version, 2)
        && *version != "ff"
        && (more.is_empty() || *version != "00")
        && is_hex(trace, 32)
        && is_hex(parent, 16)
        && is_hex(flags, 2)
        && [trace, parent].iter().all(|part| part.bytes().any(|byte| byte != b'0'))
}

/// That many random bytes as hexadecimal digits.
fn hex(count: usize) -> String {
    // The keys of this hasher are the kernel's random numbers, and new in each thread and for each state.
    use std::hash::{BuildHasher, RandomState};
    let mut text = String::with_capacity(2 * count);
    while text.len() < 2 * count {
        let _ = write!(text, "{:016x}", RandomState::new().hash_one(std::time::Instant::now()));
    }
    text.truncate(2 * count);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_trace_goes_on() {
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let zero = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        for (given, goes_on) in [
            (valid.to_owned(), true),
            (format!("{valid}-x"), false),
            (valid.replacen("00", "01", 1) + "-x", true),
            (valid.replacen("00", "ff", 1), false),
            (zero.to_owned(), false),
            (valid.to_uppercase(), false),
            (String::new(), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, HeaderValue::from_str(&given).unwrap_or(HeaderValue::from_static("")));
            headers.insert("tracestate", HeaderValue::from_static("a=b"));
            let text = traceparent(&mut headers);
            assert_eq!(text == given, goes_on, "{given}");
            assert!(is_traceparent(&text), "{text}");
            assert_eq!(headers.contains_key("tracestate"), goes_on);
        }
    }

    #[test]
    fn ids_that_would_break_a_log_are_replaced() {
        for (given, kept) in [("abc-1", true), ("a b", false), ("a\"b", false), ("", false)] {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_static(given));
            let id = request_id(&mut headers);
            assert_eq!(id == given, kept, "{given}");
            assert!(!id.is_empty());
        }
    }
}
