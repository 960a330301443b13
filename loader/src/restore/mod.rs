//! Restoring a snapshot into this fresh process.
//!
//! ```text
//!  maps     one mmap per operation            process     what the kernel keeps per process
//!  patch    words that are new per instance   fds         descriptors
//!  threads  frames, clone, rt_sigreturn       attributes  limits, prctl settings, scheduling, names
//!  signals  dispositions, pending signals     timers      interval timers, POSIX timers
//!  image    what the loader may access by address    info     the program's own record of this start
//!  Instance the arguments and environment of this start
//!  park     the same in two halves: a process that waits before the jump for its arguments
//! ```
//! The plan has been validated as a whole before the first of these runs. `maps` returns an [`image::Image`] of it, by
//! which all others read and write that memory. Code that needs more than that is `unsafe`, and says what it needs.

mod attributes;
pub mod binds;
mod fds;
mod image;
mod info;
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
use binds::{Address, Shown, Spec};
use core::fmt;
use image::Image;
use instance::Vectors;
use snapfn_format::layout::{LOADER_END, LOADER_START};
use snapfn_format::snap::{FD_TEMPORARY, Plan, resident};
use threads::Frames;

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
/// Called once, in a process that runs nothing but this loader. [`Plan::parse`] has returned `plan`; `initial` is the
/// initial stack of this process, and `instance.first_arg` is one of its arguments.
#[allow(unsafe_code)] // replaces this program by another one
pub unsafe fn restore<'a>(
    plan: &Plan<'a>,
    sources: &Sources<'_>,
    initial: &InitialStack,
    instance: &Instance<'a>,
) -> RestoreError<'a> {
    // SAFETY: the caller's promise.
    match unsafe { apply(plan, sources, initial, instance) } {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

/// # Safety
/// As [`restore`].
#[allow(unsafe_code)] // as above
unsafe fn apply<'a>(
    plan: &Plan<'a>,
    sources: &Sources<'_>,
    initial: &InitialStack,
    instance: &Instance<'a>,
) -> Result<core::convert::Infallible, RestoreError<'a>> {
    let clock = instance.clock;
    // SAFETY: the caller's promise.
    let image = unsafe { map_image(plan, sources) }?;
    clock.mark(Moment::Map);
    image.fill_slots(initial, instance.is_traced);
    let mut initial = *initial;
    // SAFETY: the caller's promise.
    let (mut vectors, strings) = unsafe { instance.install(image, &mut initial) }?;
    let canary = patch_image(image, &initial, &vectors);
    clock.mark(Moment::Patch);
    descriptors(image, sources, &initial, instance)?;
    clock.mark(Moment::Descriptors);
    // SAFETY: `install` has just returned these.
    unsafe { Instance::settle(image, &initial, &mut vectors, strings) }?;
    process::apply(image, &vectors)?;
    maps::map_descriptors(image)?;
    let has_signals = !plan.sigactions.is_empty() || !plan.pending.is_empty() || !plan.timers.is_empty();
    if has_signals || plan.threads.len() > 1 {
        sys::block_signals();
    }
    // SAFETY: all signals are blocked if there are dispositions or other threads; memory is complete. Behind `publish`,
    // only the gate and the frames are written, which no protection covers. Then nothing is left but the jump.
    unsafe {
        signals::dispositions(image)?;
        clock.mark(Moment::Process);
        let frames = make_threads(image, &initial, &vectors, canary)?;
        info::publish(image, &vectors);
        clock.mark(Moment::Threads);
        maps::protect(image)?;
        clock.mark(Moment::Protect);
        enter(image, &frames, &vectors, instance, None)
    }
}

