//! Finds files: from NAME to the snapshot's descriptor, from a digest to the code segment file's.
//!
//! ```text
//!  NAME[:TAG]          refs/NAME/TAG in the first store of the search path that has it: a link to snap/DIGEST or, with
//!                      variants, to sets/DIGEST/LAST; then one of sets/DIGEST/0 … LAST
//!  ./…  /…  *.snap     that file
//!  anything else with a slash   an image in a registry: pulled/NAME/TAG, a link of the same forms, where NAME is host
//!                      and path with + for each slash, and TAG may be a digest
//! ```
//!
//! The rules (names, forms of links, search path, trust) are those of [`snapfn_format::store`].
//!
//! A start opens a store's root once, and everything below it by that descriptor. So link, snapshot, files and the
//! store's owner belong to one directory, even if names are exchanged meanwhile. The root's own path may have symbolic
//! links, since the user has named it so. Below it, no link is followed.

use crate::runtime::auxv::{InitialStack, at};
use crate::runtime::sys::{self, Errno, Stat};
use core::cell::Cell;
use core::ffi::CStr;
use snapfn_format::Digest;
use snapfn_format::snap::{FILE_CODE, FILE_DATA, FILE_HOST, File, Plan};
use snapfn_format::store::{
    ImageParts, Kind, Link, MAX_IMAGE, MAX_STORES, OTHERS_WRITE, PULLED, REFS, RefParts, SETS, SearchPath, Untrusted,
    check_trust, maps_all_users,
};

/// A path with its terminating zero is no longer than this.
const PATH_MAX: usize = 4096;

/// Calls `then` with the path that `parts` make up.
pub(crate) fn with_path<T>(parts: &[&[u8]], then: impl FnOnce(&CStr) -> sys::Result<T>) -> sys::Result<T> {
    // Each further page of the stack costs a page fault, and the usual path is short.
    const SHORT: usize = 256;
    if parts.iter().map(|part| part.len()).sum::<usize>() < SHORT {
        joined::<T, SHORT>(parts, then)
    } else {
        joined::<T, PATH_MAX>(parts, then)
    }
}

#[inline(never)]
fn joined<T, const MAX: usize>(parts: &[&[u8]], then: impl FnOnce(&CStr) -> sys::Result<T>) -> sys::Result<T> {
    let mut bytes = [0u8; MAX];
    let mut len = 0;
    for part in parts {
        let end = len + part.len();
        // One byte stays zero.
        bytes.get_mut(len..end).filter(|_| end < MAX).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(part);
        len = end;
    }
    then(CStr::from_bytes_until_nul(&bytes).unwrap_or_default())
}

/// The search path, and the roots on it that have been opened.
#[derive(Debug)]
pub struct Stores {
    path: SearchPath<'static>,
    /// Descriptors of the roots that have been opened, or the negative error number of a root that cannot be.
    open: [Cell<i32>; MAX_STORES],
    initial: InitialStack,
}

/// A root that was not needed yet.
const UNOPENED: i32 = i32::MIN;

impl Stores {
    /// The search path of the environment.
    pub fn from_env(initial: &InitialStack) -> Self {
        Stores {
            path: SearchPath::of(|name| initial.getenv(name.as_bytes())),
            open: [const { Cell::new(UNOPENED) }; MAX_STORES],
            initial: *initial,
        }
    }

    /// The descriptor of a root, which is opened at its first use.
    fn root(&self, index: usize) -> sys::Result<i32> {
        const FLAGS: u32 = sys::O_PATH | sys::O_DIRECTORY | sys::O_CLOEXEC;
        let (Some(root), Some(open)) = (self.path.root(index), self.open.get(index)) else { return Err(Errno::NOENT) };
        if open.get() == UNOPENED {
            let opened = with_path(&root[..], |path| sys::openat(sys::AT_FDCWD, path, FLAGS, 0));
            open.set(opened.unwrap_or_else(|errno| -errno.0));
        }
        if open.get() < 0 { Err(Errno(-open.get())) } else { Ok(open.get()) }
    }

    /// Closes all roots. A root that is needed afterwards is opened again.
    pub fn close(&self) {
        for open in &self.open {
            if open.get() >= 0 {
                sys::close(open.get());
            }
            open.set(UNOPENED);
        }
    }

    /// Opens a file of a store, in the first store that has it.
    fn open_blob(&self, kind: Kind, digest: &Digest) -> sys::Result<i32> {
        let (dir, name) = (kind.dir().as_bytes(), digest.to_hex());
        let mut last = Errno::NOENT;
        for index in 0..self.path.roots().len() {
            let opened =
                self.root(index).and_then(|root| with_path(&[dir, b"/", &name], |path| open_below(root, path)));
            match opened {
                Err(error @ (Errno::NOENT | Errno::NOTDIR)) => last = error,
                other => return other,
            }
        }
        Err(last)
    }

    /// Opens the snapshot that a name and a tag refer to.
    pub fn open_name(&self, reference: &RefParts<'_>) -> sys::Result<i32> {
        self.open_link(REFS, reference.name.as_bytes(), reference.tag.as_bytes())
    }

