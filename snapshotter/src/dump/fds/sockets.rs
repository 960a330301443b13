//! Sockets without a peer: listening, bound, or just made, with their options.

use super::open::OpenFd;
use super::{Gathering, Refusal, kernel, netlink, unreadable};
use crate::tracee::ledger::{Carry, SETSOCKOPT};
use snapfn_format::snap::*;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const TCP_CLOSE: u8 = 7;
const TCP_LISTEN: u8 = 10;
/// Offsets in `struct tcp_info`; of a listener: connections that wait, and the backlog.
const TCPI_UNACKED: usize = 24;
const TCPI_SACKED: usize = 28;

/// Which sizes of buffers were set (SO_BUF_LOCK).
const SNDBUF_LOCK: u32 = 1;
const RCVBUF_LOCK: u32 = 2;

/// Family, type and protocol.
pub(super) fn nature(fd: &OwnedFd) -> Option<(u32, u32, u32)> {
    let number = |name| kernel::socket_number(fd, libc::SOL_SOCKET, name);
    Some((number(libc::SO_DOMAIN)?, number(libc::SO_TYPE)?, number(libc::SO_PROTOCOL)?))
}

/// A step for every option that is not a new socket's own.
pub(super) fn options(gathering: &mut Gathering<'_>, key: u32, fd: &OwnedFd, nature: (u32, u32, u32)) {
    let (family, kind, protocol) = nature;
    let Ok(fresh) = kernel::socket(family, kind, protocol) else { return };
    let inet = family == libc::AF_INET as u32 || family == libc::AF_INET6 as u32;
    let transport = if kind == libc::SOCK_STREAM as u32 { libc::IPPROTO_TCP } else { libc::IPPROTO_UDP };
    let mut locked = 0;
    for option in SETSOCKOPT {
        let applies = match option.level {
            libc::SOL_SOCKET => true,
            libc::IPPROTO_IPV6 => family == libc::AF_INET6 as u32,
            libc::IPPROTO_IP => inet,
            level => inet && level == transport,
        };
        let room = match option.carry {
            Carry::No(_) => continue,
            Carry::Bytes(room) => room,
            Carry::Buffer | Carry::Locks | Carry::Rehash => 4,
        };
        let read = |fd| if applies { kernel::socket_option(fd, option.level, option.number, room) } else { None };
        let (Some(mut now), Some(new)) = (read(fd), read(&fresh)) else { continue };
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_ne_bytes);
        let same = match option.carry {
            Carry::Locks => number(&now) == number(&new) | locked,
            Carry::Rehash => number(&now) != 0 || number(&new) == 0,
            _ => now == new,
        };
        if same {
            continue;
        }
        if option.carry == Carry::Buffer {
            locked |= if option.number == libc::SO_SNDBUF { SNDBUF_LOCK } else { RCVBUF_LOCK };
            now = (number(&now) / 2).to_ne_bytes().to_vec();
        }
        let set = Step::Option { level: option.level as u32 as u64, name: option.number as u64 };
        gathering.step(key, set).data = now;
    }
}

/// Refuses a filter that is attached, or locked: its program can at most be read, and no data may pass before it is
/// attached.
pub(super) fn filter(fd: &OwnedFd) -> Result<(), Refusal> {
    let locked = kernel::socket_number(fd, libc::SOL_SOCKET, libc::SO_LOCK_FILTER) == Some(1);
    if locked || kernel::has_filter(fd) {
        return Err(("is a socket with a filter (SO_ATTACH_FILTER)".to_owned(), "attach it after the snapshot point"));
    }
    Ok(())
}

/// An address for people.
pub(super) fn shown(address: &[u8]) -> String {
    let half = |at: usize| address.get(at..at + 2).map_or([0; 2], |b| [b[0], b[1]]);
    let port = u16::from_be_bytes(half(2));
    match i32::from(u16::from_ne_bytes(half(0))) {
        libc::AF_INET => {
            let ip = address.get(4..8).and_then(|b| <[u8; 4]>::try_from(b).ok()).unwrap_or_default();
            SocketAddr::new(Ipv4Addr::from(ip).into(), port).to_string()
        }
        libc::AF_INET6 => {
            let ip = address.get(8..24).and_then(|b| <[u8; 16]>::try_from(b).ok()).unwrap_or_default();
            SocketAddr::new(Ipv6Addr::from(ip).into(), port).to_string()
        }
        libc::AF_UNIX => match address.get(2..) {
            Some([0, name @ ..]) => format!("@{}", String::from_utf8_lossy(name)),
            Some(path @ [_, ..]) => String::from_utf8_lossy(path).trim_end_matches('\0').to_owned(),
            _ => "an unnamed socket".to_owned(),
        },
        family => format!("an address of family {family}"),
    }
}

