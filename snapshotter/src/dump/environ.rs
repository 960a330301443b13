//! Changes that the program has made to its environment since it started.
//!
//! Instances get their own environment; variables that the program itself has set or removed stay so. The C library's
//! `environ` is found by the symbols of that name in every mapped ELF file; in a static program without symbols by the
//! words that its start-up code has set (`tracee::nameless`). No other word counts as `environ`, even with the same
//! value; `patches` has the exception, copies of the address that it had at the start.

use super::refuse::DumpError;
use crate::tracee::maps::{self, Special, Vma};
use crate::tracee::nameless::ENVIRON;
use crate::tracee::origins::place;
use crate::tracee::{TraceError, Tracer, symbols};
use snapfn_format::snap::{ENV_SET, ENV_UNSET, PATCH_ENVP, PATCH_MEMORY, PATCH_VECTOR, PROT_WRITE, Patch};
use std::collections::{BTreeMap, BTreeSet};

/// Longest `NAME=value` that is read.
const MAX_STRING: usize = 1 << 17;

/// Changes, and where the vector's address is kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment {
    /// `ENV_…`, name, address of `NAME=value` (0 for ENV_UNSET).
    pub(super) changes: Vec<(u32, Vec<u8>, u64)>,
    /// Words that name the vector, and the vector itself, which may keep its place.
    pub(super) patches: Vec<Patch>,
    /// The program has copied vector and strings, and may free its copies.
    pub(super) has_copied_all: bool,
}

fn name_of(text: &[u8]) -> &[u8] {
    text.split(|b| *b == b'=').next().unwrap_or_default()
}

/// Addresses of all `environ` variables: by symbol, else those that start-up code has set.
fn variables(tracer: &Tracer, vmas: &[Vma]) -> BTreeSet<u64> {
    let request = &tracer.booted.request;
    let mut found: BTreeSet<u64> = tracer.nameless_environ.words.iter().copied().collect();
    found.extend(symbols::variables(&tracer.booted.exe, &ENVIRON).iter().map(|s| request.bias.wrapping_add(s.value)));
    // The interpreter, which is musl's C library, is mapped from its code segment file.
    if let Some(interp) = &tracer.booted.interp {
        let named = symbols::variables(interp, &ENVIRON);
        found.extend(named.iter().map(|symbol| request.interp_base.wrapping_add(symbol.value)));
    }
    for vma in vmas.iter().filter(|vma| vma.path() != tracer.booted.exe && vma.may_be_image()) {
        let named = symbols::variables(&vma.path(), &ENVIRON);
        found.extend(named.iter().map(|symbol| vma.start.wrapping_add(symbol.value).wrapping_sub(symbol.image_start)));
    }
    found.into_iter().filter(|addr| is_own(vmas, *addr, 8)).collect()
}

/// Whether `len` bytes at `addr` are writable memory that only the program itself sees.
fn is_own(vmas: &[Vma], addr: u64, len: u64) -> bool {
    let own = |vma: &Vma| !(vma.shared && vma.has_file());
    // Read-only after relocation is writable while an instance is made; shared files are not.
    addr.is_multiple_of(8) && maps::all(vmas, addr..addr.saturating_add(len), own)
}

/// The vector that the program uses now, and the `environ` variables that name it.
fn current(tracer: &Tracer, vmas: &[Vma]) -> (u64, Vec<u64>) {
    let original = tracer.booted.request.envp;
    let mut vector = original;
    let mut named = Vec::new();
    for variable in variables(tracer, vmas) {
        match tracer.memory.read_u64(variable) {
            Ok(value) if value != 0 => {
                named.push(variable);
                if value != original {
                    vector = value;
                }
            }
            _ => {}
        }
    }
    (vector, named)
}

/// All strings of the original vector and of the present one, with their addresses.
pub(super) fn strings(tracer: &Tracer, vmas: &[Vma]) -> BTreeMap<u64, Vec<u8>> {
    let vectors = [tracer.booted.request.envp, current(tracer, vmas).0];
    // An address that cannot be read is no string: the program may have written any value there.
    let pointers = vectors.into_iter().flat_map(|vector| tracer.memory.read_vector(vector).unwrap_or_default());
    pointers.filter_map(|at| Some((at, tracer.memory.read_c_str(at, MAX_STRING).ok()?))).collect()
}

