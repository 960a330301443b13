//! Refuses memory that cannot be carried, by the kernel's flags and by the file or device behind it.

use super::is_ours;
use super::regions::Backings;
use crate::dump::refuse::Blocker;
use crate::tracee::Tracer;
use crate::tracee::clocks::is_vdso;
use crate::tracee::maps::Vma;
use snapfn_format::layout::{LOADER_END, LOADER_START};
use snapfn_format::linux;
use snapfn_format::snap::{PROT_EXEC, PROT_WRITE};

/// VmFlags that a restore need not repeat, or that other code handles ("gd", "lo", "lf", "dp").
const PLAIN_FLAGS: &[&str] = &[
    "rd", "wr", "ex", "sh", "mr", "mw", "me", "ms", "gd", "ac", "nr", "sd", "mm", "ar", "sf", "nl", "dw", "lo", "lf",
    "gu", "dp",
];
/// VmFlags that are repeated by `madvise`, with the advice.
pub(super) const ADVICE_FLAGS: &[(&str, u64)] = &[
    ("sr", linux::MADV_SEQUENTIAL),
    ("rr", linux::MADV_RANDOM),
    ("dc", linux::MADV_DONTFORK),
    ("dd", linux::MADV_DONTDUMP),
    ("hg", linux::MADV_HUGEPAGE),
    ("nh", linux::MADV_NOHUGEPAGE),
    ("mg", linux::MADV_MERGEABLE),
    ("wf", linux::MADV_WIPEONFORK),
];
/// VmFlags that are refused: flag, description, remedy.
const REFUSED_FLAGS: &[(&str, &str, &str)] = &[
    ("io", "memory of a device", "close the device before the snapshot point"),
    ("pf", "memory of a device", "close the device before the snapshot point"),
    ("um", "watched by userfaultfd", "unregister it before the snapshot point"),
    ("uw", "write-protected by userfaultfd", "unregister it before the snapshot point"),
    ("ui", "watched by userfaultfd", "unregister it before the snapshot point"),
    ("ht", "huge pages of hugetlbfs", "use transparent huge pages (madvise) instead"),
    ("ss", "a shadow stack", "run with GLIBC_TUNABLES=glibc.cpu.x86_shstk=off"),
    ("sl", "sealed memory (mseal)", "do not seal memory before the snapshot point"),
];

/// What the kernel calls the memory of an asynchronous I/O context. The address of the ring is the context's ID, and
/// nothing can make a context at a chosen address.
const AIO_RING: &str = "/[aio]";

/// Protection of memory that is writable and executable at once.
const PROT_WX: u16 = PROT_WRITE | PROT_EXEC;

const WX_REMEDY: &str =
    "turn the JIT compiler off, take write access away before the snapshot point, or accept it with --allow-wx";

/// Files that are mapped shared, writable at one place and executable at another: bytes that the program writes at the
/// first may be executed at the second. Any two files count, since two paths may lead to one, and only paths are in a
/// snapshot.
fn check_double_mappings(vmas: &[Vma], tracer: &Tracer, blockers: &mut Vec<Blocker>) {
    // Shared memory without a file is made anew, and mapped once.
    let is_file = |vma: &&Vma| vma.shared && vma.inode != 0 && vma.name != "/dev/zero" && !is_ours(tracer, vma);
    let shared = || vmas.iter().filter(is_file);
    for executed in shared().filter(|vma| vma.prot & PROT_EXEC != 0) {
        if let Some(written) = shared().find(|vma| vma.prot & PROT_WX == PROT_WRITE) {
            let subject = format!("memory {:x}-{:x} {}", executed.start, executed.end, executed.name);
            let what = format!("is executable, and a file is writable at {:x}-{:x}", written.start, written.end);
            blockers.push(Blocker { subject, what, remedy: WX_REMEDY });
        }
    }
}

/// Adds a blocker for each VMA that cannot be carried.
pub(in crate::dump) fn check(vmas: &[Vma], tracer: &Tracer, allow_wx: bool, blockers: &mut Vec<Blocker>) {
    super::guards::check(tracer, blockers);
    let backings = Backings::new(vmas, tracer.pid);
    for vma in vmas.iter().filter(|vma| !is_ours(tracer, vma)) {
        let subject = format!("memory {:x}-{:x} {}", vma.start, vma.end, vma.name).trim_end().to_owned();
        let mut add = |what: String, remedy| blockers.push(Blocker { subject: subject.clone(), what, remedy });
        if tracer.spawned.is_ours && is_vdso(&vma.name) {
            add(
                "is the kernel's vDSO, which the program has mapped itself".to_owned(),
                "map it after the snapshot point",
            );
            continue;
        }
        if vma.name == AIO_RING {
            add(
                "the ring of an asynchronous I/O context (io_setup)".to_owned(),
                "destroy the context before the snapshot point (io_destroy), or set it up after it",
            );
            continue;
        }
        if vma.start < LOADER_END && LOADER_START < vma.end {
            let what = format!("{} GiB, part of which lies where snaprun itself does", (vma.end - vma.start) >> 30);
            add(what, "reserve less than 10 TiB at once");
            continue;
        }
        if let Some((_, what, remedy)) = REFUSED_FLAGS.iter().find(|(flag, ..)| vma.has(flag)) {
            add((*what).to_owned(), remedy);
            continue;
        }
        if let Some(kind) = vma.name.strip_prefix("anon_inode:") {
            add(format!("memory that is shared with the kernel ({kind})"), "set it up after the snapshot point");
            continue;
        }
        let known = |flag: &str| PLAIN_FLAGS.contains(&flag) || ADVICE_FLAGS.iter().any(|(advice, _)| *advice == flag);
        if let Some(flag) = vma.flags.iter().find(|flag| !known(flag)) {
            add(format!("has the unknown flag '{flag}'"), "report it with the kernel's version");
        } else if vma.protection_key != 0 {
            add(format!("has memory protection key {}", vma.protection_key), "use keys after the snapshot point");
        } else if let Err((what, remedy)) = backings.of(vma) {
            add(what, remedy);
        } else if !allow_wx && vma.prot & PROT_WX == PROT_WX {
            add("is writable and executable at once".to_owned(), WX_REMEDY);
        }
    }
    if !allow_wx {
        check_double_mappings(vmas, tracer, blockers);
    }
}
