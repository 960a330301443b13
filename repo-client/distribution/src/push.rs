//! From the local store to a registry: `plan → for each layer: compress, ask, mount or send → configuration →
//! manifest`.
//!
//! A layer is compressed into a file of the store's temporary area before the first request, since registries know
//! blobs by digest. The same snapshot gives the same layers. So a push finds the layers of an earlier one again, even
//! after a kill, and the upload of a blob goes on where the registry acknowledged the last piece.

use crate::artifact::Subject;
use crate::base::{BaseImage, FoundBase};
use crate::init::Export;
use crate::strip::without_recipe;
use crate::{Event, Present, Repo, RepoError, jobs};
use snapfn_image::{Compression, Input, Layer, MANIFEST_TYPE, WrittenLayer, documents, plan};
use snapfn_registry::{Client, ClientOptions, Digest, Reference};
use snapfn_scan::scan_snapshot;
use snapfn_store::{Kind, Ref, Transaction};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Number of repositories that are recorded to have a blob.
const KNOWN_MAX: usize = 4;

/// How to push.
#[derive(Clone, Debug)]
pub struct PushOptions {
    /// The `snaprun` that goes into the image.
    pub loader: PathBuf,
    /// How layers are compressed.
    pub compression: Compression,
    /// An image whose layers come first.
    pub base: Option<BaseImage>,
    /// Push it even if it seems to hold credentials; otherwise [`RepoError::Secrets`] names them.
    pub allow_secrets: bool,
    /// Leave the recipe and the inputs in the snapshots.
    pub with_recipe: bool,
    /// Push an exported init data file beside the snapshot.
    pub init: bool,
    /// Layers that are made and sent at a time.
    pub jobs: usize,
}

/// What has been pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Digest of the manifest.
    pub digest: Digest,
    /// Number of layers, those of the base and of the init data file included.
    pub layers: usize,
    /// Bytes of all layers and the configuration.
    pub size: u64,
    /// Bytes that were sent.
    pub sent: u64,
    /// Bytes that the registry had.
    pub present: u64,
}

impl PushOptions {
    /// The defaults of `snaprepo push`, with that `snaprun`.
    pub fn new(loader: impl Into<PathBuf>) -> Self {
        let compression = Compression::default();
        PushOptions {
            loader: loader.into(),
            compression,
            base: None,
            allow_secrets: false,
            with_recipe: false,
            init: false,
            jobs: 3,
        }
    }
}

impl Repo {
    /// Stores the snapshot `name`, with all its variants, as the image `to`. It sends only blobs that the registry
    /// lacks.
    pub fn push(&self, name: &Ref, to: &Reference, options: &PushOptions) -> Result<Pushed, RepoError> {
        let tag = to.tag.clone().filter(|_| to.digest.is_none()).ok_or(RepoError::NoTag)?;
        let store = self.stores.resolve(name)?.store;
        let variants = store.variants(name)?.unwrap_or_default();
        let transaction = self.stores.writable()?.begin()?;
        let mut inputs = Vec::new();
        for digest in variants {
            let digest = if options.with_recipe { digest } else { without_recipe(&store, digest, &transaction)? };
            inputs.push(Input { reference: name.clone(), digest });
        }
        let mut total = 0;
        for input in &inputs {
            total += self.stores.locate(Kind::Snap, input.digest)?.1.size;
        }
        // Nothing has been sent yet.
        if !options.allow_secrets {
            self.events.event(Event::Scanning { total });
            self.scan(&inputs)?;
        }
        let export = options.init.then(|| Export::of(self, &inputs, &transaction)).transpose()?;
        self.events.event(Event::Reading { total });
        let mut image = plan(&self.stores, &inputs, &options.loader, &mut |bytes| {
            self.events.event(Event::Read { bytes });
        })?;
        let client = self.client(&to.registry)?;
        let base = options.base.as_ref().map(|base| FoundBase::find(self, &client, to, base)).transpose()?;
        let (below, own) = (base.as_ref().map_or(0, |base| base.layers.len()), image.layers.len());
        let init = export.as_ref().map(Export::layer);
        let total = image.layers.iter().chain(&init).map(Layer::content_size).sum();
        self.events.event(Event::Layers { count: below + own + init.iter().len(), total });

        let target = Target { repo: self, client: &client, to, transaction: &transaction };
        let jobs = options.jobs;
        let base_sent: u64 = match &base {
            Some(base) => jobs::all(below, jobs, |index| base.place(index, &target))?.into_iter().sum(),
            None => 0,
        };
        let placed =
            jobs::all(own, jobs, |index| target.layer(below + index, &image.layers[index], options.compression))?;
        let init = init.map(|layer| target.layer(below + own, &layer, options.compression)).transpose()?;
        image.index.init = init.as_ref().zip(export.as_ref()).map(|((layer, _), export)| export.entry(layer));
        let placed_init = init.as_ref().map_or(0, |(_, sent)| *sent);
        let sent = placed_init + base_sent + placed.iter().map(|(_, sent)| sent).sum::<u64>();
        let layers: Vec<_> =
            image.layers.iter().map(|layer| layer.kind).zip(placed.into_iter().map(|(layer, _)| layer)).collect();
        let (config, manifest) = documents(&image.index, &layers, base.as_ref().map(|base| &base.image))?;
        let digest = Digest::from(config.digest.0);
        let config_size = config.bytes.len() as u64;
        if client.head_blob(&to.repository, &digest)?.is_none() {
            client.upload_blob(&to.repository, &digest, config_size, &config.bytes, None)?;
        }
        let digest = client.put_manifest(&to.repository, &tag, MANIFEST_TYPE, &manifest.bytes)?;
        if let Some(((layer, _), export)) = init.as_ref().zip(export.as_ref()) {
            let subject = Subject { media_type: MANIFEST_TYPE, digest: &digest, size: manifest.bytes.len() };
            export.put(&client, &to.repository, subject, layer, options.compression)?;
        }
        let of_init = init.as_ref().map_or(0, |(layer, _)| layer.size);
        let size: u64 = layers.iter().map(|(_, layer)| layer.size).sum();
        let size = size + of_init + base.as_ref().map_or(0, FoundBase::size);
        let count = below + own + init.iter().len();
        Ok(Pushed { digest, layers: count, size: size + config_size, sent, present: size - sent.min(size) })
    }

