//! File mappings: shared pages, private copies, and the end of a file.

use nix::errno::Errno;

use crate::child::{Child, End, fate_of};
use crate::finding::{Check, Detail, Finding, Judge, ensure, ensure_refused, ensure_value, missing};
use crate::procfile::{Text, field, paragraph};
use crate::region::{PAGE, Region};
use crate::sys;
use crate::tmpfile;
use crate::{Level, Probe};

const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;

pub(crate) const PROBES: &[Probe] = &[
    Probe::new(
        "private-copy-on-write",
        Level::RestoreNeeds,
        "all",
        "an instance writes to its memory, never to the snapshot or to other instances",
        "instances would change each other; nothing must be restored here",
        private_copy_on_write,
    ),
    Probe::new(
        "page-cache-sharing",
        Level::Optional,
        "all; not on some FUSE and network filesystems",
        "all instances share the pages that none of them wrote",
        "every instance has a copy of its own: correct, but as large as an ordinary process",
        page_cache_sharing,
    ),
    Probe::new(
        "read-only-file-writable-mapping",
        Level::RestoreNeeds,
        "all",
        "files in the store are 0444 and opened read-only, yet mapped writable and executable",
        "the store would have to be writable for everyone who starts from it",
        read_only_file,
    ),
    Probe::new(
        "tail-of-last-page",
        Level::RestoreNeeds,
        "all",
        "the rest of a file's last page is zero, like the memory it stands for",
        "memory behind the last byte of a file would hold garbage",
        tail_of_last_page,
    ),
    Probe::new(
        "sigbus-past-end",
        Level::Optional,
        "all",
        "the loader compares the size of a file before it maps it, since a cut file shows only later",
        "nothing: the check is made anyway",
        sigbus_past_end,
    ),
    Probe::new(
        "dontneed-brings-file-back",
        Level::Optional,
        "all",
        "allocators use MADV_DONTNEED to get zeros; on pages mapped from a snapshot it gives the file's bytes",
        "nothing: heap pages need no special care here",
        dontneed_brings_file_back,
    ),
    Probe::new(
        "free-refused-on-file",
        Level::Optional,
        "4.5 and later",
        "allocators that use MADV_FREE see an error on pages mapped from a snapshot and go on",
        "pages mapped from a snapshot could turn into zeroes or into the file's bytes at any time",
        free_refused,
    ),
    Probe::new(
        "mremap-past-end",
        Level::Optional,
        "all",
        "realloc of a large block grows its mapping; behind the end of a snapshot file there is nothing",
        "nothing: large blocks need no special care here",
        mremap_past_end,
    ),
    Probe::new(
        "mremap-over-two",
        Level::Optional,
        "all before 6.17, later ones for growing",
        "a block that was one mapping at build must be one mapping in the instance, if its owner may mremap it",
        "nothing: a block may be restored in pieces",
        mremap_over_two,
    ),
];

/// **Symptom**: the file keeps its bytes, and so does another mapping of it. **Sequence**: two MAP_PRIVATE mappings, a
/// write to one, then read the other and the file. **Kernels**: all. **Workaround**: none needed.
/// **Removable**: never.
fn private_copy_on_write() -> Check {
    let file = tmpfile::with_pages(2, 10)?;
    let (ours, other) = two_mappings(&file)?;
    ours.poke(5, 99);
    let mut byte = [0];
    sys::read_at(&file, &mut byte, 5).or_unknown("cannot read the file")?;
    ensure_value(byte[0] == 10, "a private write reached the file, which has", u64::from(byte[0]))?;
    ensure_value(other.peek(5) == 10, "a private write reached another mapping", u64::from(other.peek(5)))?;
    ensure(ours.peek(5) == 99 && ours.peek(6) == 10, "a private write was lost")
}

fn two_mappings(file: &std::os::fd::OwnedFd) -> Result<(Region, Region), Finding> {
    let map = || Region::private_file(file, 2 * PAGE).or_unknown("cannot map a file");
    Ok((map()?, map()?))
}

