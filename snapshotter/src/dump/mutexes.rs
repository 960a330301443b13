//! Held mutexes name their owner by TID, which is new in every instance.
//!
//! This module finds them in two ways: along each thread's robust list, and by shape in all stored memory:
//!
//! ```text
//!  glibc pthread_mutex_t    lock:u32  count:u32 │ owner:u32  nusers:u32 │ kind:u32  spins:u32 │ prev │ next
//!  musl  pthread_mutex_t    type:u32  lock:u32  │ waiters:u32  0:u32    │ 0:u32  count:u32   │ prev │ next
//! ```
//! A TID is a small number, and numbers are everywhere: all five words must be as the C library leaves them in a mutex
//! that is held, or plain data would be refused or, worse, changed. Of glibc's only recursive and error-checking
//! mutexes look at their owner when they are locked or unlocked: the owner in others stays as it is, and so does a
//! record of the program's own that looks like one of those. One with waiters has been passed to `futex`. glibc links
//! robust mutexes only and counts 1 in robust, inheriting and protecting ones; musl links every mutex that names its
//! owner, and the links must lead back. musl's plain mutexes name no owner; of the others, whose lock word is the
//! owner's TID, the type is looked at. A held priority-inheritance mutex has state in the kernel that no call can bring
//! back: it is refused.

use super::memory::{AreaKind, Content, Image, read_image, shared_with_files};
use super::refuse::{Blocker, DumpError};
use super::threads::ThreadState;
use crate::tracee::Tracer;
use crate::tracee::maps::Vma;
use crate::tracee::ptrace::Tid;
use snapfn_format::snap::{PATCH_MEMORY, PATCH_TID, PATCH_TID_FUTEX, Patch};

const TID_MASK: u32 = 0x3fff_ffff;
const KIND_ROBUST: u32 = 16;
const KIND_PI: u32 = 32;
const KIND_PROTECT: u32 = 64;
/// The type in the lowest bits of a kind.
const TYPE_RECURSIVE: u32 = 1;
const TYPE_ERROR_CHECKING: u32 = 2;
const TYPE_ADAPTIVE: u32 = 3;
/// Type, robust, PI, priority protection, shared, and the two elision bits.
const KIND_KNOWN: u32 = 0x3ff;
const MAX_USERS: u32 = 1 << 16;
const MAX_LIST: usize = 2048;

/// A word that names a thread.
struct Owner {
    addr: u64,
    kind: u16,
    thread: usize,
}

/// What five words of memory look like.
#[derive(Debug, PartialEq, Eq)]
enum Shape {
    /// A glibc mutex held by this TID; whether its lock word holds the TID, too.
    Held { owner: u32, in_lock: bool },
    /// A musl mutex whose lock word is this TID.
    Musl { owner: u32 },
    /// A held priority-inheritance mutex.
    Inheriting { owner: u32 },
    /// A glibc read-write lock held for writing; whether a thread waits for it.
    Written { owner: u32, is_waited_for: bool },
}

/// Words of the longest one.
const WORDS: usize = 7;
/// Words of a mutex.
const MUTEX_WORDS: usize = 5;

/// Whether both links are empty, or both addresses of user space (an inheriting mutex is marked in the lowest bit).
fn links(words: [u64; 5], linked: bool) -> bool {
    let is_address = |word: u64| (0x1_0000..1 << 47).contains(&word) && word & 6 == 0;
    words[3..].iter().all(|word| if linked { is_address(*word) } else { *word == 0 })
}

fn glibc_shape(words: [u64; 5]) -> Option<Shape> {
    let low = |word: u64| word as u32;
    let high = |word: u64| (word >> 32) as u32;
    let (lock, owner, users, kind) = (low(words[0]), low(words[1]), high(words[1]), low(words[2]));
    let in_lock = kind & KIND_ROBUST != 0;
    let counts = kind & 3 == TYPE_RECURSIVE || kind & (KIND_ROBUST | KIND_PI | KIND_PROTECT) != 0;
    let spins = kind & 3 == TYPE_ADAPTIVE || high(words[2]) == 0;
    // The owner is its one user: a thread that waits for a condition is none.
    if owner == 0 || users != 1 || kind & !KIND_KNOWN != 0 {
        return None;
    }
    if (high(words[0]) != 0) != counts || !spins || !links(words, in_lock) {
        return None;
    }
    if kind & KIND_PI != 0 {
        return (lock & TID_MASK == owner).then_some(Shape::Inheriting { owner });
    }
    let looks_at_owner = matches!(kind & 3, TYPE_RECURSIVE | TYPE_ERROR_CHECKING);
    let held = if in_lock { lock & TID_MASK == owner } else { looks_at_owner && matches!(lock, 1 | 2) };
    held.then_some(Shape::Held { owner, in_lock })
}

