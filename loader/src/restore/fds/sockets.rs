//! Sockets without a peer: the starter may choose their addresses.
//!
//! The first of these that exists counts: a socket that the starter passes (LISTEN_FDS), `--bind`, the address at the
//! snapshot. Where several sockets match one `--bind` (a server that listens on IPv4 and IPv6), the first one of the
//! new address's family gets it; the others get a free port of the loopback address, since two can't share one address.

use super::super::RestoreError;
use super::{Context, calls, unix_file};
use crate::restore::binds::{self, Address, Binds, Spec};
use crate::runtime::auxv::InitialStack;
use crate::runtime::sys::{self, Errno};
use crate::runtime::task;
use snapfn_format::snap::*;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_UNIX: u64 = 1;
const AF_NETLINK: u64 = 16;
const SOL_SOCKET: u64 = 1;
const SO_TYPE: u64 = 3;
/// What flags of a socket's type leave.
pub(super) const SOCK_TYPE_MASK: u64 = 0xf;
const IPPROTO_IPV6: u64 = 41;
const IPV6_V6ONLY: u64 = 26;
/// First descriptor of socket activation.
const LISTEN_FDS_START: i32 = 3;
const HANDED_MAX: usize = 32;

/// Sockets from the starter, by the index of the record that they stand for.
#[derive(Clone, Copy)]
pub(super) struct Handed {
    list: [(u32, i32); HANDED_MAX],
    count: usize,
}

impl Handed {
    pub(super) const NONE: Handed = Handed { list: [(0, -1); HANDED_MAX], count: 0 };

    fn of(&self, index: usize) -> Option<i32> {
        self.list.iter().take(self.count).find(|(of, _)| *of as usize == index).map(|(_, fd)| *fd)
    }
}

/// Where a socket is to be bound.
#[derive(Clone, Copy)]
enum Choice {
    /// As at the snapshot.
    Own,
    /// There.
    At(Address),
}

/// Whether the starter may choose where the socket is bound. A netlink socket is bound to no address of the host.
fn is_socket(record: &Fd) -> bool {
    matches!(record.descriptor(), Some(Descriptor::Socket { family, .. }) if family != AF_NETLINK)
}

fn bound<'a, 'b>(plan: &'b Plan<'a>) -> impl Iterator<Item = (usize, &'a [u8])> + use<'a, 'b> {
    plan.fds
        .iter()
        .enumerate()
        .filter(|(_, record)| is_socket(record) && record.data.len > 0)
        .map(|(index, record)| (index, plan.bytes(record.data)))
}

/// Every `--bind` must mean something.
pub(super) fn check_binds<'a>(plan: &Plan<'a>, binds: Option<&'a Binds>) -> Result<(), RestoreError<'a>> {
    for (old, _) in binds.into_iter().flat_map(Binds::iter) {
        if !bound(plan).any(|(_, address)| old.matches(address)) {
            return Err(RestoreError::NoSocket(old, bound(plan).next().map_or(&[], |(_, address)| address)));
        }
    }
    Ok(())
}

/// Family of a new address; a port alone leaves it as it is.
fn family_of(new: &Spec, own: &[u8]) -> u16 {
    match new {
        Spec::Port(_) => binds::family(own),
        Spec::Exact(address) => binds::family(address.bytes()),
    }
}

fn choose(plan: &Plan<'_>, binds: Option<&Binds>, index: usize) -> Choice {
    let Some(record) = plan.fds.get(index) else { return Choice::Own };
    let own = plan.bytes(record.data);
    let Some((old, new)) = binds.into_iter().flat_map(Binds::iter).find(|(old, _)| old.matches(own)) else {
        return Choice::Own;
    };
    match new {
        Spec::Port(port) => Address::with_port(own, *port).map_or(Choice::Own, Choice::At),
        Spec::Exact(given) => {
            let mut all = bound(plan).filter(|(_, address)| old.matches(address));
            let first = bound(plan).find(|(_, address)| old.matches(address));
            let winner = all.find(|(_, address)| family_of(new, address) == binds::family(address)).or(first);
            if winner.is_some_and(|(of, _)| of == index) {
                // An IPv6 socket serves IPv4 under a mapped address.
                let both = binds::family(own) == AF_INET6 && binds::family(given.bytes()) == AF_INET;
                let given = if both { given.mapped().unwrap_or(*given) } else { *given };
                Choice::At(given)
            } else {
                Address::aside(own).map_or(Choice::Own, Choice::At)
            }
        }
    }
}

