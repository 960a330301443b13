//! Code segment files and other read-only files, put into the store as they are needed.

use crate::tracee::boot::{ElfFiles, ElfSource};
use crate::tracee::{TraceError, symbols};
use snapfn_format::Digest;
use snapfn_format::init::{Init, InitHeader, SegmentKind};
use snapfn_format::snap::{FILE_CODE, FILE_DATA};
use snapfn_split::{Piece, Split, split_open};
use snapfn_store::{Kind, StoreError, Stored, Stores, Transaction, open_file};
use std::collections::HashMap;
use std::fs::Metadata;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Larger files that are not ELF are not copied: the pages that the program has mapped go into the snapshot.
const DATA_FILE_MAX: u64 = 256 << 20;

/// A file of the store that replaces one of the host.
#[derive(Clone, Debug)]
pub(crate) struct StoredFile {
    pub(crate) digest: Digest,
    /// `FILE_CODE` or `FILE_DATA`.
    pub(crate) kind: u16,
    pub(crate) size: u64,
    /// In the store.
    pub(crate) path: PathBuf,
    /// On the host, as the program named it.
    pub(crate) original: PathBuf,
    /// Bytes of the original that the code segment file lacks: no program's read-only segment needs them.
    pub(crate) holes: Vec<Range<u64>>,
    /// Pages of its read-only segments, relative to the first page of the loaded image.
    pub(crate) code: Vec<Range<u64>>,
    /// Bytes from the first page of the loaded image to its end; 0 when it is no ELF.
    pub(crate) span: u64,
}

/// Splits and stores files, each once.
#[derive(Debug)]
pub(crate) struct ElfStore {
    transaction: Transaction,
    /// By original path; `None`: the file cannot be stored, its pages go into the snapshot.
    by_path: HashMap<PathBuf, Option<StoredFile>>,
    /// From the path in the store back to the original.
    originals: HashMap<PathBuf, PathBuf>,
}

fn read_error(path: &Path, error: impl std::fmt::Display) -> TraceError {
    TraceError::Split(format!("{}: {error}", path.display()))
}

impl ElfStore {
    pub(crate) fn new(transaction: Transaction) -> Self {
        ElfStore { transaction, by_path: HashMap::new(), originals: HashMap::new() }
    }

    /// The stored file that replaces the file mapped as `path` with that inode. `None`: there is none.
    pub(crate) fn lookup(&mut self, path: &Path, inode: u64) -> Option<StoredFile> {
        if let Some(original) = self.originals.get(path) {
            return self.by_path.get(original).cloned().flatten();
        }
        if !self.by_path.contains_key(path) {
            let stored = self.store(path, inode);
            if let Some(stored) = &stored {
                self.originals.insert(stored.path.clone(), path.to_owned());
            }
            self.by_path.insert(path.to_owned(), stored);
        }
        self.by_path.get(path).cloned().flatten()
    }

    fn store(&self, path: &Path, inode: u64) -> Option<StoredFile> {
        let file = open_file(path).ok()?;
        let metadata = file.metadata().ok().filter(|m| m.ino() == inode)?;
        let mut magic = [0; 4];
        file.read_exact_at(&mut magic, 0).ok()?;
        if magic == *b"\x7fELF" {
            let split = split_open(&file, path).ok()?;
            return self.put_code(path, &split).ok();
        }
        if metadata.len() > DATA_FILE_MAX {
            return None;
        }
        let stored = self.transaction.put_file(Kind::Data, path).ok()?;
        Some(StoredFile {
            digest: stored.digest,
            kind: FILE_DATA,
            size: stored.size,
            path: stored.path,
            original: path.to_owned(),
            holes: Vec::new(),
            code: Vec::new(),
            span: 0,
        })
    }

    fn put_code(&self, original: &Path, split: &Split<'_>) -> Result<StoredFile, TraceError> {
        let about = original.metadata().map_err(|error| read_error(original, error))?;
        let stored = match self.transaction.reuse(Kind::Code, split.code_digest, &about) {
            Ok(Some(blob)) => (blob.path.clone(), split.code.len()),
            _ => {
                let stored = self.write_code(split, &about).map_err(|error| read_error(original, error))?;
                (stored.path, stored.size)
            }
        };
        Ok(StoredFile {
            digest: split.code_digest,
            kind: FILE_CODE,
            size: stored.1,
            path: stored.0,
            original: original.to_owned(),
            holes: split.code.holes().to_vec(),
            code: code_ranges(&split.init),
            span: InitHeader::read(&split.init).map_or(0, span),
        })
    }

