//! Fetches blobs from a registry into the store's area for transfers: whole, or only the missing chunks.

use crate::chunks::LocalChunks;
use crate::{Repo, RepoError};
use sha2::{Digest as _, Sha256};
use snapfn_image::{BlobRef, Chunk, ExpectedFile, Toc, decode_chunk};
use snapfn_registry::{Client, Digest, RangeAnswer};
use snapfn_store::{Transaction, Transfer};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;

const BUFFER: usize = 1 << 20;
/// Chunks that lie closer than this in a blob are fetched together.
const GAP: u64 = 32 << 10;
/// A layer is fetched in pieces if the store has at least this percentage of it.
const WORTH_PERCENT: u64 = 20;

/// A layer that has been fetched.
pub(crate) enum Fetched {
    /// All of it, compared with its digest.
    Whole(Transfer),
    /// The frames of the chunks that are not in the local store, each at its place.
    Chunks(Transfer, Toc),
}

/// Names of the transfers of a layer: as a whole, and in pieces.
pub(crate) fn transfers(layer: &Digest) -> [String; 2] {
    [layer.hex(), format!("{}.chunks", layer.hex())]
}

impl Repo {
    /// Fetches a blob into memory, and compares it with its digest.
    pub(crate) fn small_blob(&self, client: &Client, repository: &str, blob: &BlobRef) -> Result<Vec<u8>, RepoError> {
        let digest = Digest::from(blob.digest.0);
        let mut bytes = Vec::new();
        let mut reader = client.blob(repository, &digest, blob.size, 0)?;
        reader.read_to_end(&mut bytes).map_err(|source| network(&digest, source))?;
        match Digest::of(&bytes) == digest {
            true => Ok(bytes),
            false => Err(RepoError::Digest { what: "configuration", digest: digest.to_string() }),
        }
    }

    /// Fetches a whole blob, or the missing rest of it. Returns it with the number of bytes that were fetched.
    pub(crate) fn fetch_whole(
        &self,
        client: &Client,
        repository: &str,
        blob: &BlobRef,
        transaction: &Transaction,
    ) -> Result<(Transfer, u64), RepoError> {
        let digest = Digest::from(blob.digest.0);
        let [name, _] = transfers(&digest);
        let transfer = transaction.transfer(&name)?;
        if transfer.len()? > blob.size {
            transfer.clear()?;
        }
        let io = |what| {
            let path = transfer.path().to_path_buf();
            move |source| RepoError::Io { what, path, source }
        };
        // Bytes of an earlier run are checked like bytes that arrive now.
        let mut hasher = Sha256::new();
        let mut at = 0;
        let mut buffer = vec![0; BUFFER];
        let have = transfer.len()?;
        while at < have {
            let got = transfer.file().read_at(&mut buffer, at).map_err(io("read"))?;
            if got == 0 {
                break;
            }
            hasher.update(&buffer[..got]);
            at += got as u64;
        }
        let from = at;
        if at < blob.size {
            let mut reader = client.blob(repository, &digest, blob.size, at)?;
            loop {
                let got = reader.read(&mut buffer).map_err(|source| network(&digest, source))?;
                if got == 0 {
                    break;
                }
                hasher.update(&buffer[..got]);
                transfer.file().write_all_at(&buffer[..got], at).map_err(io("write"))?;
                at += got as u64;
            }
        }
        if at == blob.size && Digest::from(<[u8; 32]>::from(hasher.finalize())) == digest {
            return Ok((transfer, at - from));
        }
        transfer.remove()?;
        Err(RepoError::Digest { what: "layer", digest: digest.to_string() })
    }

    /// Fetches a layer that holds `expected`: in pieces if the local store has enough of it, else whole.
    pub(crate) fn fetch_layer(
        &self,
        client: &Client,
        repository: &str,
        blob: &BlobRef,
        expected: &[ExpectedFile],
        local: &LocalChunks,
        transaction: &Transaction,
    ) -> Result<(Fetched, u64), RepoError> {
        let mut fetched = 0;
        // A transfer that an earlier run has begun as a whole goes on as a whole.
        let [whole, _] = transfers(&Digest::from(blob.digest.0));
        let begun = fs::metadata(transaction.transfer_path(&whole)?).is_ok_and(|about| about.len() > 0);
        if !local.is_empty()
            && !begun
            && let Some(toc) = self.toc(client, repository, blob, expected, &mut fetched)?
        {
            let missing: Vec<&Chunk> =
                toc.files.iter().flat_map(|file| &file.chunks).filter(|chunk| wanted(chunk, local)).collect();
            let bytes: u64 = missing.iter().map(|chunk| chunk.blob_len).sum();
            let worth = bytes * 100 <= blob.size * (100 - WORTH_PERCENT);
            if worth && let Some(transfer) = fetch_chunks(client, repository, blob, missing, transaction, &mut fetched)?
            {
                return Ok((Fetched::Chunks(transfer, toc), fetched));
            }
        }
        let (transfer, whole) = self.fetch_whole(client, repository, blob, transaction)?;
        Ok((Fetched::Whole(transfer), fetched + whole))
    }

