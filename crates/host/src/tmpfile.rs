//! Files without a name, for experiments on mappings.

use std::os::fd::OwnedFd;

use crate::finding::{Detail, Finding, Judge, unknown};
use crate::region::PAGE;
use crate::sys;

/// A new file of `pages` pages without a name; page N consists of bytes `first + N`.
///
/// The file is on a disk filesystem if there is one, as a store would be: tmpfs has its own rules for the page cache.
pub(crate) fn with_pages(pages: u8, first: u8) -> Result<OwnedFd, Finding> {
    let file = empty()?;
    for page in 0..pages {
        let bytes = [first.wrapping_add(page); PAGE as usize];
        let put = sys::write_at(&file, &bytes, u64::from(page) * PAGE).or_unknown("cannot write a temporary file")?;
        if put != bytes.len() {
            return Err(unknown("a temporary file was cut short", Detail::Value(put as u64)));
        }
    }
    Ok(file)
}

/// A new empty file without a name.
pub(crate) fn empty() -> Result<OwnedFd, Finding> {
    let mut last = None;
    for directory in [c"/var/tmp", c"/tmp", c"/dev/shm", c"."] {
        match sys::open(directory, libc::O_TMPFILE | libc::O_RDWR) {
            Ok(file) => return Ok(file),
            Err(errno) => last = Some(errno),
        }
    }
    Err(unknown("no directory takes a temporary file", last.map_or(Detail::None, Detail::Errno)))
}
