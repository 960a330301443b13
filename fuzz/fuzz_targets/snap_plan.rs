//! Plans. Sizes and checksum are put right first, so that the fuzzer reaches what lies behind them; a plan that is
//! accepted must hold all that the loader relies on.
#![no_main]

#[path = "../../loader/format/tests/common/contract.rs"]
mod contract;

use libfuzzer_sys::fuzz_target;
use snapfn_format::checksum;
use snapfn_format::snap::{File, HEADER_OFFSET, Plan, SnapHeader};
use std::mem::offset_of;
use zerocopy::IntoBytes;

fuzz_target!(|data: &[u8]| {
    let mut words: Vec<u64> = data.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
    let len = words.len() as u64 * 8;
    let _ = Plan::parse(words.as_bytes(), len);
    let at = |field: usize| (HEADER_OFFSET + field) / 8;
    let (size, sum) = (at(offset_of!(SnapHeader, file_size)), at(offset_of!(SnapHeader, checksum)));
    let Some(tables) = words.get(at(offset_of!(SnapHeader, tables))) else { return };
    // The first table is that of the files, and its first record the snapshot itself.
    let own = *tables as u32 as usize + offset_of!(File, size);
    // Pages follow the meta part in any real file.
    let file_size = len + (1 << 20);
    words[size] = file_size;
    words[size + 1] = len;
    if let Some(own) = words.get_mut(own / 8).filter(|_| own > HEADER_OFFSET + size_of::<SnapHeader>()) {
        *own = file_size;
    }
    words[sum] = 0;
    words[sum] = checksum(words.as_bytes());
    if let Ok(plan) = Plan::parse(words.as_bytes(), file_size) {
        contract::check_contract(&plan);
    }
});
