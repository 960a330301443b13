//! `core`: copies a snapshot for debuggers on a host that does not have the original programs and libraries. The note
//! NT_FILE of the copy names the code segment files in the local store instead, and a file of gdb commands beside it
//! loads their symbols. (gdb finds libraries by the paths in the program's memory, which are those of the originals.)
//! The copy is still a snapshot.
//!
//! ```text
//!  ┌───────────┬────────┬───────┬─────────── ─ ─┬─ ─ ─ ─ ─ ─ ┐
//!  │ meta part │ phdrs  │ notes │ page runs     │ new notes  │     everything else keeps its offset
//!  └───────────┴────────┴───────┴─────────── ─ ─┴─ ─ ─ ─ ─ ─ ┘
//!     sizes       one points here ──────────────▶
//! ```

use super::source::{ExamineError, Snapshot, print};
use super::space::{Space, path};
use super::text::printable;
use snapfn_format::PAGE;
use snapfn_format::snap::{FILE_CODE, FILE_DATA, File as PlanFile, MetaBuilder, Plan, PlanTables};
use snapfn_store::{Kind, Stores};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const PT_NOTE: u32 = 4;
const PHDR: usize = 56;
const NT_FILE: u32 = 0x4649_4c45;
/// Notes are no longer than this: 16,384 threads with the largest register state have 1.1 GiB.
const NOTES_MAX: u64 = 2 << 30;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// NAME, NAME:TAG or a file (./…, /…, *.snap)
    #[arg(value_name = "NAME|FILE")]
    name: OsString,
    /// Where to write the copy
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<(), ExamineError> {
    let stores = Stores::from_env();
    let snapshot = Snapshot::open(&stores, &args.name)?;
    let plan = snapshot.plan()?;
    let copy = Copy::plan(&snapshot, &plan, &local_paths(&plan, &stores))?;
    let commands = gdb_commands(&args.output, &plan, &stores)?;
    let temporary = beside(&args.output);
    let written = copy.write(&snapshot, &temporary).and_then(|()| fs::rename(&temporary, &args.output));
    written.map_err(|source| {
        // If this fails, there may be no file, since creating it failed.
        let _ = fs::remove_file(&temporary);
        ExamineError::Io { what: "write", path: args.output.clone(), source }
    })?;
    let script = with_suffix(&args.output, ".gdb");
    fs::write(&script, commands).map_err(ExamineError::io("write", &script))?;
    print(format!("gdb -x {} shows it\n", printable(&script.display().to_string())))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    PathBuf::from(path)
}

/// The commands for gdb: open the copy, and load the symbols of everything in it.
fn gdb_commands(copy: &Path, plan: &Plan<'_>, stores: &Stores) -> Result<String, ExamineError> {
    let copy = std::path::absolute(copy).map_err(ExamineError::io("find", copy))?;
    let mut out = format!("set confirm off\ncore-file {}\n", argument(&copy)?);
    for (file, bias) in Space::new(plan, stores).images() {
        let path = plan.files.get(file).and_then(|file| stores.find(Kind::Code, file.digest));
        if let Some(path) = path {
            let path = std::path::absolute(&path).map_err(ExamineError::io("find", &path))?;
            out += &format!("add-symbol-file {} -o {bias:#x}\n", argument(&path)?);
        }
    }
    Ok(out)
}

/// A path that gdb 13 and later read in a command. They have no common way to quote, so some characters are not
/// allowed.
fn argument(path: &Path) -> Result<&str, ExamineError> {
    let plain = |c: char| c.is_alphanumeric() || "/._+-:@%=,~".contains(c);
    match path.to_str() {
        Some(text) if text.chars().all(plain) => Ok(text),
        _ => Err(ExamineError::Core { path: path.into(), why: "gdb needs a path of letters, digits and ._+-:@%=,~" }),
    }
}

/// A name in the same directory that no other process uses.
fn beside(output: &Path) -> PathBuf {
    output.with_file_name(format!(".snapfn-core-{}", std::process::id()))
}

