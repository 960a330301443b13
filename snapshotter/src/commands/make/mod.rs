//! Commands that run a program: up to its snapshot point, or an instance to learn from it.

mod auto;
pub(crate) mod blockers;
pub(crate) mod create;
mod from_init;
mod measure;
mod notices;
mod prove;
pub(crate) mod rebuild;
mod result;
mod start;
pub(crate) mod train;

pub(super) use prove::find_snaprun;
