//! From the local store to a registry: `plan → for each layer: compress, ask, mount or send → configuration → manifest`.
//!
//! A layer is compressed into a file of the store's own temporary area before anything is asked, since registries know blobs
//! by digest. The same snapshot gives the same layers: whatever an earlier push has brought there is found again, also
//! after a kill, and a blob's own upload goes on where the registry acknowledged the last piece.

use crate::jobs::Board;
use crate::{Event, Present, Repo, RepoError};
use snapfn_image::{Base, Compression, DOCKER_TYPES, ImagePlan, Input, LayerKind, MANIFEST_TYPE, ManifestView};
use snapfn_image::{Layer, WrittenLayer, documents, plan};
use snapfn_registry::{Client, Digest, Reference};
use snapfn_store::{Kind, Ref, Transaction};
use std::io::{BufWriter, Write};
use std::path::PathBuf;

/// Repositories that are remembered to have a blob.
const KNOWN_MAX: usize = 4;

/// How to push.
#[derive(Clone, Debug)]
pub struct PushOptions {
    /// The `snaprun` that goes into the image.
    pub loader: PathBuf,
    /// How layers are compressed.
    pub compression: Compression,
    /// An image whose layers come first.
    pub base: Option<Reference>,
    /// Layers that are made and sent at a time.
    pub jobs: usize,
}

/// What has been pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Digest of the manifest.
    pub digest: Digest,
    /// Number of layers, those of the base included.
    pub layers: usize,
    /// Bytes of all layers and the configuration.
    pub size: u64,
    /// Bytes that were sent.
    pub sent: u64,
    /// Bytes that the registry had.
    pub present: u64,
}

/// A layer that is in the repository.
struct Placed {
    layer: WrittenLayer,
    sent: u64,
}

impl Repo {
    /// Stores the snapshot that `name` stands for, with all its variants, as the image `to`. Only what the registry lacks is sent.
    pub fn push(&self, name: &Ref, to: &Reference, options: &PushOptions) -> Result<Pushed, RepoError> {
        let tag = to.tag.clone().filter(|_| to.digest.is_none()).ok_or_else(|| RepoError::NoTag(to.to_string()))?;
        let store = self.stores.resolve(name)?.store;
        let variants = store.variants(name)?.unwrap_or_default();
        let inputs: Vec<Input> = variants.into_iter().map(|digest| Input { reference: name.clone(), digest }).collect();
        let mut total = 0;
        for input in &inputs {
            total += self.stores.locate(Kind::Snap, input.digest)?.1.size;
        }
        // Whatever looks into snapshots before they leave this machine belongs here: nothing has been sent yet.
        self.events.event(Event::Reading { total });
        let image = plan(&self.stores, &inputs, &options.loader, &mut |bytes| {
            self.events.event(Event::Read { bytes });
        })?;
        let client = self.client(&to.registry)?;
        let base = options.base.as_ref().map(|base| self.base(&client, to, base)).transpose()?;
        let count = image.layers.len();
        self.events.event(Event::Layers { count, total: image.layers.iter().map(Layer::content_size).sum() });

        let transaction = self.stores.writable()?.begin()?;
        let target = Target { repo: self, client: &client, to, transaction: &transaction };
        let placed = target.layers(&image, options)?;
        let sent: u64 = placed.iter().map(|(_, placed)| placed.sent).sum();
        let layers: Vec<_> = placed.into_iter().map(|(kind, placed)| (kind, placed.layer)).collect();
        let (config, manifest) = documents(&image.index, &layers, base.as_ref().map(|(base, _)| base))?;
        let digest = Digest::from(config.digest.0);
        let config_size = config.bytes.len() as u64;
        if client.head_blob(&to.repository, &digest)?.is_none() {
            client.upload_blob(&to.repository, &digest, config_size, &config.bytes, None)?;
        }
        let digest = client.put_manifest(&to.repository, &tag, MANIFEST_TYPE, &manifest.bytes)?;
        let own: u64 = layers.iter().map(|(_, layer)| layer.size).sum();
        let (base_layers, base_size, base_sent) = base.map_or((0, 0, 0), |(_, moved)| moved);
        let size = own + base_size;
        Ok(Pushed {
            digest,
            layers: count + base_layers,
            size: size + config_size,
            sent: sent + base_sent,
            present: size - (sent + base_sent).min(size),
        })
    }

