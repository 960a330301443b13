//! Exported init data files: what cannot be exported is refused by name, and so is an export that is damaged, forged,
//! incomplete or not for this machine. The oracle compares the results (`heap_exported.c`, `cxx_exported.cc`).
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs;
use std::mem::offset_of;
use std::path::{Path, PathBuf};

use snapfn_format::checksum;
use snapfn_format::init::{Exported, HeapRun, Init, InitHeader, seal};
use snapfn_format::snap::{AT_SYSCALL, HEADER_OFFSET, HostNeeds, Process, SnapHeader, TableId, peek_header};
use snapfn_tests::run::Outcome;
use snapfn_tests::workspace::{Workspace, tree};
use zerocopy::IntoBytes;

const SMALL: &str = r#"
    #include <snap.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    static char data[9000] = "data", bss[9000];
    int main(void) {
        char *heap = malloc(50000);
        memset(heap, 'h', 50000);
        strcpy(bss + 8000, "bss");
        snap_ready();
        printf("%s %s %c\n", data, bss + 8000, heap[49999]);
        return 0;
    }"#;

/// A workspace with the export of a small program, and its path.
fn export() -> (Workspace, PathBuf) {
    let workspace = Workspace::new();
    let exe = workspace.compile("small", SMALL, &["-O1"]);
    workspace.created(&["--tag", "small", "--", &exe]);
    let init = workspace.out().join("export.init");
    workspace.snapshotter(&["export", "small", "--init", &init.to_string_lossy()]).success();
    (workspace, init)
}

fn create(workspace: &Workspace, init: &Path, more: &[&str]) -> Outcome {
    workspace.snapshotter(&[&["create", "--tag", "made", "--init", &init.to_string_lossy()], more].concat())
}

/// A refusal says why, and leaves nothing in the store.
#[track_caller]
fn refused(workspace: &Workspace, init: &Path, why: &str) {
    let before = workspace.stored();
    let outcome = create(workspace, init, &[]);
    assert_eq!(outcome.status, "1", "{why}: {outcome}");
    assert!(outcome.stdout.is_empty() && outcome.err().contains(why), "{why}: {outcome}");
    assert_eq!(workspace.stored(), before, "{why}: the store changed");
}

/// A file beside the export, with these bytes.
fn write(init: &Path, bytes: &[u8]) -> PathBuf {
    let forged = init.with_file_name("forged.init");
    fs::write(&forged, bytes).unwrap();
    forged
}

#[test]
fn the_same_snapshot_gives_the_same_file_and_so_does_its_copy() {
    let (workspace, init) = export();
    let first = fs::read(&init).unwrap();
    create(&workspace, &init, &[]).success();
    let again = workspace.out().join("again.init");
    for name in ["small", "made"] {
        workspace.snapshotter(&["export", name, "--init", &again.to_string_lossy()]).success();
        assert!(fs::read(&again).unwrap() == first, "{name}");
    }
    let outcome = workspace.snaprun(&["made"]).run().success();
    assert_eq!(outcome.out(), "data bss h\n");
}

/// Neither canary nor random bytes of the program leave the host.
#[test]
fn words_that_every_start_renews_are_zero() {
    use snapfn_format::init::Place;
    use snapfn_format::snap::{PATCH_CANARY, PATCH_MEMORY};
    let (_workspace, init) = export();
    let (bytes, words) = aligned(&init);
    let exported = Exported::parse(Init::parse(&words.as_bytes()[..bytes]).unwrap()).unwrap();
    let (plan, file) = (exported.plan(), exported.init());
    let canaries = plan.patches.iter().filter(|patch| patch.place == PATCH_MEMORY && patch.kind == PATCH_CANARY);
    let mut seen = 0;
    for addr in canaries.map(|patch| patch.addr).chain([plan.header.process.at_random]) {
        let run = file.heap().iter().find(|run| (run.addr.get()..run.addr.get() + run.len.get()).contains(&addr));
        let Some(run) = run else { continue };
        let at = (addr - run.addr.get()) as usize;
        assert_eq!(file.heap_bytes(run)[at..at + 8], [0; 8], "{addr:#x}");
        seen += 1;
    }
    assert!(seen >= 2, "the canary of the thread and the random bytes");
    let places = exported.stored().flat_map(|stored| exported.places().pieces(stored)).map(|piece| piece.place);
    assert_eq!(places.filter(|place| *place == Place::Vdso).count(), 1, "the page of the vDSO is the host's");
}

fn aligned(file: &Path) -> (usize, Vec<u64>) {
    let bytes = fs::read(file).unwrap();
    let mut words = vec![0u64; bytes.len().div_ceil(8)];
    words.as_mut_bytes()[..bytes.len()].copy_from_slice(&bytes);
    (bytes.len(), words)
}

