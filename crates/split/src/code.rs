//! The code segment file: the ELF with holes.

use sha2::{Digest as _, Sha256};
use snapfn_format::Digest;
use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A code segment file that has not been written yet: the bytes of the ELF, and the ranges that read as zero.
#[derive(Clone, Debug)]
pub struct CodeFile<'a> {
    elf: Cow<'a, [u8]>,
    holes: Vec<Range<u64>>,
}

/// A part of a code segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// This many zeros, which need not be stored.
    Hole(u64),
}

impl<'a> CodeFile<'a> {
    /// `holes` must be in order, apart from each other and inside the file.
    pub(super) fn new(elf: Cow<'a, [u8]>, holes: Vec<Range<u64>>) -> Self {
        CodeFile { elf, holes }
    }

    pub(super) fn into_holes(self) -> Vec<Range<u64>> {
        self.holes
    }

    /// Length of the file in bytes, that of the ELF.
    #[expect(clippy::len_without_is_empty, reason = "a file with an ELF header is never empty")]
    pub fn len(&self) -> u64 {
        self.elf.len() as u64
    }

    /// The ranges that read as zero.
    pub fn holes(&self) -> &[Range<u64>] {
        &self.holes
    }

    /// The file from its beginning to its end.
    pub fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        self.pieces_from(0)
    }

    fn pieces_from(&self, start: u64) -> impl Iterator<Item = Piece<'_>> {
        let ends = self.holes.iter().map(|hole| hole.end);
        let after = std::iter::once(start).chain(ends);
        let before = self.holes.iter().map(|hole| (hole.start, hole.end)).chain([(self.len(), self.len())]);
        after.zip(before).flat_map(|(start, (end, hole_end))| {
            let bytes = self.elf.get(start as usize..end as usize).unwrap_or_default();
            [Piece::Bytes(bytes), Piece::Hole(hole_end - end)]
        })
    }

    /// The whole file in memory.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = self.elf.to_vec();
        for hole in &self.holes {
            if let Some(bytes) = bytes.get_mut(hole.start as usize..hole.end as usize) {
                bytes.fill(0);
            }
        }
        bytes
    }

    /// Writes the code segment file into `file`, which is new and empty. Zeros become holes if the file system has
    /// them.
    pub fn write_to(&self, file: &File) -> io::Result<()> {
        file.set_len(self.len())?;
        let mut offset = 0;
        for piece in self.pieces() {
            offset += match piece {
                Piece::Bytes(bytes) => {
                    file.write_all_at(bytes, offset)?;
                    bytes.len() as u64
                }
                Piece::Hole(len) => len,
            };
        }
        Ok(())
    }

    /// Digests of the ELF file and of the code segment file. The beginning that they share is hashed once.
    pub(super) fn digests(&self) -> (Digest, Digest) {
        let common = self.holes.first().map_or(self.len(), |hole| hole.start);
        let (head, tail) = self.elf.split_at_checked(common as usize).unwrap_or((&self.elf, &[]));
        let mut elf = Sha256::new();
        elf.update(head);
        let mut code = elf.clone();
        elf.update(tail);
        for piece in self.pieces_from(common) {
            match piece {
                Piece::Bytes(bytes) => code.update(bytes),
                Piece::Hole(mut len) => {
                    while len != 0 {
                        let part = ZEROS.get(..len as usize).unwrap_or(&ZEROS);
                        code.update(part);
                        len -= part.len() as u64;
                    }
                }
            }
        }
        (Digest(elf.finalize().into()), Digest(code.finalize().into()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::single_range_in_vec_init, reason = "lists of one range")]
    use super::*;

    fn sha256(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    #[test]
    fn pieces_bytes_and_digests_agree() {
        let elf: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8 + 1).collect();
        for holes in [vec![], vec![0..10], vec![5..6, 7..140_000], vec![100..100_000, 199_999..200_000]] {
            let mut expected = elf.clone();
            holes.iter().for_each(|hole: &Range<u64>| expected[hole.start as usize..hole.end as usize].fill(0));
            let code = CodeFile::new(Cow::Borrowed(&elf), holes);
            assert_eq!(code.to_vec(), expected);
            let mut joined = Vec::new();
            for piece in code.pieces() {
                match piece {
                    Piece::Bytes(bytes) => joined.extend_from_slice(bytes),
                    Piece::Hole(len) => joined.resize(joined.len() + len as usize, 0),
                }
            }
            assert_eq!(joined, expected);
            assert_eq!(code.digests(), (sha256(&elf), sha256(&expected)));
            let mut file = tempfile::tempfile().unwrap();
            code.write_to(&file).unwrap();
            let mut written = Vec::new();
            io::Seek::rewind(&mut file).unwrap();
            io::Read::read_to_end(&mut file, &mut written).unwrap();
            assert_eq!(written, expected);
        }
    }
}
