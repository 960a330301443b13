//! Snapshots for others: without the recipe and the inputs, which name directories, users and variables of this host.
//!
//! The notes keep their places and lengths, their types become 0 and their contents zeros. So only the chunk in which
//! they lie differs from that of the snapshot in the store.

use crate::RepoError;
use snapfn_format::clear_ranges;
use snapfn_format::snap::notes::{NOTE_INPUTS, NOTE_RECIPE, note_headers, notes_segment, own_notes};
use snapfn_store::{Digest, Kind, Store, Transaction};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Bytes that are copied at a time.
const COPY: usize = 4 << 20;
const ELF_HEADER: usize = 64;

/// The digest of a copy without recipe and inputs; that of the snapshot itself if it has none. The copy stays in the
/// store until garbage is collected.
pub(crate) fn without_recipe(store: &Store, digest: Digest, transaction: &Transaction) -> Result<Digest, RepoError> {
    let path = store.path(Kind::Snap, digest);
    let file = store.open(Kind::Snap, digest)?;
    let read = |source| RepoError::Io { what: "read", path: path.clone(), source };
    let size = file.metadata().map_err(read)?.len();
    let ranges = ranges(&file, size).map_err(read)?;
    if ranges.is_empty() {
        return Ok(digest);
    }
    let mut writer = transaction.writer(Kind::Snap)?;
    let mut buffer = Vec::new();
    let mut at = 0;
    while at < size {
        buffer.resize((size - at).min(COPY as u64) as usize, 0);
        file.read_exact_at(&mut buffer, at).map_err(read)?;
        clear_ranges(&mut buffer, at, &ranges);
        writer.append(&buffer)?;
        at += buffer.len() as u64;
    }
    Ok(writer.commit()?.digest)
}

/// What is to become zeros.
fn ranges(file: &File, size: u64) -> io::Result<Vec<Range<u64>>> {
    let bytes = |range: Range<u64>| {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        file.read_exact_at(&mut bytes, range.start).map(|()| bytes)
    };
    if size < ELF_HEADER as u64 {
        return Ok(Vec::new());
    }
    let Some(headers) = note_headers(&bytes(0..ELF_HEADER as u64)?, size) else { return Ok(Vec::new()) };
    let Some(segment) = notes_segment(&bytes(headers)?, size) else { return Ok(Vec::new()) };
    let start = segment.start;
    let segment = bytes(segment)?;
    let ours = own_notes(&segment).filter(|note| matches!(note.kind, NOTE_RECIPE | NOTE_INPUTS));
    let place = |at: usize, len: usize| start + at as u64..start + (at + len) as u64;
    Ok(ours.flat_map(|note| [place(note.kind_at, 4), place(note.content_at, note.content.len())]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapfn_format::snap::notes::{NOTES_OWNER, own_note, push_note};

    #[test]
    fn types_and_contents_become_zeros() {
        let mut file = vec![0; 64 + 112];
        file[32..40].copy_from_slice(&64u64.to_le_bytes());
        file[56] = 2;
        let mut segment = Vec::new();
        push_note(&mut segment, NOTES_OWNER, NOTE_RECIPE, b"a secret path");
        push_note(&mut segment, NOTES_OWNER, NOTE_INPUTS, b"another");
        push_note(&mut segment, b"CORE\0", 1, b"registers");
        file[64 + 56] = 4;
        file[64 + 64..64 + 72].copy_from_slice(&176u64.to_le_bytes());
        file[64 + 88..64 + 96].copy_from_slice(&(segment.len() as u64).to_le_bytes());
        file.extend(&segment);
        let path = std::env::temp_dir().join(format!("strip-{}", std::process::id()));
        std::fs::write(&path, &file).unwrap();
        let found = ranges(&File::open(&path).unwrap(), file.len() as u64).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(found.len(), 4);
        let whole = file.clone();
        // Pieces of any length.
        for (index, piece) in file.chunks_mut(7).enumerate() {
            clear_ranges(piece, 7 * index as u64, &found);
        }
        let text = |bytes: &[u8], word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
        assert!(text(&whole, b"secret") && !text(&file, b"secret") && !text(&file, b"another"));
        assert!(text(&file, b"registers") && file.len() == whole.len());
        assert_eq!(own_note(&file[176..], NOTE_RECIPE), None);
        assert_eq!(own_notes(&file[176..]).count(), 2);
    }
}
