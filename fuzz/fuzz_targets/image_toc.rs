//! Indices of layers: the fuzzer writes the JSON. Chunks of one that is accepted lie in the blob, in order, and cover
//! their files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sha2::{Digest as _, Sha256};
use snapfn_format::Digest;
use snapfn_image::{CHUNK_MAX, Toc, TocPosition};

fuzz_target!(|data: &[u8]| {
    let Ok(index) = zstd::bulk::compress(data, 1) else { return };
    let digest = Digest(Sha256::digest(&index).into());
    let position = TocPosition { offset: 1 << 30, len: index.len() as u64, json_len: data.len() as u64, digest };
    let Ok(toc) = Toc::parse(&index, &position) else { return };
    let mut at = 0;
    for file in toc.files {
        let mut offset = 0;
        for chunk in file.chunks {
            assert!(chunk.blob_offset >= at && chunk.offset == offset);
            assert!(chunk.len > 0 && chunk.len <= 4 * CHUNK_MAX as u64);
            at = chunk.blob_offset + chunk.blob_len;
            offset += chunk.len;
        }
        assert!(offset == file.size);
    }
    assert!(at <= position.offset);
});
