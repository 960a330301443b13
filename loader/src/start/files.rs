//! Opens the files that a plan maps from, and checks them before they are used.
#![allow(unsafe_code)] // a mapping for the descriptors of many files

use super::args;
use super::failure::Failure;
use super::open::Snapshot;
use super::store::Stores;
use crate::runtime::memory;
use crate::runtime::sys::{self, Errno};
use core::cell::Cell;
use snapfn_format::layout::LOADER_PLAN;
use snapfn_format::snap::{FILE_HOST, META_MAX, Plan};

/// The descriptors of up to this many files are on the stack. A plan with more files gets a mapping for them.
const FEW: usize = 64;
/// Address of that mapping: behind the longest plan.
const FILE_TABLE: u64 = LOADER_PLAN + META_MAX;

/// Room for the descriptors of a plan with few files.
#[derive(Debug)]
pub struct Few([Cell<i32>; FEW]);

impl Default for Few {
    #[inline]
    fn default() -> Self {
        Few([const { Cell::new(-1) }; FEW])
    }
}

/// Opens all files of the plan, the snapshot first, and returns their descriptors in the plan's order. `few` is used if
/// there are few. `handed` has the descriptors of `--fds`, whose files are not opened again: the process that opened
/// them has checked them.
pub fn open<'f>(
    stores: &Stores,
    plan: &Plan<'static>,
    snapshot: &Snapshot,
    handed: Option<&[u8]>,
    few: &'f Few,
) -> Result<&'f [Cell<i32>], Failure<'static>> {
    let fds = match few.0.get(..plan.files.len()) {
        Some(fds) => fds,
        None => table(plan.files.len()).map_err(Failure::Unreadable)?,
    };
    if let Some(slot) = fds.first() {
        slot.set(snapshot.fd);
    }
    let mut numbers = args::numbers(handed.unwrap_or_default()).skip(1);
    for (file, slot) in plan.files.iter().zip(fds).skip(1) {
        let missing = |errno| Failure::Missing(file, plan.bytes(file.path), errno);
        if handed.is_some() {
            slot.set(numbers.next().flatten().ok_or(missing(Errno::BADF))?);
            continue;
        }
        let fd = stores.open_file(plan, file).map_err(missing)?;
        slot.set(fd);
        let stat = sys::fstat(fd).map_err(Failure::Unreadable)?;
        if !stat.is_regular() || (stat.size != file.size && file.kind != FILE_HOST) {
            return Err(Failure::WrongSize(file, stat.size));
        }
        if file.kind != FILE_HOST {
            stores.trust(&stat).map_err(Failure::Untrusted)?;
        }
    }
    stores.close();
    Ok(fds)
}

#[cold]
#[inline(never)]
fn table(count: usize) -> sys::Result<&'static [Cell<i32>]> {
    let flags = sys::MAP_PRIVATE | sys::MAP_ANONYMOUS | sys::MAP_FIXED_NOREPLACE;
    // SAFETY: no other code uses this range of the loader, and it stays mapped as long as the loader.
    unsafe {
        sys::mmap(FILE_TABLE, 4 * count as u64, sys::PROT_READ_WRITE, flags, -1, 0)?;
        Ok(memory::cells(FILE_TABLE, count))
    }
}
