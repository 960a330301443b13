//! A report as one page that needs no other file: no scripts, no fonts, no links.

use super::report::{Mapping, Report};
use super::sections;
use crate::commands::examine::space::Source;
use crate::commands::examine::text::{Section, printable, size};
use std::fmt::Write;

/// Mappings further apart than this are drawn as separate bars.
const GAP: u64 = 64 << 20;
/// Width of the picture, and least width of a mapping in it.
const WIDTH: f64 = 1000.0;
const LEAST: f64 = 3.0;

const STYLE: &str = "\
:root{color-scheme:light dark}
body{font:14px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem}
h1{font-size:1.4rem}h2{font-size:1rem;margin:2rem 0 .5rem}
table{border-collapse:collapse;font:12px/1.6 ui-monospace,monospace;display:block;overflow-x:auto}
th{text-align:left;font-weight:600}th,td{padding:0 1.2em 0 0;white-space:pre}.r{text-align:right}
svg{width:100%;height:auto;font:11px ui-monospace,monospace}
svg text{fill:currentColor}
.code{fill:#4878a8}.data{fill:#5aa469}.host{fill:#a05a8a}.descriptor{fill:#6a6ad0}.snapshot{fill:#d07a3a}.zeros{fill:#a8a8a8}.stack{fill:#c8b03c}
";

/// Escapes text for element content and quoted attributes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in printable(text).chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// The page.
pub(super) fn page(report: &Report) -> String {
    let title = escape(&report.program.path);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>Snapshot of {title}</title>\n\
         <style>\n{STYLE}</style>\n<h1>Snapshot of {title}</h1>\n"
    );
    picture(&mut out, &report.memory.mappings);
    for section in sections::all(report).iter().filter(|section| !section.rows.is_empty()) {
        table(&mut out, section);
    }
    out.push_str("</html>\n");
    out
}

// Writing to a String cannot fail, here and below.
fn table(out: &mut String, section: &Section) {
    let _ = write!(out, "<h2>{}</h2>\n<table>\n", escape(section.title));
    let mut row = |tag: &str, cells: &mut dyn Iterator<Item = &str>| {
        out.push_str("<tr>");
        for (column, cell) in cells.enumerate() {
            let class = if section.right.contains(&column) { " class=\"r\"" } else { "" };
            let _ = write!(out, "<{tag}{class}>{}</{tag}>", escape(cell));
        }
        out.push_str("</tr>\n");
    };
    if !section.head.is_empty() {
        row("th", &mut section.head.iter().copied());
    }
    for cells in &section.rows {
        row("td", &mut cells.iter().map(String::as_str));
    }
    out.push_str("</table>\n");
}

/// The address space: one bar for each group of mappings that are near each other, widths by size.
fn picture(out: &mut String, mappings: &[Mapping]) {
    let groups: Vec<&[Mapping]> = mappings.chunk_by(|a, b| b.range.0 - a.range.1 < GAP).collect();
    let height = 40 + 46 * groups.len();
    let _ = write!(
        out,
        "<h2>ADDRESS SPACE</h2>\n<svg viewBox=\"0 0 1000 {height}\" role=\"img\" \
         aria-label=\"The mappings of the snapshot by address\">\n"
    );
    for (index, source) in Source::ALL.iter().enumerate() {
        let x = index * 110;
        let name = source.name();
        let _ = writeln!(
            out,
            "<rect class=\"{name}\" x=\"{x}\" y=\"4\" width=\"12\" height=\"12\"/><text x=\"{}\" y=\"14\">{name}</text>",
            x + 18
        );
    }
    for (index, group) in groups.iter().enumerate() {
        bar(out, group, 40 + 46 * index);
    }
    out.push_str("</svg>\n");
}

/// One bar. Small mappings are widened to be seen, and the others give way.
fn bar(out: &mut String, group: &[Mapping], y: usize) {
    let (Some(first), Some(last)) = (group.first(), group.last()) else { return };
    let total: u64 = group.iter().map(|mapping| mapping.size).sum();
    let spare = (WIDTH - LEAST * group.len() as f64).max(0.0);
    let _ = writeln!(
        out,
        "<text x=\"0\" y=\"{}\">{:012x}–{:012x}, {} mapped</text>",
        y + 10,
        first.range.0,
        last.range.1,
        size(total)
    );
    let least = (WIDTH - spare) / group.len() as f64;
    let mut x = 0.0;
    for mapping in group {
        let width = least + spare * mapping.size as f64 / total as f64;
        let _ = writeln!(
            out,
            "<rect class=\"{}\" x=\"{x:.2}\" y=\"{}\" width=\"{:.2}\" height=\"22\">\
             <title>{}–{} {} {} {}</title></rect>",
            mapping.kind.name(),
            y + 14,
            (width - 0.5).max(0.1),
            mapping.start,
            mapping.end,
            mapping.protection,
            size(mapping.size),
            escape(&mapping.name)
        );
        x += width;
    }
}
