//! Reading the program's pages.

use super::regions::Region;
use super::{AreaKind, Image, is_ours};
use crate::proc::pagemap::{PageMap, Run, State};
use crate::tracee::maps::Vma;
use crate::tracee::{TraceError, Tracer};
use snapfn_format::PAGE;
use zerocopy::IntoBytes;

/// Bytes read from the program at a time.
const CHUNK: u64 = 2 << 20;

/// Reads `[addr, addr + len)` as it goes into the snapshot: secrets are zero, and edits are made.
pub(in crate::dump) fn read_image(tracer: &Tracer, addr: u64, bytes: &mut [u8]) -> Result<(), TraceError> {
    tracer.deadline.check()?;
    tracer.memory.read(addr, bytes).map_err(TraceError::system("reading the program's memory"))?;
    let end = addr + bytes.len() as u64;
    for (start, len) in &tracer.registered.secrets {
        let (from, to) = ((*start).clamp(addr, end), start.saturating_add(*len).clamp(addr, end));
        bytes[(from - addr) as usize..(to - addr) as usize].fill(0);
    }
    for (start, edit) in &tracer.edits {
        let (from, to) = ((*start).clamp(addr, end), start.saturating_add(edit.len() as u64).clamp(addr, end));
        if from < to {
            let edit = &edit[(from - start) as usize..(to - start) as usize];
            bytes[(from - addr) as usize..(to - addr) as usize].copy_from_slice(edit);
        }
    }
    Ok(())
}

/// Calls `visit` with all stored words of the program but those of the resident region, piece by piece: the address of
/// the first word, and the words. Pieces of the same range overlap by `overlap` words.
pub(in crate::dump) fn each_piece(
    tracer: &Tracer,
    image: &Image,
    overlap: u64,
    mut visit: impl FnMut(u64, &[u64]),
) -> Result<(), TraceError> {
    const PIECE: u64 = 1 << 17;
    let mut words = vec![0u64; PIECE as usize];
    for range in image.stored_ranges() {
        let resident = tracer.booted.request.resident;
        if (resident..resident + PAGE).contains(&range.start) {
            continue;
        }
        let mut at = range.start;
        loop {
            let count = ((range.end - at) / 8).min(PIECE);
            let piece = &mut words[..count as usize];
            read_image(tracer, at, piece.as_mut_bytes())?;
            visit(at, piece);
            if at + 8 * count == range.end {
                break;
            }
            at += 8 * (count - overlap);
        }
    }
    Ok(())
}

pub(super) fn is_zero(page: &[u8]) -> bool {
    page.as_chunks::<16>().0.iter().all(|chunk| u128::from_ne_bytes(*chunk) == 0)
}

/// Calls `visit` with the index of each page of `[start, end)` that is in `runs` and its bytes; without `runs`, with
/// all.
pub(super) fn for_pages(
    tracer: &Tracer,
    start: u64,
    end: u64,
    runs: Option<&[Run]>,
    mut visit: impl FnMut(u64, &[u8]),
) -> Result<(), TraceError> {
    let mut buffer = Vec::new();
    let whole = [Run { start, end, state: State::Own }];
    for run in runs.unwrap_or(&whole).iter().filter(|run| run.state != State::Guard) {
        let (mut at, last) = (run.start.max(start), run.end.min(end));
        while at < last {
            buffer.resize((last - at).min(CHUNK) as usize, 0);
            read_image(tracer, at, &mut buffer)?;
            for (page, index) in buffer.as_chunks::<4096>().0.iter().zip((at - start) / PAGE..) {
                visit(index, page);
            }
            at += buffer.len() as u64;
        }
    }
    Ok(())
}

/// Runs of pages that only the program can have written: private ones without a file, and shared ones that only it and
/// its children have. Empty where the page table cannot be read.
pub(in crate::dump) fn written(tracer: &Tracer, vmas: &[Vma]) -> Vec<(u64, u64)> {
    let anonymous = |vma: &Vma| !vma.has_file() || vma.name.starts_with("/dev/zero");
    runs(tracer, vmas, |vma| !vma.shared || anonymous(vma))
}

