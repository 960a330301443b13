//! `--if-stale`: compares the files that the program read before its point with those of today.
//!
//! Only size, time and inode are compared: to hash contents would cost what a start saves. So a file that was written
//! again with the same content counts as changed here, while `snapshotter check --stale` reports it as fresh.
//!
//! Without the option, none of this runs: the notes lie behind the plan, and no start reads them.
#![allow(unsafe_code)] // maps the notes

use super::args::IfStale;
use super::failure::Failure;
use super::fallback;
use super::open::Snapshot;
use crate::runtime::auxv::InitialStack;
use crate::runtime::memory;
use crate::runtime::print::{Out, Text};
use crate::runtime::sys::{self, Stat};
use core::ffi::CStr;
use core::fmt::Write;
use snapfn_format::PAGE;
use snapfn_format::layout::LOADER_PLAN;
use snapfn_format::snap::Plan;
use snapfn_format::snap::notes::{
    INPUT_ABSENT, INPUT_CHANGED, Input, Inputs, NOTE_INPUTS, NOTE_RECIPE, Recipe, note_headers, notes_segment, own_note,
};

/// Length of the ELF header, which lies in front of the plan.
const ELF_HEADER: u64 = 64;

/// Why a snapshot counts as stale.
#[derive(Clone, Copy, Debug)]
pub struct Reason {
    /// The file; empty if it is none.
    pub path: &'static [u8],
    /// What is with it.
    pub why: &'static str,
}

/// A part of the snapshot file, mapped as long as this lives.
struct Mapped {
    start: u64,
    len: u64,
    skipped: usize,
}

impl Mapped {
    fn of(snapshot: &Snapshot, offset: u64, len: u64) -> Option<Self> {
        let skipped = offset % PAGE;
        let len = skipped.checked_add(len).filter(|_| len > 0)?;
        let start = sys::mmap_free(0, len, sys::PROT_READ, sys::MAP_PRIVATE, snapshot.fd, offset - skipped).ok()?;
        Some(Mapped { start, len, skipped: skipped as usize })
    }

    fn bytes(&self) -> &'static [u8] {
        // SAFETY: the mapping is there until `end`, after which no caller uses the bytes.
        let all: &'static [u8] = unsafe { memory::bytes(self.start, self.len) };
        all.get(self.skipped..).unwrap_or_default()
    }

    /// Unmaps it.
    fn end(self) {
        // SAFETY: nothing uses the bytes any more.
        let _ = unsafe { sys::munmap(self.start, self.len) };
    }
}

/// Maps the notes of a snapshot, whose plan is mapped.
fn notes(snapshot: &Snapshot) -> Option<Mapped> {
    // SAFETY: the plan begins with the ELF header, and stays mapped.
    let elf: &'static [u8] = unsafe { memory::bytes(LOADER_PLAN, ELF_HEADER) };
    let range = note_headers(elf, snapshot.stat.size)?;
    let headers = Mapped::of(snapshot, range.start, range.end - range.start)?;
    let segment = notes_segment(headers.bytes(), snapshot.stat.size);
    headers.end();
    segment.and_then(|segment| Mapped::of(snapshot, segment.start, segment.end - segment.start))
}

/// Does what the option demands. Returns if an instance is to be started after all.
#[cold]
#[inline(never)]
pub fn apply(
    mode: IfStale,
    name: &CStr,
    plan: &Plan<'_>,
    snapshot: &Snapshot,
    initial: &InitialStack,
    first_arg: u64,
) -> Result<(), Failure<'static>> {
    let mapped = notes(snapshot);
    let segment = mapped.as_ref().map(Mapped::bytes).unwrap_or_default();
    let Some(reason) = reason(segment) else {
        mapped.into_iter().for_each(Mapped::end);
        return Ok(());
    };
    match mode {
        IfStale::Warn => {
            let _ = writeln!(
                Out::new(2),
                "snaprun: {}: {reason}; the instance has the old state (snapshotter rebuild makes it again)",
                Text(name.to_bytes())
            );
        }
        IfStale::Fail => return Err(Failure::Stale(reason)),
        IfStale::Fallback => {
            let recipe = own_note(segment, NOTE_RECIPE).and_then(|note| Recipe::parse(note).ok());
            let errno = match recipe {
                // A word is missing in it.
                Some(recipe) if recipe.flags != 0 => return Err(Failure::Stale(reason)),
                // SAFETY: the initial stack of this process, of which nothing has changed.
                Some(recipe) => unsafe { fallback::start_recipe(&recipe, plan, initial, first_arg) },
                // SAFETY: as above.
                None => unsafe { fallback::start(plan, initial, first_arg) },
            };
            return Err(Failure::StaleFallback(reason, errno));
        }
    }
    mapped.into_iter().for_each(Mapped::end);
    Ok(())
}

impl core::fmt::Display for Reason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.path {
            [] => f.write_str(self.why),
            path => write!(f, "stale: {} {}", Text(path), self.why),
        }
    }
}

/// The first input that is not as it was.
fn reason(segment: &'static [u8]) -> Option<Reason> {
    let none = |why| Some(Reason { path: &[], why });
    let Some(note) = own_note(segment, NOTE_INPUTS) else {
        return none("has no record of its inputs, so it counts as stale");
    };
    match Inputs::parse(note) {
        Err(_) => none("has a damaged record of its inputs, so it counts as stale"),
        Ok(inputs) => inputs.iter().find_map(|input| {
            difference(&input, sys::stat(input.path).ok()).map(|why| Reason { path: input.path.to_bytes(), why })
        }),
    }
}

fn difference(input: &Input<'_>, now: Option<Stat>) -> Option<&'static str> {
    let Some(now) = now else { return (input.flags & INPUT_ABSENT == 0).then_some("is gone") };
    let modified = now.seconds.saturating_mul(1_000_000_000).saturating_add(now.nanoseconds);
    match input.flags {
        flags if flags & INPUT_ABSENT != 0 => Some("is new"),
        flags if flags & INPUT_CHANGED != 0 => Some("changed while the snapshot was made"),
        _ if input.is_state(now.size, modified, now.inode) => None,
        _ if now.size != input.size => Some("has changed"),
        _ => Some("has another time or inode"),
    }
}
