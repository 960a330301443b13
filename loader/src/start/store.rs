//! Finding files: from NAME to the snapshot's descriptor, from a digest to the code segment file's.
//!
//! ```text
//!  NAME[:TAG]          refs/NAME/TAG in the first store of the search path that has it: a symbolic link whose
//!                      target has exactly the form ../../snap/DIGEST or, with variants, ../../sets/DIGEST/LAST;
//!                      then one of sets/DIGEST/0 … LAST, whose target has the first form
//!  ./…  /…  *.snap     that file
//!  anything else with a slash   an image in a registry: pulled/NAME/TAG, a link of the same forms, where NAME is host
//!                      and path with + for each slash, and TAG may be a digest
//! ```
//!
//! A store's root is opened once, and everything in it by that descriptor: whatever is renamed meanwhile, link, snapshot,
//! files and the question who owns the store are about one directory. The root itself may be behind symbolic links, since
//! the user has named it so; below it none is followed.

use crate::runtime::auxv::{InitialStack, at};
use crate::runtime::sys::{self, Errno, Stat};
use core::cell::Cell;
use core::ffi::CStr;
use core::fmt;
use snapfn_format::Digest;
use snapfn_format::snap::{FILE_CODE, FILE_DATA, FILE_HOST, File, Plan};

/// Most stores in the search path.
const MAX_STORES: usize = 16;
/// A path with its terminating zero is no longer than this.
const PATH_MAX: usize = 4096;
/// Most variants of one tag.
const MAX_VARIANTS: u16 = 64;
/// Permission to write for group or others.
const OTHERS_WRITE: u32 = 0o022;
/// System-wide store, always last.
const SYSTEM_STORE: &[u8] = b"/var/lib/snapfn";
/// Most bytes of an image's host and path.
const MAX_IMAGE: usize = 255;

/// What a NAME on the command line means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A name and a tag in the local store.
    Name(&'a [u8], &'a [u8]),
    /// A file.
    File(&'a CStr),
    /// An image in a registry.
    Image(&'a [u8]),
    /// None of these.
    Invalid,
}

impl<'a> Target<'a> {
    /// Classifies `name`.
    pub fn parse(name: &'a CStr) -> Self {
        let bytes = name.to_bytes();
        if bytes.starts_with(b"/") || bytes.starts_with(b"./") || bytes.starts_with(b"../") || bytes.ends_with(b".snap")
        {
            return Target::File(name);
        }
        if bytes.contains(&b'/') {
            return Target::Image(bytes);
        }
        let mut parts = bytes.splitn(2, |b| *b == b':');
        let name = parts.next().unwrap_or_default();
        let tag = parts.next().unwrap_or(b"latest");
        if valid(name) && valid(tag) { Target::Name(name, tag) } else { Target::Invalid }
    }
}

/// One path component that cannot lead elsewhere.
fn valid(part: &[u8]) -> bool {
    let first_ok = part.first().is_some_and(|b| !matches!(b, b'.' | b'-'));
    first_ok
        && part.len() <= 128
        && part.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'+'))
}

/// An image's name and what follows it: a tag, or `sha256:` and a digest. The store's own crate has the same rules.
pub fn parse_image(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = text.splitn(2, |b| *b == b'@');
    let (name, digest) = (parts.next()?, parts.next());
    let slash = name.iter().rposition(|b| *b == b'/')?;
    let (name, tag) = match name.get(slash..)?.iter().position(|b| *b == b':') {
        Some(colon) => (name.get(..slash + colon)?, name.get(slash + colon + 1..)?),
        None => (name, b"latest" as &[u8]),
    };
    let part = |part: &[u8]| part.first().is_some_and(|b| !matches!(b, b'.' | b'-'));
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"._:/[]-".contains(b);
    if name.len() > MAX_IMAGE || !name.iter().all(allowed) || !name.split(|b| *b == b'/').all(part) {
        return None;
    }
    if !valid(tag) || tag.contains(&b'+') {
        return None;
    }
    match digest {
        Some(digest) => digest.strip_prefix(b"sha256:").and_then(Digest::from_hex).map(|_| (name, digest)),
        None => Some((name, tag)),
    }
}

