//! FORMAT.md says the same as the code: every record of the snapshot file, field by field, and every constant.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test panics where it fails")]

use snapfn_format::snap::{self, *};
use std::collections::BTreeMap;

/// Name, offset and size of a field.
type Field = (String, usize, usize);

/// The layout that the compiler gave a record.
fn layouts() -> BTreeMap<&'static str, (usize, Vec<Field>)> {
    fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
        size_of::<F>()
    }
    let mut layouts = BTreeMap::new();
    macro_rules! record {
        ($record:ident: $($field:ident)*) => {
            let fields = vec![$((
                stringify!($field).to_string(),
                std::mem::offset_of!($record, $field),
                size_of_field(|record: &$record| &record.$field),
            )),*];
            layouts.insert(stringify!($record), (size_of::<$record>(), fields));
        };
    }
    record!(SnapHeader: magic version arch page_shift reserved incompatible compatible file_size meta_len checksum
        tables process);
    record!(Process: start_code end_code start_data end_data start_brk brk start_stack resident at_random auxv auxv_len
        argv0 info at umask cwd exe args pid kept_args monotonic boottime created);
    record!(Table: offset count);
    record!(BytesRef: offset len);
    record!(File: digest size kind writable reserved path);
    record!(Op: kind prot file flags addr len offset);
    record!(Patch: addr kind place arg);
    record!(Thread: regs sigmask altstack_addr altstack_len altstack_flags tid clear_tid tid_cache robust_list rseq
        rseq_len rseq_sig xstate comm affinity policy priority nice timer_slack
        timeout timeout_form timeout_arg);
    record!(Fd: fd kind flags source offset a b path data);
    record!(FdStep: fd kind a b c data extra);
    record!(SigAction: signo reserved handler flags restorer mask);
    record!(EnvChange: kind reserved name addr);
    record!(Setting: kind which a b);
    record!(PendingSignal: thread signo info);
    record!(HostNeeds: cpu cpu_seen xcr0 behaviours xstate_size kernel level flags page_shift address_bits cpu_name
        release places);
    record!(Timer: kind id clock notify signo thread value remaining interval reserved);
    layouts
}

/// The part of FORMAT.md about snapshots: its last sections.
fn section() -> &'static str {
    let text = include_str!("../../../FORMAT.md");
    text.split("\n## Snapshot file\n").nth(1).expect("FORMAT.md has the section")
}

/// The cells of a table row whose first cell is a number.
fn row(line: &str) -> Option<Vec<&str>> {
    let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
    cells[0].parse::<u64>().ok().map(|_| cells)
}

/// The word between the first two backticks.
fn quoted(text: &str) -> Option<&str> {
    text.split('`').nth(1)
}

#[test]
fn records_have_the_layout_that_the_page_gives() {
    let mut on_page = BTreeMap::new();
    for part in section().split("\n### ").skip(1) {
        let (title, body) = part.split_once('\n').unwrap();
        // "### Operation: `Op`, 32 bytes"
        let Some(name) = quoted(title) else { continue };
        let size = title.split_whitespace().rev().nth(1).and_then(|word| word.parse().ok()).expect(title);
        let table = body.split("| offset | size | field |\n").nth(1).expect(title).lines().skip(1);
        let fields: Vec<Field> = table
            .map_while(row)
            .map(|cells| (quoted(cells[2]).unwrap().to_string(), cells[0].parse().unwrap(), cells[1].parse().unwrap()))
            .collect();
        on_page.insert(name, (size, fields));
    }
    assert_eq!(on_page, layouts());
}

#[test]
fn no_field_is_left_out() {
    for (name, (size, fields)) in layouts() {
        let mut end = 0;
        for (field, offset, size) in fields {
            assert_eq!(offset, end, "{name}.{field}");
            end += size;
        }
        assert_eq!(end, size, "{name}");
    }
}

/// Every `NAME = number` of the source is a row `| number | `NAME` | …` of the page, and there are no other rows.
#[test]
fn constants_have_the_values_that_the_page_gives() {
    let source = concat!(
        include_str!("../src/snap/records.rs"),
        include_str!("../src/snap/space.rs"),
        include_str!("../src/snap/fds.rs"),
        include_str!("../src/snap/fd_steps.rs"),
        include_str!("../src/linux.rs"),
    );
    let constant = |line: &'static str| {
        let (name, rest) = line.strip_prefix("pub const ")?.split_once(": ")?;
        let (kind, value) = rest.strip_suffix(';')?.split_once(" = ")?;
        matches!(kind, "u16" | "u32" | "u64").then_some((name, value.parse::<u64>().ok()?))
    };
    let mut in_code: Vec<_> = source.lines().filter_map(constant).collect();
    let tables = source.split("pub enum TableId {").nth(1).unwrap().split('}').next().unwrap();
    in_code.extend(tables.lines().filter_map(|line| {
        let (name, value) = line.trim().strip_suffix(',')?.split_once(" = ")?;
        Some((name, value.parse().ok()?))
    }));
    assert!(in_code.len() > 50, "{in_code:?}");
    let mut on_page: Vec<(&str, u64)> = section()
        .lines()
        .filter_map(row)
        .filter(|cells| cells[1].starts_with('`'))
        .map(|cells| (quoted(cells[1]).unwrap(), cells[0].parse().unwrap()))
        .collect();
    in_code.sort();
    on_page.sort();
    assert_eq!(on_page, in_code);
}