pub(super) fn connected(peer: &str) -> Refusal {
    (format!("is a socket connected to {peer}"), "close the connection before the snapshot point, or connect after it")
}

pub(super) fn gather(gathering: &mut Gathering<'_>, open: &OpenFd) -> Result<(), Refusal> {
    let fd = open.duplicate().map_err(unreadable("the socket cannot be read"))?;
    let nature = nature(&fd).ok_or_else(|| ("is a socket of unknown kind".to_owned(), "close it"))?;
    filter(&fd)?;
    let (family, kind, protocol) = nature;
    let has_peers = [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX].contains(&(family as i32));
    let peer = kernel::peer_name(&fd).filter(|_| has_peers);
    if let Some(peer) = peer.as_ref().filter(|_| !is_udp(nature)) {
        return Err(connected(&shown(peer)));
    }
    let stream = kind == libc::SOCK_STREAM as u32;
    let (listening, waiting, backlog) = match (family as i32, stream) {
        (libc::AF_INET | libc::AF_INET6, true) => tcp(&fd, protocol)?,
        (libc::AF_INET | libc::AF_INET6, false) if kind == libc::SOCK_DGRAM as u32 => (false, waits(&fd), 0),
        (libc::AF_UNIX, _) => unix(open, &fd)?,
        (libc::AF_NETLINK, _) if protocol == libc::NETLINK_ROUTE as u32 => {
            netlink::check(&fd, nature)?;
            (false, waits(&fd), 0)
        }
        _ => {
            let what = match family as i32 {
                libc::AF_NETLINK => "a netlink socket".to_owned(),
                libc::AF_PACKET => "a packet socket".to_owned(),
                libc::AF_ALG => "a kernel crypto socket".to_owned(),
                libc::AF_VSOCK => "a vsock socket".to_owned(),
                libc::AF_INET | libc::AF_INET6 => "a raw socket".to_owned(),
                family => format!("a socket of family {family}"),
            };
            return Err((format!("is {what}"), "open it after the snapshot point"));
        }
    };
    if family != libc::AF_UNIX as u32 && kernel::poll(&fd) & libc::POLLRDHUP != 0 {
        // A connection that both sides have ended has no peer any more, but it is not a socket that was just made.
        let what = "is a socket that has been shut down, or whose connection has ended".to_owned();
        return Err((what, "close it before the snapshot point"));
    }
    if waiting != 0 {
        let what = if listening { "connections" } else { "datagrams" };
        let name = kernel::socket_name(&fd).unwrap_or_default();
        return Err((
            format!("is a socket at {} with waiting {what}", shown(&name)),
            "take them before the snapshot point",
        ));
    }
    let mut address = address(gathering, &fd)?;
    if peer.is_some() && !keeps_port(gathering, &address.bytes) {
        address.bytes.clear();
    }
    let mode = address.path.as_ref().and_then(|path| std::fs::metadata(path).ok()).map_or(0, |m| m.mode() & 0o777);
    let bound = !address.bytes.is_empty();
    let (family, kind, protocol) = (u64::from(family), u64::from(kind), u64::from(protocol));
    gathering.record(open, Descriptor::Socket { family, kind, protocol }).data = address.bytes;
    options(gathering, open.key, &fd, nature);
    if bound {
        gathering.step(open.key, Step::Bind { mode: u64::from(mode) });
    }
    if let Some(peer) = peer {
        gathering.step(open.key, Step::Connect).data = peer;
    }
    if listening {
        gathering.step(open.key, Step::Listen { backlog: u64::from(backlog) });
    }
    Ok(())
}

fn is_udp((family, kind, protocol): (u32, u32, u32)) -> bool {
    let (family, kind) = (family as i32, kind as i32);
    matches!(family, libc::AF_INET | libc::AF_INET6) && kind == libc::SOCK_DGRAM && protocol == libc::IPPROTO_UDP as u32
}

