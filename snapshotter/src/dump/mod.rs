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
use crate::tracee::maps::{self, Vma};
use crate::tracee::{Frozen, Reached, Tracer};
use fds::FdTables;
use process::ProcessState;
use snapfn_store::{Stored, Transaction};
use std::path::PathBuf;
use threads::ThreadState;

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
#[derive(Clone, Debug)]
pub(crate) struct DumpOptions {
    pub(crate) memory: MemoryMode,
    /// Instances start here (given by --cwd).
    pub(crate) cwd: Option<PathBuf>,
    /// Working directory and umask that the program started with.
    pub(crate) initial_cwd: PathBuf,
    pub(crate) initial_umask: u32,
}

/// What the kernel keeps of the program, none of it in the way of a snapshot.
struct KernelState {
    threads: Vec<ThreadState>,
    process: ProcessState,
    fds: FdTables,
}

/// Looks at everything but the content of memory; refuses all that is in the way at once.
fn gather(
    tracer: &Tracer,
    reached: &Reached,
    frozen: &[Frozen],
    vmas: &[Vma],
    options: &DumpOptions,
) -> Result<KernelState, DumpError> {
    let mut blockers = Vec::new();
    let threads = threads::gather(tracer, frozen, &mut blockers)?;
    let process = process::gather(tracer, reached, frozen, options, &mut blockers)?;
    let fds = fds::gather(tracer, &mut blockers)?;
    memory::check(vmas, tracer, &mut blockers);
    refuse::children(tracer.pid, &mut blockers)?;
    match blockers.is_empty() {
        true => Ok(KernelState { threads, process, fds }),
        false => Err(DumpError::Refused(blockers)),
    }
}

/// Dumps the frozen program. On a refusal nothing has been written and the tasks can be released.
pub(crate) fn dump(
    tracer: &mut Tracer,
    reached: &Reached,
    frozen: &[Frozen],
    elves: &mut ElfStore,
    transaction: &Transaction,
    options: &DumpOptions,
) -> Result<Dumped, DumpError> {
    let vmas = refuse::readable(maps::read(tracer.pid))?;
    let KernelState { threads, process, fds } = gather(tracer, reached, frozen, &vmas, options)?;
    let environment = environ::gather(tracer, &vmas)?;
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
