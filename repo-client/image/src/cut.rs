//! Content-defined cutting: the contents of a file's pages decide where it is divided, not their places. So two
//! versions that differ in a few pages share most of their pieces.
//!
//! ```text
//!  pages   ….m…….m.m………m……        m: a page whose hash ends in zero bits (a mark) may begin a piece
//!  chunks  |----|-------|-----      64 KiB … 1 MiB: what is compressed, checked and fetched by itself
//!  parts   |------------|-----      whole chunks, 1 MiB … 64 MiB: what becomes a layer
//! ```
//! A mark is a property of one page. So the cuts are the same again right behind a place where pages were changed,
//! inserted or removed. A page of zeros is never a mark: a hole is not cut into pieces.

use crate::ImageError;
use sha2::{Digest as _, Sha256};
use snapfn_store::{Digest, hash_file};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread;

const PAGE: usize = snapfn_format::PAGE as usize;
/// No chunk but a file's last is shorter.
pub const CHUNK_MIN: usize = 64 << 10;
/// No chunk is longer.
pub const CHUNK_MAX: usize = 1 << 20;
/// Zero bits of a mark that may begin a chunk: one page in 64.
const CHUNK_BITS: u32 = 6;
/// No part but a snapshot's last is shorter.
const PART_MIN: u64 = 1 << 20;
/// No part is longer, unless there would be too many.
const PART_MAX: u64 = 64 << 20;

/// The hash of a page (or of the rest of one, at the end of a file). It has four lanes, since each multiplication waits
/// for the one before.
fn page_hash(page: &[u8]) -> u64 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut lanes = [0x51, 0x52, 0x53, 0x54u64];
    let (words, rest) = page.as_chunks::<32>();
    for word in words {
        let (quarters, _) = word.as_chunks::<8>();
        for (lane, quarter) in lanes.iter_mut().zip(quarters) {
            *lane = (*lane ^ u64::from_le_bytes(*quarter)).wrapping_mul(K).rotate_left(29);
        }
    }
    let mut hash = rest.iter().fold(page.len() as u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(K));
    for lane in lanes {
        hash = (hash ^ lane).wrapping_mul(K);
        hash ^= hash >> 32;
    }
    hash
}

fn is_mark(hash: u64, bits: u32) -> bool {
    hash.trailing_zeros() >= bits
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<64>();
    words.iter().all(|word| *word == [0; 64]) && rest.iter().all(|byte| *byte == 0)
}

/// Length of the chunk that begins `bytes`, which reach to the end of the file or are at least [`CHUNK_MAX`].
fn chunk_len(bytes: &[u8]) -> usize {
    let bytes = &bytes[..bytes.len().min(CHUNK_MAX)];
    let mut at = CHUNK_MIN;
    while let Some(page) = bytes.get(at..bytes.len().min(at + PAGE)).filter(|page| !page.is_empty()) {
        if is_mark(page_hash(page), CHUNK_BITS) {
            return at;
        }
        at += PAGE;
    }
    bytes.len()
}

/// Bytes that are read from the file at a time: several chunks.
const READ: usize = 4 * CHUNK_MAX;

/// Reads a range of a file chunk by chunk.
#[derive(Debug)]
pub struct Chunks<'a> {
    file: &'a File,
    /// Next byte to be read from the file.
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    /// The part of `buffer` that has been read and not yet been returned.
    left: Range<usize>,
}

impl<'a> Chunks<'a> {
    /// Chunks of `len` bytes at `offset`.
    pub fn new(file: &'a File, offset: u64, len: u64) -> Self {
        let buffer = vec![0; len.min(READ as u64) as usize];
        Chunks { file, at: offset, end: offset.saturating_add(len), buffer, left: 0..0 }
    }

    /// The next chunk; `None` at the end.
    #[allow(clippy::should_implement_trait)] // lends its buffer
    pub fn next(&mut self) -> io::Result<Option<&[u8]>> {
        if self.left.len() < CHUNK_MAX && self.at < self.end {
            self.buffer.copy_within(self.left.clone(), 0);
            self.left = 0..self.left.len();
            let room = &mut self.buffer[self.left.end..];
            let want = (self.end - self.at).min(room.len() as u64) as usize;
            self.file.read_exact_at(&mut room[..want], self.at)?;
            self.at += want as u64;
            self.left.end += want;
        }
        let start = self.left.start;
        self.left.start += chunk_len(&self.buffer[self.left.clone()]);
        Ok((self.left.start > start).then_some(&self.buffer[start..self.left.start]))
    }
}

/// A piece of a snapshot file that becomes a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its offset in the file; a multiple of the page size.
    pub offset: u64,
    /// Its length; a multiple of the page size for all but the last.
    pub len: u64,
    /// SHA-256 of its bytes.
    pub digest: Digest,
}

/// The length of parts, so that at most `count` result from `size` bytes. It is a power of two, so that a file that
/// grows a little is cut at the same places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PartLimits {
    min: u64,
    max: u64,
    /// On average, a part is half as long again as the shortest.
    bits: u32,
}

impl PartLimits {
    fn new(size: u64, count: usize) -> Self {
        let min = size.div_ceil(count.max(1) as u64).next_power_of_two().max(PART_MIN);
        let max = PART_MAX.max(min.saturating_mul(2));
        let bits = (min / 2 / PAGE as u64).trailing_zeros();
        PartLimits { min, max, bits }
    }
}

/// Cuts a file of `size` bytes into at most `count` parts, and returns its digest with them. `progress` gets the
/// number of bytes after each read.
pub fn parts(
    file: &File,
    path: &Path,
    size: u64,
    count: usize,
    progress: &mut dyn FnMut(u64),
) -> Result<(Vec<Part>, Digest), ImageError> {
    // Hashing is most of the work, so one processor hashes the whole and another the parts.
    thread::scope(|scope| {
        let whole = scope.spawn(|| hash_file(file, &mut |_| ()));
        let parts = parts_alone(file, size, PartLimits::new(size, count), progress);
        let whole = whole.join().unwrap_or_else(|panic| resume_unwind(panic));
        Ok((parts?, whole?))
    })
    .map_err(|e| ImageError::io("read", path, e))
}

fn parts_alone(file: &File, size: u64, limits: PartLimits, progress: &mut dyn FnMut(u64)) -> io::Result<Vec<Part>> {
    let mut chunks = Chunks::new(file, 0, size);
    let mut current = Sha256::new();
    let (mut offset, mut len) = (0, 0u64);
    let mut parts = Vec::new();
    while let Some(chunk) = chunks.next()? {
        let first = page_hash(&chunk[..chunk.len().min(PAGE)]);
        let wanted = len >= limits.min && is_mark(first, limits.bits);
        if len > 0 && (wanted || len + chunk.len() as u64 > limits.max) {
            parts.push(Part { offset, len, digest: Digest(std::mem::take(&mut current).finalize().into()) });
            (offset, len) = (offset + len, 0);
        }
        current.update(chunk);
        len += chunk.len() as u64;
        progress(chunk.len() as u64);
    }
    if len > 0 {
        parts.push(Part { offset, len, digest: Digest(current.finalize().into()) });
    }
    Ok(parts)
}
