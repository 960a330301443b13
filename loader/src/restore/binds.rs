//! Socket addresses: those of `--bind` and LISTEN_FDNAMES, and their text form.

use crate::runtime::print::Text;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// Size of `struct sockaddr_un`.
pub const ADDRESS_MAX: usize = 110;

/// A `struct sockaddr` of the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    bytes: [u8; ADDRESS_MAX],
    len: u8,
}

impl Address {
    /// The bytes of the address as the kernel expects them.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    fn inet(ip: IpAddr, port: u16) -> Self {
        let mut bytes = [0; ADDRESS_MAX];
        bytes[2..4].copy_from_slice(&port.to_be_bytes());
        match ip {
            IpAddr::V4(ip) => {
                bytes[..2].copy_from_slice(&AF_INET.to_le_bytes());
                bytes[4..8].copy_from_slice(&ip.octets());
                Address { bytes, len: 16 }
            }
            IpAddr::V6(ip) => {
                bytes[..2].copy_from_slice(&AF_INET6.to_le_bytes());
                bytes[8..24].copy_from_slice(&ip.octets());
                Address { bytes, len: 28 }
            }
        }
    }

    /// A path, or an abstract name after `@`.
    fn unix(name: &[u8]) -> Option<Self> {
        let mut bytes = [0; ADDRESS_MAX];
        bytes[..2].copy_from_slice(&AF_UNIX.to_le_bytes());
        // A path keeps its terminating zero.
        let room = bytes.get_mut(2..ADDRESS_MAX - 1)?.get_mut(..name.len())?;
        room.copy_from_slice(name);
        let mut len = 2 + name.len();
        match room.first_mut()? {
            at @ b'@' => *at = 0,
            _ => len += 1,
        }
        Some(Address { bytes, len: len as u8 })
    }

    /// This address with another port.
    pub fn with_port(bytes: &[u8], port: u16) -> Option<Self> {
        match parse(bytes) {
            Known::Inet(ip, _) => Some(Address::inet(ip, port)),
            _ => None,
        }
    }

    /// An address that only this machine reaches, in the family of `bytes`: for sockets that no `--bind` is left for.
    pub fn aside(bytes: &[u8]) -> Option<Self> {
        match parse(bytes) {
            Known::Inet(IpAddr::V4(_), _) => Some(Address::inet(Ipv4Addr::LOCALHOST.into(), 0)),
            Known::Inet(IpAddr::V6(_), _) => Some(Address::inet(Ipv6Addr::LOCALHOST.into(), 0)),
            _ => None,
        }
    }

    /// An IPv4 address in the form of an IPv6 socket.
    pub fn mapped(&self) -> Option<Self> {
        match parse(self.bytes()) {
            Known::Inet(IpAddr::V4(ip), port) => Some(Address::inet(ip.to_ipv6_mapped().into(), port)),
            _ => None,
        }
    }
}

/// Family of a sockaddr.
pub fn family(bytes: &[u8]) -> u16 {
    bytes.get(..2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
}

/// The path of a Unix socket that has one, without its zero.
pub fn unix_path(bytes: &[u8]) -> Option<&[u8]> {
    match parse(bytes) {
        Known::Unix(name) if name.first().is_some_and(|b| *b != 0) => Some(name),
        _ => None,
    }
}

enum Known<'a> {
    Inet(IpAddr, u16),
    /// Path without its zero, or an abstract name with the zero before it.
    Unix(&'a [u8]),
    Other,
}

fn parse(bytes: &[u8]) -> Known<'_> {
    let port = bytes.get(2..4).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
    let part = |from: usize, to: usize| bytes.get(from..to);
    match family(bytes) {
        AF_INET => match part(4, 8).and_then(|b| <[u8; 4]>::try_from(b).ok()) {
            Some(octets) => Known::Inet(Ipv4Addr::from(octets).into(), port),
            None => Known::Other,
        },
        AF_INET6 => match part(8, 24).and_then(|b| <[u8; 16]>::try_from(b).ok()) {
            Some(octets) => Known::Inet(Ipv6Addr::from(octets).into(), port),
            None => Known::Other,
        },
        AF_UNIX => {
            let name = bytes.get(2..).unwrap_or_default();
            match name.first() {
                Some(0) | None => Known::Unix(name),
                Some(_) => Known::Unix(name.split(|b| *b == 0).next().unwrap_or_default()),
            }
        }
        _ => Known::Other,
    }
}

