//! Words that equal the ID of the process, of a thread or of a CPU clock, in memory that the program can write.
//!
//! A clock ID is a negative number that has a PID or TID in it. It is renewed where it can be nothing else:
//!
//! - The program has passed this very ID to the kernel: every word that equals it.
//! - The program can make such IDs, because a file of its image calls `pthread_getcpuclockid` or `clock_getcpuclockid`:
//!   words on a thread's stack, and in the variables of that file.
//!
//! Words that equal the ID of the process or of a thread and that no table of known holders has are only reported:
//! nobody knows what they are. They are reported if code of the program has asked the kernel for that ID
//! ([`crate::tracee::origins`]); else it cannot have it. Of an ID that is a small number, no word is looked for: too
//! many have that value. Then it is reported that the code has asked.

use super::arguments::note;
use super::memory::{Image, each_piece};
use super::refuse::DumpError;
use super::threads::ThreadState;
use crate::tracee::maps::Vma;
use crate::tracee::origins::Caller;
use crate::tracee::small_ids::DISTINCT;
use crate::tracee::{Reached, Tracer, symbols};
use snapfn_format::snap::{AT_MAIN, PATCH_CLOCK, PATCH_MEMORY, PROT_WRITE, Patch, reg};
use std::ops::Range;
use std::path::Path;

/// Bytes below a stack pointer that are in use.
const RED_ZONE: u64 = 128;
/// The thread structure of a C library, whose words are known.
const STRUCTURE: u64 = 0x900;
/// So many callers are named.
const SHOWN: usize = 2;
const GETTERS: [&str; 2] = ["pthread_getcpuclockid", "clock_getcpuclockid"];

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) patches: Vec<Patch>,
    pub(super) notes: Vec<String>,
}

/// What a word may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Id {
    Process,
    Thread,
    /// A CPU clock of the thread with this index.
    Clock(usize),
}

/// Looks for words of 4 bytes. `known` are patches that others have found.
pub(super) fn find(
    tracer: &Tracer,
    reached: &Reached,
    vmas: &[Vma],
    image: &Image,
    threads: &[ThreadState],
    known: &[Patch],
) -> Result<Found, DumpError> {
    let tids: Vec<u32> = threads.iter().map(|thread| thread.record.tid).collect();
    let stacks: Vec<(Range<u64>, u64)> = threads.iter().filter_map(|thread| stack(vmas, thread)).collect();
    let mut hits = Vec::new();
    each_piece(tracer, image, 0, |start, words| {
        for (word, addr) in words.iter().zip((start..).step_by(8)) {
            for (half, addr) in [(*word as u32, addr), ((*word >> 32) as u32, addr + 4)] {
                if let Some(id) = id_of(half, &tids) {
                    hits.push((addr, half, id));
                }
            }
        }
    })?;
    let is_dead = |addr: u64| stacks.iter().any(|(stack, sp)| stack.contains(&addr) && addr + RED_ZONE < *sp);
    let is_known = |addr: u64| {
        let patched = known.iter().any(|patch| patch.place == PATCH_MEMORY && patch.addr & !7 == addr & !7);
        patched || threads.iter().any(|thread| thread.holds(addr))
    };
    let is_writable = |addr: u64| vmas.iter().any(|vma| vma.contains(addr) && vma.prot & PROT_WRITE != 0);
    hits.retain(|(addr, ..)| is_writable(*addr) && !is_dead(*addr) && !is_known(*addr));
    let is_clock = |hit: &(u64, u32, Id)| matches!(hit.2, Id::Clock(_));
    let is_any_small = tids.iter().any(|tid| is_small(*tid));
    let makers = if is_any_small || hits.iter().any(is_clock) { makers(tracer, vmas) } else { Vec::new() };
    let mut found = Found::default();
    let (mut clocks, mut of_threads, mut of_process) = (Vec::new(), Vec::new(), Vec::new());
    for (addr, value, id) in hits {
        match id {
            Id::Process => of_process.push(addr),
            Id::Thread => of_threads.push(addr),
            Id::Clock(thread) => {
                let is_used = tracer.clocks.contains(&value);
                let is_variable = !makers.is_empty()
                    && (stacks.iter().any(|(stack, _)| stack.contains(&addr))
                        || makers.iter().any(|range| range.contains(&addr)));
                if is_used || is_variable {
                    found.patches.push(Patch { addr, kind: PATCH_CLOCK, place: PATCH_MEMORY, arg: thread as u32 });
                } else if !makers.is_empty() {
                    clocks.push(addr);
                }
            }
        }
    }
    let clock = "words equal the ID of a CPU clock of this process, which instances find unchanged".to_owned();
    found.notes.extend(note(tracer, vmas, &clocks, &clock));
    let small = |whose: &str, id: Option<&u32>, who: &str| {
        let id = id.filter(|id| is_small(**id))?;
        Some(format!(
            "{whose} has the small ID {id}{who}; words with it cannot be told from other numbers, and instances find them \
             unchanged"
        ))
    };
    if let Some(who) = asked_for_thread(tracer) {
        let what = format!("words equal the ID of a thread{who}, and instances find them unchanged");
        found.notes.extend(note(tracer, vmas, &of_threads, &what));
        found.notes.extend(small("a thread", tids.iter().skip(1).find(|tid| is_small(**tid)), &who));
    }
    if let Some(who) = asked_for_process(tracer).filter(|_| reached.at != AT_MAIN) {
        let what = format!(
            "words equal the process ID{who}, and instances find them unchanged; snaprun --same-pid keeps the ID"
        );
        found.notes.extend(note(tracer, vmas, &of_process, &what));
        found.notes.extend(small("the process", tids.first(), &who));
    }
    if is_any_small && !(tracer.clocks.is_empty() && makers.is_empty()) {
        let who = ", and it may have IDs of CPU clocks, which contain that";
        found.notes.extend(small("the process or a thread", tids.iter().find(|tid| is_small(**tid)), who));
    }
    Ok(found)
}

