//! What the program has registered for its instances: the loader must be able to fill it, and somebody must call it.

use super::refuse::Blocker;
use crate::tracee::Tracer;
use crate::tracee::maps::Vma;
use snapfn_format::snap::{AT_READY, PROT_WRITE, Patch};

/// How many hooks nobody is going to call.
pub(crate) fn uncalled(tracer: &Tracer, at: u32) -> usize {
    tracer.registered.uncalled(at == AT_READY)
}

/// Adds a blocker for each `struct snap_info` that the loader could not fill.
pub(super) fn check(tracer: &Tracer, vmas: &[Vma], blockers: &mut Vec<Blocker>) {
    for info in &tracer.registered.infos {
        let reach = |at, vma: &Vma| if vma.contains(at) && vma.prot & PROT_WRITE != 0 { vma.end } else { at };
        if vmas.iter().fold(*info, reach) < info + Patch::INFO_LEN {
            blockers.push(Blocker {
                subject: format!("struct snap_info at {info:x}"),
                what: "is in no writable memory".to_owned(),
                remedy: "keep its memory writable",
            });
        }
    }
}
