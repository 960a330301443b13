//! Calls that not every kernel has. Each only saves time, or must be recognised in a program.

use std::os::fd::AsRawFd;

use nix::errno::Errno;
use snapfn_format::linux::MADV_GUARD_INSTALL;

use crate::child::{Child, End, fate_of};
use crate::finding::{Check, Judge, ensure, ensure_refused, ensure_value};
use crate::procfile::{Text, paragraph};
use crate::region::{PAGE, Region};
use crate::sys;
use crate::tmpfile;
use crate::{Level, Probe};

pub(crate) const PROBES: &[Probe] = &[
    Probe::new(
        "populate-read",
        Level::Optional,
        "5.14 and later",
        "a recorded working set is mapped in one call",
        "pages are mapped by faults, 16 at a time",
        populate_read,
    ),
    Probe::new(
        "seal",
        Level::Optional,
        "6.10 and later",
        "sealed mappings are recognised by their flag (sl); an instance seals them again",
        "there is nothing to seal; snapshots with sealed mappings start with them unsealed",
        seal,
    ),
    Probe::new(
        "guard-pages",
        Level::Optional,
        "6.13 and later",
        "lightweight guard pages of a program's thread stacks exist here",
        "nothing: libcs use PROT_NONE mappings instead",
        guard_pages,
    ),
    Probe::new(
        "droppable-memory",
        Level::Optional,
        "6.11 and later",
        "such memory is zero in every instance, and droppable again",
        "nothing: libcs use MADV_WIPEONFORK instead",
        droppable,
    ),
    Probe::new(
        "wipe-on-fork",
        Level::Optional,
        "4.14 and later",
        "memory that must not be the same in two processes is zero in every instance",
        "random generators that rely on it detect a fork by their process number, which changes as well",
        wipe_on_fork,
    ),
    Probe::new(
        "time-namespace",
        Level::Optional,
        "5.6 and later, with unprivileged user namespaces",
        "snaprun --timens keeps CLOCK_MONOTONIC from running backwards on a host that booted later",
        "deadlines in a snapshot's memory lie far ahead on a host that booted later",
        time_namespace,
    ),
    Probe::new(
        "userfaultfd-user-mode",
        Level::Optional,
        "5.11 and later; off with CONFIG_USERFAULTFD=n or in seccomp profiles",
        "pages of a snapshot could be fetched when they are first touched by user code",
        "nothing: snapshots are complete before they start",
        userfaultfd,
    ),
];

/// **Symptom**: all pages of a file mapping are resident at once. **Sequence**: map 16 pages,
/// `madvise(MADV_POPULATE_READ)`, Rss in smaps. **Kernels**: 5.14 and later, EINVAL before. **Workaround**: faults.
/// **Removable**: when 5.14 is the oldest kernel.
fn populate_read() -> Check {
    const PAGES: u8 = 16;
    let file = tmpfile::with_pages(PAGES, 1)?;
    let region = Region::private_file(&file, u64::from(PAGES) * PAGE).or_unknown("cannot map a file")?;
    region.advise(libc::MADV_POPULATE_READ).or_missing("MADV_POPULATE_READ was refused")?;
    let mut smaps = Text::read(sys::getpid(), "smaps").or_unknown("cannot read /proc/self/smaps")?;
    let resident = paragraph(smaps.lines(), region.addr()).find_map(|line| crate::procfile::field(line, b"Rss"));
    let resident = resident.unwrap_or(0);
    ensure_value(resident == u64::from(PAGES) * 4, "KiB resident after MADV_POPULATE_READ", resident)
}

/// Whether the smaps paragraph of `region` has this flag.
fn has_flag(region: &Region, flag: &[u8; 2]) -> Result<bool, crate::finding::Finding> {
    let mut smaps = Text::read(sys::getpid(), "smaps").or_unknown("cannot read /proc/self/smaps")?;
    let flags = paragraph(smaps.lines(), region.addr()).find_map(|line| line.strip_prefix(b"VmFlags:"));
    Ok(flags.is_some_and(|flags| flags.split(|byte| *byte == b' ').any(|seen| seen == flag)))
}

/// **Symptom**: `munmap` and `mprotect` give EPERM, VmFlags has "sl". **Sequence**: `mseal` of an anonymous page.
/// **Kernels**: 6.10 and later, 64-bit; ENOSYS before. **Workaround**: none needed. **Removable**: never.
fn seal() -> Check {
    let region = Region::anonymous(PAGE).or_unknown("mmap failed")?;
    region.seal().or_missing("mseal was refused")?;
    ensure_refused(region.protect(0, PAGE, libc::PROT_READ), Errno::EPERM, "mprotect of a sealed mapping works")?;
    ensure(has_flag(&region, b"sl")?, "smaps does not show that a mapping is sealed")?;
    ensure_refused(region.unmap(), Errno::EPERM, "munmap of a sealed mapping works")
}

