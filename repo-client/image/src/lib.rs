//! Snapshots as OCI images, without a network.
//!
//! ```text
//!  plan      what lies in a store → layers: loader, code segment files, parts of snapshots, split forms
//!  cut       content-defined cutting into chunks and parts
//!  split     the split form: a snapshot file whose operations name the parts as files of their own
//!  layer     a layer's bytes: tar in zstd frames (the zstd:chunked layout) or gzip
//!  toc       the index of a layer's chunks
//!  document  configuration and manifest, written and validated
//!  unpack    from layers and chunks back to files; the input is not trusted
//! ```
//! The same input gives the same bytes, down to the digest of the manifest.

mod cut;
mod document;
mod error;
mod layer;
mod plan;
mod split;
mod tar;
mod toc;
mod unpack;

pub use cut::{CHUNK_MAX, CHUNK_MIN, Chunks, Part, parts};
pub use document::{
    Base, BlobRef, CONFIG_MAX, CONFIG_TYPE, DOCKER_TYPES, Document, FileEntry, Hex, INDEX_LABEL, ImageView, Index,
    InitEntry, LIST_TYPE, MANIFEST_TYPE, ManifestView, PartEntry, SnapshotEntry, documents,
};
pub use error::{ImageError, LayerFault};
pub use layer::{Compression, Layer, LayerKind, WrittenLayer};
pub use plan::{ImagePlan, Input, MAX_LAYERS, STORE, plan};
pub use split::split_form;
pub use tar::ExpectedFile;
pub use toc::{CHECKSUM_ANNOTATION, Chunk, POSITION_ANNOTATION, Toc, TocFile, TocPosition};
pub use unpack::{Filler, Receive, check_chunk, decode_chunk, unpack};
