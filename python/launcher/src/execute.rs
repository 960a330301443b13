//! Enters and leaves this program without Rust's own start-up code, which opens standard streams that are closed,
//! changes the disposition of SIGPIPE, and empties the signal mask. A program must find all three unchanged.
#![allow(unsafe_code)] // the C entry point, execv

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::{env, io, ptr};

/// The status for a program that cannot be started.
pub(crate) const NOT_FOUND: i32 = 127;

// SAFETY: no other object of this program is called `main`. Unit tests have one of their own.
#[cfg_attr(not(test), unsafe(export_name = "main"))]
#[cfg_attr(test, allow(dead_code))]
extern "C" fn entry(_argc: i32, _argv: *const *const libc::c_char) -> i32 {
    crate::start()
}

/// This program's own; the C library's initialisation has given them to `std`.
pub(crate) fn arguments() -> impl Iterator<Item = OsString> {
    env::args_os()
}

/// Becomes another program; comes back only if that fails.
pub(crate) fn execute<'a>(path: &'a Path, arguments: impl Iterator<Item = &'a OsStr>) -> i32 {
    let words: Result<Vec<CString>, _> =
        std::iter::once(path.as_os_str()).chain(arguments).map(|word| CString::new(word.as_bytes())).collect();
    let error = match words {
        Ok(words) => {
            let mut vector: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
            vector.push(ptr::null());
            // SAFETY: the words end with a zero and the vector with a null pointer, and they outlive the call.
            unsafe { libc::execv(vector[0], vector.as_ptr()) };
            io::Error::last_os_error()
        }
        Err(error) => error.into(),
    };
    crate::say(&format!("{}: {error}", path.display()));
    NOT_FOUND
}
