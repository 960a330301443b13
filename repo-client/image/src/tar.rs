//! The few tar headers that a layer consists of, written and read.

use crate::error::LayerFault;
use tar::{EntryType, Header};

/// Length of a header, and the multiple that contents are padded to.
pub(crate) const BLOCK: u64 = 512;
/// Most bytes of a name that fits into a header.
const NAME_MAX: usize = 100;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    Directory,
    File,
    Symlink(&'a str),
}

/// The header of an entry: owner 0:0, time 0. A longer name comes before it, in an entry of its own (GNU).
pub(crate) fn header(name: &str, kind: Kind<'_>, mode: u32, size: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(BLOCK as usize);
    let name = match kind {
        Kind::Directory => format!("{name}/"),
        _ => name.to_string(),
    };
    if name.len() > NAME_MAX {
        let mut long = plain("././@LongLink", EntryType::GNULongName, 0o644, name.len() as u64 + 1);
        long.set_cksum();
        out.extend_from_slice(long.as_bytes());
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        pad(&mut out);
    }
    let entry_type = match kind {
        Kind::Directory => EntryType::Directory,
        Kind::File => EntryType::Regular,
        Kind::Symlink(_) => EntryType::Symlink,
    };
    let mut header = plain(&name[..name.len().min(NAME_MAX)], entry_type, mode, size);
    if let Kind::Symlink(target) = kind {
        let field = &mut header.as_old_mut().linkname;
        let len = target.len().min(field.len());
        field[..len].copy_from_slice(&target.as_bytes()[..len]);
    }
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out
}

fn plain(name: &str, entry_type: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(entry_type);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

/// Zeros up to the next block.
pub(crate) fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(BLOCK as usize), 0);
}

/// Length of the padding behind `size` bytes of content.
pub(crate) fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK) - size
}

/// What is expected next in a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedFile {
    /// Its name in the archive.
    pub name: String,
    /// Its exact size in bytes.
    pub size: u64,
}

/// Checks that a header is that of `expected`: a regular file with that name and size.
pub(crate) fn check(block: &[u8; BLOCK as usize], expected: &ExpectedFile) -> Result<(), LayerFault> {
    let header = Header::from_byte_slice(block);
    let sum: u64 =
        block.iter().enumerate().map(|(at, byte)| u64::from(if (148..156).contains(&at) { b' ' } else { *byte })).sum();
    if header.cksum().ok().map(u64::from) != Some(sum) {
        return Err(LayerFault::content("a header's checksum is wrong"));
    }
    if !matches!(header.entry_type(), EntryType::Regular) {
        return Err(LayerFault::content("it holds something other than a regular file"));
    }
    let name = header.path_bytes();
    if name.as_ref() != expected.name.as_bytes() {
        return Err(LayerFault::content(format!(
            "it holds \"{}\" where {} belongs",
            name.escape_ascii(),
            expected.name
        )));
    }
    match header.entry_size() {
        Ok(size) if size == expected.size => Ok(()),
        _ => Err(LayerFault::content(format!(
            "{} does not have the {} bytes that it should",
            expected.name, expected.size
        ))),
    }
}
