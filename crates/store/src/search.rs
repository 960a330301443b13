//! The search path of stores. `snaprun` does the same without a libc: keep the two alike.

use crate::{Blob, Digest, Image, Kind, Ref, Store, StoreError};
use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The system-wide store, searched last. Users who share it share page cache.
pub const SYSTEM_STORE: &str = "/var/lib/snapfn";

/// The stores that are searched, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stores {
    search: Vec<Store>,
    /// Whether the first store may be written to: not where only the system's is known.
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

    /// The search path of an environment: `$SNAPFN_STORE` (colon-separated, first entry writable), else
    /// `$XDG_DATA_HOME/snapfn` if absolute, else `$HOME/.local/share/snapfn`; then [`SYSTEM_STORE`].
    pub fn from_vars(var: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name| var(name).filter(|value| !value.is_empty());
        let mut roots: Vec<PathBuf> = match set("SNAPFN_STORE") {
            Some(list) => list
                .as_bytes()
                .split(|&byte| byte == b':')
                .filter(|entry| !entry.is_empty())
                .map(|entry| absolute(Path::new(OsStr::from_bytes(entry))))
                .collect(),
            None => {
                let data = set("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
                let home = || set("HOME").map(|home| absolute(Path::new(&home)).join(".local/share"));
                data.or_else(home).map(|data| data.join("snapfn")).into_iter().collect()
            }
        };
        let writable = !roots.is_empty();
        if !roots.iter().any(|root| root == Path::new(SYSTEM_STORE)) {
            roots.push(PathBuf::from(SYSTEM_STORE));
        }
        Stores { search: roots.into_iter().map(Store::at).collect(), writable }
    }

    /// All stores, in the order in which they are searched.
    pub fn iter(&self) -> impl Iterator<Item = &Store> {
        self.search.iter()
    }

    /// The store that is written to.
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

    /// A stored file with the store that has it.
    pub fn locate(&self, kind: Kind, digest: Digest) -> Result<(&Store, Blob), StoreError> {
        for store in &self.search {
            if let Some(blob) = store.blob(kind, digest)? {
                return Ok((store, blob));
            }
        }
        Err(StoreError::Missing { kind, digest })
    }

    /// All snapshots of a tag, of which a start takes any, in the first store that has the tag.
    pub fn variants(&self, reference: &Ref) -> Result<Vec<Digest>, StoreError> {
        let found = self.resolve(reference)?;
        Ok(found.store.variants(reference)?.unwrap_or_default())
    }

    /// The snapshots that a pulled image brought, in the first store that knows it.
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

/// Only an empty path has no absolute form, and that is filtered out before.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(vars: &[(&str, &str)]) -> (Vec<String>, bool) {
        let stores =
            Stores::from_vars(|name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value)));
        (stores.iter().map(|s| s.root().display().to_string()).collect(), stores.writable().is_ok())
    }

    #[test]
    fn search_path() {
        let all = [("SNAPFN_STORE", "/a::/b"), ("XDG_DATA_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(roots(&all), (vec!["/a".into(), "/b".into(), SYSTEM_STORE.into()], true));
        assert_eq!(roots(&all[1..]), (vec!["/x/snapfn".into(), SYSTEM_STORE.into()], true));
        assert_eq!(roots(&all[2..]), (vec!["/h/.local/share/snapfn".into(), SYSTEM_STORE.into()], true));
        assert_eq!(roots(&[]), (vec![SYSTEM_STORE.into()], false));
        // A relative XDG_DATA_HOME is to be ignored, says its specification.
        assert_eq!(roots(&[("XDG_DATA_HOME", "x"), ("HOME", "/h")]).0[0], "/h/.local/share/snapfn");
        assert_eq!(roots(&[("SNAPFN_STORE", "")]), (vec![SYSTEM_STORE.into()], false));
        // The system store, named first, is written to, and searched once.
        assert_eq!(roots(&[("SNAPFN_STORE", SYSTEM_STORE)]), (vec![SYSTEM_STORE.into()], true));
    }
}
