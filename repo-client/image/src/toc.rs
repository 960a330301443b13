//! The index of a layer in the zstd:chunked layout. It maps bytes of the blob to chunks of files.
//!
//! ```text
//!  frames of the tar stream
//!  0x184d2a50, length, the index: JSON in a zstd frame           ← manifest-position names what follows the length
//!  0x184d2a50, 64, offset, length, length of the JSON, type 1, 24 zero bytes, "GNUlInUx"
//! ```
//! Decoders of zstd skip both as skippable frames.

use crate::cut::CHUNK_MAX;
use crate::error::LayerFault;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use snapfn_store::Digest;
use std::collections::BTreeMap;

/// Annotation of a layer: SHA-256 of the compressed index.
pub const CHECKSUM_ANNOTATION: &str = "io.github.containers.zstd-chunked.manifest-checksum";
/// Annotation of a layer: `offset:length:uncompressed length:1` of the index.
pub const POSITION_ANNOTATION: &str = "io.github.containers.zstd-chunked.manifest-position";

const SKIPPABLE: [u8; 4] = [0x50, 0x2a, 0x4d, 0x18];
const MAGIC: &[u8; 8] = b"GNUlInUx";
const TYPE: u64 = 1;
/// Most bytes of an index, compressed or not. In memory, an entry has ten times its least size in JSON. The index of a
/// part of 64 MiB has some hundred entries.
const INDEX_MAX: u64 = 4 << 20;
/// Most bytes of a chunk that a reader accepts, since it holds a chunk in memory.
const CHUNK_LIMIT: u64 = 4 * CHUNK_MAX as u64;

/// The JSON document.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Document {
    pub(crate) version: u32,
    pub(crate) entries: Vec<Entry>,
}

/// One entry of the index: a file, with its first chunk if it has several, or a further chunk. Type and name are always
/// there.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    #[serde(rename = "type")]
    pub(crate) entry_type: String,
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) link_name: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) mode: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) digest: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) offset: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) end_offset: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) chunk_size: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) chunk_offset: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) chunk_digest: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) chunk_type: String,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

pub(crate) const TYPE_FILE: &str = "reg";
pub(crate) const TYPE_CHUNK: &str = "chunk";
pub(crate) const TYPE_DIRECTORY: &str = "dir";
pub(crate) const TYPE_SYMLINK: &str = "symlink";
pub(crate) const CHUNK_ZEROS: &str = "zeros";

/// The end of a layer: the index and its footer, with the annotations that name it. It begins at `offset`.
pub(crate) fn tail(
    entries: Vec<Entry>,
    offset: u64,
    level: i32,
) -> std::io::Result<(Vec<u8>, BTreeMap<String, String>)> {
    let json = serde_json::to_vec(&Document { version: 1, entries })?;
    let index = zstd::bulk::compress(&json, level)?;
    let at = offset + 8;
    let mut out = Vec::with_capacity(index.len() + 80);
    skippable(&mut out, &index);
    let mut footer = [0u8; 64];
    for (field, value) in
        footer.as_chunks_mut::<8>().0.iter_mut().zip([at, index.len() as u64, json.len() as u64, TYPE])
    {
        *field = value.to_le_bytes();
    }
    footer[56..].copy_from_slice(MAGIC);
    skippable(&mut out, &footer);
    let digest = Digest(Sha256::digest(&index).into());
    let annotations = BTreeMap::from([
        (CHECKSUM_ANNOTATION.to_string(), format!("sha256:{digest}")),
        (POSITION_ANNOTATION.to_string(), format!("{at}:{}:{}:{TYPE}", index.len(), json.len())),
    ]);
    Ok((out, annotations))
}

fn skippable(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&SKIPPABLE);
    // Both are far below 4 GiB: the index of a layer has an entry of a few hundred bytes for each chunk.
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Position of the index of a layer, from its annotations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TocPosition {
    /// First byte of the compressed index in the blob.
    pub offset: u64,
    /// Its length.
    pub len: u64,
    /// Length of the JSON document in it.
    pub json_len: u64,
    /// SHA-256 of the compressed index.
    pub digest: Digest,
}

impl TocPosition {
    /// Parses a layer's annotations; `None` if it has no index, or one that cannot lie in `size` bytes.
    pub fn from_annotations<'a>(get: impl Fn(&str) -> Option<&'a str>, size: u64) -> Option<Self> {
        let digest = Digest::from_hex(get(CHECKSUM_ANNOTATION)?.strip_prefix("sha256:")?.as_bytes())?;
        let numbers: Vec<u64> = get(POSITION_ANNOTATION)?.split(':').map(|n| n.parse().ok()).collect::<Option<_>>()?;
        let [offset, len, json_len, TYPE] = numbers[..] else { return None };
        let fits = len <= INDEX_MAX && json_len <= INDEX_MAX && offset.checked_add(len)? <= size;
        fits.then_some(TocPosition { offset, len, json_len, digest })
    }
}

