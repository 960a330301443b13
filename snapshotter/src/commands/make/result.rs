//! What `create` prints of the snapshot that it has made: for people, and as JSON.

use super::measure::{Measured, RUNS, Times};
use super::notices::{dontdump, how_to_start, uncalled};
use super::start::Started;
use crate::dump::{Dumped, Scrubbed};
use crate::pin::Cpu;
use crate::{print, prng};
use anyhow::Result;
use snapfn_format::PAGE;
use snapfn_format::snap::{AT_MAIN, OP_MAP_FILE, Plan, is_wx};
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

const UNTRIED: &str = "no snaprun is beside this program or in PATH: no instance was prepared, so what stands in the \
                       way of a start is not known";

/// What is to be said of one snapshot.
#[derive(Debug)]
pub(super) struct About {
    point: String,
    /// Missing if the program has not run.
    spawn_to_point: Option<Duration>,
    /// Missing if no instance was prepared.
    spawn_to_jump: Option<Duration>,
    ops: usize,
    patches: usize,
    data_pages: u64,
    code_pages: u64,
    pub(super) has_wx: bool,
    writable_code: u64,
    dontdump: u64,
    scrubbed: Scrubbed,
    /// What was decided before the point, a phrase each.
    decided: Vec<String>,
    /// The most important first.
    notes: Vec<String>,
    /// Notes for a snapshot that starts on other CPUs, too.
    own_dispatch: Vec<String>,
}

impl Made {
    /// Of a snapshot of `started`.
    pub(super) fn new(dumped: Dumped, started: &Started, spawn_to_jump: Option<Duration>) -> Self {
        let generators = prng::warnings(dumped.files.iter().map(AsRef::as_ref), dumped.hooks);
        let writable = (dumped.writable_code > 0).then(|| {
            format!("{} KiB of memory are writable and executable, as in the program", dumped.writable_code / 1024)
        });
        let mut notes = dumped.shipped;
        notes.extend(spawn_to_jump.is_none().then(|| UNTRIED.to_owned()));
        notes.extend(dumped.lost);
        notes.extend(dumped.kept);
        notes.extend(dumped.variables);
        notes.extend(generators.into_iter().map(|(file, warning)| format!("{file}: {warning}")));
        notes.extend(dumped.looks_up_itself.then(|| {
            "the program names /proc/self/exe, which is snaprun in an instance unless its starter has \
             CAP_CHECKPOINT_RESTORE"
                .to_owned()
        }));
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
            spawn_to_point: Some(started.spawn_to_point),
            spawn_to_jump,
            ops: dumped.ops,
            patches: dumped.patches,
            data_pages: dumped.data_pages,
            code_pages: dumped.code_pages,
            has_wx: dumped.has_wx,
            writable_code: dumped.writable_code,
            dontdump: dumped.dontdump,
            scrubbed: dumped.scrubbed,
            decided: dumped.decided,
            notes,
            own_dispatch: own_dispatch.collect(),
        };
        Made { file: dumped.file, about }
    }

    /// Of a snapshot with this plan, made of an exported init data file.
    pub(super) fn deserialized(file: BlobWriter, plan: &Plan<'_>, spawn_to_jump: Option<Duration>) -> Self {
        let pages = |len: u64| len / PAGE;
        let code = plan.ops.iter().filter(|op| op.kind == OP_MAP_FILE && op.file != 0);
        let about = About {
            point: if plan.header.process.at == AT_MAIN { "main" } else { "ready" }.to_owned(),
            spawn_to_point: None,
            spawn_to_jump,
            ops: plan.ops.len(),
            patches: plan.patches.len(),
            data_pages: snapfn_format::init::Stored::of(plan).map(|stored| pages(stored.len)).sum(),
            code_pages: code.map(|op| pages(op.len)).sum(),
            has_wx: plan.header.has_wx(),
            writable_code: plan.ops.iter().filter(|op| is_wx(op)).map(|op| op.len).sum(),
            dontdump: 0,
            scrubbed: Scrubbed::default(),
            decided: Vec::new(),
            notes: spawn_to_jump.is_none().then(|| UNTRIED.to_owned()).into_iter().collect(),
            own_dispatch: Vec::new(),
        };
        Made { file, about }
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
    /// By --measure.
    pub(super) measured: Option<Measured>,
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
        let measured = self.measured.as_ref().map(remarks).unwrap_or_default();
        measured.iter().chain(&about.notes).chain(dispatch).cloned().collect()
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
        let mut line = match about.spawn_to_point {
            Some(time) => format!("point: {}, {} ms after the spawn of the program", about.point, Milliseconds(time)),
            None => format!("point: {}, as it was exported; the program did not run", about.point),
        };
        if let Some(time) = about.spawn_to_jump {
            line += &format!("; an instance reaches it {} ms after its own spawn", Milliseconds(time));
        }
        print::out(line)?;
        if about.spawn_to_jump.is_some() {
            print::out(self.scope())?;
        }
        if let Some(line) = left_out(&about.scrubbed) {
            print::out(line)?;
        }
        if !about.decided.is_empty() {
            let decided = about.decided.join("; ");
            print::out(format_args!("decided before the point, unless the program looks again: {decided}"))?;
        }
        if let Some(measured) = &self.measured {
            print::out(measured)?;
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
            "decided": about.decided,
            "variants": self.stored.iter().map(|stored| stored.digest.to_string()).collect::<Vec<_>>(),
            "cpu_level": self.cpu.level(),
            "writable_code": about.writable_code,
            "dontdump": about.dontdump,
            "point": about.point,
            "spawn_to_point_us": about.spawn_to_point.map(micro),
            "spawn_to_jump_us": about.spawn_to_jump.map(micro),
            "proved_by_user": about.spawn_to_jump.map(|_| nix::unistd::geteuid().as_raw()),
            "measured": self.measured.as_ref().map(|Measured { ordinary, instance }| serde_json::json!({
                "runs": RUNS,
                "ordinary": times(ordinary),
                "instance": times(instance),
            })),
            "replaced": self.replaced.iter().map(Digest::to_string).collect::<Vec<_>>(),
            "notes": self.notes(about),
            "next": self.next(about),
        })
    }
}

/// What is wrong with what was measured.
fn remarks(measured: &Measured) -> Vec<String> {
    let Measured { ordinary, instance } = measured;
    let mut remarks = Vec::new();
    if ordinary.status != instance.status {
        remarks.push(format!("the program ended with {}, an instance with {}", ordinary.status, instance.status));
    }
    if measured.gain() < 2.0 {
        remarks.push(
            "an instance saves less than half of the time to the exit: most of the work comes after the snapshot point \
             (docs/howto/points.md)"
                .to_owned(),
        );
    }
    remarks
}

fn times(Times { first_output, exit, status }: &Times) -> serde_json::Value {
    let micro = |time: Duration| time.as_secs_f64() * 1e6;
    serde_json::json!({
        "first_output_us": first_output.map(micro),
        "exit_us": micro(*exit),
        "status": status.to_string(),
    })
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Measured { ordinary, instance } = self;
        write!(f, "measured, medians of {RUNS} runs: ")?;
        if let (Some(ordinary), Some(instance)) = (ordinary.first_output, instance.first_output) {
            let (ordinary, instance) = (Milliseconds(ordinary), Milliseconds(instance));
            write!(f, "to first output {ordinary} ms, from the snapshot {instance} ms;\n  ")?;
        }
        let (exit, gain) = (Milliseconds(ordinary.exit), self.gain());
        write!(f, "to exit {exit} ms, from the snapshot {} ms ({gain:.1} ×)", Milliseconds(instance.exit))
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
