//! Where in a snapshot something was found.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test panics where it fails")]

#[path = "../../../crates/format/tests/common/sample.rs"]
mod sample;

use sample::{PAGES, Sample, build};
use snapfn_format::PAGE;
use snapfn_format::snap::{FdStep, STEP_CONTENT};
use snapfn_scan::{Place, scan_file};
use std::io::Write;

/// If the content of an open file comes from a data file, its offset is not one of the snapshot.
#[test]
fn content_of_another_file_is_not_the_plan() {
    let token = format!("/glpat-{}", "aZ3bY4cX5dW6eV7fU8gT");
    let sample = Sample { cwd: token, ..Sample::default() };
    let (meta, size) = sample.meta();
    let mut tables = sample.tables(size - PAGES as u64 * PAGE);
    tables.fd_steps[1] = FdStep { fd: 9, kind: STEP_CONTENT, b: PAGE, c: 3, ..FdStep::default() };
    let mut bytes = build(&tables, size).0;
    assert_eq!(bytes.len(), meta.len());
    bytes.resize(size as usize, 0);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    let found = scan_file(&file, &mut |_| ()).unwrap();
    assert_eq!(found.iter().map(|finding| finding.place).collect::<Vec<_>>(), [Place::Plan]);
}
