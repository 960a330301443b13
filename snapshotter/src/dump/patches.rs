//! Words that must be new in every instance. Each is known by its place, never by its value alone, with one exception.
//!
//! ```text
//!  environ     the symbols of that name, and the vector itself          environ
//!  its copies  in programs that have made another one, see below
//!  canary      TLS blocks and frames                                    canary
//!  owners      of held mutexes                                          mutexes
//!  arguments   what two runs of the initialisation tell, at `main`      arguments
//! ```
//!
//! An instance with as many variables has its environment where the program had it, and no pointer to it changes. A
//! program that has copied vector and strings is the exception: its `environ` leads to the instance's vector, wherever
//! that is, and so must the program's copies of the address that `environ` had at the start. perl frees `environ` at
//! its end unless the two are equal. At `main` two runs of the initialisation tell which words these are; later it is
//! their value.

use super::memory::{AreaKind, Content, Image, read_image};
use super::refuse::DumpError;
use super::threads::ThreadState;
use crate::arch::CanaryUses;
use crate::tracee::{Reached, Tracer};
use snapfn_format::arch::{PARAMETERS, SCRATCH, SYSCALL};
use snapfn_format::snap::*;

/// Bytes on either side of an instruction pointer that are looked through for a check of the canary.
const AROUND: u64 = 32;

/// All patches: memory in ascending order of address, then registers. `words` were found by their modules.
/// `has_copied_all`: the program has copied vector and strings of its environment.
pub(super) fn find(
    tracer: &Tracer,
    reached: &Reached,
    threads: &[ThreadState],
    image: &Image,
    mut words: Vec<Patch>,
    has_copied_all: bool,
) -> Result<Vec<Patch>, DumpError> {
    if reached.at != AT_MAIN && has_copied_all {
        // The sort is stable: what is known of a word by other means stays the first one.
        copies_of_environ(tracer, image, &mut words)?;
    }
    // The first has a place in the process record.
    for info in tracer.registered.infos.iter().skip(1) {
        words.push(Patch { addr: *info, kind: PATCH_INFO, place: PATCH_MEMORY, arg: 0 });
    }
    // A program that reads its vectors from the stack pointer has them where the loader's are.
    words.retain(|patch| !(reached.bare_entry && patch.kind == PATCH_VECTOR));
    words.sort_by_key(|patch| patch.addr);
    words.dedup_by_key(|patch| patch.addr);
    registers(tracer, reached, threads, &mut words);
    Ok(words)
}

/// Adds the words of private memory that equal the address of the environment vector of the start.
fn copies_of_environ(tracer: &Tracer, image: &Image, out: &mut Vec<Patch>) -> Result<(), DumpError> {
    const PIECE: u64 = 1 << 20;
    let vector = tracer.booted.request.envp;
    let stored = image.parts.iter().filter(|part| matches!(part.content, Content::Map | Content::Read));
    for part in stored.filter(|part| image.areas.get(part.area).is_some_and(|area| area.kind != AreaKind::Resident)) {
        for at in (part.addr..part.addr + part.len).step_by(PIECE as usize) {
            let mut bytes = vec![0; (part.addr + part.len - at).min(PIECE) as usize];
            read_image(tracer, at, &mut bytes)?;
            let words = bytes.as_chunks::<8>().0.iter().zip((at..).step_by(8));
            let equal = words.filter(|(word, _)| u64::from_le_bytes(**word) == vector);
            out.extend(equal.map(|(_, addr)| Patch { addr, kind: PATCH_ENVP, place: PATCH_MEMORY, arg: 0 }));
        }
    }
    Ok(())
}

fn registers(tracer: &Tracer, reached: &Reached, threads: &[ThreadState], out: &mut Vec<Patch>) {
    let mut add = |register: usize, kind: u16, thread: usize| {
        out.push(Patch { addr: register as u64, kind, place: PATCH_REGISTER, arg: thread as u32 });
    };
    for (index, thread) in threads.iter().enumerate() {
        let at_main = thread.tid == reached.tid && reached.at == AT_MAIN;
        let regs = &thread.record.regs;
        if thread.canary != 0 && !at_main && is_amid_check(tracer, regs[reg::PC]) {
            // Compilers compare the canary in a register that no function keeps for its caller.
            let scratch = SCRATCH.into_iter().filter(|register| regs[*register] == thread.canary);
            scratch.for_each(|register| add(register, PATCH_CANARY, index));
        }
        if at_main && reached.bare_entry {
            add(reg::SP, PATCH_STACK, index);
        } else if at_main {
            add(PARAMETERS[0], PATCH_ARGC, index);
            add(PARAMETERS[1], PATCH_ARGV, index);
            add(PARAMETERS[2], PATCH_ENVP, index);
        }
    }
}

/// Whether a thread at `rip` may have been stopped between reading the canary and storing or comparing it. One in a
/// system call has not.
fn is_amid_check(tracer: &Tracer, rip: u64) -> bool {
    let start = rip.saturating_sub(AROUND);
    let Ok(code) = tracer.memory.read_vec(start, 2 * AROUND) else { return true };
    let at = AROUND as usize;
    !code[..at].ends_with(&SYSCALL) && !code[at..].starts_with(&SYSCALL) && CanaryUses::count(&code).reads()
}