/// Shows a sockaddr.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(pub &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match parse(self.0) {
            Known::Inet(ip, port) => write!(f, "{}", SocketAddr::new(ip, port)),
            Known::Unix(name) => match name.split_first() {
                Some((0, rest)) => write!(f, "unix:@{}", Text(rest)),
                _ => write!(f, "unix:{}", Text(name)),
            },
            Known::Other => f.write_str("(no address)"),
        }
    }
}

/// One side of `--bind OLD=NEW`.
#[derive(Clone, Copy, Debug)]
pub enum Spec {
    /// Any address with that port.
    Port(u16),
    /// That address.
    Exact(Address),
}

impl Spec {
    /// `PORT`, `IPV4:PORT`, `[IPV6]:PORT`, `*:PORT`, `unix:PATH`, `/PATH`, `unix:@NAME`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if let Some(name) = text.strip_prefix(b"unix:") {
            return Address::unix(name).map(Spec::Exact);
        }
        if text.first() == Some(&b'/') {
            return Address::unix(text).map(Spec::Exact);
        }
        let text = core::str::from_utf8(text).ok()?;
        if let Some(port) = text.strip_prefix("*:") {
            return port.parse().ok().map(|port| Spec::Exact(Address::inet(Ipv4Addr::UNSPECIFIED.into(), port)));
        }
        match text.parse::<SocketAddr>() {
            Ok(address) => Some(Spec::Exact(Address::inet(address.ip(), address.port()))),
            Err(_) => text.parse().ok().map(Spec::Port),
        }
    }

    /// Whether it names a socket bound to `bytes`.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        match (self, parse(bytes)) {
            (Spec::Port(port), Known::Inet(_, of)) => *port == of,
            (Spec::Exact(address), known) => match (parse(address.bytes()), known) {
                (Known::Inet(a, a_port), Known::Inet(b, b_port)) => a == b && a_port == b_port,
                (Known::Unix(a), Known::Unix(b)) => a == b,
                _ => false,
            },
            _ => false,
        }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spec::Port(port) => write!(f, "{port}"),
            Spec::Exact(address) => Shown(address.bytes()).fmt(f),
        }
    }
}

/// Most `--bind` options of a command line.
pub const BINDS_MAX: usize = 32;

/// The `--bind` options.
#[derive(Clone, Copy, Debug)]
pub struct Binds {
    list: [Option<(Spec, Spec)>; BINDS_MAX],
    count: usize,
}

impl Binds {
    /// None.
    pub const NONE: Binds = Binds { list: [None; BINDS_MAX], count: 0 };

    fn parse(text: &[u8]) -> Option<(Spec, Spec)> {
        let at = text.iter().position(|b| *b == b'=')?;
        Some((Spec::parse(text.get(..at)?)?, Spec::parse(text.get(at + 1..)?)?))
    }

    /// Whether `text` is `OLD=NEW`.
    pub fn is_valid(text: &[u8]) -> bool {
        Self::parse(text).is_some()
    }

    /// Adds `OLD=NEW`; false where the text has another form or the list is full.
    pub fn add(&mut self, text: &[u8]) -> bool {
        let Some(pair) = Self::parse(text) else { return false };
        let Some(slot) = self.list.get_mut(self.count) else { return false };
        *slot = Some(pair);
        self.count += 1;
        true
    }

    /// `(old, new)` in the order of the command line.
    pub fn iter(&self) -> impl Iterator<Item = &(Spec, Spec)> {
        self.list.iter().flatten()
    }
}
