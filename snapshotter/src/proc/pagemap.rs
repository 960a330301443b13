//! `/proc/PID/pagemap`: finds the pages of a range that exist. The result, and the work for it, follow the pages that
//! are in memory or swapped, not the length of the range: sanitizers and allocators reserve terabytes.
//!
//! Linux has the ioctl PAGEMAP_SCAN since 6.7. It returns runs and skips ranges without a page table. Guard pages are a
//! category of their own since 6.15. On older kernels this module reads an entry a page, in pieces. There the time, but
//! not the memory, follows the length of the range.
#![allow(unsafe_code)] // PAGEMAP_SCAN

use super::Tid;
use snapfn_format::PAGE;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

/// Consecutive pages of one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) state: State,
}

/// The state of a page. Pages that were never touched are in no run: they read as zero, or as the file behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// In memory or swapped, and no file's.
    Own,
    /// In memory, and a file's or shared.
    OfFile,
    /// MADV_GUARD_INSTALL: an access is SIGSEGV.
    Guard,
}

/// `struct pm_scan_arg` of <linux/fs.h>.
#[derive(Debug, Default)]
#[repr(C)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `struct page_region`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

const PAGEMAP_SCAN: libc::c_ulong = 0xc060_6610;
const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;
const PAGE_IS_GUARD: u64 = 1 << 8;
/// Most runs in one call.
const RUNS: usize = 4096;

/// The page table of one process.
#[derive(Debug)]
pub(crate) struct PageMap {
    file: File,
    /// Categories that this kernel's PAGEMAP_SCAN knows; 0: there is no PAGEMAP_SCAN.
    categories: u64,
}

impl PageMap {
    pub(crate) fn open(pid: Tid) -> io::Result<Self> {
        let file = File::open(format!("/proc/{pid}/pagemap"))?;
        let known = PAGE_IS_FILE | PAGE_IS_PRESENT | PAGE_IS_SWAPPED;
        let mut map = PageMap { file, categories: 0 };
        map.categories = [known | PAGE_IS_GUARD, known]
            .into_iter()
            .find(|categories| map.scan(0, PAGE, *categories, &mut [PageRegion::default()]).is_ok())
            .unwrap_or(0);
        Ok(map)
    }

    /// Calls `visit` with the runs of `[start, end)`, in ascending order.
    pub(crate) fn runs(&self, start: u64, end: u64, mut visit: impl FnMut(Run)) -> io::Result<()> {
        let mut joined = Joined { last: None, visit: &mut visit };
        match self.categories {
            0 => self.entries(start, end, &mut joined)?,
            _ => self.regions(start, end, &mut joined)?,
        }
        joined.flush();
        Ok(())
    }

    fn regions(&self, start: u64, end: u64, joined: &mut Joined<'_>) -> io::Result<()> {
        let mut found = vec![PageRegion::default(); RUNS];
        let mut at = start;
        while at < end {
            let (count, walked) = self.scan(at, end, self.categories, &mut found)?;
            for region in &found[..count] {
                let state = match region.categories {
                    categories if categories & PAGE_IS_GUARD != 0 => State::Guard,
                    categories if categories & PAGE_IS_FILE != 0 => State::OfFile,
                    _ => State::Own,
                };
                joined.add(Run { start: region.start, end: region.end, state });
            }
            // Kernels from 6.7 to 6.18 at least fill a small internal buffer again and again, and set `walk_end` to
            // where it was full for the last time, even if they then reach the end. So there is more to find only if
            // the array is full.
            let next = match found[..count].last() {
                Some(last) if count == found.len() => walked.max(last.end),
                _ => end,
            };
            if next <= at {
                return Err(io::Error::other("PAGEMAP_SCAN does not get on"));
            }
            at = next;
        }
        Ok(())
    }

