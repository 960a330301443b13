//! From what was gathered to the tables of the plan. Offsets in the snapshot file are set by `write::layout`.

use super::elf_store::ElfStore;
use super::environ::Environment;
use super::fds::FdState;
use super::memory::{Content, Image};
use super::patches;
use super::process::ProcessState;
use super::refuse::DumpError;
use super::threads::ThreadState;
use crate::tracee::{Reached, Tracer};
use snapfn_format::snap::*;

const MADV_NOHUGEPAGE: u64 = 15;

/// Everything that goes into the plan.
pub(super) struct Gathered<'a> {
    pub(super) tracer: &'a Tracer,
    pub(super) reached: &'a Reached,
    pub(super) image: &'a Image,
    pub(super) threads: &'a [ThreadState],
    pub(super) process: ProcessState,
    pub(super) fds: Vec<FdState>,
    pub(super) environment: Environment,
    pub(super) elves: &'a ElfStore,
}

/// Makes the tables. Map and read operations of stored pages carry no file offsets yet.
pub(super) fn build(from: Gathered<'_>) -> Result<PlanTables, DumpError> {
    let mut tables = PlanTables { process: from.process.record, ..PlanTables::default() };
    tables.patches = patches::find(from.tracer, from.reached, from.image, from.threads, &from.environment.variables)?;
    files(from.image, &mut tables);
    ops(from.image, &mut tables);
    for thread in from.threads {
        let xstate = tables.add_bytes(&thread.xstate);
        tables.threads.push(Thread { xstate, ..thread.record });
    }
    for fd in from.fds {
        let path = if fd.path.is_empty() { BytesRef::default() } else { tables.add_path(&fd.path) };
        let data = tables.add_bytes(&fd.data);
        tables.fds.push(Fd { path, data, ..fd.record });
    }
    for (kind, name, addr) in &from.environment.changes {
        let name = tables.add_bytes(name);
        tables.env_changes.push(EnvChange { kind: *kind, reserved: 0, name, addr: *addr });
    }
    tables.sigactions = from.process.sigactions;
    if !from.process.cwd.is_empty() {
        tables.process.cwd = tables.add_path(&from.process.cwd);
    }
    tables.process.exe = tables.add_bytes(&from.process.exe);
    tables.process.args = tables.add_bytes(&from.process.args);
    let _ = from.elves;
    Ok(tables)
}

fn files(image: &Image, tables: &mut PlanTables) {
    use std::os::unix::ffi::OsStrExt;
    tables.files.push(File { kind: FILE_SELF, ..File::default() });
    for file in &image.files {
        let path = tables.add_bytes(file.original.as_os_str().as_bytes());
        tables.files.push(File { digest: file.digest, size: file.size, kind: file.kind, path, ..File::default() });
    }
}

fn ops(image: &Image, tables: &mut PlanTables) {
    for part in &image.parts {
        let area = &image.areas[part.area];
        let base = Op { addr: part.addr, len: part.len, prot: part.prot, ..Op::default() };
        let is_read = part.content == Content::Read;
        // Pages that are patched or read into must be writable at first.
        let patched = tables
            .patches
            .iter()
            .any(|patch| patch.place == PATCH_MEMORY && (part.addr..part.addr + part.len).contains(&patch.addr));
        let filled = is_read
            || image
                .parts
                .iter()
                .any(|p| p.content == Content::Read && p.addr >= part.addr && p.addr < part.addr + part.len);
        let writable = part.prot & PROT_WRITE != 0 || patched || (part.content == Content::Zero && filled);
        let prot = if writable { part.prot | PROT_READ | PROT_WRITE } else { part.prot };
        // Said by the mapping itself where it is anonymous; pages of a file are what the page cache makes them.
        let no_huge = area.advice.contains(&MADV_NOHUGEPAGE);
        let op = match part.content {
            Content::Zero => {
                let grows = if area.stack { OP_GROWSDOWN } else { 0 };
                let no_huge = if no_huge { OP_STACK } else { 0 };
                Op { kind: OP_MAP_ANON, prot, flags: grows | no_huge, ..base }
            }
            Content::Map => Op { kind: OP_MAP_FILE, prot, ..base },
            Content::Read => Op { kind: OP_READ, ..base },
            Content::File(file, offset) => Op { kind: OP_MAP_FILE, file: file as u16 + 1, offset, ..base },
        };
        tables.ops.push(op);
        if is_read {
            continue;
        }
        if prot != part.prot {
            tables.ops.push(Op { kind: OP_PROTECT, ..base });
        }
        if area.name == "[resident]" && part.content == Content::Zero {
            let slots = Op { kind: OP_PROTECT, prot: PROT_READ, len: snapfn_format::PAGE, ..base };
            tables.ops.push(slots);
        }
        for advice in area.advice.iter().filter(|advice| **advice != MADV_NOHUGEPAGE) {
            tables.ops.push(Op { kind: OP_ADVISE, prot: 0, offset: *advice, ..base });
        }
        if let Some(flags) = area.lock {
            tables.ops.push(Op { kind: OP_LOCK, prot: 0, offset: flags, ..base });
        }
    }
}
