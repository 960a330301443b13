//! A prepared instance: the loader does everything that does not depend on the request, then waits for it on a socket
//! and jumps into the program. One request, one process.
//!
//! ```text
//!  before   the image, its patches, threads (at their gate), protections, the pages that are worth having
//!  wait     with the default dispositions and no signal blocked: what would end a starting process ends this one;
//!           so does the end of the socket, when its preparer is gone
//!  after    vectors, standard streams, descriptors, directory, dispositions, pending signals and timers, the jump
//! ```
//! The vectors lie in a mapping of their own, since those of the request may be larger than the kernel's. Their
//! addresses are fixed, so the loader writes all pointers to them, and so takes their pages, before it waits:
//!
//! ```text
//!  +0      argc, argv (of a program without a C library: the environment and the auxiliary vector behind it)
//!  +1 MiB  envp
//!  +2 MiB  room for a longer argv[0], then the strings as they were received, arguments first
//! ```
//! The environment vector always lies there, also where the program's own would have room for it ([`PATCH_VECTOR`]):
//! the number of variables is not known before.
#![allow(unsafe_code)] // writes vectors and strings into a mapping of its own

use super::image::Image;
use super::info::Info;
use super::instance::{Vectors, bare_stack, copy_auxv, has_bare_stack, write_environment, write_own};
use super::{Instance, RestoreError, Sources, patch};
use super::{descriptors, enter, fds, info, make_threads, map_image, maps, patch_image, process, signals};
use crate::runtime::auxv::InitialStack;
use crate::runtime::memory::{bytes, read_u64, string_end, write_bytes, write_u64};
use crate::runtime::sys::{self, Errno, nr};
use crate::runtime::task;
use core::convert::Infallible;
use core::ffi::CStr;
use snapfn_format::PAGE;
use snapfn_format::request::{
    COUNT_MAX, DESCRIPTORS_MAX, DIRECTORY, HEADER_LEN, PARKED, RequestHeader, STREAMS, STRINGS_MAX, UMASK_KEPT,
};
use snapfn_format::snap::*;

/// Offset of the environment vector: the space before it has room for all arguments.
const ENVP: u64 = 1 << 20;
/// Most bytes of the program's own first arguments that are put in front of the other ones, their zeros included.
const ARGV0: u64 = 1024;
/// Offset of the strings.
const STRINGS: u64 = (2 << 20) + ARGV0;
/// The program's own environment changes come on top of a request's variables.
const AREA: u64 = STRINGS + STRINGS_MAX as u64;
/// Strings that fit here need no page fault after the release.
const STRINGS_FIRST: u64 = 2 * PAGE;

const _: () = assert!(
    8 * (COUNT_MAX as u64 + KEPT_ARGS_MAX as u64 + 3) < ENVP && 8 * (2 * COUNT_MAX as u64 + 1) <= STRINGS - ENVP + 8
);

/// The pages that a prepared instance populates before it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Populate {
    /// Only those that the restore writes.
    None,
    /// Page tables for everything that is mapped, and own copies of the program's small writable mappings.
    Auto,
    /// Own copies of all writable pages.
    All,
}

impl Populate {
    /// The value of `--populate`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        match text {
            b"none" => Some(Populate::None),
            b"auto" => Some(Populate::Auto),
            b"all" => Some(Populate::All),
            _ => None,
        }
    }

    /// Its name there.
    pub fn name(self) -> &'static CStr {
        match self {
            Populate::None => c"none",
            Populate::Auto => c"auto",
            Populate::All => c"all",
        }
    }
}

