//! `ls`, and `tags` and `inspect` for the store.

use crate::output::{Failures, print, printable, rfc3339, size, table};
use serde::Serialize;
use snapfn_store::{Digest, Kind, Ref, Store, StoreError, Stores, Summary, summarize};
use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write;
use std::io;

/// One snapshot, as `ls --json` prints it.
#[derive(Serialize)]
struct Row {
    name: String,
    tag: String,
    /// Digest of the first variant; `size` and `allocated` are sums over all.
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

/// A tag of a store, or a pulled image.
struct Entry {
    name: String,
    tag: String,
    variants: Result<Vec<Digest>, StoreError>,
}

/// Lists the snapshots that `snaprun NAME` finds: a tag in an earlier store hides the same tag in a later one.
pub(crate) fn ls(stores: &Stores, json: bool, failures: &mut Failures) -> io::Result<()> {
    let mut rows = BTreeMap::new();
    for store in stores.iter() {
        for entry in entries(store, failures) {
            let key = (entry.name.clone(), entry.tag.clone());
            if let Slot::Vacant(slot) = rows.entry(key) {
                let name = format!("{}:{}", entry.name, entry.tag);
                slot.insert(describe(store, entry).map_err(|error| failures.add(name, error)).ok());
            }
        }
    }
    let rows: Vec<Row> = rows.into_values().flatten().collect();
    match json {
        true => print(&format!("{}\n", serde_json::to_string_pretty(&rows)?)),
        false => print(&text(&rows)),
    }
}

/// Tags and pulled images of a store.
fn entries(store: &Store, failures: &mut Failures) -> Vec<Entry> {
    let mut all = Vec::new();
    match store.refs() {
        Ok(refs) => all.extend(refs.into_iter().map(|entry| Entry {
            name: entry.reference.name.to_string(),
            tag: entry.reference.tag.to_string(),
            variants: entry.digest.map(|_| entry.variants),
        })),
        Err(error) => failures.add(store.root().display(), error),
    }
    let pulled = store.pulled_images().unwrap_or_else(|error| {
        failures.add(store.root().display(), error);
        Vec::new()
    });
    all.extend(pulled.into_iter().map(|entry| Entry {
        name: entry.image.name(),
        tag: entry.image.target().to_string(),
        variants: entry.variants,
    }));
    all
}

/// `inspect NAME`.
pub(crate) fn inspect(stores: &Stores, name: &OsStr, json: bool, failures: &mut Failures) -> io::Result<()> {
    let reference = match Ref::parse(name) {
        Ok(reference) => reference,
        Err(error) => {
            failures.usage(name, error);
            return Ok(());
        }
    };
    let row = stores.resolve(&reference).map_err(|error| error.to_string()).and_then(|found| {
        let (name, tag) = (reference.name.to_string(), reference.tag.to_string());
        describe(&found.store, Entry { name, tag, variants: stores.variants(&reference) })
    });
    match row {
        Ok(row) if json => print(&format!("{}\n", serde_json::to_string_pretty(&row)?)),
        Ok(row) => print(&details(stores, &row)),
        Err(error) => {
            failures.add(&reference, error);
            Ok(())
        }
    }
}

fn details(stores: &Stores, row: &Row) -> String {
    let mut out = format!("{}:{}\n  store     {}\n", row.name, row.tag, row.store);
    // Writing to a String cannot fail.
    let _ = writeln!(out, "  program   {}", printable(row.program.as_deref().unwrap_or("-")));
    let _ = writeln!(out, "  created   {}", row.created.as_deref().unwrap_or("-"));
    for variant in &row.variants {
        let _ = writeln!(out, "  snapshot  {variant}");
    }
    let _ = writeln!(out, "  size      {} ({} on disk)", size(row.size), size(row.allocated));
    let header = ["NEEDS", "DIGEST", "SIZE"].map(String::from).to_vec();
    let lines = row.files.iter().map(|file| {
        let kind = Kind::ALL.into_iter().find(|kind| kind.dir() == file.kind);
        let digest = Digest::from_hex(file.digest.as_bytes());
        let found = kind.zip(digest).and_then(|(kind, digest)| stores.locate(kind, digest).ok());
        let found = found.map_or_else(|| "missing".to_string(), |(_, blob)| size(blob.size));
        vec![file.kind.to_string(), file.digest.clone(), found]
    });
    out.push_str(&table(&std::iter::once(header).chain(lines).collect::<Vec<_>>(), &[2]));
    out
}

fn describe(store: &Store, entry: Entry) -> Result<Row, String> {
    let variants = entry.variants.map_err(|error| error.to_string())?;
    let (mut size, mut allocated, mut summary, mut files) = (0, 0, None, BTreeSet::new());
    for &digest in &variants {
        let blob = store.blob(Kind::Snap, digest).map_err(|error| error.to_string())?;
        let blob = blob.ok_or_else(|| StoreError::Missing { kind: Kind::Snap, digest }.to_string())?;
        let file = store.open(Kind::Snap, digest).map_err(|error| error.to_string())?;
        let one =
            summarize(&file).map_err(|error| format!("{}: {error}; make the snapshot again", blob.path.display()))?;
        size += blob.size;
        allocated += blob.allocated;
        files.extend(one.files.iter().copied());
        summary.get_or_insert((digest, one));
    }
    let Some((first, Summary { program, created, .. })) = summary else { return Err("has no snapshot".to_owned()) };
    Ok(Row {
        name: entry.name,
        tag: entry.tag,
        digest: first.to_string(),
        variants: variants.iter().map(ToString::to_string).collect(),
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
pub(crate) fn tags(stores: &Stores, name: &OsStr, json: bool, failures: &mut Failures) -> io::Result<()> {
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
    if json {
        let tags: Vec<String> = found.iter().map(ToString::to_string).collect();
        return print(&format!("{}\n", serde_json::to_string(&tags)?));
    }
    print(&found.iter().map(|tag| format!("{tag}\n")).collect::<String>())
}
