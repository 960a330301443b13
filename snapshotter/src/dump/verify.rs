//! Reads a snapshot file as a start does, before the file gets its name in the store.

use snapfn_format::snap::{FILE_CODE, FILE_DATA, Plan, peek_header};
use snapfn_format::{FormatError, PAGE};
use snapfn_store::{BlobWriter, Digest, Kind, StoreError};
use thiserror::Error;
use zerocopy::IntoBytes;

/// Why a snapshot is not kept.
#[derive(Debug, Error)]
pub(crate) enum VerifyError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("what was written is not a valid snapshot ({0}); this is a bug, please report it")]
    Format(#[from] FormatError),
    #[error("{kind}/{digest}, which the snapshot needs for {path}, {what}: has something removed it from the store?")]
    File { kind: Kind, digest: Digest, path: String, what: String },
}

/// Validates header and plan in `writer` with the loader's reader, and checks each file that the plan names: `size_of`
/// returns its size in the store.
pub(crate) fn verify(
    writer: &BlobWriter,
    size_of: impl Fn(Kind, Digest) -> Result<Option<u64>, StoreError>,
) -> Result<(), VerifyError> {
    let size = writer.len()?;
    let start = read(writer, size.min(PAGE))?;
    let meta_len = peek_header(start.as_bytes(), size)?.meta_len;
    let meta = read(writer, meta_len)?;
    let plan = Plan::parse(&meta.as_bytes()[..meta_len as usize], size)?;
    for file in plan.files {
        let kind = match file.kind {
            FILE_CODE => Kind::Code,
            FILE_DATA => Kind::Data,
            _ => continue,
        };
        let what = match size_of(kind, file.digest)? {
            Some(size) if size == file.size => continue,
            Some(size) => format!("has {size} bytes instead of {}", file.size),
            None => "is not there".to_owned(),
        };
        let path = String::from_utf8_lossy(plan.bytes(file.path)).trim_end_matches('\0').to_owned();
        return Err(VerifyError::File { kind, digest: file.digest, path, what });
    }
    Ok(())
}

/// The first `len` bytes, aligned as the reader wants them.
fn read(writer: &BlobWriter, len: u64) -> Result<Vec<u64>, StoreError> {
    let mut words = vec![0u64; (len as usize).div_ceil(8)];
    writer.read_at(&mut words.as_mut_bytes()[..len as usize], 0)?;
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapfn_store::Store;

    #[test]
    fn what_is_no_snapshot_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let transaction = Store::at(dir.path()).begin().unwrap();
        for len in [0, 100, 8192] {
            let mut writer = transaction.writer(Kind::Snap).unwrap();
            writer.append(&vec![7; len]).unwrap();
            let verified = verify(&writer, |_, _| Ok(None));
            assert!(matches!(verified, Err(VerifyError::Format(_))), "{verified:?}");
        }
    }
}