/// Maps the address space of the snapshot, before the loader writes to it.
///
/// # Safety
/// As [`maps::map`].
#[allow(unsafe_code)] // believes that the plan is valid
unsafe fn map_image<'p, 'a>(plan: &'p Plan<'a>, sources: &Sources<'_>) -> Result<&'p Image<'a>, RestoreError<'a>> {
    cpu::check(plan).map_err(RestoreError::Unfit)?;
    // SAFETY: the caller's promise.
    unsafe { maps::map(plan, sources) }
}

/// Words that are new in every instance: the canary.
fn patch_image(image: &Image<'_>, initial: &InitialStack, vectors: &Vectors) -> u64 {
    patch::auxv(image, initial);
    let canary = patch::canary(initial);
    patch::memory(image, vectors, canary);
    canary
}

/// Descriptors, before the process's own limits and attributes: they may lie above what it may open now.
fn descriptors<'a>(
    image: &Image<'a>,
    sources: &Sources<'_>,
    initial: &InitialStack,
    instance: &Instance<'a>,
) -> Result<(), RestoreError<'a>> {
    attributes::raise_limits(image);
    fds::restore(image, sources, initial, instance.binds)
}

/// Attributes that threads inherit, then all frames and threads.
///
/// # Safety
/// As [`threads::start`].
#[allow(unsafe_code)] // starts threads outside of this program
unsafe fn make_threads<'p, 'a>(
    image: &'p Image<'a>,
    initial: &InitialStack,
    vectors: &Vectors,
    canary: u64,
) -> Result<Frames<'p, 'a>, RestoreError<'a>> {
    let fsgsbase = arch::has_base_instructions(initial.aux_value(at::HWCAP2).unwrap_or(0));
    attributes::early(image)?;
    // SAFETY: the caller's promise.
    let frames = unsafe { threads::start(image, vectors, canary, fsgsbase) }?;
    image.record_vectors(vectors.argv, vectors.envp);
    Ok(frames)
}

/// Ends the process where the jump would be. The report is the time: it shows that an instance could be started here.
#[cold]
#[inline(never)]
fn prove(instance: &Instance<'_>) -> ! {
    let now = sys::clock_gettime(sys::CLOCK_MONOTONIC);
    let written = now.and_then(|now| sys::write(instance.report.unwrap_or(-1), &now.to_le_bytes()));
    sys::exit(if written == Ok(8) { 0 } else { 125 })
}

/// The last steps, with everything in place and all signals blocked if there are any: what would have been in the way
/// before, and the jump. `socket` is that of a prepared instance.
///
/// # Safety
/// Memory, threads and dispositions are those of the program; nothing of the loader is used afterwards.
#[allow(unsafe_code)] // leaves this program
unsafe fn enter<'a>(
    image: &Image<'a>,
    frames: &Frames<'_, 'a>,
    vectors: &Vectors,
    instance: &Instance<'_>,
    socket: Option<i32>,
) -> Result<core::convert::Infallible, RestoreError<'a>> {
    fds::of_threads(image, frames)?;
    if !image.pending.is_empty() || !image.timers.is_empty() {
        signals::pending(image, frames)?;
        timers::restore(image, frames)?;
    }
    let exe = if instance.is_final() { process::own_exe(image) } else { None };
    attributes::late(image)?;
    if instance.is_proof {
        prove(instance);
    }
    instance.report.into_iter().chain(socket).for_each(sys::close);
    let gate = image.gate();
    if let Some((stub, fd)) = exe {
        let map = sys::MmMap { exe_fd: fd as u32, ..process::layout(image, vectors) };
        // SAFETY: all frames are complete. The kernel's stack, where `map` lies, stays.
        unsafe {
            arch::finish_with_exe(stub, frames.main(), LOADER_START, LOADER_END - LOADER_START, &map, gate.addr())
        };
    }
    gate.set(1);
    if image.threads.len() > 1 {
        sys::futex_wake_all(gate.addr());
    }
    // A snapshot that was made before there was the stub with the time stamp has no instruction there.
    let timed = image.stub(resident::STUB_FINISH_TIMED).map(|stub| (stub, instance.clock.last()));
    let plain = (image.header.process.resident + resident::STUB_FINISH, 0);
    let (stub, stamp) = timed.filter(|(_, stamp)| *stamp != 0).unwrap_or(plain);
    // SAFETY: all frames are complete, and the caller promises that nothing of the loader is used afterwards.
    unsafe { arch::finish(stub, frames.main(), LOADER_START, LOADER_END - LOADER_START, stamp) }
}