/// The differences from `initial`, the environment at the program's start. `is_kept`: instances keep a copy that the
/// program has made.
pub(super) fn gather(
    tracer: &Tracer,
    vmas: &[Vma],
    initial: &[Vec<u8>],
    is_kept: bool,
) -> Result<Environment, DumpError> {
    let system = TraceError::system;
    let (vector, named) = current(tracer, vmas);
    let pointers = tracer.memory.read_vector(vector).map_err(system("environment vector"))?;
    let mut strings = Vec::new();
    for pointer in &pointers {
        strings.push((tracer.memory.read_c_str(*pointer, MAX_STRING).map_err(system("environment string"))?, *pointer));
    }
    let changes = changes(initial, &strings, |pointer| tracer.strings.env.contains(&pointer));
    let memory = |addr, kind, arg| Patch { addr, kind, place: PATCH_MEMORY, arg };
    let mut patches: Vec<Patch> = named.into_iter().map(|variable| memory(variable, PATCH_ENVP, 0)).collect();
    let len = 8 * (pointers.len() as u64 + 1);
    let is_writable = maps::all(vmas, vector..vector + len, |vma| vma.prot & PROT_WRITE != 0);
    // A program that has copied all strings may free them, as perl does at its end. Its `environ` leads to the vector
    // of the start instead, and so to that of the instance.
    let keeps_strings = pointers.iter().any(|pointer| tracer.strings.env.contains(pointer));
    let has_copied_all = vector != tracer.booted.request.envp && !keeps_strings;
    if has_copied_all && is_kept {
        // Its variables name it, and nothing of it changes.
        return Ok(Environment::default());
    }
    if !has_copied_all && is_writable && is_own(vmas, vector, len) {
        patches.push(memory(vector, PATCH_VECTOR, pointers.len() as u32));
    }
    Ok(Environment { changes, patches, has_copied_all })
}

/// Changes from `initial` to `now`, a string and its address each. `is_kept`: the string is one of those at the start.
///
/// A variable that has its initial value in another string has been set by the program to just that. A program that has
/// copied its whole environment (to write a title over the old one) has set none.
fn changes(initial: &[Vec<u8>], now: &[(Vec<u8>, u64)], is_kept: impl Fn(u64) -> bool) -> Vec<(u32, Vec<u8>, u64)> {
    let mut first: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
    // getenv finds the first one of a name.
    for text in initial {
        first.entry(name_of(text)).or_insert(text);
    }
    let is_copied = !now.iter().any(|(_, pointer)| is_kept(*pointer));
    let mut current: BTreeMap<&[u8], (&[u8], u64)> = BTreeMap::new();
    // A string without a name is no variable.
    for (text, pointer) in now.iter().filter(|(text, _)| text.contains(&b'=') && !name_of(text).is_empty()) {
        current.entry(name_of(text)).or_insert((text, *pointer));
    }
    let mut changes = Vec::new();
    for (name, (text, pointer)) in &current {
        let is_initial = first.get(name) == Some(text) && (is_copied || is_kept(*pointer));
        if !is_initial {
            changes.push((ENV_SET, name.to_vec(), *pointer));
        }
    }
    let removed = first.keys().filter(|name| !name.is_empty() && !current.contains_key(**name));
    changes.extend(removed.map(|name| (ENV_UNSET, name.to_vec(), 0)));
    changes
}

/// A note about a program that has copied its whole environment. If it keeps the address of the first one besides, as
/// perl does, it tells by that address that what `environ` names is not its own. `named` are the `environ` variables,
/// `patches` all words of the snapshot that get the address of the instance's vector.
pub(super) fn note(tracer: &Tracer, vmas: &[Vma], named: &[u64], patches: &[Patch]) -> Option<String> {
    let is_own = |addr: u64| {
        let place = place(&tracer.booted, vmas, addr);
        let is_frame = vmas.iter().any(|vma| vma.contains(addr) && vma.is(Special::Stack));
        !is_frame && !named.contains(&addr) && place.is_none_or(|place| !place.is_c_library(&tracer.booted))
    };
    let is_kept =
        patches.iter().any(|patch| patch.kind == PATCH_ENVP && patch.place == PATCH_MEMORY && is_own(patch.addr));
    (!is_kept).then(|| {
        "the program has copied its environment, and an instance has its starter's instead: if the program frees its \
         copy, as php-fpm does at its end, it crashes, unless create --keep-environment makes instances keep the copy"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(initial: &[&str], now: &[(&str, u64)]) -> Vec<(u32, String)> {
        let initial: Vec<Vec<u8>> = initial.iter().map(|text| text.as_bytes().to_vec()).collect();
        let now: Vec<(Vec<u8>, u64)> = now.iter().map(|(text, at)| (text.as_bytes().to_vec(), *at)).collect();
        // Strings of the start lie below 100.
        let changes = changes(&initial, &now, |pointer| pointer < 100);
        changes.into_iter().map(|(kind, name, _)| (kind, String::from_utf8_lossy(&name).into_owned())).collect()
    }

    #[test]
    fn what_the_program_has_set_or_removed() {
        let start = ["A=1", "B=2", "C=3"];
        assert_eq!(of(&start, &[("A=1", 1), ("B=2", 5), ("C=3", 9)]), []);
        // Set to the same value, and to another one.
        assert_eq!(of(&start, &[("A=1", 100), ("B=4", 200), ("C=3", 9)]), [(1, "A".into()), (1, "B".into())]);
        assert_eq!(of(&start, &[("A=1", 1), ("D=4", 200)]), [(1, "D".into()), (2, "B".into()), (2, "C".into())]);
    }

    #[test]
    fn a_copied_environment_is_not_set() {
        let start = ["A=1", "B=2"];
        assert_eq!(of(&start, &[("A=1", 100), ("B=2", 200)]), []);
        assert_eq!(of(&start, &[("A=1", 100), ("B=3", 200)]), [(1, "B".into())]);
        // The rest of a string behind a title.
        assert_eq!(of(&start, &[("=x", 100), ("B=2", 200)]), [(2, "A".into())]);
    }
}
