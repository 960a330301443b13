//! Writing the snapshot file, as [`super::layout`] has it: one pass of large writes. The file gets its name later.

use super::fds::FdTables;
use super::layout::{Layout, OpenFile, Run, layout};
use super::memory::{Image, read_image};
use super::refuse::DumpError;
use super::secrets::Secrets;
use super::verify::verify;
use crate::tracee::{TraceError, Tracer};
use snapfn_format::clear_ranges;
use snapfn_format::snap::PlanTables;
use snapfn_store::{BlobWriter, Kind, Transaction};
use std::os::unix::fs::FileExt;

/// Bytes written at a time, from one multiple of it in the file to the next: the page cache has a 2 MiB folio for each
/// 2 MiB of the file that one write covers.
const WRITE: u64 = 4 << 20;

pub(super) fn write(
    tracer: &Tracer,
    image: &Image,
    tables: &PlanTables,
    notes: &[u8],
    fds: &FdTables,
    secrets: &Secrets,
    transaction: &Transaction,
) -> Result<BlobWriter, DumpError> {
    let Layout { head, runs, contents, end } = layout(image, tables, notes, fds)?;
    let mut writer = transaction.writer(Kind::Snap)?;
    writer.append(&head)?;
    let mut at = head.len() as u64;
    let mut buffer = Vec::new();
    for Run { addr, len, offset } in runs {
        writer.skip(offset - at)?;
        let mut done = 0;
        while done < len {
            let size = chunk(offset + done, len - done);
            buffer.resize(size as usize, 0);
            read_image(tracer, addr + done, &mut buffer)?;
            writer.append(&buffer)?;
            done += size;
        }
        at = offset + len;
    }
    for OpenFile { file, blank, start, len, offset } in contents {
        writer.skip(offset - at)?;
        let mut done = 0;
        while done < len {
            buffer.resize(chunk(offset + done, len - done) as usize, 0);
            file.read_exact_at(&mut buffer, start + done).map_err(TraceError::system("the content of an open file"))?;
            clear_ranges(&mut buffer, start + done, blank);
            writer.append(&buffer)?;
            done += buffer.len() as u64;
        }
        at = offset + len;
    }
    writer.skip(end - at)?;
    secrets.verify(end, |at, bytes| writer.read_at(bytes, at))?;
    let store = transaction.store();
    verify(&writer, |kind, digest| Ok(store.blob(kind, digest)?.map(|blob| blob.size)))?;
    Ok(writer)
}

/// Length of the next write at `offset`, with `left` bytes to write.
fn chunk(offset: u64, left: u64) -> u64 {
    left.min(WRITE - offset % WRITE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_end_at_multiples_of_their_size() {
        let mut at = 0xb8000;
        let end = at + 3 * WRITE;
        let mut ends = Vec::new();
        while at < end {
            at += chunk(at, end - at);
            ends.push(at);
        }
        assert_eq!(ends, [WRITE, 2 * WRITE, 3 * WRITE, end]);
    }
}
