//! The part of HTTP/1.1 that a proxy needs to see every byte.

use std::io::{self, BufRead, Read, Write};

/// No honest head is longer.
const MAX_HEAD: usize = 64 << 10;

/// A request or answer up to the empty line.
#[derive(Clone, Debug)]
pub struct Head {
    /// `GET /v2/ HTTP/1.1` or `HTTP/1.1 200 OK`.
    pub first: String,
    /// Fields in their order.
    pub fields: Vec<(String, String)>,
}

impl Head {
    /// An answer without a body.
    #[must_use]
    pub fn answer(status: u16) -> Self {
        Self { first: format!("HTTP/1.1 {status} {}", reason(status)), fields: Vec::new() }
    }

    /// The same with one more field.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.fields.push((name.into(), value.to_string()));
        self
    }

    pub(crate) fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut left = MAX_HEAD;
        let mut line = || -> io::Result<Option<String>> {
            let mut bytes = Vec::new();
            from.by_ref().take(left as u64).read_until(b'\n', &mut bytes)?;
            left -= bytes.len();
            match bytes.pop() {
                None => Ok(None),
                Some(b'\n') => Ok(Some(String::from_utf8_lossy(&bytes).trim_end().to_owned())),
                Some(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        };
        let Some(first) = line()? else { return Ok(None) };
        let mut fields = Vec::new();
        loop {
            match line()? {
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(text) if text.is_empty() => return Ok(Some(Self { first, fields })),
                Some(text) => {
                    let (name, value) = text.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
                    fields.push((name.trim().to_owned(), value.trim().to_owned()));
                }
            }
        }
    }

    pub(crate) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut text = format!("{}\r\n", self.first);
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        to.write_all(text.as_bytes())
    }

    /// A field's value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// Replaces or adds a field.
    pub fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.fields.push((name.to_owned(), value.to_owned()));
    }

    /// Removes a field.
    pub fn remove(&mut self, name: &str) {
        self.fields.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    }

    /// The request's method.
    #[must_use]
    pub fn method(&self) -> &str {
        self.first.split(' ').next().unwrap_or_default()
    }

    /// The request's path and query.
    #[must_use]
    pub fn target(&self) -> &str {
        self.first.split(' ').nth(1).unwrap_or_default()
    }

    /// The request's path.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target().split('?').next().unwrap_or_default()
    }

    /// A parameter of the query, decoded.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<String> {
        self.queries(name).into_iter().next()
    }

    pub(crate) fn queries(&self, name: &str) -> Vec<String> {
        let query = self.target().split_once('?').map_or("", |(_, query)| query);
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(n, _)| *n == name).map(|(_, value)| decode(value)).collect()
    }

    /// The answer's status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.first.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// Whether the request is for the content of a blob.
    #[must_use]
    pub fn is_blob_request(&self) -> bool {
        self.method() == "GET" && self.path().contains("/blobs/sha256:")
    }

    fn length(&self) -> Option<u64> {
        self.get("content-length").and_then(|v| v.parse().ok())
    }

    fn is_chunked(&self) -> bool {
        self.get("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked"))
    }

    pub(crate) fn request_framing(&self) -> Framing {
        if self.is_chunked() { Framing::Chunked } else { Framing::Length(self.length().unwrap_or(0)) }
    }

    pub(crate) fn answer_framing(&self, method: &str) -> Framing {
        match self.status() {
            100..200 | 204 | 304 => Framing::Length(0),
            _ if method == "HEAD" => Framing::Length(0),
            _ if self.is_chunked() => Framing::Chunked,
            _ => self.length().map_or(Framing::UntilEnd, Framing::Length),
        }
    }
}

/// The framing that determines the end of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    UntilEnd,
}

/// The body that follows a head, without its framing.
pub(crate) struct Body<'a, R> {
    from: &'a mut R,
    framing: Framing,
    /// Bytes left of the body, or of the current chunk.
    left: u64,
    is_done: bool,
}

impl<'a, R: BufRead> Body<'a, R> {
    pub(crate) fn new(from: &'a mut R, framing: Framing) -> Self {
        let left = if let Framing::Length(length) = framing { length } else { 0 };
        Self { from, framing, left, is_done: framing == Framing::Length(0) }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut bytes = Vec::new();
        self.from.by_ref().take(1024).read_until(b'\n', &mut bytes)?;
        if bytes.pop() != Some(b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    }
}

impl<R: BufRead> Read for Body<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_done || buffer.is_empty() {
            return Ok(0);
        }
        if self.framing == Framing::UntilEnd {
            return self.from.read(buffer);
        }
        if self.framing == Framing::Chunked && self.left == 0 {
            let size = self.line()?;
            let size = size.split(';').next().unwrap_or_default();
            self.left = u64::from_str_radix(size.trim(), 16).map_err(|_| io::ErrorKind::InvalidData)?;
            if self.left == 0 {
                while !self.line()?.is_empty() {}
                self.is_done = true;
                return Ok(0);
            }
        }
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let got = self.from.read(&mut buffer[..want])?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= got as u64;
        if self.left == 0 {
            match self.framing {
                Framing::Chunked => drop(self.line()?),
                _ => self.is_done = true,
            }
        }
        Ok(got)
    }
}

/// Writes a piece of a body in its framing.
pub(crate) fn write_piece(to: &mut impl Write, framing: Framing, piece: &[u8]) -> io::Result<()> {
    match framing {
        Framing::Chunked if !piece.is_empty() => {
            write!(to, "{:x}\r\n", piece.len())?;
            to.write_all(piece)?;
            to.write_all(b"\r\n")
        }
        Framing::Chunked => Ok(()),
        _ => to.write_all(piece),
    }
}

/// Ends a body.
pub(crate) fn write_end(to: &mut impl Write, framing: Framing) -> io::Result<()> {
    if framing == Framing::Chunked { to.write_all(b"0\r\n\r\n") } else { Ok(()) }
}

pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        307 => "Temporary Redirect",
        401 => "Unauthorized",
        404 => "Not Found",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        500.. => "Internal Server Error",
        _ => "Status",
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(if first == b'+' { b' ' } else { first });
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn bodies_end_where_their_framing_says() {
        let mut wire = Cursor::new(b"5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\nrest".to_vec());
        let mut text = String::new();
        Body::new(&mut wire, Framing::Chunked).read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello!");
        text.clear();
        Body::new(&mut wire, Framing::Length(2)).read_to_string(&mut text).unwrap();
        assert_eq!(text, "re");
        assert!(Body::new(&mut wire, Framing::Length(3)).read_to_string(&mut text).is_err());
    }

    #[test]
    fn queries_are_decoded() {
        let head = Head { first: "GET /t?scope=a%3Ab+c&x=1&scope=d HTTP/1.1".into(), fields: Vec::new() };
        assert_eq!(head.queries("scope"), ["a:b c", "d"]);
        assert_eq!((head.path(), head.method()), ("/t", "GET"));
    }
}
