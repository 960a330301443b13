//! OpenSSL's generators reseed when the process ID is not the one of their last use. An instance in another PID
//! namespace (a container) may by chance have the ID that the snapshot had, so the remembered one is not stored.
//!
//! The word is found by its surroundings: the generator (`struct prov_drbg_st`, OpenSSL 3) begins with pointers to its
//! functions, of which at least four in a row are libcrypto's, and has `fork_id` not far behind. OpenSSL 1.1.1 keeps a
//! fork count instead, which a restore cannot change.

use super::memory::{Content, Image, read_image};
use super::refuse::DumpError;
use crate::tracee::maps::Vma;
use crate::tracee::{Tracer, symbols};
use snapfn_format::snap::PROT_EXEC;
use std::ops::Range;

/// Words between the first pointer and the process ID, at most.
const REACH: usize = 24;
const POINTERS: usize = 4;

/// Code of libcrypto, or of a program that it is linked into.
fn code(tracer: &Tracer, vmas: &[Vma]) -> Vec<Range<u64>> {
    let exe = tracer.booted.exe.to_string_lossy();
    let linked_in = symbols::find(&tracer.booted.exe, &["RAND_bytes"]).is_some_and(|symbol| symbol.value != 0);
    let is_code = |vma: &&Vma| vma.prot & PROT_EXEC != 0 && vma.has_file();
    let is_crypto = |vma: &&Vma| {
        let name = vma.name.rsplit('/').next().unwrap_or_default();
        name.starts_with("libcrypto.so") || (linked_in && (vma.name == exe || vma.name.contains("/code/")))
    };
    vmas.iter().filter(is_code).filter(is_crypto).map(|vma| vma.start..vma.end).collect()
}

/// Index of every aligned word of `words` whose lower half is `pid` and which a row of pointers to `code` precedes.
fn remembered(words: &[u64], pid: u32, code: &[Range<u64>]) -> Vec<usize> {
    let is_code = |word: &u64| code.iter().any(|range| range.contains(word));
    let follows_functions = |at: usize| {
        let before = &words[at.saturating_sub(REACH)..at];
        before.windows(POINTERS).any(|row| row.iter().all(is_code))
    };
    (0..words.len()).filter(|at| words[*at] as u32 == pid && follows_functions(*at)).collect()
}

/// The ranges that are not to be stored.
pub(super) fn remembered_pids(tracer: &Tracer, vmas: &[Vma], image: &Image) -> Result<Vec<(u64, u64)>, DumpError> {
    let code = code(tracer, vmas);
    let mut found = Vec::new();
    if code.is_empty() {
        return Ok(found);
    }
    let stored = image.parts.iter().filter(|part| matches!(part.content, Content::Map | Content::Read));
    for part in stored {
        let mut bytes = vec![0u8; 1 << 20];
        let mut at = part.addr;
        while at < part.addr + part.len {
            let size = (part.addr + part.len - at).min(bytes.len() as u64);
            read_image(tracer, at, &mut bytes[..size as usize])?;
            let words: Vec<u64> =
                bytes[..size as usize].as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
            let hits = remembered(&words, tracer.pid as u32, &code);
            found.extend(hits.into_iter().map(|index| (at + 8 * index as u64, 4)));
            // The next piece begins early enough to see a whole generator.
            at += if size == bytes.len() as u64 { size - 8 * (REACH + 1) as u64 } else { size };
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::single_range_in_vec_init, reason = "a list of one range")]
    use super::*;

    #[test]
    fn the_word_behind_the_functions_is_found() {
        let code = [0x1000..0x2000];
        let mut words = vec![7u64; 60];
        words[10..14].copy_from_slice(&[0x1100, 0x1200, 0x1300, 0x1400]);
        words[22] = 4242 | 1 << 32; // flags in the upper half
        words[50] = 4242;
        assert_eq!(remembered(&words, 4242, &code), [22]);
        words[12] = 0x3000;
        assert_eq!(remembered(&words, 4242, &code), [0usize; 0]);
    }
}