#[test]
fn the_page_lists_the_cpu_features() {
    use snapfn_format::cpu::{FEATURES, FIRST_HINT, Register};
    let page = section().split("| feature | name |").nth(1).unwrap();
    let rows: Vec<_> = page.lines().skip(2).map_while(row).collect();
    let expected: Vec<Vec<String>> = FEATURES
        .iter()
        .map(|feature| {
            let register = match feature.register {
                Register::Eax => "eax",
                Register::Ebx => "ebx",
                Register::Ecx => "ecx",
                Register::Edx => "edx",
            };
            let (leaf, subleaf) = feature.leaf;
            let place = format!("{leaf:#x}.{subleaf} {register} {}", feature.bit);
            vec![feature.number.to_string(), feature.name.to_string(), place]
        })
        .collect();
    assert_eq!(rows, expected);
    assert!(section().contains(&format!("from {FIRST_HINT} on")));
}

#[test]
fn the_page_names_the_fixed_values() {
    let header = 88 + size_of::<SnapHeader>();
    for fact in [
        format!("{} bytes before", snap::HEADER_OFFSET),
        format!("`version`, {}", snap::VERSION),
        format!("`{}`", std::str::from_utf8(&snap::MAGIC).unwrap()),
        format!("at least {header}"),
        format!("up to {} MiB", snap::META_MAX >> 20),
        format!("{} words", snap::REGS),
        format!("{} tables", snap::TABLES),
    ] {
        assert!(section().contains(&fact), "{fact}");
    }
}

#[test]
fn the_page_draws_the_resident_region() {
    use snap::resident::*;
    for (offset, what) in [
        (0, "synthetic vDSO"),
        (STUB_SYSCALL, "`syscall; int3`"),
        (STUB_FINISH, "finish"),
        (STUB_THREAD, "thread"),
        (ENTRIES, "entries"),
        (FALLBACKS, "fallbacks"),
        (SLOTS, "slots"),
        (WORK, "gate"),
        (WORK + WORK_HEADER, "first frame"),
    ] {
        let start = format!("| {offset:#06x} | ");
        let line = section().lines().find(|line| line.starts_with(&start)).expect(&start);
        assert!(line.contains(what), "{line}");
    }
    let source = include_str!("../src/snap/resident.rs");
    for line in source.lines().filter_map(|line| line.strip_prefix("pub const STUB_")) {
        let offset = line.split_once(" = CODE").unwrap().1.trim_start_matches(" + 0x").trim_end_matches(';');
        let start = format!("| {:#06x} | ", CODE + u64::from_str_radix(offset, 16).unwrap_or(0));
        assert!(section().contains(&start), "{line}");
    }
    for (index, (name, number)) in FUNCTIONS.iter().enumerate() {
        let line = format!("| {index} | {name} | {number} |");
        assert!(section().contains(&line), "{line}");
    }
    assert!(section().contains(&format!("{FRAME_FIXED} bytes")));
}

/// `struct snap_info` of snap.h: offsets and sizes follow from its C types, which have no padding.
#[test]
fn the_page_has_the_info_structure() {
    let header = include_str!("../../../cc-wrapper/include/snap.h");
    let body = header.split("struct snap_info {").nth(1).unwrap().split("};").next().unwrap();
    let mut offset = 0;
    for line in body.lines().filter_map(|line| line.trim().split_once(';')).map(|(field, _)| field) {
        let (kind, name) = line.rsplit_once([' ', '*']).unwrap();
        let size = if kind.starts_with("uint32") { 4 } else { 8 };
        let row = format!("| {offset} | {size} | `{name}`");
        assert!(section().contains(&row), "{row}");
        offset += size;
    }
    assert_eq!(offset, 56);
    for define in header.lines().filter(|line| line.starts_with("#define SNAP_OP_")) {
        let mut words = define.split_whitespace().skip(1);
        let (name, value) = (words.next().unwrap(), words.next().unwrap().trim_end_matches("UL"));
        let row = format!("| {value} | {name} |");
        assert!(section().contains(&row), "{row}");
    }
    assert!(section().contains("0x534e4150") && header.contains("#define SNAP_PRCTL 0x534e4150"));
}
