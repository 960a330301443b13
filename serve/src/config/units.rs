//! Values that are written as text.

use super::Route;
use serde::Deserialize;
use std::ffi::OsStr;
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Reads a value as text by [`FromStr`].
macro_rules! from_text {
    ($($kind:ty),*) => {
        $(impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
            }
        })*
    };
}
from_text!(Address, Name, Time, Route);

/// A duration: `500ms`, `5s`, `2m`, `1h`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time(pub(super) Duration);

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text}: a duration is a number with ms, s, m or h behind it");
        let (number, unit) = split(text).ok_or_else(wrong)?;
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        // Longer than a year is no limit that anybody means.
        let time = number.checked_mul(milliseconds).filter(|time| *time <= 366 * 24 * 3_600_000).ok_or_else(wrong)?;
        Ok(Time(Duration::from_millis(time)))
    }
}

/// A number of bytes: `65536`, `64 KiB`, `1 MiB`, `1 GiB`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Length(pub(super) u64);

impl FromStr for Length {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text}: a size is a number with nothing, KiB, MiB or GiB behind it");
        let (number, unit) = split(text).ok_or_else(wrong)?;
        let shift = match unit {
            "" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return Err(wrong()),
        };
        number.checked_mul(1 << shift).filter(|length| *length <= 1 << 40).map(Length).ok_or_else(wrong)
    }
}

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a number of bytes, or a string like \"64 KiB\"")]
        enum Either {
            Number(u64),
            Text(String),
        }
        match Either::deserialize(from)? {
            Either::Number(number) => Ok(Length(number)),
            Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// A number, and the unit behind it.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim()))
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Default for Address {
    fn default() -> Self {
        Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 8080)))
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Address::Unix(PathBuf::from(path)));
        }
        let found = text.to_socket_addrs().ok().and_then(|mut all| all.next());
        found.map(Address::Tcp).ok_or_else(|| format!("{text}: an address is a string HOST:PORT or unix:PATH"))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "http://{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The name of a function, as labels of metrics and lines of the log have it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name(std::sync::Arc<str>);

impl Name {
    /// The name of the one function of a command line: the snapshot's, without folder, tag and `.snap`.
    pub(crate) fn of_snapshot(snapshot: &OsStr) -> Self {
        let text = snapshot.to_string_lossy();
        let last = text.rsplit('/').next().unwrap_or_default();
        let name = last.split(':').next().unwrap_or_default().trim_end_matches(".snap");
        name.parse().unwrap_or_else(|_| Name("function".into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_.-+".contains(c);
        if text.is_empty() || text.len() > 64 || !text.chars().all(is_allowed) {
            return Err(format!("{text:?}: the name of a function has 1 to 64 letters, digits and _ . - +"));
        }
        Ok(Name(text.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?}: a route is /PATH or HOST/PATH, without ?, #, %, // and dots alone");
        let at = text.find('/').ok_or_else(wrong)?;
        let (host, path) = text.split_at(at);
        let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        let path = path.strip_suffix('/').unwrap_or(path);
        let is_path = path.split('/').skip(1).all(is_plain) && path.bytes().all(|byte| byte.is_ascii_graphic());
        let is_host = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte));
        if !is_path || path.contains(['?', '#', '%']) || !is_host {
            return Err(wrong());
        }
        let host = (!host.is_empty()).then(|| host.to_ascii_lowercase());
        Ok(Route { host, path: path.to_owned() })
    }
}

/// A variable of a function's environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl Variable {
    pub(super) fn new(name: &str, value: &str) -> Result<Self, String> {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(format!("{name:?} is not the name of a variable, or its value has a zero byte"));
        }
        Ok(Variable { name: name.to_owned(), value: value.to_owned() })
    }

    /// Lines `NAME=VALUE`; empty lines and those that begin with # are skipped.
    pub(super) fn parse_file(text: &str) -> Result<Vec<Self>, String> {
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        lines.map(|(number, line)| line.parse().map_err(|why: String| format!("line {number}: {why}"))).collect()
    }
}

impl FromStr for Variable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?}: a variable is NAME=VALUE"))?;
        Variable::new(name, value)
    }
}
