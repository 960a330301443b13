//! The split form, from which a container engine starts, since it cannot join the parts of a snapshot file.

use crate::ImageError;
use crate::cut::Part;
use snapfn_format::snap::*;
use snapfn_format::{FormatError, PAGE};
use snapfn_store::Digest;
use zerocopy::IntoBytes;

/// The snapshot file that has the plan `plan` and takes its bytes from `parts`, which together are the original file.
/// Errors name that by `digest`.
pub fn split_form(plan: &Plan<'_>, digest: Digest, parts: &[Part]) -> Result<Vec<u8>, ImageError> {
    let fail = |source| ImageError::Split { digest, source };
    let mut tables = PlanTables::from(plan);
    let first = tables.files.len();
    let files = first + parts.len();
    if files > PAGE as usize {
        return Err(fail(FormatError::TooLarge("the files table")));
    }
    tables.files.extend(parts.iter().map(|part| File {
        digest: part.digest,
        size: part.len,
        kind: FILE_DATA,
        ..File::default()
    }));
    let pieces = Pieces { parts, first: first as u16 };
    tables.ops = operations(plan, &pieces);
    tables.fd_steps = plan.fd_steps.iter().flat_map(|step| contents(step, &pieces)).collect();

    let size = tables.meta_len().next_multiple_of(PAGE);
    if let Some(own) = tables.files.first_mut() {
        own.size = size;
    }
    let behind = |op: &Op| op.kind == OP_MAP_FILE && op.file == 0;
    for op in tables.ops.iter_mut().filter(|op| behind(op)) {
        op.offset = size;
    }
    let mut file = MetaBuilder::build(&tables, &elf_header(), size);
    file.resize(size as usize, 0);
    check(&file).map_err(fail)?;
    Ok(file)
}

/// A core file without program headers.
fn elf_header() -> [u8; 64] {
    let mut header = [0; 64];
    // ELF, 64 bit, little-endian, version 1.
    header[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1]);
    let words: [(usize, u16); 5] = [(16, 4), (18, snapfn_format::ARCH_X86_64), (20, 1), (52, 64), (54, 56)];
    for (at, value) in words {
        header[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    header
}

/// What the loader does first.
fn check(file: &[u8]) -> Result<(), FormatError> {
    let mut words = vec![0u64; file.len().div_ceil(8)];
    let bytes = &mut words.as_mut_bytes()[..file.len()];
    bytes.copy_from_slice(file);
    Plan::parse(bytes, file.len() as u64).map(drop)
}

/// A range of a part.
struct Piece {
    /// Index of the part in the files table.
    file: u16,
    /// Offset in the part.
    offset: u64,
    len: u64,
}

struct Pieces<'a> {
    parts: &'a [Part],
    /// Index of the first part in the files table.
    first: u16,
}

impl Pieces<'_> {
    /// The pieces of `len` bytes at `offset` of the snapshot file, which lie within it.
    fn of(&self, offset: u64, len: u64) -> Vec<Piece> {
        let end = offset + len;
        let begin = self.parts.partition_point(|part| part.offset + part.len <= offset);
        let rest = self.parts.get(begin..).unwrap_or_default().iter().zip(self.first + begin as u16..);
        rest.take_while(|(part, _)| part.offset < end)
            .map(|(part, file)| {
                let from = offset.max(part.offset);
                Piece { file, offset: from - part.offset, len: end.min(part.offset + part.len) - from }
            })
            .collect()
    }
}

fn is_map(op: &Op) -> bool {
    matches!(op.kind, OP_MAP_FILE | OP_MAP_ANON | OP_MAP_FD)
}

/// All operations: each mapping with the operations on it.
fn operations(plan: &Plan<'_>, pieces: &Pieces<'_>) -> Vec<Op> {
    let mut out = Vec::with_capacity(plan.ops.len() + pieces.parts.len());
    for group in plan.ops.chunk_by(|_, next| !is_map(next)) {
        let [map, followers @ ..] = group else { continue };
        let in_file = map.kind == OP_MAP_FILE && map.file == 0 && map.offset < plan.header.file_size;
        if !in_file {
            out.push(*map);
            out.extend(followers.iter().flat_map(|op| reads(op, pieces)));
            continue;
        }
        let mut addr = map.addr;
        for piece in pieces.of(map.offset, map.len) {
            let map = Op { file: piece.file, addr, len: piece.len, offset: piece.offset, ..*map };
            addr += piece.len;
            out.push(map);
            // What follows a mapping stays within it.
            out.extend(followers.iter().filter_map(|op| {
                let start = op.addr.max(map.addr);
                let end = (op.addr + op.len).min(map.addr + map.len);
                (start < end).then(|| Op { addr: start, len: end - start, ..*op })
            }));
        }
    }
    out
}

/// An operation that follows a mapping of zeros. Reads take their bytes from the parts.
fn reads(op: &Op, pieces: &Pieces<'_>) -> Vec<Op> {
    if op.kind != OP_READ || op.file != 0 {
        return vec![*op];
    }
    let mut addr = op.addr;
    let cut = pieces.of(op.offset, op.len).into_iter().map(|piece| {
        let read = Op { file: piece.file, addr, len: piece.len, offset: piece.offset, ..*op };
        addr += piece.len;
        read
    });
    cut.collect()
}

/// A step. Contents take their bytes from the parts.
fn contents(step: &FdStep, pieces: &Pieces<'_>) -> Vec<FdStep> {
    let Some((mut to, len, ContentSource { file: 0, offset })) = step.content() else { return vec![*step] };
    if len == 0 {
        return vec![*step];
    }
    let cut = pieces.of(offset, len).into_iter().map(|piece| {
        let from = ContentSource { file: piece.file, offset: piece.offset };
        let copy = step.with(Step::Content { to, len: piece.len, from });
        to += piece.len;
        copy
    });
    cut.collect()
}
