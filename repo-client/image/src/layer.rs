//! Writes a layer: a tar stream, compressed so that every chunk of a file can be fetched by itself.
//!
//! ```text
//!  frame    header of the first file
//!  frames   its content, one frame a chunk
//!  frame    padding, header of the next file
//!  …
//!  frame    padding, end of the archive
//!  index and footer (see toc)
//! ```
//! gzip has no index: such layers are for engines that know no zstd.

use crate::ImageError;
use crate::cut::{CHUNK_MAX, Chunks, is_zero};
use crate::plan::stored;
use crate::tar::{self, Kind};
use crate::toc::{self, CHUNK_ZEROS, Entry, TYPE_CHUNK, TYPE_DIRECTORY, TYPE_FILE, TYPE_SYMLINK};
use flate2::GzBuilder;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};
use snapfn_store::Digest;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// Levels are fixed: they decide the digest.
const ZSTD_LEVEL: i32 = 3;
const GZIP_LEVEL: u32 = 6;

/// How layers are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// zstd in independent frames, with an index.
    #[default]
    Zstd,
    /// gzip, for engines that know no zstd.
    Gzip,
}

impl Compression {
    /// Both, by name.
    pub const ALL: [(&'static str, Compression); 2] = [("zstd", Compression::Zstd), ("gzip", Compression::Gzip)];

    /// Media type of a layer.
    pub const fn media_type(self) -> &'static str {
        match self {
            Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
            Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
        }
    }
}

impl FromStr for Compression {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Compression::ALL.into_iter().find(|(name, _)| *name == text);
        found.map(|(_, compression)| compression).ok_or("compression is zstd or gzip")
    }
}

/// The source of the bytes of a file in a layer.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A range of a file.
    File { path: PathBuf, offset: u64 },
    /// Bytes in memory.
    Bytes(Arc<[u8]>),
}

/// An entry of a layer.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Directory { mode: u32 },
    Symlink { target: String },
    File { mode: u32, size: u64, digest: Digest, source: Source },
}

/// What a layer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// The directories and `snaprun`.
    Loader,
    /// Code segment files and other files that snapshots map.
    Files,
    /// A part of a snapshot.
    Part,
    /// Split forms and tags, from which container engines start.
    Split,
    /// A layer of the base image.
    Base,
    /// The exported init data file of the snapshot. It is in an artifact of its own, not in the image.
    Init,
}

impl LayerKind {
    /// For people and for annotations.
    pub const fn name(self) -> &'static str {
        match self {
            LayerKind::Loader => "loader",
            LayerKind::Files => "files",
            LayerKind::Part => "part",
            LayerKind::Split => "split",
            LayerKind::Base => "base",
            LayerKind::Init => "init",
        }
    }
}

/// A layer to be written.
#[derive(Clone, Debug)]
pub struct Layer {
    /// What it is for.
    pub kind: LayerKind,
    /// Whether the writer compares the content of its files with their digests.
    pub(crate) verify: bool,
    pub(crate) entries: Vec<(String, Body)>,
}

/// What has become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenLayer {
    /// SHA-256 of the compressed bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// SHA-256 of the archive.
    pub diff_id: Digest,
    /// Media type.
    pub media_type: &'static str,
    /// Its annotations in the manifest.
    pub annotations: BTreeMap<String, String>,
}

impl Layer {
    /// Bytes of all files in it.
    pub fn content_size(&self) -> u64 {
        let size = |body: &Body| if let Body::File { size, .. } = body { *size } else { 0 };
        self.entries.iter().map(|(_, body)| size(body)).sum()
    }

    /// A layer with one exported init data file, which lies at `path`.
    pub fn init(path: &Path, digest: Digest, size: u64) -> Self {
        let source = Source::File { path: path.to_path_buf(), offset: 0 };
        let entry = (stored(snapfn_store::Kind::Init, digest), Body::File { mode: 0o400, size, digest, source });
        Layer { kind: LayerKind::Init, verify: true, entries: vec![entry] }
    }

