//! Checks that threads go on in code that an instance has, too.
//!
//! A thread's instruction pointer is in its registers; the one of the code that a signal handler has interrupted is in
//! the handler's frame. Both must lie in code that is stored. The only executable memory that is not stored is the
//! kernel's vDSO. A program under the snapshotter has none (`tracee::clocks`), unless the kernel has sealed it.

use super::refuse::Blocker;
use super::threads::ThreadState;
use crate::tracee::Tracer;
use crate::tracee::maps::{Special, Vma};
use snapfn_format::snap::{PROT_EXEC, reg};

/// Registers of user code as a frame has them in one word: CS 0x33, GS and FS 0, SS 0x2b.
const SEGMENTS: u64 = 0x002b_0000_0000_0033;
/// Words between the saved instruction pointer and the segments, the flags in between.
const RIP_BEFORE_SEGMENTS: usize = 2;
/// Bytes of a stack that are searched for frames.
const REACH: u64 = 8 << 20;
const REMEDY: &str = "make the snapshot on a kernel without CONFIG_MSEAL_SYSTEM_MAPPINGS, or keep threads from reading \
    clocks at the snapshot point";

/// Executable memory that does not go into the snapshot.
fn foreign<'a>(tracer: &Tracer, vmas: &'a [Vma]) -> Vec<&'a Vma> {
    let kernels =
        |vma: &Vma| tracer.booted.kernel_ranges.iter().any(|(start, end)| (*start..*end).contains(&vma.start));
    vmas.iter().filter(|vma| vma.prot & PROT_EXEC != 0 && kernels(vma) && !vma.is(Special::Vsyscall)).collect()
}

/// The instruction pointers that signal frames in these words hold.
fn saved_pointers(words: &[u64]) -> impl Iterator<Item = u64> {
    words.windows(RIP_BEFORE_SEGMENTS + 1).filter(|words| words.last() == Some(&SEGMENTS)).map(|words| words[0])
}

/// Adds a blocker for each thread that goes on, or whose handler returns, in code that is not stored.
pub(super) fn check(tracer: &Tracer, vmas: &[Vma], threads: &[ThreadState], blockers: &mut Vec<Blocker>) {
    let foreign = foreign(tracer, vmas);
    // A process that runs already is examined as if the snapshotter had started it, so its vDSO counts as absent.
    if foreign.is_empty() || !tracer.spawned.is_ours {
        return;
    }
    for thread in threads {
        let mut add = |what: String| {
            blockers.push(Blocker { subject: format!("thread {}", thread.tid), what, remedy: REMEDY });
        };
        let name_of = |at: u64| foreign.iter().find(|vma| vma.contains(at)).map(|vma| &vma.name);
        if let Some(name) = name_of(thread.record.regs[reg::PC]) {
            add(format!("is in {name}, which is another one on every host"));
        }
        let stacks = [thread.record.regs[reg::SP], thread.record.altstack_addr];
        let mut frames = stacks.into_iter().flat_map(|start| saved_pointers_from(tracer, vmas, start));
        if let Some(name) = frames.find_map(name_of) {
            add(format!("has a signal handler that returns into {name}, which is another one on every host"));
        }
    }
}

/// The instruction pointers in signal frames between `start` and the end of its mapping.
fn saved_pointers_from(tracer: &Tracer, vmas: &[Vma], start: u64) -> Vec<u64> {
    let start = start.next_multiple_of(8);
    let Some(vma) = vmas.iter().find(|vma| vma.contains(start)) else { return Vec::new() };
    let bytes = tracer.memory.read_vec(start, (vma.end - start).min(REACH)).unwrap_or_default();
    let words: Vec<u64> = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
    saved_pointers(&words).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_known_by_its_segments() {
        let words = [1, 2, 0x7fff_0000_1234, 0x246, SEGMENTS, 5, 0x40_1000, 0x202, SEGMENTS];
        assert_eq!(saved_pointers(&words).collect::<Vec<_>>(), [0x7fff_0000_1234, 0x40_1000]);
        assert_eq!(saved_pointers(&[SEGMENTS, 0, 0]).count(), 0);
    }
}
