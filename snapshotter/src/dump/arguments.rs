//! Finds the words that hold the arguments at `main`: constructors (all programs in Rust), libraries and the C library
//! keep them.
//!
//! This module compares the two runs of the initialisation word for word ([`crate::tracee::second`]). A word that holds
//! in both runs the run's own address of a vector, or its count, is a patch. A word that points into the vectors or
//! their strings cannot be renewed, since an instance may have fewer of them: it is reported.
//!
//! Without a second run only the words that C libraries name are known.

use super::memory::{AreaKind, Content, Image};
use super::refuse::{Blocker, DumpError};
use crate::tracee::maps::Vma;
use crate::tracee::second::{Second, Vectors};
use crate::tracee::{Reached, TraceError, Tracer, symbols};
use snapfn_format::snap::*;
use std::ops::Range;

const CHUNK: u64 = 1 << 20;
/// glibc's own copies.
const ARGV_NAMES: [&str; 2] = ["_dl_argv", "__libc_argv"];
const ARGC_NAMES: [&str; 2] = ["_dl_argc", "__libc_argc"];

/// Words to be renewed, and notices about others.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) patches: Vec<Patch>,
    pub(super) notes: Vec<String>,
}

/// The kind of a word, by its two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// A patch of 8 bytes.
    Word(u16),
    /// Patches of 4 bytes for the lower and the upper half.
    Halves(Option<u16>, Option<u16>),
    /// An address inside of the vectors or of the arguments' strings.
    Inside,
    /// The process ID, in either half.
    Process,
    /// The two values differ in another way.
    Other,
}

pub(super) fn find(tracer: &Tracer, reached: &Reached, vmas: &[Vma], image: &Image) -> Found {
    if reached.at != AT_MAIN || reached.bare_entry {
        return Found::default();
    }
    match tracer.second.as_deref().filter(|second| second.is_there()) {
        Some(second) => compare(tracer, second, reached, vmas, image),
        None => Found { patches: named(tracer, vmas), notes: Vec::new() },
    }
}

/// Refuses arguments that instances keep and that are not what the program was started with: an instance reads them
/// where they lie in memory, one behind the other. `blanked` are the arguments without secrets.
pub(super) fn check_kept(tracer: &Tracer, process: &Process, blanked: &[u8]) -> Result<(), DumpError> {
    if process.kept_args == 0 {
        return Ok(());
    }
    let initial = &tracer.strings.initial;
    let len = initial.split_inclusive(|byte| *byte == 0).take(1 + process.kept_args as usize).map(<[u8]>::len).sum();
    let now = tracer.memory.read_vec(process.argv0, len as u64).map_err(TraceError::system("arguments"))?;
    let what = if blanked.get(..len) != initial.get(..len) {
        "hold the value of a secret, which is left out: an instance would lack it"
    } else if Some(&now[..]) != initial.get(..len) {
        "have been written over before the snapshot point"
    } else {
        return Ok(());
    };
    Err(DumpError::Refused(vec![Blocker {
        subject: "arguments that instances keep".to_owned(),
        what: what.to_owned(),
        remedy: "name the program itself instead of the wrapper or script",
    }]))
}

fn patch(addr: u64, kind: u16) -> Patch {
    Patch { addr, kind, place: PATCH_MEMORY, arg: 0 }
}

/// The words that the C library names, if they hold the expected values.
fn named(tracer: &Tracer, vmas: &[Vma]) -> Vec<Patch> {
    let request = &tracer.booted.request;
    let argc = tracer.memory.read_u64(request.sp).unwrap_or(0) as u32;
    let mut patches = Vec::new();
    for vma in vmas.iter().filter(|vma| vma.may_be_image()) {
        let start = if vma.path() == tracer.booted.exe { request.bias } else { vma.start };
        let at = |symbol: &symbols::Symbol| start.wrapping_add(symbol.value).wrapping_sub(symbol.image_start);
        let vectors = symbols::variables(&vma.path(), &ARGV_NAMES);
        let holds = |addr: &u64| tracer.memory.read_u64(*addr).is_ok_and(|word| word == request.argv);
        patches.extend(vectors.iter().map(at).filter(holds).map(|addr| patch(addr, PATCH_ARGV)));
        let counts = symbols::variables(&vma.path(), &ARGC_NAMES);
        let holds = |addr: &u64| tracer.memory.read_u32(*addr).is_ok_and(|word| word == argc);
        patches.extend(counts.iter().map(at).filter(holds).map(|addr| patch(addr, PATCH_ARGC_INT)));
    }
    patches
}

