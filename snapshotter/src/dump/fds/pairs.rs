//! Unix socket pairs with their queues. Descriptors in flight become records of their own, closed once they are sent.

use super::open::OpenFd;
use super::{Gathering, Refusal, kernel, sockets, unreadable};
use crate::tracee::ptrace::Tid;
use snapfn_format::snap::*;
use std::collections::{HashMap, HashSet};
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;

/// A message: its bytes, and the keys of the descriptors passed along.
type Queued = (Vec<u8>, Vec<u32>);

/// A Unix socket with a peer, of any type.
struct Connected {
    info: kernel::UnixInfo,
    queue: Vec<Queued>,
}

/// By inode.
#[derive(Default)]
pub(super) struct Queues(HashMap<u64, Connected>);

/// Reads the queues of all connected Unix sockets. Descriptors found in flight are added to `all`, and examined. Of a
/// process that is not `is_ours`, only the first message is read: for the next ones the socket's peek offset would have
/// to be set.
pub(super) fn queues(all: &mut Vec<OpenFd>, is_ours: bool, refused: &mut HashMap<u32, Refusal>) -> Queues {
    let mut out = Queues::default();
    let mut at = 0;
    while at < all.len() {
        let open = &all[at];
        at += 1;
        let inode = open.file().1;
        if !open.name().starts_with("socket:") || out.0.contains_key(&inode) {
            continue;
        }
        let Ok(fd) = open.duplicate() else { continue };
        if sockets::nature(&fd).is_none_or(|(family, ..)| family != libc::AF_UNIX as u32) {
            continue;
        }
        // Without sock_diag the peer is unknown: the sockets module then refuses the socket.
        let Some(info) = kernel::unix_info(inode as u32).ok().filter(|info| info.peer.is_some()) else { continue };
        let key = open.key;
        let queue = if is_ours { queue(&fd, all) } else { first(&fd, all) };
        match queue {
            Ok(queue) => drop(out.0.insert(inode, Connected { info, queue })),
            Err(refusal) => drop(refused.insert(key, refusal)),
        }
    }
    out
}

fn queue(fd: &OwnedFd, all: &mut Vec<OpenFd>) -> Result<Vec<Queued>, Refusal> {
    let failed = "what is in flight cannot be read";
    let before = kernel::socket_number(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF).unwrap_or(u32::MAX);
    kernel::set_peek_offset(fd, 0).map_err(unreadable(failed))?;
    let stamped = kernel::stamp(fd).map_err(unreadable(failed));
    let result = stamped.and_then(|unset| {
        let queue = read_queue(fd, all);
        if unset {
            kernel::set_number(fd, libc::SO_TIMESTAMP, 0).map_err(unreadable(failed))?;
        }
        queue
    });
    kernel::set_peek_offset(fd, before as i32).map_err(unreadable(failed))?;
    result
}

/// The first message, without any effect on the socket: where it has a peek offset, peeking would move that.
fn first(fd: &OwnedFd, all: &mut Vec<OpenFd>) -> Result<Vec<Queued>, Refusal> {
    match kernel::socket_number(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF) {
        Some(u32::MAX) | None => take(fd, all).map(|message| message.into_iter().collect()),
        Some(_) => Ok(Vec::new()),
    }
}

fn read_queue(fd: &OwnedFd, all: &mut Vec<OpenFd>) -> Result<Vec<Queued>, Refusal> {
    let mut out: Vec<Queued> = Vec::new();
    let is_stream = is_stream(fd);
    while let Some((data, keys)) = take(fd, all)? {
        // One sender's bytes are one stream.
        match out.last_mut().filter(|_| is_stream && keys.is_empty()) {
            Some((before, _)) => before.extend(data),
            None => out.push((data, keys)),
        }
    }
    Ok(out)
}

fn is_stream(fd: &OwnedFd) -> bool {
    kernel::socket_number(fd, libc::SOL_SOCKET, libc::SO_TYPE) == Some(libc::SOCK_STREAM as u32)
}

/// Whether the socket reads as empty for ever at its end, as streams and sequenced packets do.
fn has_end(fd: &OwnedFd) -> bool {
    let kind = kernel::socket_number(fd, libc::SOL_SOCKET, libc::SO_TYPE).map(|kind| kind as i32);
    matches!(kind, Some(libc::SOCK_STREAM | libc::SOCK_SEQPACKET))
}

/// The next message from the peek offset on; `None` at the end of the queue.
fn take(fd: &OwnedFd, all: &mut Vec<OpenFd>) -> Result<Option<Queued>, Refusal> {
    let failed = "what is in flight cannot be read";
    let Some(message) = kernel::peek(fd).map_err(unreadable(failed))? else { return Ok(None) };
    // The end, where the peer is gone or has shut down; a message may have no bytes, too, but it has a time.
    if message.data.is_empty() && !message.has_time && has_end(fd) {
        return Ok(None);
    }
    if message.cut {
        return Err(("has a message of more than 1 MiB in flight".to_owned(), "read it before the snapshot point"));
    }
    let mut keys = Vec::new();
    for right in message.rights {
        keys.push(key_of(right, all).map_err(unreadable(failed))?);
    }
    Ok(Some((message.data, keys)))
}