/// For each path that the program saw, the path of that file in a local store.
fn local_paths(plan: &Plan<'_>, stores: &Stores) -> HashMap<Vec<u8>, PathBuf> {
    let local = |file: &PlanFile| {
        let kind = match file.kind {
            FILE_CODE => Kind::Code,
            FILE_DATA => Kind::Data,
            _ => return None,
        };
        let found = std::path::absolute(stores.find(kind, file.digest)?).ok()?;
        Some((path(plan, file.path).into_os_string().as_bytes().to_vec(), found))
    };
    plan.files.iter().filter_map(local).collect()
}

/// What is different in the copy.
struct Copy {
    meta: Vec<u8>,
    /// Offset of the program header of the notes, and its new values.
    header_at: u64,
    notes_at: u64,
    notes: Vec<u8>,
    size: u64,
}

impl Copy {
    fn plan(snapshot: &Snapshot, plan: &Plan<'_>, local: &HashMap<Vec<u8>, PathBuf>) -> Result<Self, ExamineError> {
        let bad = |why| ExamineError::Core { path: snapshot.path.clone(), why };
        let mut elf = [0u8; 64];
        snapshot.read_at(&mut elf, 0)?;
        let (header_at, offset, len) =
            find_notes(snapshot, &elf)?.ok_or_else(|| bad("no notes for debuggers; make the snapshot again"))?;
        if len > NOTES_MAX || offset.checked_add(len).is_none_or(|end| end > snapshot.size) {
            return Err(bad("its notes for debuggers lie outside of the file; make the snapshot again"));
        }
        let mut notes = vec![0; usize::try_from(len).map_err(|_| bad("its notes for debuggers are too long"))?];
        snapshot.read_at(&mut notes, offset)?;
        let notes = rewrite(&notes, local)
            .ok_or_else(|| bad("its notes for debuggers are damaged; make the snapshot again"))?;
        let notes_at = snapshot.size.next_multiple_of(PAGE);
        let size = notes_at + notes.len() as u64;
        let meta = resized(plan, &elf, size);
        match meta.len() as u64 == plan.header.meta_len {
            true => Ok(Copy { meta, header_at, notes_at, notes, size }),
            false => Err(bad("its tables are in another order than ours")),
        }
    }

    fn write(&self, snapshot: &Snapshot, to: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
        // The copy shares blocks if the file system can.
        io::copy(&mut File::open(&snapshot.path)?, &mut file)?;
        file.write_all_at(&self.meta, 0)?;
        // p_offset and p_filesz.
        file.write_all_at(&self.notes_at.to_le_bytes(), self.header_at + 8)?;
        file.write_all_at(&(self.notes.len() as u64).to_le_bytes(), self.header_at + 32)?;
        file.seek(io::SeekFrom::Start(self.notes_at))?;
        file.write_all(&self.notes)?;
        file.set_len(self.size)
    }
}

/// The meta part for a file of another size.
fn resized(plan: &Plan<'_>, elf: &[u8; 64], size: u64) -> Vec<u8> {
    let mut tables = PlanTables::from(plan);
    if let Some(own) = tables.files.first_mut() {
        own.size = size;
    }
    MetaBuilder::build(&tables, elf, size)
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    word(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    word(bytes, at).map(u64::from_le_bytes)
}

/// The program header of the notes behind the meta part: its place, and the notes' offset and length.
fn find_notes(snapshot: &Snapshot, elf: &[u8; 64]) -> Result<Option<(u64, u64, u64)>, ExamineError> {
    let (phoff, phnum) = (u64_at(elf, 32).unwrap_or(0), word(elf, 56).map_or(0, u16::from_le_bytes));
    let mut headers = vec![0; usize::from(phnum) * PHDR];
    if phoff.checked_add(headers.len() as u64).is_none_or(|end| end > snapshot.size) {
        return Ok(None);
    }
    snapshot.read_at(&mut headers, phoff)?;
    let notes = headers.chunks_exact(PHDR).enumerate().find_map(|(index, header)| {
        let (offset, len) = (u64_at(header, 8)?, u64_at(header, 32)?);
        // The first note segment is the plan.
        let ours = u32_at(header, 0)? == PT_NOTE && offset != 64;
        ours.then_some((phoff + (index * PHDR) as u64, offset, len))
    });
    Ok(notes)
}

/// The notes with the paths of NT_FILE replaced; `None` if they are damaged.
fn rewrite(notes: &[u8], local: &HashMap<Vec<u8>, PathBuf>) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(notes.len());
    let mut rest = notes;
    while !rest.is_empty() {
        let (name_len, len, kind) = (u32_at(rest, 0)? as usize, u32_at(rest, 4)? as usize, u32_at(rest, 8)?);
        let content_at = name_len.checked_next_multiple_of(4)?.checked_add(12)?;
        let content = rest.get(content_at..content_at.checked_add(len)?)?;
        let content = if kind == NT_FILE { rename_files(content, local)? } else { content.to_vec() };
        out.extend_from_slice(rest.get(..4)?);
        out.extend_from_slice(&u32::try_from(content.len()).ok()?.to_le_bytes());
        out.extend_from_slice(rest.get(8..content_at)?);
        out.extend_from_slice(&content);
        out.resize(out.len().next_multiple_of(4), 0);
        rest = rest.get(content_at.checked_add(len.checked_next_multiple_of(4)?)?..)?;
    }
    Some(out)
}

