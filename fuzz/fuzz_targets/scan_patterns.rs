//! The search for credentials, in any bytes. Findings are in order, without overlap, and found again when cut out with
//! their surroundings.
#![no_main]

use libfuzzer_sys::fuzz_target;
use snapfn_scan::fuzzing::Patterns;
use std::sync::LazyLock;

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| Patterns::new().unwrap());

fuzz_target!(|data: &[u8]| {
    let found = PATTERNS.find(data);
    let mut end = 0;
    for (kind, range) in &found {
        assert!(range.start >= end && range.start < range.end && range.end <= data.len() && !kind.is_empty());
        end = range.end;
    }
    // The result does not depend on the bytes before it.
    if let Some((kind, range)) = found.first() {
        let from = range.start.saturating_sub(1);
        let again = PATTERNS.find(&data[from..]);
        assert_eq!(again.first().map(|(kind, range)| (*kind, range.start + from)), Some((*kind, range.start)));
    }
});