/// Runs of pages in memory that is shared with a file and that the program can write, as far as it has touched them.
pub(in crate::dump) fn shared_with_files(tracer: &Tracer, vmas: &[Vma]) -> Vec<(u64, u64)> {
    runs(tracer, vmas, |vma| vma.shared && vma.has_file() && vma.prot & snapfn_format::snap::PROT_WRITE != 0)
}

/// Runs of pages that are there in areas that fit.
fn runs(tracer: &Tracer, vmas: &[Vma], fits: impl Fn(&Vma) -> bool) -> Vec<(u64, u64)> {
    let Ok(table) = PageMap::open(tracer.pid) else { return Vec::new() };
    let candidates = vmas
        .iter()
        .filter(|vma| vma.resident > 0 && !is_ours(tracer, vma) && !vma.has("io") && !vma.has("pf") && fits(vma));
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for vma in candidates {
        // A failure for one range must not hide the others.
        let _ = table.runs(vma.start, vma.end, |Run { start, end, state }| match (state, runs.last_mut()) {
            (State::Guard, _) => {}
            (State::OfFile, _) if !vma.shared => {}
            (_, Some((_, last))) if *last == start => *last = end,
            _ => runs.push((start, end)),
        });
    }
    runs
}

/// Ranges (address, length) as disjoint ones (start, end) in ascending order.
fn joined(ranges: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut sorted: Vec<(u64, u64)> = ranges.iter().map(|(addr, len)| (*addr, addr.saturating_add(*len))).collect();
    sorted.sort_unstable();
    let mut out: Vec<(u64, u64)> = Vec::new();
    for (start, end) in sorted {
        match out.last_mut() {
            Some(last) if last.1 >= start => last.1 = last.1.max(end),
            _ => out.push((start, end)),
        }
    }
    out
}

/// Bytes that the program has written and keeps out of core dumps (MADV_DONTDUMP) but not out of snapshots: neither
/// inaccessible nor given to `snap_secret()`. The kernel marks its own mappings alike, which hold nothing of the
/// program.
pub(in crate::dump) fn dontdump(tracer: &Tracer, vmas: &[Vma]) -> u64 {
    let marked: Vec<Vma> = vmas.iter().filter(|vma| vma.has("dd") && vma.prot != 0).cloned().collect();
    let secrets = joined(&tracer.registered.secrets);
    let left = |(start, end): (u64, u64)| {
        // The parts of the run before, between and behind the secrets.
        let (mut at, mut sum) = (start, 0);
        let first = secrets.partition_point(|secret| secret.1 <= start);
        for (from, to) in secrets[first..].iter().take_while(|secret| secret.0 < end) {
            sum += (*from).max(at) - at;
            at = (*to).min(end);
        }
        sum + (end - at)
    };
    written(tracer, &marked).into_iter().map(left).sum()
}

/// The pages of an anonymous region that exist; `None` where a file stands behind it. Not reading the others keeps
/// sparse reservations free.
pub(super) fn populated(tracer: &Tracer, region: &Region) -> Result<Option<Vec<Run>>, TraceError> {
    if region.has_file || region.area.kind == AreaKind::Mapped {
        return Ok(None);
    }
    let mut runs = Vec::new();
    PageMap::open(tracer.pid)
        .and_then(|table| table.runs(region.start, region.end, |run| runs.push(run)))
        .map_err(TraceError::system("/proc/PID/pagemap"))?;
    Ok(Some(runs))
}

#[cfg(test)]
mod tests {
    use super::joined;

    #[test]
    fn ranges_are_joined() {
        assert_eq!(joined(&[(30, 5), (0, 10), (5, 10), (15, 1), (32, 1)]), [(0, 16), (30, 35)]);
    }
}
