//! `create --init FILE`: a snapshot of an exported init data file. The program does not run.
//!
//! ```text
//!  parse   header, tables, state of the file
//!  refuse  what this host lacks, all at once; another program than the exported one; files that are not to be had
//!  write   memory from runs and heap runs, the vDSO's page of this host; read again as a start does
//! ```
//! `create` then prepares one instance of it, as of every snapshot.

use super::create;
use super::result::Made;
use crate::commands::pair::{Pair, Part, parts, path};
use crate::dump::verify;
use crate::{tracee, vdso};
use anyhow::{Context, Result, anyhow, bail};
use snapfn_format::PAGE;
use snapfn_format::init::{Exported, Init, InitHeader};
use snapfn_format::requirements::state;
use snapfn_format::snap::Plan;
use snapfn_host::requirements::{check, this_host};
use snapfn_split::{Piece, deserialize, split_file};
use snapfn_store::{BlobWriter, Kind, StoreError, Stored, Stores, Transaction, open_file};
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use zerocopy::IntoBytes;

/// Largest file that is read, in bytes: it is read into memory.
const MAX_FILE: u64 = 16 << 30;

/// An exported file with the alignment that its reader needs.
pub(super) struct InitFile {
    path: PathBuf,
    words: Vec<u64>,
    len: usize,
}

impl InitFile {
    /// Reads the file at `path` after its header has been checked.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let show = || path.display().to_string();
        let file = open_file(path)?;
        let size = file.metadata().with_context(show)?.len();
        let mut start = Vec::new();
        (&file).take(InitHeader::LEN as u64).read_to_end(&mut start).with_context(show)?;
        let header = InitHeader::read(&start).with_context(show)?;
        if !header.is_exported() {
            bail!("{}: not exported from a snapshot; make such a file with snapshotter export NAME --init", show());
        }
        if header.file_len.get() != size || size > MAX_FILE {
            bail!("{}: {size} bytes are not what its header says, or too many", show());
        }
        let len = size as usize;
        let mut words = vec![0u64; len.div_ceil(8)];
        file.read_exact_at(&mut words.as_mut_bytes()[..len], 0).with_context(show)?;
        Ok(InitFile { path: path.to_owned(), words, len })
    }

    /// Its contents, validated.
    pub(super) fn parse(&self) -> Result<Exported<'_>> {
        let parsed = Init::parse(&self.words.as_bytes()[..self.len]).and_then(Exported::parse);
        parsed.with_context(|| self.path.display().to_string())
    }
}

/// The path of the program that was exported.
pub(super) fn program(plan: &Plan<'_>) -> PathBuf {
    path(plan, plan.header.process.exe)
}

/// Makes the snapshot, which has no name yet.
pub(super) fn make(
    file: &InitFile,
    words: &[OsString],
    allow_wx: bool,
    deadline: tracee::Deadline,
    transaction: &Transaction,
) -> Result<Made> {
    let exported = file.parse()?;
    let plan = exported.plan();
    let show = file.path.display();
    let lacking = lacking(&plan);
    if !lacking.is_empty() {
        bail!("{show}: this host cannot start a snapshot of it:\n{}", lacking.join("\n"));
    }
    if plan.header.has_wx() && !allow_wx {
        bail!("{show}: it has memory that is writable and executable at once; --allow-wx accepts that");
    }
    check_program(words, &exported)?;
    let stores = Stores::from_env();
    provide(&file.path, &plan, &stores, transaction)?;
    let mut writer = transaction.writer(Kind::Snap)?;
    write(&exported, &mut writer)?;
    verify(&writer, |kind, digest| match stores.locate(kind, digest) {
        Ok((_, blob)) => Ok(Some(blob.size)),
        Err(StoreError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    })?;
    let proof = create::prove_file(writer.path(), plan.header.has_wx(), deadline)?;
    Ok(Made::deserialized(writer, &plan, proof))
}

/// What this host lacks, by name.
fn lacking(plan: &Plan<'_>) -> Vec<String> {
    let host = this_host();
    let needs = plan.needs.map(|needs| check(needs, &host)).unwrap_or_default();
    needs.into_iter().chain(state(plan.live_state(), host.xcr0)).map(|misfit| misfit.to_string()).collect()
}

/// The command line may name the program: then it must be the exported one.
fn check_program(words: &[OsString], exported: &Exported<'_>) -> Result<()> {
    let Some((path, arguments)) = words.split_first() else { return Ok(()) };
    if !arguments.is_empty() {
        bail!("the arguments are those of the export; give others to snaprun");
    }
    let path = Path::new(path);
    if split_file(path)?.exe_digest != exported.init().header().exe_digest {
        bail!("{}: not the program that was exported ({})", path.display(), program(&exported.plan()).display());
    }
    Ok(())
}

fn write(exported: &Exported<'_>, writer: &mut BlobWriter) -> Result<()> {
    let page = vdso::page();
    let page: &[u8; PAGE as usize] = page[..].try_into().context("the page of the vDSO")?;
    deserialize(exported, page, |piece| match piece {
        Piece::Bytes(bytes) => writer.append(bytes),
        Piece::Hole(len) => writer.skip(len),
    })?;
    Ok(())
}

/// Brings the files that the snapshot maps into the store: from the export, or from this host where it has the same.
fn provide(init: &Path, plan: &Plan<'_>, stores: &Stores, transaction: &Transaction) -> Result<()> {
    let pair = Pair::of(init);
    let mut missing = Vec::new();
    for part in parts(plan) {
        if stores.locate(part.kind, part.digest).is_ok_and(|(_, blob)| blob.size == part.size) {
            continue;
        }
        let beside = pair.iter().flat_map(|pair| [pair.code.clone(), pair.files.join(part.digest.to_string())]);
        let is_there = beside.into_iter().any(|path| take(&path, &part, transaction).is_ok())
            || take_installed(&part, transaction).unwrap_or(false);
        if !is_there {
            missing.push(format!("{} ({}/{})", part.path.display(), part.kind.dir(), part.digest));
        }
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(anyhow!(
            "{}: these files are neither in the store nor beside it, and this host has others; copy the .code file and \
             the .files directory of the export, or pull them with snaprepo:\n{}",
            init.display(),
            missing.join("\n")
        )),
    }
}

/// Stores a file if it is the wanted one.
fn take(path: &Path, part: &Part, transaction: &Transaction) -> Result<Stored> {
    let file = open_file(path)?;
    let about = file.metadata()?;
    if about.len() != part.size {
        bail!("another file");
    }
    let mut writer = transaction.writer_of(part.kind, &about)?;
    append(&file, &mut writer)?;
    Ok(writer.commit_as(part.digest)?)
}

fn append(mut file: &File, writer: &mut BlobWriter) -> Result<()> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            // A code segment file is mostly bytes; its hole is a page or a few.
            count => writer.append(&buffer[..count])?,
        }
    }
}

/// Stores the file that this host has under the recorded path, if it is the wanted one.
fn take_installed(part: &Part, transaction: &Transaction) -> Result<bool> {
    if part.kind != Kind::Code {
        return Ok(take(&part.path, part, transaction).is_ok());
    }
    let split = split_file(&part.path)?;
    if split.code_digest != part.digest {
        return Ok(false);
    }
    let mut writer = transaction.writer_of(Kind::Code, &part.path.metadata()?)?;
    for piece in split.code.pieces() {
        match piece {
            Piece::Bytes(bytes) => writer.append(bytes)?,
            Piece::Hole(len) => writer.skip(len)?,
        }
    }
    writer.commit_as(part.digest)?;
    Ok(true)
}
