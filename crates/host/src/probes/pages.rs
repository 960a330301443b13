//! The kernel's reports about the memory of a process: the pages that were written, and the kind of each mapping.

use std::os::fd::OwnedFd;

use crate::child::Child;
use crate::finding::{Check, Detail, Finding, Judge, ensure, ensure_value, missing};
use crate::procfile::{Path, Text, Vma, field, paragraph};
use crate::region::{PAGE, Region};
use crate::sys;
use crate::tmpfile;
use crate::{Level, Probe};

pub(crate) const PROBES: &[Probe] = &[
    Probe::new(
        "pagemap-file-pages",
        Level::CreateNeeds,
        "4.2 and later for unprivileged readers; bit 61 since 3.5",
        "only pages that the program wrote are stored; the others are in its files already",
        "every page of every mapping would have to be compared or stored",
        pagemap_file_pages,
    ),
    Probe::new(
        "pagemap-anonymous-pages",
        Level::CreateNeeds,
        "4.2 and later for unprivileged readers",
        "memory that was reserved but never touched costs nothing in a snapshot",
        "a snapshot would be as large as everything the program ever reserved",
        pagemap_anonymous_pages,
    ),
    Probe::new(
        "maps-identify-files",
        Level::CreateNeeds,
        "all; btrfs and some overlay filesystems show another device number than fstat",
        "the file behind a mapping is the one at the path, not a new one of the same name",
        "the snapshotter refuses mappings whose file it cannot identify",
        maps_identify_files,
    ),
    Probe::new(
        "map-files-link",
        Level::Optional,
        "4.3 and later",
        "names the file of a mapping where the line in maps is ambiguous (newlines, \" (deleted)\")",
        "such names are refused",
        map_files_link,
    ),
    Probe::new(
        "smaps-flags-known",
        Level::CreateNeeds,
        "3.8 and later",
        "a mapping of an unknown kind is refused, not stored wrongly",
        "programs that use such a mapping are refused by name until it is understood",
        smaps_flags_known,
    ),
    Probe::new(
        "large-folio-mapping",
        Level::Optional,
        "ext4 since 6.16, XFS since 5.18",
        "large snapshots are mapped 2 MiB at a time, so that reading them costs almost no faults",
        "nothing but speed: pages are mapped 16 at a time",
        large_folio_mapping,
    ),
];

/// Every flag in the VmFlags line of /proc/PID/smaps up to Linux 6.18.
#[rustfmt::skip]
pub const KNOWN_VM_FLAGS: &[[u8; 2]] = &[
    *b"rd", *b"wr", *b"ex", *b"sh", *b"mr", *b"mw", *b"me", *b"ms", // protections, now and at most
    *b"gd", *b"pf", *b"dw", *b"lo", *b"lf", *b"io", *b"sr", *b"rr", // grows down, PFN map, locked, I/O, read-ahead
    *b"dc", *b"de", *b"ac", *b"nr", *b"ht", *b"sf", *b"ar", *b"wf", // not for fork or mremap, accounting, hugetlb, wipe
    *b"dd", *b"sd", *b"mm", *b"hg", *b"nh", *b"mg", *b"nl", *b"mp", // dumps, soft-dirty, mixed, huge pages, KSM
    *b"um", *b"uw", *b"ui", *b"ss", *b"sl", *b"dp", *b"gu", *b"bt", // userfaultfd, shadow stack, sealed, droppable, guards
    *b"mt",                                                         // memory tagging
];

const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const FILE_OR_SHARED: u64 = 1 << 61;

/// Pagemap entries of `region` in process `pid`, read from outside.
fn pagemap<const N: usize>(pid: i32, region: &Region) -> Result<[u64; N], Finding> {
    let path = Path::new(format_args!("/proc/{pid}/pagemap")).or_unknown("path too long")?;
    let file: OwnedFd = sys::open(path.as_c_str(), libc::O_RDONLY).or_missing("cannot open /proc/PID/pagemap")?;
    let mut entries = [0; N];
    for (index, entry) in entries.iter_mut().enumerate() {
        let mut word = [0; 8];
        let offset = (region.addr() / PAGE + index as u64) * 8;
        let got = sys::read_at(&file, &mut word, offset).or_missing("cannot read /proc/PID/pagemap")?;
        ensure_value(got == 8, "short read of /proc/PID/pagemap", got as u64)?;
        *entry = u64::from_le_bytes(word);
    }
    Ok(entries)
}

