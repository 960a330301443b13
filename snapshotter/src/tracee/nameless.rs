//! `environ` of a static program without symbols.
//!
//! The start-up code of a C library sets it before the first system call (the first step of glibc's and musl's
//! `__libc_start_main`). No code of the program itself has run then. So the words in the program's data that hold the
//! vector's address at that moment are the C library's variables.

use super::boot::Booted;
use super::memory::Memory;
use super::spawn::Spawned;
use super::symbols;
use std::path::Path;

/// Names of the variable.
pub(crate) const ENVIRON: [&str; 3] = ["__environ", "environ", "_environ"];

/// The words that were found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nameless {
    is_wanted: bool,
    pub(crate) words: Vec<u64>,
}

impl Nameless {
    /// Prepares the search if the program was rebuilt here, has no interpreter and does not name the variable.
    pub(super) fn of(spawned: &Spawned, booted: &Booted) -> Self {
        let is_static = spawned.is_ours && !spawned.is_instance && booted.interp.is_none();
        let is_wanted = is_static && symbols::variables(Path::new(&booted.exe), &ENVIRON).is_empty();
        Nameless { is_wanted, words: Vec::new() }
    }

    /// At a system call: searches if it is the first one.
    pub(super) fn look(&mut self, memory: &Memory, booted: &Booted) {
        if !std::mem::take(&mut self.is_wanted) {
            return;
        }
        let request = &booted.request;
        let header = &booted.header;
        let start = request.bias.wrapping_add(header.image_start.get()).max(request.start_data) & !7;
        let end = request.bias.wrapping_add(header.image_end.get());
        let Ok(bytes) = memory.read_vec(start, end.saturating_sub(start)) else { return };
        let words = bytes.as_chunks::<8>().0.iter().enumerate();
        let holders = words.filter(|(_, word)| u64::from_le_bytes(**word) == request.envp);
        self.words = holders.map(|(index, _)| start + 8 * index as u64).collect();
    }
}