/// Prepares an instance of `plan`, waits for a request on `socket` and becomes the program; returns only on
/// failure.
///
/// # Safety
/// As [`super::restore`].
pub unsafe fn park<'a>(
    plan: &Plan<'a>,
    sources: &Sources<'_>,
    initial: &InitialStack,
    instance: &Instance<'a>,
    socket: i32,
    populate: Populate,
) -> RestoreError<'a> {
    // SAFETY: the caller's promise.
    match unsafe { prepare_and_wait(plan, sources, initial, instance, socket, populate) } {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

/// # Safety
/// As [`super::restore`].
unsafe fn prepare_and_wait<'a>(
    plan: &Plan<'a>,
    sources: &Sources<'_>,
    initial: &InitialStack,
    instance: &Instance<'a>,
    socket: i32,
    populate: Populate,
) -> Result<Infallible, RestoreError<'a>> {
    if plan.env_changes.len() > COUNT_MAX as usize {
        return Err(RestoreError::System("too many variables for a prepared instance", Errno::INVAL));
    }
    // SAFETY: the caller's promise.
    let image = unsafe { map_image(plan, sources) }?;
    image.fill_slots(initial, instance.is_traced);
    let area = Area::new(bare_stack(plan))?;
    let canary = patch_image(image, initial, &area.vectors());
    let early = Early::of(image);
    if early.descriptors {
        sources.close_all();
    }
    sys::block_signals();
    // SAFETY: all signals are blocked; memory is complete but for counts, which the request brings.
    let frames = unsafe { make_threads(image, initial, &area.vectors(), canary) }?;
    info::publish(image, &area.vectors());
    if early.protections {
        // SAFETY: what is written afterwards, no protection covers.
        unsafe { maps::protect(image) }?;
    }
    area.populate();
    populate_image(image, populate);
    for stream in 0..3 {
        sys::close(stream);
    }
    sys::unblock_signals();
    let mut request = Request::receive(socket, &area)?;
    sys::block_signals();
    request.place_streams()?;
    let (vectors, initial) = request.install(image, initial, &area);
    frames.patch_counts(&vectors);
    image.infos().for_each(|info| info.publish_counts(&vectors));
    if !early.protections {
        patch::memory(image, &vectors, canary);
        // SAFETY: behind this, only the gate is written.
        unsafe { maps::protect(image) }?;
    }
    if !early.descriptors {
        descriptors(image, sources, &initial, instance)?;
    }
    process::apply(image, &vectors)?;
    maps::map_descriptors(image)?;
    // SAFETY: all signals are blocked; then nothing is left but the jump.
    unsafe {
        signals::dispositions(image)?;
        enter(image, &frames, &vectors, instance, Some(socket))
    }
}

/// The steps before the request is known.
#[derive(Clone, Copy, Debug)]
struct Early {
    /// There are none but the standard streams.
    descriptors: bool,
    /// No word is written afterwards that a protection could cover, and no protection waits for a descriptor.
    protections: bool,
}

impl Early {
    fn of(image: &Image<'_>) -> Self {
        let bare = has_bare_stack(image);
        let late_word =
            |patch: &Patch| patch.place == PATCH_MEMORY && (patch.is_count() || (bare && patch.kind == PATCH_ENVP));
        let is_protected = |info: Info| {
            let covers = |op: &Op| info.addr() < op.addr + op.len && op.addr < info.addr() + Patch::INFO_LEN;
            image.ops.iter().any(|op| op.kind == OP_PROTECT && covers(op))
        };
        Early {
            descriptors: fds::is_only_streams(image),
            protections: !image.patches.iter().any(late_word)
                && !image.ops.iter().any(|op| op.kind == OP_MAP_FD)
                && !image.infos().any(is_protected),
        }
    }
}

/// Populates pages before a user waits for them. A failure only costs time later.
fn populate_image(image: &Image<'_>, populate: Populate) {
    /// Page tables for mappings up to this size.
    const READ_MAX: u64 = 2048 * PAGE;
    /// Own copies of this many pages at most, the smaller mappings first: data segments, the C library's state.
    const COPIED_MAX: u64 = 256 * PAGE;
    const SMALL: [u64; 3] = [4 * PAGE, 32 * PAGE, COPIED_MAX];
    if populate == Populate::None {
        return;
    }
    // The writable ones of the snapshot's pages: the program has written them before.
    let own =
        |op: &&Op| op.kind == OP_MAP_FILE && op.file == 0 && op.prot & PROT_WRITE != 0 && op.flags & OP_SHARED == 0;
    let protected = |op: &Op| image.ops.iter().any(|other| other.kind == OP_PROTECT && other.addr == op.addr);
    // Larger ones cost more at the exit than their faults would: those come 16 pages at a time.
    let small = |op: &&Op| op.len <= READ_MAX || populate == Populate::All;
    for op in image.ops.iter().filter(|op| op.kind == OP_MAP_FILE && op.prot != 0).filter(small) {
        let _ = sys::populate(op.addr, op.len, false);
    }
    let mut left = if populate == Populate::All { u64::MAX } else { COPIED_MAX };
    let mut above = 0;
    for limit in SMALL.into_iter().chain((populate == Populate::All).then_some(u64::MAX)) {
        for op in image.ops.iter().filter(own).filter(|op| op.len > above && op.len <= limit) {
            if op.len <= left && !protected(op) {
                left -= op.len;
                let _ = sys::populate(op.addr, op.len, true);
            }
        }
        above = limit;
    }
}

