//! Sockets that systemd has opened: `LISTEN_FDS`.
#![allow(unsafe_code)] // descriptors by number

use super::Listener;
use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use tokio::net::{TcpListener, UnixListener};

/// The inherited sockets; must be called before this process has threads, and once.
pub(crate) fn inherited() -> io::Result<Vec<OwnedFd>> {
    // SAFETY: systemd has passed these descriptors for this process, and nothing else here owns them.
    sd_notify::listen_fds().map(|fds| fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect())
}

impl Listener {
    /// A socket that was opened elsewhere.
    pub(crate) fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let number = fd.as_raw_fd();
        let refused = |what: &str| {
            io::Error::other(format!("descriptor {number} {what}; a socket unit needs ListenStream= and Accept=no"))
        };
        let family = socket_domain(&fd).map_err(|error| refused(&format!("is no socket ({error})")))?;
        if !matches!(family, AddressFamily::UNIX | AddressFamily::INET | AddressFamily::INET6) {
            return Err(refused("is neither a TCP nor a Unix socket"));
        }
        if socket_type(&fd)? != SocketType::STREAM || !socket_acceptconn(&fd)? {
            return Err(refused("does not listen for connections"));
        }
        if family == AddressFamily::UNIX {
            let socket = std::os::unix::net::UnixListener::from(fd);
            socket.set_nonblocking(true)?;
            return Ok(Listener::Unix(UnixListener::from_std(socket)?, None));
        }
        let socket = std::net::TcpListener::from(fd);
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket).map(Listener::Tcp)
    }
}