fn compare(tracer: &Tracer, second: &Second, reached: &Reached, vmas: &[Vma], image: &Image) -> Found {
    let difference = Difference { first: second.first, other: second.other, pids: [tracer.pid, second.tracer.pid] };
    // The stack of the start lies lower in the second run, and with it all frames.
    let stack = vmas.iter().find(|vma| vma.contains(second.first.sp)).map_or(0..0, |vma| vma.start..vma.end);
    let frames = reached.instance[reg::SP]..second.first.sp;
    let tls = reached.instance[reg::TLS];
    let thread_structure = tls..tls.saturating_add(0x800);
    let (mut inside, mut processes) = (Vec::new(), Vec::new());
    let mut found = Found::default();
    let mut visit = |range: Range<u64>, distance: u64| {
        each_difference(tracer, second, range, distance, |addr, a, b| match difference.meaning(a, b) {
            Meaning::Word(kind) => found.patches.push(patch(addr, kind)),
            Meaning::Halves(low, high) => {
                found.patches.extend(low.map(|kind| patch(addr, kind)));
                found.patches.extend(high.map(|kind| patch(addr + 4, kind)));
            }
            // The C library's own variable is named by its symbol.
            Meaning::Inside if !stack.contains(&addr) => inside.push(addr),
            Meaning::Process if !thread_structure.contains(&addr) => processes.push(addr),
            _ => {}
        });
    };
    for part in image.parts.iter().filter(|part| matches!(part.content, Content::Map | Content::Read)) {
        let range = part.addr..part.addr + part.len;
        if image.areas[part.area].kind == AreaKind::Resident {
            continue;
        }
        if stack.contains(&range.start) {
            visit(range.start.max(frames.start)..range.end.min(frames.end), second.distance());
        } else {
            visit(range, 0);
        }
    }
    found.notes.extend(note(
        tracer,
        vmas,
        &inside,
        "the initialisation keeps the address of an argument or of a place in the vectors, \
        where instances find what create was given",
    ));
    found.notes.extend(note(
        tracer,
        vmas,
        &processes,
        "the initialisation keeps the process ID, which instances find unchanged; snaprun --same-pid keeps the ID",
    ));
    found
}

/// `what`, and where.
pub(super) fn note(tracer: &Tracer, vmas: &[Vma], places: &[u64], what: &str) -> Option<String> {
    const SHOWN: usize = 3;
    let (start, end) = tracer.booted.image();
    let name = |addr: &u64| {
        if (start..end).contains(addr) {
            return format!("{:#x} in {}", addr - start, tracer.booted.exe.display());
        }
        let has_code = |file: &Vma| vmas.iter().any(|vma| vma.name == file.name && vma.prot & PROT_EXEC != 0);
        let begins = |vma: &&Vma| vma.start <= *addr && vma.has_file() && vma.offset == 0 && has_code(vma);
        let file = vmas.iter().rfind(begins);
        match file.filter(|file| {
            vmas.iter().any(|vma| vma.contains(*addr) && (vma.has_file() || vma.start - file.end < 1 << 20))
        }) {
            Some(file) => format!("{:#x} in {}", addr - file.start, file.name),
            None => format!("{addr:#x}"),
        }
    };
    let shown: Vec<String> = places.iter().take(SHOWN).map(name).collect();
    let more = places.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!places.is_empty()).then(|| format!("{what} ({}{more})", shown.join(", ")))
}

/// Calls `visit` with each aligned word of the program in `range` that is another one in the copy, `distance` lower.
fn each_difference(
    tracer: &Tracer,
    second: &Second,
    range: Range<u64>,
    distance: u64,
    mut visit: impl FnMut(u64, u64, u64),
) {
    let mut at = range.start.next_multiple_of(8);
    while at < range.end {
        let len = (range.end - at).min(CHUNK);
        let ours = tracer.memory.read_vec(at, len);
        let theirs = second.tracer.memory.read_vec(at.wrapping_sub(distance), len);
        // Memory that only one of the runs has mapped is not compared.
        if let (Ok(ours), Ok(theirs)) = (ours, theirs)
            && ours != theirs
        {
            let pairs = ours.as_chunks::<8>().0.iter().zip(theirs.as_chunks::<8>().0).enumerate();
            for (index, (a, b)) in pairs.filter(|(_, (a, b))| a != b) {
                visit(at + 8 * index as u64, u64::from_le_bytes(*a), u64::from_le_bytes(*b));
            }
        }
        at += len;
    }
}

