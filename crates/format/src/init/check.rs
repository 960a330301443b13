//! The validation of an init data file's tables.

use super::*;

/// Checks the segments against the header, and their order.
pub(super) fn segments(header: &InitHeader, segments: &[Segment]) -> Result<(), FormatError> {
    let (mut end, mut align) = (0, PAGE);
    for (index, segment) in (0..).zip(segments) {
        let invalid = |what| Err(FormatError::InvalidRecord { what, index });
        let Some(page_end) = page_end(segment.vaddr.get(), segment.memsz.get()).filter(|end| *end <= USER_END) else {
            return invalid("address range of the segment");
        };
        if segment.memsz == 0 || segment.filesz.get() > segment.memsz.get() {
            return invalid("size of the segment");
        }
        if segment.page_start() < end {
            return invalid("order of the segments (one begins before the pages of the last one end)");
        }
        if index == 0 && segment.page_start() != header.image_start.get() {
            return invalid("image span");
        }
        if !segment.align.get().is_power_of_two() || segment.align.get() < PAGE {
            return invalid("alignment of the segment");
        }
        let prot = segment.prot.get();
        let kind = if prot & PROT_WRITE != 0 { KIND_DATA } else { KIND_CODE };
        if prot & !PROT_ALL != 0 || segment.kind != kind {
            return invalid("protection or kind of the segment");
        }
        let file_end = segment.offset.get().checked_add(segment.filesz.get());
        let in_file = file_end.is_some_and(|end| end <= header.code_size.get());
        let congruent = segment.offset.get() % PAGE == segment.vaddr.get() % PAGE;
        if !if segment.filesz == 0 { segment.offset == 0 } else { in_file && congruent } {
            return invalid("file offset of the segment");
        }
        if segment.reserved != 0 {
            return Err(FormatError::Reserved("a segment"));
        }
        end = page_end;
        align = align.max(segment.align.get());
    }
    if end != header.image_end.get() {
        return Err(FormatError::Invalid("image span"));
    }
    if align != header.max_align.get() {
        return Err(FormatError::Invalid("alignment of the image"));
    }
    Ok(())
}

/// Checks that the runs of each segment follow those of the last one, are in order of address and lie inside the
/// segment's part of the file (in an exported file: inside its pages), and that their bytes follow each other from
/// `offset` on. Returns the end of the bytes.
pub(super) fn runs(
    header: &InitHeader,
    segments: &[Segment],
    runs: &[Run],
    mut offset: u64,
) -> Result<u64, FormatError> {
    let mut first = 0u32;
    for (index, segment) in (0..).zip(segments) {
        let count = segment.run_count.get();
        let code = segment.kind() == SegmentKind::Code;
        let mine = first.checked_add(count).and_then(|end| runs.get(first as usize..end as usize));
        let Some(mine) = mine.filter(|_| segment.first_run == first && !(code && count != 0)) else {
            return Err(FormatError::InvalidRecord { what: "runs of the segment", index });
        };
        let (mut floor, limit) = match header.is_exported() {
            true => (segment.page_start(), segment.page_end()),
            false => (segment.vaddr.get(), segment.vaddr.get().saturating_add(segment.filesz.get())),
        };
        for (index, run) in (first..).zip(mine) {
            let end = run.vaddr.get().checked_add(run.len.get()).filter(|end| *end <= limit);
            let Some(end) = end.filter(|_| run.len != 0 && run.vaddr.get() >= floor) else {
                return Err(FormatError::InvalidRecord { what: "address range of the run", index });
            };
            if run.offset != offset {
                return Err(FormatError::InvalidRecord { what: "offset of the run", index });
            }
            floor = end;
            offset = offset.checked_add(run.len.get()).ok_or(FormatError::Truncated("the bytes of the runs"))?;
        }
        first = first.saturating_add(count);
    }
    if first as usize != runs.len() {
        return Err(FormatError::Invalid("number of runs"));
    }
    Ok(offset)
}

/// Checks the heap pages, whose bytes begin at the first page boundary at or after `data_end`. Returns the end of the
/// bytes.
pub(super) fn heap(
    header: &InitHeader,
    segments: &[Segment],
    heap: &[HeapRun],
    bytes: &[u8],
    data_end: u64,
) -> Result<u64, FormatError> {
    if heap.is_empty() {
        return Ok(data_end);
    }
    let mut offset = page_up(data_end).ok_or(FormatError::Truncated("the heap pages"))?;
    let padding = usize::try_from(data_end).ok().zip(usize::try_from(offset).ok());
    let padding =
        padding.and_then(|(start, end)| bytes.get(start..end)).ok_or(FormatError::Truncated("the heap pages"))?;
    if padding.iter().any(|&byte| byte != 0) {
        return Err(FormatError::Reserved("the padding before the heap pages"));
    }
    let mut floor = USER_START;
    for (index, run) in (0..).zip(heap) {
        let (start, len) = (run.addr.get(), run.len.get());
        let end = start.checked_add(len).filter(|end| *end <= USER_END);
        let Some(end) = end.filter(|_| start >= floor && len != 0 && start % PAGE == 0 && len % PAGE == 0) else {
            return Err(FormatError::InvalidRecord { what: "address range of the heap run", index });
        };
        // In a position-independent program, this depends on the load bias, which the loader chooses. Of an exported
        // file [`Exported`] checks it.
        let taken = |segment: &Segment| segment.page_start() < end && start < segment.page_end();
        if header.elf_type == ET_EXEC && !header.is_exported() && segments.iter().any(taken) {
            return Err(FormatError::InvalidRecord { what: "address range of the heap run (a segment's)", index });
        }
        if run.offset != offset {
            return Err(FormatError::InvalidRecord { what: "offset of the heap run", index });
        }
        if run.prot.get() & !PROT_ALL != 0 {
            return Err(FormatError::InvalidRecord { what: "protection of the heap run", index });
        }
        if run.reserved != 0 {
            return Err(FormatError::Reserved("a heap run"));
        }
        floor = end;
        offset = offset.checked_add(len).ok_or(FormatError::Truncated("the heap pages"))?;
    }
    Ok(offset)
}
