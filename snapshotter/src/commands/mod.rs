//! One module a subcommand.
//!
//! ```text
//!  make      start     a program at its snapshot point
//!            create    a snapshot of it                   blockers   what stands in the way of one
//!            prove     that an instance can be started   result   what create prints
//!            train     a snapshot, written anew
//!  examine   inspect, diff, core, check   snapshots as they are, and this machine; change nothing
//!  check     which of the two a check is
//!  generate  man pages and completions
//! ```

pub(crate) mod check;
pub(crate) mod examine;
pub(crate) mod generate;
pub(crate) mod make;
