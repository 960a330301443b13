//! Copies a file into the store, with its holes.

use crate::verify::{CHUNK, read_some_at};
use crate::{BlobWriter, StoreError};
use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use std::fs::File;
use std::io;
use std::path::Path;

/// Copies `source` (opened from `path`) front to back. Chunks end at multiples of [`CHUNK`] in the file, so that a
/// large file is written in aligned writes of at least 2 MiB, which ext4 keeps in 2 MiB folios. (`copy_file_range`
/// would copy page by page through a pipe on file systems that cannot clone.)
pub(crate) fn copy(source: &File, path: &Path, into: &mut BlobWriter) -> Result<(), StoreError> {
    let failed = |e| StoreError::io("read", path, e);
    let size = source.metadata().map_err(failed)?.len();
    let mut buffer = vec![0u8; CHUNK.min(usize::try_from(size).unwrap_or(CHUNK)).max(1)];
    let mut at = 0;
    while at < size {
        let data = seek(source, at, Whence::SeekData).map_err(failed)?.unwrap_or(size).clamp(at, size);
        into.skip(data - at)?;
        at = data;
        let hole = seek(source, at, Whence::SeekHole).map_err(failed)?.unwrap_or(size).clamp(at, size);
        while at < hole {
            let boundary = (at / CHUNK as u64 + 1) * CHUNK as u64;
            let want = (hole.min(boundary) - at) as usize;
            let want = want.min(buffer.len());
            let got = read_some_at(source, &mut buffer[..want], at).map_err(failed)?;
            if got == 0 {
                return Err(failed(io::Error::new(io::ErrorKind::UnexpectedEof, "the file shrank while it was read")));
            }
            into.append(&buffer[..got])?;
            at += got as u64;
        }
    }
    Ok(())
}

/// `None` if there is no data or no hole behind `at`. A file system without holes has data everywhere.
fn seek(file: &File, at: u64, whence: Whence) -> io::Result<Option<u64>> {
    let is_data = matches!(whence, Whence::SeekData);
    match lseek(file, at as i64, whence) {
        Ok(found) => Ok(Some(found as u64)),
        Err(Errno::ENXIO) => Ok(None),
        Err(Errno::EINVAL) => Ok(is_data.then_some(at)),
        Err(errno) => Err(errno.into()),
    }
}
