//! Words of libraries and runtimes that hold a thread's ID, known by the structure that they belong to.
//!
//! ```text
//!  musl  FILE          close │ … │ read write seek │ … │ lock     the TID of the thread that has the stream locked
//!  Go    runtime.m     g0 │ … │ procid                            the TID that preemption signals are sent to
//!  any   thread pointer │ TID                                     CPython's PyThreadState, since 3.11
//! ```
//! musl's stream is known by its functions, of which each is code or absent. Go's `m` is known by the thread's own
//! pointer to its goroutine, which leads there and back. A thread's pointer is a random address; a TID right behind it
//! is that thread's. The owners of mutexes are in `mutexes`.

use super::memory::{Image, each_piece};
use super::refuse::DumpError;
use super::threads::ThreadState;
use crate::tracee::Tracer;
use crate::tracee::maps::Vma;
use snapfn_format::snap::{PATCH_MEMORY, PATCH_TID, PATCH_TID_FUTEX, PROT_EXEC, Patch, reg};

/// The bits of a lock word that are its owner's TID; another one says that somebody waits.
const OWNER: u32 = 0x3fff_ffff;

/// Words of a musl stream up to its lock.
const FILE_WORDS: usize = 18;
const FILE_CLOSE: usize = 3;
const FILE_READ: usize = 8;
const FILE_WRITE: usize = 9;
const FILE_SEEK: usize = 10;
/// The word whose upper half is the lock.
const FILE_LOCK: usize = 17;

/// Offsets in Go's `runtime.g` and `runtime.m`, the same from 1.4 on.
const G_M: u64 = 48;
const M_G0: u64 = 0;
/// `procid` lies behind `g0`, `morebuf` and a few small words, whose number has changed.
const M_PROCID: std::ops::Range<u64> = 56..136;
/// Words below the thread pointer in which a program keeps its goroutine's address.
const TLS_WORDS: u64 = 8;

/// All such words, each with the index of its thread.
pub(super) fn find(
    tracer: &Tracer,
    vmas: &[Vma],
    image: &Image,
    threads: &[ThreadState],
) -> Result<Vec<Patch>, DumpError> {
    let mut found = Vec::new();
    let mut add = |addr: u64, kind: u16, thread: usize| {
        found.push(Patch { addr, kind, place: PATCH_MEMORY, arg: thread as u32 });
    };
    for (index, thread) in threads.iter().enumerate() {
        if let Some(addr) = procid(tracer, thread) {
            add(addr, PATCH_TID, index);
        }
    }
    each_piece(tracer, image, PAIR as u64, |start, words| {
        for (at, words) in words.windows(PAIR).enumerate() {
            let is_pair = |thread: &ThreadState| is_pair(words, thread.record.regs[reg::TLS], thread.record.tid);
            if let Some(thread) = threads.iter().position(is_pair) {
                add(start + 8 * (at + 1) as u64, PATCH_TID, thread);
            }
        }
    })?;
    if threads.iter().any(ThreadState::is_musl) {
        let is_code = |word: u64| vmas.iter().any(|vma| vma.prot & PROT_EXEC != 0 && vma.contains(word));
        each_piece(tracer, image, FILE_WORDS as u64, |start, words| {
            for (at, words) in words.windows(FILE_WORDS).enumerate() {
                let Some(owner) = stream_owner(words, is_code) else { continue };
                if let Some(thread) = threads.iter().position(|thread| thread.record.tid == owner) {
                    add(start + 8 * (at + FILE_LOCK) as u64 + 4, PATCH_TID_FUTEX, thread);
                }
            }
        })?;
    }
    let stored = image.stored_ranges();
    found.retain(|patch| stored.iter().any(|range| range.contains(&patch.addr)));
    Ok(found)
}

/// The owner of the musl stream at the start of `words`, if it is one and is locked.
fn stream_owner(words: &[u64], is_code: impl Fn(u64) -> bool) -> Option<u32> {
    let owner = (words.get(FILE_LOCK)? >> 32) as u32 & OWNER;
    // musl marks a stream that needs no lock by -1.
    if owner == 0 || owner == OWNER {
        return None;
    }
    let functions = [FILE_CLOSE, FILE_READ, FILE_WRITE, FILE_SEEK].map(|at| words.get(at).copied().unwrap_or(0));
    let all = functions.iter().all(|word| *word == 0 || is_code(*word));
    (all && functions.iter().filter(|word| **word != 0).count() > 1).then_some(owner)
}

/// A thread pointer, and the thread's ID.
const PAIR: usize = 2;

/// Whether `words` are the thread pointer `base` and the ID `tid` behind it.
fn is_pair(words: &[u64], base: u64, tid: u32) -> bool {
    base != 0 && words == [base, u64::from(tid)]
}

/// Where Go's runtime keeps the ID of `thread`.
fn procid(tracer: &Tracer, thread: &ThreadState) -> Option<u64> {
    let read = |addr: u64| tracer.memory.read_u64(addr).ok();
    let base = thread.record.regs[reg::TLS];
    // Its runtime has the thread pointer in a register as well, which may name another goroutine of the same thread.
    let m = (1..=TLS_WORDS).find_map(|word| {
        let g = read(base.checked_sub(8 * word)?)?;
        let m = read(g.checked_add(G_M)?)?;
        let g0 = read(m.checked_add(M_G0)?)?;
        (read(g0.checked_add(G_M)?)? == m).then_some(m)
    })?;
    let tid = u64::from(thread.record.tid);
    M_PROCID.step_by(8).map(|offset| m + offset).find(|addr| read(*addr) == Some(tid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(lock: u32) -> [u64; FILE_WORDS] {
        let mut words = [7; FILE_WORDS];
        words[FILE_CLOSE] = 0x1000;
        words[FILE_READ] = 0;
        words[FILE_WRITE] = 0x1010;
        words[FILE_SEEK] = 0x1020;
        words[FILE_LOCK] = u64::from(lock) << 32;
        words
    }

    #[test]
    fn a_thread_pointer_and_its_id() {
        let base = 0x2aaa_0000_1740;
        assert!(is_pair(&[base, 77], base, 77));
        assert!(
            !is_pair(&[base, 77 | 1 << 32], base, 77) && !is_pair(&[base, 78], base, 77) && !is_pair(&[0, 77], 0, 77)
        );
    }

    #[test]
    fn a_locked_stream_is_known_by_its_functions() {
        let is_code = |word: u64| (0x1000..0x2000).contains(&word);
        assert_eq!(stream_owner(&stream(77), is_code), Some(77));
        assert_eq!(stream_owner(&stream(77 | 1 << 30), is_code), Some(77));
        assert_eq!(stream_owner(&stream(0), is_code), None);
        assert_eq!(stream_owner(&stream(u32::MAX), is_code), None);
        let mut data = stream(77);
        data[FILE_SEEK] = 0x3000;
        assert_eq!(stream_owner(&data, is_code), None);
        assert_eq!(stream_owner(&[0, 0, 77 << 32], is_code), None);
    }
}
