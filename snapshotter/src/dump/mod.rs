//! From a stopped program to a snapshot file.
//!
//! ```text
//!  gather   memory (VMAs → parts), threads, descriptors, signals, environment      each may add blockers
//!  refuse   all blockers at once, before anything is written
//!  plan     parts → operations, words to patch, file offsets
//!  write    ELF core file: plan, notes for debuggers, page runs
//! ```

mod attributes;
mod core_notes;
mod elf_store;
mod environ;
mod fds;
mod memory;
mod mutexes;
mod patches;
mod plan;
mod process;
mod refuse;
mod scheduling;
mod scratch;
mod signals;
pub(crate) mod syscalls;
mod threads;
mod timers;
mod write;

pub(crate) use elf_store::ElfStore;
pub(crate) use refuse::DumpError;

use crate::cli::Memory as MemoryMode;
use crate::tracee::{Frozen, Reached, Tracer, maps};
use snapfn_store::{Stored, Transaction};
use std::path::Path;

/// What was written.
#[derive(Debug)]
pub(crate) struct Dumped {
    pub(crate) stored: Stored,
    pub(crate) ops: usize,
    pub(crate) patches: usize,
    pub(crate) data_pages: u64,
    pub(crate) code_pages: u64,
}

/// Choices of the user.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DumpOptions<'a> {
    pub(crate) memory: MemoryMode,
    /// Instances start here (given by --cwd).
    pub(crate) cwd: Option<&'a Path>,
    /// Working directory and umask that the program started with.
    pub(crate) initial_cwd: &'a Path,
    pub(crate) initial_umask: u32,
}

/// Dumps the frozen program. On a refusal nothing has been written and the tasks can be released.
pub(crate) fn dump(
    tracer: &mut Tracer,
    reached: &Reached,
    frozen: &[Frozen],
    elves: &mut ElfStore,
    transaction: &Transaction,
    options: &DumpOptions<'_>,
) -> Result<Dumped, DumpError> {
    let mut blockers = Vec::new();
    let vmas = refuse::readable(maps::read(tracer.pid))?;
    let threads = threads::gather(tracer, frozen, &mut blockers)?;
    let process = process::gather(tracer, reached, frozen, options, &mut blockers)?;
    let fds = fds::gather(tracer, &mut blockers)?;
    let environment = environ::gather(tracer, &vmas)?;
    memory::check(&vmas, tracer, &mut blockers);
    refuse::children(tracer.pid, &mut blockers)?;
    if !blockers.is_empty() {
        return Err(DumpError::Refused(blockers));
    }
    let image = memory::gather(tracer, &vmas, &threads, elves, options.memory)?;
    let owners = mutexes::find(tracer, &image, &threads)?;
    let tables = plan::build(plan::Gathered {
        tracer,
        reached,
        image: &image,
        threads: &threads,
        process,
        fds: &fds,
        environment,
        owners,
    })?;
    let stored = write::write(tracer, &image, &tables, &threads, &fds, transaction)?;
    Ok(Dumped {
        stored,
        ops: tables.ops.len(),
        patches: tables.patches.len(),
        data_pages: image.data_pages(),
        code_pages: image.code_pages(),
    })
}