    /// Brings the layers of `base` into the repository; with it come number and size of its layers and the bytes sent.
    fn base(&self, client: &Client, to: &Reference, base: &Reference) -> Result<(Base, (usize, u64, u64)), RepoError> {
        let source = match base.registry == to.registry {
            true => client.clone(),
            false => self.client(&base.registry)?,
        };
        let manifest = source.manifest(&base.repository, &base.target(), &[MANIFEST_TYPE, DOCKER_TYPES[0]])?;
        let view = ManifestView::parse(&manifest.bytes)?;
        let config = self.small_blob(&source, &base.repository, &view.config)?;
        let parsed = Base::parse(&manifest.bytes, &config)?;
        let transaction = self.stores.writable()?.begin()?;
        let (mut size, mut sent) = (0, 0);
        for (index, layer) in view.layers.iter().enumerate() {
            let digest = Digest::from(layer.digest.0);
            size += layer.size;
            let present = |how| Event::Present { layer: index, kind: None, digest: &digest, size: layer.size, how };
            if client.head_blob(&to.repository, &digest)?.is_some() {
                self.events.event(present(Present::InRepository));
                continue;
            }
            let mountable = base.registry == to.registry && base.repository != to.repository;
            if mountable && client.mount_blob(&to.repository, &base.repository, &digest)? {
                self.events.event(present(Present::Mounted));
                continue;
            }
            let transfer = self.fetch_whole(&source, &base.repository, layer, &transaction)?.0;
            let uploaded =
                client.upload_blob(&to.repository, &digest, layer.size, &transfer.path().to_path_buf(), None)?;
            sent += uploaded.bytes_sent;
            transfer.remove()?;
        }
        Ok((parsed, (view.layers.len(), size, sent)))
    }

    /// A client for a registry whose events are passed on.
    pub(crate) fn client(&self, registry: &str) -> Result<Client, RepoError> {
        let events = std::sync::Arc::clone(&self.events);
        let forward = move |event: snapfn_registry::Event<'_>| events.event(Event::Transfer(event));
        let options = snapfn_registry::ClientOptions { events: std::sync::Arc::new(forward), ..self.client.clone() };
        Ok(Client::new(registry, options)?)
    }
}

/// Where layers go.
struct Target<'a> {
    repo: &'a Repo,
    client: &'a Client,
    to: &'a Reference,
    transaction: &'a Transaction,
}

impl Target<'_> {
    /// Makes and places all layers, several at a time.
    fn layers(&self, image: &ImagePlan, options: &PushOptions) -> Result<Vec<(LayerKind, Placed)>, RepoError> {
        let count = image.layers.len();
        let board = Board::new(count);
        std::thread::scope(|scope| {
            for _ in 0..options.jobs.clamp(1, count.max(1)) {
                scope.spawn(|| board.work(|index| self.layer(index, &image.layers[index], options.compression)));
            }
            (0..count).map(|index| Ok((image.layers[index].kind, board.take(index)?))).collect()
        })
    }

    fn layer(&self, index: usize, layer: &Layer, compression: Compression) -> Result<Placed, RepoError> {
        let scratch = self.transaction.scratch()?;
        let mut out = BufWriter::with_capacity(1 << 20, scratch.file());
        let written = layer.write(compression, &mut out, &mut |_| ())?;
        let io = |source| RepoError::Io { what: "write", path: scratch.path().to_path_buf(), source };
        out.flush().map_err(io)?;
        drop(out);
        let digest = Digest::from(written.digest.0);
        let (repository, kind, size) = (&self.to.repository, Some(layer.kind), written.size);
        if let Some(how) = self.present(&digest)? {
            self.repo.events.event(Event::Present { layer: index, kind, digest: &digest, size, how });
            self.remember(&digest)?;
            return Ok(Placed { layer: written, sent: 0 });
        }
        let session = self.transaction.transfer_path(&self.session(&digest))?;
        let uploaded =
            self.client.upload_blob(repository, &digest, size, &scratch.path().to_path_buf(), Some(&session))?;
        self.remember(&digest)?;
        let moved = uploaded.bytes_sent;
        self.repo.events.event(Event::Transferred { layer: index, kind, digest: &digest, size, moved });
        Ok(Placed { layer: written, sent: moved })
    }

    /// The upload of a blob to this repository.
    fn session(&self, digest: &Digest) -> String {
        let place = Digest::of(format!("{}/{}", self.to.registry, self.to.repository).as_bytes());
        format!("{}.{}.upload", digest.hex(), &place.hex()[..16])
    }

    /// Whether the repository has the blob, or can have it from another of the same registry.
    fn present(&self, digest: &Digest) -> Result<Option<Present>, RepoError> {
        if self.client.head_blob(&self.to.repository, digest)?.is_some() {
            return Ok(Some(Present::InRepository));
        }
        for from in self.known(digest)? {
            // A repository that is gone, or closed to us, is no reason to give up.
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

    /// Remembers that the repository has the blob. A hint, no more: a lost one costs an upload.
    fn remember(&self, digest: &Digest) -> Result<(), RepoError> {
        let path = self.known_path(digest)?;
        let line = format!("{} {}", self.to.registry, self.to.repository);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let others = text.lines().filter(|known| *known != line).take(KNOWN_MAX - 1);
        let lines: String = std::iter::once(line.as_str()).chain(others).map(|line| format!("{line}\n")).collect();
        std::fs::write(&path, lines).map_err(|source| RepoError::Io { what: "write", path, source })
    }
}
