//! The protocol of the snapshot point: `prctl` calls that only the snapshotter answers, and the structures that it
//! fills.
//!
//! Unsafe code is confined to this module. The structures are written from outside, between two instructions of the
//! program and while all its threads are stopped, so every access to them is volatile.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::ffi::{CStr, OsString, c_char, c_int, c_long, c_ulong, c_void};
use std::os::unix::ffi::OsStringExt;
use std::ptr::{null_mut, read_volatile};

/// "SNAP"
const PRCTL: c_int = 0x534e_4150;
const OP_READY: c_ulong = 0;
const OP_INFO: c_ulong = 1;
const OP_SECRET: c_ulong = 2;
const OP_HOOK: c_ulong = 3;

/// `struct snap_info` of `<snap.h>`: filled in an instance, before `OP_READY` returns.
#[repr(C)]
struct Info {
    /// Bytes of the structure. The program sets it before it registers the structure.
    size: u32,
    restored: u32,
    argc: i64,
    argv: *const *const c_char,
    envp: *const *const c_char,
    generation: u64,
    hooks: u64,
    /// The first hook of all that the executable and its libraries have registered.
    first: *const Hook,
}

/// `struct snap_hook` of `<snap.h>`.
#[repr(C)]
struct Hook {
    next: *const Hook,
    function: unsafe extern "C" fn(*mut c_void),
    argument: *mut c_void,
    info: *mut Info,
}

/// The registered structure, at an address that never changes.
struct Registered(UnsafeCell<Info>);

// SAFETY: the structure is written by the snapshotter and the loader, while no thread runs; the program only reads it,
// and all writers of `size` write the same value.
unsafe impl Sync for Registered {}

static INFO: Registered = Registered(UnsafeCell::new(Info {
    size: size_of::<Info>() as u32,
    restored: 0,
    argc: 0,
    argv: null_mut(),
    envp: null_mut(),
    generation: 0,
    hooks: 0,
    first: null_mut(),
}));

unsafe extern "C" {
    fn prctl(option: c_int, operation: c_ulong, a: c_ulong, b: c_ulong, c: c_ulong) -> c_int;
    fn fflush(stream: *mut c_void) -> c_int;
    /// glibc's and musl's: where `errno` is.
    fn __errno_location() -> *mut c_int;
}

/// Asks the snapshotter. Returns a negative number if there is none. Keeps `errno`.
fn call(operation: c_ulong, a: c_ulong, b: c_ulong) -> c_int {
    // SAFETY: the kernel has no such option, and the snapshotter writes only to memory that is registered here. `errno`
    // is this thread's own.
    unsafe {
        let saved = *__errno_location();
        let result = prctl(PRCTL, operation, a, b, 0);
        *__errno_location() = saved;
        result
    }
}

/// Reads a field of [`INFO`].
macro_rules! info {
    ($field:ident) => {
        // SAFETY: the static is always valid to read, see `Registered`.
        unsafe { read_volatile(&raw const (*INFO.0.get()).$field) }
    };
}

fn register_info() {
    call(OP_INFO, INFO.0.get() as c_ulong, 0);
}

/// Marks the executable, for tools that read it, as a program that marks a snapshot point: a note (name SNAPFN, type 1)
/// that `strip` keeps. The empty relocation keeps it through `--gc-sections` exactly as long as the code that marks the
/// point. Each object file has the name once (`.ifndef`), and each linked file (the group), so that copies of this code
/// do no harm.
#[inline(always)]
#[allow(named_asm_labels)]
fn mark() {
    // SAFETY: the assembler makes a section and a relocation; no instruction is executed.
    unsafe {
        std::arch::asm!(
            ".ifndef snapfn_note_",
            ".pushsection .note.snapfn,\"aG\",%note,snapfn_note_,comdat",
            ".weak snapfn_note_",
            ".hidden snapfn_note_",
            ".type snapfn_note_, %object",
            ".balign 4",
            "snapfn_note_:",
            ".long 7",
            ".long 0",
            ".long 1",
            ".asciz \"SNAPFN\"",
            ".byte 0",
            ".size snapfn_note_, .-snapfn_note_",
            ".popsection",
            ".endif",
            "7741: .reloc 7741b, BFD_RELOC_NONE, snapfn_note_",
            options(nomem, nostack, preserves_flags)
        );
    }
}

/// Marks the point. Returns whether this is an instance.
#[inline(never)]
pub(crate) fn ready() -> bool {
    mark();
    // SAFETY: NULL means all streams of C that the program has open for output.
    unsafe { fflush(null_mut()) };
    register_info();
    if call(OP_READY, 0, 0) == 1 {
        let mut hook = info!(first);
        while !hook.is_null() {
            // SAFETY: the snapshotter links only hooks whose memory and function are mapped.
            unsafe {
                let Hook { next, function, argument, .. } = hook.read();
                function(argument);
                hook = next;
            }
        }
    }
    info!(restored) != 0
}

type Function = Box<dyn FnOnce() + Send>;

pub(crate) fn on_restore(function: Function) {
    let argument = Box::into_raw(Box::new(Some(function))).cast::<c_void>();
    let hook = Box::into_raw(Box::new(Hook { next: null_mut(), function: run, argument, info: INFO.0.get() }));
    // If the snapshotter has recorded them, they stay for the rest of the process. In an ordinary run no code calls
    // them.
    if call(OP_HOOK, hook as c_ulong, 0) < 0 {
        // SAFETY: both were made above, and no other code has them.
        drop(unsafe { (Box::from_raw(hook), Box::from_raw(argument.cast::<Option<Function>>())) });
    }
}

/// Calls the function behind `argument`, which [`on_restore`] has made, at the first call.
unsafe extern "C" fn run(argument: *mut c_void) {
    // SAFETY: the argument of a hook is never freed, and hooks run one after the other in one thread.
    let function = unsafe { &mut *argument.cast::<Option<Function>>() };
    if let Some(function) = function.take() {
        function();
    }
}

/// The arguments of this instance; none in an ordinary run.
pub(crate) fn args() -> Option<Vec<OsString>> {
    let (argc, argv) = (usize::try_from(info!(argc)).ok()?, info!(argv));
    if info!(restored) == 0 || argv.is_null() {
        return None;
    }
    let argument = |index: usize| {
        // SAFETY: the loader has filled a vector of `argc` strings, which stay for the rest of the process.
        let bytes = unsafe { CStr::from_ptr(argv.add(index).read()) }.to_bytes();
        OsString::from_vec(bytes.to_vec())
    };
    Some((0..argc).map(argument).collect())
}

pub(crate) fn generation() -> Option<u64> {
    (info!(restored) != 0).then(|| info!(generation))
}

pub(crate) fn secret(secret: &[u8]) -> bool {
    call(OP_SECRET, secret.as_ptr() as c_ulong, secret.len() as c_ulong) >= 0
}

// The sizes are part of the protocol.
const _: () = assert!(size_of::<Info>() == 56 && size_of::<Hook>() == 32 && size_of::<c_long>() == 8);
