//! A Unix socket by name: it is made for one user, replaced if no process serves it any more, and removed at the end.
//! Also the user at the other end of a socket.
//!
//! A user who may write to the directory can exchange the name at any moment. So this module opens the directory once,
//! checks files through a descriptor before it changes anything, and sets the mode before there is a name.
#![allow(unsafe_code)] // system calls that the standard library lacks

use crate::sys::user;
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::mem::{offset_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// An entry of an open directory.
#[derive(Debug)]
struct Entry {
    directory: File,
    name: OsString,
}

impl Entry {
    fn of(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let directory = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(parent)?;
        Ok(Entry { directory, name })
    }

    fn path(&self) -> PathBuf {
        by_descriptor(&self.directory).join(&self.name)
    }

    /// The entry, if it is a socket of this user; `None` if it is something else, or another user's.
    fn own_socket(&self) -> io::Result<Option<(File, Metadata)>> {
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(self.path());
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let meta = file.metadata()?;
        Ok((meta.file_type().is_socket() && meta.uid() == user()).then_some((file, meta)))
    }
}

/// A path that leads to an open file, even if its name now leads to another one.
fn by_descriptor(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// A socket that only this user may connect to.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: UnixListener,
    entry: Entry,
    /// Device and number of its file.
    identity: Option<(u64, u64)>,
}

impl Listener {
    /// Listens at `path`. Replaces a socket of this user on which no process listens any more.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        let entry = Entry::of(path)?;
        if let Some((file, _)) = entry.own_socket()?
            && UnixStream::connect(by_descriptor(&file)).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
        {
            fs::remove_file(entry.path())?;
        }
        let socket = listen(path)?;
        let identity = entry.own_socket()?.map(|(_, meta)| (meta.dev(), meta.ino()));
        Ok(Listener { socket, entry, identity })
    }

    /// Removes the socket's file, if the name still leads to it.
    pub(crate) fn remove(&self) {
        let now = self.entry.own_socket().ok().flatten().map(|(_, meta)| (meta.dev(), meta.ino()));
        if now.is_some() && now == self.identity {
            let _ = fs::remove_file(self.entry.path());
        }
    }
}

/// Listens at `path` with mode 0600 at most: the file gets the mode of the socket, less the umask.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let check = |result: libc::c_int| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) };
    let bytes = path.as_os_str().as_bytes();
    // SAFETY: zeros are a valid sockaddr_un; the name and the zero behind it lie in it; the descriptor is new.
    unsafe {
        let mut address: libc::sockaddr_un = zeroed();
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
        if bytes.len() >= address.sun_path.len() {
            return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
        }
        address.sun_path.iter_mut().zip(bytes).for_each(|(to, from)| *to = from.cast_signed());
        let len = offset_of!(libc::sockaddr_un, sun_path) + bytes.len() + 1;
        let fd = check(libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0))?;
        let socket = OwnedFd::from_raw_fd(fd);
        check(libc::fchmod(fd, 0o600))?;
        check(libc::bind(fd, (&raw const address).cast(), len as libc::socklen_t))?;
        check(libc::listen(fd, 128))?;
        Ok(socket.into())
    }
}

/// The user at the other end of a Unix socket.
pub(crate) fn peer_user(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut len = size_of_val(&peer) as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
    // SAFETY: a structure of the size that is passed.
    let result = unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut peer).cast(), &raw mut len) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(peer.uid) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test fails by panicking
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn only_stale_sockets_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let first = Listener::bind(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(peer_user(std::os::fd::AsFd::as_fd(&UnixStream::connect(&path).unwrap())).unwrap(), user());
        assert_eq!(Listener::bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        let second = Listener::bind(&path).unwrap();
        // A link has the name by now: neither the link nor its target is removed.
        let other = dir.path().join("other");
        fs::rename(&path, &other).unwrap();
        symlink(&other, &path).unwrap();
        second.remove();
        assert!(path.is_symlink() && other.exists());
        assert_eq!(Listener::bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        fs::remove_file(&path).unwrap();
        fs::rename(&other, &path).unwrap();
        second.remove();
        assert!(!path.exists());
        fs::write(&path, "a file").unwrap();
        assert_eq!(Listener::bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(fs::read(&path).unwrap(), b"a file");
    }
}
