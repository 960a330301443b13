//! SECURITY.md names a test for each guarantee: they exist.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::path::Path;

#[test]
fn every_guarantee_has_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let section = page.split("\n## Guarantees\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 12, "{rows:?}");
    for row in rows {
        let test = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let words: Vec<&str> = test.split('`').collect();
        let [_, file, _, name, _] = words[..] else { panic!("no test is named: {row}") };
        let text = std::fs::read_to_string(root.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        let defined = [format!("fn {name}("), format!("def {name}("), format!("// {name}")];
        assert!(defined.iter().any(|form| text.contains(form)), "{file} has no {name}");
    }
}
