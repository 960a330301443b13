//! Layers, compressed or not: only the expected files come out, and no more bytes than their sizes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use snapfn_image::{ExpectedFile, unpack};

fuzz_target!(|data: &[u8]| {
    let names = ["var/lib/snapfn/code/a", "var/lib/snapfn/data/b"];
    let expected = names.map(|name| ExpectedFile { name: name.into(), size: 700 });
    let mut got = [0; 2];
    let done = unpack(data, &expected, &mut |index, bytes| {
        got[index] += bytes.len();
        Ok(())
    });
    assert!(got.iter().all(|len| *len <= 700) && (done.is_err() || got == [700, 700]));
});
