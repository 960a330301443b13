//! What the tests stand on: a scratch place with a store of its own ([`workspace`]), how a command is run and what it
//! left behind ([`run`]), programs as a plain user has them ([`state`]), pools ([`pool`]), two stores and a registry
//! between them ([`transport`]); and the oracle's parts: what a corpus program asks for ([`directives`]), how it is
//! compiled ([`compile`]), and the comparison itself ([`trial`]).
//!
//! The statement that the oracle checks is `init + call == init + snapshot + restore + call`: standard output, standard
//! error, exit status and files of an ordinary run are those of a restored one.
//!
//! A helper gives what it was asked for or fails the test at the line that called it. So none has a `Result` that every
//! test would have to unwrap; a test that expects a failure looks at [`run::Outcome::status`].

pub mod compile;
pub mod directives;
pub mod place;
pub mod pool;
pub mod random;
pub mod run;
pub mod soak;
pub mod state;
pub mod transport;
pub mod trial;
pub mod workspace;

/// What was asked for, or a failure of the test that called, which says what was tried.
#[track_caller]
pub(crate) fn must<T, E: std::fmt::Display>(result: Result<T, E>, what: impl std::fmt::Display) -> T {
    match result {
        Ok(value) => value,
        Err(why) => panic!("{what}: {why}"),
    }
}