/// **Symptom**: Pss of an unwritten private mapping is half its Rss when two processes have it, and a later write to
/// the file shows through. **Sequence**: map 16 pages, read them in parent and child, read smaps; then `pwrite`.
/// **Kernels**: all. **Workaround**: none; correctness does not depend on it. **Removable**: never.
fn page_cache_sharing() -> Check {
    const PAGES: u8 = 16;
    let file = tmpfile::with_pages(PAGES, 1)?;
    let mapping = Region::private_file(&file, u64::from(PAGES) * PAGE).or_unknown("cannot map a file")?;
    let read_all = || (0..u64::from(PAGES)).all(|page| mapping.peek(page * PAGE) == page as u8 + 1);
    ensure(read_all(), "a mapping shows other bytes than the file")?;
    let other = Child::parked(|| {
        read_all();
    })
    .or_unknown("the child did not come up")?;
    let mut smaps = Text::read(sys::getpid(), "smaps").or_unknown("cannot read /proc/self/smaps")?;
    let (mut resident, mut proportional) = (0, 0);
    for line in paragraph(smaps.lines(), mapping.addr()) {
        resident = field(line, b"Rss").unwrap_or(resident);
        proportional = field(line, b"Pss").unwrap_or(proportional);
    }
    drop(other);
    ensure_value(resident == u64::from(PAGES) * 4, "resident KiB of a mapping read as a whole", resident)?;
    ensure_value(proportional * 2 <= resident, "two processes do not share; proportional KiB", proportional)?;
    sys::write_at(&file, &[77], 3).or_unknown("cannot write to the file")?;
    ensure_value(mapping.peek(3) == 77, "an unwritten page is not the page cache's", u64::from(mapping.peek(3)))
}

/// **Symptom**: MAP_PRIVATE with PROT_WRITE, and with PROT_EXEC, works on a descriptor opened O_RDONLY.
/// **Sequence**: reopen a file read-only, map both ways. **Kernels**: all; PROT_EXEC gives EPERM on a noexec mount.
/// **Workaround**: none. **Removable**: never.
fn read_only_file() -> Check {
    let file = sys::open(c"/proc/self/exe", libc::O_RDONLY).or_unknown("cannot open the own program")?;
    for protection in [READ_WRITE, libc::PROT_READ | libc::PROT_EXEC] {
        let mapping = Region::map(None, PAGE, protection, libc::MAP_PRIVATE, Some((&file, 0)));
        let mapping = mapping.or_missing("cannot map a file that was opened read-only")?;
        ensure(mapping.peek(1) == b'E', "the mapping shows other bytes than the file")?;
    }
    Ok(())
}

/// **Symptom**: zeroes. **Sequence**: a file of one page and ten bytes; read the second page from its tenth byte on.
/// **Kernels**: all. **Workaround**: none needed. **Removable**: never.
fn tail_of_last_page() -> Check {
    let file = tmpfile::with_pages(1, 1)?;
    sys::write_at(&file, &[7; 10], PAGE).or_unknown("cannot write to the file")?;
    let mapping = Region::private_file(&file, 2 * PAGE).or_unknown("cannot map a file")?;
    ensure(mapping.peek(PAGE + 9) == 7, "the last byte of the file is missing")?;
    let garbage = (10..PAGE).find(|at| mapping.peek(PAGE + at) != 0);
    ensure_value(garbage.is_none(), "not zero behind the end of the file, at", garbage.unwrap_or(0))
}

/// **Symptom**: `mmap` succeeds, the access raises SIGBUS. **Sequence**: map two pages of a file of one. **Kernels**:
/// all. **Workaround**: header and plan carry the exact file size, which is compared with fstat before anything is
/// mapped. **Removable**: never.
fn sigbus_past_end() -> Check {
    let file = tmpfile::with_pages(1, 1)?;
    let mapping = Region::private_file(&file, 2 * PAGE).or_missing("a mapping past the end is refused")?;
    let end = fate_of(|| {
        mapping.peek(PAGE);
    })
    .or_unknown("cannot fork")?;
    ensure(end == End::Killed(libc::SIGBUS), "an access past the end of a file raises no SIGBUS")
}

