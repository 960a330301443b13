//! Guard pages (MADV_GUARD_INSTALL): an access is SIGSEGV, in every kind of memory.
//!
//! Since Linux 6.15 the page table shows them, in every kind of memory; 6.13 and 6.14 have them but do not show them.
//! So they are searched for where the program has installed some, and refused where they cannot be found.

use crate::dump::refuse::Blocker;
use crate::dump::scratch::Scratch;
use crate::proc::pagemap::{PageMap, State};
use crate::tracee::maps::Vma;
use crate::tracee::{Frozen, TraceError, Tracer};
use snapfn_format::PAGE;
use snapfn_format::linux::MADV_GUARD_INSTALL;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// In an entry of /proc/PID/pagemap.
const GUARD: u64 = 1 << 58;

/// Refuses guard pages where this kernel does not report them.
pub(super) fn check(tracer: &Tracer, blockers: &mut Vec<Blocker>) {
    if tracer.ledger.may_have_guards() && !are_told() {
        blockers.push(Blocker {
            subject: "memory".to_owned(),
            what: "has guard pages (MADV_GUARD_INSTALL), which this kernel does not report".to_owned(),
            remedy: "use Linux 6.15 or later, or mprotect(PROT_NONE) instead",
        });
    }
}

/// Refuses shared anonymous memory with data under guard pages, since the data comes back when the program removes the
/// guards. No read passes a guard, but a second mapping of the same memory has none: the thread `task` makes one.
pub(in crate::dump) fn check_data(
    tracer: &Tracer,
    task: &Frozen,
    vmas: &[Vma],
    blockers: &mut Vec<Blocker>,
) -> Result<(), TraceError> {
    const PIECE: u64 = 1 << 20;
    if !tracer.ledger.may_have_guards() {
        return Ok(());
    }
    for vma in vmas.iter().filter(|vma| vma.shared && vma.name.starts_with("/dev/zero")) {
        let guards = within(tracer, vma.start, vma.end)?;
        if guards.is_empty() {
            continue;
        }
        let len = vma.end - vma.start;
        let scratch = Scratch::new(tracer, task)?;
        let copy = scratch.value(libc::SYS_mremap, &[vma.start, 0, len, libc::MREMAP_MAYMOVE as u64]);
        let has_data = copy.and_then(|copy| {
            let pieces = guards.iter().flat_map(|range| {
                let piece = |at: u64| (at - vma.start + copy, PIECE.min(range.end - at));
                range.clone().step_by(PIECE as usize).map(piece)
            });
            let mut found = false;
            for (at, len) in pieces {
                found = found || tracer.memory.read_vec(at, len)?.iter().any(|byte| *byte != 0);
            }
            scratch.value(libc::SYS_munmap, &[copy, len])?;
            Ok(found)
        });
        scratch.finish()?;
        let what = match has_data {
            Ok(false) => continue,
            Ok(true) => "has data under guard pages (MADV_GUARD_INSTALL) in shared memory".to_owned(),
            Err(error) => format!("has guard pages (MADV_GUARD_INSTALL) that cannot be looked under: {error}"),
        };
        let subject = format!("memory {:x}-{:x}", vma.start, vma.end);
        blockers.push(Blocker {
            subject,
            what,
            remedy: "remove the guard pages, or what is under them, before the snapshot point",
        });
    }
    Ok(())
}

/// Whether this kernel tells guard pages. A kernel that makes none has none to tell.
#[allow(unsafe_code)] // mmap, madvise, munmap
fn are_told() -> bool {
    let len = PAGE as usize;
    // SAFETY: this mapping is new, no other code uses it, and it is unmapped at the end.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let page = libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        if page == libc::MAP_FAILED {
            return false;
        }
        let made = libc::madvise(page, len, MADV_GUARD_INSTALL as i32) == 0;
        let mut entry = [0; 8];
        let table = File::open("/proc/self/pagemap");
        let read = table.and_then(|table| table.read_exact_at(&mut entry, page as u64 / PAGE * 8));
        libc::munmap(page, len);
        !made || read.is_ok() && u64::from_ne_bytes(entry) & GUARD != 0
    }
}

/// The guard pages of `[start, end)`, as ranges of addresses.
pub(super) fn within(tracer: &Tracer, start: u64, end: u64) -> Result<Vec<Range<u64>>, TraceError> {
    let mut found: Vec<Range<u64>> = Vec::new();
    if !tracer.ledger.may_have_guards() {
        return Ok(found);
    }
    PageMap::open(tracer.pid)
        .and_then(|table| {
            table.runs(start, end, |run| {
                if run.state == State::Guard {
                    found.push(run.start..run.end);
                }
            })
        })
        .map_err(TraceError::system("/proc/PID/pagemap"))?;
    Ok(found)
}

/// The intersection of `ranges` and `[start, end)`.
pub(in crate::dump) fn cut(ranges: &[Range<u64>], start: u64, end: u64) -> impl Iterator<Item = Range<u64>> {
    ranges.iter().map(move |range| range.start.max(start)..range.end.min(end)).filter(|range| range.start < range.end)
}
