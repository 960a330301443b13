//! The content of a snapshot except memory, as text that does not depend on its addresses.

use crate::commands::examine::inspect::comm;
use crate::commands::examine::names;
use crate::commands::examine::space::{Space, text};
use serde::Serialize;
use snapfn_format::snap::*;
use std::collections::{BTreeMap, BTreeSet};

/// What, which → how it is.
#[derive(Debug, Default)]
pub(super) struct Facts(BTreeMap<(&'static str, String), String>);

/// A difference. A value is absent if that snapshot does not have it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Change {
    /// `program`, `file`, `operations`, `patches`, `thread`, `descriptor`, `signal`, `pending signal`, `setting`,
    /// `timer` or `environment`.
    pub(super) what: &'static str,
    pub(super) key: String,
    pub(super) a: Option<String>,
    pub(super) b: Option<String>,
}

/// All differences, in order of kind and key.
pub(super) fn changes(a: &Facts, b: &Facts) -> Vec<Change> {
    let keys: BTreeSet<_> = a.0.keys().chain(b.0.keys()).collect();
    keys.into_iter()
        .map(|key| Change { what: key.0, key: key.1.clone(), a: a.0.get(key).cloned(), b: b.0.get(key).cloned() })
        .filter(|change| change.a != change.b)
        .collect()
}

impl Facts {
    pub(super) fn new(plan: &Plan<'_>, space: &Space) -> Self {
        let mut facts = Facts::default();
        facts.program(plan);
        facts.files(plan);
        facts.counts("operations", plan.ops.iter().map(|op| names::operation(op.kind)));
        facts.counts("patches", plan.patches.iter().map(|patch| names::patch(patch.kind)));
        for (index, thread) in plan.threads.iter().enumerate() {
            facts.put("thread", index, describe_thread(plan, space, thread));
        }
        for (index, fd) in plan.fds.iter().enumerate() {
            facts.put("descriptor", fd.fd, describe_fd(plan, index, fd));
        }
        for action in plan.sigactions {
            let SigAction { signo, handler, flags, mask, .. } = *action;
            let handler = if handler > 1 { space.describe(handler) } else { "ignored".to_string() };
            facts.put("signal", names::signal(signo), format!("{handler}, flags {flags:#x}, mask {mask:#x}"));
        }
        for (index, signal) in plan.pending.iter().enumerate() {
            facts.put("pending signal", index, names::signal(signal.signo));
        }
        for (index, setting) in plan.settings.iter().enumerate() {
            facts.put("setting", index, names::setting(setting));
        }
        for timer in plan.timers {
            // The remaining time depends on the moment of the snapshot.
            facts.put("timer", names::timer(timer), format!("every {} ns", timer.interval));
        }
        for change in plan.env_changes {
            let how = if change.kind == ENV_SET { "set" } else { "removed" };
            facts.put("environment", text(plan, change.name), how.to_string());
        }
        facts
    }

    fn put(&mut self, what: &'static str, key: impl ToString, value: String) {
        self.0.insert((what, key.to_string()), value);
    }

    fn program(&mut self, plan: &Plan<'_>) {
        let p = &plan.header.process;
        self.put("program", "path", text(plan, p.exe));
        self.put("program", "arguments", text(plan, p.args).replace('\0', " "));
        self.put("program", "point", names::point(p.at).to_string());
        self.put("program", "directory", text(plan, p.cwd));
        let umask = if p.umask == u32::MAX { "the starter's".to_string() } else { format!("{:04o}", p.umask) };
        self.put("program", "umask", umask);
    }

    fn files(&mut self, plan: &Plan<'_>) {
        for file in plan.files.iter().filter(|file| file.kind != FILE_SELF) {
            let path = text(plan, file.path);
            let (key, value) = match file.kind {
                FILE_HOST => (path, "host".to_string()),
                kind => {
                    let value = format!("{} {}", names::file(kind), file.digest);
                    (if path.is_empty() { file.digest.to_string() } else { path }, value)
                }
            };
            self.put("file", key, value);
        }
    }

    fn counts(&mut self, what: &'static str, kinds: impl Iterator<Item = &'static str>) {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        kinds.for_each(|kind| *counts.entry(kind).or_default() += 1);
        for (kind, count) in counts {
            self.put(what, kind, count.to_string());
        }
    }
}

fn describe_thread(plan: &Plan<'_>, space: &Space, thread: &Thread) -> String {
    let rip = space.describe(thread.regs[reg::PC]);
    let (mask, live) = (thread.sigmask, live_state(plan.bytes(thread.xstate)));
    format!("{} at {rip}, mask {mask:#x}, registers {live:#x}", comm(thread))
}

fn describe_fd(plan: &Plan<'_>, index: usize, fd: &Fd) -> String {
    let mut out = names::descriptor(fd).to_string();
    let path = text(plan, fd.path);
    if !path.is_empty() {
        out += &format!(" {path}");
    }
    if let Some(named) = fd.descriptor().and_then(|descriptor| descriptor.named()) {
        let of = plan.fds.get(named as usize).map_or(named, |record| record.fd);
        out += &format!(" of {of}");
    }
    let content = names::content(plan, index);
    out += &format!(", flags {:#o}, offset {}, {content} bytes", fd.flags, fd.offset);
    if fd.a != 0 || fd.b != 0 {
        out += &format!(", {:#x}, {:#x}", fd.a, fd.b);
    }
    out
}
