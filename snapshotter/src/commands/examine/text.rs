//! Text for people: tables, sizes, times. It has no control characters for the terminal.

use std::fmt::Write as _;
use std::io::IsTerminal;

/// A heading with aligned columns below it; without a head, the first column is the name of the second.
#[derive(Clone, Debug, Default)]
pub(crate) struct Section {
    pub(crate) title: &'static str,
    pub(crate) head: &'static [&'static str],
    /// Columns that are right-aligned.
    pub(crate) right: &'static [usize],
    pub(crate) rows: Vec<Vec<String>>,
}

impl Section {
    pub(crate) fn new(title: &'static str, head: &'static [&'static str], right: &'static [usize]) -> Self {
        Section { title, head, right, rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

/// Whether standard output takes colours.
pub(crate) fn colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Prints sections one below the other, without those that have no rows.
pub(crate) fn render(sections: &[Section], colours: bool) -> String {
    let mut out = String::new();
    for section in sections.iter().filter(|section| !section.rows.is_empty()) {
        if !out.is_empty() {
            out.push('\n');
        }
        let (on, off) = if colours { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        let _ = writeln!(out, "{on}{}{off}", section.title);
        let head = section.head.iter().map(|cell| cell.to_string()).collect::<Vec<_>>();
        let rows: Vec<_> = Some(head).into_iter().filter(|head| !head.is_empty()).chain(section.rows.clone()).collect();
        out.push_str(&table(&rows, section.right));
    }
    out
}

/// Columns two spaces apart, indented by two.
fn table(rows: &[Vec<String>], right: &[usize]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &[String], column: usize| row.get(column).map_or(String::new(), |text| printable(text));
    let mut widths = vec![0; columns];
    for row in rows {
        for (column, width) in widths.iter_mut().enumerate() {
            *width = (*width).max(cell(row, column).chars().count());
        }
    }
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, &width) in widths.iter().enumerate() {
            let cell = cell(row, column);
            let _ = match right.contains(&column) {
                true => write!(line, "  {cell:>width$}"),
                false => write!(line, "  {cell:<width$}"),
            };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Escapes control characters: names in snapshots may come from anywhere.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => out.extend(character.escape_default()),
            false => out.push(character),
        }
    }
    out
}

/// A size in the largest unit in which it is at least 1.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = (bytes.max(1).ilog2() / 10).min(4) as usize;
    let value = bytes as f64 / (1u64 << (10 * unit)) as f64;
    // Whole numbers of pages are exact in KiB.
    let digits = usize::from(unit > 1 || bytes % (1 << (10 * unit)) != 0);
    format!("{value:.digits$} {}", UNITS.get(unit).unwrap_or(&"B"))
}

/// Seconds since 1970 as `2026-01-31T23:59:58Z`; `None` after the year 9999.
pub(crate) fn time(seconds: u64) -> Option<String> {
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    let leap = |year: u64| u64::from(year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
    while days >= 365 + leap(year) {
        days -= 365 + leap(year);
        year += 1;
        if year > 9999 {
            return None;
        }
    }
    let mut month = 1;
    for length in [31, 28 + leap(year), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    Some(format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1))
}

/// Nanoseconds as seconds.
pub(crate) fn seconds(nanoseconds: u64) -> String {
    format!("{}.{:03} s", nanoseconds / 1_000_000_000, nanoseconds / 1_000_000 % 1000)
}

/// `addr` in hexadecimal.
pub(crate) fn hex(addr: u64) -> String {
    format!("{addr:#x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (4 << 20, "4.0 MiB"),
            (1020 << 10, "1020 KiB"),
            (5 << 40, "5.0 TiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn times() {
        assert_eq!(time(0).unwrap(), "1970-01-01T00:00:00Z");
        assert_eq!(time(951_827_696).unwrap(), "2000-02-29T12:34:56Z");
        assert_eq!(time(4_107_542_400).unwrap(), "2100-03-01T00:00:00Z");
        assert_eq!(time(253_402_300_799).unwrap(), "9999-12-31T23:59:59Z");
        assert_eq!(time(253_402_300_800), None);
        assert_eq!(time(u64::MAX), None);
        assert_eq!(seconds(1_500_000_000), "1.500 s");
    }

    #[test]
    fn columns_are_aligned_and_harmless() {
        let mut section = Section::new("THINGS", &["NAME", "SIZE"], &[1]);
        section.row(["a\x1b[2J".into(), "1".into()]);
        section.row(["long enough".into(), "100".into()]);
        let text = render(&[Section::default(), section], false);
        assert_eq!(text, "THINGS\n  NAME         SIZE\n  a\\u{1b}[2J      1\n  long enough   100\n");
    }
}
