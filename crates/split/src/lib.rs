//! Splits any x86-64 ELF program or library into its code segment file and its init data file.
//!
//! ```text
//!  fn ──parse──▶ Image ──plan──▶ holes (writable bytes of the file) ──▶ fn.code   the ELF without them
//!                        └─────▶ segments, non-zero runs            ──▶ fn.init   what they contain
//!                                          │
//!                  check: both are parsed again and must give the input's memory back, byte for byte
//! ```
//!
//! The same input always gives the same two files. FORMAT.md describes them. [`export`] turns a snapshot into an
//! init data file with heap pages; [`deserialize`] turns such a file back into a snapshot.

mod check;
mod code;
mod elf;
mod error;
mod export;
mod marks;
mod output;
mod runs;

pub use code::{CodeFile, Piece};
pub use error::SplitError;
pub use export::{ExportError, deserialize, export, export_snapshot, is_exported, snapshot_len};
pub use output::{code_path, init_path, remove_output, split_output};

use elf::Image;
use snapfn_format::Digest;
use snapfn_format::init::{self, InitHeader, InitSource, Segment};
use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use zerocopy::little_endian::{U32, U64};

/// Largest file that is split, in bytes: both files are made in memory.
const MAX_FILE: u64 = 16 << 30;

/// What one ELF file is split into.
#[derive(Debug)]
pub struct Split<'a> {
    /// The code segment file.
    pub code: CodeFile<'a>,
    /// The init data file.
    pub init: Vec<u8>,
    /// SHA-256 of the input.
    pub exe_digest: Digest,
    /// SHA-256 of the code segment file.
    pub code_digest: Digest,
}

/// Splits the ELF file with these contents.
pub fn split_elf(bytes: &[u8]) -> Result<Split<'_>, SplitError> {
    split(Cow::Borrowed(bytes))
}

/// Splits the file at `path`, and reads it once.
pub fn split_file(path: &Path) -> Result<Split<'static>, SplitError> {
    // The type is checked before the file is opened: to open a FIFO would wait, and to open a device may have any
    // effect.
    let metadata = path.metadata().map_err(|error| SplitError::io("cannot read", path, error))?;
    if !metadata.is_file() {
        return Err(SplitError::NotRegular(path.to_owned()));
    }
    let file = File::open(path).map_err(|error| SplitError::io("cannot read", path, error))?;
    split_open(&file, path)
}

/// Splits a file that was opened from `path`. It reads no more bytes than the file's size. The kernel's own files have
/// size 0, and reading one may wait for ever or consume what other processes wait for.
pub fn split_open(file: &File, path: &Path) -> Result<Split<'static>, SplitError> {
    let failed = |error| SplitError::io("cannot read", path, error);
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(SplitError::NotRegular(path.to_owned()));
    }
    if metadata.len() > MAX_FILE {
        return Err(SplitError::TooLarge(metadata.len()));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    file.take(metadata.len()).read_to_end(&mut bytes).map_err(failed)?;
    split(Cow::Owned(bytes))
}

fn split(bytes: Cow<'_, [u8]>) -> Result<Split<'_>, SplitError> {
    let image = Image::parse(&bytes)?;
    let code = CodeFile::new(Cow::Borrowed(&bytes), image.holes());
    let (exe_digest, code_digest) = code.digests();
    let init = encode(&image, exe_digest, code_digest)?;
    check::check(&bytes, &code, &init)?;
    let holes = code.into_holes();
    Ok(Split { code: CodeFile::new(bytes, holes), init, exe_digest, code_digest })
}

fn encode(image: &Image<'_>, exe_digest: Digest, code_digest: Digest) -> Result<Vec<u8>, SplitError> {
    let data: Vec<(u64, &[u8])> = image.loads.iter().map(|load| (load.vaddr, image.data(load))).collect();
    let mut runs = Vec::new();
    let mut segments = Vec::with_capacity(image.loads.len());
    for (load, mine) in image.loads.iter().zip(runs::find(&data, init::MAX_RUNS as usize)) {
        let (kind, offset) = (
            if load.writable() { init::KIND_DATA } else { init::KIND_CODE },
            if load.filesz == 0 { 0 } else { load.offset },
        );
        segments.push(Segment {
            vaddr: U64::new(load.vaddr),
            memsz: U64::new(load.memsz),
            filesz: U64::new(load.filesz),
            offset: U64::new(offset),
            align: U64::new(load.align),
            prot: U32::new(load.prot),
            kind: U32::new(kind),
            // A count above u32 is above MAX_RUNS too, which the writer refuses.
            run_count: U32::new(u32::try_from(mine.len()).unwrap_or(u32::MAX)),
            ..Segment::default()
        });
        runs.extend(mine);
    }
    let size = U64::new(image.bytes.len() as u64);
    let header = InitHeader { exe_digest, code_digest, exe_size: size, code_size: size, ..image.header };
    Ok(init::encode(&InitSource { header, segments, runs, heap: Vec::new(), interp: image.interp, state: None })?)
}
