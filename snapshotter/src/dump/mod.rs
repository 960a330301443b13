//! From a stopped program to a snapshot file.
//!
//! ```text
//!  gather   memory (VMAs → parts), threads, descriptors, signals, environment      each may add blockers
//!  refuse   all blockers at once, before anything is written
//!  plan     parts → operations, words to patch, file offsets
//!  layout   where all lies in the file; pure
//!  write    ELF core file: plan, notes for debuggers, page runs
//! ```

mod arguments;
mod attributes;
mod canary;
mod capabilities;
mod code;
mod core_notes;
mod decided;
mod elf_store;
mod environ;
mod fds;
mod hidden;
mod holders;
mod ids;
mod inputs;
mod layout;
mod link_maps;
mod made_files;
mod memory;
mod mutexes;
mod needs;
mod openssl;
mod own_exe;
mod patches;
mod plan;
mod process;
mod recipe;
mod refuse;
mod registered;
mod running;
mod scheduling;
mod scratch;
mod secrets;
mod signals;
mod threads;
mod timers;
mod verify;
mod write;

pub(crate) use elf_store::ElfStore;
pub(crate) use inputs::digest;
pub(crate) use recipe::Recipe;
pub(crate) use refuse::{Blocker, DumpError};
pub(crate) use running::{NOT_TOLD, blockers_of_running};
pub(crate) use secrets::{Scrubbed, SecretNames, pattern};
pub(crate) use verify::{VerifyError, verify};

use crate::options::{Memory as MemoryMode, Segments};
use crate::pin::{Cpu, own_dispatch};
use crate::prng::Hooks;
use crate::tracee::maps::{self, Vma};
use crate::tracee::{Frozen, Reached, TraceError, Tracer};
use fds::FdTables;
use inputs::Hashing;
use process::ProcessState;
use secrets::Secrets;
use snapfn_format::snap::notes::{NOTE_INPUTS, NOTE_RECIPE, NOTES_OWNER, push_note};
use snapfn_format::snap::{
    ENV_SET, FD_TEMPORARY, FEATURE_OWN_EXE, PATCH_CANARY, PATCH_MEMORY, Patch, PlanTables, Step, has_writable_code,
    is_wx,
};
use snapfn_store::{BlobWriter, Transaction};
use std::path::PathBuf;
use threads::ThreadState;

/// A note about the files that the program has read.
const INCOMPLETE: &str = "not every file that the program has read is recorded, so `check --stale` may miss a change";

