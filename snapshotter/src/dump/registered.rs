//! Structures and hooks that the program has registered for its instances: the loader must be able to fill or call
//! them.

use super::refuse::Blocker;
use crate::tracee::Tracer;
use crate::tracee::maps::{self, Vma};
use crate::tracee::protocol::{HOOK_LEN, MAX_SECRETS};
use snapfn_format::snap::{PROT_EXEC, PROT_READ, PROT_WRITE, Patch};

/// Adds a blocker for each `struct snap_info` that the loader could not fill, and for each hook that could not be
/// called.
pub(super) fn check(tracer: &Tracer, vmas: &[Vma], blockers: &mut Vec<Blocker>) {
    // Shared memory of a file belongs to the file.
    let own = |vma: &Vma, protection| vma.prot & protection != 0 && !(vma.shared && vma.has_file());
    let mut block = |subject, what: &str, remedy| blockers.push(Blocker { subject, what: what.to_owned(), remedy });
    if tracer.registered.has_too_many_secrets {
        let what = format!("was called for more than {MAX_SECRETS} ranges, or 64 MiB");
        block("snap_secret()".to_owned(), &what, "keep secrets together, and declare them once");
    }
    for info in &tracer.registered.infos {
        if !maps::all(vmas, *info..info + Patch::INFO_LEN, |vma| own(vma, PROT_WRITE)) {
            let subject = format!("struct snap_info at {info:x}");
            block(subject, "is in no writable memory of the program's own", "keep it in a variable of static lifetime");
        }
    }
    for (hook, function) in &tracer.registered.hooks {
        let is_there = maps::all(vmas, *hook..hook + HOOK_LEN, |vma| own(vma, PROT_READ));
        if !is_there || !vmas.iter().any(|vma| vma.contains(*function) && vma.prot & PROT_EXEC != 0) {
            let subject = format!("hook at {hook:x}, function {function:x}");
            block(
                subject,
                "is no longer in the program's own memory",
                "keep its record and its code up to the snapshot point",
            );
        }
    }
}
