//! The search path of stores.

use crate::{Blob, Digest, Image, Kind, Ref, Store, StoreError};
use snapfn_format::store::{Root, SearchPath};
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The stores that are searched, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stores {
    search: Vec<Store>,
    /// Whether programs may write to the first store: not if the system-wide store is the only one.
    writable: bool,
}

/// Where a reference leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The store that has the tag.
    pub store: Store,
    /// The snapshot.
    pub blob: Blob,
}

impl Stores {
    /// The search path of this process's environment.
    pub fn from_env() -> Self {
        Self::from_vars(|name| env::var_os(name))
    }

    /// The search path of an environment, by the rules of [`SearchPath`]. Programs write to the first store, unless
    /// that is the system-wide store by default.
    pub fn from_vars(var: impl Fn(&str) -> Option<OsString>) -> Self {
        let vars = SearchPath::VARIABLES.map(|name| (name, var(name)));
        let path = SearchPath::of(|name| {
            vars.iter().find(|(known, _)| *known == name).and_then(|(_, value)| value.as_deref()).map(OsStr::as_bytes)
        });
        let root = |root: &Root<'_>| Store::at(absolute(Path::new(OsStr::from_bytes(&root.concat()))));
        Stores { search: path.roots().map(root).collect(), writable: path.is_writable() }
    }

    /// All stores, in the order in which they are searched.
    pub fn iter(&self) -> impl Iterator<Item = &Store> {
        self.search.iter()
    }

    /// The writable store.
    pub fn writable(&self) -> Result<&Store, StoreError> {
        match self.search.first() {
            Some(store) if self.writable => Ok(store),
            _ => Err(StoreError::NoWritable),
        }
    }

    /// The path of a stored file, from the first store that has it.
    pub fn find(&self, kind: Kind, digest: Digest) -> Option<PathBuf> {
        self.search.iter().find_map(|store| store.blob(kind, digest).ok().flatten()).map(|blob| blob.path)
    }

    /// All stored files of a kind that can be opened.
    pub fn open_all(&self, kind: Kind) -> impl Iterator<Item = File> {
        self.search.iter().flat_map(move |store| {
            let digests = store.digests(kind).unwrap_or_default().into_iter();
            digests.filter_map(move |digest| store.open(kind, digest).ok())
        })
    }

    /// A stored file with the store that has it.
    pub fn locate(&self, kind: Kind, digest: Digest) -> Result<(&Store, Blob), StoreError> {
        for store in &self.search {
            if let Some(blob) = store.blob(kind, digest)? {
                return Ok((store, blob));
            }
        }
        Err(StoreError::Missing { kind, digest })
    }

    /// All snapshots of a tag, of which a start picks one, in the first store that has the tag.
    pub fn variants(&self, reference: &Ref) -> Result<Vec<Digest>, StoreError> {
        let found = self.resolve(reference)?;
        Ok(found.store.variants(reference)?.unwrap_or_default())
    }

    /// The snapshots that a pulled image brought, in the first store that has a record of it.
    pub fn pulled(&self, image: &Image) -> Result<Option<Vec<Digest>>, StoreError> {
        for store in &self.search {
            if let Some(variants) = store.pulled(image)? {
                return Ok(Some(variants));
            }
        }
        Ok(None)
    }

    /// The snapshot that a tag points at (its first variant), in the first store that has the tag.
    pub fn resolve(&self, reference: &Ref) -> Result<Resolved, StoreError> {
        for store in &self.search {
            let Some(digest) = store.read_ref(reference)? else { continue };
            return match store.blob(Kind::Snap, digest)? {
                Some(blob) => Ok(Resolved { store: store.clone(), blob }),
                None => Err(StoreError::Missing { kind: Kind::Snap, digest }),
            };
        }
        let roots: Vec<String> = self.search.iter().map(|store| store.root().display().to_string()).collect();
        Err(StoreError::UnknownRef { reference: reference.clone(), searched: roots.join(" or ") })
    }
}

/// Only an empty path has no absolute form, and empty paths were filtered out before.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_store_is_written_to_unless_it_is_the_systems_by_default() {
        let stores = |vars: &'static [(&str, &str)]| {
            Stores::from_vars(|name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value)))
        };
        let named = stores(&[("SNAPFN_STORE", "/a:b")]);
        let here = env::current_dir().unwrap();
        let roots: Vec<_> = named.iter().map(|store| store.root().to_path_buf()).collect();
        assert_eq!(roots, [PathBuf::from("/a"), here.join("b"), PathBuf::from(crate::SYSTEM_STORE)]);
        assert_eq!(named.writable().unwrap().root(), Path::new("/a"));
        assert!(stores(&[]).writable().is_err());
    }
}
