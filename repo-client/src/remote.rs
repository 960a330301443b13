//! Commands for images in a registry: `tags REF`, `inspect REF`, `rm REF`.

use crate::access::{self, Access};
use crate::output::{Failures, counted, print, printable, rfc3339, size, table};
use serde_json::json;
use snapfn_distribution::{Inspected, Needs, Removed};
use snapfn_registry::{Client, Reference};
use std::ffi::OsStr;
use std::fmt::Write;
use std::io;
use std::time::{Duration, UNIX_EPOCH};

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
    match snapfn_distribution::remove(&client, &reference) {
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
    match snapfn_distribution::inspect(&client, &reference) {
        Ok(inspected) if access.json => print(&format!("{}\n", serde_json::to_string_pretty(&inspected)?)),
        Ok(inspected) => print(&text(&inspected)),
        Err(error) => {
            failures.add(&reference, error);
            Ok(())
        }
    }
}

fn open(name: &OsStr, access: &Access, failures: &mut Failures) -> Option<(Client, Reference)> {
    access.connect(&access::config(failures)?, name, failures)
}

fn text(image: &Inspected) -> String {
    let mut out = format!("{}\n", image.reference);
    // Writing to a String cannot fail.
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(out, "  {name:9} {}", printable(value));
    };
    line("digest", &image.digest);
    line("platform", &format!("{}/{}", image.os, image.architecture));
    let base = image.layers.iter().filter(|layer| layer.kind == Some("base")).count();
    let below = if base > 0 { format!(", {base} of them of a base") } else { String::new() };
    line("size", &format!("{} in {}{below}", size(image.size), counted(image.layers.len(), "layer")));
    if let Some(command) = image.entrypoint.as_ref().filter(|command| !command.is_empty()) {
        line("runs", &command.join(" "));
    }
    match &image.signatures[..] {
        [] => line("signed", "no"),
        some => {
            let keys: Vec<_> = some.iter().map(|signature| signature.key.as_deref().unwrap_or("unknown")).collect();
            line("signed", &format!("by key {} (claimed; `snaprepo verify` checks it)", keys.join(", ")));
        }
    }
    if let Some(init) = &image.init {
        line("init", &format!("{}, {} to fetch with pull --init", size(init.size), size(init.layer_size)));
    }
    let mut needs: Vec<String> = image.snapshots.iter().map(|snapshot| needs(&snapshot.needs)).collect();
    needs.dedup();
    for text in needs {
        line("needs", &text);
    }
    if image.snapshots.iter().any(|snapshot| snapshot.wx) {
        line("memory", "writable and executable at once, --allow-wx pulls and starts it");
    }
    match image.snapshots.is_empty() {
        true => out.push_str("  holds no snapshot of this program\n"),
        false => out.push_str(&snapshots(image)),
    }
    out.push_str(&layers(image));
    out
}

fn needs(needs: &Needs) -> String {
    let mut text = format!("{}, {} pages", needs.arch, size(needs.page_size));
    // Writing to a String cannot fail.
    let _ = match &needs.kernel {
        Some(kernel) => write!(text, ", Linux {kernel}, x86-64-v{}", needs.cpu_level),
        None => write!(text, "; what else, it does not say"),
    };
    for feature in &needs.cpu_features {
        let _ = write!(text, " {feature}");
    }
    text
}

fn snapshots(image: &Inspected) -> String {
    let header = ["SNAPSHOT", "DIGEST", "SIZE", "PARTS", "CREATED", "PROGRAM"].map(String::from).to_vec();
    let lines = image.snapshots.iter().map(|snapshot| {
        let created = snapshot.created.and_then(|at| rfc3339(UNIX_EPOCH.checked_add(Duration::from_secs(at))?));
        vec![
            printable(&snapshot.name),
            short(&snapshot.digest),
            size(snapshot.size),
            snapshot.parts.to_string(),
            created.map_or("-".to_owned(), |time| time.replace('T', " ")),
            printable(snapshot.program.as_deref().unwrap_or("-")),
        ]
    });
    table(&std::iter::once(header).chain(lines).collect::<Vec<_>>(), &[2, 3])
}

fn layers(image: &Inspected) -> String {
    let header = ["LAYER", "SIZE", "TYPE", "HOLDS"].map(String::from).to_vec();
    let lines = image.layers.iter().map(|layer| {
        let kind = layer.media_type.rsplit('.').next().unwrap_or_default();
        vec![short(&layer.digest), size(layer.size), printable(kind), layer.kind.unwrap_or("-").to_owned()]
    });
    table(&std::iter::once(header).chain(lines).collect::<Vec<_>>(), &[1])
}

/// The beginning of a digest, enough to recognise it.
fn short(digest: &str) -> String {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    printable(hex.get(..12).unwrap_or(hex))
}
