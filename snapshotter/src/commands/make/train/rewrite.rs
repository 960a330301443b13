//! The same snapshot with other operations: tables grow, so the page runs move. The content of pages is not read.

use crate::commands::examine::source::{ExamineError, Snapshot};
use crate::dump::{VerifyError, verify};
use snapfn_format::PAGE;
use snapfn_format::snap::*;
use snapfn_store::{BlobWriter, StoreError, Stored, Stores};
use thiserror::Error;

const HUGE: u64 = 2 << 20;
/// Bytes copied at a time; ext4 gives 2 MiB folios to aligned writes of at least that size.
const CHUNK: u64 = 4 << 20;
const PHDR: usize = 56;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;

/// Why a snapshot cannot be written anew.
#[derive(Debug, Error)]
pub(super) enum RewriteError {
    #[error(transparent)]
    Read(#[from] ExamineError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("its program headers are not laid out as this version does; make the snapshot again")]
    Layout,
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

/// Whether the operation names bytes of the snapshot file itself.
fn is_stored(op: &Op) -> bool {
    op.file == 0 && matches!(op.kind, OP_MAP_FILE | OP_READ)
}

/// Writes `snapshot` with `ops` in place of its operations.
pub(super) fn write(
    snapshot: &Snapshot,
    ops: Vec<Op>,
    stores: &Stores,
    mut writer: BlobWriter,
) -> Result<Stored, RewriteError> {
    let plan = snapshot.plan()?;
    let mut tables = PlanTables::from(&plan);
    tables.ops = ops;
    let (old_meta, meta_len) = (plan.header.meta_len, tables.meta_len());
    // Content that lies in the snapshot file itself.
    let content = |step: &FdStep| step.content().filter(|(_, _, from)| from.file == 0);
    let stored = plan.ops.iter().filter(|op| is_stored(op)).map(|op| op.offset);
    let first = stored.chain(plan.fd_steps.iter().filter_map(content).map(|(_, _, from)| from.offset)).min();
    let first = first.unwrap_or(snapshot.size).min(snapshot.size);
    let tail_len = first.checked_sub(old_meta).ok_or(RewriteError::Layout)?;
    // Large runs keep their place modulo 2 MiB.
    let step = if plan.ops.iter().any(|op| is_stored(op) && op.len >= HUGE) { HUGE } else { PAGE };
    let shift = (meta_len + tail_len).saturating_sub(first).next_multiple_of(step);
    let size = snapshot.size + shift;

    tables.ops.iter_mut().filter(|op| is_stored(op)).for_each(|op| op.offset += shift);
    for step in &mut tables.fd_steps {
        if let Some((to, len, mut from)) = content(step) {
            from.offset += shift;
            *step = step.with(Step::Content { to, len, from });
        }
    }
    tables.files.iter_mut().filter(|file| file.kind == FILE_SELF).for_each(|file| file.size = size);

    let mut elf = [0; 64];
    snapshot.read_at(&mut elf, 0)?;
    let mut tail = vec![0; tail_len as usize];
    snapshot.read_at(&mut tail, old_meta)?;
    move_headers(&mut elf, &mut tail, old_meta, meta_len, first, shift)?;
    let meta = MetaBuilder::build(&tables, &elf, size);

    writer.append(&meta)?;
    writer.append(&tail)?;
    writer.skip(first + shift - meta_len - tail_len)?;
    let mut at = first;
    let mut buffer = Vec::new();
    while at < snapshot.size {
        // Each write ends where a folio of the new file does.
        let end = ((at + shift) / CHUNK * CHUNK + CHUNK - shift).min(snapshot.size);
        buffer.resize((end - at) as usize, 0);
        snapshot.read_at(&mut buffer, at)?;
        writer.append(&buffer)?;
        at = end;
    }
    verify(&writer, |kind, digest| match stores.locate(kind, digest) {
        Ok((_, blob)) => Ok(Some(blob.size)),
        Err(StoreError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    })?;
    Ok(writer.commit()?)
}

/// The program headers follow the meta part, the notes for debuggers follow them.
fn move_headers(
    elf: &mut [u8; 64],
    tail: &mut [u8],
    old_meta: u64,
    meta_len: u64,
    first: u64,
    shift: u64,
) -> Result<(), RewriteError> {
    let word = |bytes: &[u8], at: usize| bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
    if word(elf, 32) != Some(old_meta) {
        return Err(RewriteError::Layout);
    }
    let count = usize::from(u16::from_le_bytes([elf[56], elf[57]]));
    elf[32..40].copy_from_slice(&meta_len.to_le_bytes());
    for header in tail.chunks_exact_mut(PHDR).take(count) {
        let kind = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let (offset, len) = (word(header, 8).unwrap_or(0), word(header, 32).unwrap_or(0));
        let (offset, len) = match kind {
            PT_NOTE if offset == 64 => (offset, meta_len - 64),
            PT_NOTE => (offset - old_meta + meta_len, len),
            PT_LOAD if offset >= first => (offset + shift, len),
            _ => (offset, len),
        };
        header[8..16].copy_from_slice(&offset.to_le_bytes());
        header[32..40].copy_from_slice(&len.to_le_bytes());
    }
    Ok(())
}
