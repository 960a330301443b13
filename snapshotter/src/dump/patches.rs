//! Words that must be new in every instance, each known by where it is and never by its value alone.
//!
//! ```text
//!  environ     the symbols of that name, and the vector itself          environ
//!  canary      TLS blocks and frames                                    canary
//!  owners      of held mutexes                                          mutexes
//!  arguments   what two runs of the initialisation tell, at `main`      arguments
//! ```

use super::functions;
use super::refuse::DumpError;
use super::threads::ThreadState;
use crate::tracee::{Reached, Tracer};
use snapfn_format::snap::*;

/// Bytes on either side of an instruction pointer that are looked through for a check of the canary.
const AROUND: u64 = 32;
/// Registers that compilers use to compare the canary: those that no function keeps for its caller.
const SCRATCH: [usize; 9] = [reg::RAX, reg::RCX, reg::RDX, reg::RSI, reg::RDI, reg::R8, reg::R9, reg::R10, reg::R11];

/// All patches: memory in ascending order of address, then registers. `words` were found by their modules.
pub(super) fn find(
    tracer: &Tracer,
    reached: &Reached,
    threads: &[ThreadState],
    mut words: Vec<Patch>,
) -> Result<Vec<Patch>, DumpError> {
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

fn registers(tracer: &Tracer, reached: &Reached, threads: &[ThreadState], out: &mut Vec<Patch>) {
    let mut add = |register: usize, kind: u16, thread: usize| {
        out.push(Patch { addr: register as u64, kind, place: PATCH_REGISTER, arg: thread as u32 });
    };
    for (index, thread) in threads.iter().enumerate() {
        let at_main = thread.tid == reached.tid && reached.at == AT_MAIN;
        let regs = &thread.record.regs;
        if thread.canary != 0 && !at_main && is_amid_check(tracer, regs[reg::RIP]) {
            let scratch = SCRATCH.into_iter().filter(|register| regs[*register] == thread.canary);
            scratch.for_each(|register| add(register, PATCH_CANARY, index));
        }
        if at_main && reached.bare_entry {
            add(reg::RSP, PATCH_STACK, index);
        } else if at_main {
            add(reg::RDI, PATCH_ARGC, index);
            add(reg::RSI, PATCH_ARGV, index);
            add(reg::RDX, PATCH_ENVP, index);
        }
    }
}

/// Whether a thread at `rip` may have been stopped between reading the canary and storing or comparing it. One in a
/// system call has not.
fn is_amid_check(tracer: &Tracer, rip: u64) -> bool {
    const SYSCALL: [u8; 2] = [0x0f, 0x05];
    let start = rip.saturating_sub(AROUND);
    let Ok(code) = tracer.memory.read_vec(start, 2 * AROUND) else { return true };
    let at = AROUND as usize;
    code[at - 2..at] != SYSCALL && code[at..at + 2] != SYSCALL && functions::reads_canary(&code)
}
