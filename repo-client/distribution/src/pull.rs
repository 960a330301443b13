//! From a registry to the local store: `manifest → signature → configuration → host → layers → files`.
//!
//! Several layers at a time are fetched into the store's area for transfers, where the next run finds the bytes of a
//! broken one. A snapshot is joined from its parts in order, while later parts are still on their way. It gets its name
//! and the tag when all its bytes have the digest that the image names.

use crate::chunks::LocalChunks;
use crate::fetch::{self, Fetched};
use crate::jobs::Board;
use crate::platform::{self, MANIFESTS};
use crate::{Event, Present, PublicKey, Repo, RepoError, host, verify_signature};
use sha2::{Digest as _, Sha256};
use snapfn_format::PAGE;
use snapfn_format::snap::peek_header;
use snapfn_image::{
    BlobRef, ExpectedFile, Filler, ImageView, LayerFault, LayerKind, ManifestView, SnapshotEntry, Toc, check_chunk,
    decode_chunk, unpack,
};
use snapfn_registry::{Client, Digest, Reference};
use snapfn_store::{Image, Kind, Ref, StoreError, Transaction, Transfer, summarize};
use std::io::Seek;
use std::panic::resume_unwind;
use std::sync::mpsc;
use std::thread;

/// Number of pieces of a layer that are decompressed in advance. A piece has 1 MiB in a layer that `snaprepo` made, and
/// 4 MiB at most.
const PIECES_AHEAD: usize = 4;

/// How to pull.
#[derive(Clone, Debug, Default)]
pub struct PullOptions {
    /// Name in the local store; otherwise the last part of the repository's path, and the image's tag.
    pub tag: Option<Ref>,
    /// Give it no name in the local store. Only the image's name finds it, see [`snapfn_store::Image`].
    pub untagged: bool,
    /// Pull even if this machine cannot run the snapshot.
    pub force: bool,
    /// Pull even a snapshot with memory that is writable and executable at once.
    pub allow_wx: bool,
    /// Keys of which one must have signed the image, if there are any.
    pub require_signature: Vec<PublicKey>,
    /// Keys of which one must have signed, too, whatever [`require_signature`](Self::require_signature) demands.
    pub also_signed_by: Vec<PublicKey>,
    /// Layers that are fetched at a time.
    pub jobs: usize,
}

/// What has been pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// Its name in the local store.
    pub name: Ref,
    /// The snapshot, the first of its variants.
    pub snapshot: snapfn_store::Digest,
    /// Digest of the manifest.
    pub digest: Digest,
    /// Bytes of all layers that hold snapshots and their files.
    pub size: u64,
    /// Bytes that were fetched.
    pub fetched: u64,
}

impl Repo {
    /// Brings the snapshots in the image `from`, and all files that they need, into the local store.
    pub fn pull(&self, from: &Reference, options: &PullOptions) -> Result<Pulled, RepoError> {
        let name = match &options.tag {
            Some(name) => name.clone(),
            None => local_name(from)?,
        };
        let client = self.client(&from.registry)?;
        let (digest, image) = self.look(&client, from, options)?;
        let transaction = self.stores.writable()?.begin()?;
        let source = Source { repo: self, client: &client, repository: &from.repository, transaction: &transaction };
        let fetched = source.bring(&image, Some(&name), options)?;
        let snapshots: Vec<_> = image.index.snapshots.iter().map(|snapshot| snapshot.digest.0).collect();
        self.check_complete(&transaction, &snapshots, options)?;
        // A tag names only snapshots of its own store.
        match &snapshots[..] {
            _ if options.untagged => (),
            [one] => transaction.set_ref(&name, *one)?,
            many => transaction.set_variants(&name, many)?,
        }
        note(&transaction, from, &snapshots)?;
        Ok(Pulled {
            name,
            snapshot: snapshots.first().copied().unwrap_or_default(),
            digest,
            size: needed_size(&image),
            fetched,
        })
    }

    /// The digest of the manifest that `from` names, and the image: signed as the options demand, and one that this
    /// machine can run.
    pub(crate) fn look(
        &self,
        client: &Client,
        from: &Reference,
        options: &PullOptions,
    ) -> Result<(Digest, ImageView), RepoError> {
        let manifest = client.manifest(&from.repository, &from.target(), &MANIFESTS)?;
        for keys in [&options.require_signature, &options.also_signed_by].into_iter().filter(|keys| !keys.is_empty()) {
            verify_signature(client, &from.repository, &manifest.digest, keys)?;
        }
        // Signature and report concern the manifest that the name leads to. It may be a list, which names the image by
        // digest.
        let digest = manifest.digest;
        let manifest = platform::resolve(client, &from.repository, manifest, platform::bad_list)?;
        let view = ManifestView::parse(&manifest.bytes)?;
        let image = view.image(&self.small_blob(client, &from.repository, &view.config)?)?;
        // If the record lacks this, the snapshot's header has it, and is checked before the snapshot gets a name in the
        // store.
        if !options.allow_wx && image.index.snapshots.iter().any(|snapshot| snapshot.wx) {
            return Err(RepoError::WritableCode);
        }
        let missing = host::missing(&image.index)?;
        if !missing.is_empty() && !options.force {
            return Err(RepoError::Unfit(missing));
        }
        Ok((digest, image))
    }

