//! From a command line to a validated plan with open files, and the ways to start that are none: help, pools, `--timing`.

pub mod args;
pub mod dry_run;
pub mod fallback;
pub mod pool_client;
pub mod pull;
pub mod store;
pub mod timens;
pub mod timing;