    /// Holes stay holes.
    fn write_code(&self, split: &Split<'_>, original: &Metadata) -> Result<Stored, StoreError> {
        let mut writer = self.transaction.writer_of(Kind::Code, original)?;
        for piece in split.code.pieces() {
            match piece {
                Piece::Bytes(bytes) => writer.append(bytes)?,
                Piece::Hole(len) => writer.skip(len)?,
            }
        }
        writer.commit()
    }

    /// Splits an ELF file. Files beside it under the names that snapcc uses are not read: any user may have put them
    /// there, and only the same split could check them.
    fn split(&self, elf: &Path) -> Result<ElfFiles, TraceError> {
        let file = open_file(elf).map_err(|error| read_error(elf, error))?;
        let split = split_open(&file, elf).map_err(|error| read_error(elf, error))?;
        let parsed = Init::parse(&split.init).map_err(|error| read_error(elf, error))?;
        let code = self.put_code(elf, &split)?;
        let about = elf.metadata().map_err(|error| read_error(elf, error))?;
        let init = self.transaction.put_bytes_of(Kind::Init, &split.init, &about);
        let init = init.map_err(|error| read_error(elf, error))?;
        Ok(ElfFiles { init: init.path, code: code.path, header: *parsed.header(), interp: interp_of(&parsed) })
    }
}

fn span(header: &InitHeader) -> u64 {
    header.image_end.get() - header.image_start.get()
}

fn code_ranges(init: &[u8]) -> Vec<Range<u64>> {
    let Ok(init) = Init::parse(init) else { return Vec::new() };
    let start = init.header().image_start.get();
    let code = init.segments().iter().filter(|segment| segment.kind() == SegmentKind::Code);
    code.map(|segment| segment.page_start() - start..segment.page_end() - start).collect()
}

fn interp_of(init: &Init<'_>) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    init.interp().map(|path| PathBuf::from(std::ffi::OsStr::from_bytes(path.to_bytes())))
}

/// Bytes that an ELF's segments span in memory; 0 when it is none.
fn span_of_file(path: &Path) -> u64 {
    let Ok(bytes) = symbols::read_elf(path) else { return 0 };
    let Ok(elf) = goblin::elf::Elf::parse(&bytes) else { return 0 };
    let loads = || elf.program_headers.iter().filter(|ph| ph.p_type == goblin::elf::program_header::PT_LOAD);
    let start = loads().map(|ph| ph.p_vaddr & !4095).min().unwrap_or(0);
    let end = loads().map(|ph| ph.p_vaddr.saturating_add(ph.p_memsz)).max().unwrap_or(0);
    end.saturating_sub(start).next_multiple_of(4096)
}

impl ElfSource for ElfStore {
    fn know(&mut self, kind: u16, digest: Digest, size: u64, original: &Path) -> Result<(), TraceError> {
        let dir = match kind {
            FILE_CODE => Kind::Code,
            FILE_DATA => Kind::Data,
            _ => return Ok(()),
        };
        let path = Stores::from_env()
            .find(dir, digest)
            .ok_or_else(|| read_error(original, format!("{} is not in the store", dir.dir())))?;
        let span = span_of_file(&path);
        let original = original.to_owned();
        self.originals.insert(path.clone(), original.clone());
        let stored = StoredFile {
            digest,
            kind,
            size,
            path,
            original: original.clone(),
            holes: Vec::new(),
            code: Vec::new(),
            span,
        };
        self.by_path.insert(original, Some(stored));
        Ok(())
    }

    fn files(&mut self, elf: &Path) -> Result<ElfFiles, TraceError> {
        let files = self.split(elf)?;
        let stored = StoredFile {
            digest: files.header.code_digest,
            kind: FILE_CODE,
            size: files.header.code_size.get(),
            path: files.code.clone(),
            original: elf.to_owned(),
            // Mapped from the code segment file itself, holes and all.
            holes: Vec::new(),
            code: Vec::new(),
            span: span(&files.header),
        };
        self.originals.insert(files.code.clone(), elf.to_owned());
        // A file that an earlier snapshot maps stays as it is, even where the host has another by now.
        self.by_path.entry(elf.to_owned()).or_insert(Some(stored));
        Ok(files)
    }
}
