//! The snapshot point for Rust programs.
//!
//! A program that loads files, builds tables or compiles patterns before it serves its first request does so once. It
//! then marks the snapshot point, and every later start goes on from there:
//!
//! ```
//! let table: Vec<u64> = (0..1000).map(|n| n * n).collect(); // whatever takes time
//! let restored = snapfn_guest::ready();
//! // In an instance, args() are the arguments of this start; in an ordinary run, those of the process.
//! let name = snapfn_guest::args().nth(1);
//! println!("{restored} {} {}", name.is_some(), table.len());
//! ```
//!
//! Started in the ordinary way, the same program is an ordinary program: [`ready`] returns `false` after two system
//! calls that fail, and every other function does nothing.
//!
//! The crate calls the protocol of `<snap.h>` (FORMAT.md, "Protocol of the snapshot point"), so a program may mix Rust
//! and C, and hooks of both run in one order. Linux only; on other systems the crate does not compile, so depend on it
//! under `[target.'cfg(target_os = "linux")'.dependencies]`.

#[cfg(not(target_os = "linux"))]
compile_error!("snapfn-guest needs Linux: depend on it under [target.'cfg(target_os = \"linux\")'.dependencies]");

mod protocol;

use std::ffi::OsString;
use std::io::Write;

/// Marks the snapshot point. Returns `true` in an instance, and `false` in an ordinary run and in the program that the
/// snapshot is made of.
///
/// Before the point it flushes Rust's and C's output streams, since every instance would print again the text that they
/// still hold. In an instance it returns after the functions of [`on_restore`] have run. A second call changes nothing
/// and returns the result of the first one.
pub fn ready() -> bool {
    // An error is one of the stream, and the program gets it at its next write.
    let _ = std::io::stdout().flush();
    protocol::ready()
}

/// Registers a function that every instance calls before [`ready`] returns there: to seed a generator, to connect
/// again, to read a clock. Functions run in the order of registration, together with those that libraries register
/// through `<snap.h>`. In an ordinary run the function is dropped.
///
/// A panic in the function ends the program, since there may be no Rust frame above it.
pub fn on_restore(function: impl FnOnce() + Send + 'static) {
    protocol::on_restore(Box::new(function));
}

/// The arguments of this instance, the program's name first. In an ordinary run they are those of the process.
///
/// `std::env::args` keeps the arguments of the program that the snapshot was made of: at a later point than `main`, the
/// snapshotter cannot know where else the program keeps its arguments.
pub fn args() -> impl ExactSizeIterator<Item = OsString> + DoubleEndedIterator {
    protocol::args().unwrap_or_else(|| std::env::args_os().collect()).into_iter()
}

/// A number that no other instance has; `None` in an ordinary run.
#[must_use]
pub fn generation() -> Option<u64> {
    protocol::generation()
}

/// Keeps the bytes of `secret`, and every copy of them in the program's memory, out of the snapshot: an instance has
/// zeros there. The bytes must stay where they are until the point. Returns whether the range was recorded; `false` in
/// an ordinary run and for an empty slice.
pub fn secret(secret: &[u8]) -> bool {
    protocol::secret(secret)
}