fn is_small(id: u32) -> bool {
    id < DISTINCT as u32
}

/// Libraries that ask for the process ID to notice that they run in a child of `fork`. An instance is such a child to
/// them, so that their words are to keep the old ID.
const NOTICE_FORK: [&str; 8] = [
    "libcrypto.so",
    "libgcrypt.so",
    "libgnutls.so",
    "libsoftokn3.so",
    "libfreeblpriv3.so",
    "libmbedcrypto.so",
    "libwolfssl.so",
    "libsodium.so",
];
/// CPython asks for the ID of a thread to show it, and passes it to no call; the thread state is a known holder.
const SHOWS_THREAD: [&str; 2] = ["python3", "libpython3"];

/// Who has asked for the process ID, in words. `None`: the program has not, so a word with that value is another
/// number, or one that the C library keeps. The main thread's ID is the same number.
fn asked_for_process(tracer: &Tracer) -> Option<String> {
    let process = tracer.origins.process_ids.iter().filter(|caller| !caller.is_one_of(&NOTICE_FORK));
    match who(process) {
        Some(who) => Some(who),
        None => asked_for_thread(tracer),
    }
}

/// As [`asked_for_process`], for the IDs of threads.
fn asked_for_thread(tracer: &Tracer) -> Option<String> {
    let who = who(tracer.origins.thread_ids.iter().filter(|caller| !caller.is_one_of(&SHOWS_THREAD)));
    // Nobody knows for what a process has asked before the snapshotter saw it.
    who.or_else(|| tracer.ledger.is_incomplete().then(String::new))
}

/// The callers, as the end of a noun.
fn who<'a>(callers: impl Iterator<Item = &'a Caller>) -> Option<String> {
    let names: Vec<String> = callers.take(SHOWN).map(Caller::to_string).collect();
    (!names.is_empty()).then(|| format!(", for which {} has asked", names.join(" and ")))
}

/// What `word` may be in a process with the threads `tids`, the first of which names the process.
fn id_of(word: u32, tids: &[u32]) -> Option<Id> {
    let index_of = |id: u32| tids.iter().position(|tid| *tid == id);
    if is_small(word) {
        return None;
    }
    if (word as i32) > 0 {
        return index_of(word).map(|index| if index == 0 { Id::Process } else { Id::Thread });
    }
    let (id, clock) = (!((word as i32 >> 3) as u32), word & 7);
    const OF_THREAD: u32 = 4;
    const CLOCKS: u32 = 3;
    if is_small(id) || clock & 3 >= CLOCKS {
        return None;
    }
    // The process's clocks name the process, which is the first thread.
    index_of(id).filter(|index| clock & OF_THREAD != 0 || *index == 0).map(Id::Clock)
}

/// The mapping of a thread's stack, and the stack pointer.
fn stack(vmas: &[Vma], thread: &ThreadState) -> Option<(Range<u64>, u64)> {
    let sp = thread.record.regs[reg::SP];
    vmas.iter().find(|vma| vma.contains(sp)).map(|vma| (vma.start..vma.end, sp))
}

impl ThreadState {
    /// Whether `addr` is one of the words in which the C library and the kernel keep the thread's ID.
    fn holds(&self, addr: u64) -> bool {
        let base = self.record.regs[reg::TLS];
        let structure = base != 0 && (base..base.saturating_add(STRUCTURE)).contains(&addr);
        structure || [self.record.tid_cache, self.record.clear_tid].contains(&addr)
    }
}

/// Whether the file is CPython: `time.pthread_getcpuclockid` gives the ID as an integer object, which is no such word.
fn keeps_no_word(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    SHOWS_THREAD.iter().any(|python| name.starts_with(python.as_bytes()))
}

/// The variables of all files of the image that call a function which gives the ID of a CPU clock.
fn makers(tracer: &Tracer, vmas: &[Vma]) -> Vec<Range<u64>> {
    let mut found = Vec::new();
    for first in vmas.iter().filter(|vma| vma.may_be_image() || vma.path() == tracer.booted.exe && vma.offset == 0) {
        let path = first.path();
        if keeps_no_word(&path) {
            continue;
        }
        let is_program = path == tracer.booted.exe;
        if symbols::calls(&path, &GETTERS) || is_program && symbols::find(&path, &GETTERS).is_some() {
            let end = symbols::span(&path).map_or(first.end, |span| first.start + span);
            found.push(first.start..end);
        }
    }
    let exe = &tracer.booted.exe;
    if !keeps_no_word(exe) && (symbols::calls(exe, &GETTERS) || symbols::find(exe, &GETTERS).is_some()) {
        let (start, end) = tracer.booted.image();
        found.push(start..end);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_word_may_be() {
        let tids = [4000, 4001];
        let clock = |id: u32, low: u32| !id << 3 | low;
        assert_eq!(id_of(4000, &tids), Some(Id::Process));
        assert_eq!(id_of(4001, &tids), Some(Id::Thread));
        assert_eq!(id_of(clock(4000, 2), &tids), Some(Id::Clock(0)));
        assert_eq!(id_of(clock(4000, 6), &tids), Some(Id::Clock(0)));
        assert_eq!(id_of(clock(4001, 6), &tids), Some(Id::Clock(1)));
        for none in [clock(4001, 2), clock(4001, 7), clock(4002, 6), 4002, 0, u32::MAX] {
            assert_eq!(id_of(none, &tids), None, "{none:#x}");
        }
        assert_eq!(id_of(clock(7, 6), &[7]), None);
        assert_eq!(id_of(7, &[7]), None);
    }
}
