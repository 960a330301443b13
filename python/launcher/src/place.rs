//! The places of the other programs, the Python package and the index.

use snapfn_format::store::SearchPath;
use std::collections::HashMap;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// The places that a run needs.
#[derive(Debug)]
pub(crate) struct Place {
    /// The folder with `snaprun`, `snapshotter`, `snaprepo`.
    pub(crate) programs: PathBuf,
    /// The index.
    pub(crate) root: PathBuf,
    package: Option<PathBuf>,
}

impl Place {
    /// None where no store may be written to.
    pub(crate) fn find() -> Option<Self> {
        let root = store()?.join("python");
        let own = env::current_exe().ok()?;
        let folder = own.parent()?;
        let package = package(folder);
        let inside = package.as_ref().map(|package| package.join("bin")).filter(|bin| bin.join("snaprun").exists());
        Some(Self { programs: inside.unwrap_or_else(|| folder.to_owned()), root, package })
    }

    /// The script that an interpreter runs to record a run.
    pub(crate) fn script(&self) -> Option<PathBuf> {
        self.package.as_ref().map(|package| package.join("_start.py"))
    }

    /// The script that an interpreter runs to make a snapshot.
    pub(crate) fn maker(&self) -> Option<PathBuf> {
        self.package.as_ref().map(|package| package.join("_make.py"))
    }
}

/// The store that is written to.
fn store() -> Option<PathBuf> {
    let set: HashMap<&str, Vec<u8>> =
        SearchPath::VARIABLES.iter().filter_map(|name| Some((*name, env::var_os(name)?.into_vec()))).collect();
    let path = SearchPath::of(|name| set.get(name).map(Vec::as_slice));
    let root = path.root(0).filter(|_| path.is_writable())?.concat();
    std::path::absolute(OsStr::from_bytes(&root)).ok()
}

/// The Python package, from the folder of this program: a wheel is installed as `bin/snapfn` and
/// `lib/python3.N/site-packages/snapfn`, Debian says `dist-packages`, and `pip install --target` has both side by side.
fn package(bin: &Path) -> Option<PathBuf> {
    let is_package = |path: &PathBuf| path.join("_start.py").is_file();
    if let Some(named) = env::var_os("SNAPFN_PYTHON_PACKAGE").map(PathBuf::from).filter(is_package) {
        return Some(named);
    }
    let prefix = bin.parent()?;
    let mut found = vec![prefix.join("snapfn"), prefix.to_owned()];
    for lib in ["lib", "lib64", "local/lib"] {
        for version in fs::read_dir(prefix.join(lib)).into_iter().flatten().flatten() {
            if version.file_name().as_bytes().starts_with(b"python3") {
                found.extend(["site-packages/snapfn", "dist-packages/snapfn"].map(|rest| version.path().join(rest)));
            }
        }
    }
    found.into_iter().find(is_package)
}
