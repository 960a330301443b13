//! Changes that the program has made to its environment since it started.
//!
//! Instances get their own environment; what the program itself has set or removed stays so. The C library's
//! `environ` is found by symbol; where there is none (a stripped static program), only the original vector is
//! looked at, in which glibc and musl replace and remove entries in place.

use super::refuse::DumpError;
use crate::tracee::maps::Vma;
use crate::tracee::{TraceError, Tracer, symbols};
use snapfn_format::snap::{ENV_SET, ENV_UNSET};
use std::collections::BTreeMap;

const NAMES: [&str; 3] = ["__environ", "environ", "_environ"];
/// Longest `NAME=value` that is looked at.
const MAX_STRING: usize = 1 << 17;

/// Changes, and where the vector's address is kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment {
    /// `ENV_…`, name, address of `NAME=value` (0 for ENV_UNSET).
    pub(super) changes: Vec<(u32, Vec<u8>, u64)>,
    /// Addresses of `environ` variables whose value is not the original vector.
    pub(super) variables: Vec<u64>,
}

fn name_of(text: &[u8]) -> &[u8] {
    text.split(|b| *b == b'=').next().unwrap_or_default()
}

/// Addresses of all `environ` variables in the mapped files.
fn variables(tracer: &Tracer, vmas: &[Vma]) -> Vec<u64> {
    let request = &tracer.booted.request;
    let mut found = Vec::new();
    if let Some(symbol) = symbols::find(&tracer.booted.exe, &NAMES) {
        found.push(request.bias.wrapping_add(symbol.value));
    }
    if let Some(symbol) = tracer.booted.interp.as_deref().and_then(|interp| symbols::find(interp, &NAMES)) {
        found.push(request.interp_base.wrapping_add(symbol.value));
    }
    for vma in vmas.iter().filter(|vma| vma.has_file() && vma.offset == 0 && vma.name.contains("/libc")) {
        if let Some(symbol) = symbols::find(&vma.path(), &NAMES) {
            found.push(vma.start + symbol.value - symbol.image_start);
        }
    }
    found
}

/// The vector that the program uses now, and the `environ` variables that name another than the original.
fn current(tracer: &Tracer, vmas: &[Vma]) -> (u64, Vec<u64>) {
    let original = tracer.booted.request.envp;
    let mut vector = original;
    let mut moved = Vec::new();
    for variable in variables(tracer, vmas) {
        match tracer.memory.read_u64(variable) {
            Ok(value) if value != 0 && value != original => {
                vector = value;
                moved.push(variable);
            }
            _ => {}
        }
    }
    (vector, moved)
}

/// All strings of the original vector and of the present one, with their addresses.
pub(super) fn strings(tracer: &Tracer, vmas: &[Vma]) -> BTreeMap<u64, Vec<u8>> {
    let vectors = [tracer.booted.request.envp, current(tracer, vmas).0];
    // What cannot be read is no string: the program may have written anything there.
    let pointers = vectors.into_iter().flat_map(|vector| tracer.memory.read_vector(vector).unwrap_or_default());
    pointers.filter_map(|at| Some((at, tracer.memory.read_c_str(at, MAX_STRING).ok()?))).collect()
}

pub(super) fn gather(tracer: &Tracer, vmas: &[Vma]) -> Result<Environment, DumpError> {
    let system = TraceError::system;
    let request = &tracer.booted.request;
    let block = std::fs::read(format!("/proc/{}/environ", tracer.pid)).map_err(system("/proc/PID/environ"))?;
    // The block itself may have been written to (setproctitle): then nothing can be said.
    let initial: BTreeMap<&[u8], &[u8]> =
        block.split(|b| *b == 0).filter(|text| text.contains(&b'=')).map(|text| (name_of(text), text)).collect();
    let (vector, moved) = current(tracer, vmas);
    let strings = request.envp..request.stack_top;
    let mut current = BTreeMap::new();
    for pointer in tracer.memory.read_vector(vector).map_err(system("environment vector"))? {
        let text = tracer.memory.read_c_str(pointer, MAX_STRING).map_err(system("environment string"))?;
        if text.contains(&b'=') {
            current.insert(name_of(&text).to_vec(), (text, pointer));
        }
    }
    let mut changes = Vec::new();
    for (name, (text, pointer)) in &current {
        let original =
            strings.contains(pointer) && initial.get(name.as_slice()).is_some_and(|old| *old == text.as_slice());
        if !original {
            changes.push((ENV_SET, name.clone(), *pointer));
        }
    }
    for name in initial.keys().filter(|name| !current.contains_key(**name)) {
        changes.push((ENV_UNSET, name.to_vec(), 0));
    }
    Ok(Environment { changes, variables: moved })
}