/// Runs `touch` in a child that then waits, and reads the pagemap of `region` there.
fn pagemap_of_child<const N: usize>(region: &Region, touch: impl FnOnce()) -> Result<[u64; N], Finding> {
    let child = Child::parked(touch).or_unknown("the child did not come up")?;
    pagemap(child.pid(), region)
}

/// **Symptom**: a written page of a private file mapping is present without bit 61; a read one has bits 63 and 61, or
/// nothing; an untouched one neither bit 62 nor a present page without bit 61. **Sequence**: a child reads the first,
/// writes the second and leaves the last of eight pages; the parent reads pagemap. **Kernels**: readable without
/// privileges since 4.2 (page numbers are hidden, the bits are not). **Workaround**: none. **Removable**: never;
/// PAGEMAP_SCAN (6.7) tells the same in fewer calls.
fn pagemap_file_pages() -> Check {
    let file = tmpfile::with_pages(8, 1)?;
    let region = Region::private_file(&file, 8 * PAGE).or_unknown("cannot map a file")?;
    let entries: [u64; 8] = pagemap_of_child(&region, || {
        region.peek(0);
        region.poke(PAGE, 99);
    })?;
    let (read, written, left) = (entries[0], entries[1], entries[7]);
    ensure_value(read & PRESENT == 0 || read & FILE_OR_SHARED != 0, "a page only read looks written", read)?;
    ensure_value(written & (PRESENT | SWAPPED) != 0, "a written page is not there", written)?;
    ensure_value(written & FILE_OR_SHARED == 0, "a written page looks like the file's", written)?;
    // Fault-around may have mapped it.
    let clean = left & SWAPPED == 0 && (left & PRESENT == 0 || left & FILE_OR_SHARED != 0);
    ensure_value(clean, "an untouched page looks written", left)
}

/// **Symptom**: an untouched anonymous page has neither bit 63 nor bit 62; a written one has one of them and not bit
/// 61. **Sequence**: a child writes the second of three pages; the parent reads pagemap. **Kernels**: as above. A page
/// only read shows the shared zero page as present: its content tells. **Workaround**: pages of zeroes are dropped.
/// **Removable**: never.
fn pagemap_anonymous_pages() -> Check {
    let region = Region::anonymous(3 * PAGE).or_unknown("mmap failed")?;
    region.advise(libc::MADV_NOHUGEPAGE).or(Ok(())).or_unknown("madvise failed")?;
    let entries: [u64; 3] = pagemap_of_child(&region, || region.poke(PAGE, 99))?;
    ensure_value(entries[0] & (PRESENT | SWAPPED) == 0, "an untouched page looks present", entries[0])?;
    ensure_value(entries[1] & (PRESENT | SWAPPED) != 0, "a written page is not there", entries[1])?;
    ensure_value(entries[1] & FILE_OR_SHARED == 0, "a written page looks like a file's", entries[1])?;
    ensure_value(entries[2] & (PRESENT | SWAPPED) == 0, "an untouched page looks present", entries[2])
}

/// **Symptom**: device and inode in /proc/PID/maps are those of fstat. **Sequence**: map a file, compare. **Kernels**:
/// all; btrfs subvolumes (and overlayfs before 5.19 or so) show another device. **Workaround**: the file is also
/// looked for by the link in map_files. **Removable**: when PROCMAP_QUERY (6.11) with build-id can be relied on.
fn maps_identify_files() -> Check {
    let file = tmpfile::with_pages(1, 1)?;
    let region = Region::private_file(&file, PAGE).or_unknown("cannot map a file")?;
    let (major, minor, inode) = sys::identity(&file).or_unknown("fstat failed")?;
    let mut maps = Text::read(sys::getpid(), "maps").or_unknown("cannot read /proc/self/maps")?;
    let Some(vma) = maps.vmas().find(|vma| vma.start == region.addr()) else {
        return Err(missing("the mapping is not listed, at", Detail::Value(region.addr())));
    };
    ensure_value(vma.inode == inode, "maps shows another inode", vma.inode)?;
    ensure_value(vma.device == (major, minor), "maps shows another device, major number", vma.device.0)
}

