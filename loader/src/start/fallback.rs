//! `--fallback`: starts the program the ordinary way if this host cannot start the snapshot.
#![allow(unsafe_code)] // builds an argument vector, execve

use crate::restore::RestoreError;
use crate::runtime::auxv::InitialStack;
use crate::runtime::memory::{read_u64, write_u64};
use crate::runtime::sys::{self, Errno};
use core::ffi::CStr;
use snapfn_format::PAGE;
use snapfn_format::snap::notes::{Part, Recipe};
use snapfn_format::snap::{AT_MAIN, Descriptor, Plan};

/// Whether the host causes the failure, and an `execve` still undoes everything that has been done.
///
/// Until the descriptors are made, only memory of this process has changed. After that, the program would find
/// descriptors that it has not opened, unless the snapshot has only the standard streams.
pub fn applies(error: &RestoreError<'_>, plan: &Plan<'_>) -> bool {
    match error {
        RestoreError::Unfit(_) | RestoreError::Map { .. } => true,
        // A container's seccomp filter forbids the call, or the kernel does not have it.
        RestoreError::System(_, Errno::PERM | Errno::ACCES | Errno::NOSYS | Errno::INVAL) => {
            plan.fds.iter().all(|fd| matches!(fd.descriptor(), Some(Descriptor::Inherited { .. })))
        }
        _ => false,
    }
}

/// Executes the program of `plan`; returns only if that fails.
///
/// Its first argument is the `argv[0]` of the snapshot. Then come the arguments that the snapshot was made with. If it
/// was made at `main`, these are only those that an instance keeps, since it has its own in the others' place. Last
/// come the arguments of this start, from `first_arg` + 1 on.
///
/// # Safety
/// `initial` is this process's initial stack.
pub unsafe fn start(plan: &Plan<'_>, initial: &InitialStack, first_arg: u64) -> Errno {
    let process = &plan.header.process;
    let made_with = plan.bytes(process.args);
    let exe = plan.bytes(process.exe);
    let recorded = made_with.split_inclusive(|b| *b == 0).filter(|arg| arg.last() == Some(&0));
    let keep = if process.at == AT_MAIN { 1 + process.kept_args as usize } else { usize::MAX };
    let count = recorded.clone().take(keep).count() as u64;
    // SAFETY: the new mapping has room for the vector and, behind it, the path; strings are those of the plan, which
    // stays mapped, and of the initial stack.
    unsafe {
        let mut vector = match Vector::new(count.max(1), exe.len() as u64 + 1, initial, first_arg) {
            Ok(vector) => vector,
            Err(errno) => return errno,
        };
        let path = vector.copy(&[exe]);
        match made_with.first() {
            Some(_) => recorded.take(keep).for_each(|arg| vector.put(arg.as_ptr() as u64)),
            None => vector.put(path),
        }
        vector.execute(crate::runtime::memory::c_str(path), plan)
    }
}

/// Executes the program of a recipe; returns only if that fails.
///
/// First come the words that stand in front of an instance's arguments, then the arguments of this start, from
/// `first_arg` + 1 on. A word that names a file in the directory in which the snapshot was made means that file,
/// wherever this start is.
///
/// # Safety
/// `initial` is this process's initial stack.
pub unsafe fn start_recipe(recipe: &Recipe<'_>, plan: &Plan<'_>, initial: &InitialStack, first_arg: u64) -> Errno {
    let first = |part| recipe.all(part).next();
    let (Some(program), directory) = (first(Part::Program), first(Part::Directory).unwrap_or_default()) else {
        return Errno::NOENT;
    };
    let words = || recipe.all(Part::Word).take(recipe.kept as usize);
    let room = |word: &CStr| (directory.to_bytes().len() + word.to_bytes().len() + 2) as u64;
    // SAFETY: the new mapping has room for the vector and every path; strings are those of the recipe, which stays
    // mapped, and of the initial stack.
    unsafe {
        let mut vector = match Vector::new(words().count() as u64, words().map(room).sum(), initial, first_arg) {
            Ok(vector) => vector,
            Err(errno) => return errno,
        };
        for (index, word) in words().enumerate() {
            let is_path = index > 0 && !matches!(word.to_bytes().first(), None | Some(b'/' | b'-'));
            let path = if is_path { vector.copy(&[directory.to_bytes(), b"/", word.to_bytes()]) } else { 0 };
            let is_there = is_path && sys::stat(crate::runtime::memory::c_str(path)).is_ok();
            vector.put(if is_there { path } else { word.as_ptr() as u64 });
        }
        vector.execute(program, plan)
    }
}

/// The arguments of a program that is to be executed, and strings behind them.
struct Vector<'a> {
    start: u64,
    slot: u64,
    strings: u64,
    initial: &'a InitialStack,
    first_arg: u64,
}

impl<'a> Vector<'a> {
    /// Room for `count` arguments in front of those of this start, and for `bytes` of strings.
    ///
    /// # Safety
    /// `initial` is this process's initial stack.
    unsafe fn new(count: u64, bytes: u64, initial: &'a InitialStack, first_arg: u64) -> Result<Self, Errno> {
        let slots = 8 * (count + initial.argc.saturating_sub(first_arg + 1) + 1);
        let len = (slots + bytes).next_multiple_of(PAGE);
        let start = sys::mmap_free(0, len, sys::PROT_READ_WRITE, sys::MAP_PRIVATE | sys::MAP_ANONYMOUS, -1, 0)?;
        Ok(Vector { start, slot: start, strings: start + slots, initial, first_arg })
    }

    /// Appends an argument, for which there must be room.
    unsafe fn put(&mut self, addr: u64) {
        // SAFETY: the caller's promise.
        unsafe { write_u64(self.slot, addr) };
        self.slot += 8;
    }

    /// Makes a string of `parts`, for which there must be room: its address.
    unsafe fn copy(&mut self, parts: &[&[u8]]) -> u64 {
        let start = self.strings;
        for part in parts {
            // SAFETY: the caller's promise. The zero at the end is there, since the mapping is new.
            unsafe { crate::runtime::memory::write_bytes(self.strings, part) };
            self.strings += part.len() as u64;
        }
        self.strings += 1;
        start
    }

    /// Appends the arguments of this start and executes `path`, in the directory that the snapshot demands.
    ///
    /// # Safety
    /// There is room for them.
    unsafe fn execute(mut self, path: &CStr, plan: &Plan<'_>) -> Errno {
        let own = self.initial.argc.saturating_sub(self.first_arg + 1);
        // SAFETY: the caller's promise; the slots are those of the initial stack.
        unsafe {
            (0..own).for_each(|index| self.put(read_u64(self.initial.argv + 8 * (self.first_arg + 1 + index))));
            self.put(0);
        }
        if let Ok(cwd) = CStr::from_bytes_with_nul(plan.bytes(plan.header.process.cwd))
            && let Err(errno) = sys::chdir(cwd)
        {
            return errno;
        }
        // SAFETY: the vector is complete, and the environment is that of the initial stack.
        unsafe { sys::execve(path, self.start as *const *const u8, self.initial.envp as *const *const u8) }
    }
}
