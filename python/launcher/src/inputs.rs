//! Checks whether the files that a snapshot was made of are unchanged.
//!
//! A start waits for this, so a file costs one `fstatat` with a short path below an open folder. Only where size or
//! inode or time differ, contents are compared.
#![allow(unsafe_code)] // fstatat

use sha2::{Digest as _, Sha256};
use std::ffi::{CStr, OsStr};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fresh,
    /// Contents are the same, but not all times or inodes: the description with the new ones.
    Touched(Vec<u8>),
    Stale(String),
}

/// Size (0 for a folder), time of the last change in nanoseconds, inode.
type State = [u64; 3];

/// Compares the inputs in a description with the present files.
pub(crate) fn check(text: &[u8]) -> Verdict {
    let mut folder: Option<(Folder, &[u8])> = None;
    let mut touched: Vec<(&[u8], Vec<u8>)> = Vec::new();
    // A name in C's form, for one call at a time.
    let mut name = Vec::with_capacity(256);
    for line in text.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b'\t');
        let (Some(kind), Some(path)) = (fields.next(), fields.next()) else { continue };
        let here = || PathBuf::from(OsStr::from_bytes(path));
        match kind {
            b"in" => folder = Some((Folder::open(path), path)),
            b"absent" if here().symlink_metadata().is_ok() => {
                return Verdict::Stale(format!("{} is new", here().display()));
            }
            b"file" | b"dir" => {
                let is_file = kind == b"file";
                let (open, base) = match &folder {
                    Some((open, base)) if is_file => (open, *base),
                    _ => (&Folder::NONE, &b""[..]),
                };
                let whole = || PathBuf::from(OsStr::from_bytes(&[base, path].concat()));
                name.clear();
                name.extend_from_slice(path);
                name.push(0);
                let now = CStr::from_bytes_with_nul(&name).ok().and_then(|name| open.state(name, is_file));
                let Some(now) = now else { return Verdict::Stale(format!("{} has gone", whole().display())) };
                let mut number = || fields.next().and_then(number);
                let (Some(size), Some(time), Some(inode)) = (number(), number(), number()) else {
                    return Verdict::Stale("its description is damaged".to_owned());
                };
                if now == [size, time, inode] {
                    continue;
                }
                let digest = fields.next().unwrap_or_default();
                if now[0] != size || digest_of(&whole(), is_file).ok().as_deref().map(str::as_bytes) != Some(digest) {
                    return Verdict::Stale(format!("{} has changed", whole().display()));
                }
                let numbers = now.map(|number| number.to_string());
                let new = [kind, path, numbers[0].as_bytes(), numbers[1].as_bytes(), numbers[2].as_bytes(), digest];
                touched.push((line, new.join(&b'\t')));
            }
            _ => {}
        }
    }
    if touched.is_empty() { Verdict::Fresh } else { Verdict::Touched(replaced(text, &touched)) }
}

/// Decimal digits, without the detour by `str`.
fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

fn replaced(text: &[u8], touched: &[(&[u8], Vec<u8>)]) -> Vec<u8> {
    let mut new = Vec::with_capacity(text.len() + 64);
    let mut next = touched.iter().peekable();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let bare = line.strip_suffix(b"\n").unwrap_or(line);
        match next.next_if(|(old, _)| std::ptr::eq(*old, bare)) {
            Some((_, other)) => {
                new.extend_from_slice(other);
                new.push(b'\n');
            }
            None => new.extend_from_slice(line),
        }
    }
    new
}

/// A folder that names are looked up in.
struct Folder(Option<OwnedFd>);

impl Folder {
    /// For absolute paths.
    const NONE: Folder = Folder(None);

    fn open(path: &[u8]) -> Self {
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        let open = File::options().read(true).custom_flags(flags).open(OsStr::from_bytes(path));
        // Without it, relative names must not be found somewhere else: -1 is no folder.
        Folder(open.ok().map(OwnedFd::from))
    }

    fn state(&self, name: &CStr, is_file: bool) -> Option<State> {
        let fd = match &self.0 {
            Some(fd) => fd.as_raw_fd(),
            None if name.to_bytes().starts_with(b"/") => libc::AT_FDCWD,
            None => return None,
        };
        let mut stat = MaybeUninit::<libc::stat>::uninit();
        // SAFETY: `name` ends with a zero, and `stat` has room for what the call writes.
        if unsafe { libc::fstatat(fd, name.as_ptr(), stat.as_mut_ptr(), 0) } != 0 {
            return None;
        }
        // SAFETY: the call has succeeded, so it has written all of it.
        let stat = unsafe { stat.assume_init() };
        let is_folder = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
        let time = stat.st_mtime.wrapping_mul(1_000_000_000).wrapping_add(stat.st_mtime_nsec);
        let size = if is_folder { 0 } else { stat.st_size.cast_unsigned() };
        (is_folder != is_file).then_some([size, time.cast_unsigned(), stat.st_ino])
    }
}

/// The SHA-256 of a file's content, or of the names in a folder, as the Python side computes it.
fn digest_of(path: &Path, is_file: bool) -> io::Result<String> {
    let mut sha = Sha256::new();
    if is_file {
        let mut file = File::open(path)?;
        let mut piece = vec![0; 1 << 16];
        loop {
            match file.read(&mut piece)? {
                0 => break,
                read => sha.update(piece.get(..read).unwrap_or_default()),
            }
        }
    } else {
        let mut names: Vec<Vec<u8>> =
            fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().into_vec())).collect::<io::Result<_>>()?;
        names.sort();
        for name in names.iter().filter(|name| *name != b"__pycache__") {
            sha.update(name);
            sha.update(b"\0");
        }
    }
    Ok(sha.finalize().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}
