//! The image of a plan in memory: what the loader may read and write of it by address.
//!
//! Validation (`snapfn_format`) has proved that the words are aligned and lie in mappings of the plan that the loader
//! can write. The loader reads and writes them by [`Word`], and has no reference to memory that it still writes.
#![allow(unsafe_code)] // reads and writes memory that a plan names

use crate::runtime::auxv::{InitialStack, at};
use crate::runtime::{memory, vdso};
use core::ops::Deref;
use snapfn_format::snap::*;

/// A plan whose image is mapped. Only [`super::maps::map`] makes one.
#[derive(Debug)]
#[repr(transparent)]
pub(super) struct Image<'a>(Plan<'a>);

impl<'a> Deref for Image<'a> {
    type Target = Plan<'a>;

    fn deref(&self) -> &Plan<'a> {
        &self.0
    }
}

/// A word of the image. The loader may write to it until [`super::maps::protect`], which may take that right away.
#[derive(Debug)]
pub(super) struct Word<T>(*mut T);

impl<T: Copy> Word<T> {
    /// # Safety
    /// `addr` is aligned, and the loader may write there until [`super::maps::protect`].
    pub(super) unsafe fn at(addr: u64) -> Self {
        Word(addr as *mut T)
    }

    pub(super) fn get(&self) -> T {
        // SAFETY: the caller of `at` has promised that the word can be written; so it can be read.
        unsafe { self.0.read_volatile() }
    }

    pub(super) fn set(&self, value: T) {
        // SAFETY: the promise of the caller of `at`.
        unsafe { self.0.write_volatile(value) }
    }

    pub(super) fn addr(&self) -> u64 {
        self.0 as u64
    }
}

/// The place of a patch in memory.
#[derive(Debug)]
pub(super) enum Place {
    Whole(Word<u64>),
    Half(Word<u32>),
}

impl<'a> Image<'a> {
    /// # Safety
    /// [`Plan::parse`] has returned `plan`, and everything that it maps is mapped and read, but for files of
    /// descriptors.
    pub(super) unsafe fn of<'p>(plan: &'p Plan<'a>) -> &'p Self {
        // SAFETY: an `Image` has the layout of its only field.
        unsafe { &*core::ptr::from_ref(plan).cast() }
    }

    /// The patches of words in memory.
    pub(super) fn patched(&self) -> impl Iterator<Item = (&'a Patch, Place)> + use<'a> {
        let in_memory = self.patches.iter().take_while(|patch| patch.place == PATCH_MEMORY);
        let words = in_memory.filter(|patch| !matches!(patch.kind, PATCH_INFO | PATCH_VECTOR));
        words.map(|patch| {
            // SAFETY: validated: a multiple of its width, in a writable mapping of this instance only.
            let place = unsafe {
                match Patch::width(patch.kind) {
                    Some(4) => Place::Half(Word::at(patch.addr)),
                    _ => Place::Whole(Word::at(patch.addr)),
                }
            };
            (patch, place)
        })
    }

    /// Kind and value of each pair of the program's auxiliary vector, the terminating one included.
    pub(super) fn auxv(&self) -> impl Iterator<Item = (Word<u64>, Word<u64>)> + use<'a> {
        let Process { auxv, auxv_len, .. } = self.header.process;
        let pairs = if auxv == 0 { 0 } else { auxv_len / 16 };
        // SAFETY: validated: a multiple of 8, and writable for the whole length.
        (0..pairs).map(move |index| auxv + 16 * index).map(|pair| unsafe { (Word::at(pair), Word::at(pair + 8)) })
    }

    /// Replaces the program's random bytes, if it has any.
    pub(super) fn set_random(&self, random: &[u8; 16]) {
        let at = self.header.process.at_random;
        if at != 0 {
            // SAFETY: validated: writable for 16 bytes.
            unsafe { memory::write_bytes(at, random) };
        }
    }

    /// Where the program's C library keeps the TID of thread `index`.
    pub(super) fn tid_cache(&self, index: usize) -> Option<Word<u32>> {
        let cache = self.threads.get(index)?.tid_cache;
        // SAFETY: validated: a multiple of 4 and writable, if it is not 0.
        (cache != 0).then(|| unsafe { Word::at(cache) })
    }

    /// The strings of the program's own first arguments: argv[0] and those that it keeps.
    pub(super) fn own_arguments(&self) -> &'static [u8] {
        let Process { argv0, kept_args, .. } = self.header.process;
        // SAFETY: validated: the first string begins in a mapping. Where a string does not end in memory that can be
        // read, the read ends this process by a signal, before it runs any code of the program.
        unsafe {
            let end = (0..=kept_args).fold(argv0, |addr, _| memory::string_end(addr));
            memory::bytes(argv0, end - argv0)
        }
    }

    /// The word at which threads wait before they enter the program.
    pub(super) fn gate(&self) -> Word<u32> {
        // SAFETY: the first word of the work area.
        unsafe { Word::at(self.header.process.resident + resident::WORK) }
    }

    /// Records where the vectors are, for a snapshotter that dumps this instance in its turn.
    pub(super) fn record_vectors(&self, argv: u64, envp: u64) {
        let work = self.header.process.resident + resident::WORK;
        for (offset, value) in [(resident::WORK_ARGV, argv), (resident::WORK_ENVP, envp)] {
            // SAFETY: words of the work area's header.
            unsafe { Word::at(work + offset) }.set(value);
        }
    }

    /// The address of the stub at `offset`, if the page of stubs is new enough to have it.
    pub(super) fn stub(&self, offset: u64) -> Option<u64> {
        let stub = self.header.process.resident + offset;
        // SAFETY: validated: the page is mapped, with bytes of the file behind it.
        (unsafe { memory::bytes(stub, 1) } == [resident::MOV_EAX]).then_some(stub)
    }

    /// Fills the slots of the synthetic vDSO: from the host's vDSO, or with plain system calls if the instance is
    /// traced. `initial` must not name the synthetic one yet.
    pub(super) fn fill_slots(&self, initial: &InitialStack, is_traced: bool) {
        let host = initial.aux_value(at::SYSINFO_EHDR).filter(|_| !is_traced).unwrap_or(0);
        // SAFETY: validated: the slot page is writable. The auxiliary vector names a vDSO that is mapped.
        unsafe { vdso::fill_slots(self.header.process.resident, host) };
    }
}