    /// Writes it to `out`. `progress` gets the number of bytes after each read.
    pub fn write(
        &self,
        compression: Compression,
        out: &mut dyn Write,
        progress: &mut dyn FnMut(u64),
    ) -> Result<WrittenLayer, ImageError> {
        let mut archive = Archive::new(compression, out).map_err(ImageError::Write)?;
        for (name, body) in &self.entries {
            match body {
                Body::Directory { mode } => archive.plain(name, Kind::Directory, TYPE_DIRECTORY, *mode),
                Body::Symlink { target } => archive.plain(name, Kind::Symlink(target), TYPE_SYMLINK, 0o777),
                Body::File { mode, size, digest, source } => {
                    let mut hasher = self.verify.then(Sha256::new);
                    archive.begin_file(name, *mode, *size, *digest);
                    match source {
                        Source::Bytes(bytes) => {
                            for chunk in bytes.chunks(CHUNK_MAX) {
                                archive.chunk(chunk).map_err(ImageError::Write)?;
                                progress(chunk.len() as u64);
                            }
                        }
                        Source::File { path, offset } => {
                            let file = File::open(path).map_err(|e| ImageError::io("open", path, e))?;
                            let mut chunks = Chunks::new(&file, *offset, *size);
                            while let Some(chunk) = chunks.next().map_err(|e| ImageError::io("read", path, e))? {
                                if let Some(hasher) = &mut hasher {
                                    hasher.update(chunk);
                                }
                                archive.chunk(chunk).map_err(ImageError::Write)?;
                                progress(chunk.len() as u64);
                            }
                            let actual = hasher.map(|hasher| Digest(hasher.finalize().into()));
                            if let Some(actual) = actual.filter(|actual| actual != digest) {
                                return Err(ImageError::Damaged { path: path.clone(), actual });
                            }
                        }
                    }
                    archive.end_file();
                }
            }
        }
        archive.finish().map_err(ImageError::Write)
    }
}

/// Counts and hashes what goes out.
struct Output<'a> {
    out: &'a mut dyn Write,
    hasher: Sha256,
    len: u64,
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write_all(bytes)?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

enum Encoder<'a> {
    Zstd {
        compressor: zstd::bulk::Compressor<'static>,
        frame: Vec<u8>,
        zeros: Option<(usize, Vec<u8>)>,
        out: Output<'a>,
    },
    Gzip(GzEncoder<Output<'a>>),
}

impl Encoder<'_> {
    /// Writes bytes as a frame of their own, if the compression has frames.
    fn frame(&mut self, bytes: &[u8], zero: bool) -> io::Result<()> {
        match self {
            Encoder::Gzip(out) => out.write_all(bytes),
            Encoder::Zstd { compressor, frame, zeros, out } => {
                if let Some((_, known)) = zeros.as_ref().filter(|(len, _)| zero && *len == bytes.len()) {
                    return out.write_all(known);
                }
                frame.clear();
                frame.reserve(zstd::zstd_safe::compress_bound(bytes.len()));
                compressor.compress_to_buffer(bytes, frame)?;
                if zero {
                    *zeros = Some((bytes.len(), frame.clone()));
                }
                out.write_all(frame)
            }
        }
    }

    fn position(&self) -> u64 {
        match self {
            Encoder::Zstd { out, .. } => out.len,
            Encoder::Gzip(out) => out.get_ref().len,
        }
    }
}

/// A tar stream on its way into a blob.
struct Archive<'a> {
    encoder: Encoder<'a>,
    diff_id: Sha256,
    /// Headers and padding that have not been written yet.
    pending: Vec<u8>,
    index: Vec<Entry>,
    /// Index entries of the current file; the first is the file's own.
    current: Vec<Entry>,
    compression: Compression,
}

