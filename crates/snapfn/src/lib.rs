//! Starts instances of snapshots, in the manner of [`std::process`].
//!
//! A [`Snapshot`] is opened and validated once. Every instance is then a fresh process. It is this process's own child,
//! made by a `vfork`-like `clone` and one `execve` of `snaprun`, which gets the snapshot's files as open descriptors.
//! There is no process in between, no privileges are needed, and many threads may use everything here at once.
//!
//! ```no_run
//! use snapfn::{Snapshot, Stdio};
//!
//! let hello = Snapshot::open("hello")?;
//! let output = hello.command().arg("4999999").env("LANG", "C").output()?;
//! assert!(output.status.success());
//!
//! let mut child = hello.command().stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
//! drop(child.stdin.take());
//! child.wait()?;
//! # Ok::<(), snapfn::Error>(())
//! ```
//!
//! A [`Pool`] keeps instances prepared, each in its own process and used for one request only, so that a start is a
//! wake-up:
//!
//! ```no_run
//! use snapfn::{Pool, Snapshot};
//!
//! let pool = Pool::new(&Snapshot::open("hello")?, 8)?;
//! let status = pool.command().arg("7").status()?;
//! # let _ = status;
//! # Ok::<(), snapfn::Error>(())
//! ```
//!
//! Three things differ from `std::process`. The snapshot decides about the signal mask and dispositions. `SIGPIPE` has
//! its default action in the instance. Errors that `snaprun` itself reports (exit status 125 to 127) are
//! [`Error::NotStarted`] with its message, not an exit status of the program.
//!
//! ```text
//!  command ──▶ child ──▶ pool ──▶ spawn ──▶ snapshot ──▶ sys      each calls only what is to its right
//!                                   └────▶ request, stdio
//!
//!  command   Command, which takes an instance of a pool or makes one     pool      prepared instances
//!  child     Child: signals, status, output                              spawn     clone and execve of snaprun
//!  snapshot  find, validate, open with all files                         request   arguments and environment as bytes
//!  stdio     standard streams                                            sys       descriptors, messages, signals
//!  serve     the pool as a program                                       socket    its socket by name
//!
//!  Unsafe code is in spawn (the child between clone and execve), sys and socket (system calls).
//! ```

mod child;
mod command;
mod error;
mod pool;
mod request;
mod snapshot;
mod socket;
mod spawn;
mod stdio;
mod sys;

pub use child::Child;
pub use command::Command;
pub use error::Error;
pub use pool::{Counts, Notice, Pool, PoolOptions, Populate};
pub use snapshot::{Snapshot, SnapshotOptions};
pub use stdio::Stdio;

#[doc(hidden)]
pub mod serve;
