//! Snapshots of any size in a store, made without running a program. The tests of push and pull share this module.
#![allow(dead_code, reason = "each test binary uses its part")]

#[path = "../../../../crates/format/tests/common/sample.rs"]
mod sample;

use sample::{PAGES, SIZES, Sample, build};
use snapfn_format::PAGE;
use snapfn_format::snap::{FD_MEMFD, FdStep, STEP_CONTENT};
use snapfn_store::{Digest, Kind, Ref, Store};
use std::path::{Path, PathBuf};

/// Bytes without any pattern; the same for the same seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| word().to_le_bytes()).collect();
    bytes.truncate(len);
    bytes
}

/// A snapshot file whose memory ends with `extra` (whole pages), which a descriptor's content names.
pub(crate) fn snapshot_file(files: [Digest; 3], extra: &[u8]) -> Vec<u8> {
    let sample = Sample { digests: files, ..Sample::default() };
    let tables = |first_page| {
        let mut tables = sample.tables(first_page);
        let memfd = tables.fds.iter().position(|fd| fd.kind == FD_MEMFD).unwrap() as u32;
        let (b, c) = (extra.len() as u64, first_page + PAGES as u64 * PAGE);
        tables.fd_steps.push(FdStep { fd: memfd, kind: STEP_CONTENT, b, c, ..FdStep::default() });
        tables.files[0].size = c + b;
        tables
    };
    let first_page = tables(0).meta_len().next_multiple_of(PAGE);
    let tables = tables(first_page);
    let size = tables.files[0].size;
    let (mut bytes, _) = build(&tables, size);
    bytes.resize(first_page as usize, 0);
    for fill in sample.pages {
        bytes.resize(bytes.len() + PAGE as usize, fill);
    }
    bytes.extend_from_slice(extra);
    assert_eq!(bytes.len() as u64, size);
    bytes
}

/// Stores a snapshot with that memory under `name`, with the files that it maps. `seed` decides the content of the
/// program's own file; the library is the same for all.
pub(crate) fn store_snapshot(store: &Store, name: &str, seed: u64, extra: &[u8]) -> Digest {
    let transaction = store.begin().unwrap();
    let contents = [seed, 1001, 1002].into_iter().zip(SIZES);
    let digests: Vec<Digest> = contents
        .zip([Kind::Code, Kind::Code, Kind::Data])
        .map(|((seed, size), kind)| transaction.put_bytes(kind, &noise(seed, size as usize)).unwrap().digest)
        .collect();
    let file = snapshot_file(digests.try_into().unwrap(), extra);
    let stored = transaction.put_bytes(Kind::Snap, &file).unwrap();
    transaction.set_ref(&Ref::parse(name).unwrap(), stored.digest).unwrap();
    stored.digest
}

/// Something that passes for a static `snaprun`.
pub(crate) fn loader(dir: &Path) -> PathBuf {
    let mut elf = vec![0u8; 4096];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    elf[16..20].copy_from_slice(&[2, 0, 62, 0]);
    let path = dir.join("snaprun");
    std::fs::write(&path, elf).unwrap();
    path
}
