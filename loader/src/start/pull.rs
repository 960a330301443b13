//! Executes `snaprepo`, which pulls an image and starts `snaprun` again.
//!
//! It gets this process's arguments, except that the first is `snaprun-pull:N`, where N is the index of the image's
//! name among them. So no argument has to be moved, however many there are.
#![allow(unsafe_code)] // writes into the initial stack, execve

use crate::runtime::auxv::{InitialStack, at};
use crate::runtime::memory;
use crate::runtime::sys::{self, Errno};
use crate::start::store::with_path;
use core::ffi::CStr;

const PROGRAM: &[u8] = b"/snaprepo";
/// What the name in front begins with.
const NAME: &[u8] = b"snaprun-pull:";

/// Becomes `snaprepo`, the one beside this program or else the first in `$PATH`. Returns why that fails.
#[cold]
#[inline(never)]
pub fn hand_over(initial: &InitialStack, index: u64) -> Errno {
    let mut name = [0u8; NAME.len() + 24];
    if write_name(&mut name, index).is_none() {
        return Errno::INVAL;
    }
    let mut link = [0u8; 4096];
    let own = sys::readlinkat(sys::AT_FDCWD, c"/proc/self/exe", &mut link).unwrap_or_default();
    let own = own.rsplitn(2, |b| *b == b'/').nth(1);
    // A program with more rights than its user must not search the user's `$PATH`.
    let path = if initial.aux_value(at::SECURE) == Some(0) { initial.getenv(b"PATH") } else { None };
    let path = path.unwrap_or_default().split(|b| *b == b':').filter(|dir| !dir.is_empty());
    // SAFETY: the slot of argument 0 in the initial stack. The new name lives until execve has copied it or failed;
    // then the old one is put back.
    unsafe {
        let old = memory::read_u64(initial.argv);
        memory::write_u64(initial.argv, name.as_ptr() as u64);
        let mut why = Errno::NOENT;
        for dir in own.into_iter().chain(path) {
            let tried = with_path(&[dir, PROGRAM], |path| {
                Ok(sys::execve(path, initial.argv as *const *const u8, initial.envp as *const *const u8))
            });
            match tried {
                Ok(Errno::NOENT | Errno::NOTDIR) => {}
                Ok(errno) | Err(errno) => why = errno,
            }
        }
        memory::write_u64(initial.argv, old);
        why
    }
}

/// Writes `snaprun-pull:INDEX` and a zero.
fn write_name(into: &mut [u8], index: u64) -> Option<&CStr> {
    into.get_mut(..NAME.len())?.copy_from_slice(NAME);
    let mut digits = 1;
    while index / 10u64.pow(digits) > 0 {
        digits += 1;
    }
    let mut rest = index;
    for at in (0..digits as usize).rev() {
        *into.get_mut(NAME.len() + at)? = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    CStr::from_bytes_until_nul(into).ok()
}
