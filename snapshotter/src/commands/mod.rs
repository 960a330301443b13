//! One module a subcommand.

pub(crate) mod check;
pub(crate) mod core;
pub(crate) mod create;
pub(crate) mod diff;
pub(crate) mod generate;
pub(crate) mod inspect;
mod names;
mod source;
mod space;
mod start;
mod text;
pub(crate) mod train;
mod xstate;
