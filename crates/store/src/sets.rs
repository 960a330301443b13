//! Variants: several snapshots of one program under one tag, each with a layout of its own.
//!
//! ```text
//!  refs/fn/latest      ->  ../../sets/<sha256>/2        the last of three: so many there are
//!  sets/<sha256>/0     ->  ../../snap/<digest>          ┐ named by the SHA-256 of their digests in hex,
//!  sets/<sha256>/1     ->  ../../snap/<digest>          │ each with a newline; never changed
//!  sets/<sha256>/2     ->  ../../snap/<digest>          ┘
//! ```
//! The loader reads the tag, which has the number, and then the one link that it has picked. A set gets its name only
//! when it is whole, so replacing a tag is one rename for any number of variants.

use crate::store::{absent, entries, sync_dir};
use crate::writer::Temp;
use crate::{Digest, Kind, Store, StoreError};
use sha2::{Digest as _, Sha256};
use snapfn_format::store::{Link, MAX_VARIANTS, SETS};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

fn name_of(variants: &[Digest]) -> Digest {
    let text: String = variants.iter().map(|digest| format!("{digest}\n")).collect();
    Digest(Sha256::digest(text).into())
}

/// The links that make a tag with variants, for code that writes a store elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagLinks {
    /// What the tag's own link leads to.
    pub tag: String,
    /// The other links: path below the root, and target.
    pub set: Vec<(String, String)>,
}

impl TagLinks {
    /// For one to [`MAX_VARIANTS`] variants.
    pub fn new(variants: &[Digest]) -> Result<Self, StoreError> {
        match variants {
            [one] => Ok(TagLinks { tag: Link::Snapshot(*one).to_string(), set: Vec::new() }),
            many if !(1..=MAX_VARIANTS).contains(&many.len()) => Err(StoreError::Variants(many.len())),
            many => {
                let set = name_of(many);
                let link = |(index, digest): (usize, &Digest)| {
                    (format!("{SETS}/{set}/{index}"), Link::Snapshot(*digest).to_string())
                };
                let links = many.iter().enumerate().map(link).collect();
                Ok(TagLinks { tag: Link::Set(set, many.len()).to_string(), set: links })
            }
        }
    }
}

fn dir(store: &Store, set: Digest) -> PathBuf {
    store.root().join(SETS).join(set.to_string())
}

/// The link for a tag with these variants. Makes the set if it does not exist.
pub(crate) fn link(store: &Store, variants: &[Digest]) -> Result<Link, StoreError> {
    for digest in variants {
        if store.blob(Kind::Snap, *digest)?.is_none() {
            return Err(StoreError::Missing { kind: Kind::Snap, digest: *digest });
        }
    }
    match variants {
        [] => Err(StoreError::Variants(0)),
        [one] => Ok(Link::Snapshot(*one)),
        many if many.len() > MAX_VARIANTS => Err(StoreError::Variants(many.len())),
        many => {
            let link = Link::Set(name_of(many), many.len());
            make(store, many)?;
            Ok(link)
        }
    }
}

fn make(store: &Store, variants: &[Digest]) -> Result<(), StoreError> {
    let path = dir(store, name_of(variants));
    let (mut temp, ()) = Temp::create(store, |temp| {
        fs::create_dir(temp)?;
        fs::set_permissions(temp, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        variants
            .iter()
            .enumerate()
            .try_for_each(|(index, digest)| symlink(Link::Snapshot(*digest).to_string(), temp.join(index.to_string())))
    })?;
    sync_dir(temp.path())?;
    match temp.rename(&path) {
        // The content names the set: an existing one is the same, or reading it reports the difference.
        Err(StoreError::Io { source, .. }) if matches!(source.raw_os_error(), Some(libc::EEXIST | libc::ENOTEMPTY)) => {
            read(store, name_of(variants), variants.len()).map(drop)
        }
        Err(other) => Err(other),
        Ok(()) => sync_dir(&store.root().join(SETS)),
    }
}

/// The variants of a set, whose name is checked.
pub(crate) fn read(store: &Store, set: Digest, count: usize) -> Result<Vec<Digest>, StoreError> {
    let dir = dir(store, set);
    let bad = |path: &Path, why| StoreError::BadRef { path: path.to_path_buf(), why };
    let mut variants = Vec::with_capacity(count);
    for index in 0..count {
        let path = dir.join(index.to_string());
        let target = match fs::read_link(&path) {
            Ok(target) => target,
            Err(e) if absent(&e) => return Err(bad(&path, "the variant is missing")),
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => return Err(bad(&path, "not a symbolic link")),
            Err(e) => return Err(StoreError::io("read", &path, e)),
        };
        match Link::parse(target.as_os_str().as_bytes()) {
            Some(Link::Snapshot(digest)) => variants.push(digest),
            _ => return Err(bad(&path, "its target is not ../../snap/ and a digest")),
        }
    }
    match name_of(&variants) == set {
        true => Ok(variants),
        false => Err(bad(&dir, "its variants are not those that its name says")),
    }
}

/// Sets that no link of `used` names.
pub(crate) fn unused(store: &Store, used: &[Link]) -> Result<Vec<PathBuf>, StoreError> {
    let root = store.root().join(SETS);
    let names = entries(&root)?;
    let sets = names.iter().filter_map(|name| Digest::from_hex(name.as_bytes()));
    let is_used = |set| used.iter().any(|link| matches!(link, Link::Set(known, _) if *known == set));
    Ok(sets.filter(|set| !is_used(*set)).map(|set| dir(store, set)).collect())
}

/// Removes a file, a link or a set.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path)?.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    }
}