/// **Symptom**: after MADV_DONTNEED a page has the **file's** bytes, where anonymous memory has zeroes.
/// **Sequence**: MAP_PRIVATE of a file, write, `madvise(MADV_DONTNEED)`, read. jemalloc and Go rely on zeroes.
/// **Kernels**: all. **Workaround**: blocks of allocators that purge this way are restored into anonymous memory.
/// **Removable**: when a kernel has a copy-on-write mapping that forgets its file.
fn dontneed_brings_file_back() -> Check {
    let file = tmpfile::with_pages(1, 42)?;
    let mapping = Region::private_file(&file, PAGE).or_unknown("cannot map a file")?;
    mapping.poke(0, 1);
    mapping.advise(libc::MADV_DONTNEED).or_missing("MADV_DONTNEED was refused")?;
    let seen = mapping.peek(0);
    ensure_value(seen == 42, "the page is not the file's again but has", u64::from(seen))
}

/// **Symptom**: EINVAL. **Sequence**: `madvise(MADV_FREE)` on a MAP_PRIVATE file mapping, and, for comparison, on
/// anonymous memory. **Kernels**: 4.5 and later. **Workaround**: allocators fall back to MADV_DONTNEED, see
/// [`dontneed_brings_file_back`]. **Removable**: as that one.
fn free_refused() -> Check {
    let file = tmpfile::with_pages(1, 42)?;
    let mapping = Region::private_file(&file, PAGE).or_unknown("cannot map a file")?;
    mapping.poke(0, 1);
    ensure_refused(mapping.advise(libc::MADV_FREE), Errno::EINVAL, "MADV_FREE is not refused on a file mapping")?;
    ensure(mapping.peek(0) == 1, "a refused MADV_FREE changed the page")?;
    let anonymous = Region::anonymous(PAGE).or_unknown("mmap failed")?;
    anonymous.advise(libc::MADV_FREE).or_unknown("this kernel has no MADV_FREE")
}

/// **Symptom**: `mremap` to a larger size succeeds, the new part raises SIGBUS. **Sequence**: MAP_PRIVATE of a file of
/// one page, `mremap` to four, write to the last. glibc's realloc does so with large blocks. **Kernels**: all.
/// **Workaround**: blocks that their owner may grow are restored into anonymous memory. **Removable**: never.
fn mremap_past_end() -> Check {
    let file = tmpfile::with_pages(1, 42)?;
    let mut mapping = Region::private_file(&file, PAGE).or_unknown("cannot map a file")?;
    mapping.poke(0, 1);
    mapping.resize(4 * PAGE).or_missing("mremap past the end of the file was refused")?;
    ensure(mapping.peek(0) == 1, "mremap lost a written page")?;
    let end = fate_of(|| mapping.poke(3 * PAGE, 1)).or_unknown("cannot fork")?;
    ensure(end == End::Killed(libc::SIGBUS), "the new part of the mapping can be written")
}

/// **Symptom**: EFAULT. **Sequence**: four pages, the protection of the last two changed and so two mappings; `mremap`
/// of all to eight pages. **Kernels**: all; 6.17 moves several mappings at once, but still does not grow them.
/// **Workaround**: large blocks are not cut: holes in them are stored or restored as anonymous memory of one kind.
/// **Removable**: never.
fn mremap_over_two() -> Check {
    let mut block = Region::anonymous(4 * PAGE).or_unknown("mmap failed")?;
    block.protect(2 * PAGE, 2 * PAGE, libc::PROT_READ).or_unknown("mprotect failed")?;
    match block.resize(8 * PAGE) {
        Err(Errno::EFAULT) => Ok(()),
        Err(errno) => Err(missing("mremap over two mappings failed in another way", Detail::Errno(errno))),
        Ok(()) => Err(missing("mremap grew two mappings at once", Detail::None)),
    }
}
