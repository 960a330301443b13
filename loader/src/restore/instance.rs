//! The arguments and environment of this start.
#![allow(unsafe_code)] // moves the vectors and strings of the initial stack

use super::RestoreError;
use super::image::Image;
use crate::restore::binds::Binds;
use crate::runtime::auxv::{InitialStack, at};
use crate::runtime::clock::Clock;
use crate::runtime::memory::{read_u64, string_end, write_bytes, write_u64};
use crate::runtime::sys;
use snapfn_format::PAGE;
use snapfn_format::snap::{ENV_SET, EnvChange, PATCH_STACK, PATCH_VECTOR, Plan};

/// The part of `snaprun`'s own command line that belongs to the program.
#[derive(Clone, Copy, Debug)]
pub struct Instance<'a> {
    /// Index of the argument that takes argv[0]'s place (the snapshot's name).
    pub first_arg: u64,
    /// The new addresses of sockets.
    pub binds: Option<&'a Binds>,
    /// The descriptor that failures are reported to, closed before the jump; none: standard error.
    pub report: Option<i32>,
    /// Whether the process ends before the jump, and writes when to `report` (`snaprun --prove`).
    pub is_proof: bool,
    /// A snapshot of this instance is about to be made: its clocks are plain system calls.
    pub is_traced: bool,
    /// What the time goes to.
    pub clock: Clock,
}

/// Where the new vectors are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vectors {
    pub(super) argc: u64,
    pub(super) argv: u64,
    pub(super) envp: u64,
    pub(super) envc: u64,
    /// The environment vector lies where the program's own was.
    pub(super) keeps_envp: bool,
    pub(super) arg_start: u64,
    pub(super) arg_end: u64,
    pub(super) env_start: u64,
    pub(super) env_end: u64,
}

impl Instance<'_> {
    /// Whether it runs as the program, and neither for a dump nor for `--timing`, whose stub does not change the
    /// executable.
    pub(super) fn is_final(&self) -> bool {
        !self.is_traced && self.clock.is_off()
    }

    /// The future places of this instance's vectors: the slot of the snapshot's name becomes argv[0], the word before
    /// it the count. [`Instance::settle`] adds their strings and the environment.
    ///
    /// `initial` follows where its vectors move.
    ///
    /// # Safety
    /// `initial` is this process's initial stack, and `self.first_arg` is one of its arguments.
    pub(super) unsafe fn install<'a>(
        &self,
        image: &Image<'a>,
        initial: &mut InitialStack,
    ) -> Result<(Vectors, Strings), RestoreError<'a>> {
        // SAFETY: all addresses lie in the kernel's vectors.
        unsafe {
            let strings = Strings::of(initial, self.first_arg);
            if has_bare_stack(image) {
                let shift = align_vectors(image, initial, self.first_arg);
                initial.argv -= shift;
                initial.envp -= shift;
                initial.auxv -= shift;
            }
            let kept = u64::from(image.header.process.kept_args);
            let argc = initial.argc - self.first_arg + kept;
            // What comes before has no use any more.
            let argv = match kept <= self.first_arg {
                true => initial.argv + 8 * (self.first_arg - kept),
                false => 8 + vector_mapping(argc + 1)?,
            };
            write_u64(argv - 8, argc);
            let envc = environment_len(image, initial);
            let kept = image.patches.iter().find(|patch| patch.kind == PATCH_VECTOR && u64::from(patch.arg) == envc);
            let envp = match kept {
                Some(vector) => vector.addr,
                None if image.env_changes.is_empty() => initial.envp,
                None => vector_mapping(envc)?,
            };
            let (arg_start, arg_end) = (strings.own, strings.env_start);
            let (env_start, env_end) = (strings.env_start, strings.end);
            let keeps_envp = kept.is_some();
            Ok((Vectors { argc, argv, envp, envc, keeps_envp, arg_start, arg_end, env_start, env_end }, strings))
        }
    }

    /// Puts the program's own first arguments in front of the other ones, as the kernel would have laid them: programs
    /// write their title over argv and environ, for which they take one block. Then the environment. Both are late,
    /// since the words of `snaprun`'s own options lie where those go.
    ///
    /// # Safety
    /// As [`Instance::install`], which has returned `vectors` and `strings`.
    pub(super) unsafe fn settle<'a>(
        image: &Image<'a>,
        initial: &InitialStack,
        vectors: &mut Vectors,
        strings: Strings,
    ) -> Result<(), RestoreError<'a>> {
        // SAFETY: the caller's promise.
        unsafe {
            if image.header.process.argv0 != 0 {
                let own = image.own_arguments();
                let strings = strings.make_room(own.len() as u64, initial)?;
                vectors.arg_start = strings.next - own.len() as u64;
                write_bytes(vectors.arg_start, own);
                let others = write_own(vectors.argv, vectors.arg_start, image);
                let slot = |index| initial.argv + 8 * (strings.first_arg + 1 + index);
                if others != slot(0) {
                    let count = initial.argc - strings.first_arg - 1;
                    (0..count).for_each(|index| write_u64(others + 8 * index, read_u64(slot(index))));
                }
                (vectors.arg_end, vectors.env_start, vectors.env_end) =
                    (strings.env_start, strings.env_start, strings.end);
            }
            if vectors.envp != initial.envp {
                let variables = (0..initial.envc).map(|index| read_u64(initial.envp + 8 * index));
                write_environment(image, variables, vectors.envp);
            }
            Ok(())
        }
    }
}

