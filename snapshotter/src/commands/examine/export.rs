//! `export`: writes the memory of a snapshot as an init data file, and beside it the files that it maps.
//!
//! ```text
//!  fn.init          data, bss, heap pages, state
//!  fn.code          the program's code segment file
//!  fn.files/<…>     what else it maps: libraries; under their digests. A static program has none
//! ```
//! `create --init` makes a snapshot of them, on this host or on another.

use super::source::{ExamineError, Snapshot, print, print_json};
use super::text::printable;
use crate::commands::pair::{Pair, Part, parts};
use snapfn_format::init::{Init, InitHeader};
use snapfn_split::{export_snapshot, is_exported};
use snapfn_store::{Digest, Kind, NewFile, Stores, hash_file, open_file};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// NAME, NAME:TAG or a file (./…, /…, *.snap)
    #[arg(value_name = "NAME|FILE")]
    name: OsString,
    /// Where to write the init data file, a name that ends in .init; the program's code segment file gets the same name
    /// with .code, and the directory of the libraries' files with .files
    #[arg(long, value_name = "FILE")]
    init: PathBuf,
    /// Let all users read the init data file (0644 instead of 0600): it holds the program's memory
    #[arg(long)]
    share: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), ExamineError> {
    let failed = |why: String| ExamineError::Failed(format!("{}: {why}", printable(&args.name.to_string_lossy())));
    let pair = Pair::of(&args.init).ok_or_else(|| failed("--init takes a name that ends in .init".into()))?;
    let stores = Stores::from_env();
    let snapshot = Snapshot::open(&stores, &args.name)?;
    if snapshot.variants.len() > 1 {
        return Err(failed(format!("it has {} variants; name the file of one", snapshot.variants.len())));
    }
    let plan = snapshot.plan()?;
    let init = export_snapshot(&plan, stores.open_all(Kind::Init), |buffer, at| snapshot.read_exact_at(buffer, at))
        .map_err(|error| failed(format!("cannot be exported: {error}")))?;
    let parsed = Init::parse(&init).map_err(|error| failed(error.to_string()))?;
    let parts = parts(&plan);
    let code = parsed.header().code_digest;
    check_replaced(&pair, code)?;
    for part in &parts {
        let from = stores.locate(part.kind, part.digest);
        let (_, from) = from.map_err(|source| ExamineError::Store { name: part.path.clone().into(), source })?;
        let to = if part.digest == code { pair.code.clone() } else { pair.files.join(part.digest.to_string()) };
        copy_to(&from.path, &to)?;
    }
    let mode = if args.share { 0o644 } else { 0o600 };
    replace(&pair.init, mode, |file| file.write_all(&init))?;
    report(args, &pair, &parts, &parsed, snapshot.size)
}

/// Refuses to replace files that no export has written, such as those of a compiler driver.
fn check_replaced(pair: &Pair, code: Digest) -> Result<(), ExamineError> {
    let foreign = |path: &Path| {
        let path = printable(&path.display().to_string());
        Err(ExamineError::Failed(format!("{path}: exists and is not of an export; choose another name")))
    };
    let mut start = Vec::new();
    match open_file(&pair.init) {
        Ok(file) => {
            let read = file.take(InitHeader::LEN as u64).read_to_end(&mut start);
            read.map_err(ExamineError::io("read", &pair.init))?;
        }
        Err(_) if fs::symlink_metadata(&pair.init).is_ok() => return foreign(&pair.init),
        Err(_) => {}
    }
    match (start.is_empty(), is_exported(&start)) {
        (_, true) => Ok(()),
        (false, false) => foreign(&pair.init),
        (true, _) if pair.init.exists() => foreign(&pair.init),
        // Without an init data file, only the same code segment file may be there.
        (true, _) => match open_file(&pair.code) {
            Ok(file) if hash_file(&file, &mut |_| {}).is_ok_and(|digest| digest == code) => Ok(()),
            Err(_) if fs::symlink_metadata(&pair.code).is_err() => Ok(()),
            _ => foreign(&pair.code),
        },
    }
}

fn copy_to(from: &Path, to: &Path) -> Result<(), ExamineError> {
    if let Some(directory) = to.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::create_dir_all(directory).map_err(ExamineError::io("make", directory))?;
    }
    let mut source = File::open(from).map_err(ExamineError::io("read", from))?;
    // Who may not read the file in the store may not read the copy.
    let mode = source.metadata().map_err(ExamineError::io("look at", from))?.mode() & 0o444 | 0o200;
    replace(to, mode, |mut file| io::copy(&mut source, &mut file).map(drop))
}

/// Writes a file that gets its name when it is complete.
fn replace(path: &Path, mode: u32, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), ExamineError> {
    let written = NewFile::of(path, mode).and_then(|mut new| {
        write(new.file())?;
        new.complete()
    });
    written.map_err(ExamineError::io("write", path))
}

fn report(args: &Args, pair: &Pair, parts: &[Part], init: &Init<'_>, snapshot: u64) -> Result<(), ExamineError> {
    let heap: u64 = init.heap().iter().map(|run| run.len.get()).sum();
    let data: u64 = init.runs().iter().map(|run| run.len.get()).sum();
    let len = init.header().file_len.get();
    if args.json {
        return print_json(&serde_json::json!({
            "init": pair.init,
            "code": pair.code,
            "files": parts.len() - 1,
            "size": len,
            "data": data,
            "heap": heap,
            "snapshot_size": snapshot,
        }));
    }
    let show = |path: &Path| printable(&path.display().to_string());
    let libraries = match parts.len() {
        0 | 1 => String::new(),
        count => format!(", {} ({} files)", show(&pair.files), count - 1),
    };
    print(format!(
        "{}: {} KiB: {} KiB of data and {} KiB of heap pages; the snapshot has {} KiB\n\
         beside it: {}{libraries}\n\
         on another host: snapshotter create --init {}\n",
        show(&pair.init),
        len.div_ceil(1024),
        data.div_ceil(1024),
        heap / 1024,
        snapshot.div_ceil(1024),
        show(&pair.code),
        show(&pair.init),
    ))
}
