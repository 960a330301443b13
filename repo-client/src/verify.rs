//! `verify`: compares the files in the store with the digests in their names.

use crate::output::{Failures, counted, print, size};
use indicatif::{ProgressBar, ProgressStyle};
use snapfn_store::{Blob, Damage, Digest, Kind, NameError, Store, StoreError, Stores, Target, open_file, summarize};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// A file that must be read, with the reason.
struct Task {
    store: Store,
    blob: Blob,
    /// The name that needs it; `None` if no name does.
    needed_by: Option<String>,
}

/// The files that must be read, each once.
#[derive(Default)]
struct Tasks(BTreeMap<PathBuf, Task>);

impl Tasks {
    fn add(&mut self, store: &Store, blob: Blob, needed_by: Option<&str>) {
        let task = || Task { store: store.clone(), blob: blob.clone(), needed_by: needed_by.map(String::from) };
        self.0.entry(blob.path.clone()).or_insert_with(task);
    }
}

/// Checks the named snapshots, or everything when none is named; every failure is reported.
pub(crate) fn run(stores: &Stores, names: &[OsString], failures: &mut Failures) -> io::Result<()> {
    let mut tasks = Tasks::default();
    match names.is_empty() {
        true => plan_all(stores, &mut tasks, failures),
        false => plan_named(stores, names, &mut tasks, failures),
    }
    if failures.wrong_usage() {
        return Ok(());
    }
    for (path, mode) in stores.iter().flat_map(Store::writable_directories) {
        let why = format!("others may exchange files in it (mode {mode:04o}); remove their right to write to it");
        failures.add(path.display(), why);
    }
    let total: u64 = tasks.0.values().map(|task| task.blob.size).sum();
    let bar = progress_bar(total);
    for task in tasks.0.values() {
        let outcome = task.store.verify(&task.blob, &mut |bytes| bar.inc(bytes));
        let subject = || task.needed_by.clone().unwrap_or_else(|| task.store.root().display().to_string());
        let complaint = match outcome {
            Ok(()) => continue,
            // Collected as garbage since it was listed.
            Err(Damage::Store(StoreError::Missing { .. })) if task.needed_by.is_none() => continue,
            Err(damage @ Damage::Content { .. }) => format!("{} {damage}", task.blob.path.display()),
            Err(Damage::Store(error)) => error.to_string(),
        };
        bar.suspend(|| failures.add(subject(), complaint));
    }
    bar.finish_and_clear();
    let verdict = match failures.count() {
        0 => "all sound".to_string(),
        count => counted(count, "failure"),
    };
    print(&format!("checked {} ({}): {verdict}\n", counted(tasks.0.len(), "file"), size(total)))
}

fn plan_all(stores: &Stores, tasks: &mut Tasks, failures: &mut Failures) {
    for store in stores.iter() {
        match store.refs() {
            Ok(refs) => {
                for entry in refs {
                    let name = entry.reference.to_string();
                    match entry.digest {
                        Ok(_) => plan_variants(stores, store, &entry.variants, &name, tasks, failures),
                        Err(error) => failures.add(name, error),
                    }
                }
            }
            Err(error) => failures.add(store.root().display(), error),
        }
        match store.pulled_images() {
            Ok(images) => {
                for entry in images {
                    let name = entry.image.to_string();
                    match entry.variants {
                        Ok(variants) => plan_variants(stores, store, &variants, &name, tasks, failures),
                        Err(error) => failures.add(name, error),
                    }
                }
            }
            Err(error) => failures.add(store.root().display(), error),
        }
    }
    // These come after the needed files: a file is reported under the first name that it was planned for.
    for store in stores.iter() {
        for kind in Kind::ALL {
            let digests = store.digests(kind).unwrap_or_else(|error| {
                failures.add(store.root().display(), error);
                Vec::new()
            });
            for digest in digests {
                match store.blob(kind, digest) {
                    Ok(Some(blob)) => tasks.add(store, blob, None),
                    Ok(None) => (),
                    Err(error) => failures.add(store.root().display(), error),
                }
            }
        }
    }
}

fn plan_named(stores: &Stores, names: &[OsString], tasks: &mut Tasks, failures: &mut Failures) {
    for name in names {
        match Target::parse(name) {
            Ok(Target::Local(reference)) => match stores.resolve(&reference) {
                Ok(found) => {
                    let name = reference.to_string();
                    match found.store.variants(&reference) {
                        Ok(variants) => {
                            let variants = variants.unwrap_or_default();
                            plan_variants(stores, &found.store, &variants, &name, tasks, failures);
                        }
                        Err(error) => failures.add(&reference, error),
                    }
                }
                Err(error) => failures.add(&reference, error),
            },
            Ok(Target::File(path)) => plan_file(stores, &path, tasks, failures),
            Ok(Target::Registry(_)) => {
                failures.usage(name, "only the local store can be verified; a file is written ./… or /…")
            }
            Err::<_, NameError>(error) => failures.usage(name, error),
        }
    }
}

fn plan_variants(
    stores: &Stores,
    store: &Store,
    variants: &[Digest],
    name: &str,
    tasks: &mut Tasks,
    failures: &mut Failures,
) {
    for digest in variants {
        plan_stored(stores, store, *digest, name, tasks, failures);
    }
}

/// Plans to read a snapshot of `store` and all files that it needs.
fn plan_stored(stores: &Stores, store: &Store, digest: Digest, name: &str, tasks: &mut Tasks, failures: &mut Failures) {
    match store.blob(Kind::Snap, digest) {
        Ok(Some(blob)) => tasks.add(store, blob, Some(name)),
        Ok(None) => return failures.add(name, StoreError::Missing { kind: Kind::Snap, digest }),
        Err(error) => return failures.add(name, error),
    }
    match store.open(Kind::Snap, digest) {
        Ok(file) => plan_needed(stores, &file, &store.path(Kind::Snap, digest), name, tasks, failures),
        Err(error) => failures.add(name, error),
    }
}

/// A snapshot file has no digest in its name: its header and plan are checked, and what it needs is read.
fn plan_file(stores: &Stores, path: &Path, tasks: &mut Tasks, failures: &mut Failures) {
    let name = path.display().to_string();
    match open_file(path) {
        Ok(file) => plan_needed(stores, &file, path, &name, tasks, failures),
        Err(error) => failures.add(name, error),
    }
}

fn plan_needed(stores: &Stores, snapshot: &File, path: &Path, name: &str, tasks: &mut Tasks, failures: &mut Failures) {
    let files = match summarize(snapshot) {
        Ok(summary) => summary.files,
        Err(error) => return failures.add(name, format!("{}: {error}; make the snapshot again", path.display())),
    };
    for (kind, digest) in files {
        match stores.locate(kind, digest) {
            Ok((store, blob)) => tasks.add(store, blob, Some(name)),
            Err(error) => failures.add(name, error),
        }
    }
}

/// The bar on stderr, only if that is a terminal. It has no colours, so no option switches them off.
fn progress_bar(total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    // The template is a constant that parses. Otherwise the default style stays.
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {binary_bytes}/{binary_total_bytes} {eta}") {
        bar.set_style(style);
    }
    bar
}
