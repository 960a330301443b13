//! Commands that run a program: up to its snapshot point, or an instance to learn from it.

mod auto;
pub(crate) mod blockers;
pub(crate) mod create;
mod notices;
mod prove;
mod result;
mod start;
pub(crate) mod train;
