//! `scan`: searches files that are about to be published for credentials.

use crate::output::{Failures, print};
use serde::Serialize;
use snapfn_scan::{Finding, ScanError, scan_snapshot};
use snapfn_store::{Kind, Ref, StoreError, Stores, Target, open_file};
use std::ffi::OsString;
use std::fs::File;
use std::io;

#[derive(Serialize)]
struct Row {
    name: String,
    #[serde(flatten)]
    finding: Finding,
}

/// Searches every named snapshot; a finding is a failure.
pub(crate) fn run(stores: &Stores, names: &[OsString], json: bool, failures: &mut Failures) -> io::Result<()> {
    let mut rows = Vec::new();
    for name in names {
        let shown = name.to_string_lossy().into_owned();
        let files = match Target::parse(name) {
            Ok(Target::Local(reference)) => variants(stores, &reference),
            Ok(Target::File(path)) => open_file(&path).map(|file| vec![file]),
            Ok(Target::Registry(_)) => {
                failures.usage(name, "only snapshots in the local store can be searched; `snaprepo pull` it first");
                continue;
            }
            Err(error) => {
                failures.usage(name, error);
                continue;
            }
        };
        match files.map_err(ScanError::from).and_then(|files| search(stores, &files)) {
            Ok(found) => rows.extend(found.into_iter().map(|finding| Row { name: shown.clone(), finding })),
            Err(error) => failures.add(&shown, error),
        }
    }
    if json {
        print(&format!("{}\n", serde_json::to_string_pretty(&rows)?))?;
    }
    for Row { name, finding } in &rows {
        failures.add(name, finding);
    }
    Ok(())
}

fn variants(stores: &Stores, reference: &Ref) -> Result<Vec<File>, StoreError> {
    let found = stores.resolve(reference)?;
    let digests = found.store.variants(reference)?.unwrap_or_default();
    digests.into_iter().map(|digest| found.store.open(Kind::Snap, digest)).collect()
}

fn search(stores: &Stores, files: &[File]) -> Result<Vec<Finding>, ScanError> {
    let mut found = Vec::new();
    for file in files {
        found.extend(scan_snapshot(stores, file, &mut |_| ())?);
    }
    Ok(found)
}