/// How the two runs differ.
struct Difference {
    first: Vectors,
    other: Vectors,
    pids: [i32; 2],
}

impl Difference {
    fn meaning(&self, a: u64, b: u64) -> Meaning {
        let (first, other) = (&self.first, &self.other);
        let end = |vectors: &Vectors| (vectors.argv + 8 * vectors.argc, vectors.envp + 8 * vectors.envc);
        let words = [
            (first.argv, other.argv, PATCH_ARGV),
            (first.envp, other.envp, PATCH_ENVP),
            (end(first).0, end(other).0, PATCH_ARGV_END),
            (end(first).1, end(other).1, PATCH_ENVP_END),
        ];
        if let Some((_, _, kind)) = words.iter().find(|(ours, theirs, _)| (*ours, *theirs) == (a, b)) {
            return Meaning::Word(*kind);
        }
        let halves = |shift: u32| ((a >> shift) as u32, (b >> shift) as u32);
        let count = |(a, b): (u32, u32)| {
            let is = |ours: u64, theirs: u64| (u64::from(a), u64::from(b)) == (ours, theirs);
            match () {
                () if is(first.argc, other.argc) => Some(PATCH_ARGC_INT),
                () if is(first.envc, other.envc) => Some(PATCH_ENVC_INT),
                () => None,
            }
        };
        let counts = (count(halves(0)), count(halves(32)));
        if counts != (None, None) {
            return Meaning::Halves(counts.0, counts.1);
        }
        let inside =
            |ours: u64, theirs: u64, len: u64| (ours..ours + len).contains(&a) && a - ours == b.wrapping_sub(theirs);
        if inside(first.argv, other.argv, 8 * first.argc)
            || inside(first.envp, other.envp, 8 * first.envc)
            || inside(first.args, other.args, first.args_len)
        {
            return Meaning::Inside;
        }
        let is_pid = |(a, b): (u32, u32)| [a as i32, b as i32] == self.pids;
        if is_pid(halves(0)) || is_pid(halves(32)) {
            return Meaning::Process;
        }
        Meaning::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference() -> Difference {
        let at = |sp: u64, argc: u64, envc: u64| Vectors {
            sp,
            argc,
            argv: sp + 8,
            envc,
            envp: sp + 8 * (argc + 2),
            auxv: sp + 8 * (argc + envc + 3),
            auxv_len: 320,
            args: sp + 0x8000,
            args_len: 10,
        };
        Difference { first: at(0x20000, 2, 5), other: at(0x10000, 711, 42), pids: [77, 78] }
    }

    #[test]
    fn what_differs_as_the_vectors_do() {
        let difference = difference();
        let is = |a, b| difference.meaning(a, b);
        assert_eq!(is(0x20008, 0x10008), Meaning::Word(PATCH_ARGV));
        assert_eq!(is(difference.first.envp, difference.other.envp), Meaning::Word(PATCH_ENVP));
        assert_eq!(is(0x20008 + 16, 0x10008 + 8 * 711), Meaning::Word(PATCH_ARGV_END));
        assert_eq!(is(2, 711), Meaning::Halves(Some(PATCH_ARGC_INT), None));
        assert_eq!(is(2 << 32 | 9, 711 << 32 | 9), Meaning::Halves(None, Some(PATCH_ARGC_INT)));
        assert_eq!(is(5, 42), Meaning::Halves(Some(PATCH_ENVC_INT), None));
    }

    #[test]
    fn what_does_not() {
        let difference = difference();
        let is = |a, b| difference.meaning(a, b);
        assert_eq!(is(0x20008, 0x20008), Meaning::Other);
        assert_eq!(is(0x20008, 0x10010), Meaning::Other);
        assert_eq!(is(2, 712), Meaning::Other);
        assert_eq!(is(0x28001, 0x18001), Meaning::Inside);
        assert_eq!(is(0x20010, 0x10010), Meaning::Inside);
        assert_eq!(is(77, 78), Meaning::Process);
        assert_eq!(is(0x1234_5678_9abc_def0, 0x4242_4242_4242_4242), Meaning::Other);
    }
}