/// glibc: the readers' word in the write phase and locked (1 | 2), both futex words 1, or 3 where a thread has waited.
fn rwlock_shape(words: [u64; WORDS]) -> Option<Shape> {
    const LOCKED: u32 = 1 | 2;
    const FUTEX_USED: u32 = 2;
    let low = |word: u64| word as u32;
    let high = |word: u64| (word >> 32) as u32;
    let (readers, writers, owner) = (low(words[0]), high(words[0]), low(words[3]));
    let futexes = [low(words[1]), high(words[1])];
    let is_held = readers & LOCKED == LOCKED && futexes.iter().all(|word| word & !FUTEX_USED == 1);
    let rest = words[2] == 0 && high(words[3]) <= 1 && words[4] == 0 && words[5] == 0 && words[6] <= 3;
    let is_waited_for = readers != LOCKED || writers != 0 || futexes != [1, 1];
    (is_held && rest && owner != 0).then_some(Shape::Written { owner, is_waited_for })
}

/// musl: type 1 (recursive) or 2 (error checking), with 4 (robust), 8 (PI), 128 (shared).
fn musl_shape(words: [u64; 5]) -> Option<Shape> {
    const PI: u32 = 8;
    let (kind, lock, waiters) = (words[0] as u32, (words[0] >> 32) as u32, words[1] as u32);
    let owner = lock & TID_MASK;
    let named = matches!(kind & 3, 1 | 2) || kind & (4 | PI) != 0;
    let gap = words[1] >> 32 == 0 && words[2] as u32 == 0;
    if !named || kind & !0x8f != 0 || owner == 0 || waiters > MAX_USERS || !gap || !links(words, true) {
        return None;
    }
    Some(if kind & PI != 0 { Shape::Inheriting { owner } } else { Shape::Musl { owner } })
}

/// Refuses held priority-inheritance mutexes in `ranges`, where there is no image to search.
pub(super) fn check(
    tracer: &Tracer,
    ranges: &[(u64, u64)],
    threads: &[ThreadState],
    blockers: &mut Vec<Blocker>,
) -> Result<(), DumpError> {
    let tids: Vec<Tid> = threads.iter().map(|thread| thread.tid).collect();
    check_shape(tracer, ranges, &tids, shape_of(threads), blockers)
}

/// As [`check`], for threads whose C library is unknown.
pub(super) fn check_any(
    tracer: &Tracer,
    ranges: &[(u64, u64)],
    tids: &[Tid],
    blockers: &mut Vec<Blocker>,
) -> Result<(), DumpError> {
    check_shape(tracer, ranges, tids, |words| glibc_shape(words).or_else(|| musl_shape(words)), blockers)
}

fn check_shape(
    tracer: &Tracer,
    ranges: &[(u64, u64)],
    tids: &[Tid],
    shape: fn([u64; 5]) -> Option<Shape>,
    blockers: &mut Vec<Blocker>,
) -> Result<(), DumpError> {
    if tids.is_empty() {
        return Ok(());
    }
    for &(start, end) in ranges {
        let found = scan(tracer, start, end - start, shape)?;
        blockers.extend(found.into_iter().filter_map(|(addr, shape)| inheriting(addr, &shape, tids)));
    }
    Ok(())
}

fn shape_of(threads: &[ThreadState]) -> fn([u64; MUTEX_WORDS]) -> Option<Shape> {
    if threads.iter().any(ThreadState::is_musl) { musl_shape } else { glibc_shape }
}

fn inheriting(addr: u64, shape: &Shape, tids: &[Tid]) -> Option<Blocker> {
    match shape {
        Shape::Inheriting { owner } if tids.contains(&(*owner as Tid)) => Some(Blocker {
            subject: format!("mutex at {addr:#x}"),
            what: format!("is a priority-inheritance mutex held by thread {owner}"),
            remedy: "release it before the snapshot point",
        }),
        _ => None,
    }
}

