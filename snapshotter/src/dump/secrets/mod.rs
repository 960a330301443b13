//! Secrets, which must not be in the file: memory declared by `snap_secret()`, values of variables whose names mark
//! them as secret, and all copies of both.
//!
//! ```text
//!  names    which variables    finder   copies in bytes, whole or in part    pieces   what proves a copy
//!  collect  the secrets, and where the environment holds them
//!  Secrets::scrub    registers, descriptors' contents, arguments; ranges of memory that are written as zeros
//!  Secrets::verify   nothing of them is left in what was written
//! ```
//! This module changes only copies of the program's state, never the program: after a refusal it goes on unchanged.

mod finder;
mod names;
mod pieces;

pub(crate) use names::{SecretNames, pattern};

use super::environ;
use super::fds::FdTables;
use super::memory::{Image, read_image};
use super::process::ProcessState;
use super::refuse::{Blocker, DumpError};
use super::threads::ThreadState;
use crate::tracee::maps::{Special, Vma};
use crate::tracee::symbols::open_regular;
use crate::tracee::{TraceError, Tracer};
use finder::{Copy, Finder, MIN_RANGE, MIN_VALUE, Secret};
use snapfn_format::arch::GENERAL;
use snapfn_format::snap::{FILE_DATA, Step};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::os::unix::fs::FileExt;

const KEEP: &str = "remove it before the snapshot point, or allow it with --keep-env NAME";

/// So many bytes of a secret in a file that is no program count as the secret's.
const TELLING: u64 = 16;

/// What was left out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scrubbed {
    /// By name: in how many places, the environment included.
    pub(crate) names: BTreeMap<String, u64>,
    /// Copies that the program had made, which are zeros: how many in memory of each kind.
    pub(crate) copies: BTreeMap<String, u64>,
}

impl Scrubbed {
    fn count(&mut self, secret: &str, place: &str) {
        *self.names.entry(secret.to_owned()).or_default() += 1;
        *self.copies.entry(place.to_owned()).or_default() += 1;
    }
}

/// What a user calls the memory at `addr`.
fn place(vmas: &[Vma], addr: u64) -> String {
    match vmas.iter().find(|vma| vma.contains(addr)) {
        Some(vma) if vma.has_file() => format!("data of {}", vma.name),
        Some(vma) if vma.is(Special::Heap) => "the heap".to_owned(),
        Some(vma) if vma.is(Special::Stack) => "the stack".to_owned(),
        _ => "anonymous memory".to_owned(),
    }
}

/// The secrets of one program.
#[derive(Debug)]
pub(super) struct Secrets {
    names: SecretNames,
    /// Variables that the program was given with a secret value.
    given: BTreeSet<Vec<u8>>,
    all: Vec<Secret>,
    finder: Option<Finder>,
    scrubbed: Scrubbed,
    /// Notices about the variables, a line each.
    notes: Vec<String>,
    shipped: Vec<String>,
}

fn name_of(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == b'=').next().unwrap_or_default()
}

fn build(secrets: &[Secret], public: &HashSet<Vec<u8>>) -> Result<Option<Finder>, DumpError> {
    let too_large = |error| TraceError::Split(format!("secrets are too large to be looked for: {error}"));
    Ok(Finder::new(secrets, public).map_err(too_large)?)
}