/// The program's own descriptor for a passed one, or a new entry in `all`.
fn key_of(right: OwnedFd, all: &mut Vec<OpenFd>) -> std::io::Result<u32> {
    let at = (std::process::id() as Tid, right.as_raw_fd() as u32);
    let key = all.iter().map(|open| open.key + 1).max().unwrap_or(0).max(FD_TEMPORARY);
    let mut open = OpenFd::read(at, key)?;
    open.received = Some(right);
    for known in all.iter() {
        if known.is_same_description(&open)? {
            return Ok(known.key);
        }
    }
    all.push(open);
    Ok(key)
}

pub(super) fn gather(
    gathering: &mut Gathering<'_>,
    primary: &[&OpenFd],
    queues: &Queues,
    refused: &mut HashMap<u32, Refusal>,
) {
    let by_inode: HashMap<u64, &OpenFd> = primary
        .iter()
        .filter(|open| queues.0.contains_key(&open.file().1) && open.name().starts_with("socket:"))
        .map(|open| (open.file().1, *open))
        .collect();
    let mut done: HashSet<u32> = gathering.records.iter().map(|state| state.record.fd).collect();
    for open in primary.iter().filter(|open| by_inode.contains_key(&open.file().1)) {
        if done.contains(&open.key) || refused.contains_key(&open.key) {
            continue;
        }
        let before = gathering.records.len();
        if let Err(refusal) = pair(gathering, open, queues, &by_inode) {
            refused.insert(open.key, refusal);
        }
        done.extend(gathering.records[before..].iter().map(|state| state.record.fd));
    }
}

fn pair(
    gathering: &mut Gathering<'_>,
    open: &OpenFd,
    queues: &Queues,
    by_inode: &HashMap<u64, &OpenFd>,
) -> Result<(), Refusal> {
    let Some(end) = queues.0.get(&open.file().1) else { return Ok(()) };
    let fd = open.duplicate().map_err(unreadable("the socket cannot be read"))?;
    sockets::filter(&fd)?;
    let peer_inode = u64::from(end.info.peer.unwrap_or(0));
    let peer = by_inode.get(&peer_inode).copied();
    let mutual = queues.0.get(&peer_inode).is_some_and(|of| of.info.peer.map(u64::from) == Some(open.file().1));
    let unnamed = |fd: &OwnedFd| kernel::socket_name(fd).is_none_or(|name| name.len() <= 2);
    if (peer_inode != 0 && !(mutual && peer.is_some())) || !unnamed(&fd) {
        let peer = kernel::peer_name(&fd).filter(|name| name.len() > 2);
        let text = peer.map_or_else(|| format!("another program (socket {peer_inode})"), |name| sockets::shown(&name));
        return Err(sockets::connected(&text));
    }
    let nature = sockets::nature(&fd).unwrap_or_default();
    let other_key = peer.map_or_else(|| gathering.temporary(), |peer| peer.key);
    let other_fd = peer.map(OpenFd::duplicate).transpose().map_err(unreadable("the socket cannot be read"))?;
    other_fd.as_ref().map_or(Ok(()), sockets::filter)?;
    if let Some(other) = other_fd.as_ref().filter(|other| !unnamed(other)) {
        let name = kernel::socket_name(other).unwrap_or_default();
        return Err(sockets::connected(&sockets::shown(&name)));
    }
    let ends = [(open.key, other_key, open.flags), (other_key, open.key, peer.map_or(2, |peer| peer.flags))];
    for (fd, source, flags) in ends {
        let descriptor = Descriptor::SocketPair { other: source, kind: u64::from(nature.1) };
        gathering.add(Fd::new(fd, flags, descriptor));
    }
    sockets::options(gathering, open.key, &fd, nature);
    if let Some(other) = &other_fd {
        sockets::options(gathering, other_key, other, nature);
    }
    // The messages that wait at one end are from the other.
    refill(gathering, other_key, &end.queue);
    if let Some(other) = peer.and_then(|_| queues.0.get(&peer_inode)) {
        refill(gathering, open.key, &other.queue);
    }
    // Half closed; the end whose peer is closed becomes so by itself.
    if peer.is_some() && end.info.shutdown != 0 {
        gathering.late_step(open.key, Step::Shutdown(u64::from(end.info.shutdown) - 1));
    }
    Ok(())
}

/// Late steps: descriptors that are passed must be complete, and the buffers large enough.
fn refill(gathering: &mut Gathering<'_>, sender: u32, queue: &[Queued]) {
    for (data, keys) in queue {
        gathering.late_step(sender, Step::Send);
        if let Some(state) = gathering.late.last_mut() {
            state.data.clone_from(data);
            state.extra = keys.iter().flat_map(|key| key.to_le_bytes()).collect();
        }
    }
}
