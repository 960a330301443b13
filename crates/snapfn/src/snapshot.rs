//! An open snapshot: found, validated and opened once, with all its files.

use crate::Error;
use crate::sys::{self, raise};
use snapfn_format::snap::{FD_TEMPORARY, FILE_CODE, FILE_DATA, FILE_HOST, FILE_SELF, Plan};
use snapfn_store::{Digest, Kind, Ref, SnapshotMeta, StoreError, Stores, SummaryError, Target, open_file};
use std::collections::BTreeMap;
use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A snapshot, ready to be started any number of times. Clones share the open files. If the tag has variants, all of
/// them are open, and every start picks one.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    /// The name as the caller gave it: the instance's command line begins with it.
    pub(crate) name: CString,
    /// Path of `snaprun`.
    pub(crate) loader: CString,
    /// Instances may have memory that is writable and executable at once.
    pub(crate) allow_wx: bool,
    /// The variants of the tag, of which every start picks one; a snapshot without variants is one. The list is never
    /// empty.
    variants: Vec<Variant>,
    /// No descriptor of the program has this number or a higher one.
    pub(crate) free: i32,
    source: Source,
    identity: String,
}

/// Where a name leads.
#[derive(Debug)]
struct Source {
    stores: Stores,
    target: Target,
}

impl Source {
    /// The snapshot's files, with what tells them from others.
    fn open(&self, name: &OsStr) -> Result<(Vec<File>, String), Error> {
        let shown = || name.to_string_lossy().into_owned();
        let store_error = |source| Error::Store { name: shown(), source };
        match &self.target {
            Target::File(path) => {
                let file = open_file(path).map_err(store_error)?;
                let identity = file_identity(&file)?;
                Ok((vec![file], identity))
            }
            Target::Local(reference) => {
                let digests = self.digests(reference).map_err(store_error)?;
                let opened: Result<Vec<_>, _> =
                    digests.iter().map(|digest| self.stores.open_trusted(Kind::Snap, *digest)).collect();
                Ok((opened.map_err(store_error)?, joined(&digests)))
            }
            Target::Registry(_) => Err(Error::Registry(shown())),
        }
    }

    fn digests(&self, reference: &Ref) -> Result<Vec<Digest>, StoreError> {
        let mut digests = self.stores.variants(reference)?;
        if digests.is_empty() {
            // Another process has removed the tag a moment ago, or sets it anew.
            digests.push(self.stores.resolve(reference)?.blob.digest);
        }
        Ok(digests)
    }

    /// What the name leads to now.
    fn identity(&self, name: &OsStr) -> Result<String, Error> {
        let shown = || name.to_string_lossy().into_owned();
        let store_error = |source| Error::Store { name: shown(), source };
        match &self.target {
            Target::File(path) => file_identity(&open_file(path).map_err(store_error)?),
            Target::Local(reference) => Ok(joined(&self.digests(reference).map_err(store_error)?)),
            Target::Registry(_) => Err(Error::Registry(shown())),
        }
    }
}

/// A file is another one if it is a new file or was written to.
fn file_identity(file: &File) -> Result<String, Error> {
    let meta = file.metadata().map_err(Error::io("stat"))?;
    Ok(format!("{:x}:{:x}:{}.{:09}", meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec()))
}

