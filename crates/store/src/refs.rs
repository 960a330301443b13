//! Tags: symlinks whose target has one of two shapes only.
//!
//! The loader reads such a link without following it, parses the digest and opens `snap/<digest>` itself. This module
//! does the same. It refuses a link of any other shape.

use crate::sets;
use crate::store::{absent, describe, entries, make_dir, sync_dir};
use crate::writer::Temp;
use crate::{Digest, Name, Ref, Store, StoreError};
use snapfn_format::store::{Link, REFS};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// One tag of a store.
#[derive(Debug)]
pub struct RefEntry {
    /// The tagged name.
    pub reference: Ref,
    /// The snapshot it points at (its first variant), or why the link is refused.
    pub digest: Result<Digest, StoreError>,
    /// All its variants, the first included; empty if the link is refused.
    pub variants: Vec<Digest>,
    /// When the tag was set.
    pub modified: Option<SystemTime>,
}

/// A link of either kind: `TOP/NAME/TAG`, where name and tag are checked to be plain components.
#[derive(Clone, Copy)]
pub(crate) struct Tagged<'a> {
    pub(crate) top: &'static str,
    pub(crate) name: &'a str,
    pub(crate) tag: &'a str,
}

impl<'a> From<&'a Ref> for Tagged<'a> {
    fn from(reference: &'a Ref) -> Self {
        Tagged { top: REFS, name: reference.name.as_str(), tag: reference.tag.as_str() }
    }
}

impl Tagged<'_> {
    fn dir(self, store: &Store) -> PathBuf {
        store.root().join(self.top).join(self.name)
    }

    fn path(self, store: &Store) -> PathBuf {
        self.dir(store).join(self.tag)
    }

    /// The target of the link; `None` if there is no link.
    pub(crate) fn read(self, store: &Store) -> Result<Option<Link>, StoreError> {
        check_parent(&self.dir(store))?;
        let path = self.path(store);
        let bad = |why| StoreError::BadRef { path: path.clone(), why };
        let target = match fs::read_link(&path) {
            Ok(target) => target,
            Err(e) if absent(&e) => return Ok(None),
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                let found = fs::symlink_metadata(&path).map_or("not a symbolic link", |m| describe(m.file_type()));
                return Err(bad(found));
            }
            Err(e) => return Err(StoreError::io("read", &path, e)),
        };
        match Link::parse(target.as_os_str().as_bytes()) {
            Some(link) => Ok(Some(link)),
            None => Err(bad("its target is neither ../../snap/ and a digest nor a set of variants")),
        }
    }

    /// All snapshots of the link.
    pub(crate) fn variants(self, store: &Store) -> Result<Option<Vec<Digest>>, StoreError> {
        match self.read(store)? {
            None => Ok(None),
            Some(Link::Snapshot(digest)) => Ok(Some(vec![digest])),
            Some(Link::Set(set, count)) => sets::read(store, set, count).map(Some),
        }
    }

    /// When it was set.
    pub(crate) fn modified(self, store: &Store) -> Option<SystemTime> {
        fs::symlink_metadata(self.path(store)).and_then(|meta| meta.modified()).ok()
    }

    /// Points the link at snapshots of the same store.
    pub(crate) fn set(self, store: &Store, variants: &[Digest]) -> Result<(), StoreError> {
        let target = sets::link(store, variants)?.to_string();
        let (mut temp, ()) = Temp::create(store, |temp| symlink(&target, temp))?;
        let (dir, path) = (self.dir(store), self.path(store));
        loop {
            make_dir(&dir)?;
            match temp.rename(&path) {
                Ok(()) => break,
                // Another process has removed the last other tag of that name in between, and the directory with it.
                Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound && temp.exists() => (),
                Err(other) => return Err(other),
            }
        }
        sync_if_there(&dir)?;
        sync_dir(&store.root().join(self.top))
    }

    /// Removes the link, with any target; returns whether there was one.
    pub(crate) fn remove(self, store: &Store) -> Result<bool, StoreError> {
        let (dir, path) = (self.dir(store), self.path(store));
        check_parent(&dir)?;
        match fs::remove_file(&path) {
            Ok(()) => (),
            Err(e) if absent(&e) => return Ok(false),
            Err(e) => return Err(StoreError::io("remove", &path, e)),
        }
        sync_if_there(&dir)?;
        // This fails while other tags are there, as it should.
        let _ = fs::remove_dir(&dir);
        Ok(true)
    }
}

impl Store {
    /// The digest that a tag points at, the first of its variants: `None` if there is no such tag, an error if it is no
    /// valid link.
    pub fn read_ref(&self, reference: &Ref) -> Result<Option<Digest>, StoreError> {
        Ok(self.variants(reference)?.and_then(|variants| variants.first().copied()))
    }

    /// All snapshots of a tag, of which a start picks one. There is one, unless the tag was set with
    /// [`Transaction::set_variants`](crate::Transaction::set_variants).
    pub fn variants(&self, reference: &Ref) -> Result<Option<Vec<Digest>>, StoreError> {
        Tagged::from(reference).variants(self)
    }

    /// All tags, by name and tag. Entries without a valid name are skipped.
    pub fn refs(&self) -> Result<Vec<RefEntry>, StoreError> {
        let mut found = Vec::new();
        let dir = self.root().join(REFS);
        for name in entries(&dir)? {
            let Ok(name) = Name::checked(name.as_bytes(), "name") else { continue };
            found.extend(self.tags(&name)?);
        }
        found.sort_by(|a, b| a.reference.cmp(&b.reference));
        Ok(found)
    }

    /// The tags of one name.
    pub fn tags(&self, name: &Name) -> Result<Vec<RefEntry>, StoreError> {
        let dir = self.root().join(REFS).join(name.as_str());
        check_parent(&dir)?;
        let mut found = Vec::new();
        for tag in entries(&dir)? {
            let Ok(tag) = Name::checked(tag.as_bytes(), "tag") else { continue };
            let reference = Ref { name: name.clone(), tag };
            let modified = Tagged::from(&reference).modified(self);
            let (digest, variants) = match self.variants(&reference) {
                Ok(Some(variants)) => match variants.first() {
                    Some(first) => (Ok(*first), variants),
                    None => continue,
                },
                Ok(None) => continue,
                Err(e) => (Err(e), Vec::new()),
            };
            found.push(RefEntry { reference, digest, variants, modified });
        }
        found.sort_by(|a, b| a.reference.cmp(&b.reference));
        Ok(found)
    }

    /// Removes a tag, with any target; returns whether there was one. The files stay until garbage is collected.
    pub fn remove_ref(&self, reference: &Ref) -> Result<bool, StoreError> {
        Tagged::from(reference).remove(self)
    }
}

/// Syncs a name's directory, unless another process has just removed the last tag in it.
fn sync_if_there(dir: &Path) -> Result<(), StoreError> {
    match sync_dir(dir) {
        Err(StoreError::Io { source, .. }) if absent(&source) => Ok(()),
        other => other,
    }
}

/// Checks that the name is a directory or does not exist: a symlink there would lead out of the store.
pub(crate) fn check_parent(dir: &Path) -> Result<(), StoreError> {
    match fs::symlink_metadata(dir) {
        Ok(meta) if !meta.is_dir() => {
            Err(StoreError::BadRef { path: dir.to_path_buf(), why: describe(meta.file_type()) })
        }
        _ => Ok(()),
    }
}
