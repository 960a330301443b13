//! From snapshots in a store to the layers of an image.
//!
//! ```text
//!  0      loader   the directories, /usr/bin/snaprun
//!  1…     files    code segment files: libc, ld.so and the largest alone, so that images share them; the rest together
//!  …      part     one a part of a snapshot
//!  last   split    the split form of every snapshot, and its tag
//! ```

use crate::ImageError;
use crate::cut::{self, Part};
use crate::document::{FileEntry, Index, PartEntry, SnapshotEntry};
use crate::layer::{Body, Layer, LayerKind, Source};
use crate::split::split_form;
use snapfn_format::snap::{FILE_CODE, FILE_DATA};
use snapfn_store::{Digest, Kind, Ref, SnapshotMeta, Stores, TagLinks};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Root of the store in an image.
pub const STORE: &str = "/var/lib/snapfn";
/// Most layers of an image. Container engines accept about twice as many, and a base has layers, too.
pub const MAX_LAYERS: usize = 64;
/// A file of at least this size in bytes may get a layer of its own, up to [`ALONE_MAX`] files.
const ALONE_MIN: u64 = 1 << 20;
/// Most files with a layer of their own.
const ALONE_MAX: usize = 12;

/// A snapshot that goes into an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Its name in the image.
    pub reference: Ref,
    /// The snapshot.
    pub digest: Digest,
}

/// What an image consists of.
#[derive(Clone, Debug)]
pub struct ImagePlan {
    /// The layers, in order.
    pub layers: Vec<Layer>,
    /// What is in them.
    pub index: Index,
}

/// A file that snapshots map, and the path that the program saw.
struct Needed {
    kind: Kind,
    digest: Digest,
    size: u64,
    path: PathBuf,
    /// Whether every program of its kind maps it: libc and ld.so.
    common: bool,
}