    /// The files that the image lists may differ from those that its snapshots map. A snapshot gets a tag only if it
    /// can be started.
    fn check_complete(
        &self,
        transaction: &Transaction,
        snapshots: &[snapfn_store::Digest],
        options: &PullOptions,
    ) -> Result<(), RepoError> {
        for digest in snapshots {
            let snapshot = transaction.store().open(Kind::Snap, *digest)?;
            let summary = summarize(&snapshot).map_err(|error| RepoError::Incomplete(error.to_string()))?;
            if summary.wx && !options.allow_wx {
                return Err(RepoError::WritableCode);
            }
            for (kind, digest) in summary.files {
                self.stores.locate(kind, digest).map_err(|error| RepoError::Incomplete(error.to_string()))?;
            }
        }
        Ok(())
    }
}

/// Bytes of the layers that hold snapshots and their files.
pub(crate) fn needed_size(image: &ImageView) -> u64 {
    let needed = (0..image.layers.len()).filter(|layer| !image.index.expected(*layer).is_empty());
    needed.map(|layer| image.layers[layer].size).sum()
}

/// A page with the alignment of records.
#[repr(align(8))]
struct Page([u8; PAGE as usize]);

/// Whether `filler` has a snapshot whose header announces writable and executable memory. The digest finds all other
/// differences.
fn has_wx(filler: &mut Filler, size: u64) -> Result<bool, RepoError> {
    let mut page = Page([0; PAGE as usize]);
    let there = page.0.get_mut(..size.min(PAGE) as usize).unwrap_or_default();
    filler.start(there)?;
    Ok(peek_header(there, size).is_ok_and(|header| header.has_wx()))
}

/// Lets `snaprun` find it by the image's name that the caller gave.
fn note(transaction: &Transaction, from: &Reference, snapshots: &[snapfn_store::Digest]) -> Result<(), RepoError> {
    let image = Image::parse(&from.to_string()).map_err(|_| RepoError::NoName(from.to_string()))?;
    Ok(transaction.set_pulled(&image, snapshots)?)
}

/// The usual name: that of the repository, with the image's tag.
fn local_name(from: &Reference) -> Result<Ref, RepoError> {
    let name = from.repository.rsplit('/').next().unwrap_or_default();
    let tag = from.tag.as_deref().unwrap_or(snapfn_store::DEFAULT_TAG);
    Ref::parse(format!("{name}:{tag}")).map_err(|_| RepoError::NoName(name.to_string()))
}

/// The purpose of a layer that must be fetched.
fn kind_of(image: &ImageView, layer: usize) -> LayerKind {
    match image.index.files.iter().any(|file| file.layer == layer) {
        true => LayerKind::Files,
        false => LayerKind::Part,
    }
}

/// A layer that must be fetched.
pub(crate) struct Needed<'a> {
    pub(crate) index: usize,
    pub(crate) blob: &'a BlobRef,
    pub(crate) expected: Vec<ExpectedFile>,
}

/// Where layers come from.
pub(crate) struct Source<'a> {
    pub(crate) repo: &'a Repo,
    pub(crate) client: &'a Client,
    pub(crate) repository: &'a str,
    pub(crate) transaction: &'a Transaction,
}