/// Finds the sockets of the starter that stand for sockets of the plan, and moves them to other numbers.
pub(super) fn take_handed<'a>(context: &Context<'a, '_>, initial: &InitialStack) -> Result<Handed, RestoreError<'a>> {
    let mut handed = Handed::NONE;
    let number = |name: &[u8]| core::str::from_utf8(initial.getenv(name)?).ok()?.parse::<u32>().ok();
    let (Some(pid), Some(count)) = (number(b"LISTEN_PID"), number(b"LISTEN_FDS")) else { return Ok(handed) };
    if pid != task::pid() || bound(context.plan).next().is_none() {
        return Ok(handed);
    }
    if count as usize > HANDED_MAX {
        return Err(RestoreError::System("more than 32 sockets in LISTEN_FDS", Errno::TOOBIG));
    }
    let names = initial.getenv(b"LISTEN_FDNAMES").unwrap_or_default();
    let mut taken = [false; HANDED_MAX];
    // By name, by address, by order in the family, by order: a better match must not lose its socket to a worse one.
    for rule in 0..4 {
        for (at, used) in taken.iter_mut().enumerate().take(count as usize) {
            if *used {
                continue;
            }
            let fd = LISTEN_FDS_START + at as i32;
            let name = Spec::parse(names.split(|b| *b == b':').nth(at).unwrap_or_default());
            // A name cannot hold a colon: only ports and paths are named.
            let mut buffer = [0; binds::ADDRESS_MAX];
            let own = calls::socket_name(fd, &mut buffer).unwrap_or_default();
            let Ok(kind) = calls::option(fd, SO_TYPE) else { continue };
            let fits = |index: usize, planned: &[u8]| {
                let same_type = |record: &Fd| match record.descriptor() {
                    Some(Descriptor::Socket { kind: planned, .. }) => planned & SOCK_TYPE_MASK == u64::from(kind),
                    _ => false,
                };
                context.plan.fds.get(index).is_some_and(same_type)
                    && handed.of(index).is_none()
                    && match rule {
                        0 => name.is_some_and(|name| name.matches(planned)),
                        1 => own.len() > 2 && own == planned,
                        2 => binds::family(own) == binds::family(planned),
                        _ => true,
                    }
            };
            if let Some((index, _)) = bound(context.plan).find(|(index, planned)| fits(*index, planned)) {
                let kept = calls::dup_above(fd, context.above())
                    .map_err(|errno| RestoreError::Fd(fd as u32, "keeping the socket of LISTEN_FDS", errno))?;
                sys::close(fd);
                *used = true;
                if let Some(slot) = handed.list.get_mut(handed.count) {
                    *slot = (index as u32, kept);
                    handed.count += 1;
                }
            }
        }
    }
    for name in [b"LISTEN_PID" as &[u8], b"LISTEN_FDS", b"LISTEN_FDNAMES"] {
        // The program's descriptors from 3 on are others.
        initial.hide(name);
    }
    Ok(handed)
}

impl<'a> Context<'a, '_> {
    /// Makes a socket of that family, type and protocol, or uses the one that the starter passes.
    pub(super) fn socket(
        &self,
        index: usize,
        record: &Fd,
        (family, kind, protocol): (u64, u64, u64),
    ) -> Result<i32, RestoreError<'a>> {
        if let Some(fd) = self.handed.of(index) {
            return Ok(fd);
        }
        let (family, protocol) = match choose(self.plan, self.binds, index) {
            Choice::At(at) if u64::from(binds::family(at.bytes())) != family => {
                (u64::from(binds::family(at.bytes())), 0)
            }
            _ => (family, protocol),
        };
        calls::socket(family, kind, protocol).map_err(|errno| RestoreError::Fd(record.fd, "socket", errno))
    }

    /// A step that only sockets have; `index` is that of their record.
    pub(super) fn socket_step(&self, index: u32, step: Step, record: &Fd, data: &[u8]) -> Result<(), RestoreError<'a>> {
        let index = index as usize;
        if self.handed.of(index).is_some() {
            return Ok(());
        }
        let fd = self.number(record);
        let (family, kind) = match record.descriptor() {
            Some(Descriptor::Socket { family, kind, .. }) => (family, kind),
            Some(Descriptor::SocketPair { kind, .. }) => (AF_UNIX, kind),
            _ => return Ok(()),
        };
        let own = self.plan.bytes(record.data);
        let choice = choose(self.plan, self.binds, index);
        let at = match &choice {
            Choice::Own => own,
            Choice::At(at) => at.bytes(),
        };
        match step {
            Step::Option { level, name } => {
                let moved = u64::from(binds::family(at)) != family && level != SOL_SOCKET;
                let mapped = matches!(choice, Choice::At(_)) && level == IPPROTO_IPV6 && name == IPV6_V6ONLY;
                if (moved && !own.is_empty()) || mapped {
                    return Ok(());
                }
                calls::set_option(fd, level, name, data)
                    .map_err(|errno| RestoreError::Fd(record.fd, "socket option", errno))
            }
            Step::Bind { mode } => {
                let fail = |errno| RestoreError::Bind(self.address(&choice, own), errno);
                unix_file::bind(fd, kind, at, mode).map_err(fail)
            }
            Step::Listen { backlog } => {
                calls::listen(fd, backlog).map_err(|errno| RestoreError::Bind(self.address(&choice, own), errno))
            }
            _ => Ok(()),
        }
    }

    /// The address for a message.
    fn address(&self, choice: &Choice, own: &'a [u8]) -> super::super::Bound<'a> {
        match choice {
            Choice::Own => super::super::Bound::Own(own),
            Choice::At(at) => super::super::Bound::Given(*at),
        }
    }
}