/// Writes the addresses of the program's own first arguments, whose strings are at `text`, to `argv`: the slot behind
/// them.
///
/// # Safety
/// The strings are there, and room for their addresses.
pub(super) unsafe fn write_own(argv: u64, text: u64, plan: &Plan<'_>) -> u64 {
    let (mut slot, mut text) = (argv, text);
    for _ in 0..=plan.header.process.kept_args {
        // SAFETY: the caller's promise.
        unsafe {
            write_u64(slot, text);
            text = string_end(text);
        }
        slot += 8;
    }
    slot
}

/// The strings of the initial stack, one behind the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strings {
    /// Index of the argument that is the first of this instance.
    first_arg: u64,
    /// The first string of all.
    start: u64,
    /// The instance's first string.
    own: u64,
    /// The string behind that.
    next: u64,
    /// The first string of the environment.
    env_start: u64,
    /// Behind the last one.
    end: u64,
}

impl Strings {
    /// # Safety
    /// `initial` is an initial stack.
    unsafe fn of(initial: &InitialStack, first_arg: u64) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let arg = |index| read_u64(initial.argv + 8 * index);
            let env_start = string_end(arg(initial.argc - 1));
            let end = match initial.envc {
                0 => env_start,
                count => string_end(read_u64(initial.envp + 8 * (count - 1))),
            };
            let next = if first_arg + 1 < initial.argc { arg(first_arg + 1) } else { env_start };
            Strings { first_arg, start: arg(0), own: arg(first_arg), next, env_start, end }
        }
    }

    /// Makes room for `need` bytes in front of the second string: the bytes before it are no longer used. Where that is
    /// too little, the strings move up over the path of `snaprun`, which the kernel has put behind them, or else into a
    /// mapping of their own.
    ///
    /// # Safety
    /// `self` is what `initial` has.
    unsafe fn make_room<'a>(self, need: u64, initial: &InitialStack) -> Result<Self, RestoreError<'a>> {
        let missing = need.saturating_sub(self.next.saturating_sub(self.start));
        if missing == 0 {
            return Ok(self);
        }
        let len = self.end - self.next;
        // SAFETY: strings of the initial stack; the target is what lies behind them or new.
        unsafe {
            let behind = match initial.aux_value(at::EXECFN) {
                Some(path) if path == self.end => string_end(path) - path,
                _ => 0,
            };
            let next = if missing <= behind {
                self.next + missing
            } else {
                let flags = sys::MAP_PRIVATE | sys::MAP_ANONYMOUS;
                let room = (need + len).next_multiple_of(PAGE);
                need + sys::mmap_free(0, room, sys::PROT_READ_WRITE, flags, -1, 0)
                    .map_err(|errno| RestoreError::System("mmap of the argument strings", errno))?
            };
            core::ptr::copy(self.next as *const u8, next as *mut u8, len as usize);
            let moved = |addr: u64| addr.wrapping_sub(self.next).wrapping_add(next);
            let args = (self.first_arg + 1..initial.argc).map(|index| initial.argv + 8 * index);
            let variables = (0..initial.envc).map(|index| initial.envp + 8 * index);
            args.chain(variables).for_each(|slot| write_u64(slot, moved(read_u64(slot))));
            Ok(Strings { next, env_start: moved(self.env_start), end: moved(self.end), ..self })
        }
    }
}

/// Number of variables of this instance.
fn environment_len(plan: &Plan<'_>, initial: &InitialStack) -> u64 {
    if plan.env_changes.is_empty() {
        return initial.envc;
    }
    let kept = (0..initial.envc).filter_map(|index| initial.env(index));
    let kept = kept.filter(|text| !is_changed(plan, text.to_bytes())).count();
    let set = plan.env_changes.iter().filter(|change| change.kind == ENV_SET).count();
    (kept + set) as u64
}

