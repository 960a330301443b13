//! Threads: a signal frame each, `clone` for all but the first, `rt_sigreturn` into the program.
//!
//! The frames lie in the resident region, never on a program's stack: coroutine stacks are small.
#![allow(unsafe_code)] // starts threads outside of this program

use super::RestoreError;
use super::attributes::{self, Inherited};
use super::image::{Image, Place, Word};
use super::instance::Vectors;
use super::patch;
use crate::runtime::arch::{self, ThreadStart};
use crate::runtime::sys;
use snapfn_format::arch::frame;
use snapfn_format::snap::*;

/// The bits of a futex word that hold its owner's TID.
const FUTEX_TID_MASK: u32 = 0x3fff_ffff;
/// The lowest bits of the ID of a CPU clock: which of the three clocks, and whether it is a thread's.
const CLOCK_BITS: u32 = 3;

/// The frames of threads, all of which exist. Only [`start`] makes them.
#[derive(Debug)]
pub(super) struct Frames<'p, 'a> {
    image: &'p Image<'a>,
    size: u64,
}

impl<'p, 'a> Frames<'p, 'a> {
    fn of(image: &'p Image<'a>) -> Self {
        let largest = image.threads.iter().map(|thread| thread.xstate.len).max().unwrap_or(0);
        Frames { image, size: resident::frame_size(u64::from(largest)) }
    }

    fn at(&self, index: usize) -> u64 {
        let first = self.image.header.process.resident + resident::WORK + resident::WORK_HEADER;
        first + self.size * index as u64
    }

    /// The word at `offset` of the frame of thread `index`.
    fn word<T: Copy>(&self, index: usize, offset: u64) -> Option<Word<T>> {
        // SAFETY: validated: the work area has room for the frames of all threads. `offset` is that of a frame's word.
        (index < self.image.threads.len()).then(|| unsafe { Word::at(self.at(index) + offset) })
    }

    /// The TID of thread `index` in this instance; 0 if there is no such thread.
    pub(super) fn tid(&self, index: usize) -> u32 {
        self.word(index, resident::FRAME_TID).map_or(0, |word| word.get())
    }

    /// The stack pointer for the main thread's `rt_sigreturn`.
    pub(super) fn main(&self) -> u64 {
        self.at(0) + 8
    }
}

/// Makes all frames and all threads but the first.
///
/// # Safety
/// Called once. Memory is complete; all signals are blocked if there is more than one thread.
pub(super) unsafe fn start<'p, 'a>(
    image: &'p Image<'a>,
    vectors: &Vectors,
    canary: u64,
    fsgsbase: bool,
) -> Result<Frames<'p, 'a>, RestoreError<'a>> {
    let resident = image.header.process.resident;
    let gate = image.gate().addr();
    let frames = Frames::of(image);
    let mut inherited = Inherited::new();
    let mut register_patches = image.patches.iter().filter(|patch| patch.place == PATCH_REGISTER).peekable();
    let has_register_patches = register_patches.peek().is_some();
    // SAFETY: validated addresses; each frame is complete before its thread exists.
    unsafe {
        for (index, thread) in image.threads.iter().enumerate() {
            let mut regs = thread.regs;
            if has_register_patches {
                for patch in register_patches.clone().filter(|patch| patch.arg as usize == index) {
                    regs[patch.addr as usize] = patch::value(patch.kind, vectors, canary);
                }
            }
            if thread.timeout_form != TIMEOUT_NONE {
                arch::resume_with_timeout(thread, &mut regs, frames.at(index), resident);
            }
            arch::write_frame(frames.at(index), thread, &regs, image.bytes(thread.xstate));
        }
        for (index, thread) in image.threads.iter().enumerate().skip(1) {
            let own_tid = frames.at(index) + resident::FRAME_TID;
            let parent_tid = if thread.tid_cache != 0 { thread.tid_cache } else { own_tid };
            inherited.become_like(thread);
            arch::set_bases(&thread.regs, fsgsbase);
            let start = ThreadStart {
                stub: resident + resident::STUB_CLONE,
                sp: frames.at(index) + 8,
                gate,
                robust_list: thread.robust_list,
                rseq: thread.rseq,
                rseq_args: u64::from(thread.rseq_len) | u64::from(thread.rseq_sig) << 32,
                tls: thread.regs[reg::TLS],
                parent_tid,
                clear_tid: thread.clear_tid,
            };
            let tid = arch::spawn_thread(&start).map_err(|errno| RestoreError::System("clone", errno))?;
            frames.record(index, tid);
            attributes::thread(image, index, tid)?;
        }
        let Some(main) = image.threads.first() else { return Err(RestoreError::System("threads", sys::Errno::INVAL)) };
        let tid = sys::set_tid_address(main.clear_tid);
        if let Some(cache) = image.tid_cache(0) {
            cache.set(tid);
        }
        frames.record(0, tid);
        inherited.become_like(main);
        attributes::thread(image, 0, tid)?;
        if main.robust_list != 0 {
            sys::set_robust_list(main.robust_list).map_err(|errno| RestoreError::System("set_robust_list", errno))?;
        }
        if main.rseq != 0 {
            sys::rseq(main.rseq, main.rseq_len, main.rseq_sig).map_err(|errno| RestoreError::System("rseq", errno))?;
        }
        arch::set_bases(&main.regs, fsgsbase);
    }
    Ok(frames)
}

impl Frames<'_, '_> {
    /// Updates registers whose values depend on the request: the argument count, and the environment of a program
    /// without a C library.
    pub(super) fn patch_counts(&self, vectors: &Vectors) {
        for patch in self.image.patches.iter().filter(|patch| patch.place == PATCH_REGISTER) {
            let place = frame::ORDER.iter().position(|register| *register as u64 == patch.addr);
            if let (true, Some(place)) = (patch.is_count() || patch.kind == PATCH_ENVP, place)
                && let Some(word) = self.word(patch.arg as usize, frame::register(place))
            {
                word.set(patch::value(patch.kind, vectors, 0));
            }
        }
    }

    /// Writes the TID of a new thread to its frame, and to all places of the one that it had at the snapshot.
    fn record(&self, index: usize, tid: u32) {
        if let Some(word) = self.word(index, resident::FRAME_TID) {
            word.set(tid);
        }
        for (patch, place) in self.image.patched().filter(|(patch, _)| patch.arg as usize == index) {
            match (patch.kind, place) {
                (PATCH_TID, Place::Half(word)) => word.set(tid),
                (PATCH_TID_FUTEX, Place::Half(word)) => word.set(word.get() & !FUTEX_TID_MASK | tid),
                (PATCH_CLOCK, Place::Half(word)) => {
                    word.set(!tid << CLOCK_BITS | word.get() & ((1 << CLOCK_BITS) - 1));
                }
                _ => {}
            }
        }
    }
}