/// What was written.
#[derive(Debug)]
pub(crate) struct Dumped {
    pub(crate) file: BlobWriter,
    /// The first number above all descriptors of an instance.
    pub(crate) free: i32,
    /// An instance needs something that the program itself holds until it ends: a bound address or a lock.
    pub(crate) is_exclusive: bool,
    pub(crate) ops: usize,
    pub(crate) patches: usize,
    pub(crate) data_pages: u64,
    pub(crate) code_pages: u64,
    /// Its instances are started with `--allow-wx` only.
    pub(crate) has_wx: bool,
    /// Memory that is writable and executable at once, in bytes.
    pub(crate) writable_code: u64,
    /// Memory that the program keeps out of core dumps, in bytes.
    pub(crate) dontdump: u64,
    /// Hooks that the program does not call at this point.
    pub(crate) uncalled: usize,
    /// Libraries that read the CPU's features themselves, each with the setting that pins them.
    pub(crate) own_dispatch: Vec<(PathBuf, &'static str)>,
    /// Files of the image, as the program named them.
    pub(crate) files: Vec<PathBuf>,
    /// The calls that the program makes in an instance before it goes on.
    pub(crate) hooks: Hooks,
    /// Secrets that were left out, and where copies of them were.
    pub(crate) scrubbed: Scrubbed,
    /// Notices about environment variables, a line each.
    pub(crate) variables: Vec<String>,
    /// What was decided before the point, a phrase each.
    pub(crate) decided: Vec<String>,
    /// Effects of system calls that instances lack, a line each.
    pub(crate) lost: Vec<String>,
    /// Programs and libraries that are stored although a secret is in them, a line each.
    pub(crate) shipped: Vec<String>,
    /// Values that instances do not renew, a line each.
    pub(crate) kept: Vec<String>,
    /// The program names /proc/self/exe.
    pub(crate) looks_up_itself: bool,
}

/// Choices of the user.
#[derive(Clone, Debug)]
pub(crate) struct DumpOptions {
    pub(crate) memory: MemoryMode,
    pub(crate) segments: Segments,
    /// Instances start here (given by --cwd).
    pub(crate) cwd: Option<PathBuf>,
    /// Working directory and umask that the program started with.
    pub(crate) initial_cwd: PathBuf,
    pub(crate) initial_umask: u32,
    /// How many arguments behind argv[0] instances keep.
    pub(crate) kept_args: u32,
    /// What code was selected for.
    pub(crate) cpu: Cpu,
    /// The environment that it started with, as `NAME=value`.
    pub(crate) initial_env: Vec<Vec<u8>>,
    /// Instances keep the environment that the program has copied.
    pub(crate) keep_environment: bool,
    /// Variables whose values are left out.
    pub(crate) secret_names: SecretNames,
    /// Memory may be writable and executable at once.
    pub(crate) allow_wx: bool,
    /// System calls whose effect instances may lack.
    pub(crate) accepted: Vec<String>,
    /// How the snapshot is made.
    pub(crate) recipe: Option<Recipe>,
}

/// The state that the kernel keeps of the program; none of it prevents a snapshot.
struct KernelState {
    threads: Vec<ThreadState>,
    process: ProcessState,
    fds: FdTables,
}

/// Reads everything but the content of memory; refuses all that prevents a snapshot at once.
fn gather(
    tracer: &Tracer,
    reached: &Reached,
    frozen: &[Frozen],
    vmas: &[Vma],
    options: &DumpOptions,
) -> Result<KernelState, DumpError> {
    let mut blockers = Vec::new();
    threads::check_seccomp(tracer, &threads::tids(frozen), &mut blockers)?;
    // A filter also checks the system calls that the snapshotter lets the program make, and may kill it for them.
    let own = match blockers.is_empty() {
        true => {
            let threads = threads::gather(tracer, frozen, options.cpu != Cpu::Native, &mut blockers)?;
            code::check(tracer, vmas, &threads, &mut blockers);
            memory::check_data(tracer, &frozen[0], vmas, &mut blockers)?;
            Some((threads, process::gather(tracer, reached, frozen, options, &mut blockers)?))
        }
        false => None,
    };
    let fds = fds::gather(tracer, &threads::tids(frozen), own.as_ref().and(frozen.first()), &mut blockers)?;
    memory::check(vmas, tracer, options.allow_wx, &mut blockers);
    registered::check(tracer, vmas, &mut blockers);
    refuse::calls(tracer, &options.accepted, &mut blockers);
    refuse::children(tracer.pid, &mut blockers)?;
    refuse::others(tracer, &threads::tids(frozen), &mut blockers);
    match own {
        Some((threads, process)) if blockers.is_empty() => Ok(KernelState { threads, process, fds }),
        own => {
            let threads = own.map(|(threads, _)| threads).unwrap_or_default();
            mutexes::check(tracer, &memory::written(tracer, vmas), &threads, &mut blockers)?;
            Err(DumpError::Refused(blockers))
        }
    }
}

/// Everything that prevents a snapshot of the frozen program, which can be released then.
pub(crate) fn blockers(
    tracer: &Tracer,
    reached: &Reached,
    frozen: &[Frozen],
    options: &DumpOptions,
) -> Result<Vec<Blocker>, DumpError> {
    let look = || {
        let vmas = refuse::look(tracer, frozen)?;
        let state = gather(tracer, reached, frozen, &vmas, options)?;
        let mut blockers = Vec::new();
        mutexes::check(tracer, &memory::written(tracer, &vmas), &state.threads, &mut blockers)?;
        Ok(blockers)
    };
    match look() {
        Err(DumpError::Refused(blockers)) => Ok(blockers),
        other => other,
    }
}

/// Bytes that a snapshot of the frozen program would hold although it keeps them out of core dumps. 0 where its memory
/// map cannot be read, which prevents a snapshot anyway.
pub(crate) fn dontdump(tracer: &Tracer) -> u64 {
    maps::read(tracer.pid).map_or(0, |vmas| memory::dontdump(tracer, &vmas))
}

/// Effects of system calls that instances lack: those that are only noted, and those that the user accepts.
pub(crate) fn lost(tracer: &Tracer, accepted: &[String]) -> Vec<String> {
    let findings = tracer.ledger.findings().into_iter();
    let lost = findings.filter(|finding| finding.only_noted || finding.is_accepted(accepted));
    lost.map(|finding| format!("instances lack what {} did: {}", finding.name, finding.why)).collect()
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
    let vmas = refuse::look(tracer, frozen)?;
    let KernelState { mut threads, mut process, mut fds } = gather(tracer, reached, frozen, &vmas, options)?;
    tracer.registered.publish(&tracer.memory).map_err(TraceError::system("linking the hooks"))?;
    let mut environment = environ::gather(tracer, &vmas, &options.initial_env, options.keep_environment)?;
    let dontdump = memory::dontdump(tracer, &vmas);
    let mut secrets = Secrets::collect(tracer, &vmas, &options.secret_names, &options.initial_env)?;
    environment.changes.retain(|(kind, name, _)| *kind != ENV_SET || !secrets.is_secret_name(name));
    let image = memory::gather(tracer, &vmas, &threads, elves, options)?;
    let hashing = Hashing::begin(&tracer.inputs, image.files.iter().map(|file| file.original.clone()).collect());
    let pids = openssl::remembered_pids(tracer, &vmas, &image)?;
    tracer.registered.secrets.extend(pids);
    tracer.edits = link_maps::edits(tracer, &vmas, &threads);
    secrets.scrub(tracer, &vmas, &image, &mut threads, &mut process, &mut fds)?;
    arguments::check_kept(tracer, &process.record, &process.args)?;
    let args = process.args.clone();
    let mut words = mutexes::find(tracer, &vmas, &image, &threads)?;
    let copied = environment.has_copied_all.then(|| environment.patches.iter().map(|patch| patch.addr).collect());
    words.append(&mut environment.patches);
    words.append(&mut holders::find(tracer, &vmas, &image, &threads)?);
    let arguments::Found { mut patches, mut notes } = arguments::find(tracer, reached, &vmas, &image);
    words.append(&mut patches);
    let ids::Found { mut patches, notes: ids } = ids::find(tracer, reached, &vmas, &image, &threads, &words)?;
    words.append(&mut patches);
    notes.extend(ids);
    let canary = |addr| Patch { addr, kind: PATCH_CANARY, place: PATCH_MEMORY, arg: 0 };
    words.extend(canary::words(tracer, &vmas, &image, &threads)?.into_iter().map(canary));
    let mut tables = plan::build(plan::Gathered {
        tracer,
        reached,
        image: &image,
        threads: &threads,
        process,
        fds: &fds,
        environment,
        words,
    })?;
    notes.extend(copied.and_then(|named: Vec<u64>| environ::note(tracer, &vmas, &named, &tables.patches)));
    let looks_up_itself = own_exe::is_named(&tracer.booted.exe);
    if looks_up_itself {
        tables.compatible |= FEATURE_OWN_EXE;
    }
    needs::add(&mut tables, tracer, &image, &threads, options.cpu);
    // What the snapshot was made of comes first, so that its readers need not pass over the notes of many threads.
    let mut segment = Vec::new();
    if let Some(recipe) = &options.recipe {
        push_note(&mut segment, NOTES_OWNER, NOTE_RECIPE, &recipe.build(&secrets));
    }
    let (inputs, is_incomplete) = hashing.finish(&secrets);
    push_note(&mut segment, NOTES_OWNER, NOTE_INPUTS, &inputs);
    notes.extend(is_incomplete.then(|| INCOMPLETE.to_owned()));
    core_notes::build(&mut segment, tracer, &image, &threads, &args)?;
    let file = write::write(tracer, &image, &tables, &segment, &fds, &secrets, transaction)?;
    let (scrubbed, shipped, variables) = secrets.into_found();
    let word = |addr| tracer.memory.read_u64(addr).map_err(TraceError::system("reading struct snap_info"));
    let files: Vec<PathBuf> = image.files.iter().map(|file| file.original.clone()).collect();
    let hooks = Hooks::read(tables.process.at, tables.process.info, word)?;
    Ok(Dumped {
        file,
        free: first_free(&tables),
        is_exclusive: is_exclusive(&tables),
        ops: tables.ops.len(),
        patches: tables.patches.len(),
        data_pages: image.data_pages(),
        code_pages: image.code_pages(),
        has_wx: has_writable_code(&tables.files, &tables.ops, &tables.settings),
        writable_code: tables.ops.iter().filter(|op| is_wx(op)).map(|op| op.len).sum(),
        dontdump,
        uncalled: tracer.registered.uncalled(reached.at),
        own_dispatch: image
            .files
            .iter()
            .filter_map(|file| Some((file.original.clone(), own_dispatch(&file.original)?)))
            .collect(),
        decided: decided::before_the_point(tracer, &files),
        files,
        hooks,
        scrubbed,
        variables,
        lost: lost(tracer, &options.accepted),
        shipped,
        kept: notes.into_iter().chain(made_files::note(tracer, &vmas, &options.initial_cwd)).collect(),
        looks_up_itself,
    })
}

/// The first number above all descriptors of an instance.
fn first_free(tables: &PlanTables) -> i32 {
    let last = tables.fds.iter().map(|record| record.fd).filter(|number| *number < FD_TEMPORARY).max();
    last.map_or(3, |last| last as i32 + 1).max(3)
}

/// Whether an instance needs something that the program holds until it ends.
fn is_exclusive(tables: &PlanTables) -> bool {
    tables.fd_steps.iter().any(|step| matches!(step.step(), Some(Step::Bind { .. } | Step::Lock { .. })))
}
