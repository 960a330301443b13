//! Reading the program's pages.

use super::guards::GUARD;
use super::regions::Region;
use super::{AreaKind, is_ours};
use crate::tracee::maps::Vma;
use crate::tracee::{TraceError, Tracer};
use snapfn_format::PAGE;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Bytes read from the program at a time.
const CHUNK: u64 = 2 << 20;

/// In an entry of /proc/PID/pagemap.
const PRESENT_OR_SWAPPED: u64 = 3 << 62;
/// What the page table says of a page of anonymous memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageState {
    /// Never touched: reads as zero. Not reading it keeps sparse reservations free.
    Absent,
    Present,
    /// An access is SIGSEGV.
    Guard,
}

/// Reads `[addr, addr + len)` as it goes into the snapshot: secrets are zero.
pub(in crate::dump) fn read_image(tracer: &Tracer, addr: u64, bytes: &mut [u8]) -> Result<(), TraceError> {
    tracer.memory.read(addr, bytes).map_err(TraceError::system("reading the program's memory"))?;
    let end = addr + bytes.len() as u64;
    for (start, len) in &tracer.registered.secrets {
        let (from, to) = ((*start).clamp(addr, end), start.saturating_add(*len).clamp(addr, end));
        bytes[(from - addr) as usize..(to - addr) as usize].fill(0);
    }
    Ok(())
}

pub(super) fn is_zero(page: &[u8]) -> bool {
    page.as_chunks::<16>().0.iter().all(|chunk| u128::from_ne_bytes(*chunk) == 0)
}

/// Calls `visit` with the index of each present page of `[start, end)`, and its bytes. Without `states`, all are.
pub(super) fn for_pages(
    tracer: &Tracer,
    start: u64,
    end: u64,
    states: Option<&[PageState]>,
    mut visit: impl FnMut(u64, &[u8]),
) -> Result<(), TraceError> {
    let mut buffer = vec![0; CHUNK as usize];
    let wanted = |index: u64| {
        states.is_none_or(|states| states.get(index as usize).is_none_or(|state| *state == PageState::Present))
    };
    let pages = (end - start) / PAGE;
    let mut first = 0;
    while first < pages {
        if !wanted(first) {
            first += 1;
            continue;
        }
        let mut last = first + 1;
        while last < pages && last - first < CHUNK / PAGE && wanted(last) {
            last += 1;
        }
        let bytes = &mut buffer[..((last - first) * PAGE) as usize];
        read_image(tracer, start + first * PAGE, bytes)?;
        for (i, page) in bytes.as_chunks::<4096>().0.iter().enumerate() {
            visit(first + i as u64, page);
        }
        first = last;
    }
    Ok(())
}

/// Runs of pages that only the program can have written: private ones that are no file's, and what it shares with
/// nobody or its children. Nothing where the page table cannot be read.
pub(in crate::dump) fn written(tracer: &Tracer, vmas: &[Vma]) -> Vec<(u64, u64)> {
    const OF_A_FILE: u64 = 1 << 61;
    let Ok(table) = File::open(format!("/proc/{}/pagemap", tracer.pid)) else { return Vec::new() };
    let anonymous = |vma: &Vma| !vma.has_file() || vma.name.starts_with("/dev/zero");
    let candidates = vmas.iter().filter(|vma| {
        vma.resident > 0 && !is_ours(tracer, vma) && !vma.has("io") && !vma.has("pf") && (!vma.shared || anonymous(vma))
    });
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for vma in candidates {
        let mut entries = vec![0; ((vma.end - vma.start) / PAGE * 8) as usize];
        if table.read_exact_at(&mut entries, vma.start / PAGE * 8).is_err() {
            continue;
        }
        for (entry, addr) in entries.as_chunks::<8>().0.iter().zip((vma.start..).step_by(PAGE as usize)) {
            let entry = u64::from_le_bytes(*entry);
            // A guard counts as swapped; reading it fails.
            if entry & PRESENT_OR_SWAPPED == 0 || entry & GUARD != 0 || (!vma.shared && entry & OF_A_FILE != 0) {
                continue;
            }
            match runs.last_mut() {
                Some((_, end)) if *end == addr => *end += PAGE,
                _ => runs.push((addr, addr + PAGE)),
            }
        }
    }
    runs
}

/// Bytes that the program has written and keeps out of core dumps (MADV_DONTDUMP) but not out of snapshots: neither
/// inaccessible nor given to `snap_secret()`. The kernel marks its own mappings alike, which hold nothing of the program.
pub(in crate::dump) fn dontdump(tracer: &Tracer, vmas: &[Vma]) -> u64 {
    let marked: Vec<Vma> = vmas.iter().filter(|vma| vma.has("dd") && vma.prot != 0).cloned().collect();
    let mut secrets = tracer.registered.secrets.clone();
    secrets.sort_unstable();
    let left = |(start, end): (u64, u64)| {
        // What of the run lies before, between and behind the secrets.
        let (mut at, mut sum) = (start, 0);
        for (addr, len) in &secrets {
            let (from, to) = ((*addr).clamp(at, end), addr.saturating_add(*len).clamp(at, end));
            sum += from - at;
            at = to;
        }
        sum + (end - at)
    };
    written(tracer, &marked).into_iter().map(left).sum()
}

/// The state of each page of an anonymous region, from /proc/PID/pagemap; `None` where a file stands behind it
/// or the page table cannot be read.
pub(super) fn page_states(tracer: &Tracer, region: &Region) -> Result<Option<Vec<PageState>>, TraceError> {
    if region.has_file || region.area.kind == AreaKind::Mapped {
        return Ok(None);
    }
    let pages = ((region.end - region.start) / PAGE) as usize;
    let system = TraceError::system;
    let file = File::open(format!("/proc/{}/pagemap", tracer.pid)).map_err(system("/proc/PID/pagemap"))?;
    let mut out = Vec::with_capacity(pages);
    let mut buffer = vec![0u8; 1 << 16];
    while out.len() < pages {
        let want = ((pages - out.len()) * 8).min(buffer.len());
        let offset = (region.start / PAGE + out.len() as u64) * 8;
        let got = file.read_at(&mut buffer[..want], offset).map_err(TraceError::system("/proc/PID/pagemap"))?;
        if got < 8 {
            return Ok(None);
        }
        out.extend(buffer[..got].as_chunks::<8>().0.iter().map(|entry| match u64::from_le_bytes(*entry) {
            entry if entry & GUARD != 0 => PageState::Guard,
            entry if entry & PRESENT_OR_SWAPPED != 0 => PageState::Present,
            _ => PageState::Absent,
        }));
    }
    Ok(Some(out))
}
