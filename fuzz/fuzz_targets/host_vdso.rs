//! The host's vDSO: for any bytes, the code reads and names nothing outside of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use snapfn_format::snap::resident::FUNCTIONS;
use snapfn_format::vdso::{functions, image_len};

fuzz_target!(|data: &[u8]| {
    if let Some(len) = image_len(&data[..data.len().min(1024)]) {
        assert!((1..=1 << 20).contains(&len));
    }
    let mut found = [false; FUNCTIONS.len()];
    functions(data, FUNCTIONS.iter().map(|(name, _)| *name), |which, value| {
        assert!(value > 0 && value < data.len() as u64);
        found[which] = true;
    });
    // Named is only what is there.
    for (name, _) in found.iter().zip(FUNCTIONS).filter(|(found, _)| **found).map(|(_, function)| function) {
        assert!(data.windows(name.len() + 1).any(|window| window.strip_suffix(&[0]) == Some(name.as_bytes())));
    }
});