/// Patches for every word that names the owner of a held mutex; a blocker for each held PI mutex.
pub(super) fn find(
    tracer: &Tracer,
    vmas: &[Vma],
    image: &Image,
    threads: &[ThreadState],
) -> Result<Vec<Patch>, DumpError> {
    let thread_of = |tid: u32| threads.iter().position(|thread| thread.record.tid == tid);
    let tids: Vec<Tid> = threads.iter().map(|thread| thread.tid).collect();
    let mut owners = Vec::new();
    let mut blockers = Vec::new();
    for part in image.parts.iter().filter(|part| matches!(part.content, Content::Map | Content::Read)) {
        if image.areas[part.area].kind == AreaKind::Resident {
            continue;
        }
        for (addr, found) in scan(tracer, part.addr, part.len, shape_of(threads))? {
            match found {
                Shape::Held { owner, in_lock } => {
                    let Some(thread) = thread_of(owner) else { continue };
                    let is_waited_for = tracer.memory.read_u32(addr).is_ok_and(|lock| lock == 2);
                    if !in_lock && is_waited_for && !tracer.futexes.contains(&addr) {
                        continue;
                    }
                    owners.push(Owner { addr: addr + 8, kind: PATCH_TID, thread });
                    if in_lock {
                        owners.push(Owner { addr, kind: PATCH_TID_FUTEX, thread });
                    }
                }
                Shape::Musl { owner } => {
                    if let Some(thread) = thread_of(owner).filter(|_| is_linked(tracer, addr)) {
                        owners.push(Owner { addr: addr + 4, kind: PATCH_TID_FUTEX, thread });
                    }
                }
                Shape::Written { owner, is_waited_for } => {
                    // Of those who wait, the last has slept on one of the two.
                    let has_slept = || [8, 12].iter().any(|offset| tracer.futexes.contains(&(addr + offset)));
                    if let Some(thread) = thread_of(owner).filter(|_| !is_waited_for || has_slept()) {
                        owners.push(Owner { addr: addr + 24, kind: PATCH_TID, thread });
                    }
                }
                found @ Shape::Inheriting { .. } => blockers.extend(inheriting(addr, &found, &tids)),
            }
        }
    }
    for (index, thread) in threads.iter().enumerate() {
        robust(tracer, thread, index, &mut owners);
    }
    // Other processes have mapped this memory, too, so an instance must not change it.
    let stored = image.stored_ranges();
    let is_stored = |addr: u64| stored.iter().any(|range| range.contains(&addr));
    // A mutex that is not robust is in no list: its shape alone is enough to refuse it, not to change it.
    for (start, end) in shared_with_files(tracer, vmas) {
        // The end of a file may have gone meanwhile.
        let found = scan(tracer, start, end - start, shape_of(threads)).unwrap_or_default();
        for (addr, shape) in found.into_iter().filter(|(addr, _)| !is_stored(*addr)) {
            let Shape::Held { owner, in_lock: false } = shape else { continue };
            owners.extend(thread_of(owner).map(|thread| Owner { addr, kind: PATCH_TID, thread }));
        }
    }
    for owner in owners.iter().filter(|owner| !is_stored(owner.addr)) {
        let tid = threads.get(owner.thread).map_or(0, |thread| thread.record.tid);
        blockers.push(Blocker {
            subject: format!("mutex at {:#x}", owner.addr),
            what: format!("is held by thread {tid} in memory that is shared with a file"),
            remedy: "release it before the snapshot point",
        });
    }
    if !blockers.is_empty() {
        return Err(DumpError::Refused(blockers));
    }
    owners.sort_by_key(|owner| owner.addr);
    owners.dedup_by_key(|owner| owner.addr);
    let patch =
        |owner: Owner| Patch { addr: owner.addr, kind: owner.kind, place: PATCH_MEMORY, arg: owner.thread as u32 };
    Ok(owners.into_iter().map(patch).collect())
}

/// Whether the predecessor of the musl mutex at `addr` in the list of its owner names it as the next one.
fn is_linked(tracer: &Tracer, addr: u64) -> bool {
    const PREVIOUS: u64 = 24;
    const NEXT: u64 = 32;
    let previous = tracer.memory.read_u64(addr + PREVIOUS).unwrap_or(0);
    tracer.memory.read_u64(previous).is_ok_and(|next| next == addr + NEXT)
}

fn scan(
    tracer: &Tracer,
    start: u64,
    len: u64,
    shape: fn([u64; MUTEX_WORDS]) -> Option<Shape>,
) -> Result<Vec<(u64, Shape)>, DumpError> {
    const CHUNK: u64 = 1 << 20;
    let mut found = Vec::new();
    const WORD: u64 = 8;
    let mut window = [0u64; WORDS];
    let mut buffer = vec![0; len.min(CHUNK) as usize];
    let mut at = start;
    while at < start + len {
        let size = (start + len - at).min(CHUNK) as usize;
        read_image(tracer, at, &mut buffer[..size])?;
        for (index, word) in buffer[..size].as_chunks::<8>().0.iter().enumerate() {
            window.rotate_left(1);
            window[WORDS - 1] = u64::from_le_bytes(*word);
            let end = at + WORD * (index as u64 + 1);
            let mut add = |words: usize, shape: Option<Shape>| {
                let addr = end - WORD * words as u64;
                found.extend(shape.filter(|_| addr >= start).map(|shape| (addr, shape)));
            };
            let [_, _, mutex @ ..] = window;
            if mutex[0] != 0 {
                add(MUTEX_WORDS, shape(mutex));
            }
            if window[0] != 0 {
                add(WORDS, rwlock_shape(window));
            }
        }
        at += size as u64;
    }
    Ok(found)
}

