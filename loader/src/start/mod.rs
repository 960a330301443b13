//! From a command line to a validated plan with open files, and the other actions of `snaprun`.
//!
//! ```text
//!  args     the command line            dry_run      the plan in words
//!  open     NAME → the open snapshot    timing       --timing: the parent that watches
//!  plan     … → its validated plan      pool_client  --from and --pool
//!  files    … → the open files of it    timens       --timens
//!  store    the search path, trust      fallback, pull, own_program execute another program instead
//!  failure  every message and status    same_pid     --same-pid; user_ns: what both need
//!  stale    --if-stale
//! ```
#![allow(clippy::result_large_err)] // made once, before the process ends; there is no heap for it

pub mod args;
pub mod dry_run;
pub mod failure;
pub mod fallback;
pub mod files;
pub mod open;
pub mod own_program;
pub mod plan;
pub mod pool_client;
pub mod pull;
pub mod same_pid;
pub mod stale;
pub mod store;
pub mod timens;
pub mod timing;
mod user_ns;