/// NT_FILE: count, page size, count × (start, end, page offset), then as many zero-terminated paths.
fn rename_files(content: &[u8], local: &HashMap<Vec<u8>, PathBuf>) -> Option<Vec<u8>> {
    let count = usize::try_from(u64_at(content, 0)?).ok()?;
    let paths_at = count.checked_mul(24)?.checked_add(16)?;
    let mut out = content.get(..paths_at)?.to_vec();
    let mut paths = content.get(paths_at..)?.split_inclusive(|byte| *byte == 0);
    for _ in 0..count {
        let path = paths.next()?.strip_suffix(&[0])?;
        let path = local.get(path).map_or(OsStr::from_bytes(path), |local| local.as_os_str());
        out.extend_from_slice(path.as_bytes());
        out.push(0);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &[u8], kind: u32, content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for word in [name.len() as u32, content.len() as u32, kind] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for part in [name, content] {
            out.extend_from_slice(part);
            out.resize(out.len().next_multiple_of(4), 0);
        }
        out
    }

    fn files(paths: &[&str]) -> Vec<u8> {
        let mut out: Vec<u8> = [paths.len() as u64, PAGE].iter().flat_map(|word| word.to_le_bytes()).collect();
        for index in 0..paths.len() as u64 {
            out.extend([0x1000 * index, 0x1000 * index + 0x1000, index].iter().flat_map(|word| word.to_le_bytes()));
        }
        paths.iter().for_each(|path| out.extend([path.as_bytes(), &[0]].concat()));
        out
    }

    fn local() -> HashMap<Vec<u8>, PathBuf> {
        HashMap::from([(b"/bin/fn".to_vec(), PathBuf::from("/store/code/1234"))])
    }

    #[test]
    fn only_the_paths_change() {
        let with = |paths: &[&str]| {
            [note(b"CORE\0", 1, &[5; 33]), note(b"CORE\0", NT_FILE, &files(paths)), note(b"LINUX\0", 2, &[6; 7])]
                .concat()
        };
        let before = with(&["/bin/fn", "/lib/other", "/bin/fn"]);
        let after = with(&["/store/code/1234", "/lib/other", "/store/code/1234"]);
        assert_eq!(rewrite(&before, &local()), Some(after));
    }

    #[test]
    fn damaged_notes_are_refused() {
        let notes = note(b"CORE\0", NT_FILE, &files(&["/bin/fn", "/lib/other"]));
        for len in 1..notes.len() {
            assert_eq!(rewrite(&notes[..len], &local()), None, "{len} bytes");
        }
        for at in 0..12 {
            let mut bad = notes.clone();
            bad[at] = 0xff;
            // Other types of notes stay as they are; all other fields are lengths.
            assert_eq!(rewrite(&bad, &local()).is_some(), at >= 8, "byte {at}");
        }
        let mut many = files(&["/bin/fn"]);
        many[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(rename_files(&many, &local()), None);
    }
}
