//! From the open snapshot to its validated plan.
#![allow(unsafe_code)] // maps the plan

use super::failure::Failure;
use super::open::Snapshot;
use crate::runtime::memory;
use crate::runtime::sys;
use snapfn_format::layout::LOADER_PLAN;
use snapfn_format::snap::{Plan, peek_header};
use snapfn_format::{FormatError, PAGE};

/// Bytes that are mapped at first. A longer meta part is mapped again as a whole.
const META_FIRST: u64 = 32 << 10;

/// Maps and validates the plan, which stays mapped as long as the loader.
pub fn read(snapshot: &Snapshot) -> Result<Plan<'static>, Failure<'static>> {
    let Snapshot { fd, stat } = *snapshot;
    if !stat.is_regular() {
        return Err(Failure::NotRegular);
    }
    let map = |len| {
        let flags = sys::MAP_PRIVATE | sys::MAP_FIXED;
        // SAFETY: no other code uses this range of the loader; a file in the store is read-only. If a file is cut short
        // during the read, this process ends by SIGBUS, and no other harm is done.
        unsafe {
            sys::mmap(LOADER_PLAN, len, sys::PROT_READ, flags, fd, 0)
                .map(|at| memory::bytes(at, len))
                .map_err(Failure::Unreadable)
        }
    };
    let first = stat.size.min(META_FIRST);
    let meta = if first > 0 { map(first)? } else { &[] };
    let header = peek_header(meta, stat.size).map_err(Failure::Format)?;
    if first < PAGE {
        return Err(Failure::Format(FormatError::Truncated("the header")));
    }
    let meta = if header.meta_len > first { map(header.meta_len)? } else { meta };
    Plan::parse(meta, stat.size).map_err(Failure::Format)
}
