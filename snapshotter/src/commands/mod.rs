//! One module a subcommand.
//!
//! ```text
//!  make      start     a program at its snapshot point
//!            create    a snapshot of it                   blockers   what stands in the way of one
//!            prove     that an instance can be started   result   what create prints
//!            train     a snapshot, written anew          rebuild    snapshots, made again by their recipes
//!            from_init a snapshot of an exported init data file
//!  examine   inspect, diff, core, check, export   snapshots as they are, and this machine; change none of them
//!  check     which of the two a check is
//!  pair      the files of an export
//!  install   a link that starts a snapshot
//!  generate  man pages and completions
//! ```

pub(crate) mod check;
pub(crate) mod examine;
pub(crate) mod generate;
pub(crate) mod install;
pub(crate) mod make;
mod pair;
