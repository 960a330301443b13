//! Tests what the loader relies on after `Plan::parse`, against damage and against forgers who correct the checksum.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test panics where it fails")]

#[path = "common/contract.rs"]
mod contract;
#[path = "common/sample.rs"]
mod sample;

use contract::check_contract;
use proptest::prelude::*;
use sample::{Sample, aligned, build, fix_checksum};
use snapfn_format::layout::{LOADER_END, LOADER_START, USER_END, USER_START};
use snapfn_format::snap::*;
use snapfn_format::{FormatError, PAGE};
use zerocopy::IntoBytes;

fn parse<T>(meta: &[u8], size: u64, then: impl FnOnce(Result<Plan<'_>, FormatError>) -> T) -> T {
    let words = aligned(meta);
    then(Plan::parse(&words.as_bytes()[..meta.len()], size))
}

#[test]
fn what_is_written_is_read() {
    let (meta, size) = Sample::default().meta();
    let tables = Sample::default().tables(size - sample::PAGES as u64 * PAGE);
    parse(&meta, size, |plan| {
        let plan = plan.unwrap();
        check_contract(&plan);
        let read = PlanTables::from(&plan);
        assert_eq!(format!("{read:?}"), format!("{tables:?}"));
        assert_eq!(build(&read, size).0, meta);
    });
}

/// A file of version 1 stays readable, and the same input gives the same bytes, in every later version.
#[test]
fn golden_file() {
    let (meta, size) = Sample::default().meta();
    is_golden("snap-v1.meta", &meta);
    parse(&meta, size, |plan| assert_eq!(plan.unwrap().threads.len(), 2));
}

/// As [`Sample`], with patches for everything that a start may give its vectors, and with a title.
fn vectors_sample() -> (PlanTables, u64) {
    let (meta, size) = Sample::default().meta();
    let mut tables = parse(&meta, size, |plan| PlanTables::from(&plan.unwrap()));
    let data = tables.patches[0].addr;
    let word = |offset, kind, arg| Patch { addr: data + offset, kind, place: PATCH_MEMORY, arg };
    let added = [
        word(16, PATCH_VECTOR, 3),
        word(64, PATCH_ARGC_INT, 0),
        word(68, PATCH_ENVC_INT, 0),
        word(72, PATCH_ARGV_END, 0),
        word(80, PATCH_ENVP_END, 0),
        word(88, PATCH_ENVC, 0),
    ];
    tables.patches.splice(2..2, added);
    let (start, end) = (tables.process.start_stack, tables.process.start_stack + 100);
    tables.settings.extend([SETTING_ARGUMENTS, SETTING_ENVIRONMENT].map(|kind| Setting {
        kind,
        which: 0,
        a: start,
        b: end,
    }));
    (tables, size)
}

#[test]
fn golden_vectors() {
    let (tables, size) = vectors_sample();
    let (meta, size) = build(&tables, size);
    is_golden("snap-v1-vectors.meta", &meta);
    parse(&meta, size, |plan| {
        let plan = plan.unwrap();
        check_contract(&plan);
        assert_eq!(plan.header.incompatible, FEATURE_VECTORS);
    });
}

/// As [`Sample`], with the ID of a CPU clock.
#[test]
fn golden_clocks() {
    let (meta, size) = Sample::default().meta();
    let mut tables = parse(&meta, size, |plan| PlanTables::from(&plan.unwrap()));
    let addr = tables.patches[0].addr + 20;
    tables.patches.insert(2, Patch { addr, kind: PATCH_CLOCK, place: PATCH_MEMORY, arg: 1 });
    let (meta, size) = build(&tables, size);
    is_golden("snap-v1-clocks.meta", &meta);
    parse(&meta, size, |plan| assert_eq!(plan.unwrap().header.incompatible, FEATURE_CLOCKS));
}

#[test]
fn vectors_that_are_refused() {
    type Change = fn(&mut PlanTables);
    let refused: [(&str, Change); 8] = [
        ("patch in record 2", |t| t.patches[2].arg = 1 << 20),
        ("patch in record 2", |t| t.patches[2].arg = (PAGE * 9) as u32),
        ("patch in record 3", |t| (t.patches[3].kind, t.patches[3].addr) = (PATCH_VECTOR, t.patches[2].addr + 32)),
        ("patch in record 3", |t| t.patches[3].arg = 99),
        ("patch in record 4", |t| t.patches[4].kind = PATCH_ENVC),
        ("patch in record 12", |t| t.patches[12].kind = PATCH_VECTOR),
        ("setting in record 2", |t| t.settings[2].a = t.settings[2].b + 1),
        ("setting in record 3", |t| t.settings[3].b = u64::MAX),
    ];
    for (what, change) in refused {
        let (mut tables, size) = vectors_sample();
        change(&mut tables);
        let (meta, size) = build(&tables, size);
        parse(&meta, size, |plan| match plan {
            Ok(_) => panic!("{what} was accepted"),
            Err(error) => assert!(error.to_string().contains(what), "{what}: {error}"),
        });
    }
}

/// As [`Sample`], with operations and a step whose bytes lie in data files (the split form).
fn split_sample() -> (Vec<u8>, u64) {
    let (meta, size) = Sample::default().meta();
    let mut tables = parse(&meta, size, |plan| PlanTables::from(&plan.unwrap()));
    let part = tables.files.len() as u16;
    for digest in [[7; 32], [8; 32]] {
        tables.files.push(File {
            digest: snapfn_format::Digest(digest),
            size: 1 << 20,
            kind: FILE_DATA,
            ..File::default()
        });
    }
    for op in tables.ops.iter_mut().filter(|op| op.kind == OP_READ || op.kind == OP_MAP_FILE && op.file == 0) {
        (op.file, op.offset) = (part, 0);
    }
    // A mapping, and with it the auxiliary vector, crosses from one part to the other.
    let at = tables.ops.iter().position(|op| op.kind == OP_MAP_FILE && op.len == 3 * PAGE).unwrap();
    let first = Op { len: PAGE, ..tables.ops[at] };
    let second = Op { addr: first.addr + PAGE, len: 2 * PAGE, file: part + 1, ..first };
    tables.ops.splice(at..=at, [first, second]);
    (tables.process.auxv, tables.process.auxv_len) = (second.addr - 32, 64);
    content(&mut tables, u64::from(part) + 1);
    build(&tables, size)
}

/// Makes the second step copy a page from the place that `c` names.
fn content(tables: &mut PlanTables, c: u64) {
    tables.fd_steps[1] = FdStep { fd: 9, kind: STEP_CONTENT, b: PAGE, c, ..FdStep::default() };
}

#[test]
fn golden_split_form() {
    let (meta, size) = split_sample();
    is_golden("snap-v1-split.meta", &meta);
    parse(&meta, size, |plan| {
        let plan = plan.unwrap();
        check_contract(&plan);
        let (_, _, from) = plan.fd_steps.iter().find_map(FdStep::content).unwrap();
        assert_eq!(from, ContentSource { file: plan.files.len() as u16 - 1, offset: 0 });
    });
}

/// The header announces descriptors and steps that came with threads' files and connected datagram sockets.
#[test]
fn later_descriptors_are_announced_and_checked() {
    let (meta, size) = Sample::default().meta();
    parse(&meta, size, |plan| assert_eq!(plan.unwrap().header.incompatible & FEATURE_DESCRIPTORS, 0));
    let sample = parse(&meta, size, |plan| PlanTables::from(&plan.unwrap()));
    let last = sample.fds.iter().rev().find(|fd| fd.fd < FD_TEMPORARY).unwrap().fd;
    let peer = [2, 0, 0, 53, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let with = |thread: u32, kind: u64, path: &[u8], peer: &[u8]| {
        let mut tables = sample.clone();
        let (path, data) = (tables.add_bytes(path), tables.add_bytes(peer));
        let temporary = tables.fds.iter().position(|fd| fd.fd >= FD_TEMPORARY).unwrap_or(tables.fds.len());
        assert_eq!(temporary, tables.fds.len(), "indices behind the new records would move");
        tables.fds.push(Fd { path, ..Fd::new(last + 1, 0, Descriptor::OfThread { thread, offset: 0 }) });
        tables.fds.push(Fd::new(last + 2, 2, Descriptor::Socket { family: 2, kind, protocol: 17 }));
        let socket = tables.fds.len() as u32 - 1;
        tables.fd_steps.push(FdStep { data, ..FdStep::new(socket, Step::Connect) });
        build(&tables, size)
    };
    let (meta, size) = with(0, 2, b"/comm\0", &peer);
    is_golden("snap-v1-descriptors.meta", &meta);
    parse(&meta, size, |plan| {
        let plan = plan.unwrap();
        check_contract(&plan);
        assert_eq!(plan.header.incompatible & FEATURE_DESCRIPTORS, FEATURE_DESCRIPTORS);
        assert_eq!(build(&PlanTables::from(&plan), size).0, meta);
    });
    for (thread, kind, path, peer) in [
        (16_384, 2, &b"/comm\0"[..], &peer[..]),
        (0, 1, b"/comm\0", &peer),
        (0, 2, b"comm\0", &peer),
        (0, 2, &[&[b'/'; 64][..], b"\0"].concat(), &peer),
        (0, 2, b"/comm\0", &[10, 0, 0, 53]),
        (0, 2, b"/comm\0", &[]),
    ] {
        let (meta, size) = with(thread, kind, path, peer);
        parse(&meta, size, |plan| assert!(plan.is_err(), "{thread} {kind} {path:?} {peer:?}"));
    }
    let mut meta = meta;
    let at = HEADER_OFFSET + std::mem::offset_of!(SnapHeader, incompatible);
    meta[at] &= !(FEATURE_DESCRIPTORS as u8);
    fix_checksum(&mut meta);
    parse(&meta, size, |plan| assert!(plan.is_err()));
}

/// The header announces arguments that instances keep, and the validation checks them.
#[test]
fn kept_arguments_are_announced_and_checked() {
    let (meta, size) = Sample::default().meta();
    let sample = parse(&meta, size, |plan| PlanTables::from(&plan.unwrap()));
    let with = |kept_args, at, argv0: Option<u64>| {
        let mut tables = sample.clone();
        let argv0 = argv0.unwrap_or(tables.process.argv0);
        tables.process = Process { kept_args, at, argv0, ..tables.process };
        build(&tables, size)
    };
    for (kept_args, feature) in [(0, 0), (1, FEATURE_KEPT_ARGS), (KEPT_ARGS_MAX, FEATURE_KEPT_ARGS)] {
        let (meta, size) = with(kept_args, AT_MAIN, None);
        parse(&meta, size, |plan| assert_eq!(plan.unwrap().header.incompatible & FEATURE_KEPT_ARGS, feature));
    }
    let (announced, size) = with(1, AT_MAIN, None);
    let mut hidden = announced;
    let at = HEADER_OFFSET + std::mem::offset_of!(SnapHeader, incompatible);
    hidden[at] &= !(FEATURE_KEPT_ARGS as u8);
    fix_checksum(&mut hidden);
    let refused =
        [(hidden, size), with(KEPT_ARGS_MAX + 1, AT_MAIN, None), with(1, AT_READY, None), with(1, AT_MAIN, Some(0))];
    for (meta, size) in refused {
        parse(&meta, size, |plan| assert!(plan.is_err()));
    }
}

/// The header announces settings and steps that came after version 1, and the validation checks them.
#[test]
fn later_settings_and_steps_are_announced_and_checked() {
    let (meta, size) = Sample::default().meta();
    parse(&meta, size, |plan| assert_eq!(plan.unwrap().header.incompatible & FEATURE_HIDDEN, 0));
    let sample = parse(&meta, size, |plan| PlanTables::from(&plan.unwrap()));
    let memory = sample.fds.iter().position(|fd| fd.kind == FD_MEMFD).unwrap() as u32;
    let setting = |kind, a| Setting { kind, which: 0, a, b: 0 };
    let step = |kind, a, b| FdStep { fd: memory, kind, a, b, ..FdStep::default() };
    let with = |settings: &[Setting], steps: &[FdStep], bytes: &[u8]| {
        let mut tables = sample.clone();
        let data = tables.add_bytes(bytes);
        tables.settings.extend_from_slice(settings);
        let named = |step: &FdStep| if step.kind == STEP_XATTR { FdStep { data, ..*step } } else { *step };
        tables.fd_steps.extend(steps.iter().map(named));
        build(&tables, size)
    };
    let settings = [setting(SETTING_MEMBARRIER, 16), setting(SETTING_MLOCKALL, 6), setting(SETTING_XCOMP_PERM, 18)];
    let steps = [step(STEP_MODE, 0o640, 0), step(STEP_XATTR, 0, 0), step(STEP_TIMES, 1, u64::MAX)];
    let name = b"user.colour\0";
    let (meta, size) = with(&settings, &steps, name);
    is_golden("snap-v1-hidden.meta", &meta);
    parse(&meta, size, |plan| {
        let plan = plan.unwrap();
        check_contract(&plan);
        assert_eq!(plan.header.incompatible & FEATURE_HIDDEN, FEATURE_HIDDEN);
        assert_eq!(build(&PlanTables::from(&plan), size).0, meta);
    });
    for bad in [
        setting(SETTING_MEMBARRIER, 0),
        setting(SETTING_MEMBARRIER, 8),
        setting(SETTING_MEMBARRIER, 16 | 64),
        setting(SETTING_MLOCKALL, 1),
        setting(SETTING_MLOCKALL, 4),
        setting(SETTING_XCOMP_PERM, 17),
        Setting { which: 1, ..settings[0] },
        Setting { b: 1, ..settings[1] },
    ] {
        let (meta, size) = with(&[bad], &[], name);
        parse(&meta, size, |plan| assert!(plan.is_err(), "{bad:?}"));
    }
    let other = sample.fds.iter().position(|fd| fd.kind == FD_PIPE).unwrap() as u32;
    for (bad, name) in [
        (step(STEP_MODE, 0o10000, 0), &name[..]),
        (FdStep { fd: other, ..steps[0] }, name),
        (FdStep { fd: other, ..steps[1] }, name),
        (FdStep { fd: other, ..steps[2] }, name),
        (steps[1], b"user.colour"),
        (steps[1], b"user\0colour\0"),
        (steps[1], &[b'x'; 300]),
    ] {
        let (meta, size) = with(&[], &[bad], name);
        parse(&meta, size, |plan| assert!(plan.is_err(), "{bad:?} {name:?}"));
    }
    // Only the announcement, or only the records.
    let (mut meta, size) = with(&[], &[], name);
    let at = HEADER_OFFSET + std::mem::offset_of!(SnapHeader, incompatible);
    meta[at] |= FEATURE_HIDDEN as u8;
    fix_checksum(&mut meta);
    parse(&meta, size, |plan| assert!(plan.is_err()));
    let (mut meta, size) = with(&settings, &[], name);
    meta[at] &= !(FEATURE_HIDDEN as u8);
    fix_checksum(&mut meta);
    parse(&meta, size, |plan| assert!(plan.is_err()));
}

/// The host requirements came after version 1. Without them, the needs of the snapshot are unknown.
#[test]
fn host_requirements_are_optional_and_checked() {
    let mut sample = Sample::default().tables(Sample::default().meta().1 - sample::PAGES as u64 * PAGE);
    let (meta, size) = Sample::default().meta();
    parse(&meta, size, |plan| assert!(plan.unwrap().needs.is_none()));
    let needs = HostNeeds {
        cpu: [0x1_007f, 0],
        xcr0: 7,
        kernel: 4 << 16 | 17,
        page_shift: 12,
        cpu_name: sample.add_bytes(b"Sample CPU"),
        ..HostNeeds::default()
    };
    let rebuilt = |needs: HostNeeds, live: u64| {
        let mut tables = PlanTables { needs: Some(needs), ..sample.clone() };
        for thread in &tables.threads {
            let at = thread.xstate.offset as usize + 472;
            tables.bytes[at..at + 8].copy_from_slice(&live.to_le_bytes());
        }
        let size = tables.meta_len().next_multiple_of(PAGE) + sample::PAGES as u64 * PAGE;
        tables.files[0].size = size;
        tables
            .ops
            .iter_mut()
            .filter(|op| op.kind == OP_READ || op.kind == OP_MAP_FILE && op.file == 0)
            .for_each(|op| op.offset = 0);
        tables.fd_steps.retain(|step| step.kind != STEP_CONTENT);
        build(&tables, size)
    };
    let (meta, size) = rebuilt(needs, 7);
    parse(&meta, size, |plan| {
        let plan = plan.unwrap();
        assert_eq!(plan.needs, Some(&needs));
        assert_eq!(plan.bytes(plan.needs.unwrap().cpu_name), b"Sample CPU");
    });
    let keys_at = |place| {
        let mut places = [0; COMPONENTS];
        places[9] = place;
        places
    };
    let far = BytesRef { offset: u32::MAX, len: 1 };
    let (meta, size) = rebuilt(HostNeeds { places: keys_at(2432), ..needs }, 7 | 1 << 9);
    parse(&meta, size, |plan| {
        let plan = plan.unwrap();
        assert_eq!(plan.needs.unwrap().places[9], 2432);
        check_contract(&plan);
    });
    is_golden("snap-v1-host.meta", &meta);
    let bad = [
        (HostNeeds { flags: 2, ..needs }, 7),
        (HostNeeds { level: 1, ..needs }, 7),
        (HostNeeds { cpu_name: far, ..needs }, 7),
        (HostNeeds { release: far, ..needs }, 7),
        // Places of state that is not live, and outside of the area; live state without a place, or of an unknown kind.
        (HostNeeds { places: keys_at(2688), ..needs }, 7),
        (HostNeeds { places: keys_at(568), ..needs }, 7 | 1 << 9),
        (HostNeeds { places: keys_at(2431), ..needs }, 7 | 1 << 9),
        (HostNeeds { places: keys_at(1 << 16), ..needs }, 7 | 1 << 9),
        (needs, 7 | 1 << 9),
        (needs, 7 | 1 << 20),
    ];
    for (needs, live) in bad {
        let (meta, size) = rebuilt(needs, live);
        parse(&meta, size, |plan| assert_eq!(plan.unwrap_err(), FormatError::Invalid("host requirements")));
    }
}

/// The header records memory that is writable and executable, and no other record does.
#[test]
fn writable_and_executable_memory_is_announced() {
    let (meta, size) = Sample::default().meta();
    let pages = size - sample::PAGES as u64 * PAGE;
    let at = HEADER_OFFSET + std::mem::offset_of!(SnapHeader, incompatible);
    let forged = |change: fn(&mut PlanTables), announce: u8| {
        let mut tables = Sample::default().tables(pages);
        change(&mut tables);
        let mut meta = build(&tables, size).0;
        let written = meta[at];
        meta[at] = announce;
        fix_checksum(&mut meta);
        (written, parse(&meta, size, |plan| plan.map(|_| ()).map_err(|error| error.to_string())))
    };
    const RWX: u16 = PROT_READ | PROT_WRITE | PROT_EXEC;
    let mapped = |tables: &mut PlanTables| tables.ops[4].prot = RWX;
    let protected = |tables: &mut PlanTables| tables.ops[2].prot = RWX;
    // One file behind a path and a descriptor: it is written by way of the one and executed by way of the other.
    let twice = |tables: &mut PlanTables| tables.ops[18].prot = PROT_READ | PROT_EXEC;
    let implied = |tables: &mut PlanTables| {
        let personality = Setting { kind: SETTING_PERSONALITY, which: 0, a: READ_IMPLIES_EXEC, b: 0 };
        tables.settings.push(personality);
    };
    for change in [mapped, protected, twice, implied] {
        assert_eq!(forged(change, 1), (1, Ok(())));
        assert!(forged(change, 0).1.unwrap_err().contains("writable and executable"));
    }
    assert_eq!(forged(|_| (), 0), (0, Ok(())));
    assert!(forged(|_| (), 1).1.unwrap_err().contains("writable and executable"));
    assert!(meta[at] == 0);
}

/// Miri is a thousand times slower, so the test checks a few of many under it.
const STEP: usize = if cfg!(miri) { 2503 } else { 1 };

#[test]
fn every_bit_flip_is_refused() {
    let (meta, size) = Sample::default().meta();
    let mut words = aligned(&meta);
    for bit in (0..meta.len() * 8).step_by(STEP) {
        words.as_mut_bytes()[bit / 8] ^= 1 << (bit % 8);
        assert!(Plan::parse(&words.as_bytes()[..meta.len()], size).is_err(), "bit {bit}");
        words.as_mut_bytes()[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn every_truncation_is_refused() {
    let (meta, size) = Sample::default().meta();
    let words = aligned(&meta);
    for len in (0..meta.len()).step_by(STEP) {
        assert!(Plan::parse(&words.as_bytes()[..len], size).is_err(), "{len} bytes");
        assert!(Plan::parse(&words.as_bytes()[..len], len as u64).is_err(), "a file of {len} bytes");
    }
}

/// Many descriptors may name the same long path, which the validation checks for each.
#[test]
fn paths_are_looked_at_within_bounds() {
    let refusal = |count: u32| {
        let mut tables = Sample::default().tables(META_MAX);
        let path = tables.add_path(&[b'/'; 4095]);
        tables.fds.extend((20..20 + count).map(|fd| Fd { fd, kind: FD_PATH, path, ..Fd::default() }));
        let size = tables.files[0].size;
        parse(&build(&tables, size).0, size, |plan| plan.err().map(|error| error.to_string()))
    };
    assert_eq!(refusal(16_000), None);
    assert!(refusal(17_000).is_some_and(|why| why.contains("paths of descriptors")));
}

#[test]
fn refusals_name_what_is_wrong() {
    type Change = fn(&mut PlanTables);
    let cases: [(&str, Change); 58] = [
        ("operation in record 7", |t| t.ops[7].file = 1),
        ("operation in record 7", |t| t.ops[7].file = 3),
        ("file index in record 7", |t| t.ops[7].file = t.files.len() as u16),
        ("descriptor step in record 1", |t| content(t, 1)),
        ("descriptor step in record 1", |t| content(t, 4095)),
        ("descriptor step in record 1", |t| content(t, 3 + (t.files[3].size / PAGE + 1) * PAGE)),
        ("files table", |t| t.files.clear()),
        ("file in record 1", |t| t.files[1].kind = 9),
        ("file in record 4", |t| t.files[4].path = BytesRef::default()),
        ("file index in record 0", |t| t.ops[0].file = 77),
        ("operation in record 0", |t| t.ops[0].addr += 1),
        ("operation in record 1", |t| t.ops[1].addr -= PAGE),
        ("operation in record 2", |t| t.ops[2].addr += 2 * PAGE),
        ("operation in record 1", |t| t.ops[1].offset = t.files[0].size - PAGE),
        ("operation in record 0", |t| t.ops[0].len = 7 * PAGE),
        ("operation in record 0", |t| t.ops[0].prot = 8),
        ("operation in record 0", |t| t.ops[0].addr = 0),
        ("operation in record 15", |t| t.ops[15].addr = LOADER_START),
        ("operation in record 1", |t| t.ops[1].flags = OP_SHARED),
        ("operation in record 1", |t| t.ops[1].offset = u64::MAX - PAGE + 1),
        ("operation in record 14", |t| t.ops[14].offset = u64::MAX - PAGE + 1),
        ("operation in record 2", |t| {
            (t.ops[1].flags, t.ops[1].prot, t.ops[2].prot) = (OP_SHARED, PROT_READ, PROT_READ | PROT_WRITE);
        }),
        // A host file is mapped shared: its later length is unknown, and a patch behind its end would raise SIGBUS.
        ("operation in record 14", |t| t.ops[14].flags = 0),
        ("operation in record 16", |t| t.ops[16].offset = 9), // MADV_REMOVE: takes pages out of the file
        ("operation in record 16", |t| t.ops[16].offset = 4), // MADV_DONTNEED
        ("operation in record 16", |t| t.ops[16].offset = 100), // MADV_HWPOISON
        ("operation in record 17", |t| t.ops[17].offset = 2),
        ("threads table", |t| t.threads.clear()),
        ("thread in record 0", |t| t.threads[0].xstate.len = 100),
        ("thread in record 1", |t| t.threads[1].comm[15] = b'x'),
        ("thread in record 0", |t| t.threads[0].tid_cache = 8),
        ("resident region", |t| t.process.resident += PAGE),
        ("resident region", |t| t.ops[8].offset = t.files[0].size),
        ("resident region", |t| t.ops[9].flags = OP_SHARED),
        ("patch in record 0", |t| t.patches[0].addr = t.ops[0].addr),
        ("patch in record 1", |t| t.patches[1].addr = t.patches[0].addr),
        ("patch in record 5", |t| t.patches[5].addr += 4),
        ("patch in record 5", |t| t.patches[5].addr = (t.patches[5].addr | (PAGE - 1)) + PAGE - 7),
        ("patch in record 6", |t| t.patches[6].kind = PATCH_INFO),
        ("patch in record 5", |t| t.process.info = 0),
        ("descriptor in record 4", |t| t.fds[4].source = 4),
        ("descriptor in record 5", |t| t.fds[5].source = 7),
        ("descriptor in record 10", |t| t.fds[10].a = 10),
        ("descriptor step in record 0", |t| t.fd_steps[0].fd = 99),
        ("descriptor step in record 1", |t| t.fd_steps[1].fd = 8),
        ("descriptor step in record 2", |t| t.fd_steps[2].kind = STEP_IOCTL),
        ("descriptor step in record 3", |t| t.fd_steps[3].a = 99),
        ("signal disposition in record 0", |t| t.sigactions[0].signo = 65),
        ("environment change in record 1", |t| t.env_changes[1].addr = 1),
        ("thread in record 1", |t| t.threads[1].timeout = 1),
        ("thread in record 1", |t| (t.threads[1].timeout_form, t.threads[1].timeout_arg) = (1, reg::PC as u32)),
        ("setting in record 0", |t| t.settings[0].which = 35), // PR_SET_MM
        ("setting in record 1", |t| t.settings[1].b = 63),
        ("setting in record 1", |t| {
            t.settings[1] = Setting { kind: SETTING_PERSONALITY, which: 0, a: 0x10_0000, b: 0 }; // MMAP_PAGE_ZERO
        }),
        ("pending signal in record 0", |t| t.pending[0].thread = 2),
        ("timer in record 0", |t| t.timers[0].id = 3),
        ("working directory", |t| t.process.cwd.len -= 1),
        ("process record", |t| t.process.cwd = BytesRef { offset: u32::MAX, len: 0 }),
    ];
    let (_, size) = Sample::default().meta();
    for (wanted, change) in cases {
        let mut tables = Sample::default().tables(size - sample::PAGES as u64 * PAGE);
        change(&mut tables);
        let error = parse(&build(&tables, size).0, size, |plan| plan.expect_err(wanted).to_string());
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
}

/// Values at which arithmetic fails, and values that have a meaning in a plan.
fn interesting() -> impl Strategy<Value = u64> {
    prop_oneof![
        prop::sample::select(vec![
            0,
            1,
            2,
            3,
            7,
            PAGE,
            PAGE - 1,
            0xffff,
            0x1_0000,
            u64::from(u32::MAX),
            u64::MAX,
            u64::MAX - PAGE + 1,
            USER_START,
            USER_END,
            USER_END - PAGE,
            LOADER_START,
            LOADER_START - PAGE,
            LOADER_END,
            1 << 63,
        ]),
        (0x1700_0000_0000u64..0x1700_0300_0000).prop_map(|addr| addr & !0xfff),
        0u64..64,
        any::<u64>(),
    ]
}

/// A change of some bytes of the meta part: where, how wide, to what.
fn edits() -> impl Strategy<Value = Vec<(prop::sample::Index, usize, u64)>> {
    let width = prop::sample::select(vec![1usize, 2, 4, 8]);
    prop::collection::vec((any::<prop::sample::Index>(), width, interesting()), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 4096 }))]

    #[test]
    fn forged_plans_never_break_the_contract(edits in edits()) {
        let (mut meta, size) = Sample::default().meta();
        for (index, width, value) in edits {
            let at = index.index(meta.len() / width) * width;
            meta[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        }
        fix_checksum(&mut meta);
        parse(&meta, size, |plan| if let Ok(plan) = plan { check_contract(&plan) });
    }

    #[test]
    fn garbage_behind_the_magic_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        let (mut meta, size) = Sample::default().meta();
        let at = HEADER_OFFSET + std::mem::offset_of!(SnapHeader, tables);
        let len = bytes.len().min(meta.len() - at);
        meta[at..at + len].copy_from_slice(&bytes[..len]);
        fix_checksum(&mut meta);
        parse(&meta, size, |plan| if let Ok(plan) = plan { check_contract(&plan) });
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..1024), size: u64) {
        parse(&bytes, size, |plan| assert!(plan.is_err()));
    }
}

/// The bytes are those of a golden file; SNAPFN_BLESS=1 writes it.
#[track_caller]
fn is_golden(name: &str, meta: &[u8]) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("SNAPFN_BLESS").is_some() {
        std::fs::write(&path, meta).unwrap();
    }
    assert!(std::fs::read(&path).unwrap() == meta, "the bytes of {name} have changed");
}
