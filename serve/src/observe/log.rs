//! The log: one JSON object a line, on standard error. A thread writes it, so that a reader that does not read holds up
//! no request; if it falls behind, lines are dropped and counted.

use crate::config::Name;
use serde::Serialize;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Lines that wait to be written.
const BACKLOG: usize = 4096;

/// Where lines go. Clones are the same log.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    to: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Entry {
    Line(Vec<u8>),
    Flush(Sender<()>),
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    time: String,
    level: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<&'a str>,
    message: &'a str,
}

/// A line about a request that has been answered.
#[derive(Debug, Serialize)]
pub(crate) struct Access<'a> {
    pub(crate) time: String,
    pub(crate) level: &'a str,
    pub(crate) request: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) function: Option<&'a str>,
    pub(crate) remote: &'a str,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) protocol: &'a str,
    pub(crate) status: u16,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) queue_seconds: f64,
    /// `false` if the client did not get the whole answer.
    pub(crate) complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<&'a str>,
}

impl Log {
    pub(crate) fn new() -> std::io::Result<Self> {
        let (to, from) = sync_channel(BACKLOG);
        std::thread::Builder::new().name("log".into()).spawn(move || write(&from))?;
        Ok(Log { to, dropped: Arc::default() })
    }

    /// A line that is about no request.
    pub(crate) fn line(&self, level: &str, function: Option<&Name>, message: &str) {
        let function = function.map(Name::as_str);
        self.put(&Line { time: now(), level, function, request: None, stream: None, message });
    }

    pub(crate) fn put(&self, line: &impl Serialize) {
        let Ok(mut bytes) = serde_json::to_vec(line) else { return };
        bytes.push(b'\n');
        if self.to.try_send(Entry::Line(bytes)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many lines were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything so far is written, but not for a reader that does not read.
    pub(crate) fn flush(&self) {
        let (done, wait) = channel();
        if self.to.try_send(Entry::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(Duration::from_secs(1));
        }
    }
}

fn write(from: &Receiver<Entry>) {
    let mut batch = Vec::new();
    while let Ok(entry) = from.recv() {
        let mut flushed = Vec::new();
        for entry in std::iter::once(entry).chain(from.try_iter().take(63)) {
            match entry {
                Entry::Line(line) => batch.extend_from_slice(&line),
                Entry::Flush(done) => flushed.push(done),
            }
        }
        let _ = std::io::stderr().write_all(&batch);
        batch.clear();
        for done in flushed {
            let _ = done.send(());
        }
    }
}

/// What lines about one request have in common.
#[derive(Debug)]
pub(crate) struct RequestLog {
    pub(crate) log: Log,
    pub(crate) function: Name,
    pub(crate) request: String,
}

impl RequestLog {
    pub(crate) fn line(&self, level: &str, message: &str) {
        self.entry(level, None, message);
    }

    /// A line that the function has written to standard error.
    pub(crate) fn stderr(&self, line: &[u8]) {
        self.entry("info", Some("stderr"), String::from_utf8_lossy(line).trim_end_matches('\r'));
    }

    fn entry(&self, level: &str, stream: Option<&str>, message: &str) {
        let (function, request) = (Some(self.function.as_str()), Some(self.request.as_str()));
        self.log.put(&Line { time: now(), level, function, request, stream, message });
    }
}

/// This moment as RFC 3339 has it, in UTC, with milliseconds.
pub(crate) fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    rfc3339(since.as_secs(), since.subsec_millis())
}

fn rfc3339(seconds: u64, milliseconds: u32) -> String {
    let (days, rest) = (seconds / 86400, seconds % 86400);
    // Years that begin in March have the leap day at their end; 400 of them are an era of 146,097 days. Day 0
    // of era 0 is 1 March of the year 0, which is 719,468 days before 1970.
    let day = days + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (date, month) = (of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(rfc3339(0, 7), "1970-01-01T00:00:00.007Z");
        assert_eq!(rfc3339(951_827_696, 0), "2000-02-29T12:34:56.000Z");
        assert_eq!(rfc3339(1_709_251_199, 999), "2024-02-29T23:59:59.999Z");
        assert_eq!(rfc3339(4_102_444_800, 0), "2100-01-01T00:00:00.000Z");
    }
}