/// **Symptom**: `readlink` of /proc/PID/map_files/START-END gives the path. **Sequence**: the first file mapping of
/// this program. **Kernels**: 4.3 and later; following the link takes CAP_CHECKPOINT_RESTORE, reading it does not.
/// **Workaround**: the path in maps. **Removable**: never.
fn map_files_link() -> Check {
    let pid = sys::getpid();
    let mut maps = Text::read(pid, "maps").or_unknown("cannot read /proc/self/maps")?;
    let Some(vma) = maps.vmas().find(|vma| vma.inode != 0 && vma.name.starts_with(b"/")) else {
        return Err(missing("this process has no file mapping", Detail::None));
    };
    let path = Path::new(format_args!("/proc/{pid}/map_files/{:x}-{:x}", vma.start, vma.end));
    let mut buffer = [0; 4096];
    let link = sys::read_link(path.or_unknown("path too long")?.as_c_str(), &mut buffer);
    let link = link.or_missing("cannot read a link of /proc/PID/map_files")?;
    // maps has the whole name, but this parser cuts names at blanks.
    ensure(link.starts_with(vma.name), "the link names another file")
}

/// **Symptom**: each mapping has a line `VmFlags:` of flags that the list has. **Sequence**: own smaps, with one
/// mapping each of: locked, not dumped, not for children, wiped on fork, growing down. **Kernels**: 3.8 and later.
/// **Workaround**: a flag that is not known makes the snapshotter refuse the program and name the range. **Removable**:
/// never.
fn smaps_flags_known() -> Check {
    let odd = [libc::MADV_DONTDUMP, libc::MADV_DONTFORK, libc::MADV_WIPEONFORK, libc::MADV_MERGEABLE];
    let mut regions: [Option<Region>; 4] = [const { None }; 4];
    for (region, advice) in regions.iter_mut().zip(odd) {
        let new = Region::anonymous(PAGE).or_unknown("mmap failed")?;
        // Advice that this kernel does not have sets no flag.
        let _ = new.advise(advice);
        *region = Some(new);
    }
    let mut smaps = Text::read(sys::getpid(), "smaps").or_unknown("cannot read /proc/self/smaps")?;
    let (mut mappings, mut lines) = (0u64, 0u64);
    for line in smaps.lines() {
        mappings += u64::from(Vma::parse(line).is_some());
        let Some(flags) = line.strip_prefix(b"VmFlags:") else { continue };
        lines += 1;
        for flag in flags.split(|byte| *byte == b' ').filter(|flag| !flag.is_empty()) {
            let known = KNOWN_VM_FLAGS.iter().any(|known| known == flag);
            if !known {
                let name = [flag.first().copied().unwrap_or(b'?'), flag.get(1).copied().unwrap_or(b'?')];
                return Err(missing("smaps has an unknown flag", Detail::Flag(name)));
            }
        }
    }
    ensure_value(mappings > 4 && lines == mappings, "mappings without a VmFlags line, of them have one", lines)
}

/// **Symptom**: FilePmdMapped of a mapped file is not 0. **Sequence**: a file written in 2 MiB writes, mapped where
/// address ≡ offset mod 2 MiB, one byte read. **Kernels**: ext4 from 6.16, XFS from 5.18, tmpfs with huge=.
/// **Workaround**: none needed. **Removable**: the layout rule of stores goes when no filesystem does so.
fn large_folio_mapping() -> Check {
    const HUGE: u64 = 2 << 20;
    let file = tmpfile::empty()?;
    let mut chunk = Region::anonymous(HUGE).or_unknown("mmap failed")?;
    chunk.bytes_mut().fill(1);
    for offset in [0, HUGE] {
        sys::write_at(&file, chunk.bytes_mut(), offset).or_unknown("cannot write a temporary file")?;
    }
    // The range has room for an aligned address; the kernel may also align by itself.
    let room = Region::anonymous(4 * HUGE).or_unknown("mmap failed")?;
    let at = room.addr().next_multiple_of(HUGE);
    room.unmap().or_unknown("munmap failed")?;
    let protection = libc::PROT_READ;
    let region = Region::map(Some(at), 2 * HUGE, protection, libc::MAP_PRIVATE, Some((&file, 0)));
    let region = region.or_unknown("cannot map the file at an aligned address")?;
    ensure(region.peek(HUGE) == 1 && region.peek(0) == 1, "the mapping shows other bytes than the file")?;
    let mut smaps = Text::read(sys::getpid(), "smaps").or_unknown("cannot read /proc/self/smaps")?;
    let mapped = paragraph(smaps.lines(), region.addr()).find_map(|line| field(line, b"FilePmdMapped")).unwrap_or(0);
    ensure_value(mapped > 0, "KiB of the file mapped as 2 MiB pages", mapped)
}