/// The mapping of the vectors. No reference covers a part of it that is still written.
#[derive(Clone, Copy, Debug)]
struct Area(u64);

impl Area {
    /// With `below` bytes in front of it.
    fn new<'a>(below: u64) -> Result<Self, RestoreError<'a>> {
        let flags = sys::MAP_PRIVATE | sys::MAP_ANONYMOUS | sys::MAP_NORESERVE;
        sys::mmap_free(0, below + AREA, sys::PROT_READ_WRITE, flags, -1, 0)
            .map(|start| Area(start + below))
            .map_err(|errno| RestoreError::System("mmap of the vectors", errno))
    }

    /// The vectors, as far as they are known before the request.
    fn vectors(&self) -> Vectors {
        let strings = self.0 + STRINGS;
        Vectors {
            argc: 0,
            argv: self.0 + 8,
            envp: self.0 + ENVP,
            envc: 0,
            keeps_envp: false,
            arg_start: strings,
            arg_end: strings,
            env_start: strings,
            env_end: strings,
        }
    }

    /// Populates the pages that a request of ordinary size needs, before it is received.
    fn populate(&self) {
        for page in [0, ENVP].into_iter().chain((STRINGS..STRINGS - ARGV0 + STRINGS_FIRST).step_by(PAGE as usize)) {
            // SAFETY: inside the area.
            unsafe { write_u64(self.0 + page, 0) };
        }
    }
}

/// A request that has arrived: its strings lie in the area.
struct Request {
    header: RequestHeader,
    fds: [i32; DESCRIPTORS_MAX],
}

impl Request {
    /// Reports that this process waits, and waits. The process ends with its preparer.
    fn receive<'a>(socket: i32, area: &Area) -> Result<Self, RestoreError<'a>> {
        let fail = |errno| RestoreError::System("receiving the request", errno);
        let strings = area.0 + STRINGS;
        let mut request = Request { header: RequestHeader::empty(), fds: [-1; DESCRIPTORS_MAX] };
        // struct cmsghdr with room for the descriptors.
        let mut control = [0u64; 2 + DESCRIPTORS_MAX.div_ceil(2)];
        let vector =
            [request.header.bytes_mut().as_mut_ptr() as u64, HEADER_LEN as u64, strings, STRINGS_FIRST - ARGV0];
        let message = [0, 0, vector.as_ptr() as u64, 2, control.as_mut_ptr() as u64, size_of_val(&control) as u64, 0];
        let call = |number, args| loop {
            // SAFETY: everything that the callers below name is live; the strings' pages are the area's.
            match unsafe { sys::raw(number, args) } {
                Ok(0) => sys::exit(0),
                Ok(count) => return Ok(count as u64),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(fail(errno)),
            }
        };
        call(nr::WRITE, [socket as u64, [PARKED].as_ptr() as u64, 1, 0, 0, 0])?;
        let mut received = call(nr::RECVMSG, [socket as u64, message.as_ptr() as u64, 0, 0, 0, 0])?;
        // struct cmsghdr: its length, then what follows.
        let count = (control[0].saturating_sub(sys::CMSG_HEADER) / 4) as usize;
        if control[1] == sys::CMSG_RIGHTS {
            let words = control.iter().skip(2).flat_map(|word| [*word as i32, (*word >> 32) as i32]);
            request.fds.iter_mut().zip(words.take(count)).for_each(|(slot, fd)| *slot = fd);
        }
        // Sent in one piece; the rest is for a sender that was interrupted, and for long strings.
        let read = |to: u64, len: u64, done: &mut u64| {
            while *done < len {
                *done += call(nr::READ, [socket as u64, to + *done, len - *done, 0, 0, 0])?;
            }
            Ok(())
        };
        read(request.header.bytes_mut().as_mut_ptr() as u64, HEADER_LEN as u64, &mut received)?;
        let invalid = |_| RestoreError::System("the request is not valid", Errno::INVAL);
        request.header.check().map_err(invalid)?;
        received -= HEADER_LEN as u64;
        read(strings, u64::from(request.header.strings), &mut received)?;
        // SAFETY: just received; nothing else writes there.
        request.header.check_strings(unsafe { bytes(strings, u64::from(request.header.strings)) }).map_err(invalid)?;
        if request.fds.iter().filter(|fd| **fd >= 0).count() != request.header.descriptors() {
            return Err(invalid(snapfn_format::FormatError::Invalid("descriptors")));
        }
        Ok(request)
    }

