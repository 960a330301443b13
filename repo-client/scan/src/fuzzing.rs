//! The search itself, as the fuzz target reaches it. Not part of any build but its own.

use std::ops::Range;

/// All patterns, ready for use.
#[derive(Debug)]
pub struct Patterns(crate::patterns::Patterns);

impl Patterns {
    /// Compiles the table.
    pub fn new() -> Result<Self, regex::Error> {
        crate::patterns::Patterns::new().map(Patterns)
    }

    /// Kind and place of everything that is found.
    pub fn find(&self, bytes: &[u8]) -> Vec<(&'static str, Range<usize>)> {
        self.0.find(bytes).collect()
    }
}
