//! Netlink sockets for routes: the kernel is at the other end, and a new socket is as good if nothing waits in the old.

use super::{Refusal, kernel};
use std::os::fd::OwnedFd;

const SOL_NETLINK: i32 = 270;
/// Options that are on or off: NETLINK_PKTINFO, _BROADCAST_ERROR, _NO_ENOBUFS, _LISTEN_ALL_NSID, _CAP_ACK, _EXT_ACK and
/// _GET_STRICT_CHK.
const SWITCHES: [i32; 7] = [3, 4, 5, 8, 10, 11, 12];
const NETLINK_LIST_MEMBERSHIPS: i32 = 9;
/// Bytes of the list of groups that `struct sockaddr_nl` holds as well.
const FIRST_GROUPS: usize = 4;
/// Offsets in `struct sockaddr_nl`.
const NL_PID: std::ops::Range<usize> = 4..8;
const NL_GROUPS: std::ops::Range<usize> = 8..12;

/// Refuses a socket that differs from a new one by more than the address that it is bound to.
pub(super) fn check(fd: &OwnedFd, (family, kind, protocol): (u32, u32, u32)) -> Result<(), Refusal> {
    let refused = |what: &str| (format!("is a netlink socket {what}"), "open it after the snapshot point");
    let fresh = kernel::socket(family, kind, protocol).map_err(|_| refused("of a kind that cannot be made again"))?;
    let differs = |name: &i32| {
        let read = |fd| kernel::socket_option(fd, SOL_NETLINK, *name, 4);
        read(fd) != read(&fresh)
    };
    if SWITCHES.iter().any(differs) {
        return Err(refused("with options of its own"));
    }
    let groups = kernel::socket_option(fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, 64).unwrap_or_default();
    if groups.iter().skip(FIRST_GROUPS).any(|byte| *byte != 0) {
        return Err(refused("in groups above 32"));
    }
    let peer = kernel::peer_name(fd).unwrap_or_default();
    if peer.get(NL_PID.start..NL_GROUPS.end).is_some_and(|peer| peer.iter().any(|byte| *byte != 0)) {
        return Err(refused("connected to another process or to a group"));
    }
    Ok(())
}

/// What to bind a new socket to that has the address `own`. The kernel gives a socket the ID of its process as address.
/// An instance has another ID, and 0 asks for it.
pub(super) fn bound(mut own: Vec<u8>, pid: i32) -> Vec<u8> {
    let number = |range| own.get(range).and_then(|bytes: &[u8]| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes);
    match number(NL_PID) {
        0 if number(NL_GROUPS) == 0 => own.clear(),
        at if at == pid as u32 => own[NL_PID].fill(0),
        _ => {}
    }
    own
}

#[cfg(test)]
mod tests {
    use super::bound;

    #[test]
    fn addresses_by_process() {
        let address = |pid: u32, groups: u32| {
            let family = [16, 0, 0, 0];
            [family, pid.to_ne_bytes(), groups.to_ne_bytes()].concat()
        };
        assert!(bound(address(0, 0), 7).is_empty());
        assert_eq!(bound(address(7, 0), 7), address(0, 0));
        assert_eq!(bound(address(7, 5), 7), address(0, 5));
        assert_eq!(bound(address(9, 0), 7), address(9, 0));
        assert!(bound(Vec::new(), 7).is_empty());
    }
}
