//! An exported init data file beside a snapshot: `push` makes it of the snapshot, and `pull_init` brings it and the
//! code segment files to a host that makes the snapshot there, without a layer of the snapshot itself.
//!
//! ```text
//!  image     configuration ── names digest and size of the file, and of its layer   ◀── what a signature covers
//!    ▲
//!    └── subject of an artifact ── the layer with the file
//! ```
//! The configuration names the file, so a file that somebody else puts beside the image is not taken for it. The
//! artifact keeps the layer in the registry. Older readers and container engines do not see it.

use crate::artifact::{self, Subject};
use crate::chunks::LocalChunks;
use crate::fetch::Fetched;
use crate::pull::{Needed, Source, needed_size, spoilt};
use crate::{Event, PullOptions, Repo, RepoError};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use snapfn_format::init::{InitHeader, program_file};
use snapfn_image::{Compression, ImageView, InitEntry, Input, Layer, LayerFault, LayerKind, WrittenLayer};
use snapfn_registry::{Client, Digest, Reference, RegistryError};
use snapfn_split::{export_snapshot, is_exported};
use snapfn_store::{
    ExportedMeta, Kind, NewFile, Scratch, SnapshotMeta, StoreError, SummaryError, Transaction, open_file,
    summarize_exported,
};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What the artifact is.
pub(crate) const ARTIFACT_TYPE: &str = "application/vnd.snapfn.init.v1";
/// Annotation of the artifact: the digest of the file. It is for people.
const FILE_ANNOTATION: &str = "dev.snapfn.init";

/// An exported init data file that is pushed.
#[derive(Debug)]
pub(crate) struct Export {
    scratch: Scratch,
    digest: snapfn_store::Digest,
    size: u64,
}

impl Export {
    /// That of the only snapshot.
    pub(crate) fn of(repo: &Repo, inputs: &[Input], transaction: &Transaction) -> Result<Self, RepoError> {
        let [input] = inputs else {
            return Err(RepoError::Export(format!("it has {} variants", inputs.len())));
        };
        let failed = |why: &dyn ToString| RepoError::Export(why.to_string().replace('\n', "; "));
        let (store, _) = repo.stores.locate(Kind::Snap, input.digest)?;
        let file = store.open(Kind::Snap, input.digest)?;
        let meta = SnapshotMeta::read(&file).map_err(|error| failed(&error))?;
        let plan = meta.plan().map_err(|error| failed(&error))?;
        let bytes =
            export_snapshot(&plan, repo.stores.open_all(Kind::Init), |buffer, at| file.read_exact_at(buffer, at))
                .map_err(|error| failed(&error))?;
        let scratch = transaction.scratch()?;
        scratch.file().write_all(&bytes).map_err(io_error("write", scratch.path()))?;
        let digest = snapfn_store::Digest(Sha256::digest(&bytes).into());
        Ok(Export { scratch, digest, size: bytes.len() as u64 })
    }

    pub(crate) fn layer(&self) -> Layer {
        Layer::init(self.scratch.path(), self.digest, self.size)
    }

    /// For the image's configuration.
    pub(crate) fn entry(&self, layer: &WrittenLayer) -> InitEntry {
        InitEntry::new(self.digest, self.size, layer)
    }

    /// Stores the artifact, whose layer is in the repository.
    pub(crate) fn put(
        &self,
        client: &Client,
        repository: &str,
        subject: Subject<'_>,
        layer: &WrittenLayer,
        compression: Compression,
    ) -> Result<(), RepoError> {
        let media_type = match compression {
            Compression::Zstd => "application/vnd.snapfn.init.layer.v1.tar+zstd",
            Compression::Gzip => "application/vnd.snapfn.init.layer.v1.tar+gzip",
        };
        let layers = [artifact::descriptor(media_type, &layer.digest.0.into(), layer.size)];
        let annotations = json!({ FILE_ANNOTATION: format!("sha256:{}", self.digest) });
        artifact::put(client, repository, subject, ARTIFACT_TYPE, &layers, &annotations)?;
        Ok(())
    }
}

/// An init data file that has been pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PulledInit {
    /// Digest of the manifest.
    pub digest: Digest,
    /// Digest of the init data file.
    pub init: snapfn_store::Digest,
    /// Bytes of its layer and of the layers that hold code.
    pub size: u64,
    /// Bytes that were fetched.
    pub fetched: u64,
}