/// Plans an image that holds `snapshots`, found in `stores`. Reads all of every snapshot. `loader` is a `snaprun`.
/// `progress` gets the number of bytes after each read.
pub fn plan(
    stores: &Stores,
    snapshots: &[Input],
    loader: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<ImagePlan, ImageError> {
    let mut metas = Vec::new();
    let mut needed = BTreeMap::new();
    for input in snapshots {
        let (store, blob) = stores.locate(Kind::Snap, input.digest)?;
        let fail = |source| ImageError::Snapshot { digest: input.digest, source };
        let file = store.open(Kind::Snap, input.digest)?;
        let meta = SnapshotMeta::read(&file).map_err(fail)?;
        files_of(&meta, stores, &mut needed).map_err(|error| match error {
            Found::Format(source) => fail(source.into()),
            Found::Image(error) => error,
        })?;
        metas.push((input, blob.path, file, meta));
    }
    let mut layers = vec![loader_layer(loader)?];
    let mut index =
        Index { version: Index::VERSION, arch: "x86_64".into(), page_size: snapfn_format::PAGE, ..Index::default() };
    for group in group(needed.into_values().collect()) {
        index.files.extend(group.iter().map(|file| FileEntry {
            layer: layers.len(),
            kind: file.kind.dir().to_string(),
            digest: file.digest.into(),
            size: file.size,
        }));
        layers.push(files_layer(group));
    }
    // The remaining layers, without that of the split forms.
    let total: u64 = metas.iter().map(|(.., meta)| meta.size()).sum();
    let left = (MAX_LAYERS - 1).saturating_sub(layers.len() + metas.len());
    let mut known: BTreeMap<Digest, usize> = BTreeMap::new();
    let mut split = Vec::new();
    for (input, path, file, meta) in &metas {
        if layers.len() + 1 >= MAX_LAYERS {
            return Err(ImageError::TooLarge { reference: input.reference.clone(), what: "too many layers" });
        }
        let share = (left as u128 * u128::from(meta.size()) / u128::from(total.max(1))) as usize;
        let (parts, actual) = cut::parts(file, path, meta.size(), share + 1, progress)?;
        if actual != input.digest {
            return Err(ImageError::Damaged { path: path.clone(), actual });
        }
        let mut entries = Vec::with_capacity(parts.len());
        for part in &parts {
            let layer = *known.entry(part.digest).or_insert_with(|| {
                layers.push(part_layer(path, part));
                layers.len() - 1
            });
            entries.push(PartEntry { layer, digest: part.digest.into(), size: part.len });
        }
        let source = |source| ImageError::Split { digest: input.digest, source };
        let plan = meta.plan().map_err(source)?;
        split.push((input.reference.clone(), split_form(&plan, input.digest, &parts)?));
        index.snapshots.push(SnapshotEntry {
            name: input.reference.name.to_string(),
            tag: input.reference.tag.to_string(),
            digest: input.digest.into(),
            size: meta.size(),
            program: program(&plan),
            created: plan.header.process.created,
            xstate: plan.live_state(),
            wx: plan.header.has_wx(),
            needs: plan.needs.map_or_else(String::new, hex),
            parts: entries,
        });
    }
    layers.push(split_layer(split)?);
    index.layers = layers.len();
    Ok(ImagePlan { layers, index })
}

enum Found {
    Format(snapfn_format::FormatError),
    Image(ImageError),
}

/// Adds the files of the store that a snapshot maps.
fn files_of(meta: &SnapshotMeta, stores: &Stores, needed: &mut BTreeMap<(Kind, Digest), Needed>) -> Result<(), Found> {
    let plan = meta.plan().map_err(Found::Format)?;
    for file in plan.files {
        let kind = match file.kind {
            FILE_CODE => Kind::Code,
            FILE_DATA => Kind::Data,
            _ => continue,
        };
        if needed.contains_key(&(kind, file.digest)) {
            continue;
        }
        let (_, blob) = stores.locate(kind, file.digest).map_err(|error| Found::Image(error.into()))?;
        let name = plan.bytes(file.path);
        let name = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let common =
            [&b"ld-"[..], b"ld.so", b"libc.so", b"libc-", b"libc.musl"].iter().any(|start| name.starts_with(start));
        needed.insert(
            (kind, file.digest),
            Needed { kind, digest: file.digest, size: blob.size, path: blob.path, common },
        );
    }
    Ok(())
}

/// Divides files among layers: files that other images are likely to have, and the largest, get a layer each; the rest
/// share one.
fn group(mut files: Vec<Needed>) -> Vec<Vec<Needed>> {
    files.sort_by_key(|file| (!file.common, std::cmp::Reverse(file.size), file.kind, file.digest));
    let mut groups: Vec<Vec<Needed>> = Vec::new();
    let mut rest = Vec::new();
    for file in files {
        match (file.common || file.size >= ALONE_MIN) && groups.len() < ALONE_MAX {
            true => groups.push(vec![file]),
            false => rest.push(file),
        }
    }
    rest.sort_by_key(|file| (file.kind, file.digest));
    groups.extend((!rest.is_empty()).then_some(rest));
    groups
}

/// Path of a file of the store in an archive.
pub(crate) fn stored(kind: Kind, digest: Digest) -> String {
    format!("{}/{}/{digest}", &STORE[1..], kind.dir())
}

fn loader_layer(path: &Path) -> Result<Layer, ImageError> {
    let bytes = std::fs::read(path).map_err(|e| ImageError::io("read", path, e))?;
    check_loader(&bytes).map_err(|why| ImageError::Loader { path: path.to_path_buf(), why })?;
    let store = &STORE[1..];
    let directory = |name: &str, mode| (name.to_string(), Body::Directory { mode });
    let mut entries: Vec<_> = ["usr", "usr/bin", "var", "var/lib"].map(|name| directory(name, 0o755)).into();
    entries.push(directory(store, 0o555));
    for name in ["code", "data", "refs", "snap"] {
        entries.push(directory(&format!("{store}/{name}"), 0o555));
    }
    entries.push(bytes_entry("usr/bin/snaprun".to_string(), 0o555, bytes));
    Ok(Layer { kind: LayerKind::Loader, verify: false, entries })
}

/// Checks that it is a static program for this machine.
fn check_loader(bytes: &[u8]) -> Result<(), &'static str> {
    const INTERPRETER: u32 = 3;
    let u16_at = |at: usize| bytes.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    let u32_at = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    if !bytes.starts_with(b"\x7fELF\x02\x01") || u16_at(18) != Some(snapfn_format::ARCH_X86_64) {
        return Err("it is not a program for x86-64");
    }
    let (Some(headers), Some(count)) = (u32_at(32), u16_at(56)) else { return Err("it is cut short") };
    let dynamic = (0..usize::from(count)).any(|index| u32_at(headers as usize + index * 56) == Some(INTERPRETER));
    if dynamic { Err("it is not static") } else { Ok(()) }
}