    /// The index of a layer, if it can be used: it has exactly the expected files, and the registry supports ranges.
    fn toc(
        &self,
        client: &Client,
        repository: &str,
        blob: &BlobRef,
        expected: &[ExpectedFile],
        fetched: &mut u64,
    ) -> Result<Option<Toc>, RepoError> {
        let Some(position) = blob.toc() else { return Ok(None) };
        let digest = Digest::from(blob.digest.0);
        let range = position.offset..position.offset + position.len;
        let RangeAnswer::Part(mut reader) = client.blob_range(repository, &digest, blob.size, range)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map_err(|source| network(&digest, source))?;
        *fetched += bytes.len() as u64;
        let toc = Toc::parse(&bytes, &position).map_err(|fault| fault.in_layer(digest))?;
        let same = toc.files.len() == expected.len()
            && toc
                .files
                .iter()
                .zip(expected)
                .all(|(file, expected)| file.name == expected.name && file.size == expected.size);
        Ok(same.then_some(toc))
    }
}

/// Whether a chunk must be fetched.
fn wanted(chunk: &Chunk, local: &LocalChunks) -> bool {
    !chunk.zeros && !local.has(chunk.digest, chunk.len)
}

/// The frame of a chunk in a transfer.
pub(crate) fn frame(file: &File, chunk: &Chunk) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(chunk.blob_len).ok()?];
    file.read_exact_at(&mut bytes, chunk.blob_offset).ok()?;
    Some(bytes)
}

/// Fetches the frames of `missing`, in ascending order, each to its place in the transfer; `None` if the registry
/// ignores ranges.
fn fetch_chunks(
    client: &Client,
    repository: &str,
    blob: &BlobRef,
    missing: Vec<&Chunk>,
    transaction: &Transaction,
    fetched: &mut u64,
) -> Result<Option<Transfer>, RepoError> {
    let digest = Digest::from(blob.digest.0);
    let [_, name] = transfers(&digest);
    let transfer = transaction.transfer(&name)?;
    let resumed = !transfer.is_empty()?;
    // A frame that an earlier run has brought counts if it decodes to its digest.
    let there = |chunk: &&Chunk| {
        resumed && frame(transfer.file(), chunk).is_some_and(|frame| decode_chunk(&frame, chunk).is_ok())
    };
    let mut ranges: Vec<std::ops::Range<u64>> = Vec::new();
    for chunk in missing.into_iter().filter(|chunk| !there(chunk)) {
        let end = chunk.blob_offset + chunk.blob_len;
        match ranges.last_mut().filter(|range| range.end + GAP >= chunk.blob_offset) {
            Some(range) => range.end = end,
            None => ranges.push(chunk.blob_offset..end),
        }
    }
    let mut buffer = vec![0; BUFFER];
    for range in ranges {
        let mut at = range.start;
        let RangeAnswer::Part(mut reader) = client.blob_range(repository, &digest, blob.size, range)? else {
            transfer.remove()?;
            return Ok(None);
        };
        loop {
            let got = reader.read(&mut buffer).map_err(|source| network(&digest, source))?;
            if got == 0 {
                break;
            }
            transfer.file().write_all_at(&buffer[..got], at).map_err(|source| RepoError::Io {
                what: "write",
                path: transfer.path().to_path_buf(),
                source,
            })?;
            at += got as u64;
            *fetched += got as u64;
        }
    }
    Ok(Some(transfer))
}

/// Unwraps the client's error, which comes as that of a reader.
fn network(digest: &Digest, source: std::io::Error) -> RepoError {
    match source.downcast::<snapfn_registry::RegistryError>() {
        Ok(error) => RepoError::Registry(error),
        Err(source) => RepoError::Io { what: "receive", path: digest.to_string().into(), source },
    }
}
