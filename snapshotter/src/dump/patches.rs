//! Words that must be new in every instance, found by value.

use super::memory::{AreaKind, Content, Image, read_image};
use super::refuse::DumpError;
use super::threads::ThreadState;
use crate::tracee::{Reached, Tracer};
use snapfn_format::snap::*;

/// Values to look for, each with its patch.
struct Needles(Vec<(u64, u16)>);

impl Needles {
    fn kind_of(&self, word: u64) -> Option<u16> {
        self.0.iter().find(|(value, _)| *value == word).map(|(_, kind)| *kind)
    }
}

/// Words that were found by other means.
pub(super) struct Words<'a> {
    /// `environ` variables.
    pub(super) environ: &'a [u64],
    /// Owners of held mutexes.
    pub(super) owners: &'a [Patch],
}

/// All patches: memory in ascending order of address, then registers.
pub(super) fn find(
    tracer: &Tracer,
    reached: &Reached,
    image: &Image,
    threads: &[ThreadState],
    words: &Words<'_>,
) -> Result<Vec<Patch>, DumpError> {
    let request = &tracer.booted.request;
    let mut needles = vec![(request.envp, PATCH_ENVP)];
    // Only at `main` has nothing been derived from the arguments yet: later, a new vector behind an old argc
    // would be read beyond its end.
    if reached.at == AT_MAIN {
        needles.push((request.argv, PATCH_ARGV));
    }
    for canary in threads.iter().map(|thread| thread.canary).filter(|canary| *canary != 0) {
        if !needles.iter().any(|(value, _)| *value == canary) {
            needles.push((canary, PATCH_CANARY));
        }
    }
    let needles = Needles(needles);
    let mut patches = Vec::new();
    for part in image.parts.iter().filter(|part| matches!(part.content, Content::Map | Content::Read)) {
        if image.areas[part.area].kind == AreaKind::Resident {
            continue;
        }
        scan(tracer, part.addr, part.len, &needles, &mut patches)?;
    }
    for variable in words.environ {
        patches.push(Patch { addr: *variable, kind: PATCH_ENVP, place: PATCH_MEMORY, arg: 0 });
    }
    // The first has a place in the process record.
    for info in tracer.registered.infos.iter().skip(1) {
        patches.push(Patch { addr: *info, kind: PATCH_INFO, place: PATCH_MEMORY, arg: 0 });
    }
    patches.extend_from_slice(words.owners);
    patches.sort_by_key(|patch| patch.addr);
    patches.dedup_by_key(|patch| patch.addr);
    registers(reached, threads, &needles, &mut patches);
    Ok(patches)
}

fn scan(tracer: &Tracer, start: u64, len: u64, needles: &Needles, out: &mut Vec<Patch>) -> Result<(), DumpError> {
    let mut buffer = vec![0; (len.min(1 << 20)) as usize];
    let mut at = start;
    while at < start + len {
        let size = (start + len - at).min(buffer.len() as u64) as usize;
        let bytes = &mut buffer[..size];
        read_image(tracer, at, bytes)?;
        for (index, word) in bytes.as_chunks::<8>().0.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            if word != 0
                && let Some(kind) = needles.kind_of(word)
            {
                out.push(Patch { addr: at + 8 * index as u64, kind, place: PATCH_MEMORY, arg: 0 });
            }
        }
        at += size as u64;
    }
    Ok(())
}

fn registers(reached: &Reached, threads: &[ThreadState], needles: &Needles, out: &mut Vec<Patch>) {
    let mut add = |register: usize, kind: u16, thread: usize| {
        out.push(Patch { addr: register as u64, kind, place: PATCH_REGISTER, arg: thread as u32 });
    };
    const NOT_DATA: [usize; 6] = [reg::RIP, reg::RSP, reg::CS, reg::SS, reg::EFLAGS, reg::ORIG_RAX];
    for (index, thread) in threads.iter().enumerate() {
        let at_point = thread.tid == reached.tid;
        for register in (0..reg::FS_BASE).filter(|register| !NOT_DATA.contains(register)) {
            // The arguments of `main` are set below, whatever their values are.
            let argument = matches!(register, reg::RDI | reg::RSI | reg::RDX);
            if at_point && reached.at == AT_MAIN && !reached.bare_entry && argument {
                continue;
            }
            if let Some(kind) = needles.kind_of(thread.record.regs[register]) {
                add(register, kind, index);
            }
        }
        if at_point && reached.at == AT_MAIN {
            if reached.bare_entry {
                add(reg::RSP, PATCH_STACK, index);
            } else {
                add(reg::RDI, PATCH_ARGC, index);
                add(reg::RSI, PATCH_ARGV, index);
                add(reg::RDX, PATCH_ENVP, index);
            }
        }
    }
}