/// A chunk of a file in a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its offset in the file.
    pub offset: u64,
    /// Its length in the file.
    pub len: u64,
    /// First byte of its frame in the blob.
    pub blob_offset: u64,
    /// Length of the frame.
    pub blob_len: u64,
    /// SHA-256 of its bytes in the file.
    pub digest: Digest,
    /// Whether it is all zeros, so that it need not be fetched.
    pub zeros: bool,
}

/// A file in a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TocFile {
    /// Its name in the archive.
    pub name: String,
    /// Its length.
    pub size: u64,
    /// Its chunks, which cover it from the first to the last byte.
    pub chunks: Vec<Chunk>,
}

/// The index of a layer that holds only regular files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toc {
    /// The files, in the order of the archive.
    pub files: Vec<TocFile>,
}

impl Toc {
    /// Parses the compressed index that lies at `position`. The function checks its digest, that every chunk lies in
    /// the blob before the index, in ascending order, and that the chunks of a file cover it.
    pub fn parse(compressed: &[u8], position: &TocPosition) -> Result<Self, LayerFault> {
        if Digest(Sha256::digest(compressed).into()) != position.digest {
            return Err(LayerFault::content("the digest of its index is not the one in the manifest"));
        }
        let json_len = usize::try_from(position.json_len.min(INDEX_MAX)).unwrap_or_default();
        let json = zstd::bulk::decompress(compressed, json_len)?;
        let document: Document =
            serde_json::from_slice(&json).map_err(|e| LayerFault::content(format!("its index is malformed: {e}")))?;
        if document.version != 1 {
            return Err(LayerFault::content(format!("its index has version {}, which is not known", document.version)));
        }
        Self::from_entries(&document.entries, position.offset)
    }

    fn from_entries(entries: &[Entry], blob_end: u64) -> Result<Self, LayerFault> {
        let mut files: Vec<TocFile> = Vec::new();
        let mut at = 0;
        let mut rest = entries;
        while let Some((first, after)) = rest.split_first() {
            if first.entry_type != TYPE_FILE {
                return Err(LayerFault::content(format!("its index holds an entry of type {:?}", first.entry_type)));
            }
            let count = after.iter().take_while(|entry| entry.entry_type == TYPE_CHUNK).count();
            let (more, next) = after.split_at(count);
            rest = next;
            let file = file(first, more, &mut at)?;
            files.push(file);
        }
        match at <= blob_end {
            true => Ok(Toc { files }),
            false => Err(LayerFault::content("a chunk lies outside of the layer")),
        }
    }
}

/// One file; `at` is the end of the frames before it.
fn file(first: &Entry, more: &[Entry], at: &mut u64) -> Result<TocFile, LayerFault> {
    let bad = |why| LayerFault::content(format!("its index: {}: {why}", first.name.escape_debug()));
    let mut chunks = Vec::with_capacity(more.len() + 1);
    let mut offset = 0u64;
    let all = std::iter::once(first).chain(more);
    for (index, entry) in all.enumerate() {
        // The entry of a file in one piece has only the file's length and digest.
        let (len, digest) = match more.is_empty() {
            true => (first.size, &first.digest),
            false => (entry.chunk_size, &entry.chunk_digest),
        };
        if len == 0 && first.size == 0 {
            break;
        }
        let blob_end = more.get(index).map_or(first.end_offset, |next| next.offset);
        let digest = digest.strip_prefix("sha256:").and_then(|hex| Digest::from_hex(hex.as_bytes()));
        let digest = digest.ok_or_else(|| bad("a chunk without a SHA-256"))?;
        let ordered = entry.offset >= *at && blob_end > entry.offset && entry.chunk_offset == offset;
        if !ordered || len == 0 || len > CHUNK_LIMIT || entry.name != first.name {
            return Err(bad("its chunks are out of order or of the wrong size"));
        }
        let blob_len = blob_end - entry.offset;
        if blob_len > 2 * CHUNK_LIMIT {
            return Err(bad("a frame is larger than its chunk"));
        }
        let zeros = entry.chunk_type == CHUNK_ZEROS;
        chunks.push(Chunk { offset, len, blob_offset: entry.offset, blob_len, digest, zeros });
        offset += len;
        *at = blob_end;
    }
    match offset == first.size {
        true => Ok(TocFile { name: first.name.clone(), size: first.size, chunks }),
        false => Err(bad("its chunks do not cover it")),
    }
}