impl<'a> Archive<'a> {
    fn new(compression: Compression, out: &'a mut dyn Write) -> io::Result<Self> {
        let out = Output { out, hasher: Sha256::new(), len: 0 };
        let encoder = match compression {
            Compression::Zstd => Encoder::Zstd {
                compressor: zstd::bulk::Compressor::new(ZSTD_LEVEL)?,
                frame: Vec::new(),
                zeros: None,
                out,
            },
            // 255 means an unknown system, so that the layer does not depend on this one.
            Compression::Gzip => Encoder::Gzip(
                GzBuilder::new().mtime(0).operating_system(255).write(out, flate2::Compression::new(GZIP_LEVEL)),
            ),
        };
        Ok(Archive {
            encoder,
            diff_id: Sha256::new(),
            pending: Vec::new(),
            index: Vec::new(),
            current: Vec::new(),
            compression,
        })
    }

    fn plain(&mut self, name: &str, kind: Kind<'_>, entry_type: &str, mode: u32) {
        self.pending.extend(tar::header(name, kind, mode, 0));
        let link_name = if let Kind::Symlink(target) = kind { target.to_string() } else { String::new() };
        self.index.push(Entry {
            entry_type: entry_type.into(),
            name: name.into(),
            link_name,
            mode,
            ..Entry::default()
        });
    }

    fn begin_file(&mut self, name: &str, mode: u32, size: u64, digest: Digest) {
        self.pending.extend(tar::header(name, Kind::File, mode, size));
        self.current = vec![Entry {
            entry_type: TYPE_FILE.into(),
            name: name.into(),
            mode,
            size,
            digest: if size > 0 { format!("sha256:{digest}") } else { String::new() },
            ..Entry::default()
        }];
    }

    /// Writes content of the file that was begun last.
    fn chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.flush()?;
        let zero = is_zero(bytes);
        let offset = self.encoder.position();
        self.diff_id.update(bytes);
        self.encoder.frame(bytes, zero)?;
        if self.compression == Compression::Zstd {
            let first = self.current.len() == 1 && self.current[0].chunk_size == 0;
            if !first {
                let (name, last) = (self.current[0].name.clone(), self.current.last());
                let chunk_offset = last.map_or(0, |last| last.chunk_offset + last.chunk_size);
                self.current.push(Entry { entry_type: TYPE_CHUNK.into(), name, chunk_offset, ..Entry::default() });
            }
            if let Some(entry) = self.current.last_mut() {
                entry.offset = offset;
                entry.chunk_size = bytes.len() as u64;
                entry.chunk_digest = format!("sha256:{}", Digest(Sha256::digest(bytes).into()));
                entry.chunk_type = if zero { CHUNK_ZEROS.into() } else { String::new() };
            }
            self.current[0].end_offset = self.encoder.position();
        }
        Ok(())
    }

    fn end_file(&mut self) {
        let size = self.current.first().map_or(0, |entry| entry.size);
        self.pending.resize(self.pending.len() + tar::padding(size) as usize, 0);
        // The entry of a file in one piece has the file's own length and digest.
        if let [only] = &mut self.current[..] {
            (only.chunk_size, only.chunk_digest, only.chunk_type) = (0, String::new(), String::new());
        }
        self.index.append(&mut self.current);
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.pending.is_empty() {
            self.diff_id.update(&self.pending);
            self.encoder.frame(&self.pending, false)?;
            self.pending.clear();
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<WrittenLayer> {
        self.pending.resize(self.pending.len() + 2 * tar::BLOCK as usize, 0);
        self.flush()?;
        let mut annotations = BTreeMap::new();
        let out = match self.encoder {
            Encoder::Gzip(out) => out.finish()?,
            Encoder::Zstd { mut out, .. } => {
                let (tail, found) = toc::tail(self.index, out.len, ZSTD_LEVEL)?;
                annotations = found;
                out.write_all(&tail)?;
                out
            }
        };
        out.out.flush()?;
        Ok(WrittenLayer {
            digest: Digest(out.hasher.finalize().into()),
            size: out.len,
            diff_id: Digest(self.diff_id.finalize().into()),
            media_type: self.compression.media_type(),
            annotations,
        })
    }
}
