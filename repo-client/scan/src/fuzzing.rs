//! Gives the fuzz target access to the search. Only its build has this module.

use std::ops::Range;

/// All patterns, ready for use.
#[derive(Debug)]
pub struct Patterns(crate::patterns::Patterns);

impl Patterns {
    /// Compiles the table.
    pub fn new() -> Result<Self, regex::Error> {
        crate::patterns::Patterns::new().map(Patterns)
    }

    /// Kind and place of every finding.
    pub fn find(&self, bytes: &[u8]) -> Vec<(&'static str, Range<usize>)> {
        self.0.find(bytes).collect()
    }
}
