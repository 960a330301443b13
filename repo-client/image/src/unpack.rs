//! From layers and chunks back to files. The input is not trusted: a file that is not exactly the expected one is
//! refused, and memory is bounded for any input.

use crate::cut::is_zero;
use crate::error::LayerFault;
use crate::tar::{self, BLOCK, ExpectedFile};
use crate::toc::Chunk;
use sha2::{Digest as _, Sha256};
use snapfn_store::{BlobWriter, Digest, StoreError, Stored};
use std::io::{BufRead, BufReader, Read};

/// Memory that a zstd stream may request: 2 to the power of this number of bytes. Streams of this crate need a fraction
/// of it, and those of other writers at ordinary levels all of it.
const WINDOW_LOG: u32 = 23;
/// Bytes handed on at once.
const BUFFER: usize = 256 << 10;

/// Receives content as it arrives: the index of its file, and some of its bytes.
pub type Receive<'a> = dyn FnMut(usize, &[u8]) -> Result<(), StoreError> + 'a;

/// Reads a layer from its first byte to the end of its archive. The files must be exactly `expected`. `receive` gets
/// the content with the index of its file. Bytes behind the end of the archive are ignored.
pub fn unpack(layer: impl Read, expected: &[ExpectedFile], receive: &mut Receive<'_>) -> Result<(), LayerFault> {
    let mut layer = BufReader::with_capacity(BUFFER, layer);
    let start = layer.fill_buf()?;
    let mut stream: Box<dyn Read + '_> = match start {
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(layer)?;
            decoder.window_log_max(WINDOW_LOG)?;
            Box::new(decoder)
        }
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(layer)),
        _ => Box::new(layer),
    };
    let mut block = [0u8; BLOCK as usize];
    let mut buffer = vec![0u8; BUFFER];
    for (index, file) in expected.iter().enumerate() {
        exact(&mut stream, &mut block)?;
        tar::check(&block, file)?;
        let mut left = file.size;
        while left > 0 {
            let want = left.min(BUFFER as u64) as usize;
            exact(&mut stream, &mut buffer[..want])?;
            receive(index, &buffer[..want])?;
            left -= want as u64;
        }
        exact(&mut stream, &mut block[..tar::padding(file.size) as usize])?;
    }
    for _ in 0..2 {
        exact(&mut stream, &mut block)?;
        if !is_zero(&block) {
            return Err(LayerFault::content("it holds more than it should"));
        }
    }
    Ok(())
}

fn exact(stream: &mut dyn Read, bytes: &mut [u8]) -> Result<(), LayerFault> {
    match stream.read_exact(bytes) {
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Err(LayerFault::content("it is cut short")),
        other => other.map_err(LayerFault::Read),
    }
}

/// The content of a chunk from its frame, compared with its digest.
pub fn decode_chunk(frame: &[u8], chunk: &Chunk) -> Result<Vec<u8>, LayerFault> {
    let len = usize::try_from(chunk.len).map_err(LayerFault::content)?;
    let bytes = zstd::bulk::decompress(frame, len)?;
    check_chunk(&bytes, chunk)?;
    Ok(bytes)
}

/// Whether `bytes` are the content of a chunk.
pub fn check_chunk(bytes: &[u8], chunk: &Chunk) -> Result<(), LayerFault> {
    match bytes.len() as u64 == chunk.len && Digest(Sha256::digest(bytes).into()) == chunk.digest {
        true => Ok(()),
        false => {
            Err(LayerFault::content(format!("the chunk at byte {} is not what its index says", chunk.blob_offset)))
        }
    }
}

/// A block that lies at a multiple of its size in the file is written at once, or left out if it is zero: the page
/// cache then keeps it in large folios.
const FILL_BLOCK: usize = 2 << 20;

/// Fills a file of the store from its first to its last byte.
#[derive(Debug)]
pub struct Filler {
    writer: BlobWriter,
    /// Bytes that are not written yet. They begin at a multiple of [`FILL_BLOCK`] in the file.
    pending: Vec<u8>,
}

impl Filler {
    /// Fills a new file.
    pub fn new(writer: BlobWriter) -> Self {
        Filler { writer, pending: Vec::with_capacity(FILL_BLOCK) }
    }

    /// Appends `bytes`.
    pub fn append(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(FILL_BLOCK - self.pending.len()));
            self.pending.extend_from_slice(now);
            bytes = rest;
            if self.pending.len() == FILL_BLOCK {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        match is_zero(&self.pending) {
            true => self.writer.skip(self.pending.len() as u64)?,
            false => self.writer.append(&self.pending)?,
        }
        self.pending.clear();
        Ok(())
    }

    /// Reads the beginning of the file. No bytes may be appended afterwards.
    pub fn start(&mut self, bytes: &mut [u8]) -> Result<(), StoreError> {
        self.flush()?;
        self.writer.read_at(bytes, 0)
    }

    /// Gives the file its name, if its digest is `expected`.
    pub fn commit_as(mut self, expected: Digest) -> Result<Stored, StoreError> {
        self.flush()?;
        self.writer.commit_as(expected)
    }
}
