//! What the program has registered for its instances: the loader must be able to fill it, and somebody to call it.

use super::refuse::Blocker;
use crate::tracee::Tracer;
use crate::tracee::maps::Vma;
use crate::tracee::protocol::HOOK_LEN;
use snapfn_format::snap::{AT_READY, PROT_EXEC, PROT_READ, PROT_WRITE, Patch};

/// How many hooks nobody is going to call.
pub(crate) fn uncalled(tracer: &Tracer, at: u32) -> usize {
    tracer.registered.uncalled(at == AT_READY)
}

/// Adds a blocker for each `struct snap_info` that the loader could not fill, and for each hook that could not be called.
pub(super) fn check(tracer: &Tracer, at: u32, vmas: &[Vma], blockers: &mut Vec<Blocker>) {
    let all = |start: u64, len: u64, fits: &dyn Fn(&Vma) -> bool| {
        let reach = |at, vma: &Vma| if vma.contains(at) && fits(vma) { vma.end } else { at };
        vmas.iter().fold(start, reach) >= start.saturating_add(len)
    };
    // As where shared memory is brought back: that of a file is the file's.
    let own = |vma: &Vma| vma.prot & PROT_WRITE != 0 && !(vma.shared && vma.has_file());
    let mut block = |subject, what: &str, remedy| blockers.push(Blocker { subject, what: what.to_owned(), remedy });
    for info in tracer.registered.infos.iter().filter(|info| !all(**info, Patch::INFO_LEN, &own)) {
        let subject = format!("struct snap_info at {info:x}");
        block(subject, "is in no writable memory of the program's own", "keep it in a variable of static lifetime");
    }
    for hook in tracer.registered.hooks.iter().filter(|_| at == AT_READY) {
        let is_there = all(hook.record, HOOK_LEN, &|vma| vma.prot & PROT_READ != 0);
        if !is_there || !all(hook.function, 1, &|vma| vma.prot & PROT_EXEC != 0) {
            let subject = format!("hook at {:x}, function {:x}", hook.record, hook.function);
            block(subject, "is no longer there", "keep its record and its code up to the snapshot point");
        }
    }
}
