//! What the program has registered for its instances: it must still be there (a library that was unloaded takes it along),
//! and somebody must call it.

use super::refuse::Blocker;
use crate::tracee::Tracer;
use crate::tracee::maps::Vma;
use crate::tracee::protocol::{HOOK_FUNCTION, HOOK_INFO, HOOK_LEN, INFO_LEN};
use snapfn_format::snap::{AT_READY, PROT_EXEC, PROT_WRITE};
use std::ops::Range;

/// Whether all of `range` is mapped with `protection`.
fn is(vmas: &[Vma], protection: u16, range: Range<u64>) -> bool {
    let reach = |at, vma: &Vma| if vma.contains(at) && vma.prot & protection != 0 { vma.end } else { at };
    vmas.iter().fold(range.start, reach) >= range.end
}

/// How many hooks nobody is going to call: only `SNAP_OP_READY` returns to whoever does.
pub(crate) fn uncalled(tracer: &Tracer, at: u32) -> usize {
    if at == AT_READY { 0 } else { tracer.registered.hooks.len() }
}

/// Adds a blocker for each `struct snap_info` and hook that an instance could not use.
pub(super) fn check(tracer: &Tracer, at: u32, vmas: &[Vma], blockers: &mut Vec<Blocker>) {
    let registered = &tracer.registered;
    let writable = |addr: u64, len: u64| is(vmas, PROT_WRITE, addr..addr.saturating_add(len));
    let mut block = |subject, what: &str, remedy| blockers.push(Blocker { subject, what: what.to_owned(), remedy });
    if registered.info != 0 && !writable(registered.info, INFO_LEN) {
        let subject = format!("struct snap_info at {:x}", registered.info);
        block(subject, "is in no writable memory", "keep its memory, and the library that it is in");
    }
    for hook in registered.hooks.iter().filter(|_| uncalled(tracer, at) == 0) {
        let word = |offset| tracer.memory.read_u64(hook + offset).unwrap_or(0);
        let (function, info) = (word(HOOK_FUNCTION), word(HOOK_INFO));
        let what = match () {
            () if !writable(*hook, HOOK_LEN) => "is in no writable memory",
            () if !is(vmas, PROT_EXEC, function..function.saturating_add(1)) => "has a function where no code is",
            () if info != 0 && !writable(info, INFO_LEN) => "fills a struct snap_info in no writable memory",
            () => continue,
        };
        let subject = format!("hook at {hook:x} (function {function:x})");
        block(subject, what, "keep its memory, and do not unload a library that has called snap_on_restore");
    }
}
