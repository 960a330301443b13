//! `--fallback`: starts the program the ordinary way if this host cannot start the snapshot.
#![allow(unsafe_code)] // builds an argument vector, execve

use crate::restore::RestoreError;
use crate::runtime::auxv::InitialStack;
use crate::runtime::memory::{read_u64, write_u64};
use crate::runtime::sys::{self, Errno};
use core::ffi::CStr;
use snapfn_format::PAGE;
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
    let own = initial.argc.saturating_sub(first_arg + 1);
    let count = made_with.split_inclusive(|b| *b == 0).count() as u64 + own + 2;
    let exe = plan.bytes(process.exe);
    let path_len = exe.len() as u64 + 1;
    let len = (8 * count + path_len).next_multiple_of(PAGE);
    // SAFETY: the new mapping has room for the vector and, behind it, the path; strings are those of the plan, which
    // stays mapped, and of the initial stack.
    unsafe {
        let vector = match sys::mmap(0, len, sys::PROT_READ_WRITE, sys::MAP_PRIVATE | sys::MAP_ANONYMOUS, -1, 0) {
            Ok(vector) => vector,
            Err(errno) => return errno,
        };
        let path = vector + 8 * count;
        crate::runtime::memory::write_bytes(path, exe);
        let mut slot = vector;
        let mut put = |addr: u64| {
            write_u64(slot, addr);
            slot += 8;
        };
        let recorded = made_with.split_inclusive(|b| *b == 0).filter(|arg| arg.last() == Some(&0));
        match made_with.first() {
            Some(_) => {
                let keep = if process.at == AT_MAIN { 1 + process.kept_args as usize } else { usize::MAX };
                recorded.take(keep).for_each(|arg| put(arg.as_ptr() as u64));
            }
            None => put(path),
        }
        (0..own).for_each(|index| put(read_u64(initial.argv + 8 * (first_arg + 1 + index))));
        put(0);
        if let Ok(cwd) = CStr::from_bytes_with_nul(plan.bytes(process.cwd))
            && let Err(errno) = sys::chdir(cwd)
        {
            return errno;
        }
        let path = crate::runtime::memory::c_str(path);
        sys::execve(path, vector as *const *const u8, initial.envp as *const *const u8)
    }
}
