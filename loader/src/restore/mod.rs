//! Restoring a snapshot into this fresh process.
//!
//! ```text
//!  maps     one mmap per operation            process     what the kernel keeps per process
//!  patch    words that are new per instance   fds         descriptors
//!  threads  frames, clone, rt_sigreturn       attributes  limits, prctl settings, scheduling, names
//!  signals  dispositions, pending signals     timers      interval timers, POSIX timers
//!  Instance the arguments and environment of this start
//!  park     the same in two halves: a process that waits before the jump for its arguments
//! ```
//! The plan has been validated as a whole before the first of these runs.
#![allow(unsafe_code)] // builds another program's image

pub mod address;
mod attributes;
mod fds;
mod instance;
mod maps;
mod park;
mod patch;
mod process;
mod signals;
mod threads;
mod timers;

pub use instance::{Instance, bare_stack};
pub use maps::Sources;
pub use park::{Populate, park};

use crate::runtime::arch::{self, cpu, cpu::Unfit};
use crate::runtime::auxv::{InitialStack, at};
use crate::runtime::clock::Moment;
use crate::runtime::print::Text;
use crate::runtime::sys::{self, Errno};
use crate::runtime::{memory, vdso};
use address::{Address, Shown, Spec};
use core::fmt;
use instance::Vectors;
use snapfn_format::layout::{LOADER_END, LOADER_START};
use snapfn_format::snap::{FD_TEMPORARY, PATCH_INFO, Plan, resident};

/// The reason why an instance could not be made. The process can only exit after it.
#[derive(Clone, Copy, Debug)]
pub enum RestoreError<'a> {
    /// A system call that needs no more explanation.
    System(&'static str, Errno),
    /// An operation on the address space.
    Map {
        /// What was tried.
        what: &'static str,
        /// First address.
        addr: u64,
        /// Length in bytes.
        len: u64,
        /// The kernel's answer.
        errno: Errno,
    },
    /// A path that the instance needs.
    Path(&'static str, &'a [u8], Errno),
    /// A descriptor.
    Fd(u32, &'static str, Errno),
    /// A file that was open for reading has changed.
    Changed(&'a [u8]),
    /// Another process holds a lock that the program held.
    Locked(&'a [u8]),
    /// A socket cannot be bound.
    Bind(Bound<'a>, Errno),
    /// A `--bind` that names none of the snapshot's sockets, the first of which is at that address.
    NoSocket(&'a Spec, &'a [u8]),
    /// One of many of its kind: a signal, a timer, a `prctl` option.
    Attribute(&'static str, u32, Errno),
    /// This host lacks what the snapshot needs.
    Unfit(Unfit),
}

impl fmt::Display for RestoreError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            RestoreError::System(what, errno) => write!(f, "{what}: {errno}"),
            RestoreError::Map { what, addr, len, errno } => {
                write!(f, "{what} of {:#x}-{:#x} ({} KiB): {errno}", addr, addr + len, len / 1024)?;
                f.write_str(match errno {
                    Errno::NOMEM => ", check RLIMIT_AS and vm.overcommit_memory=2",
                    Errno::PERM | Errno::ACCES => ", is the store on a file system mounted noexec?",
                    Errno::EXIST => ", something else of this process is there",
                    _ => "",
                })
            }
            RestoreError::Path(what, path, errno) => write!(f, "{what} {}: {errno}", Text(path)),
            RestoreError::Fd(fd, what, errno) if fd < FD_TEMPORARY => write!(f, "descriptor {fd}: {what}: {errno}"),
            RestoreError::Fd(_, what, errno) => write!(f, "a descriptor in flight: {what}: {errno}"),
            RestoreError::Changed(path) => {
                write!(f, "{} has changed since the snapshot was made, make it again", Text(path))
            }
            RestoreError::Locked(path) => {
                write!(f, "{} is locked by another process, and the program held a lock on it", Text(path))
            }
            RestoreError::Bind(ref address, errno) => {
                let address = address.bytes();
                write!(f, "cannot listen on {}: {errno}, use --bind {0}=ADDRESS", Shown(address))
            }
            RestoreError::NoSocket(_, []) => f.write_str("--bind: the snapshot has no listening or bound socket"),
            RestoreError::NoSocket(old, first) => {
                write!(f, "--bind {old}=…: no socket of the snapshot is there, but one at {}", Shown(first))
            }
            RestoreError::Attribute(what, which, errno) => {
                write!(f, "{what} {which}: {errno}")?;
                f.write_str(match errno {
                    Errno::PERM | Errno::ACCES => ", start it with the rights that the program had at the snapshot",
                    Errno::AGAIN => ", check RLIMIT_SIGPENDING",
                    _ => "",
                })
            }
            RestoreError::Unfit(unfit) => write!(f, "{unfit}"),
        }
    }
}

/// Where a socket was to be bound.
#[derive(Clone, Copy, Debug)]
pub enum Bound<'a> {
    /// Its address at the snapshot.
    Own(&'a [u8]),
    /// Where `--bind` sends it.
    Given(Address),
}

impl Bound<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Bound::Own(bytes) => bytes,
            Bound::Given(address) => address.bytes(),
        }
    }
}

