//! What `create` prints of the snapshot that it has made: for people, and as JSON.

use super::notices::{dontdump, how_to_start, uncalled};
use super::start::Started;
use crate::dump::{Dumped, Scrubbed};
use crate::pin::Cpu;
use crate::{print, prng};
use anyhow::Result;
use snapfn_store::{BlobWriter, Digest, Stored};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// So many notes are printed without `--verbose`.
const NOTES: usize = 3;

/// A file that waits for its name, and what is to be said of it.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) file: BlobWriter,
    pub(super) about: About,
}

/// What is to be said of one snapshot.
#[derive(Debug)]
pub(super) struct About {
    point: String,
    spawn_to_point: Duration,
    /// Missing if no instance was prepared.
    spawn_to_jump: Option<Duration>,
    ops: usize,
    patches: usize,
    data_pages: u64,
    code_pages: u64,
    has_wx: bool,
    writable_code: u64,
    dontdump: u64,
    scrubbed: Scrubbed,
    /// The most important first.
    notes: Vec<String>,
    /// Notes for a snapshot that starts on other CPUs, too.
    own_dispatch: Vec<String>,
}

impl Made {
    /// Of a snapshot of `started`.
    pub(super) fn new(dumped: Dumped, started: &Started, spawn_to_jump: Option<Duration>) -> Self {
        let untried = "no snaprun is beside this program or in PATH: no instance was prepared, so what stands in the way \
                       of a start is not known";
        let generators = prng::warnings(dumped.files.iter().map(AsRef::as_ref), dumped.hooks);
        let writable = (dumped.writable_code > 0).then(|| {
            format!("{} KiB of memory are writable and executable, as in the program", dumped.writable_code / 1024)
        });
        let mut notes = dumped.shipped;
        notes.extend(spawn_to_jump.is_none().then(|| untried.to_owned()));
        notes.extend(dumped.lost);
        notes.extend(dumped.variables);
        notes.extend(generators.into_iter().map(|(file, warning)| format!("{file}: {warning}")));
        notes.extend(dumped.looks_up_itself.then(|| {
            "the program names /proc/self/exe, which is snaprun in an instance unless its starter has \
             CAP_CHECKPOINT_RESTORE"
                .to_owned()
        }));
        notes.extend(dumped.kept);
        notes.extend(started.notes.iter().cloned());
        notes.extend(dontdump(dumped.dontdump));
        notes.extend(uncalled(dumped.uncalled));
        notes.extend(writable);
        let own_dispatch = dumped.own_dispatch.iter().map(|(path, how)| {
            let remedy = if how.is_empty() { String::new() } else { format!("; {how} does") };
            format!("{} reads the CPU's features by itself, which --cpu does not change{remedy}", path.display())
        });
        let about = About {
            point: started.point.to_string(),
            spawn_to_point: started.spawn_to_point,
            spawn_to_jump,
            ops: dumped.ops,
            patches: dumped.patches,
            data_pages: dumped.data_pages,
            code_pages: dumped.code_pages,
            has_wx: dumped.has_wx,
            writable_code: dumped.writable_code,
            dontdump: dumped.dontdump,
            scrubbed: dumped.scrubbed,
            notes,
            own_dispatch: own_dispatch.collect(),
        };
        Made { file: dumped.file, about }
    }
}

/// What `create` has done.
#[derive(Debug)]
pub(super) struct Outcome<'a> {
    pub(super) name: Option<String>,
    pub(super) file: &'a Path,
    /// The file is one of the user's own (`--output`).
    pub(super) is_outside: bool,
    pub(super) is_shared: bool,
    pub(super) stored: &'a [Stored],
    pub(super) made: &'a [About],
    /// Snapshots that the name stood for before and no longer stands for.
    pub(super) replaced: &'a [Digest],
    pub(super) cpu: Cpu,
}