/// The lock words of robust mutexes that the thread holds: `{next, futex offset, pending}` is the list's head.
fn robust(tracer: &Tracer, thread: &ThreadState, index: usize, owners: &mut Vec<Owner>) {
    let head = thread.record.robust_list;
    let read = |addr: u64| tracer.memory.read_u64(addr).ok();
    let (Some(mut entry), Some(offset)) = (read(head), read(head.wrapping_add(8))) else { return };
    for _ in 0..MAX_LIST {
        let node = entry & !1;
        if node == head || node == 0 {
            break;
        }
        let lock = node.wrapping_add(offset);
        let mut word = [0; 4];
        if tracer.memory.read(lock, &mut word).is_ok() && u32::from_le_bytes(word) & TID_MASK == thread.record.tid {
            owners.push(Owner { addr: lock, kind: PATCH_TID_FUTEX, thread: index });
        }
        match read(node) {
            Some(next) => entry = next,
            None => break,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(lock: u32, count: u32, owner: u32, users: u32, kind: u32) -> [u64; 5] {
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        [pair(lock, count), pair(owner, users), pair(kind, 0), 0, 0]
    }

    fn linked(mut words: [u64; 5]) -> [u64; 5] {
        words[3] = 0x2aaa_0000_0010;
        words[4] = 0x2aaa_0000_0020;
        words
    }

    #[test]
    fn shapes() {
        assert_eq!(glibc_shape(words(1, 0, 77, 1, 2)), Some(Shape::Held { owner: 77, in_lock: false }));
        assert_eq!(glibc_shape(words(2, 3, 77, 1, 1)), Some(Shape::Held { owner: 77, in_lock: false }));
        let robust = words(77 | 1 << 31, 1, 77, 1, 16);
        assert_eq!(glibc_shape(linked(robust)), Some(Shape::Held { owner: 77, in_lock: true }));
        assert_eq!(glibc_shape(words(77, 1, 77, 1, 32)), Some(Shape::Inheriting { owner: 77 }));
        assert_eq!(musl_shape(linked(words(1, 77, 0, 0, 0))), Some(Shape::Musl { owner: 77 }));
        assert_eq!(musl_shape(linked(words(9, 77, 0, 0, 0))), Some(Shape::Inheriting { owner: 77 }));
    }

    #[test]
    fn a_lock_held_for_writing() {
        let words = |readers, futex, owner| [readers, futex, 0, owner, 0, 0, 0];
        let free = Some(Shape::Written { owner: 77, is_waited_for: false });
        assert_eq!(rwlock_shape(words(3, 1 | 1 << 32, 77)), free);
        let waited = Some(Shape::Written { owner: 77, is_waited_for: true });
        assert_eq!(rwlock_shape(words(3 + 8, 3 | 1 << 32, 77)), waited);
        for none in [words(3, 1, 77), words(8, 1 | 1 << 32, 77), words(3, 1 | 1 << 32, 0), words(3, 5 | 1 << 32, 77)] {
            assert_eq!(rwlock_shape(none), None);
        }
    }

    #[test]
    fn data_that_is_no_held_mutex() {
        assert_eq!(glibc_shape(words(0, 0, 77, 1, 2)), None);
        // A plain one and an adaptive one, which check no owner: a record of a job is like the first.
        assert_eq!(glibc_shape(words(1, 0, 77, 1, 0)), None);
        assert_eq!(glibc_shape(words(1, 0, 77, 1, 3)), None);
        assert_eq!(glibc_shape(words(1, 0, 77, 1, 0x5000)), None);
        assert_eq!(glibc_shape(words(1, 2, 77, 1, 0)), None);
        assert_eq!(glibc_shape(words(77, 0, 77, 1, 32)), None);
        assert_eq!(glibc_shape(words(77, 1, 77, 1, 16)), None);
        assert_eq!(glibc_shape(linked(words(1, 0, 77, 1, 0))), None);
        assert_eq!(musl_shape(linked(words(0, 77, 0, 0, 0))), None);
        assert_eq!(musl_shape(words(1, 77, 0, 0, 0)), None);
        assert_eq!(musl_shape(linked(words(1, 77, 0, 5, 0))), None);
    }
}
