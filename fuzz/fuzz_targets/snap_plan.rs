//! Plans. The target corrects sizes and checksum first, so that the fuzzer reaches the checks behind them. An accepted
//! plan must keep all promises. Half of the mutations change records: they set a field to a value at a limit, or copy,
//! move or remove a record.
#![no_main]

#[path = "../../crates/format/tests/common/contract.rs"]
mod contract;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use snapfn_format::layout::{LOADER_END, LOADER_START, USER_END, USER_START};
use snapfn_format::snap::*;
use snapfn_format::{PAGE, checksum};
use std::mem::offset_of;
use zerocopy::IntoBytes;

/// Bytes of pages behind the meta part, which any real file has.
const PAGES: u64 = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let mut words: Vec<u64> = data.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
    let len = words.len() as u64 * 8;
    let _ = Plan::parse(words.as_bytes(), len);
    let at = |field: usize| (HEADER_OFFSET + field) / 8;
    let (size, sum) = (at(offset_of!(SnapHeader, file_size)), at(offset_of!(SnapHeader, checksum)));
    let Some(tables) = words.get(at(offset_of!(SnapHeader, tables))) else { return };
    // The first table is that of the files, and its first record the snapshot itself.
    let own = *tables as u32 as usize + offset_of!(File, size);
    let file_size = len + PAGES;
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

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random(u64::from(seed) | 1 << 40);
    if random.below(2) == 0
        && let Some(size) = mutate_records(data, size, max_size, &mut random)
    {
        return size;
    }
    fuzzer_mutate(data, size, max_size)
});

/// A xorshift generator.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end.max(1)
    }
}

/// Table slots, and the size of the records of each.
const SIZES: [(TableId, usize); 12] = [
    (TableId::Files, size_of::<File>()),
    (TableId::Ops, size_of::<Op>()),
    (TableId::Patches, size_of::<Patch>()),
    (TableId::Threads, size_of::<Thread>()),
    (TableId::Fds, size_of::<Fd>()),
    (TableId::SigActions, size_of::<SigAction>()),
    (TableId::EnvChanges, size_of::<EnvChange>()),
    (TableId::Settings, size_of::<Setting>()),
    (TableId::PendingSignals, size_of::<PendingSignal>()),
    (TableId::Timers, size_of::<Timer>()),
    (TableId::FdSteps, size_of::<FdStep>()),
    (TableId::HostNeeds, size_of::<HostNeeds>()),
];

/// Values where something begins or ends.
const BORDERS: [u64; 14] = [
    0,
    1,
    PAGE,
    USER_START,
    LOADER_START,
    LOADER_END,
    USER_END,
    1 << 31,
    u32::MAX as u64,
    1 << 47,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
    u64::MAX - PAGE + 1,
];

const TABLES_AT: usize = HEADER_OFFSET + offset_of!(SnapHeader, tables);

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(data.get(at..at + 4)?.try_into().ok()?))
}

/// Offset and number of records of the table in that slot.
fn table(data: &[u8], slot: usize) -> Option<(usize, u64)> {
    let at = TABLES_AT + 8 * slot;
    Some((u32_at(data, at)? as usize, u32_at(data, at + 4)?.into()))
}

/// Changes one record. Returns the new size, or `None` if there is no record to change.
fn mutate_records(data: &mut [u8], size: usize, max_size: usize, random: &mut Random) -> Option<usize> {
    // Operations and descriptors have the most rules.
    let which = [1, 1, 1, 4, 10, random.below(12) as usize][random.below(6) as usize];
    let (slot, record) = (SIZES[which].0 as usize, SIZES[which].1);
    let (start, count) = table(&data[..size], slot).filter(|(_, count)| *count > 0)?;
    let place = |index: u64| start + index as usize * record;
    let at = place(random.below(count));
    if place(count) > size {
        return None;
    }
    match random.below(8) {
        // One more: a copy behind it.
        0 if size + record <= max_size => {
            data.copy_within(at..size, at + record);
            shift(data, slot, at, record as i64)?;
            Some(size + record)
        }
        1 if count > 1 => {
            data.copy_within(at + record..size, at);
            shift(data, slot, at, -(record as i64))?;
            Some(size - record)
        }
        // Two change places.
        2 => {
            let other = place(random.below(count));
            for i in 0..record {
                data.swap(at + i, other + i);
            }
            Some(size)
        }
        // A field of another record.
        3 => {
            let field = 8 * random.below(record as u64 / 8) as usize;
            let from = place(random.below(count)) + field;
            data.copy_within(from..from + 8, at + field);
            Some(size)
        }
        choice => {
            let width = [8, 8, 4, 2][random.below(4) as usize];
            let field = at + width * random.below((record / width) as u64) as usize;
            let mut word = [0; 8];
            word[..width].copy_from_slice(&data[field..field + width]);
            let old = u64::from_le_bytes(word);
            let step = [1, 8, PAGE, PAGE << 4, 1 << random.below(64)][random.below(5) as usize];
            let new = match choice {
                4 => BORDERS[random.below(BORDERS.len() as u64) as usize],
                5 => old ^ 1 << random.below(8 * width as u64),
                6 => old.wrapping_add(step),
                _ => old.wrapping_sub(step),
            };
            data[field..field + width].copy_from_slice(&new.to_le_bytes()[..width]);
            Some(size)
        }
    }
}

/// Corrects the table of tables when `by` bytes have come or gone behind `at`, in the table of `slot`.
fn shift(data: &mut [u8], slot: usize, at: usize, by: i64) -> Option<()> {
    for other in 0..TABLES {
        let (offset, count) = table(data, other)?;
        let word = TABLES_AT + 8 * other;
        if offset > at {
            data[word..word + 4].copy_from_slice(&((offset as i64 + by) as u32).to_le_bytes());
        }
        if other == slot {
            data[word + 4..word + 8].copy_from_slice(&((count as i64 + by.signum()) as u32).to_le_bytes());
        }
    }
    Some(())
}