    /// Puts the standard streams to their numbers: they come in order, and the lowest free numbers are theirs.
    fn place_streams<'a>(&mut self) -> Result<(), RestoreError<'a>> {
        let wanted = (0..4).filter(|bit| self.header.flags & 1 << bit != 0);
        let pairs = wanted.zip(self.fds);
        if self.header.flags & DIRECTORY != 0 {
            let fd = self.fds.get(self.header.descriptors() - 1).copied().unwrap_or(-1);
            let entered = task::enter_directory(fd);
            sys::close(fd);
            entered.map_err(|errno| RestoreError::System("entering the working directory", errno))?;
        }
        // Where one is missing, those above it have too low numbers; the last one moves first.
        let mut streams = [(-1, -1); 3];
        streams.iter_mut().zip(pairs).for_each(|(slot, pair)| *slot = pair);
        for (number, fd) in streams.into_iter().rev() {
            if (0..3).contains(&number) && fd != number {
                sys::dup3(fd, number, 0)
                    .map_err(|errno| RestoreError::System("placing the standard streams", errno))?;
                sys::close(fd);
            }
        }
        if self.header.umask != UMASK_KEPT {
            sys::umask(self.header.umask);
        }
        Ok(())
    }

    /// Writes the vectors; also as the stack of a new process, whose auxiliary vector is still the kernel's. `area` is
    /// the one that the request was received in.
    fn install(&self, image: &Image<'_>, initial: &InitialStack, area: &Area) -> (Vectors, InitialStack) {
        let Vectors { argv, mut envp, mut arg_start, .. } = area.vectors();
        let envc = u64::from(self.header.envc);
        let kept = if self.header.argc > 0 { u64::from(image.header.process.kept_args) } else { 0 };
        let argc = u64::from(self.header.argc) + kept;
        // SAFETY: `receive` has counted the strings; both vectors have room for the most that a request may have.
        unsafe {
            write_u64(argv - 8, argc);
            let mut text = arg_start;
            // The first one is the name of the snapshot, which the program's own arguments replace.
            let others = argv + 8 * (kept + 1);
            let slots = Some(argv).into_iter().chain((0..).map(|i| others + 8 * i));
            for slot in slots.take(self.header.argc as usize) {
                write_u64(slot, text);
                text = string_end(text);
            }
            write_u64(argv + 8 * argc, 0);
            let env_start = text;
            if image.header.process.argv0 != 0 && argc > 0 {
                let own = image.own_arguments();
                let second = if self.header.argc > 1 { read_u64(others) } else { env_start };
                let mut text = image.header.process.argv0;
                if own.len() as u64 <= second - arg_start + ARGV0 {
                    arg_start = second - own.len() as u64;
                    write_bytes(arg_start, own);
                    text = arg_start;
                }
                write_own(argv, text, image);
            }
            let bare = has_bare_stack(image);
            if bare {
                envp = argv + 8 * (argc + 1);
            }
            let variables = (0..envc).map(|_| {
                let this = text;
                text = string_end(text);
                this
            });
            let end = write_environment(image, variables, envp);
            let moved = InitialStack { argc, argv, envp, envc: (end - envp) / 8 - 1, auxv: initial.auxv };
            if bare {
                copy_auxv(initial, end, image);
            }
            let env_end = area.vectors().arg_start + u64::from(self.header.strings);
            let envc = moved.envc;
            let arg_end = env_start;
            (Vectors { argc, argv, envp, envc, keeps_envp: false, arg_start, arg_end, env_start, env_end }, moved)
        }
    }
}

// The order of the bits is that of the descriptors.
const _: () = assert!(STREAMS == 7 && DIRECTORY == 8);
