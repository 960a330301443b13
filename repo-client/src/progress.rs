//! Reports while layers move: bars on a terminal, a line for each layer otherwise, JSON for programs.

use crate::output::{printable, size};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use snapfn_distribution::{Event, Events, Present};
use snapfn_registry::{Direction, Event as Transfer};
use std::collections::HashMap;
use std::env;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The least time between two lines of JSON about one blob.
const INTERVAL: Duration = Duration::from_millis(500);

enum Output {
    Json,
    Bar(ProgressBar),
    Lines,
    Nothing,
}

/// Shows events.
pub(crate) struct Progress {
    output: Output,
    is_push: AtomicBool,
    /// For each blob that moves: its position, and the time of its last report.
    blobs: Mutex<HashMap<String, (u64, Instant)>>,
}

impl Progress {
    pub(crate) fn new(json: bool) -> Self {
        // A terminal that cannot move its cursor gets lines.
        let is_terminal = io::stderr().is_terminal() && env::var_os("TERM").is_none_or(|term| term != "dumb");
        let output = match (json, is_terminal) {
            (true, _) => Output::Json,
            (false, true) => Output::Bar(bar()),
            (false, false) => Output::Lines,
        };
        Progress { output, is_push: AtomicBool::new(false), blobs: Mutex::default() }
    }

    /// Bars on a terminal, nothing otherwise.
    pub(crate) fn for_terminals() -> Self {
        match Self::new(false) {
            lines @ Progress { output: Output::Lines, .. } => Progress { output: Output::Nothing, ..lines },
            bars => bars,
        }
    }

    pub(crate) fn finish(&self) {
        if let Output::Bar(bar) = &self.output {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: String) {
        let text = printable(&text);
        match &self.output {
            Output::Json | Output::Nothing => (),
            // If stderr is gone, there is no place left to report that.
            Output::Bar(bar) => bar.suspend(|| drop(writeln!(io::stderr(), "{text}"))),
            Output::Lines => drop(writeln!(io::stderr(), "{text}")),
        }
    }

    fn json(&self, value: Value) {
        if let Output::Json = self.output {
            let _ = writeln!(io::stdout().lock(), "{value}");
        }
    }

    /// Begins a phase of `total` bytes. During a push, the bytes of each blob that is sent are added when its transfer
    /// begins.
    fn begin(&self, what: &'static str, total: u64) {
        if let Output::Bar(bar) = &self.output {
            if bar.is_hidden() {
                bar.set_draw_target(ProgressDrawTarget::stderr());
            }
            bar.reset();
            bar.set_message(what);
            bar.set_length(total);
        }
    }

    /// A snapshot is read.
    fn local(&self, what: &'static str, total: u64) {
        self.is_push.store(true, Ordering::Relaxed);
        self.begin(what, total);
        self.json(json!({ "event": what, "total": total }));
    }

    fn transfer(&self, event: Transfer<'_>) {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Transfer::BlobStarted { direction, digest, size, from, .. } => {
                blobs.insert(digest.to_string(), (from, Instant::now()));
                // During a pull, the layers' sizes were known before.
                if let Output::Bar(bar) = &self.output
                    && self.is_push.load(Ordering::Relaxed)
                {
                    bar.inc_length(size.saturating_sub(from));
                }
                let direction = match direction {
                    Direction::Upload => "upload",
                    Direction::Download => "download",
                };
                self.json(json!({
                    "event": "started", "direction": direction, "digest": digest.to_string(), "size": size, "from": from,
                }));
            }
            Transfer::BlobProgress { digest, position, .. } => {
                let key = digest.to_string();
                let Some((before, said)) = blobs.get_mut(&key) else { return };
                if let Output::Bar(bar) = &self.output {
                    // The bar goes back if an upload must begin again.
                    bar.inc(position.saturating_sub(*before));
                    bar.dec(before.saturating_sub(position));
                }
                *before = position;
                if said.elapsed() > INTERVAL {
                    *said = Instant::now();
                    self.json(json!({ "event": "progress", "digest": key, "position": position }));
                }
            }
            Transfer::BlobFinished { digest, .. } => {
                blobs.remove(&digest.to_string());
            }
            Transfer::Retry { what, failed, wait, why } => {
                let wait = wait.as_secs_f64();
                self.line(format!("{why}; attempt {} in {wait:.1} s", failed + 1));
                self.json(json!({ "event": "retry", "what": what, "why": why, "failed": failed, "wait": wait }));
            }
            Transfer::NotRecorded { path, why } => {
                let path = path.display().to_string();
                self.line(format!("note: cannot write {path}: {why}; if this upload is interrupted, it starts again"));
                self.json(json!({ "event": "not recorded", "path": path, "why": why }));
            }
        }
    }
}

impl Events for Progress {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Scanning { total } => self.local("scanning", total),
            Event::Reading { total } => self.local("reading", total),
            Event::Read { bytes } => {
                if let Output::Bar(bar) = &self.output {
                    bar.inc(bytes);
                }
            }
            Event::Layers { count, total } => {
                self.begin("layers", total);
                self.json(json!({ "event": "layers", "count": count, "total": total }));
            }
            Event::Present { layer, kind, digest, size: bytes, how } => {
                let (text, word) = match how {
                    Present::InRepository => ("already there", "present"),
                    Present::Mounted => ("already in the registry", "mounted"),
                    Present::InStore => ("already in the store", "stored"),
                };
                let kind = kind.map(|kind| kind.name());
                self.line(format!("layer {layer}{}: {text} ({})", bracket(kind), size(bytes)));
                self.json(json!({
                    "event": word, "layer": layer, "kind": kind, "digest": digest.to_string(), "size": bytes,
                }));
            }
            Event::Transferred { layer, kind, digest, size: bytes, moved } => {
                let kind = kind.map(|kind| kind.name());
                let moved_text = match moved == bytes {
                    true => size(bytes),
                    false => format!("{} of {}", size(moved), size(bytes)),
                };
                if let Output::Bar(bar) = &self.output
                    && !self.is_push.load(Ordering::Relaxed)
                {
                    // The part of the layer that was not fetched.
                    bar.inc(bytes.saturating_sub(moved));
                }
                self.line(format!("layer {layer}{}: {moved_text}", bracket(kind)));
                self.json(json!({
                    "event": "transferred", "layer": layer, "kind": kind, "digest": digest.to_string(), "size": bytes,
                    "moved": moved,
                }));
            }
            Event::Transfer(event) => self.transfer(event),
        }
    }
}

fn bracket(kind: Option<&str>) -> String {
    kind.map(|kind| format!(" ({kind})")).unwrap_or_default()
}

/// The bar, which is hidden at first. It has no colours, so no option switches them off.
fn bar() -> ProgressBar {
    let bar = ProgressBar::hidden();
    let template = "{msg:8} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}, {eta} left";
    // The template is a constant that parses. Otherwise the default style stays.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