fn joined(digests: &[Digest]) -> String {
    digests.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// One snapshot with its files.
#[derive(Debug)]
pub(crate) struct Variant {
    /// The snapshot file and the files that it maps, in the plan's order. All descriptors are above the standard
    /// streams.
    pub(crate) files: Vec<Arc<File>>,
    /// Their numbers, as `snaprun --fds` wants them.
    pub(crate) list: CString,
    /// One more than the highest descriptor of the program.
    free: i32,
}

impl Inner {
    /// Picks the variant of a start by the kernel's random numbers, as `snaprun` does.
    pub(crate) fn variant(&self) -> &Variant {
        match &self.variants[..] {
            [one] => one,
            many => &many[usize::from(sys::random()) % many.len()],
        }
    }
}

/// How a [`Snapshot`] is opened.
#[derive(Clone, Debug, Default)]
pub struct SnapshotOptions {
    store: Option<PathBuf>,
    loader: Option<PathBuf>,
    allow_wx: bool,
}

impl SnapshotOptions {
    /// As [`Snapshot::open`] does it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Searches only this store and the system-wide one.
    #[must_use]
    pub fn store(mut self, store: impl Into<PathBuf>) -> Self {
        self.store = Some(store.into());
        self
    }

    /// Starts instances with this `snaprun`.
    #[must_use]
    pub fn loader(mut self, loader: impl Into<PathBuf>) -> Self {
        self.loader = Some(loader.into());
        self
    }

    /// Sets whether memory may be writable and executable at once. JIT compilers have such memory, and an attacker who
    /// can write to it decides what the program does. Without this option, such a snapshot is not opened.
    #[must_use]
    pub fn allow_wx(mut self, allow: bool) -> Self {
        self.allow_wx = allow;
        self
    }

    /// Opens the snapshot.
    ///
    /// # Errors
    /// As [`Snapshot::open`].
    pub fn open(&self, name: impl AsRef<OsStr>) -> Result<Snapshot, Error> {
        let name = name.as_ref();
        let stores = match &self.store {
            Some(store) => Stores::from_vars(|name| (name == "SNAPFN_STORE").then(|| store.as_os_str().to_owned())),
            None => Stores::from_env(),
        };
        let shown = || name.to_string_lossy().into_owned();
        let target = Target::parse(name).map_err(|source| Error::Name { name: shown(), source })?;
        let source = Source { stores, target };
        let (snapshots, identity) = source.open(name)?;
        let mut opener = Opener { stores: &source.stores, name: &shown(), opened: BTreeMap::new() };
        let variants = snapshots.into_iter().map(|snapshot| opener.variant(snapshot, self.allow_wx));
        let variants = variants.collect::<Result<Vec<_>, _>>()?;
        let loader = match &self.loader {
            Some(path) => path.clone(),
            None => find_loader().ok_or(Error::NoLoader)?,
        };
        let inner = Inner {
            name: c_string(name.to_owned(), "the name")?,
            loader: c_string(loader.into_os_string(), "the path of snaprun")?,
            allow_wx: self.allow_wx,
            free: variants.iter().map(|variant| variant.free).max().unwrap_or(3),
            variants,
            source,
            identity,
        };
        Ok(Snapshot { inner: Arc::new(inner) })
    }
}

impl Snapshot {
    /// Opens `NAME[:TAG]` in the local store (found as `snaprun` finds it), or a file: `./…`, `/…`, `*.snap`.
    ///
    /// `snaprun` is the one named by the environment variable `SNAPFN_SNAPRUN`, else the one in `PATH`, else
    /// `/usr/local/bin/snaprun`.
    ///
    /// # Errors
    /// When there is no such snapshot, it is damaged, one of its files is missing, or it has memory that is writable
    /// and executable at once ([`SnapshotOptions::allow_wx`]).
    ///
    /// ```
    /// let error = snapfn::Snapshot::open("./no-such-file.snap").unwrap_err();
    /// assert_eq!(error.exit_status(), 127);
    /// ```
    pub fn open(name: impl AsRef<OsStr>) -> Result<Self, Error> {
        SnapshotOptions::new().open(name)
    }

    /// Opens a snapshot in the store at `store` or the system-wide one only, and uses the `snaprun` at `loader`.
    ///
    /// # Errors
    /// As [`Snapshot::open`].
    pub fn open_in(name: impl AsRef<OsStr>, store: &Path, loader: &Path) -> Result<Self, Error> {
        SnapshotOptions::new().store(store).loader(loader).open(name)
    }

    /// The name that it was opened with.
    #[must_use]
    pub fn name(&self) -> &OsStr {
        OsStr::from_bytes(self.inner.name.as_bytes())
    }

    /// What tells the snapshot from others: the digest of its file, those of all variants with commas between them, or,
    /// if it was opened by a path, what tells that file from others.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.inner.identity
    }

    /// The identity of the snapshot that the name leads to now: another one than [`Snapshot::identity`], if the tag has
    /// been moved or the file was replaced since this one was opened. The call reads links, and no snapshot.
    ///
    /// # Errors
    /// When the name leads to no snapshot any more.
    pub fn current_identity(&self) -> Result<String, Error> {
        self.inner.source.identity(self.name())
    }
}

