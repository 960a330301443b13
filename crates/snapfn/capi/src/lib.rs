//! The functions of `snapfn.h`, which documents them.
#![allow(unsafe_code)] // the C ABI: pointers are what the header says

use snapfn::{Child, Command, Error, Pool, Snapshot, SnapshotOptions, Stdio};
use std::ffi::{CStr, OsStr, c_char, c_int, c_uint};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::ptr;

/// `struct snapfn_start`.
#[repr(C)]
#[derive(Debug)]
pub struct Start {
    argv: *const *const c_char,
    envp: *const *const c_char,
    directory: *const c_char,
    use_fds: c_int,
    fds: [c_int; 3],
}

/// Where a message goes.
struct Message(*mut c_char, usize);

impl Message {
    /// Writes as much of `text` as fits.
    fn put(&self, text: &str) {
        if self.0.is_null() || self.1 == 0 {
            return;
        }
        let len = text.len().min(self.1 - 1);
        // SAFETY: the caller's buffer of that size.
        unsafe {
            ptr::copy_nonoverlapping(text.as_ptr().cast(), self.0, len);
            self.0.add(len).write(0);
        }
    }

    fn pointer<T>(&self, result: Result<T, Error>) -> *mut T {
        match result {
            Ok(value) => Box::into_raw(Box::new(value)),
            Err(error) => {
                self.put(&error.to_string());
                ptr::null_mut()
            }
        }
    }
}

/// # Safety
/// A C string, or null.
unsafe fn text<'a>(from: *const c_char) -> Option<&'a OsStr> {
    // SAFETY: the caller's promise.
    (!from.is_null()).then(|| OsStr::from_bytes(unsafe { CStr::from_ptr(from) }.to_bytes()))
}

/// # Safety
/// A vector of C strings that ends with a null pointer, or null.
unsafe fn texts<'a>(from: *const *const c_char) -> Vec<&'a OsStr> {
    let mut list = Vec::new();
    let mut at = from;
    // SAFETY: the caller's promise.
    unsafe {
        while let Some(this) = at.as_ref().and_then(|at| text(*at)) {
            list.push(this);
            at = at.add(1);
        }
    }
    list
}

/// # Safety
/// `start` is null or as the header says.
unsafe fn spawn(mut command: Command, start: *const Start) -> Result<Child, Error> {
    // SAFETY: the caller's promise.
    unsafe {
        let Some(start) = start.as_ref() else { return command.spawn() };
        command.args(texts(start.argv));
        if !start.envp.is_null() {
            command.env_clear();
            for variable in texts(start.envp) {
                let bytes = variable.as_bytes();
                if let Some(at) = bytes.iter().skip(1).position(|byte| *byte == b'=') {
                    command.env(OsStr::from_bytes(&bytes[..at + 1]), OsStr::from_bytes(&bytes[at + 2..]));
                }
            }
        }
        if let Some(directory) = text(start.directory) {
            command.current_dir(directory);
        }
        if start.use_fds != 0 {
            let stream = |fd: c_int| match fd {
                0.. => BorrowedFd::borrow_raw(fd).try_clone_to_owned().map(Stdio::from),
                _ => Ok(Stdio::null()),
            };
            let stream = |fd| stream(fd).map_err(|source| Error::System { what: "duplicating a stream", source });
            let [input, output, errors] = start.fds;
            command.stdin(stream(input)?).stdout(stream(output)?).stderr(stream(errors)?);
        }
    }
    command.spawn()
}

/// # Safety
/// As in `snapfn.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn snapfn_open(name: *const c_char, error: *mut c_char, size: usize) -> *mut Snapshot {
    // SAFETY: the caller's promise.
    Message(error, size).pointer(Snapshot::open(unsafe { text(name) }.unwrap_or_default()))
}

/// # Safety
/// As in `snapfn.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn snapfn_open_with(
    name: *const c_char,
    flags: c_uint,
    error: *mut c_char,
    size: usize,
) -> *mut Snapshot {
    /// SNAPFN_ALLOW_WX
    const ALLOW_WX: c_uint = 1;
    let opened = match flags & !ALLOW_WX {
        // SAFETY: the caller's promise.
        0 => SnapshotOptions::new().allow_wx(flags != 0).open(unsafe { text(name) }.unwrap_or_default()),
        _ => Err(Error::System { what: "snapfn_open_with", source: io::ErrorKind::InvalidInput.into() }),
    };
    Message(error, size).pointer(opened)
}

/// # Safety
/// As in `snapfn.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn snapfn_close(snapshot: *mut Snapshot) {
    // SAFETY: the caller's promise.
    unsafe { free(snapshot) };
}

/// # Safety
/// Null, or from one of the functions here and not used again.
unsafe fn free<T>(object: *mut T) {
    if !object.is_null() {
        // SAFETY: the caller's promise.
        drop(unsafe { Box::from_raw(object) });
    }
}

/// # Safety
/// As in `snapfn.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn snapfn_spawn(
    snapshot: *const Snapshot,
    start: *const Start,
    error: *mut c_char,
    size: usize,
) -> *mut Child {
    // SAFETY: the caller's promise.
    Message(error, size).pointer(unsafe { spawn((*snapshot).command(), start) })
}

/// # Safety
/// As in `snapfn.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn snapfn_pool_open(
    snapshot: *const Snapshot,
    count: usize,
    error: *mut c_char,
    size: usize,
) -> *mut Pool {
    // SAFETY: the caller's promise.
    Message(error, size).pointer(Pool::new(unsafe { &*snapshot }, count))
}

/// # Safety
/// As in `snapfn.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn snapfn_pool_spawn(
    pool: *const Pool,
    start: *const Start,
    error: *mut c_char,
    size: usize,
) -> *mut Child {
    // SAFETY: the caller's promise.
    Message(error, size).pointer(unsafe { spawn((*pool).command(), start) })
}

/// # Safety
/// As in `snapfn.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn snapfn_pool_prepared(pool: *const Pool) -> usize {
    // SAFETY: the caller's promise.
    unsafe { (*pool).prepared() }
}

/// # Safety
/// As in `snapfn.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn snapfn_pool_close(pool: *mut Pool) {
    // SAFETY: the caller's promise.
    unsafe { free(pool) };
}

/// # Safety
/// As in `snapfn.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn snapfn_pid(child: *const Child) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { (*child).id() as c_int }
}

/// # Safety
/// As in `snapfn.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn snapfn_kill(child: *mut Child, signal: c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { (*child).signal(signal) }.map_or(-1, |()| 0)
}

/// # Safety
/// As in `snapfn.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn snapfn_wait(child: *mut Child, status: *mut c_int, error: *mut c_char, size: usize) -> c_int {
    // SAFETY: the caller promises it; this function frees the object.
    let ended = unsafe { Box::from_raw(child) }.wait();
    let (value, result) = match ended {
        Ok(ended) => (ended.into_raw(), 0),
        Err(failure) => {
            Message(error, size).put(&failure.to_string());
            (failure.exit_status() << 8, -1)
        }
    };
    if !status.is_null() {
        // SAFETY: the caller's promise.
        unsafe { status.write(value) };
    }
    result
}

/// # Safety
/// As in `snapfn.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn snapfn_forget(child: *mut Child) {
    // SAFETY: the caller's promise.
    unsafe { free(child) };
}