impl Repo {
    /// Writes the init data file of the image `from` to `file`, and brings the code segment files and other files that
    /// its snapshot maps into the local store, which keeps them as long as `file` exists. No layer of the snapshot is
    /// fetched. Of the options, those about names do not matter.
    pub fn pull_init(&self, from: &Reference, file: &Path, options: &PullOptions) -> Result<PulledInit, RepoError> {
        check_replaced(file)?;
        let client = self.client(&from.registry)?;
        let (digest, mut image) = self.look(&client, from, options)?;
        let init = image.index.init.take().ok_or(RepoError::NoInit)?;
        let transaction = self.stores.writable()?.begin()?;
        let source = Source { repo: self, client: &client, repository: &from.repository, transaction: &transaction };
        // It comes first: if it is not the right one, nothing else is fetched.
        // It holds memory: only its owner reads it.
        let mut target = NewFile::of(file, 0o600).map_err(io_error("create", file))?;
        let (fetched, moved) = source.init(&init, image.layers.len(), &mut target)?;
        let (Fetched::Whole(transfer) | Fetched::Chunks(transfer, _)) = fetched;
        let needed = check(target.file(), &image, options).inspect_err(|_| {
            // A transfer that cannot be removed does no harm: `gc` removes it.
            let _ = transfer.remove();
        })?;
        // Without the snapshots, no part of them is needed.
        image.index.snapshots.clear();
        let more = source.bring(&image, None, options)?;
        for (kind, digest) in needed {
            self.stores.locate(kind, digest).map_err(|error| RepoError::Incomplete(error.to_string()))?;
        }
        target.complete().map_err(io_error("create", file))?;
        transaction.keep_for(file)?;
        let _ = transfer.remove();
        let size = init.layer_size + needed_size(&image);
        Ok(PulledInit { digest, init: init.digest.0, size, fetched: moved + more })
    }
}

impl Source<'_> {
    /// Fetches the layer of an init data file and writes the file to `target`.
    fn init(&self, init: &InitEntry, index: usize, target: &mut NewFile) -> Result<(Fetched, u64), RepoError> {
        let blob = init.blob();
        let needed = Needed { index, blob: &blob, expected: vec![init.expected()] };
        self.repo.events.event(Event::Layers { count: 1, total: blob.size });
        let local = LocalChunks::default();
        let fetched =
            self.repo.fetch_layer(self.client, self.repository, &blob, &needed.expected, &local, self.transaction);
        let (fetched, moved) = fetched.map_err(|error| match error {
            RepoError::Registry(RegistryError::NotFound { .. }) => RepoError::InitGone,
            error => error,
        })?;
        let mut hasher = Sha256::new();
        self.read(&fetched, &needed, &local, &mut |_, bytes| {
            hasher.update(bytes);
            let written = target.file().write_all(bytes);
            written.map_err(|source| StoreError::Io { what: "write", path: target.target().to_owned(), source })
        })?;
        let (expected, actual) = (init.digest.0, snapfn_store::Digest(hasher.finalize().into()));
        if actual != expected {
            let fault = StoreError::Digest { kind: Kind::Init, expected, actual };
            return Err(spoilt(&fetched, &needed, LayerFault::Sink(fault)));
        }
        self.repo.events.event(Event::Transferred {
            layer: index,
            kind: Some(LayerKind::Init),
            digest: &Digest::from(blob.digest.0),
            size: blob.size,
            moved,
        });
        Ok((fetched, moved))
    }
}

/// Checks that it is an exported init data file of the image's program that needs no other files than the image has.
/// Returns these. `create --init` checks the rest of the file.
fn check(
    file: &File,
    image: &ImageView,
    options: &PullOptions,
) -> Result<Vec<(Kind, snapfn_store::Digest)>, RepoError> {
    let other = |error: SummaryError| RepoError::OtherInit(error.to_string());
    let meta = ExportedMeta::read(file).map_err(other)?;
    let plan = meta.plan().map_err(|error| other(error.into()))?;
    let summary = summarize_exported(file).map_err(other)?;
    let code = program_file(&plan).map(|file| file.digest);
    if code != Some(meta.header().code_digest) {
        return Err(RepoError::OtherInit("its state is of another program".to_owned()));
    }
    let has = |(kind, digest): &(Kind, snapfn_store::Digest)| {
        image.index.files.iter().any(|file| file.kind() == Some(*kind) && file.digest.0 == *digest)
    };
    let missing: Vec<String> = summary
        .files
        .iter()
        .filter(|file| !has(file))
        .map(|(kind, digest)| format!("the image has no {kind}/{digest}"))
        .collect();
    if !missing.is_empty() {
        return Err(RepoError::OtherInit(missing.join(", ")));
    }
    match summary.wx && !options.allow_wx {
        true => Err(RepoError::WritableCode),
        false => Ok(summary.files),
    }
}

/// Refuses to replace a file that no export has written.
fn check_replaced(file: &Path) -> Result<(), RepoError> {
    if fs::symlink_metadata(file).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Ok(());
    }
    let mut start = Vec::new();
    let read = open_file(file).map(|file| file.take(InitHeader::LEN as u64).read_to_end(&mut start));
    match matches!(read, Ok(Ok(_))) && is_exported(&start) {
        true => Ok(()),
        false => Err(RepoError::InTheWay(file.to_path_buf())),
    }
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RepoError {
    let path = path.to_path_buf();
    move |source| RepoError::Io { what, path, source }
}