pub(crate) fn c_string(text: OsString, what: &'static str) -> Result<CString, Error> {
    CString::new(text.into_vec()).map_err(|_| Error::Text(what))
}

/// Opens snapshots with their files. If several snapshots map the same file of the store, it is opened once.
struct Opener<'a> {
    stores: &'a Stores,
    name: &'a str,
    opened: BTreeMap<(Kind, Digest), Arc<File>>,
}

impl Opener<'_> {
    fn variant(&mut self, snapshot: File, allow_wx: bool) -> Result<Variant, Error> {
        let damaged = |source| Error::Damaged { name: self.name.to_owned(), source };
        let meta = SnapshotMeta::read(&snapshot).map_err(damaged)?;
        let plan = meta.plan().map_err(|e| damaged(SummaryError::from(e)))?;
        if plan.header.has_wx() && !allow_wx {
            return Err(Error::WritableCode(self.name.to_owned()));
        }
        let last = plan.fds.iter().filter(|record| record.fd < FD_TEMPORARY).map(|record| record.fd as i32).max();
        let files = self.files(snapshot, &plan)?;
        let list: Vec<String> = files.iter().map(|file| file.as_raw_fd().to_string()).collect();
        let list = c_string(list.join(",").into(), "the list of descriptors")?;
        Ok(Variant { files, list, free: last.map_or(3, |last| last + 1).max(3) })
    }

    /// Opens the files of the plan of `snapshot`, and checks that they are the files that the plan was made for.
    fn files(&mut self, snapshot: File, plan: &Plan<'_>) -> Result<Vec<Arc<File>>, Error> {
        let mut snapshot = Some(snapshot);
        let mut files = Vec::with_capacity(plan.files.len());
        for record in plan.files {
            let recorded = plan.bytes(record.path);
            let path = PathBuf::from(OsStr::from_bytes(recorded.strip_suffix(&[0]).unwrap_or(recorded)));
            let fail = |why: String| Error::File { name: self.name.to_owned(), path: path.clone(), why };
            let file = match record.kind {
                FILE_SELF => above_streams(snapshot.take().ok_or_else(|| fail("named twice".to_owned()))?)?,
                FILE_CODE => self.stored(Kind::Code, record.digest)?,
                FILE_HOST => {
                    // O_NONBLOCK: the file may have been replaced by a FIFO, and the call must not wait for it.
                    let options = &mut OpenOptions::new();
                    options.read(true).write(record.writable == 1).custom_flags(libc::O_NONBLOCK);
                    let opened = options.open(&path);
                    above_streams(opened.map_err(|e| fail(format!("{e}, it must be there and accessible")))?)?
                }
                _ => self.stored(Kind::Data, record.digest)?,
            };
            let meta = file.metadata().map_err(|e| fail(e.to_string()))?;
            if !meta.is_file() {
                return Err(fail("not a regular file".to_owned()));
            }
            if matches!(record.kind, FILE_CODE | FILE_DATA) && meta.len() != record.size {
                return Err(fail(format!("{} bytes instead of {}, run snaprepo verify", meta.len(), record.size)));
            }
            files.push(file);
        }
        Ok(files)
    }

    fn stored(&mut self, kind: Kind, digest: Digest) -> Result<Arc<File>, Error> {
        if let Some(file) = self.opened.get(&(kind, digest)) {
            return Ok(Arc::clone(file));
        }
        let opened = self.stores.open_trusted(kind, digest);
        let file = above_streams(opened.map_err(|source| Error::Store { name: self.name.to_owned(), source })?)?;
        self.opened.insert((kind, digest), Arc::clone(&file));
        Ok(file)
    }
}

fn above_streams(file: File) -> Result<Arc<File>, Error> {
    let raised = raise(file.into(), 3).map_err(Error::io("duplicating a descriptor"))?;
    Ok(Arc::new(File::from(raised)))
}

fn find_loader() -> Option<PathBuf> {
    if let Some(path) = env::var_os("SNAPFN_SNAPRUN").filter(|path| !path.is_empty()) {
        return Some(PathBuf::from(path));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = PathBuf::from("/usr/local/bin");
    env::split_paths(&path).chain([usual]).map(|dir| dir.join("snaprun")).find(|file| file.is_file())
}