impl Source<'_> {
    /// Fetches the missing layers and stores their files. Snapshots of that `name` may have chunks of them. Returns the
    /// number of bytes fetched.
    pub(crate) fn bring(&self, image: &ImageView, name: Option<&Ref>, options: &PullOptions) -> Result<u64, RepoError> {
        let (needed, missing) = self.needed(image)?;
        let total = needed.iter().map(|needed| needed.blob.size).sum();
        self.repo.events.event(Event::Layers { count: needed.len(), total });
        let local = match name.filter(|_| !missing.is_empty()) {
            Some(name) => LocalChunks::of(self.repo, &name.name)?,
            None => LocalChunks::default(),
        };
        let board = Board::new(needed.len());
        let mut fetched = 0;
        let mut done: Vec<Option<Fetched>> = (0..needed.len()).map(|_| None).collect();
        thread::scope(|scope| {
            for _ in 0..options.jobs.clamp(1, needed.len().max(1)) {
                scope.spawn(|| board.work(|at| self.layer(&needed[at], image, &local)));
            }
            let mut wait = |at: usize, done: &mut Vec<Option<Fetched>>| -> Result<(), RepoError> {
                if done[at].is_none() {
                    let (layer, bytes) = board.take(at)?;
                    fetched += bytes;
                    done[at] = Some(layer);
                }
                Ok(())
            };
            let all = || -> Result<(), RepoError> {
                for snapshot in missing {
                    let mut filler = Filler::new(self.transaction.writer(Kind::Snap)?);
                    for part in &snapshot.parts {
                        let Some(at) = needed.iter().position(|needed| needed.index == part.layer) else { continue };
                        wait(at, &mut done)?;
                        if let Some(layer) = &done[at] {
                            self.read(layer, &needed[at], &local, &mut |_, bytes| filler.append(bytes))?;
                        }
                    }
                    if !options.allow_wx && has_wx(&mut filler, snapshot.size)? {
                        return Err(RepoError::WritableCode);
                    }
                    filler.commit_as(snapshot.digest.0).map_err(|error| match error {
                        error @ StoreError::Digest { .. } => {
                            self.blame(snapshot, &needed, &done, &local).unwrap_or(RepoError::Content(error))
                        }
                        error => RepoError::Store(error),
                    })?;
                }
                (0..needed.len()).try_for_each(|at| wait(at, &mut done))
            };
            let result = all();
            board.stop();
            result
        })?;
        // This includes transfers of an earlier run that was killed at its end.
        drop(done);
        for name in image.layers.iter().flat_map(|layer| fetch::transfers(&layer.digest.0.into())) {
            // A transfer that cannot be removed does no harm: `gc` removes it.
            let _ = self.transaction.discard(&name);
        }
        Ok(fetched)
    }

    /// The layers with files that are not in the store, and the snapshots that are not.
    fn needed<'a>(&self, image: &'a ImageView) -> Result<(Vec<Needed<'a>>, Vec<&'a SnapshotEntry>), RepoError> {
        let index = &image.index;
        let store = self.transaction.store();
        let mut missing = Vec::new();
        for snapshot in &index.snapshots {
            let there = store.blob(Kind::Snap, snapshot.digest.0)?.is_some_and(|blob| blob.size == snapshot.size);
            if !there && !missing.iter().any(|known: &&SnapshotEntry| known.digest == snapshot.digest) {
                missing.push(snapshot);
            }
        }
        let mut needed = Vec::new();
        for (layer, blob) in image.layers.iter().enumerate() {
            let expected = index.expected(layer);
            if expected.is_empty() {
                continue;
            }
            let is_part = |snapshot: &&SnapshotEntry| snapshot.parts.iter().any(|part| part.layer == layer);
            let mut wanted = missing.iter().any(is_part);
            for file in index.files.iter().filter(|file| file.layer == layer) {
                let kind = file.kind().unwrap_or(Kind::Data);
                wanted |= store.blob(kind, file.digest.0)?.is_none_or(|blob| blob.size != file.size);
            }
            match wanted {
                true => needed.push(Needed { index: layer, blob, expected }),
                false => self.repo.events.event(Event::Present {
                    layer,
                    kind: Some(kind_of(image, layer)),
                    digest: &Digest::from(blob.digest.0),
                    size: blob.size,
                    how: Present::InStore,
                }),
            }
        }
        Ok((needed, missing))
    }

    /// Fetches one layer and stores its files.
    fn layer(&self, needed: &Needed<'_>, image: &ImageView, local: &LocalChunks) -> Result<(Fetched, u64), RepoError> {
        let (fetched, moved) = self.repo.fetch_layer(
            self.client,
            self.repository,
            needed.blob,
            &needed.expected,
            local,
            self.transaction,
        )?;
        let files: Vec<_> = image.index.files.iter().filter(|file| file.layer == needed.index).collect();
        if !files.is_empty() {
            let mut current: Option<(usize, Filler)> = None;
            let commit = |current: Option<(usize, Filler)>| match current {
                Some((index, filler)) => filler.commit_as(files[index].digest.0).map(drop),
                None => Ok(()),
            };
            self.read(&fetched, needed, local, &mut |index, bytes| {
                if current.as_ref().is_none_or(|(at, _)| *at != index) {
                    commit(current.take())?;
                    let kind = files[index].kind().unwrap_or(Kind::Data);
                    current = Some((index, Filler::new(self.transaction.writer(kind)?)));
                }
                current.as_mut().map_or(Ok(()), |(_, filler)| filler.append(bytes))
            })?;
            commit(current).map_err(|error| spoilt(&fetched, needed, LayerFault::Sink(error)))?;
        }
        self.repo.events.event(Event::Transferred {
            layer: needed.index,
            kind: Some(kind_of(image, needed.index)),
            digest: &Digest::from(needed.blob.digest.0),
            size: needed.blob.size,
            moved,
        });
        Ok((fetched, moved))
    }

    /// Reads the files in a fetched layer, in order. Meanwhile `receive` hashes and writes the decompressed bytes.
    pub(crate) fn read(
        &self,
        fetched: &Fetched,
        needed: &Needed<'_>,
        local: &LocalChunks,
        receive: &mut snapfn_image::Receive<'_>,
    ) -> Result<(), RepoError> {
        let (give, taken) = mpsc::sync_channel(PIECES_AHEAD);
        let result = thread::scope(|scope| {
            let decoder = scope.spawn(move || {
                decode(fetched, needed, local, &mut |file, bytes| {
                    // If the receiver has failed, its error is reported, and the rest of the layer is not needed.
                    give.send((file, bytes.to_vec())).map_err(|_| StoreError::Io {
                        what: "pass on",
                        path: needed.blob.digest.to_string().into(),
                        source: std::io::ErrorKind::BrokenPipe.into(),
                    })
                })
            });
            let received = taken.into_iter().try_for_each(|(file, bytes)| receive(file, &bytes));
            let decoded = decoder.join().unwrap_or_else(|panic| resume_unwind(panic));
            received.map_err(LayerFault::Sink).and(decoded)
        });
        result.map_err(|fault| spoilt(fetched, needed, fault))
    }

    /// The faulty layer if the parts of a snapshot do not make it, if one is. The parts are read once more: in the
    /// ordinary case, the digest of the whole is enough.
    fn blame(
        &self,
        snapshot: &SnapshotEntry,
        needed: &[Needed<'_>],
        done: &[Option<Fetched>],
        local: &LocalChunks,
    ) -> Option<RepoError> {
        snapshot.parts.iter().find_map(|part| {
            let at = needed.iter().position(|needed| needed.index == part.layer)?;
            let (layer, needed) = (done[at].as_ref()?, &needed[at]);
            let mut hasher = Sha256::new();
            let read = self.read(layer, needed, local, &mut |_, bytes| {
                hasher.update(bytes);
                Ok(())
            });
            let actual = snapfn_store::Digest(hasher.finalize().into());
            let right = actual == part.digest.0;
            let fault = || StoreError::Digest { kind: Kind::Data, expected: part.digest.0, actual };
            read.err().or_else(|| (!right).then(|| spoilt(layer, needed, LayerFault::Sink(fault()))))
        })
    }
}