fn bytes_entry(name: String, mode: u32, bytes: Vec<u8>) -> (String, Body) {
    use sha2::Digest as _;
    let digest = Digest(sha2::Sha256::digest(&bytes).into());
    let size = bytes.len() as u64;
    (name, Body::File { mode, size, digest, source: Source::Bytes(bytes.into()) })
}

fn file_entry(kind: Kind, digest: Digest, path: &Path, offset: u64, size: u64) -> (String, Body) {
    let source = Source::File { path: path.to_path_buf(), offset };
    (stored(kind, digest), Body::File { mode: 0o444, size, digest, source })
}

fn files_layer(files: Vec<Needed>) -> Layer {
    let entries = files.iter().map(|file| file_entry(file.kind, file.digest, &file.path, 0, file.size)).collect();
    Layer { kind: LayerKind::Files, verify: true, entries }
}

fn part_layer(path: &Path, part: &Part) -> Layer {
    let entries = vec![file_entry(Kind::Data, part.digest, path, part.offset, part.len)];
    Layer { kind: LayerKind::Part, verify: false, entries }
}

/// The split forms with their tags, sorted by tag. Forms of one tag are its variants.
fn split_layer(mut forms: Vec<(Ref, Vec<u8>)>) -> Result<Layer, ImageError> {
    // Keeps the order of variants.
    forms.sort_by(|a, b| a.0.cmp(&b.0));
    let store = &STORE[1..];
    let mut entries: Vec<(String, Body)> = Vec::new();
    let mut add = |entry: (String, Body)| {
        if !entries.iter().any(|(name, _)| *name == entry.0) {
            entries.push(entry);
        }
    };
    for variants in forms.chunk_by(|a, b| a.0 == b.0) {
        let mut digests = Vec::new();
        for (_, bytes) in variants {
            let (_, body) = bytes_entry(String::new(), 0o444, bytes.clone());
            let Body::File { digest, .. } = &body else { continue };
            digests.push(*digest);
            add((stored(Kind::Snap, *digest), body));
        }
        let links = TagLinks::new(&digests)?;
        let directory = |name: String| (name, Body::Directory { mode: 0o555 });
        let link = |(name, target): (String, String)| (format!("{store}/{name}"), Body::Symlink { target });
        if let Some((first, _)) = links.set.first() {
            let set = first.rsplit_once('/').map_or("", |(set, _)| set);
            add(directory(format!("{store}/sets")));
            add(directory(format!("{store}/{set}")));
            links.set.iter().cloned().for_each(|entry| add(link(entry)));
        }
        let Some((Ref { name, tag }, _)) = variants.first() else { continue };
        add(directory(format!("{store}/refs/{name}")));
        add(link((format!("refs/{name}/{tag}"), links.tag)));
    }
    Ok(Layer { kind: LayerKind::Split, verify: false, entries })
}

/// Path of the program.
fn program(plan: &snapfn_format::snap::Plan<'_>) -> String {
    let exe = plan.bytes(plan.header.process.exe);
    String::from_utf8_lossy(exe.strip_suffix(&[0]).unwrap_or(exe)).into_owned()
}

fn hex(needs: &snapfn_format::snap::HostNeeds) -> String {
    zerocopy::IntoBytes::as_bytes(needs).iter().map(|byte| format!("{byte:02x}")).collect()
}
