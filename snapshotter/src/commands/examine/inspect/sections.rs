//! A report as tables.

use super::report::Report;
use crate::commands::examine::text::{Section, seconds, size};

/// All tables, in the order of the output.
pub(super) fn all(report: &Report) -> Vec<Section> {
    vec![
        summary(report),
        variants(report),
        report.needs.section(),
        memory(report),
        mappings(report),
        files(report),
        operations(report),
        patches(report),
        threads(report),
        descriptors(report),
        signals(report),
        attributes(report),
        report.made.recipe_section(),
        report.made.inputs_section(),
    ]
}

fn list(items: &[String]) -> String {
    if items.is_empty() { "-".to_string() } else { items.join(" ") }
}

fn summary(report: &Report) -> Section {
    let mut section = Section::new("SNAPSHOT", &[], &[]);
    let program = &report.program;
    let starters = || "the starter's".to_string();
    for (name, value) in [
        ("program", program.path.clone()),
        ("arguments", list(&program.arguments)),
        ("point", program.point.to_string()),
        ("created", program.created.clone().unwrap_or_else(|| format!("{} s", program.created_unix))),
        ("file", report.path.clone()),
        ("digest", report.digest.clone().unwrap_or_else(|| "not in a store".into())),
        ("size", format!("{}, of which {} plan", size(report.size), size(report.plan_size))),
        ("directory", program.working_directory.clone().unwrap_or_else(starters)),
        ("umask", program.umask.clone().unwrap_or_else(starters)),
    ] {
        section.row([name.to_string(), value]);
    }
    if !report.variants.is_empty() {
        section.row([
            "variants".to_string(),
            format!("this is the first of {}, all under one tag", report.variants.len()),
        ]);
    }
    section
}

fn variants(report: &Report) -> Section {
    let mut section = Section::new("VARIANTS", &["#", "SIZE", "DIGEST"], &[0, 1]);
    for (number, (digest, bytes)) in report.variants.iter().zip(&report.variant_sizes).enumerate() {
        let bytes = bytes.map_or_else(|| "cannot be read".to_owned(), size);
        section.row([(number + 1).to_string(), bytes, digest.clone()]);
    }
    section
}

fn memory(report: &Report) -> Section {
    let m = &report.memory;
    let mut section = Section::new("MEMORY", &["SIZE", "FROM", ""], &[0]);
    for (bytes, name, what) in [
        (m.code, "code", "code segment files, shared by all instances of all programs"),
        (m.data, "data", "other files of the store, shared in the same way"),
        (m.host, "host", "files of the host"),
        (m.descriptor, "descriptor", "what descriptors refer to"),
        (m.snapshot, "snapshot", "pages of the snapshot, shared until written"),
        (m.read, "read", "bytes of the snapshot, read in at every start"),
        (m.zeros, "zeros", "zero pages, made when touched"),
        (m.stack, "stack", "stack below what is live"),
    ] {
        if bytes != 0 {
            section.row([size(bytes), name.into(), what.into()]);
        }
    }
    section.row([size(m.total), "all".into(), String::new()]);
    section
}

fn mappings(report: &Report) -> Section {
    let head = &["START", "END", "SIZE", "PROT", "FROM", "READ", "PROTECTED", "NAME"];
    let mut section = Section::new("MAPPINGS", head, &[2, 5]);
    for m in &report.memory.mappings {
        let read = if m.read == 0 { "-".into() } else { size(m.read) };
        let protected = match &m.protected_to {
            Some(prot) => format!("{prot} {}", size(m.protected)),
            None => "-".into(),
        };
        let (start, end) = (format!("{:012x}", m.range.0), format!("{:012x}", m.range.1));
        let row = [start, end, size(m.size), m.protection.clone(), m.source.into(), read, protected, m.name.clone()];
        section.row(row);
    }
    section
}

