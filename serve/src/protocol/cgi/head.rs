//! The head of a CGI answer (RFC 3875, section 6). Lines may end with LF or CR LF.

use crate::request::remove_connection_headers;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use hyper::{HeaderMap, StatusCode};

/// What the function says before its body.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) kind: Kind,
    /// Without those that are for this server.
    pub(super) headers: HeaderMap,
    pub(super) length: Option<u64>,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// A document, or a redirect of the client.
    Document(StatusCode),
    /// A redirect within this server: path and query.
    Local(String),
}

/// Where the body begins, if the empty line is there. Everything before `searched` has been looked at.
pub(super) fn end(bytes: &[u8], searched: usize) -> Option<usize> {
    // The line break before an empty line may be the last one that was looked at.
    let from = searched.saturating_sub(3);
    let first = match bytes {
        [b'\n', ..] => return Some(1),
        [b'\r', b'\n', ..] => return Some(2),
        _ => bytes.get(from..)?,
    };
    let found =
        first.iter().enumerate().filter(|(_, byte)| **byte == b'\n').find_map(|(at, _)| match &first[at + 1..] {
            [b'\n', ..] => Some(at + 2),
            [b'\r', b'\n', ..] => Some(at + 3),
            _ => None,
        });
    found.map(|end| from + end)
}

pub(super) fn parse(bytes: &[u8]) -> Result<Head, String> {
    let mut headers = HeaderMap::new();
    let mut status = None;
    let mut location = None;
    let mut count = 0;
    for line in bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)) {
        if line.is_empty() {
            break;
        }
        let shown = || String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) =
            line.split_at(colon.ok_or_else(|| format!("a line of its head has no colon: {}", shown()))?);
        let name = HeaderName::from_bytes(name).map_err(|_| format!("a header's name is not valid: {}", shown()))?;
        let value = value[1..].trim_ascii();
        let value =
            HeaderValue::from_bytes(value).map_err(|_| format!("a header's value is not valid: {}", shown()))?;
        count += 1;
        let once = |is_new: bool| if is_new { Ok(()) } else { Err(format!("{name} comes twice")) };
        match name.as_str() {
            "status" => once(status.replace(parse_status(&value)?).is_none())?,
            "location" => once(location.replace(value).is_none())?,
            "content-type" | "content-length" => {
                once(!headers.contains_key(&name))?;
                headers.insert(name, value);
            }
            _ => drop(headers.append(name, value)),
        }
    }
    let length = headers.remove(CONTENT_LENGTH).map(|value| parse_length(&value)).transpose()?;
    let names_nothing = status.is_none() && location.is_none() && !headers.contains_key(CONTENT_TYPE);
    if names_nothing {
        return Err("its head has neither Content-Type nor Location nor Status".to_owned());
    }
    if let Some(path) = location.as_ref().and_then(|location| location.to_str().ok())
        && path.starts_with('/')
        && !path.starts_with("//")
        && count == 1
    {
        return Ok(Head { kind: Kind::Local(path.to_owned()), headers, length });
    }
    let standard = if location.is_some() { StatusCode::FOUND } else { StatusCode::OK };
    remove_connection_headers(&mut headers);
    if let Some(location) = location {
        headers.insert(LOCATION, location);
    }
    Ok(Head { kind: Kind::Document(status.unwrap_or(standard)), headers, length })
}

/// Three digits, and a reason behind them that HTTP/2 does not know and nobody reads.
fn parse_status(value: &HeaderValue) -> Result<StatusCode, String> {
    let bytes = value.as_bytes();
    let (digits, rest) = bytes.split_at(bytes.len().min(3));
    let code = StatusCode::from_bytes(digits).ok().filter(|code| (200..600).contains(&code.as_u16()));
    match (code, rest.first()) {
        (Some(code), None | Some(b' ')) => Ok(code),
        _ => Err(format!("its Status is not one from 200 to 599: {}", String::from_utf8_lossy(bytes))),
    }
}

fn parse_length(value: &HeaderValue) -> Result<u64, String> {
    let text = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    text.and_then(|text| text.parse().ok()).ok_or_else(|| format!("its Content-Length is not a number: {value:?}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test fails by panicking
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_wherever_the_pieces_break() {
        for (text, expected) in
            [("A: b\n\nc", 6), ("A: b\r\n\r\nc", 8), ("A: b\n\r\nc", 7), ("\nc", 1), ("\r\nc", 2), ("A: b\r\n\nc", 7)]
        {
            for searched in 0..expected {
                let found = (searched..=text.len()).find_map(|len| end(&text.as_bytes()[..len], searched.min(len)));
                assert_eq!(found, Some(expected), "{text:?} {searched}");
            }
        }
        assert_eq!(end(b"A: b\nB: c\n", 0), None);
    }

    #[test]
    fn what_a_head_says() {
        let document = |text: &str| match parse(text.as_bytes()) {
            Ok(Head { kind: Kind::Document(status), headers, length }) => (status.as_u16(), headers.len(), length),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(document("Content-Type: text/plain\n\n"), (200, 1, None));
        assert_eq!(document("Status: 404 Not Found\r\nContent-Length: 7\r\n\r\n"), (404, 0, Some(7)));
        assert_eq!(document("Location: http://a/\n\n"), (302, 1, None));
        assert_eq!(document("Location: //a/b\n\n"), (302, 1, None));
        assert_eq!(document("Status: 301\nLocation: /a\n\n"), (301, 1, None));
        assert_eq!(
            document("Content-Type: a/b\nConnection: X-A\nX-A: 1\nTransfer-Encoding: chunked\n\n"),
            (200, 1, None)
        );
        assert_eq!(document("Content-Type: a/b\nSet-Cookie: a\nSet-Cookie: b\n\n"), (200, 3, None));
        assert!(matches!(parse(b"Location: /a?b\n\n").unwrap().kind, Kind::Local(path) if path == "/a?b"));
        for wrong in [
            "\n",
            "X-A: 1\n\n",
            "Content-Type text\n\n",
            "Content-Type : text/plain\n\n",
            "Content-Type: a/b\n continued\n\n",
            "Status: 100 Continue\n\n",
            "Status: 99\n\n",
            "Status: 2000\n\n",
            "Status: ok\n\n",
            "Status: 200\nStatus: 404\n\n",
            "Content-Type: a/b\nContent-Length: -1\n\n",
            "Content-Type: a/b\nContent-Length: +1\n\n",
            "Content-Type: a/b\nContent-Length: 1\nContent-Length: 1\n\n",
            "Content-Type: a/b\nContent-Length:\n\n",
            "Content-Type: a\0b\n\n",
        ] {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
    }
}
