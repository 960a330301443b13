//! The table as a page of the documentation.

use super::calls::CALLS;
use super::sockopts::REFUSED_KINDS;
use super::{Cell, Effect, Verdict};
use std::fmt::Write;

const HEAD: &str = "\
# System calls

What becomes of the effect of every system call that a program makes before its snapshot point. This page is the table
that `snapshotter create` and `snapshotter check` use, written by `snapshotter generate`; a test sees to it that they
agree.

- *stateless*: nothing stays in the kernel that belongs to the process.
- *restored*: an instance has it.
- *restored or refused*: at the point the snapshotter asks for what the call has left. What no instance can have is
  refused there, by name. What the program has undone is not in the way.
- *noted*: instances lack it; `create` prints a note.
- *refused*: the state cannot be read at the point. The call itself is refused once it has succeeded, unless the program
  has taken it back or has closed the descriptor that it was about. `--accept CALL` or `--accept CALL:OPTION` takes the
  snapshot anyway; instances then lack the effect.

A number, an option or a flag that is not here is refused where the kernel has accepted it. So is every call by the
32-bit interface (`int 0x80`) and by x32. Calls that child processes make before the point are theirs. `snapshotter
check --pid` has not seen the calls of a process: it asks for the state alone.

";

/// The page, in Markdown.
pub(crate) fn page() -> String {
    let mut text = HEAD.to_owned();
    text.push_str("| number | call | effect | where it is, or why there is none |\n|---|---|---|---|\n");
    for row in CALLS {
        let word = match row.effect {
            Effect::Always(verdict) => verdict.word(),
            Effect::Semaphores => Verdict::Refused.word(),
            _ => "below",
        };
        line(&mut text, &[&row.number.to_string(), &format!("`{}`", row.name), word, row.why]);
    }
    for row in CALLS {
        options(&mut text, row.name, &row.effect);
    }
    text
}

// Writing to a String cannot fail.
fn line(text: &mut String, cells: &[&str]) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

fn heading(text: &mut String, call: &str, column: &str) {
    let _ = write!(text, "\n## `{call}`\n\n| {column} | name | effect | where it is, or why there is none |\n");
    text.push_str("|---|---|---|---|\n");
}

fn options(text: &mut String, call: &str, effect: &Effect) {
    match effect {
        // Each table is printed once, with the first call that has it.
        Effect::Option(..) | Effect::Flags(..) | Effect::FlagsAt(..)
            if matches!(call, "process_madvise" | "clone3" | "open_tree_attr") => {}
        Effect::Option(_, cells) => {
            heading(text, call, "value");
            rows(text, cells);
        }
        Effect::Flags(_, cells) | Effect::FlagsAt(_, cells) => {
            heading(text, call, "flag");
            rows(text, cells);
        }
        Effect::Requests(requests) => {
            heading(text, call, "lower two bytes");
            for request in *requests {
                let range = match (request.first, request.last) {
                    (first, last) if first == last => format!("{first:#06x}"),
                    (first, last) => format!("{first:#06x} to {last:#06x}"),
                };
                line(text, &[&range, &format!("`{}`", request.name), request.verdict.word(), request.why]);
            }
        }
        Effect::SocketOption(options) => {
            heading(text, call, "level and option");
            for option in *options {
                let number = format!("{}, {}", option.level, option.number);
                line(text, &[&number, &format!("`{}`", option.name), option.verdict().word(), option.why]);
            }
            for (level, name) in REFUSED_KINDS {
                let why = "sockets of that kind are refused by number";
                line(text, &[&format!("{level}, any"), &format!("`{name}`"), Verdict::Asked.word(), why]);
            }
        }
        Effect::Always(_) | Effect::Semaphores => {}
    }
}

fn rows(text: &mut String, cells: &[Cell]) {
    for cell in cells {
        let value = if cell.value < 4096 { cell.value.to_string() } else { format!("{:#x}", cell.value) };
        line(text, &[&value, &format!("`{}`", cell.name), cell.verdict.word(), cell.why]);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    const PAGE: &str = "../docs/reference/system-calls.md";

    #[test]
    fn the_page_is_the_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == super::page(), "{}: write it anew with `snapshotter generate`", path.display());
    }
}
