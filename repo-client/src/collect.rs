//! `rm` and `gc`: both change the writable store only.

use crate::access;
use crate::output::{Failures, counted, print, size};
use snapfn_store::{Image, Ref, Store, StoreError, Stores, collect, summarize};
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::io;

/// Removes tags. All names are checked before the first is removed.
pub(crate) fn rm(stores: &Stores, names: &[OsString], failures: &mut Failures) -> io::Result<()> {
    let mut references = Vec::new();
    for name in names {
        match Ref::parse(name) {
            Ok(reference) => references.push(reference),
            Err(error) => failures.usage(name, error),
        }
    }
    if failures.wrong_usage() {
        return Ok(());
    }
    for reference in references {
        let removed = stores.writable().and_then(|store| store.remove_ref(&reference).map(|there| (store, there)));
        match removed {
            Ok((_, true)) => (),
            Ok((store, false)) => failures.add(&reference, absent(store, stores, &reference)),
            Err(error) => failures.add(&reference, error),
        }
    }
    Ok(())
}

/// Forgets that an image was pulled.
pub(crate) fn rm_pulled(stores: &Stores, name: &OsStr, failures: &mut Failures) -> io::Result<()> {
    let Some(config) = access::config(failures) else { return Ok(()) };
    let Some(reference) = access::reference(&config, name, failures) else { return Ok(()) };
    let image = match Image::parse(&reference.to_string()) {
        Ok(image) => image,
        Err(error) => {
            failures.usage(name, error);
            return Ok(());
        }
    };
    match stores.writable().and_then(|store| store.remove_pulled(&image)) {
        Ok(true) => (),
        Ok(false) => failures.add(&image, "was not pulled into the writable store; see `snaprepo ls`"),
        Err(error) => failures.add(&image, error),
    }
    Ok(())
}

/// Why a tag that is not in the writable store cannot be removed.
fn absent(store: &Store, stores: &Stores, reference: &Ref) -> String {
    if let Ok(found) = stores.resolve(reference) {
        return format!(
            "is in {}, which is not the writable store; put it first in SNAPFN_STORE",
            found.store.root().display()
        );
    }
    let tags = store.tags(&reference.name).unwrap_or_default();
    let tags: Vec<String> = tags.into_iter().map(|entry| entry.reference.tag.to_string()).collect();
    match tags.is_empty() {
        true => format!("no such snapshot in {}; `snaprepo ls` shows what there is", store.root().display()),
        false => format!("no such tag in {}; there is {}", store.root().display(), tags.join(", ")),
    }
}

/// Collects garbage.
pub(crate) fn gc(stores: &Stores, dry_run: bool, failures: &mut Failures) -> io::Result<()> {
    let report = stores.writable().and_then(|store| collect(store, &summarize, dry_run));
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            failures.add("gc", with_remedy(error));
            return Ok(());
        }
    };
    let mut text = String::new();
    if dry_run {
        for garbage in &report.garbage {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}", garbage.path.display());
        }
    }
    let verb = if dry_run { "would delete" } else { "deleted" };
    let files = counted(report.garbage.len(), "file");
    let _ = writeln!(text, "{verb} {files} ({}), kept {}", size(report.freed()), report.kept);
    print(&text)
}

/// Names the command that removes the tag, if a tag is in the way.
fn with_remedy(error: StoreError) -> String {
    match error {
        StoreError::Unreadable { .. } => {
            format!("{error} (`snaprepo verify --all` names the tags)")
        }
        other => other.to_string(),
    }
}