fn files(report: &Report) -> Section {
    let mut section = Section::new("FILES", &["#", "KIND", "SIZE", "MAPPED", "DIGEST", "STORE", "PATH"], &[0, 2, 3]);
    for f in &report.files {
        let stored = match (&f.digest, &f.stored) {
            (None, _) => "-",
            (Some(_), Some(_)) => "there",
            (Some(_), None) => "MISSING",
        };
        section.row([
            f.index.to_string(),
            f.kind.into(),
            size(f.size),
            size(f.mapped),
            f.digest.clone().unwrap_or_else(|| "-".into()),
            stored.into(),
            f.path.clone().unwrap_or_else(|| "-".into()),
        ]);
    }
    section
}

fn counts(title: &'static str, total: usize, parts: &[(usize, &str)]) -> Section {
    let mut section = Section::new(title, &[], &[0]);
    for (count, what) in parts.iter().filter(|(count, _)| *count != 0) {
        section.row([count.to_string(), what.to_string()]);
    }
    section.row([total.to_string(), "all".into()]);
    section
}

fn operations(report: &Report) -> Section {
    let o = &report.operations;
    let parts = [
        (o.map_file, "map a file"),
        (o.map_zeros, "map zeros"),
        (o.map_descriptor, "map a descriptor"),
        (o.read, "read in"),
        (o.protect, "protect"),
        (o.advise, "advise"),
        (o.lock, "lock"),
    ];
    counts("OPERATIONS", o.total, &parts)
}

fn patches(report: &Report) -> Section {
    let p = &report.patches;
    let parts = [
        (p.argv, "argument vector"),
        (p.envp, "environment vector"),
        (p.argc, "argument count"),
        (p.canary, "stack canary"),
        (p.stack, "argument count's address"),
        (p.tid, "TID"),
        (p.tid_futex, "TID in a futex"),
        (p.info, "arguments and generation of a library"),
    ];
    counts("PATCHED WORDS", p.total, &parts)
}

fn threads(report: &Report) -> Section {
    let head = &["#", "NAME", "TID", "RIP", "IN", "RSP", "IN", "BLOCKED SIGNALS"];
    let mut section = Section::new("THREADS", head, &[0, 2]);
    for t in &report.threads {
        section.row([
            t.index.to_string(),
            t.name.clone(),
            t.tid.to_string(),
            t.rip.clone(),
            t.rip_in.clone(),
            t.rsp.clone(),
            t.rsp_in.clone(),
            list(&t.blocked),
        ]);
    }
    section
}

fn descriptors(report: &Report) -> Section {
    let mut section =
        Section::new("DESCRIPTORS", &["FD", "KIND", "FLAGS", "OFFSET", "CONTENT", "OF", "PATH"], &[0, 3, 4]);
    for d in &report.descriptors {
        let flags = format!("{}{}", d.flags, if d.close_on_exec { " cloexec" } else { "" });
        section.row([
            d.fd.to_string(),
            d.kind.into(),
            flags,
            d.offset.to_string(),
            if d.content == 0 { "-".into() } else { size(d.content) },
            d.of.map_or("-".into(), |of| of.to_string()),
            d.path.clone().unwrap_or_else(|| "-".into()),
        ]);
    }
    section
}

fn signals(report: &Report) -> Section {
    let mut section = Section::new("SIGNALS", &["SIGNAL", "STATE", "HANDLER", "BLOCKED MEANWHILE"], &[]);
    for s in &report.signals {
        let handler = s.handler_in.clone().unwrap_or_else(|| "-".into());
        section.row([s.name.clone(), s.disposition.into(), handler, list(&s.blocked)]);
    }
    for p in &report.pending_signals {
        let whom = p.thread.map_or("of the process".to_string(), |thread| format!("of thread {thread}"));
        section.row([p.name.clone(), "pending".into(), whom, "-".into()]);
    }
    section
}

fn attributes(report: &Report) -> Section {
    let mut section = Section::new("ATTRIBUTES", &[], &[]);
    for setting in &report.settings {
        section.row(["setting".into(), setting.clone()]);
    }
    for t in &report.timers {
        let signal = t.signal.as_ref().map_or(String::new(), |signal| format!(", {signal}"));
        let times = format!("{} left, every {}", seconds(t.remaining_ns), seconds(t.interval_ns));
        section.row(["timer".into(), format!("{}: {times}{signal}", t.name)]);
    }
    for e in &report.environment {
        section.row(["environment".into(), format!("{} {}", e.name, e.change)]);
    }
    section
}