impl Secrets {
    /// The values as they are now, and those at the program's start (`given`: `NAME=value`).
    pub(super) fn collect(
        tracer: &mut Tracer,
        vmas: &[Vma],
        names: &SecretNames,
        given: &[Vec<u8>],
    ) -> Result<Self, DumpError> {
        let mut all: Vec<Secret> = Vec::new();
        let mut add = |name: String, bytes: Vec<u8>, min| {
            let secret = Secret { name, bytes, min };
            if !all.contains(&secret) {
                all.push(secret);
            }
        };
        let secret_value = |text: &[u8]| {
            let name = name_of(text);
            let value = text.get(name.len() + 1..)?;
            let is_secret = names.is_secret_value(name, value);
            is_secret.then(|| (String::from_utf8_lossy(name).into_owned(), value.to_vec()))
        };
        for (name, value) in given.iter().filter_map(|text| secret_value(text)) {
            add(name, value, MIN_VALUE);
        }
        let mut ranges = Vec::new();
        let mut scrubbed = Scrubbed::default();
        let current = environ::strings(tracer, vmas);
        let texts = given.iter().chain(current.values());
        let variables: Vec<_> =
            texts.map(|text| (name_of(text), text.get(name_of(text).len() + 1..).unwrap_or_default())).collect();
        let mut notes = names.notes(&variables);
        let secret_names: BTreeSet<Vec<u8>> =
            given.iter().filter(|text| secret_value(text).is_some()).map(|text| name_of(text).to_vec()).collect();
        let mut own = BTreeSet::new();
        for (addr, text) in current {
            if let Some((name, value)) = secret_value(&text) {
                if !secret_names.contains(name_of(&text)) && !names.is_named(name.as_bytes()) {
                    own.insert(name);
                    continue;
                }
                ranges.push((addr + (text.len() - value.len()) as u64, value.len() as u64));
                *scrubbed.names.entry(name.clone()).or_default() += 1;
                add(name, value, MIN_VALUE);
            }
        }
        for (addr, bytes) in &tracer.registered.seen {
            add(format!("snap_secret({addr:#x})"), bytes.clone(), MIN_RANGE);
        }
        for (addr, len) in &tracer.registered.secrets {
            // The memory has been unmapped since it was declared: its value then is known.
            if let Ok(bytes) = tracer.memory.read_vec(*addr, (*len).min(1 << 20)) {
                add(format!("snap_secret({addr:#x})"), bytes, MIN_RANGE);
            }
        }
        notes.extend(own.iter().map(|name| {
            format!("the program has set {name} itself: its value is in the snapshot; --scrub-env {name} leaves it out")
        }));
        tracer.registered.secrets.extend(ranges);
        let finder = build(&all, &HashSet::new())?;
        Ok(Secrets { names: names.clone(), given: secret_names, all, finder, scrubbed, notes, shipped: Vec::new() })
    }

    /// Whether the variable's value is the instance's own, even if the program has changed it.
    pub(super) fn is_secret_name(&self, name: &[u8]) -> bool {
        self.names.is_named(name) || self.given.contains(name)
    }

    /// Writes zeros over every copy in `bytes`; whether there was one.
    pub(super) fn blank(&self, bytes: &mut [u8]) -> bool {
        self.finder.as_ref().is_some_and(|finder| !finder.blank(bytes).is_empty())
    }

    /// Whether there is a copy in `bytes`.
    pub(super) fn are_in(&self, bytes: &[u8]) -> bool {
        self.blank(&mut bytes.to_vec())
    }

    fn count(&mut self, secret: usize, place: &str) {
        if let Some(secret) = self.all.get(secret) {
            self.scrubbed.count(&secret.name, place);
        }
    }

    /// Removes them from all gathered state; for memory, records the ranges that are not to be stored.
    pub(super) fn scrub(
        &mut self,
        tracer: &mut Tracer,
        vmas: &[Vma],
        image: &Image,
        threads: &mut [ThreadState],
        process: &mut ProcessState,
        fds: &mut FdTables,
    ) -> Result<(), DumpError> {
        self.mapped_files(image)?;
        let Some(finder) = self.finder.take() else { return Ok(()) };
        for thread in threads {
            for register in &mut thread.record.regs[GENERAL] {
                let mut bytes = register.to_le_bytes();
                finder.blank_registers(&mut bytes);
                *register = u64::from_le_bytes(bytes);
            }
            finder.blank_registers(&mut thread.xstate);
            finder.blank_registers(&mut thread.raw_xstate);
        }
        let mut found: Vec<(usize, String)> = Vec::new();
        let arguments = finder.blank(&mut process.args);
        found.extend(arguments.into_iter().map(|secret| (secret, "recorded arguments".to_owned())));
        for state in fds.steps.iter_mut().filter(|state| state.step.step() == Some(Step::Send)) {
            let queued = finder.blank(&mut state.data);
            found.extend(queued.into_iter().map(|secret| (secret, "pipes and sockets".to_owned())));
        }
        for state in &mut fds.steps {
            if let Some(file) = &state.content {
                let (start, len) = (state.step.a, state.step.b);
                let system = TraceError::system("the content of an open file");
                let copies =
                    finder.search(start..start + len, |at, bytes| file.read_exact_at(bytes, at)).map_err(system)?;
                found.extend(copies.iter().map(|copy| (copy.secret, "files without a name".to_owned())));
                state.blank = copies.into_iter().map(|copy| copy.range).collect();
            }
        }
        for range in image.stored_ranges() {
            let copies = finder.search(range, |at, bytes| read_image(tracer, at, bytes))?;
            let ranges = copies.iter().map(|copy| (copy.range.start, copy.range.end - copy.range.start));
            tracer.registered.secrets.extend(ranges);
            found.extend(copies.iter().map(|copy| (copy.secret, place(vmas, copy.range.start))));
        }
        self.finder = Some(finder);
        found.into_iter().for_each(|(secret, place)| self.count(secret, &place));
        Ok(())
    }

