//! An allocator that asks at its start whether MADV_DONTNEED gives zeroes.
//!
//! jemalloc 5.3 fills a fresh page with `A`, drops it, and looks. It does so because QEMU
//! ignores MADV_DONTNEED. If the bytes come back, jemalloc clears memory itself from then on. Instances need the same:
//! after MADV_DONTNEED on memory that is mapped from the snapshot, the snapshot's bytes come back. So this one call has
//! no effect under the snapshotter, and the memory of such a program can be mapped. The memory of a program whose
//! allocator does not ask is read at every start.

use super::memory::Memory;
use super::timeout::Entered;
use snapfn_format::PAGE;

const MADV_DONTNEED: u64 = 4;
const STDERR: u64 = 2;
const FILLED: u8 = b'A';
/// What jemalloc then prints, a line a call.
const LINES: [&[u8]; 2] = [
    b"<jemalloc>: MADV_DONTNEED does not work (memset will be used instead)",
    b"<jemalloc>: (This is the expected behaviour if you are running under QEMU)",
];

/// How often it was asked.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    asked: usize,
}

impl Questions {
    /// How many allocators clear their memory themselves.
    pub(crate) fn asked(&self) -> usize {
        self.asked
    }

    /// What a system call returns instead of being executed: the question itself, and the remark on its answer.
    /// `before` is the call that the same task has made before.
    pub(super) fn answer(
        &mut self,
        memory: &Memory,
        before: Option<&Entered>,
        number: u64,
        args: &[u64; 6],
    ) -> Option<u64> {
        let [first, second, third, ..] = *args;
        if number == libc::SYS_madvise as u64 && (second, third) == (PAGE, MADV_DONTNEED) {
            let follows_mmap = before.is_some_and(|call| call.number == libc::SYS_mmap as u64);
            let page = memory.read_vec(first, PAGE).ok().filter(|_| follows_mmap)?;
            let is_question = page.iter().all(|byte| *byte == FILLED);
            self.asked += usize::from(is_question);
            return is_question.then_some(0);
        }
        if self.asked > 0 && number == libc::SYS_write as u64 && first == STDERR {
            let longest = LINES.iter().map(|line| line.len() as u64 + 1).max()?;
            let text = memory.read_vec(second, third.min(longest)).ok()?;
            return LINES.contains(&text.trim_ascii_end()).then_some(third);
        }
        None
    }
}