    /// Opens the snapshot of an image that was pulled. A name that is not valid for an image is not found.
    #[cold]
    #[inline(never)]
    pub fn open_image(&self, text: &[u8]) -> sys::Result<i32> {
        let image = ImageParts::parse(text).map_err(|_| Errno::NOENT)?;
        let mut dir = [0u8; MAX_IMAGE];
        let dir = dir.get_mut(..image.name.len()).ok_or(Errno::NOENT)?;
        dir.copy_from_slice(image.name.as_bytes());
        let slash = ImageParts::SLASH.as_bytes()[0];
        dir.iter_mut().filter(|byte| **byte == b'/').for_each(|byte| *byte = slash);
        self.open_link(PULLED, dir, image.target.as_bytes())
    }

    fn open_link(&self, top: &str, name: &[u8], tag: &[u8]) -> sys::Result<i32> {
        for index in 0..self.path.roots().len() {
            let mut target = [0u8; 128];
            match self.read_link(index, &[top.as_bytes(), b"/", name, b"/", tag], &mut target) {
                Ok(target) => {
                    let digest = match Link::parse(target).ok_or(Errno::INVAL)? {
                        Link::Snapshot(digest) => digest,
                        Link::Set(set, count) => self.variant(index, &set, count)?,
                    };
                    return self.open_blob(Kind::Snap, &digest);
                }
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Errno::NOENT)
    }

    fn read_link<'b>(&self, root: usize, path: &[&[u8]], target: &'b mut [u8]) -> sys::Result<&'b [u8]> {
        let root = self.root(root)?;
        with_path(path, |path| sys::readlinkat(root, path, target))
    }

    /// One of the variants of a set.
    fn variant(&self, root: usize, set: &Digest, count: usize) -> sys::Result<Digest> {
        // The two random bytes of the kernel that no other secret contains: the lowest byte of the stack canary is
        // cleared, and the pointer guard comes with the snapshot.
        let random = self.initial.random().map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[8]]));
        let index = usize::from(random) % count.max(1);
        let digits = [b'0' + (index / 10) as u8, b'0' + (index % 10) as u8];
        let number = if index < 10 { &digits[1..] } else { &digits };
        let mut target = [0u8; 128];
        match self.read_link(root, &[SETS.as_bytes(), b"/", &set.to_hex(), b"/", number], &mut target).map(Link::parse)
        {
            Ok(Some(Link::Snapshot(digest))) => Ok(digest),
            Ok(_) => Err(Errno::INVAL),
            Err(errno) => Err(errno),
        }
    }

    /// Whether a file of the store may be used, by the rule of [`check_trust`]. `stat` describes the open file, so it
    /// is the file that will be mapped, even if names were exchanged on the way to it.
    pub fn trust(&self, stat: &Stat) -> Result<(), Untrusted> {
        let own = self.initial.aux_value(at::EUID).and_then(|user| u32::try_from(user).ok());
        let is_store_of = |index, uid| {
            self.root(index)
                .and_then(sys::fstat)
                .is_ok_and(|directory| directory.uid == uid && directory.mode & OTHERS_WRITE == 0)
        };
        let owns_store = |uid| (0..self.path.roots().len()).any(|index| is_store_of(index, uid));
        check_trust(stat.mode, stat.uid, own, owns_store, tells_users)
    }

    /// Opens file `index` of the plan. The snapshot itself is open already.
    pub fn open_file(&self, plan: &Plan<'_>, file: &File) -> sys::Result<i32> {
        match file.kind {
            FILE_CODE => self.open_blob(Kind::Code, &file.digest),
            FILE_DATA => self.open_blob(Kind::Data, &file.digest),
            FILE_HOST => {
                let path = CStr::from_bytes_with_nul(plan.bytes(file.path)).unwrap_or_default();
                let access = if file.writable == 1 { sys::O_RDWR } else { sys::O_RDONLY };
                open_regular(path, access)
            }
            _ => Err(Errno::INVAL),
        }
    }
}

/// Whether every user has a number in the user namespace of this process. Without /proc nobody knows. The map of a
/// namespace that has one for all is short.
#[cold]
pub fn tells_users() -> bool {
    let mut map = [0u8; 4096];
    let Ok(fd) = sys::openat(sys::AT_FDCWD, c"/proc/self/uid_map", sys::O_RDONLY | sys::O_CLOEXEC, 0) else {
        return false;
    };
    let read = sys::read(fd, &mut map);
    sys::close(fd);
    read.is_ok_and(|len| len < map.len() && maps_all_users(map.get(..len).unwrap_or_default()))
}

/// Opens a file that a user or a program has named, and never waits (for a FIFO). It opens for reading unless `extra`
/// has another mode.
pub fn open_regular(path: &CStr, extra: u32) -> sys::Result<i32> {
    sys::openat(sys::AT_FDCWD, path, FILE_FLAGS | extra, 0)
}

const FILE_FLAGS: u32 = sys::O_NONBLOCK | sys::O_CLOEXEC;

/// Opens a file below a store's root for reading; no symbolic link is followed on the way.
///
/// Symptom: ENOSYS before Linux 5.6, EPERM from a seccomp filter that does not know openat2. Then only the last part of
/// the path cannot be a link; the part before it is a directory that only the store's owner can replace. This can go
/// when 5.6 is the oldest kernel and no container engine in use is older than openat2. Test:
/// where_openat2_is_not_to_be_had.
fn open_below(root: i32, path: &CStr) -> sys::Result<i32> {
    match sys::openat2(root, path, FILE_FLAGS, sys::RESOLVE_NO_SYMLINKS) {
        Err(Errno::NOSYS | Errno::PERM) => sys::openat(root, path, FILE_FLAGS | sys::O_NOFOLLOW, 0),
        other => other,
    }
}
