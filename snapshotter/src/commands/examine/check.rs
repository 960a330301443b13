//! Checks what works on this host, and whether it can start a snapshot.

mod host;
mod installed;
mod package;
mod snapshot;

use super::source::{ExamineError, Snapshot, print, print_json};
use super::text::{colours, printable};
use host::Host;
use installed::Difference;
use serde::Serialize;
use snapfn_host::{Level, Outcome, Report};
use snapfn_store::Stores;
use std::ffi::OsStr;
use std::fmt::Write;

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    /// As it should be.
    Ok,
    /// The snapshot can be started, but the user may want to know.
    Note,
    /// It cannot be started.
    Fails,
}

/// One thing that was checked.
#[derive(Debug, Serialize)]
struct Finding {
    verdict: Verdict,
    what: String,
    detail: String,
    /// The difference of a program or library that is not the one in the snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<Difference>,
}

#[derive(Debug, Serialize)]
struct SnapshotFindings {
    path: String,
    findings: Vec<Finding>,
}

/// The fields are as stable as those of `inspect`.
#[derive(Debug, Serialize)]
struct Checked {
    schema: u32,
    /// Whether everything that is required is there.
    ok: bool,
    host: Host,
    behaviours: Vec<Report>,
    snapshot: Option<SnapshotFindings>,
}

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people. About the host of a snapshot, only what is in the snapshot's way.
    Text,
    /// For people. Everything about the host, even with a snapshot.
    Everything,
    /// For programs.
    Json,
}

/// Checks this host, and whether it can start the snapshot `name`.
pub(crate) fn run(name: Option<&OsStr>, form: Form) -> Result<(), ExamineError> {
    let stores = Stores::from_env();
    let host = Host::look();
    // The name is checked first, so that a wrong one does not cost the time of all probes.
    let snapshot = match name {
        Some(name) => {
            let snapshot = Snapshot::open(&stores, name)?;
            let findings = snapshot::check(&snapshot, &host, &stores)?;
            Some(SnapshotFindings { path: snapshot.path.display().to_string(), findings })
        }
        None => None,
    };
    let behaviours = snapfn_host::run_all();
    let fatal = behaviours.iter().filter(|report| concerns(report, snapshot.is_some())).count();
    let failing = snapshot.iter().flat_map(|s| &s.findings).filter(|f| f.verdict == Verdict::Fails).count();
    let result = Checked { schema: 1, ok: fatal + failing == 0, host, behaviours, snapshot };
    match form {
        Form::Json => print_json(&result)?,
        Form::Text => print(text(&result, result.snapshot.is_none(), colours()))?,
        Form::Everything => print(text(&result, true, colours()))?,
    }
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    match (fatal, failing) {
        (0, 0) => Ok(()),
        (0, count) => Err(ExamineError::Failed(format!(
            "this host cannot start that snapshot ({count} reason{} above)",
            plural(count)
        ))),
        (count, _) => {
            Err(ExamineError::Failed(format!("{count} required behaviour{} missing on this host", plural(count))))
        }
    }
}

/// Whether a report is about something that is required and missing: to start a snapshot if there is a name, else to
/// make or start one.
fn concerns(report: &Report, of_snapshot: bool) -> bool {
    report.is_fatal() && (!of_snapshot || report.required == Level::RestoreNeeds)
}

/// Words in front of a line; in colour if wanted.
struct Marks(bool);

impl Marks {
    fn mark(&self, word: &str, colour: u8) -> String {
        match self.0 {
            true => format!("\x1b[{colour}m{word:<8}\x1b[0m"),
            false => format!("{word:<8}"),
        }
    }

    fn ok(&self) -> String {
        self.mark("ok", 32)
    }

    fn note(&self, word: &str) -> String {
        self.mark(word, 33)
    }

    fn bad(&self, word: &str) -> String {
        self.mark(word, 31)
    }
}

/// Prints it for people. About the host it prints `everything`, or only what is in the way of the snapshot.
// Writing to a String cannot fail.
fn text(result: &Checked, everything: bool, colours: bool) -> String {
    let marks = Marks(colours);
    let mut out = String::new();
    if everything {
        for (name, value) in result.host.rows() {
            let _ = writeln!(out, "{name:<14}{}", printable(&value));
        }
        out.push('\n');
    }
    let shown: Vec<&Report> = result.behaviours.iter().filter(|report| everything || concerns(report, true)).collect();
    let width = shown.iter().map(|report| report.name.len()).max().unwrap_or(0);
    for report in &shown {
        let (mark, detail) = match (&report.outcome, report.required) {
            (Outcome::Works, _) => (marks.ok(), None),
            (Outcome::Missing(what), Level::Optional) => (marks.note("missing"), Some(what)),
            (Outcome::Missing(what), _) => (marks.bad("MISSING"), Some(what)),
            (Outcome::Unknown(what), _) => (marks.note("unknown"), Some(what)),
        };
        let _ = writeln!(out, "{mark}{:<width$}  {}", report.name, report.why);
        if let Some(detail) = detail {
            let _ = writeln!(out, "          seen:    {}", printable(detail));
            let _ = writeln!(out, "          follows: {}", report.consequence);
        }
    }
    if let Some(snapshot) = &result.snapshot {
        let gap = if shown.is_empty() { "" } else { "\n" };
        let _ = writeln!(out, "{gap}{}", printable(&snapshot.path));
        for finding in &snapshot.findings {
            let mark = match finding.verdict {
                Verdict::Ok => marks.ok(),
                Verdict::Note => marks.note("note"),
                Verdict::Fails => marks.bad("FAILS"),
            };
            let _ = writeln!(out, "{mark}{}: {}", printable(&finding.what), printable(&finding.detail));
        }
    }
    let _ = writeln!(out, "\n{}", summary(result));
    out
}

/// The conclusion in one line.
fn summary(result: &Checked) -> String {
    let missing = |level: Level| {
        result.behaviours.iter().any(|r| r.required == level && matches!(r.outcome, Outcome::Missing(_)))
    };
    let able = |able: bool| if able { "can" } else { "cannot" };
    let (create, restore) =
        (!missing(Level::CreateNeeds) && !missing(Level::RestoreNeeds), !missing(Level::RestoreNeeds));
    match &result.snapshot {
        Some(snapshot) => {
            let fails = snapshot.findings.iter().any(|finding| finding.verdict == Verdict::Fails);
            format!("This host {} start this snapshot.", able(restore && !fails))
        }
        None => format!("This host {} make snapshots and {} start them.", able(create), able(restore)),
    }
}