/// Whether a connected UDP socket at `own` needs the same port again: another socket of the program sends to it, or the
/// kernel does not give out such a port. Any other socket gets a new port when it is connected, as it got this one.
fn keeps_port(gathering: &Gathering<'_>, own: &[u8]) -> bool {
    let Some(port) = own.get(2..4).map(|port| u16::from_be_bytes([port[0], port[1]])) else { return false };
    let is_given = kernel::given_ports().is_some_and(|range| range.contains(&port));
    let peers = gathering.udp_peers.get_or_init(|| {
        let sockets = gathering.open.iter().filter(|open| open.name().starts_with("socket:"));
        let duplicates = sockets.filter_map(|open| open.duplicate().ok());
        let udp = duplicates.filter(|fd| nature(fd).is_some_and(is_udp));
        udp.filter_map(|fd| kernel::peer_name(&fd)).collect()
    });
    !is_given || peers.contains(own)
}

/// Whether anything waits to be read.
fn waits(fd: &OwnedFd) -> u32 {
    u32::from(kernel::poll(fd) & libc::POLLIN != 0)
}

fn tcp(fd: &OwnedFd, protocol: u32) -> Result<(bool, u32, u32), Refusal> {
    let info = kernel::socket_option(fd, libc::IPPROTO_TCP, libc::TCP_INFO, 256);
    let Some(info) = info.filter(|_| protocol == libc::IPPROTO_TCP as u32 || protocol == libc::IPPROTO_MPTCP as u32)
    else {
        return Err((format!("is a stream socket of protocol {protocol}"), "open it after the snapshot point"));
    };
    let word = |at: usize| info.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes);
    match info.first() {
        Some(&TCP_LISTEN) => Ok((true, word(TCPI_UNACKED), word(TCPI_SACKED))),
        Some(&TCP_CLOSE) => Ok((false, 0, 0)),
        _ => Err(connected("a peer that is going away")),
    }
}

fn unix(open: &OpenFd, fd: &OwnedFd) -> Result<(bool, u32, u32), Refusal> {
    let listening = kernel::socket_number(fd, libc::SOL_SOCKET, libc::SO_ACCEPTCONN) == Some(1);
    match kernel::unix_info(open.metadata.ino() as u32) {
        Ok(info) => Ok((listening, info.waiting, info.backlog)),
        Err(_) => Ok((listening, waits(fd), libc::SOMAXCONN as u32)),
    }
}

/// What to bind to.
struct BoundTo {
    /// Empty: nothing.
    bytes: Vec<u8>,
    /// Of a Unix socket with a file.
    path: Option<PathBuf>,
}

fn address(gathering: &Gathering<'_>, fd: &OwnedFd) -> Result<BoundTo, Refusal> {
    let bytes = kernel::socket_name(fd).unwrap_or_default();
    let family = bytes.get(..2).map_or(0, |b| i32::from(u16::from_ne_bytes([b[0], b[1]])));
    if family == libc::AF_NETLINK {
        return Ok(BoundTo { bytes: netlink::bound(bytes, gathering.pid), path: None });
    }
    if family != libc::AF_UNIX {
        // Port 0: not bound yet.
        let bound = bytes.get(2..4).is_some_and(|port| port != [0, 0]);
        return Ok(BoundTo { bytes: if bound { bytes } else { Vec::new() }, path: None });
    }
    let name = bytes.get(2..).unwrap_or_default();
    match name.first() {
        None => return Ok(BoundTo { bytes: Vec::new(), path: None }),
        Some(0) => return Ok(BoundTo { bytes, path: None }),
        Some(_) => {}
    }
    // Instances may start elsewhere: the path becomes absolute.
    let name = String::from_utf8_lossy(name.split(|b| *b == 0).next().unwrap_or_default()).into_owned();
    let cwd = std::fs::read_link(format!("/proc/{}/cwd", gathering.pid)).unwrap_or_default();
    let path = cwd.join(&name);
    let text = path.to_string_lossy().into_owned();
    if text.len() > 107 || !Path::new(&path).exists() {
        let what = format!("is a socket whose file {} is gone or has too long a path", path.display());
        return Err((what, "bind it to an existing absolute path"));
    }
    let mut bytes = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes.push(0);
    Ok(BoundTo { bytes, path: Some(path) })
}