/// Restores `plan` and becomes the program; returns only on failure.
///
/// # Safety
/// Called once, in a process that runs nothing but this loader, with `initial` its initial stack.
pub unsafe fn restore<'a>(
    plan: &Plan<'a>,
    sources: &Sources<'_>,
    initial: &InitialStack,
    instance: &Instance<'a>,
) -> RestoreError<'a> {
    // SAFETY: the caller's promise; the plan is valid.
    match unsafe { apply(plan, sources, initial, instance) } {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

unsafe fn apply<'a>(
    plan: &Plan<'a>,
    sources: &Sources<'_>,
    initial: &InitialStack,
    instance: &Instance<'a>,
) -> Result<core::convert::Infallible, RestoreError<'a>> {
    // SAFETY: the caller's promise, and validation: every address written lies in a mapping of the plan.
    unsafe {
        let clock = instance.clock;
        map_image(plan, sources)?;
        clock.mark(Moment::Map);
        fill_slots(plan, initial, instance);
        let mut initial = *initial;
        let (mut vectors, strings) = instance.install(plan, &mut initial)?;
        let canary = patch_image(plan, &initial, &vectors);
        clock.mark(Moment::Patch);
        descriptors(plan, sources, &initial, instance)?;
        clock.mark(Moment::Descriptors);
        Instance::settle(plan, &initial, &mut vectors, strings)?;
        process::apply(plan, &vectors)?;
        maps::map_descriptors(plan)?;
        let has_signals = !plan.sigactions.is_empty() || !plan.pending.is_empty() || !plan.timers.is_empty();
        if has_signals || plan.threads.len() > 1 {
            sys::block_signals();
        }
        signals::dispositions(plan)?;
        clock.mark(Moment::Process);
        let main = make_threads(plan, &initial, &vectors, canary)?;
        publish(plan, &vectors);
        clock.mark(Moment::Threads);
        maps::protect(plan)?;
        clock.mark(Moment::Protect);
        enter(plan, main, &vectors, instance, None)
    }
}

/// Maps the address space of the snapshot, before the loader writes to it.
unsafe fn map_image<'a>(plan: &Plan<'a>, sources: &Sources<'_>) -> Result<(), RestoreError<'a>> {
    // SAFETY: the caller's promise.
    unsafe {
        cpu::check(plan).map_err(RestoreError::Unfit)?;
        maps::map(plan, sources)
    }
}

/// Before the vectors become the program's own, which name the synthetic vDSO.
unsafe fn fill_slots(plan: &Plan<'_>, initial: &InitialStack, instance: &Instance<'_>) {
    let host = initial.aux_value(at::SYSINFO_EHDR).unwrap_or(0);
    // SAFETY: the caller's promise.
    unsafe { vdso::fill_slots(plan.header.process.resident, if instance.is_traced { 0 } else { host }) };
}

/// Words that are new in every instance: the canary.
unsafe fn patch_image(plan: &Plan<'_>, initial: &InitialStack, vectors: &Vectors) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        patch::auxv(&plan.header.process, initial);
        let canary = patch::canary(initial);
        patch::memory(plan, vectors, canary);
        canary
    }
}

/// Descriptors, before the process's own limits and attributes: they may lie above what it may open now.
unsafe fn descriptors<'a>(
    plan: &Plan<'a>,
    sources: &Sources<'_>,
    initial: &InitialStack,
    instance: &Instance<'a>,
) -> Result<(), RestoreError<'a>> {
    attributes::raise_limits(plan);
    // SAFETY: the caller's promise.
    unsafe { fds::restore(plan, sources, initial, instance.binds) }
}

