//! docs/internals/kernel.md lists every probe, with the text of the probe itself.
//!
//! `SNAPFN_BLESS=1` writes the table anew.

#![allow(clippy::expect_used)] // helpers of tests, which allow-expect-in-tests does not cover

use std::fmt::Write;

use snapfn_host::{Level, Outcome, Report, probes, run_all};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/internals/kernel.md");
const START: &str = "<!-- table: start -->\n";
const END: &str = "<!-- table: end -->";

fn table() -> String {
    let mut table =
        String::from("| probe | needed by | kernels | what relies on it | if it is missing |\n|---|---|---|---|---|\n");
    for probe in probes() {
        let level = match probe.required {
            Level::CreateNeeds => "create",
            Level::RestoreNeeds => "restore",
            Level::Optional => "–",
        };
        let row = [probe.name, level, probe.kernels, probe.why, probe.consequence].map(|cell| cell.replace('|', "\\|"));
        writeln!(table, "| `{}` | {} | {} | {} | {} |", row[0], row[1], row[2], row[3], row[4]).expect("a string");
    }
    table
}

#[test]
fn the_index_lists_every_probe() {
    let page = std::fs::read_to_string(PAGE).expect("docs/internals/kernel.md");
    let (head, rest) = page.split_once(START).expect("the start of the table is marked");
    let (seen, tail) = rest.split_once(END).expect("the end of the table is marked");
    if std::env::var_os("SNAPFN_BLESS").is_some() {
        std::fs::write(PAGE, format!("{head}{START}{}{END}{tail}", table()))
            .expect("docs/internals/kernel.md is writable");
        return;
    }
    assert_eq!(seen, table(), "docs/internals/kernel.md is out of date; SNAPFN_BLESS=1 writes the table anew");
}

#[test]
fn names_are_unique_and_texts_are_there() {
    let mut names: Vec<_> = probes().iter().map(|probe| probe.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), probes().len(), "two probes have one name");
    for probe in probes() {
        for text in [probe.name, probe.why, probe.consequence, probe.kernels] {
            assert!(!text.is_empty() && !text.ends_with('.') && !text.contains('\n'), "{}: {text:?}", probe.name);
        }
    }
}

#[test]
fn all_probes_run_in_order_and_have_an_outcome() {
    let reports = run_all();
    let names: Vec<_> = reports.iter().map(|report| report.name).collect();
    assert_eq!(names, probes().iter().map(|probe| probe.name).collect::<Vec<_>>());
}

#[test]
fn reports_are_flat_in_json() {
    let report = |required, outcome| Report { name: "n", why: "w", consequence: "c", required, outcome };
    let works = report(Level::Optional, Outcome::Works);
    let json = serde_json::to_value(&works).expect("serializable");
    let expected = serde_json::json!({
        "name": "n", "why": "w", "consequence": "c", "required": "optional", "result": "works"
    });
    assert_eq!(json, expected);
    let missing = report(Level::RestoreNeeds, Outcome::Missing("m".to_owned()));
    let json = serde_json::to_value(&missing).expect("serializable");
    let expected = serde_json::json!({
        "name": "n", "why": "w", "consequence": "c", "required": "restore-needs", "result": "missing", "detail": "m"
    });
    assert_eq!(json, expected);
    assert!(missing.is_fatal() && !works.is_fatal());
}