    /// Refuses what seems to hold credentials.
    fn scan(&self, inputs: &[Input]) -> Result<(), RepoError> {
        let mut found = Vec::new();
        for input in inputs {
            let file = self.stores.locate(Kind::Snap, input.digest)?.0.open(Kind::Snap, input.digest)?;
            found.extend(scan_snapshot(&self.stores, &file, &mut |bytes| {
                self.events.event(Event::Read { bytes });
            })?);
        }
        match found.is_empty() {
            true => Ok(()),
            false => Err(RepoError::Secrets(found)),
        }
    }

    /// A client for the registry of this [`Repo`], whose events are passed on.
    pub(crate) fn client(&self, registry: &str) -> Result<Client, RepoError> {
        self.client_with(registry, self.client.clone())
    }

    /// A client with other options, whose events are passed on.
    pub(crate) fn client_with(&self, registry: &str, options: ClientOptions) -> Result<Client, RepoError> {
        let events = Arc::clone(&self.events);
        let forward = move |event: snapfn_registry::Event<'_>| events.event(Event::Transfer(event));
        Ok(Client::new(registry, ClientOptions { events: Arc::new(forward), ..options })?)
    }
}

/// Where layers go.
pub(crate) struct Target<'a> {
    pub(crate) repo: &'a Repo,
    client: &'a Client,
    pub(crate) to: &'a Reference,
    pub(crate) transaction: &'a Transaction,
}

impl Target<'_> {
    /// Makes a layer and brings it into the repository. Returns it with the number of bytes that were sent.
    fn layer(&self, index: usize, layer: &Layer, compression: Compression) -> Result<(WrittenLayer, u64), RepoError> {
        let scratch = self.transaction.scratch()?;
        let written = layer.write(compression, &mut scratch.file(), &mut |bytes| {
            self.repo.events.event(Event::Read { bytes });
        })?;
        let digest = Digest::from(written.digest.0);
        let (kind, size) = (Some(layer.kind), written.size);
        if let Some(how) = self.present(&digest, None)? {
            self.repo.events.event(Event::Present { layer: index, kind, digest: &digest, size, how });
            self.remember(&digest)?;
            return Ok((written, 0));
        }
        let moved = self.send(&digest, size, scratch.path())?;
        self.repo.events.event(Event::Transferred { layer: index, kind, digest: &digest, size, moved });
        Ok((written, moved))
    }

    /// Uploads the blob in a file, from where an earlier push was cut short. Returns the bytes that were sent.
    pub(crate) fn send(&self, digest: &Digest, size: u64, file: &Path) -> Result<u64, RepoError> {
        let session = self.transaction.transfer_path(&self.session(digest))?;
        let source = file.to_path_buf();
        let uploaded = self.client.upload_blob(&self.to.repository, digest, size, &source, Some(&session))?;
        self.remember(digest)?;
        Ok(uploaded.bytes_sent)
    }

    /// The upload of a blob to this repository.
    fn session(&self, digest: &Digest) -> String {
        let place = Digest::of(format!("{}/{}", self.to.registry, self.to.repository).as_bytes());
        format!("{}.{}.upload", digest.hex(), &place.hex()[..16])
    }

    /// Whether the repository has the blob, or can mount it from another of the same registry: from `beside`, or from
    /// one that is recorded to have it.
    pub(crate) fn present(&self, digest: &Digest, beside: Option<&str>) -> Result<Option<Present>, RepoError> {
        if self.client.head_blob(&self.to.repository, digest)?.is_some() {
            return Ok(Some(Present::InRepository));
        }
        let beside = beside.filter(|from| *from != self.to.repository).map(String::from);
        for from in beside.into_iter().chain(self.known(digest)?) {
            // A repository may be gone, or not readable: then the next one is tried.
            if let Ok(true) = self.client.mount_blob(&self.to.repository, &from, digest) {
                return Ok(Some(Present::Mounted));
            }
        }
        Ok(None)
    }

    fn known_path(&self, digest: &Digest) -> Result<PathBuf, RepoError> {
        Ok(self.transaction.transfer_path(&format!("{}.known", digest.hex()))?)
    }

    /// Other repositories of this registry that had the blob.
    fn known(&self, digest: &Digest) -> Result<Vec<String>, RepoError> {
        let text = std::fs::read_to_string(self.known_path(digest)?).unwrap_or_default();
        let of = |line: &str| {
            let (registry, repository) = line.split_once(' ')?;
            (registry == self.to.registry && repository != self.to.repository).then(|| repository.to_string())
        };
        Ok(text.lines().filter_map(of).collect())
    }

    /// Records that the repository has the blob. This is only a hint: if it is lost, that costs an upload.
    pub(crate) fn remember(&self, digest: &Digest) -> Result<(), RepoError> {
        let path = self.known_path(digest)?;
        let line = format!("{} {}", self.to.registry, self.to.repository);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let others = text.lines().filter(|known| *known != line).take(KNOWN_MAX - 1);
        let lines: String = std::iter::once(line.as_str()).chain(others).map(|line| format!("{line}\n")).collect();
        std::fs::write(&path, lines).map_err(|source| RepoError::Io { what: "write", path, source })
    }
}
