//! The client: one registry, any repository, any thread.

use crate::reference::check_registry;
use crate::{ClientOptions, Digest, Place, RegistryError};
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// What is uploaded; opened again from where it must go on.
pub trait BlobSource: Sync {
    /// The content from byte `from` on.
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>>;
}

impl BlobSource for [u8] {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(self.len());
        Ok(Box::new(io::Cursor::new(self[from..].to_vec())))
    }
}

impl BlobSource for Path {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut file = std::fs::File::open(self)?;
        io::Seek::seek(&mut file, io::SeekFrom::Start(from))?;
        Ok(Box::new(file))
    }
}

/// A manifest as the registry gave it. Its digest has been computed from the bytes, and compared where one was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The registry's `Content-Type`.
    pub media_type: String,
    /// The bytes, at most 4 MiB.
    pub bytes: Vec<u8>,
    /// Their digest.
    pub digest: Digest,
}

/// How an upload went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uploaded {
    /// Bytes that were sent, those sent twice included.
    pub bytes_sent: u64,
    /// Where a remembered session went on; 0 if none did.
    pub resumed_from: u64,
}

/// The answer to a range request.
#[derive(Debug)]
pub enum RangeAnswer {
    /// What was asked for.
    Part(BlobReader),
    /// The registry ignores ranges: the whole blob.
    Whole(BlobReader),
}

/// Content of a blob, as it comes. It ends after exactly the bytes that were asked for, or with an error; broken
/// connections are taken up again inside. Nothing is compared with a digest here.
#[derive(Debug)]
pub struct BlobReader {
    left: u64,
}

impl Read for BlobReader {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other(format!("{} bytes", self.left)))
    }
}

/// One entry of a list of referrers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referrer {
    /// Its manifest.
    pub digest: Digest,
    /// The manifest's media type.
    pub media_type: String,
    /// What it is.
    pub artifact_type: Option<String>,
    /// The manifest's size.
    pub size: u64,
    /// The manifest's annotations, if the list has them.
    pub annotations: std::collections::BTreeMap<String, String>,
}

/// A client for one registry. Clones share connections, tokens and everything else.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: String,
    options: ClientOptions,
}

impl Client {
    /// A client for `registry` (`HOST[:PORT]`). Nothing is sent yet.
    pub fn new(registry: &str, options: ClientOptions) -> Result<Self, RegistryError> {
        let registry = check_registry(registry)?;
        Ok(Client { inner: Arc::new(Inner { registry, options }) })
    }

    /// The registry, in its one spelling.
    pub fn registry(&self) -> &str {
        &self.inner.registry
    }

    fn missing<T>(&self, repository: &str) -> Result<T, RegistryError> {
        let _ = &self.inner.options;
        let what = "do this yet".into();
        let place = Place { registry: self.inner.registry.clone(), repository: Some(repository.into()), what };
        Err(RegistryError::Protocol { place, why: "not in this build".into() })
    }

    /// The size of a blob, if the repository has it.
    pub fn head_blob(&self, repository: &str, _digest: &Digest) -> Result<Option<u64>, RegistryError> {
        self.missing(repository)
    }

    /// Makes a blob of the repository `from` one of `repository`; false if the registry does not do that.
    pub fn mount_blob(&self, repository: &str, _from: &str, _digest: &Digest) -> Result<bool, RegistryError> {
        self.missing(repository)
    }

    /// Uploads a blob of `size` bytes. With `session`, the upload is remembered in that file after each acknowledged
    /// piece, goes on from there if the file is there, and the file is gone when the blob is complete.
    pub fn upload_blob(
        &self,
        repository: &str,
        _digest: &Digest,
        _size: u64,
        _source: &(impl BlobSource + ?Sized),
        _session: Option<&Path>,
    ) -> Result<Uploaded, RegistryError> {
        self.missing(repository)
    }

    /// The content of a blob of `size` bytes, from byte `from` on.
    pub fn blob(
        &self,
        repository: &str,
        _digest: &Digest,
        _size: u64,
        _from: u64,
    ) -> Result<BlobReader, RegistryError> {
        self.missing(repository)
    }

    /// A range of a blob of `size` bytes.
    pub fn blob_range(
        &self,
        repository: &str,
        _digest: &Digest,
        _size: u64,
        _range: Range<u64>,
    ) -> Result<RangeAnswer, RegistryError> {
        self.missing(repository)
    }

    /// The manifest that `target` (a tag or a digest) names. `accept` has the media types that are understood.
    pub fn manifest(&self, repository: &str, _target: &str, _accept: &[&str]) -> Result<Manifest, RegistryError> {
        self.missing(repository)
    }

    /// The digest that `target` names, without fetching the manifest where the registry tells it.
    pub fn manifest_digest(
        &self,
        repository: &str,
        _target: &str,
        _accept: &[&str],
    ) -> Result<Option<Digest>, RegistryError> {
        self.missing(repository)
    }

    /// Stores a manifest under a tag or its digest.
    pub fn put_manifest(
        &self,
        repository: &str,
        _target: &str,
        _media_type: &str,
        _bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        self.missing(repository)
    }

    /// Stores a manifest that has a `subject`, and enters it into the list of the subject's referrers (by the registry
    /// where it does that, else in the index under the tag `sha256-<hex>`).
    pub fn put_referrer(
        &self,
        repository: &str,
        _subject: &Digest,
        _media_type: &str,
        _bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        self.missing(repository)
    }

    /// Deletes a manifest by digest, or a tag.
    pub fn delete_manifest(&self, repository: &str, _target: &str) -> Result<(), RegistryError> {
        self.missing(repository)
    }

    /// All tags of a repository, sorted.
    pub fn tags(&self, repository: &str) -> Result<Vec<String>, RegistryError> {
        self.missing(repository)
    }

    /// The manifests whose subject is `subject`.
    pub fn referrers(&self, repository: &str, _subject: &Digest) -> Result<Vec<Referrer>, RegistryError> {
        self.missing(repository)
    }
}
