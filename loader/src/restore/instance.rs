//! The arguments and environment of this start.

use super::RestoreError;
use crate::restore::address::Binds;
use crate::runtime::auxv::{InitialStack, at};
use crate::runtime::clock::Clock;
use crate::runtime::memory::{read_u64, write_u32, write_u64};
use crate::runtime::sys;
use snapfn_format::PAGE;
use snapfn_format::snap::{ENV_SET, EnvChange, PATCH_STACK, Plan, Process};

/// Which part of `snaprun`'s own command line belongs to the program.
#[derive(Clone, Copy, Debug)]
pub struct Instance<'a> {
    /// Index of the argument that takes argv[0]'s place (the snapshot's name).
    pub first_arg: u64,
    /// Where sockets go, if not where they were.
    pub binds: Option<&'a Binds>,
    /// The descriptor that failures are reported to, closed before the jump; none: standard error.
    pub report: Option<i32>,
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
    pub(super) arg_start: u64,
    pub(super) arg_end: u64,
    pub(super) env_start: u64,
    pub(super) env_end: u64,
}

/// End of the C string at `addr`, terminator included.
unsafe fn string_end(addr: u64) -> u64 {
    // SAFETY: the caller passes strings of the initial stack.
    addr + unsafe { crate::runtime::memory::c_str(addr) }.to_bytes_with_nul().len() as u64
}

impl Instance<'_> {
    /// Turns the kernel's vectors into the instance's: the slot of the snapshot's name becomes argv[0] (the
    /// program's own string), the word before it the count; the environment takes over the changes that the
    /// program made to its own.
    ///
    /// `initial` follows where its vectors move.
    ///
    /// # Safety
    /// `initial` is this process's initial stack; the image of `plan` is mapped.
    pub(super) unsafe fn install<'a>(
        &self,
        plan: &Plan<'a>,
        initial: &mut InitialStack,
    ) -> Result<Vectors, RestoreError<'a>> {
        // SAFETY: all addresses lie in the kernel's vectors.
        unsafe {
            if has_bare_stack(plan) {
                let shift = align_vectors(plan, initial, self.first_arg);
                initial.argv -= shift;
                initial.envp -= shift;
                initial.auxv -= shift;
            }
            let argv = initial.argv + 8 * self.first_arg;
            let argc = initial.argc - self.first_arg;
            let arg_start = read_u64(argv);
            let arg_end = string_end(read_u64(argv + 8 * (argc - 1)));
            let (env_start, env_end) = match initial.envc {
                0 => (arg_end, arg_end),
                count => (read_u64(initial.envp), string_end(read_u64(initial.envp + 8 * (count - 1)))),
            };
            if plan.header.process.argv0 != 0 {
                write_u64(argv, plan.header.process.argv0);
            }
            write_u64(argv - 8, argc);
            let envp = if plan.env_changes.is_empty() { initial.envp } else { merge(plan, initial)? };
            Ok(Vectors { argc, argv, envp, arg_start, arg_end, env_start, env_end })
        }
    }
}

/// Whether the program reads its arguments from the stack pointer at its first instruction (it has no C library).
pub(super) fn has_bare_stack(plan: &Plan<'_>) -> bool {
    plan.patches.iter().any(|patch| patch.kind == PATCH_STACK)
}

/// Bytes of stack that belong in front of vectors which are not the kernel's: those of a program that has its stack pointer
/// there, as large as a main thread's usually may become.
pub fn bare_stack(plan: &Plan<'_>) -> u64 {
    const LEN: u64 = 8 << 20;
    if has_bare_stack(plan) { LEN } else { 0 }
}

/// What a program that reads the vector itself must find for `kind` instead of the loader's value.
unsafe fn program_value(process: &Process, kind: u64) -> Option<u64> {
    const OURS: [u64; 7] = [at::PHDR, at::PHENT, at::PHNUM, at::BASE, at::ENTRY, at::EXECFN, at::SYSINFO_EHDR];
    let mut pairs = (0..process.auxv_len / 16).map(|i| process.auxv + 16 * i).filter(|_| OURS.contains(&kind));
    // SAFETY: the program's own vector.
    unsafe { pairs.find(|pair| read_u64(*pair) == kind).map(|pair| read_u64(pair + 8)) }
}

