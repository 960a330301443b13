//! Requests to a pool and to a prepared instance. An accepted one can be walked as the instance does.
#![no_main]

use libfuzzer_sys::fuzz_target;
use snapfn_format::request::{COUNT_MAX, DESCRIPTORS_MAX, HEADER_LEN, RequestHeader, STRINGS_MAX};
use zerocopy::FromBytes;

fuzz_target!(|data: &[u8]| {
    let Some((header, strings)) = data.split_at_checked(HEADER_LEN) else { return };
    let Ok(mut header) = RequestHeader::read_from_bytes(header) else { return };
    for exact in [false, true] {
        if exact {
            header.strings = strings.len() as u32;
        }
        if header.check().is_err() || header.check_strings(strings).is_err() {
            continue;
        }
        assert!(header.descriptors() <= DESCRIPTORS_MAX && header.strings <= STRINGS_MAX);
        // The instance walks one string behind the other, from the first byte to the last.
        let mut rest = strings;
        let mut count = 0;
        while count < header.argc + header.envc {
            let end = rest.iter().position(|byte| *byte == 0).expect("a string without an end");
            rest = &rest[end + 1..];
            count += 1;
        }
        assert!(rest.is_empty() && count <= 2 * COUNT_MAX);
    }
});
