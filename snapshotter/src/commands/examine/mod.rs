//! Commands that examine snapshots and this machine. They change neither.

pub(crate) mod check;
pub(crate) mod core;
pub(crate) mod diff;
pub(crate) mod export;
pub(crate) mod inspect;
mod names;
pub(crate) mod source;
mod space;
pub(crate) mod stale;
pub(crate) mod text;
mod xstate;