#[test]
fn what_is_no_function_of_its_memory_is_refused_with_all_reasons() {
    let workspace = Workspace::new();
    let source = include_str!("exported/state.c");
    let exe = workspace.compile("state", source, &["-O1", "-pthread"]);
    workspace.created(&["--tag", "state", "--at", "ready", "--", &exe]);
    let init = workspace.out().join("state.init").to_string_lossy().into_owned();
    let outcome = workspace.snapshotter(&["export", "state", "--init", &init]);
    assert_eq!(outcome.status, "1", "{outcome}");
    let reasons = [
        "it has 2 threads",
        "descriptor 3 is no standard stream",
        "1 timers",
        "1 signals wait",
        "a resource limit",
        "an option of prctl",
        "priority",
        "a working directory of its own",
    ];
    for reason in reasons {
        assert!(outcome.err().contains(reason), "{reason}: {outcome}");
    }
    assert!(tree(&workspace.out()).iter().all(|path| !path.to_string_lossy().contains("state.init.")), "{outcome}");
    let at = workspace.compile("small", SMALL, &["-O1"]);
    workspace.created(&["--tag", "call", "--at", "syscall:write", "--", &at]);
    let outcome = workspace.snapshotter(&["export", "call", "--init", &init]);
    assert!(outcome.status == "1" && outcome.err().contains("--at main"), "{outcome}");
}

#[test]
fn files_that_no_export_has_written_stay() {
    let (workspace, init) = export();
    let snapcc = workspace.out().join("small.init");
    let foreign = workspace.out().join("daemon.init");
    fs::write(&foreign, "#!/bin/sh\n").unwrap();
    for path in [&snapcc, &foreign] {
        let before = fs::read(path).unwrap();
        let outcome = workspace.snapshotter(&["export", "small", "--init", &path.to_string_lossy()]);
        assert!(outcome.status == "1" && outcome.err().contains("not of an export"), "{outcome}");
        assert_eq!(fs::read(path).unwrap(), before);
    }
    let code = workspace.out().join("alone.code");
    fs::write(&code, "other").unwrap();
    let outcome = workspace.snapshotter(&["export", "small", "--init", &code.with_extension("init").to_string_lossy()]);
    assert!(outcome.status == "1" && outcome.err().contains("alone.code"), "{outcome}");
    // An init data file of a compiler driver is no export.
    refused(&workspace, &snapcc, "not exported");
    refused(&workspace, &init.with_extension("code"), "not an init data file");
    refused(&workspace, Path::new("/nonexistent.init"), "/nonexistent.init");
    refused(&workspace, Path::new("/dev/zero"), "/dev/zero");
}

#[test]
fn a_host_that_lacks_something_or_has_another_program_is_told() {
    let (workspace, init) = export();
    let forged = forge(&init, |header, state| {
        let at = header.tables[TableId::HostNeeds as usize].offset as usize + offset_of!(HostNeeds, cpu);
        state[at + 7] |= 0x80;
    });
    refused(&workspace, &forged, "needs CPU feature 63");
    let other = workspace.compile("other", "int main(void) { return 0; }", &["-O1"]);
    let exe = workspace.out().join("small").to_string_lossy().into_owned();
    let outcome = create(&workspace, &init, &["--", &other]);
    assert!(outcome.status == "1" && outcome.err().contains("not the program that was exported"), "{outcome}");
    let outcome = create(&workspace, &init, &["--", &exe, "argument"]);
    assert!(outcome.status == "1" && outcome.err().contains("give others to snaprun"), "{outcome}");
    create(&workspace, &init, &["--", &exe]).success();
    let outcome = create(&workspace, &init, &["--at", "main"]);
    assert!(outcome.status == "2" && outcome.err().contains("--init"), "{outcome}");
}

#[test]
fn files_that_are_not_to_be_had_are_named() {
    let (workspace, init) = export();
    fs::remove_dir_all(workspace.store()).unwrap();
    fs::create_dir(workspace.store()).unwrap();
    fs::remove_file(workspace.out().join("small")).unwrap();
    fs::remove_file(init.with_extension("code")).unwrap();
    refused(&workspace, &init, "small (code/");
    // A file with the right name and length, and other content.
    let (len, _) = aligned(&init);
    let size = Init::parse(&aligned(&init).1.as_bytes()[..len]).unwrap().header().code_size.get();
    fs::write(init.with_extension("code"), vec![1; size as usize]).unwrap();
    refused(&workspace, &init, "small (code/");
}