/// Calls `then` with the path that `parts` make up.
pub(crate) fn with_path<T>(parts: &[&[u8]], then: impl FnOnce(&CStr) -> sys::Result<T>) -> sys::Result<T> {
    // Every page of the stack that is touched costs a page fault: the usual path is short.
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

/// The search path: directories as the environment names them.
#[derive(Debug)]
pub struct Stores {
    roots: [[&'static [u8]; 2]; MAX_STORES],
    /// Descriptors of the roots that have been opened, or why one cannot be, negative.
    open: [Cell<i32>; MAX_STORES],
    count: usize,
    initial: InitialStack,
}

/// A root that nothing has been looked for in.
const UNOPENED: i32 = i32::MIN;

/// Where a tag's link leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link<'a> {
    /// To a snapshot.
    Snapshot(Digest),
    /// The set, and the number of its variants.
    Set(&'a [u8], u16),
}

impl<'a> Link<'a> {
    /// Takes the link's target apart; nothing else than these two forms is followed.
    pub fn parse(target: &'a [u8]) -> Option<Self> {
        if let Some(hex) = target.strip_prefix(b"../../snap/") {
            return Digest::from_hex(hex).map(Link::Snapshot);
        }
        let (set, last) = target.strip_prefix(b"../../sets/")?.split_at_checked(64)?;
        let last = match last {
            [b'/', one @ b'1'..=b'9'] => u16::from(one - b'0'),
            [b'/', ten @ b'1'..=b'9', one @ b'0'..=b'9'] => u16::from(ten - b'0') * 10 + u16::from(one - b'0'),
            _ => return None,
        };
        Digest::from_hex(set)?;
        (last < MAX_VARIANTS).then_some(Link::Set(set, last + 1))
    }
}

impl Stores {
    /// `$SNAPFN_STORE` (colon-separated), else `$XDG_DATA_HOME/snapfn`, else `~/.local/share/snapfn`; then the
    /// system-wide store.
    pub fn from_env(initial: &InitialStack) -> Self {
        let mut stores = Stores {
            roots: [[b"", b""]; MAX_STORES],
            open: [const { Cell::new(UNOPENED) }; MAX_STORES],
            count: 0,
            initial: *initial,
        };
        let set = |name| initial.getenv(name).filter(|value| !value.is_empty());
        if let Some(list) = set(b"SNAPFN_STORE") {
            for root in list.split(|b| *b == b':').filter(|root| !root.is_empty()) {
                stores.push([root, b""]);
            }
        } else if let Some(data) = set(b"XDG_DATA_HOME") {
            stores.push([data, b"/snapfn"]);
        } else if let Some(home) = set(b"HOME") {
            stores.push([home, b"/.local/share/snapfn"]);
        }
        stores.push([SYSTEM_STORE, b""]);
        stores
    }

    fn push(&mut self, root: [&'static [u8]; 2]) {
        if let Some(slot) = self.roots.get_mut(self.count) {
            *slot = root;
            self.count += 1;
        }
    }

    /// The descriptor of a root, which is opened when it is first asked for.
    fn root(&self, index: usize) -> sys::Result<i32> {
        const FLAGS: u32 = sys::O_PATH | sys::O_DIRECTORY | sys::O_CLOEXEC;
        let (Some(root), Some(open)) = (self.roots.get(index), self.open.get(index)) else { return Err(Errno::NOENT) };
        if open.get() == UNOPENED {
            let opened = with_path(&root[..], |path| sys::openat(sys::AT_FDCWD, path, FLAGS, 0));
            open.set(opened.unwrap_or_else(|errno| -errno.0));
        }
        if open.get() < 0 { Err(Errno(-open.get())) } else { Ok(open.get()) }
    }

    /// Closes all roots. Whoever asks for one afterwards opens it again.
    pub fn close(&self) {
        for open in self.open.iter().take(self.count) {
            if open.get() >= 0 {
                sys::close(open.get());
            }
            open.set(UNOPENED);
        }
    }

    /// Opens `kind/digest` in the first store that has it.
    fn open_blob(&self, kind: &[u8], digest: &[u8]) -> sys::Result<i32> {
        let mut last = Errno::NOENT;
        for index in 0..self.count {
            let opened =
                self.root(index).and_then(|root| with_path(&[kind, b"/", digest], |path| open_below(root, path)));
            match opened {
                Err(error @ (Errno::NOENT | Errno::NOTDIR)) => last = error,
                other => return other,
            }
        }
        Err(last)
    }

    /// Opens the snapshot that `name:tag` refers to.
    pub fn open_name(&self, name: &[u8], tag: &[u8]) -> sys::Result<i32> {
        self.open_link(b"refs/", name, tag)
    }

    /// Opens the snapshot of an image that was pulled. What is no image's name was not.
    #[cold]
    #[inline(never)]
    pub fn open_image(&self, text: &[u8]) -> sys::Result<i32> {
        let (name, tag) = parse_image(text).ok_or(Errno::NOENT)?;
        let mut dir = [0u8; MAX_IMAGE];
        let dir = dir.get_mut(..name.len()).ok_or(Errno::NOENT)?;
        dir.copy_from_slice(name);
        dir.iter_mut().filter(|b| **b == b'/').for_each(|b| *b = b'+');
        self.open_link(b"pulled/", dir, tag)
    }

    fn open_link(&self, top: &[u8], name: &[u8], tag: &[u8]) -> sys::Result<i32> {
        for index in 0..self.count {
            let mut target = [0u8; 128];
            match self.read_link(index, &[top, name, b"/", tag], &mut target) {
                Ok(target) => {
                    let digest = match Link::parse(target).ok_or(Errno::INVAL)? {
                        Link::Snapshot(digest) => digest,
                        Link::Set(set, count) => self.variant(index, set, count)?,
                    };
                    return self.open_blob(b"snap", &digest.to_hex());
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
    fn variant(&self, root: usize, set: &[u8], count: u16) -> sys::Result<Digest> {
        // Of the kernel's random bytes two that nothing else is made of: the lowest byte of the stack canary is
        // cleared, and the pointer guard comes with the snapshot.
        let random = self.initial.random().map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[8]]));
        let index = random % count;
        let digits = [b'0' + (index / 10) as u8, b'0' + (index % 10) as u8];
        let number = if index < 10 { &digits[1..] } else { &digits };
        let mut target = [0u8; 128];
        match self.read_link(root, &[b"sets/", set, b"/", number], &mut target).map(Link::parse) {
            Ok(Some(Link::Snapshot(digest))) => Ok(digest),
            Ok(_) => Err(Errno::INVAL),
            Err(errno) => Err(errno),
        }
    }

    /// Whether a file of the store may be used: what it contains decides what the process does. `stat` is of the open
    /// file, so whatever names were exchanged on the way to it, this is what will be mapped.
    ///
    /// Trusted are root, this user, and whoever owns a store of the search path that nobody else can write to.
    pub fn trust(&self, stat: &Stat) -> Result<(), Untrusted> {
        if stat.mode & OTHERS_WRITE != 0 {
            return Err(Untrusted::Writable(stat.mode));
        }
        if stat.uid == 0 || Some(u64::from(stat.uid)) == self.initial.aux_value(at::EUID) {
            return Ok(());
        }
        let is_store_of = |index| {
            self.root(index)
                .and_then(sys::fstat)
                .is_ok_and(|directory| directory.uid == stat.uid && directory.mode & OTHERS_WRITE == 0)
        };
        if (0..self.count).any(is_store_of) { Ok(()) } else { Err(Untrusted::Owner(stat.uid)) }
    }

    /// Opens file `index` of the plan. The snapshot itself is open already.
    pub fn open_file(&self, plan: &Plan<'_>, file: &File) -> sys::Result<i32> {
        match file.kind {
            FILE_CODE => self.open_blob(b"code", &file.digest.to_hex()),
            FILE_DATA => self.open_blob(b"data", &file.digest.to_hex()),
            FILE_HOST => {
                let path = CStr::from_bytes_with_nul(plan.bytes(file.path)).unwrap_or_default();
                let access = if file.writable == 1 { sys::O_RDWR } else { sys::O_RDONLY };
                open_regular(path, access)
            }
            _ => Err(Errno::INVAL),
        }
    }
}

/// Why a file of the store is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untrusted {
    /// Group or others may write to it: its mode.
    Writable(u32),
    /// It belongs to somebody who owns no store of the search path: the user.
    Owner(u32),
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Untrusted::Writable(mode) => write!(
                f,
                "the store has a file that others may write to (mode {:04o}), run snaprepo verify and set it to 0444",
                mode & 0o7777
            ),
            Untrusted::Owner(user) => {
                write!(f, "the store has a file of user {user}, who owns no store of the search path, remove it")
            }
        }
    }
}

/// Opens a file that a user or a program has named, without ever waiting (a FIFO); for reading unless `extra` says
/// otherwise.
pub fn open_regular(path: &CStr, extra: u32) -> sys::Result<i32> {
    sys::openat(sys::AT_FDCWD, path, FILE_FLAGS | extra, 0)
}

const FILE_FLAGS: u32 = sys::O_NONBLOCK | sys::O_CLOEXEC;

/// Opens a file below a store's root for reading; no symbolic link is followed on the way.
///
/// Symptom: ENOSYS before Linux 5.6, EPERM from a seccomp filter that does not know openat2. Then only the last part of the
/// path is kept from being a link; the one before is a directory that none but the store's owner can replace. Goes when
/// 5.6 is the oldest kernel and no container engine in use is older than openat2. Test: where_openat2_is_not_to_be_had.
fn open_below(root: i32, path: &CStr) -> sys::Result<i32> {
    match sys::openat2(root, path, FILE_FLAGS, sys::RESOLVE_NO_SYMLINKS) {
        Err(Errno::NOSYS | Errno::PERM) => sys::openat(root, path, FILE_FLAGS | sys::O_NOFOLLOW, 0),
        other => other,
    }
}
