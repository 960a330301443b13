//! `ls` and `tags`.

use crate::output::{Failures, print, printable, rfc3339, size, table};
use serde::Serialize;
use snapfn_store::{Digest, Kind, Ref, RefEntry, Store, StoreError, Stores, Summary, summarize};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;

/// One snapshot, as `ls --json` prints it.
#[derive(Serialize)]
struct Row {
    name: String,
    tag: String,
    /// Of the first variant; `size` and `allocated` are those of all.
    digest: String,
    variants: Vec<String>,
    /// Bytes of the snapshot files.
    size: u64,
    /// What they occupy on disk.
    allocated: u64,
    created: Option<String>,
    program: Option<String>,
    store: String,
    files: Vec<Needed>,
}

#[derive(Serialize)]
struct Needed {
    kind: &'static str,
    digest: String,
}

/// Lists what `snaprun NAME` finds: a tag in an earlier store hides the same tag in a later one.
pub(crate) fn ls(stores: &Stores, json: bool, failures: &mut Failures) -> io::Result<()> {
    let mut rows = BTreeMap::new();
    for store in stores.iter() {
        let refs = match store.refs() {
            Ok(refs) => refs,
            Err(error) => {
                failures.add(store.root().display(), error);
                continue;
            }
        };
        for entry in refs {
            if rows.contains_key(&entry.reference) {
                continue;
            }
            let row = match &entry.digest {
                Ok(first) => describe(store, &entry, *first),
                Err(error) => Err(error.to_string()),
            };
            let row = row.map_err(|error| failures.add(&entry.reference, error)).ok();
            rows.insert(entry.reference, row);
        }
    }
    let rows: Vec<Row> = rows.into_values().flatten().collect();
    match json {
        true => print(&format!("{}\n", serde_json::to_string_pretty(&rows)?)),
        false => print(&text(&rows)),
    }
}

fn describe(store: &Store, entry: &RefEntry, first: Digest) -> Result<Row, String> {
    let reference = &entry.reference;
    let (mut size, mut allocated, mut summary, mut files) = (0, 0, None, BTreeSet::new());
    for &digest in &entry.variants {
        let blob = store.blob(Kind::Snap, digest).map_err(|error| error.to_string())?;
        let blob = blob.ok_or_else(|| StoreError::Missing { kind: Kind::Snap, digest }.to_string())?;
        let file = store.open(Kind::Snap, digest).map_err(|error| error.to_string())?;
        let one =
            summarize(&file).map_err(|error| format!("{}: {error}; make the snapshot again", blob.path.display()))?;
        size += blob.size;
        allocated += blob.allocated;
        files.extend(one.files.iter().copied());
        summary.get_or_insert(one);
    }
    let Some(Summary { program, created, .. }) = summary else { return Err("has no snapshot".to_owned()) };
    Ok(Row {
        name: reference.name.to_string(),
        tag: reference.tag.to_string(),
        digest: first.to_string(),
        variants: entry.variants.iter().map(ToString::to_string).collect(),
        size,
        allocated,
        created: created.and_then(rfc3339),
        program,
        store: store.root().display().to_string(),
        files: files
            .into_iter()
            .map(|(kind, digest)| Needed { kind: kind.dir(), digest: digest.to_string() })
            .collect(),
    })
}

fn text(rows: &[Row]) -> String {
    let header = ["NAME", "TAG", "DIGEST", "SIZE", "CREATED", "PROGRAM"].map(String::from).to_vec();
    let lines = rows.iter().map(|row| {
        let created = row.created.as_deref().map(|time| time.replace('T', " "));
        vec![
            row.name.clone(),
            row.tag.clone(),
            match row.variants.len() {
                1 => row.digest[..12].to_string(),
                count => format!("{} +{}", &row.digest[..12], count - 1),
            },
            size(row.size),
            created.unwrap_or_else(|| "-".into()),
            printable(row.program.as_deref().unwrap_or("-")),
        ]
    });
    table(&std::iter::once(header).chain(lines).collect::<Vec<_>>(), &[3])
}

/// Prints the tags of a name, one a line.
pub(crate) fn tags(stores: &Stores, name: &OsStr, failures: &mut Failures) -> io::Result<()> {
    let reference = match Ref::parse(name) {
        Ok(_) if name.as_encoded_bytes().contains(&b':') => {
            failures.usage(name, "give the name without a tag");
            return Ok(());
        }
        Ok(reference) => reference,
        Err(error) => {
            failures.usage(name, error);
            return Ok(());
        }
    };
    let mut found = Vec::new();
    for store in stores.iter() {
        match store.tags(&reference.name) {
            Ok(tags) => found.extend(tags.into_iter().map(|entry| entry.reference.tag)),
            Err(error) => failures.add(&reference.name, error),
        }
    }
    found.sort();
    found.dedup();
    if found.is_empty() && failures.count() == 0 {
        failures.add(&reference.name, "no such name in the store; `snaprepo ls` shows what there is");
    }
    print(&found.iter().map(|tag| format!("{tag}\n")).collect::<String>())
}