/// **Symptom**: an access raises SIGSEGV, without a mapping of its own; pagemap bit 58 tells (6.15). **Sequence**:
/// three pages, `madvise(MADV_GUARD_INSTALL)`, touch. **Kernels**: 6.13 and later. **Workaround**: a program's guards
/// are stored as what they are; a host without them gets PROT_NONE pages. **Removable**: never.
fn guard_pages() -> Check {
    let region = Region::anonymous(3 * PAGE).or_unknown("mmap failed")?;
    region.advise(MADV_GUARD_INSTALL as i32).or_missing("MADV_GUARD_INSTALL was refused")?;
    let end = fate_of(|| region.poke(PAGE, 1)).or_unknown("cannot fork")?;
    ensure(end == End::Killed(libc::SIGSEGV), "a guard page can be written")
}

/// **Symptom**: VmFlags has "dp", and a forked child sees zeroes. **Sequence**: `mmap(MAP_DROPPABLE | MAP_ANONYMOUS)`.
/// **Kernels**: 6.11 and later. **Workaround**: such pages are never stored; a host without the flag gets plain zero
/// pages. **Removable**: never.
fn droppable() -> Check {
    const MAP_DROPPABLE: i32 = 8;
    let flags = MAP_DROPPABLE | libc::MAP_ANONYMOUS;
    let region = Region::map(None, PAGE, libc::PROT_READ | libc::PROT_WRITE, flags, None);
    let region = region.or_missing("mmap(MAP_DROPPABLE) was refused")?;
    ensure(has_flag(&region, b"dp")?, "smaps does not show that a mapping is droppable")
}

/// **Symptom**: a forked child reads zero where its parent wrote; VmFlags has "wf". **Sequence**:
/// `madvise(MADV_WIPEONFORK)`, write, fork. **Kernels**: 4.14 and later. **Workaround**: such pages are never stored.
/// **Removable**: never.
fn wipe_on_fork() -> Check {
    let region = Region::anonymous(PAGE).or_unknown("mmap failed")?;
    region.advise(libc::MADV_WIPEONFORK).or_missing("MADV_WIPEONFORK was refused")?;
    region.poke(0, 9);
    ensure(has_flag(&region, b"wf")?, "smaps does not show that a mapping is wiped on fork")?;
    let child = Child::spawn(|| i32::from(region.peek(0))).or_unknown("cannot fork")?;
    let end = child.end().or_unknown("lost the child")?;
    ensure(end == End::Exited(0), "a child still sees what its parent wrote")
}

/// **Symptom**: a child of the process sees CLOCK_MONOTONIC moved by the offset. **Sequence**: `unshare(CLONE_NEWUSER |
/// CLONE_NEWTIME)`, write /proc/self/timens_offsets, fork. **Kernels**: 5.6 and later; distributions may forbid
/// unprivileged user namespaces. **Workaround**: none; documented. **Removable**: never.
fn time_namespace() -> Check {
    const CLONE_NEWTIME: i32 = 0x80;
    const OFFSET: i64 = 100_000;
    sys::unshare(libc::CLONE_NEWUSER).or_missing("an unprivileged user namespace was refused")?;
    sys::unshare(CLONE_NEWTIME).or_missing("a time namespace was refused")?;
    let before = sys::monotonic_seconds();
    let offsets = sys::open(c"/proc/self/timens_offsets", libc::O_WRONLY).or_missing("no timens_offsets")?;
    sys::write(&offsets, b"monotonic 100000 0\n").or_missing("cannot set the offset of a time namespace")?;
    let child = Child::spawn(|| i32::from(sys::monotonic_seconds() - before >= OFFSET)).or_unknown("cannot fork")?;
    let end = child.end().or_unknown("lost the child")?;
    ensure(end == End::Exited(1), "the clock of a child did not follow the offset")
}

/// **Symptom**: a descriptor. **Sequence**: `userfaultfd(UFFD_USER_MODE_ONLY)`. **Kernels**: 5.11 and later; faults in
/// system calls are not seen, so a `read(2)` into a missing page fails. **Workaround**: never on the default path.
/// **Removable**: never.
fn userfaultfd() -> Check {
    let fd = sys::userfaultfd_user_mode().or_missing("userfaultfd(UFFD_USER_MODE_ONLY) was refused")?;
    ensure_value(fd.as_raw_fd() > 2, "an odd descriptor", fd.as_raw_fd() as u64)
}