/// Whether the program itself has set or removed the variable of `text`.
fn is_changed(plan: &Plan<'_>, text: &[u8]) -> bool {
    let named =
        |change: &EnvChange| text.strip_prefix(plan.bytes(change.name)).is_some_and(|rest| rest.first() == Some(&b'='));
    plan.env_changes.iter().any(named)
}

/// Whether the program reads its arguments from the stack pointer at its first instruction (it has no C library).
pub(super) fn has_bare_stack(plan: &Plan<'_>) -> bool {
    plan.patches.iter().any(|patch| patch.kind == PATCH_STACK)
}

/// Bytes of stack that belong in front of vectors which are not the kernel's: those of a program that has its stack
/// pointer there, as large as a main thread's usually may become.
pub fn bare_stack(plan: &Plan<'_>) -> u64 {
    const LEN: u64 = 8 << 20;
    if has_bare_stack(plan) { LEN } else { 0 }
}

/// The value of `kind` for a program that reads the vector itself, instead of the loader's value.
fn program_value(image: &Image<'_>, kind: u64) -> Option<u64> {
    const OURS: [u64; 7] = [at::PHDR, at::PHENT, at::PHNUM, at::BASE, at::ENTRY, at::EXECFN, at::SYSINFO_EHDR];
    let mut pairs = image.auxv().filter(|_| OURS.contains(&kind));
    pairs.find(|(word, _)| word.get() == kind).map(|(_, value)| value.get())
}

/// Writes the auxiliary vector of `initial` to `to` as the program must find it.
///
/// # Safety
/// There is room at `to`, which may be the vector itself.
pub(super) unsafe fn copy_auxv(initial: &InitialStack, to: u64, image: &Image<'_>) -> u64 {
    let mut pair = to;
    // SAFETY: the caller's promise.
    unsafe {
        for (kind, value) in initial.aux() {
            write_u64(pair, kind);
            write_u64(pair + 8, program_value(image, kind).unwrap_or(value));
            pair += 16;
        }
        write_u64(pair, at::NULL);
        write_u64(pair + 8, 0);
    }
    pair + 16
}

/// A program without a C library reads its arguments from the stack pointer at its first instruction: the kernel's own
/// vectors. Their auxiliary vector must then describe the program, not this loader, and their start must be aligned to
/// 16 bytes. Returns by how much everything has moved down.
///
/// # Safety
/// `initial` is this process's initial stack, and `first_arg` is one of its arguments but the first.
unsafe fn align_vectors(image: &Image<'_>, initial: &InitialStack, first_arg: u64) -> u64 {
    let start = initial.argv + 8 * first_arg;
    // SAFETY: the kernel's vectors, with at least two words (argc, our own argv[0]) below the new first one.
    unsafe {
        let end = copy_auxv(initial, initial.auxv, image);
        let shift = (start - 8) % 16;
        if shift != 0 {
            for word in (0..(end - start) / 8).map(|i| start + 8 * i) {
                write_u64(word - shift, read_u64(word));
            }
        }
        shift
    }
}

/// Memory for a vector of `count` strings.
fn vector_mapping<'a>(count: u64) -> Result<u64, RestoreError<'a>> {
    let len = (8 * (count + 1)).next_multiple_of(PAGE);
    sys::mmap_free(0, len, sys::PROT_READ_WRITE, sys::MAP_PRIVATE | sys::MAP_ANONYMOUS, -1, 0)
        .map_err(|errno| RestoreError::System("mmap of a vector", errno))
}

/// Writes the vector of `variables` (addresses of C strings) with the program's own changes; returns its end.
///
/// # Safety
/// There is room at `vector` for all variables, all changes and a zero; `variables` are addresses of C strings.
pub(super) unsafe fn write_environment(plan: &Plan<'_>, variables: impl Iterator<Item = u64>, vector: u64) -> u64 {
    let changes = plan.env_changes;
    let mut slot = vector;
    // SAFETY: the caller's promise.
    let mut put = |addr: u64| unsafe {
        write_u64(slot, addr);
        slot += 8;
    };
    for variable in variables {
        // SAFETY: the caller's promise.
        let text = || unsafe { crate::runtime::memory::c_str(variable) };
        if changes.is_empty() || !is_changed(plan, text().to_bytes()) {
            put(variable);
        }
    }
    for change in changes.iter().filter(|change| change.kind == ENV_SET) {
        put(change.addr);
    }
    put(0);
    slot
}