impl Outcome<'_> {
    /// Prints it.
    pub(super) fn print(&self, json: bool, verbose: bool) -> Result<()> {
        let (Some(stored), Some(about)) = (self.stored.first(), self.made.first()) else { return Ok(()) };
        if json {
            print::out(self.json(stored, about))?;
            return Ok(());
        }
        let mut notes = self.notes(about);
        let all = notes.len();
        let shown = if verbose { all } else { NOTES };
        notes.truncate(shown);
        for note in &notes {
            print::err(format_args!("note: {note}"));
        }
        if all > shown {
            let more = all - shown;
            let noun = if more == 1 { "note" } else { "notes" };
            print::err(format_args!("{more} more {noun} (create -v prints all of them)"));
        }
        self.text(about)
    }

    fn notes(&self, about: &About) -> Vec<String> {
        let dispatch = if self.cpu == Cpu::Native { &[][..] } else { &about.own_dispatch };
        about.notes.iter().chain(dispatch).cloned().collect()
    }

    fn next(&self, about: &About) -> String {
        let name = self.name.clone().unwrap_or_else(|| startable(self.file));
        how_to_start(&name, about.has_wx)
    }

    fn text(&self, about: &About) -> Result<()> {
        let name = self.name.clone().unwrap_or_else(|| self.file.display().to_string());
        for (About { data_pages, code_pages, ops, .. }, Stored { size, .. }) in self.made.iter().zip(self.stored) {
            print::out(format_args!(
                "{name}: {data_pages} pages in the snapshot, {code_pages} mapped from code segment files, {ops} \
                 operations, {} KiB",
                size.div_ceil(1024)
            ))?;
        }
        let to_point = Milliseconds(about.spawn_to_point);
        print::out(match about.spawn_to_jump {
            None => format!("point: {}, {to_point} ms after the spawn of the program", about.point),
            Some(time) => format!(
                "point: {}, {to_point} ms after the spawn of the program; an instance reaches it {} ms after its own spawn",
                about.point,
                Milliseconds(time)
            ),
        })?;
        if about.spawn_to_jump.is_some() {
            print::out(self.scope())?;
        }
        if let Some(line) = left_out(&about.scrubbed) {
            print::out(line)?;
        }
        for digest in self.replaced {
            print::out(format_args!("replaced: {name} was {digest}"))?;
        }
        print::out(self.next(about))?;
        Ok(())
    }

    /// For whom the proof holds.
    fn scope(&self) -> String {
        let mut text = format!("tried: one instance was prepared here, by user {}", nix::unistd::geteuid());
        if self.is_shared {
            text += "; other users start it with their own rights";
        }
        if self.is_outside {
            text += "; other hosts: snapshotter check FILE";
        }
        text
    }

    fn json(&self, stored: &Stored, about: &About) -> serde_json::Value {
        let micro = |time: Duration| time.as_secs_f64() * 1e6;
        serde_json::json!({
            "name": self.name,
            "digest": stored.digest.to_string(),
            "file": self.file,
            "size": stored.size,
            "operations": about.ops,
            "patches": about.patches,
            "snapshot_pages": about.data_pages,
            "code_pages": about.code_pages,
            "scrubbed": about.scrubbed.names,
            "zeroed_copies": about.scrubbed.copies,
            "variants": self.stored.iter().map(|stored| stored.digest.to_string()).collect::<Vec<_>>(),
            "cpu_level": self.cpu.level(),
            "writable_code": about.writable_code,
            "dontdump": about.dontdump,
            "point": about.point,
            "spawn_to_point_us": micro(about.spawn_to_point),
            "spawn_to_jump_us": about.spawn_to_jump.map(micro),
            "proved_by_user": about.spawn_to_jump.map(|_| nix::unistd::geteuid().as_raw()),
            "replaced": self.replaced.iter().map(Digest::to_string).collect::<Vec<_>>(),
            "notes": self.notes(about),
            "next": self.next(about),
        })
    }
}

/// What was left out, and what has become of copies.
fn left_out(Scrubbed { names, copies }: &Scrubbed) -> Option<String> {
    let names: Vec<&str> = names.keys().map(String::as_str).collect();
    let line = format!("left out: the values of {}", names.join(", "));
    (!names.is_empty()).then(|| match places(copies) {
        Some(places) => format!("{line}, and {places}"),
        None => line,
    })
}

fn places(copies: &BTreeMap<String, u64>) -> Option<String> {
    let total: u64 = copies.values().sum();
    let places: Vec<String> = copies.iter().map(|(place, count)| format!("{count} in {place}")).collect();
    let noun = if total == 1 {
        "copy that the program had made, which is"
    } else {
        "copies that the program had made, which are"
    };
    (total > 0).then(|| format!("{total} {noun} zeros: {}", places.join(", ")))
}

/// How `snaprun` is given a file, whatever its name.
fn startable(file: &Path) -> String {
    let is_path = file.components().count() > 1 || file.extension().is_some_and(|extension| extension == "snap");
    if is_path { file.display().to_string() } else { format!("./{}", file.display()) }
}

/// With two decimals.
struct Milliseconds(Duration);

impl std::fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2}", self.0.as_secs_f64() * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_counted_by_place() {
        let mut scrubbed = Scrubbed::default();
        assert_eq!(left_out(&scrubbed), None);
        scrubbed.names.insert("A_TOKEN".into(), 1);
        assert_eq!(left_out(&scrubbed).unwrap(), "left out: the values of A_TOKEN");
        scrubbed.copies.insert("the heap".into(), 2);
        scrubbed.copies.insert("the stack".into(), 1);
        assert_eq!(
            left_out(&scrubbed).unwrap(),
            "left out: the values of A_TOKEN, and 3 copies that the program had made, which are zeros: 2 in the heap, 1 in \
             the stack"
        );
    }
}
