//! From the gathered state to the tables of the plan. Offsets in the snapshot file are set by `write::layout`.

use super::environ::Environment;
use super::fds::{FdTables, StepState};
use super::memory::{Area, AreaKind, Content, Image, Part, cut};
use super::patches;
use super::process::ProcessState;
use super::refuse::DumpError;
use super::threads::ThreadState;
use crate::tracee::{Reached, Tracer};
use snapfn_format::PAGE;
use snapfn_format::linux::{MADV_GUARD_INSTALL, MADV_NOHUGEPAGE};
use snapfn_format::snap::*;
use std::os::unix::ffi::OsStrExt;

/// Everything that goes into the plan.
pub(super) struct Gathered<'a> {
    pub(super) tracer: &'a Tracer,
    pub(super) reached: &'a Reached,
    pub(super) image: &'a Image,
    pub(super) threads: &'a [ThreadState],
    pub(super) process: ProcessState,
    pub(super) fds: &'a FdTables,
    pub(super) environment: Environment,
    /// Words that are new in every instance.
    pub(super) words: Vec<Patch>,
}

/// Makes the tables. Map and read operations of stored pages carry no file offsets yet.
pub(super) fn build(from: Gathered<'_>) -> Result<PlanTables, DumpError> {
    let mut tables = PlanTables { process: from.process.record, ..PlanTables::default() };
    let has_copied_all = from.environment.has_copied_all;
    tables.patches = patches::find(from.tracer, from.reached, from.threads, from.image, from.words, has_copied_all)?;
    files(from.image, &mut tables);
    for thread in from.threads {
        let xstate = tables.add_bytes(&thread.xstate);
        let affinity = tables.add_bytes(&thread.affinity);
        tables.threads.push(Thread { xstate, affinity, ..thread.record });
    }
    for fd in &from.fds.records {
        let path = if fd.path.is_empty() { BytesRef::default() } else { tables.add_path(&fd.path) };
        let data = tables.add_bytes(&fd.data);
        tables.fds.push(Fd { path, data, ..fd.record });
    }
    for StepState { step, data, extra, .. } in &from.fds.steps {
        let (data, extra) = (tables.add_bytes(data), tables.add_bytes(extra));
        tables.fd_steps.push(FdStep { data, extra, ..*step });
    }
    ops(from.image, &mut tables);
    for (kind, name, addr) in &from.environment.changes {
        let name = tables.add_bytes(name);
        tables.env_changes.push(EnvChange { kind: *kind, reserved: 0, name, addr: *addr });
    }
    tables.sigactions = from.process.sigactions;
    tables.settings = from.process.settings;
    tables.timers = from.process.timers;
    for signal in &from.process.pending {
        let info = tables.add_bytes(&signal.info.0);
        tables.pending.push(PendingSignal { thread: signal.thread, signo: signal.signo, info });
    }
    if !from.process.cwd.is_empty() {
        tables.process.cwd = tables.add_path(&from.process.cwd);
    }
    tables.process.exe = tables.add_bytes(&from.process.exe);
    tables.process.args = tables.add_bytes(&from.process.args);
    Ok(tables)
}

fn files(image: &Image, tables: &mut PlanTables) {
    tables.files.push(File { kind: FILE_SELF, ..File::default() });
    for file in &image.files {
        let path = tables.add_bytes(file.original.as_os_str().as_bytes());
        tables.files.push(File { digest: file.digest, size: file.size, kind: file.kind, path, ..File::default() });
    }
    for file in &image.host_files {
        let path = tables.add_path(file.path.as_os_str().as_bytes());
        tables.files.push(File { kind: FILE_HOST, writable: u16::from(file.writable), path, ..File::default() });
    }
}

/// The operations of all parts, in the same order.
fn ops(image: &Image, tables: &mut PlanTables) {
    let mut parts = image.parts.iter().peekable();
    while let Some(part) = parts.next() {
        let area = &image.areas[part.area];
        let filled = parts.peek().is_some_and(|next| next.content == Content::Read);
        push_part(part, area, filled, image.files.len(), tables);
    }
}

fn push_part(part: &Part, area: &Area, filled: bool, code_files: usize, tables: &mut PlanTables) {
    let base = Op { addr: part.addr, len: part.len, prot: part.prot, ..Op::default() };
    // Pages that are patched or read into must be writable at first.
    let range = part.addr..part.addr + part.len;
    // Those of memory come first, in ascending order.
    let next = tables.patches.partition_point(|patch| patch.place == PATCH_MEMORY && patch.addr < range.start);
    let next = tables.patches.get(next);
    let patched = next.is_some_and(|patch| patch.place == PATCH_MEMORY && range.contains(&patch.addr));
    let needs_write = patched || (part.content == Content::Zero && filled);
    // Code that is patched is not executable before it is protected: only memory that was both in the program is both.
    let keep = if part.prot & PROT_WRITE != 0 { part.prot } else { part.prot & !PROT_EXEC };
    let prot = if needs_write { keep | PROT_READ | PROT_WRITE } else { part.prot };
    let shared = if area.shared { OP_SHARED } else { 0 };
    // The mapping itself has this advice where it is anonymous; pages of a file are those of the page cache.
    let no_huge = if area.advice.contains(&MADV_NOHUGEPAGE) { OP_STACK } else { 0 };
    let grows = if area.stack { OP_GROWSDOWN } else { 0 };
    let op = match part.content {
        Content::Zero if area.droppable => Op { kind: OP_MAP_ANON, prot, flags: OP_DROPPABLE, ..base },
        Content::Zero | Content::Guard => Op { kind: OP_MAP_ANON, prot, flags: grows | no_huge | shared, ..base },
        // Offsets into the snapshot are not known yet.
        Content::Map | Content::Beyond => Op { kind: OP_MAP_FILE, prot, ..base },
        Content::Read => Op { kind: OP_READ, ..base },
        Content::File(file, offset) => Op { kind: OP_MAP_FILE, file: file as u16 + 1, offset, ..base },
        Content::Host(file, offset) => {
            Op { kind: OP_MAP_FILE, file: (code_files + file) as u16 + 1, offset, flags: OP_SHARED, ..base }
        }
        Content::Descriptor(fd, offset) => {
            let index = tables.fds.iter().position(|record| record.fd == fd).unwrap_or(usize::from(u16::MAX));
            Op { kind: OP_MAP_FD, file: index as u16, offset, flags: OP_SHARED, ..base }
        }
    };
    tables.ops.push(op);
    if part.content == Content::Read {
        return;
    }
    if prot != part.prot {
        // It comes after the reads into it: the loader protects once everything is in place.
        tables.ops.push(Op { kind: OP_PROTECT, ..base });
    }
    if area.kind == AreaKind::Resident && part.content == Content::Zero {
        tables.ops.push(Op { kind: OP_PROTECT, prot: PROT_READ, len: PAGE, ..base });
    }
    for range in cut(&area.guards, range.start, range.end) {
        let (addr, len) = (range.start, range.end - range.start);
        tables.ops.push(Op { kind: OP_ADVISE, prot: 0, addr, len, offset: MADV_GUARD_INSTALL, ..Op::default() });
    }
    for advice in area.advice.iter().filter(|advice| **advice != MADV_NOHUGEPAGE) {
        tables.ops.push(Op { kind: OP_ADVISE, prot: 0, offset: *advice, ..base });
    }
    if let Some(flags) = area.lock {
        tables.ops.push(Op { kind: OP_LOCK, prot: 0, offset: flags, ..base });
    }
}
