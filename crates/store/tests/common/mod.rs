//! The tests of the store and of `snaprepo` share this module.
#![allow(dead_code, reason = "each test binary uses its part")]

use snapfn_format::snap::{
    BytesRef, FILE_CODE, FILE_DATA, FILE_SELF, File, MetaBuilder, OP_MAP_ANON, OP_MAP_FILE, Op, PROT_EXEC, PROT_READ,
    PROT_WRITE, PlanTables, Process, Thread, resident,
};
use snapfn_format::{Digest, PAGE};
use snapfn_store::Kind;
use std::process::{Child, ChildStdout, Command, Stdio};

/// `SNAPFN_STRICT_TESTS=1`: a test that cannot run here fails instead of being skipped.
pub(crate) fn skip(test: &str, why: &str) {
    assert!(std::env::var_os("SNAPFN_STRICT_TESTS").is_none_or(|v| v != "1"), "{test} cannot run here: {why}");
    eprintln!("SKIP {test}: {why}");
}

/// A snapshot file that the format accepts: one thread, one mapped page of each file and the resident region.
pub(crate) fn snapshot(program: &str, files: &[(Kind, Digest)], page_fill: u8) -> Vec<u8> {
    let xstate = vec![0u8; 1024];
    let mut tables = PlanTables::default();
    let base = 0x1700_0000_0000;
    let work = PAGE + resident::work_len(1, xstate.len() as u64);
    tables.process = Process {
        exe: tables.add_path(program.as_bytes()),
        start_brk: base + 0x10_0000,
        brk: base + 0x10_0000,
        resident: base,
        umask: 0o22,
        created: 1_700_000_000,
        ..Process::default()
    };
    tables.files.push(File { kind: FILE_SELF, ..File::default() });
    for (kind, digest) in files {
        let kind = if *kind == Kind::Code { FILE_CODE } else { FILE_DATA };
        // The first is the program's.
        let is_exe = kind == FILE_CODE && tables.files.iter().all(|file| file.kind != FILE_CODE);
        let path = if is_exe { tables.process.exe } else { BytesRef::default() };
        tables.files.push(File { kind, digest: *digest, size: PAGE, path, ..File::default() });
    }
    let (map, rx, rw) = (OP_MAP_FILE, PROT_READ | PROT_EXEC, PROT_READ | PROT_WRITE);
    tables.ops.push(Op { kind: map, prot: rx, addr: base, len: PAGE, offset: 2 * PAGE, ..Op::default() });
    tables.ops.push(Op { kind: OP_MAP_ANON, prot: rw, addr: base + PAGE, len: work, ..Op::default() });
    for index in 0..files.len() as u64 {
        let (addr, file) = (base + 0x20_0000 + index * PAGE, 1 + index as u16);
        tables.ops.push(Op { kind: map, prot: PROT_READ, file, addr, len: PAGE, ..Op::default() });
    }
    let xstate = tables.add_bytes(&xstate);
    tables.threads.push(Thread { xstate, ..Thread::default() });

    let size = 3 * PAGE;
    tables.files[0].size = size;
    assert!(tables.meta_len() <= 2 * PAGE, "the plan fits before the page");
    let mut elf = [0u8; 64];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
    elf[16] = 4; // ET_CORE
    elf[18] = 62;
    let mut bytes = MetaBuilder::build(&tables, &elf, size);
    bytes.resize(2 * PAGE as usize, 0);
    bytes.resize(size as usize, page_fill);
    bytes
}

/// This test binary again, with only the function `name`, a test that does nothing in an ordinary run.
pub(crate) fn helper(name: &str, root: &std::path::Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test has a path"));
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env("STORE_TEST_ROOT", root);
    command
}

/// The root given to [`helper`], in the child only.
pub(crate) fn helper_root() -> Option<std::path::PathBuf> {
    std::env::var_os("STORE_TEST_ROOT").map(Into::into)
}

/// Starts `command` and waits for a line that contains `word`.
pub(crate) fn start_until(command: &mut Command, word: &str) -> (Child, std::io::BufReader<ChildStdout>) {
    use std::io::BufRead;
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the helper starts");
    let mut out = std::io::BufReader::new(child.stdout.take().expect("its output is a pipe"));
    let mut line = String::new();
    while !line.contains(word) {
        line.clear();
        assert_ne!(out.read_line(&mut line).expect("its output is text"), 0, "the helper ended before '{word}'");
    }
    (child, out)
}
