//! The base of the tests: a scratch place with a store of its own ([`workspace`]), commands and their results
//! ([`run`]), programs of a plain user ([`state`]), pools ([`pool`]), and two stores with a registry between them
//! ([`transport`]). The parts of the oracle are the directives of a corpus program ([`directives`]), its compilation
//! ([`compile`]), and the comparison itself ([`trial`]).
//!
//! The statement that the oracle checks is `init + call == init + snapshot + restore + call`: standard output, standard
//! error, exit status and files of an ordinary run are those of a restored one.
//!
//! A helper returns its result or fails the test at the line that called it. So none returns a `Result` that every test
//! would have to unwrap. A test that expects a failure checks [`run::Outcome::status`].

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

/// Returns the value, or fails the calling test with the name of the action.
#[track_caller]
pub(crate) fn must<T, E: std::fmt::Display>(result: Result<T, E>, what: impl std::fmt::Display) -> T {
    match result {
        Ok(value) => value,
        Err(why) => panic!("{what}: {why}"),
    }
}