/// Writes the auxiliary vector of `initial` to `to` as the program must find it.
///
/// # Safety
/// The image is mapped; there is room at `to`, which may be the vector itself.
pub(super) unsafe fn copy_auxv(initial: &InitialStack, to: u64, process: &Process) -> u64 {
    let mut pair = to;
    // SAFETY: the caller's promise.
    unsafe {
        for (kind, value) in initial.aux() {
            write_u64(pair, kind);
            write_u64(pair + 8, program_value(process, kind).unwrap_or(value));
            pair += 16;
        }
        write_u64(pair, at::NULL);
        write_u64(pair + 8, 0);
    }
    pair + 16
}

/// A program without a C library reads its arguments from the stack pointer at its first instruction: the kernel's
/// own vectors, whose auxiliary vector must then tell of the program, not of this loader, and whose start must be
/// aligned to 16 bytes. Returns by how much everything has moved down.
unsafe fn align_vectors(plan: &Plan<'_>, initial: &InitialStack, first_arg: u64) -> u64 {
    let start = initial.argv + 8 * first_arg;
    // SAFETY: the kernel's vectors, with at least two words (argc, our own argv[0]) below the new first one.
    unsafe {
        let end = copy_auxv(initial, initial.auxv, &plan.header.process);
        let shift = (start - 8) % 16;
        if shift != 0 {
            for word in (0..(end - start) / 8).map(|i| start + 8 * i) {
                write_u64(word - shift, read_u64(word));
            }
        }
        shift
    }
}

/// The environment of this start with the program's own changes, in a mapping of its own.
unsafe fn merge<'a>(plan: &Plan<'a>, initial: &InitialStack) -> Result<u64, RestoreError<'a>> {
    let slots = initial.envc + plan.env_changes.len() as u64 + 1;
    let len = (8 * slots).next_multiple_of(PAGE);
    let flags = sys::MAP_PRIVATE | sys::MAP_ANONYMOUS;
    // SAFETY: a new mapping with room for every slot; the kernel's vector.
    unsafe {
        let vector = sys::mmap(0, len, sys::PROT_READ_WRITE, flags, -1, 0)
            .map_err(|errno| RestoreError::System("mmap of the environment vector", errno))?;
        write_environment(plan, (0..initial.envc).map(|index| read_u64(initial.envp + 8 * index)), vector);
        Ok(vector)
    }
}

/// Writes the vector of `variables` (addresses of C strings) with the program's own changes; returns its end.
///
/// # Safety
/// There is room at `vector` for all variables, all changes and a zero.
pub(super) unsafe fn write_environment(plan: &Plan<'_>, variables: impl Iterator<Item = u64>, vector: u64) -> u64 {
    let changes = plan.env_changes;
    let named = |change: &EnvChange, text: &[u8]| {
        text.strip_prefix(plan.bytes(change.name)).is_some_and(|rest| rest.first() == Some(&b'='))
    };
    let mut slot = vector;
    // SAFETY: the caller's promise.
    let mut put = |addr: u64| unsafe {
        write_u64(slot, addr);
        slot += 8;
    };
    for variable in variables {
        // SAFETY: the caller's promise.
        let text = unsafe { crate::runtime::memory::c_str(variable) };
        if !changes.iter().any(|change| named(change, text.to_bytes())) {
            put(variable);
        }
    }
    for change in changes.iter().filter(|change| change.kind == ENV_SET) {
        put(change.addr);
    }
    put(0);
    slot
}

/// A number that no other instance has.
pub(super) fn generation() -> u64 {
    let mut generation = [0u8; 8];
    let _ = sys::getrandom(&mut generation);
    u64::from_le_bytes(generation) | 1
}

impl Vectors {
    /// Fills a registered `struct snap_info`, between its size and its list of hooks (FORMAT.md).
    ///
    /// # Safety
    /// `info` is writable.
    pub(super) unsafe fn publish(&self, info: u64, generation: u64) {
        // SAFETY: the caller's promise.
        unsafe {
            write_u32(info + 4, 1);
            self.publish_counts(info);
            write_u64(info + 16, self.argv);
            write_u64(info + 32, generation);
            write_u64(info + 40, 0);
        }
    }

    /// The part of it that depends on the request.
    ///
    /// # Safety
    /// As [`Vectors::publish`].
    pub(super) unsafe fn publish_counts(&self, info: u64) {
        // SAFETY: the caller's promise.
        unsafe {
            write_u64(info + 8, self.argc);
            write_u64(info + 24, self.envp);
        }
    }
}