/// A copy with another state, whose checksums fit.
fn forge(init: &Path, change: impl Fn(&SnapHeader, &mut [u8])) -> PathBuf {
    let (len, mut words) = aligned(init);
    let bytes = &mut words.as_mut_bytes()[..len];
    let (start, state_len, header) = {
        let state = Init::parse(bytes).unwrap().state().unwrap();
        let size = u64::from_le_bytes(state[HEADER_OFFSET + 32..][..8].try_into().unwrap());
        let start = state.as_ptr().addr() - bytes.as_ptr().addr();
        (start, state.len(), *peek_header(state, size).unwrap())
    };
    let state = &mut bytes[start..start + state_len];
    change(&header, state);
    let at = HEADER_OFFSET + offset_of!(SnapHeader, checksum);
    state[at..at + 8].fill(0);
    let sum = checksum(&state[..header.meta_len as usize]);
    state[at..at + 8].copy_from_slice(&sum.to_le_bytes());
    seal(bytes);
    let copy = bytes.to_vec();
    write(init, &copy)
}

#[test]
fn a_state_that_does_not_fit_the_file_is_refused() {
    let (workspace, init) = export();
    let process = HEADER_OFFSET + offset_of!(SnapHeader, process);
    let set = |state: &mut [u8], at: usize, value: u64| state[at..at + 8].copy_from_slice(&value.to_le_bytes());
    let add = |state: &mut [u8], at: usize, value: u64| {
        let old = u64::from_le_bytes(state[at..at + 8].try_into().unwrap());
        state[at..at + 8].copy_from_slice(&old.wrapping_add(value).to_le_bytes());
    };
    type Change<'a> = &'a dyn Fn(&SnapHeader, &mut [u8]);
    let cases: &[(&str, Change<'_>)] = &[
        ("function of its memory", &|_, state| {
            let at = process + offset_of!(Process, at);
            state[at..at + 4].copy_from_slice(&AT_SYSCALL.to_le_bytes());
        }),
        ("the program lies elsewhere", &|_, state| add(state, process + offset_of!(Process, start_code), 1)),
        ("invalid", &|_, state| add(state, process + offset_of!(Process, start_code), 4096)),
        ("length of the snapshot file", &|header, state| {
            // The snapshot itself is the first file.
            set(state, header.tables[TableId::Files as usize].offset as usize + 32, 1 << 60);
            set(state, HEADER_OFFSET + offset_of!(SnapHeader, file_size), 1 << 60);
        }),
        ("another program", &|header, state| {
            // The first code segment file is the program's, or the change hits a library: then it is not to be had.
            let table = header.tables[TableId::Files as usize];
            for file in 1..table.count as usize {
                state[table.offset as usize + 56 * file] ^= 1;
            }
        }),
        ("place of stored pages", &|header, state| {
            let table = header.tables[TableId::Ops as usize];
            let op = (0..table.count as usize).map(|index| table.offset as usize + 32 * index).find(|at| {
                // An operation that maps pages of the snapshot itself.
                state[*at..*at + 2] == [1, 0] && state[*at + 4..*at + 6] == [0, 0]
            });
            add(state, op.unwrap() + 24, 4096);
        }),
    ];
    for (why, change) in cases {
        refused(&workspace, &forge(&init, change), why);
    }
}

/// Each edit of a table has a checksum that fits.
#[test]
fn tables_that_do_not_fit_the_state_are_refused() {
    let (workspace, init) = export();
    let good = fs::read(&init).unwrap();
    let file = Init::parse(&good).unwrap();
    let place = |record: *const u8| record.addr() - good.as_ptr().addr();
    let heap = place(std::ptr::from_ref(&file.heap()[1]).cast());
    let run = place(std::ptr::from_ref(&file.runs()[0]).cast());
    let edits: &[(&str, usize, u8)] = &[
        ("heap run", heap + offset_of!(HeapRun, addr) + 1, 0x50),
        ("heap run", heap + offset_of!(HeapRun, prot), 7),
        ("features", offset_of!(InitHeader, incompatible), 3),
        ("length of the state", offset_of!(InitHeader, incompatible), 0),
        ("run", run + 6, 1),
        ("", offset_of!(InitHeader, state_len), 0),
        ("", offset_of!(InitHeader, heap_count), 1),
        ("another program", offset_of!(InitHeader, code_digest), good[offset_of!(InitHeader, code_digest)] ^ 1),
    ];
    for (why, at, value) in edits {
        let mut bad = good.clone();
        bad[*at] = *value;
        seal(&mut bad);
        if bad != good {
            refused(&workspace, &write(&init, &bad), why);
        }
    }
}

#[test]
fn damaged_files_are_refused() {
    let (workspace, init) = export();
    let good = fs::read(&init).unwrap();
    for len in [0, 7, 8, 319, 320, 1000, good.len() / 2, good.len() - 4096, good.len() - 1] {
        refused(&workspace, &write(&init, &good[..len]), "forged.init");
    }
    refused(&workspace, &write(&init, &[&good[..], b"x"].concat()), "forged.init");
    for at in (0..good.len()).step_by(good.len() / 60) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        refused(&workspace, &write(&init, &bad), "forged.init");
    }
}