    /// Returns the number of runs, and the end of the walk.
    fn scan(&self, start: u64, end: u64, categories: u64, found: &mut [PageRegion]) -> io::Result<(usize, u64)> {
        let mut scan = Scan {
            size: size_of::<Scan>() as u64,
            start,
            end,
            vec: found.as_mut_ptr() as u64,
            vec_len: found.len() as u64,
            category_anyof_mask: categories & !PAGE_IS_FILE,
            return_mask: categories,
            ..Scan::default()
        };
        // SAFETY: the struct is live, has the size that is in it, and names a live array and its length.
        let count = unsafe { libc::ioctl(self.file.as_raw_fd(), PAGEMAP_SCAN, &raw mut scan) };
        match usize::try_from(count) {
            Ok(count) => Ok((count.min(found.len()), scan.walk_end)),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }

    fn entries(&self, start: u64, end: u64, joined: &mut Joined<'_>) -> io::Result<()> {
        let mut buffer = vec![0u8; 1 << 16];
        let mut at = start;
        while at < end {
            let wanted = ((end - at) / PAGE * 8).min(buffer.len() as u64) as usize;
            let got = self.file.read_at(&mut buffer[..wanted], at / PAGE * 8)?;
            if got < 8 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            for entry in buffer[..got].as_chunks::<8>().0 {
                if let Some(state) = state_of(u64::from_le_bytes(*entry)) {
                    joined.add(Run { start: at, end: at + PAGE, state });
                }
                at += PAGE;
            }
        }
        Ok(())
    }
}

/// The state in an entry of the file; `None`: there is no page.
fn state_of(entry: u64) -> Option<State> {
    const PRESENT_OR_SWAPPED: u64 = 3 << 62;
    const OF_A_FILE: u64 = 1 << 61;
    const GUARD: u64 = 1 << 58;
    match entry {
        entry if entry & GUARD != 0 => Some(State::Guard),
        entry if entry & PRESENT_OR_SWAPPED == 0 => None,
        entry if entry & OF_A_FILE != 0 => Some(State::OfFile),
        _ => Some(State::Own),
    }
}

/// Joins adjacent runs with the same state.
struct Joined<'a> {
    last: Option<Run>,
    visit: &'a mut dyn FnMut(Run),
}

impl Joined<'_> {
    fn add(&mut self, run: Run) {
        match &mut self.last {
            Some(last) if last.end == run.start && last.state == run.state => last.end = run.end,
            _ => {
                self.flush();
                self.last = Some(run);
            }
        }
    }

    fn flush(&mut self) {
        if let Some(run) = self.last.take() {
            (self.visit)(run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Anonymous memory that is unmapped at the end.
    struct Reserved(u64, usize);

    impl Reserved {
        fn new(len: usize) -> Self {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            // SAFETY: the mapping is new, at an address that the kernel chooses.
            let addr =
                unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
            assert_ne!(addr, libc::MAP_FAILED);
            // Otherwise the kernel may make a huge page of the touched ones. SAFETY: the advice is for the mapping
            // above.
            unsafe { libc::madvise(addr, len, libc::MADV_NOHUGEPAGE) };
            Reserved(addr as u64, len)
        }

        fn touch(&self, page: u64) {
            // SAFETY: the address is within the mapping, and no other code has it.
            unsafe { ((self.0 + page * PAGE) as *mut u8).write_volatile(1) };
        }
    }

    impl Drop for Reserved {
        fn drop(&mut self) {
            // SAFETY: the mapping of `new`.
            unsafe { libc::munmap(self.0 as *mut libc::c_void, self.1) };
        }
    }

    fn runs(map: &PageMap, memory: &Reserved, pages: u64) -> Vec<(u64, u64, State)> {
        let mut found = Vec::new();
        let page = |addr: u64| (addr - memory.0) / PAGE;
        map.runs(memory.0, memory.0 + pages * PAGE, |run| found.push((page(run.start), page(run.end), run.state)))
            .unwrap();
        found
    }

    #[test]
    fn both_ways_tell_the_same() {
        let memory = Reserved::new(64 << 20);
        [3, 4, 5, 9, 16_000].into_iter().for_each(|page| memory.touch(page));
        let map = PageMap::open(std::process::id() as Tid).unwrap();
        let expected = [(3, 6, State::Own), (9, 10, State::Own), (16_000, 16_001, State::Own)];
        assert_eq!(runs(&map, &memory, 16_384), expected);
        let old = PageMap { categories: 0, ..map };
        assert_eq!(runs(&old, &memory, 16_384), expected);
        assert_eq!(runs(&old, &memory, 4), [(3, 4, State::Own)]);
    }

    /// There are more runs than the kernel gathers at a time, and more than one call returns.
    #[test]
    fn many_runs_are_told_once_each() {
        let map = PageMap::open(std::process::id() as Tid).unwrap();
        for count in [600, 1024, 5000, 2 * RUNS as u64] {
            let memory = Reserved::new((count * 8 * PAGE) as usize);
            (0..count).for_each(|run| memory.touch(8 * run));
            let expected: Vec<_> = (0..count).map(|run| (8 * run, 8 * run + 1, State::Own)).collect();
            assert_eq!(runs(&map, &memory, 8 * count), expected);
        }
    }

    #[test]
    fn entries() {
        assert_eq!(state_of(0), None);
        assert_eq!(state_of(1 << 63), Some(State::Own));
        assert_eq!(state_of(1 << 62), Some(State::Own));
        assert_eq!(state_of(1 << 63 | 1 << 61), Some(State::OfFile));
        assert_eq!(state_of(1 << 62 | 1 << 58), Some(State::Guard));
    }
}
