//! What lies in a registry: `tags REF`, `inspect REF`, `rm REF`.

use crate::output::{Failures, counted, print, printable, size, table};
use crate::signing::{Access, connect};
use serde_json::json;
use snapfn_registry::{Client, Reference};
use snapfn_repo::{Config, Inspected, Removed};
use std::ffi::OsStr;
use std::fmt::Write;
use std::io;

/// `tags REF`: without a tag, all of the repository's.
pub(crate) fn tags(name: &OsStr, access: &Access, failures: &mut Failures) -> io::Result<()> {
    if name.to_string_lossy().rsplit('/').next().is_some_and(|last| last.contains([':', '@'])) {
        failures.usage(name, "give the repository without a tag");
        return Ok(());
    }
    let Some((client, reference)) = open(name, access, failures) else { return Ok(()) };
    match client.tags(&reference.repository) {
        Ok(tags) if access.json => print(&format!("{}\n", json!(tags))),
        Ok(tags) => print(&tags.iter().map(|tag| format!("{tag}\n")).collect::<String>()),
        Err(error) => {
            failures.add(name.to_string_lossy(), error);
            Ok(())
        }
    }
}

/// `rm REF`: removes it from the registry.
pub(crate) fn rm(name: &OsStr, access: &Access, failures: &mut Failures) -> io::Result<()> {
    let Some((client, reference)) = open(name, access, failures) else { return Ok(()) };
    match snapfn_repo::remove(&client, &reference) {
        Ok(Removed::Tag) => print(&format!("removed the tag {reference}\n")),
        Ok(Removed::Manifest(digest)) => {
            print(&format!("removed {}/{}@{digest}\n", reference.registry, reference.repository))
        }
        Err(error) => {
            failures.add(&reference, error);
            Ok(())
        }
    }
}

/// `inspect REF`.
pub(crate) fn inspect(name: &OsStr, access: &Access, failures: &mut Failures) -> io::Result<()> {
    let Some((client, reference)) = open(name, access, failures) else { return Ok(()) };
    match snapfn_repo::inspect(&client, &reference) {
        Ok(inspected) if access.json => print(&format!("{}\n", serde_json::to_string_pretty(&inspected)?)),
        Ok(inspected) => print(&text(&inspected)),
        Err(error) => {
            failures.add(&reference, error);
            Ok(())
        }
    }
}

fn open(name: &OsStr, access: &Access, failures: &mut Failures) -> Option<(Client, Reference)> {
    let config = Config::load().map_err(|error| failures.add("configuration", error)).ok()?;
    connect(&config, name, access, failures)
}

fn text(image: &Inspected) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{}", image.reference);
    let _ = writeln!(out, "  digest    {}", image.digest);
    let _ = writeln!(out, "  platform  {}/{}", printable(&image.os), printable(&image.architecture));
    let _ = writeln!(out, "  layers    {} ({})", counted(image.layers.len(), "layer"), size(image.size));
    if let Some(command) = image.entrypoint.as_ref().filter(|command| !command.is_empty()) {
        let _ = writeln!(out, "  runs      {}", printable(&command.join(" ")));
    }
    if image.snapshot.is_empty() {
        out.push_str("  holds no snapshot of this program\n");
    }
    for (name, value) in &image.snapshot {
        // Long ones, such as the list of parts, are for programs: --json.
        let value: String = printable(value).chars().take(100).collect();
        let _ = writeln!(out, "  {}  {value}", printable(name));
    }
    let header = ["LAYER", "SIZE", "TYPE", "HOLDS"].map(String::from).to_vec();
    let lines = image.layers.iter().map(|layer| {
        let digest = layer.digest.strip_prefix("sha256:").unwrap_or(&layer.digest);
        let kind = layer.media_type.rsplit('.').next().unwrap_or_default();
        let holds = layer.annotations.get("dev.snapfn.layer").map_or("-", String::as_str);
        vec![printable(digest.get(..12).unwrap_or(digest)), size(layer.size), printable(kind), printable(holds)]
    });
    out.push_str(&table(&std::iter::once(header).chain(lines).collect::<Vec<_>>(), &[1]));
    out
}
