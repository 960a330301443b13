//! The oracle's parts: what a corpus program asks for ([`directives`]), how it is compiled ([`compile`]), how a
//! command is run and what it left behind ([`run`]), and a scratch place with a store of its own ([`bench`]).
//!
//! The statement that every test here checks is `init + call == init + snapshot + restore + call`: standard output,
//! standard error, exit status and files of an ordinary run are those of a restored one.

pub mod bench;
pub mod compile;
pub mod directives;
pub mod place;
pub mod pool;
pub mod run;
pub mod soak;
pub mod state;
pub mod transport;
pub mod trial;