/// Attributes that threads inherit, then all frames and threads: the stack pointer of the main thread's return.
unsafe fn make_threads<'a>(
    plan: &Plan<'a>,
    initial: &InitialStack,
    vectors: &Vectors,
    canary: u64,
) -> Result<u64, RestoreError<'a>> {
    let fsgsbase = arch::has_base_instructions(initial.aux_value(at::HWCAP2).unwrap_or(0));
    let work = plan.header.process.resident + resident::WORK;
    // SAFETY: the caller's promise.
    unsafe {
        attributes::early(plan)?;
        let main = threads::start(plan, vectors, canary, fsgsbase)?;
        // For a snapshotter that dumps this instance in its turn.
        memory::write_u64(work + resident::WORK_ARGV, vectors.argv);
        memory::write_u64(work + resident::WORK_ENVP, vectors.envp);
        Ok(main)
    }
}

/// Fills the structures in which the program wants the facts of this start.
unsafe fn publish(plan: &Plan<'_>, vectors: &Vectors) {
    // Most programs have none: their patches are not searched.
    if plan.header.process.info == 0 {
        return;
    }
    let generation = instance::generation();
    for info in infos(plan) {
        // SAFETY: the caller's promise.
        unsafe { vectors.publish(info, generation) };
    }
}

/// Each `struct snap_info` of the program. The first belongs to the executable or library that marks the point.
fn infos(plan: &Plan<'_>) -> impl Iterator<Item = u64> {
    let others = plan.patches.iter().filter(|patch| patch.kind == PATCH_INFO).map(|patch| patch.addr);
    Some(plan.header.process.info).filter(|info| *info != 0).into_iter().chain(others)
}

/// Ends the process where the jump would be. The report is the time; whoever waits for it knows that an instance could
/// be started here.
#[cold]
#[inline(never)]
fn prove(instance: &Instance<'_>) -> ! {
    let now = sys::clock_gettime(sys::CLOCK_MONOTONIC);
    let written = now.and_then(|now| sys::write(instance.report.unwrap_or(-1), &now.to_le_bytes()));
    sys::exit(if written == Ok(8) { 0 } else { 125 })
}

/// The last steps, with everything in place and all signals blocked if there are any: what would have been in the way
/// before, and the jump. `socket` is that of a prepared instance.
unsafe fn enter<'a>(
    plan: &Plan<'a>,
    main: u64,
    vectors: &Vectors,
    instance: &Instance<'_>,
    socket: Option<i32>,
) -> Result<core::convert::Infallible, RestoreError<'a>> {
    let region = plan.header.process.resident;
    let gate = region + resident::WORK;
    // SAFETY: the caller's promise.
    unsafe {
        fds::of_threads(plan, &threads::Frames::of(plan))?;
        if !plan.pending.is_empty() || !plan.timers.is_empty() {
            let frames = threads::Frames::of(plan);
            signals::pending(plan, &frames)?;
            timers::restore(plan, &frames)?;
        }
        let with_exe = region + resident::STUB_FINISH_EXE;
        let exe = if instance.is_final() { process::own_exe(plan, with_exe) } else { None };
        attributes::late(plan)?;
        if instance.is_proof {
            prove(instance);
        }
        instance.report.into_iter().chain(socket).for_each(sys::close);
        if let Some(fd) = exe {
            let map = sys::MmMap { exe_fd: fd as u32, ..process::layout(plan, vectors) };
            arch::finish_with_exe(with_exe, main, LOADER_START, LOADER_END - LOADER_START, &map, gate);
        }
        memory::write_u32(gate, 1);
        if plan.threads.len() > 1 {
            sys::futex_wake_all(gate);
        }
        // A snapshot that was made before there was the stub with the time stamp has no instruction there.
        let timed = region + resident::STUB_FINISH_TIMED;
        let stamp = if memory::bytes(timed, 1) == [resident::MOV_EAX] { instance.clock.last() } else { 0 };
        let stub = if stamp == 0 { region + resident::STUB_FINISH } else { timed };
        arch::finish(stub, main, LOADER_START, LOADER_END - LOADER_START, stamp)
    }
}