    /// Files that the program maps are stored as they are. A program or library that has the value in it has been
    /// shipped with it; anything else is refused. A piece that is in one of them is nothing that only the secret has.
    fn mapped_files(&mut self, image: &Image) -> Result<(), DumpError> {
        let Some(finder) = &self.finder else { return Ok(()) };
        let mut blockers = Vec::new();
        let mut public = HashSet::new();
        for file in &image.files {
            let system = TraceError::system;
            let opened = open_regular(&file.path).map_err(system("opening a mapped file"))?;
            let read = |at: u64, bytes: &mut [u8]| opened.read_exact_at(bytes, at);
            let copies = finder.search(0..file.size, read).map_err(system("reading a mapped file"))?;
            public.extend(finder.pieces_in(0..file.size, read).map_err(system("reading a mapped file"))?);
            let path = file.original.display();
            let name = |copy: &Copy| self.all.get(copy.secret).map_or("a secret", |secret| &secret.name);
            if file.kind == FILE_DATA {
                let telling = |copy: &&Copy| copy.whole || copy.range.end - copy.range.start >= TELLING;
                if let Some(copy) = copies.iter().find(telling) {
                    let extent = if copy.whole { "" } else { "a part of " };
                    let what = format!("contains {extent}the value of {} and would be stored as it is", name(copy));
                    blockers.push(Blocker { subject: format!("mapped file {path}"), what, remedy: KEEP });
                }
                continue;
            }
            if let Some(copy) = copies.iter().find(|copy| copy.whole) {
                self.shipped.push(format!("{path} contains the value of {}, and is stored as it is", name(copy)));
            }
            // The file in the store lacks the writable segments. Who cannot read the original does without them.
            if let Ok(original) = open_regular(&file.original) {
                let len = original.metadata().map_or(0, |metadata| metadata.len());
                let read = |at: u64, bytes: &mut [u8]| original.read_exact_at(bytes, at);
                public.extend(finder.pieces_in(0..len, read).unwrap_or_default());
            }
        }
        if !blockers.is_empty() {
            return Err(DumpError::Refused(blockers));
        }
        self.finder = build(&self.all, &public)?;
        Ok(())
    }

    /// Searches the file that is about to be committed: a path or a name may hold a secret that no record blanks.
    pub(super) fn verify<E>(&self, len: u64, read: impl FnMut(u64, &mut [u8]) -> Result<(), E>) -> Result<(), DumpError>
    where
        DumpError: From<E>,
    {
        let Some(finder) = &self.finder else { return Ok(()) };
        let copies = finder.search(0..len, read)?;
        let Some(copy) = copies.first() else { return Ok(()) };
        let extent = if copy.whole { "its value" } else { "a part of its value" };
        Err(DumpError::Refused(vec![Blocker {
            subject: self.all.get(copy.secret).map_or_else(String::new, |secret| secret.name.clone()),
            what: format!("{extent} is in a path or name that a snapshot has to keep"),
            remedy: KEEP,
        }]))
    }

    /// The secrets that were left out; a line about every program or library that is stored although it contains a
    /// secret; notices about variables.
    pub(super) fn into_found(self) -> (Scrubbed, Vec<String>, Vec<String>) {
        (self.scrubbed, self.shipped, self.notes)
    }
}
