//! The support table in the documentation: no cell is empty, and every test that a row names exists and runs.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs;
use std::path::PathBuf;

use snapfn_tests::place;
use snapfn_tests::workspace::tree;

/// Cells of the rows of the first table of `text`.
fn rows(text: &str) -> Vec<Vec<String>> {
    let table = text.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    table
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

/// All Rust tests, in which a program of `state/` must be named to be run.
fn rust_tests() -> String {
    let is_test = |path: &PathBuf| {
        let in_library = path.starts_with(place::tests().join("src"));
        path.extension().is_some_and(|e| e == "rs") && !path.ends_with("support_table.rs") && !in_library
    };
    tree(&place::tests()).iter().filter(|path| is_test(path)).map(|path| fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn no_cell_is_empty_and_every_test_is_there() {
    let text = fs::read_to_string(place::root().join("docs/reference/support.md")).unwrap();
    let tests = rust_tests();
    let kinds = fs::read_to_string(place::tests().join("state/refused.rs")).unwrap();
    let rows = rows(&text);
    let mut wrong = Vec::new();
    let mut headings = 0;
    for row in &rows {
        let [state, instance, test] = &row[..] else {
            wrong.push(format!("not three cells: {row:?}"));
            continue;
        };
        if state.starts_with("**") {
            headings += 1;
            continue;
        }
        if [state, instance, test].iter().any(|cell| cell.is_empty()) {
            wrong.push(format!("an empty cell: {row:?}"));
        }
        for name in test.split(", ") {
            let named = name.strip_prefix('`').and_then(|name| name.strip_suffix('`'));
            let is_there = match (name.strip_prefix("refused.c "), named) {
                (Some(kind), _) => kinds.contains(&format!("(\"{kind}\", &[")),
                (None, Some(path)) => {
                    let stem = path.rsplit('/').next().unwrap_or_default().split('.').next().unwrap_or_default();
                    let is_run = !path.starts_with("state/")
                        || tests.contains(&format!("\"{stem}\""))
                        || tests.contains(&format!("{stem}.c\""));
                    place::tests().join(path).is_file() && is_run
                }
                (None, None) => false,
            };
            if !is_there {
                wrong.push(format!("{state}: no test {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rows.len() - headings > 80 && headings == 8, "{} rows, {headings} headings", rows.len());
}

/// What is refused is documented, too.
#[test]
fn every_refused_kind_has_a_row() {
    let text = fs::read_to_string(place::root().join("docs/reference/support.md")).unwrap();
    let kinds = fs::read_to_string(place::tests().join("state/refused.rs")).unwrap();
    for kind in kinds.lines().filter_map(|line| line.trim().strip_prefix("(\"")?.split_once("\", &[")) {
        assert!(text.contains(&format!("refused.c {}", kind.0)), "{} has no row", kind.0);
    }
}