/// The fetched layer cannot be used: it is removed, so that the next run fetches it anew.
pub(crate) fn spoilt(fetched: &Fetched, needed: &Needed<'_>, fault: LayerFault) -> RepoError {
    let fault = match fault {
        // The content differs from the digest in the image; the store is not at fault.
        LayerFault::Sink(StoreError::Digest { kind, expected, .. }) => {
            LayerFault::Content(format!("the content of {kind}/{expected} in it is another"))
        }
        LayerFault::Sink(error) => return RepoError::Store(error),
        other => other,
    };
    let (Fetched::Whole(transfer) | Fetched::Chunks(transfer, _)) = fetched;
    let _ = transfer.remove();
    RepoError::Image(fault.in_layer(Digest::from(needed.blob.digest.0)))
}

/// Decompresses a fetched layer, from the transfer and from local chunks.
fn decode(
    fetched: &Fetched,
    needed: &Needed<'_>,
    local: &LocalChunks,
    receive: &mut snapfn_image::Receive<'_>,
) -> Result<(), LayerFault> {
    match fetched {
        Fetched::Whole(transfer) => {
            let mut file = transfer.file();
            file.rewind().map_err(LayerFault::Read)?;
            unpack(file, &needed.expected, receive)
        }
        Fetched::Chunks(transfer, toc) => read_chunks(transfer, toc, local, receive),
    }
}

/// Reads files from their chunks, fetched or local, and compares each with its digest.
fn read_chunks(
    transfer: &Transfer,
    toc: &Toc,
    local: &LocalChunks,
    receive: &mut snapfn_image::Receive<'_>,
) -> Result<(), LayerFault> {
    for (index, file) in toc.files.iter().enumerate() {
        for chunk in &file.chunks {
            let zeros = || usize::try_from(chunk.len).ok().map(|len| vec![0; len]);
            let here = match chunk.zeros {
                true => zeros(),
                false => local.read(chunk.digest),
            };
            let bytes = match here {
                Some(bytes) => check_chunk(&bytes, chunk).map(|()| bytes)?,
                None => decode_chunk(&fetch::frame(transfer.file(), chunk).unwrap_or_default(), chunk)?,
            };
            receive(index, &bytes)?;
        }
    }
    Ok(())
}
