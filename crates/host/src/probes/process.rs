//! What a process registers with the kernel: its ranges, the words with its thread numbers, its descriptors.

use nix::errno::Errno;
use snapfn_format::arch::reg;

use crate::arch::threads::{self, Call};
use crate::child::Child;
use crate::finding::{Check, Judge, ensure, ensure_refused, ensure_value};
use crate::procfile::Text;
use crate::region::{PAGE, Region};
use crate::sys::{self, MmMap};
use crate::tmpfile;
use crate::tracee::Tracee;
use crate::{Level, Probe};

pub(crate) const PROBES: &[Probe] = &[
    Probe::new(
        "set-mm-map",
        Level::RestoreNeeds,
        "3.18 and later with CONFIG_CHECKPOINT_RESTORE",
        "a restored instance has its brk, and its own command line and environment in /proc",
        "brk and /proc/PID/cmdline are those of snaprun; programs that need brk fail",
        set_mm_map,
    ),
    Probe::new(
        "set-mm-map-exe-file",
        Level::Optional,
        "5.9 and later, with CAP_CHECKPOINT_RESTORE",
        "the program's own file is what /proc/self/exe of an instance names",
        "it names snaprun, which create notes for programs that use it",
        set_exe_file,
    )
    .privileged(),
    Probe::new(
        "clone3",
        Level::Optional,
        "5.3 and later",
        "threads of an instance are made by clone3",
        "they are made by clone",
        || threads::try_thread(Call::Clone3),
    ),
    Probe::new(
        "clone",
        Level::RestoreNeeds,
        "all",
        "threads of an instance are made with stack, TLS and thread-number words in one call",
        "programs with threads cannot be restored",
        || threads::try_thread(Call::Clone),
    ),
    Probe::new(
        "tid-address",
        Level::CreateNeeds,
        "3.5 and later with CONFIG_CHECKPOINT_RESTORE",
        "the word where a program caches its thread number is found, so that instances get their own",
        "getpid caches of old libcs and pthread_self()->tid stay those of the snapshot; mutexes may deadlock",
        tid_address,
    ),
    Probe::new(
        "robust-list-of-tracee",
        Level::CreateNeeds,
        "2.6.17 and later",
        "robust mutexes that an instance holds are released when it dies",
        "their owners' death goes unnoticed in restored instances",
        robust_list,
    ),
    Probe::new(
        "rseq-again",
        Level::Optional,
        "4.18 and later",
        "restartable sequences of the program's threads are registered again at the same address",
        "glibc falls back to getcpu; tcmalloc and the like lose their per-CPU caches",
        rseq_again,
    ),
    Probe::new(
        "rseq-of-tracee",
        Level::CreateNeeds,
        "5.13 and later with CONFIG_RSEQ; not needed where rseq does not exist",
        "the snapshotter learns where a thread registered restartable sequences",
        "programs that use rseq without glibc's symbols cannot be distinguished from those that do not",
        rseq_of_tracee,
    ),
    Probe::new(
        "close-range",
        Level::Optional,
        "5.9 and later",
        "descriptors that must not reach an instance are closed in one call",
        "they are closed one by one",
        close_range,
    ),
    Probe::new(
        "compare-open-files",
        Level::Optional,
        "3.5 and later with CONFIG_KCMP (always on since 5.12 where there is DRM); off in profiles of containers",
        "two descriptors of one open file share their offset in an instance, too",
        "the snapshotter tells duplicates by signal-of-open-file; check --pid cannot tell them",
        compare_open_files,
    ),
    Probe::new(
        "signal-of-open-file",
        Level::CreateNeeds,
        "2.6 and later",
        "duplicates are recognised in containers, whose profiles forbid kcmp",
        "descriptors that only look alike cannot be distinguished from duplicates where kcmp is forbidden",
        signal_of_open_file,
    ),
    Probe::new(
        "path-descriptor-reopen",
        Level::Optional,
        "2.6.39 and later, with /proc mounted",
        "an open file is opened again with other flags through /proc/self/fd, whatever its name is now",
        "files are reopened by name only; deleted ones are refused",
        path_descriptor,
    ),
    Probe::new(
        "snap-prctl-refused",
        Level::RestoreNeeds,
        "all",
        "snap_ready() in an ordinary run costs one prctl that fails with EINVAL",
        "a program cannot tell an ordinary run from a traced one",
        snap_prctl,
    ),
];

/// **Symptom**: /proc/self/cmdline, environ and auxv show what was set. **Sequence**: write two arguments, one variable
/// and a vector into a page, `prctl(PR_SET_MM, PR_SET_MM_MAP)` with exe_fd = −1. **Kernels**: 3.18 and later with
/// CONFIG_CHECKPOINT_RESTORE; no privilege is needed as long as exe_fd is −1. **Workaround**: none. **Removable**:
/// never.
fn set_mm_map() -> Check {
    const ARGUMENTS: &[u8] = b"first\0second\0";
    const ENVIRONMENT: &[u8] = b"NAME=value\0";
    const AT_PAGESZ: u64 = 6;
    let page = Region::anonymous(PAGE).or_unknown("mmap failed")?;
    page.fill(0, ARGUMENTS);
    page.fill(256, ENVIRONMENT);
    for (offset, word) in [(512, AT_PAGESZ), (520, PAGE), (528, 0), (536, 0)] {
        page.poke_word(offset, word);
    }
    let map = MmMap {
        arg_end: page.addr() + ARGUMENTS.len() as u64,
        env_start: page.addr() + 256,
        env_end: page.addr() + 256 + ENVIRONMENT.len() as u64,
        auxv: page.addr() + 512,
        auxv_size: 32,
        ..everything_in(&page)
    };
    sys::set_mm_map(&map).or_missing("prctl(PR_SET_MM_MAP) was refused")?;
    let read = |file| Text::read(sys::getpid(), file).or_unknown("cannot read /proc/self");
    ensure(read("cmdline")?.bytes() == ARGUMENTS, "/proc/self/cmdline does not follow")?;
    ensure(read("environ")?.bytes() == ENVIRONMENT, "/proc/self/environ does not follow")?;
    let mut auxv = read("auxv")?;
    let expected = [AT_PAGESZ, PAGE, 0, 0].map(u64::to_le_bytes);
    ensure(auxv.bytes().starts_with(expected.as_flattened()), "/proc/self/auxv does not follow")
}

/// A record with every range in one page and no vector.
fn everything_in(page: &Region) -> MmMap {
    let (low, high) = (page.addr(), page.end());
    MmMap {
        start_code: low,
        end_code: low + 64,
        start_data: low + 64,
        end_data: low + 128,
        start_brk: high,
        brk: high,
        start_stack: high - 64,
        arg_start: low,
        arg_end: low,
        env_start: low,
        env_end: low,
        auxv: 0,
        auxv_size: 0,
        exe_fd: u32::MAX,
    }
}

/// **Symptom**: EBUSY (the old executable is still mapped, so the right to change it was there) or success; EPERM
/// without the capability. **Sequence**: PR_SET_MM_MAP with exe_fd open on the own program, keeping the caller's
/// capabilities. **Kernels**: 5.9 and later with CAP_CHECKPOINT_RESTORE, before with CAP_SYS_ADMIN in the user
/// namespace. **Workaround**: /proc/self/exe is `snaprun`, documented. **Removable**: never.
fn set_exe_file() -> Check {
    use std::os::fd::AsRawFd;
    let page = Region::anonymous(PAGE).or_unknown("mmap failed")?;
    let exe = sys::open(c"/proc/self/exe", libc::O_RDONLY).or_unknown("cannot open the own program")?;
    match sys::set_mm_map(&MmMap { exe_fd: exe.as_raw_fd() as u32, ..everything_in(&page) }) {
        Err(Errno::EBUSY) => Ok(()),
        other => other.or_missing("the link /proc/self/exe cannot be changed"),
    }
}

/// **Symptom**: PR_GET_TID_ADDRESS returns what set_tid_address was given. **Sequence**: both injected into a tracee.
/// **Kernels**: 3.5 and later with CONFIG_CHECKPOINT_RESTORE. **Workaround**: glibc's place is known by offset.
/// **Removable**: never.
fn tid_address() -> Check {
    const PR_GET_TID_ADDRESS: u64 = 40;
    let tracee = Tracee::exec(|| Ok(())).or_unknown("cannot trace a child of this process")?;
    let stack = tracee.registers().or_unknown("PTRACE_GETREGS failed")?[reg::SP] & !15;
    let (word, result) = (stack - 64, stack - 128);
    let tid = tracee.call(libc::SYS_set_tid_address, &[word]).or_missing("set_tid_address failed")?;
    ensure_value(tid == tracee.pid() as u64, "set_tid_address returned", tid)?;
    tracee.call(libc::SYS_prctl, &[PR_GET_TID_ADDRESS, result]).or_missing("prctl(PR_GET_TID_ADDRESS) failed")?;
    let seen = tracee.peek(result).or_unknown("PTRACE_PEEKDATA failed")?;
    ensure_value(seen == word, "PR_GET_TID_ADDRESS stored", seen)
}

/// **Symptom**: `get_robust_list(TID)` of a tracee gives head and length. **Sequence**: inject `set_robust_list`, ask
/// from outside. **Kernels**: 2.6.17 and later; needs the right to ptrace. **Workaround**: none. **Removable**: never.
fn robust_list() -> Check {
    const HEAD_SIZE: u64 = 24;
    let tracee = Tracee::exec(|| Ok(())).or_unknown("cannot trace a child of this process")?;
    let head = (tracee.registers().or_unknown("PTRACE_GETREGS failed")?[reg::SP] & !15) - 64;
    tracee.call(libc::SYS_set_robust_list, &[head, HEAD_SIZE]).or_missing("set_robust_list failed")?;
    let (seen, len) = sys::robust_list(tracee.pid()).or_missing("get_robust_list of a tracee failed")?;
    ensure_value(seen == head, "get_robust_list gives another head", seen)?;
    ensure_value(len == HEAD_SIZE, "get_robust_list gives another length", len)
}

const RSEQ_SIZE: u64 = 32;
const RSEQ_SIGNATURE: u64 = 0x5305_3053;
const RSEQ_UNREGISTER: u64 = 1;

/// A fresh tracee, which has no rseq area yet, and an address for one.
fn rseq_tracee() -> Result<(Tracee, u64), crate::finding::Finding> {
    let tracee = Tracee::exec(|| Ok(())).or_unknown("cannot trace a child of this process")?;
    let area = (tracee.registers().or_unknown("PTRACE_GETREGS failed")?[reg::SP] & !63) - 1024;
    Ok((tracee, area))
}

/// **Symptom**: an area can be registered, taken back, and registered again at the same address; registering it twice
/// is refused. **Sequence**: four injected `rseq` calls with the 32 bytes that every kernel accepts. **Kernels**: 4.18
/// and later with CONFIG_RSEQ. **Workaround**: on ENOSYS none is registered. **Removable**: never.
fn rseq_again() -> Check {
    let (tracee, area) = rseq_tracee()?;
    let rseq = |flags| tracee.call(libc::SYS_rseq, &[area, RSEQ_SIZE, flags, RSEQ_SIGNATURE]);
    rseq(0).or_missing("a fresh thread cannot register rseq")?;
    ensure_refused(rseq(0), Errno::EBUSY, "registering the same area twice is not refused with EBUSY")?;
    rseq(RSEQ_UNREGISTER).or_missing("rseq cannot be taken back")?;
    rseq(0).or_missing("rseq cannot be registered again at the same address")?;
    Ok(())
}

/// **Symptom**: PTRACE_GET_RSEQ_CONFIGURATION gives address, size and signature. **Sequence**: before and after an
/// injected registration. **Kernels**: 5.13 and later. **Workaround**: none. **Removable**: never.
fn rseq_of_tracee() -> Check {
    let (tracee, area) = rseq_tracee()?;
    let before = tracee.rseq().or_missing("PTRACE_GET_RSEQ_CONFIGURATION failed")?;
    ensure_value(before.pointer == 0, "a fresh process has an rseq area at", before.pointer)?;
    tracee.call(libc::SYS_rseq, &[area, RSEQ_SIZE, 0, RSEQ_SIGNATURE]).or_missing("cannot register rseq")?;
    let after = tracee.rseq().or_missing("PTRACE_GET_RSEQ_CONFIGURATION failed")?;
    ensure_value(after.pointer == area, "the kernel tells another address", after.pointer)?;
    ensure_value(u64::from(after.size) == RSEQ_SIZE, "the kernel tells another size", u64::from(after.size))?;
    ensure_value(u64::from(after.signature) == RSEQ_SIGNATURE, "another signature", u64::from(after.signature))
}

/// **Symptom**: descriptors in the range are gone, others stay. **Sequence**: three pipes' ends; close from the second
/// on. **Kernels**: 5.9 and later. **Workaround**: /proc/self/fd and close. **Removable**: when 5.9 is the oldest.
fn close_range() -> Check {
    use std::os::fd::{AsRawFd, IntoRawFd};
    let (low, high) = sys::pipe().or_unknown("no pipe")?;
    let (kept, closed) = (low.as_raw_fd(), high.into_raw_fd());
    ensure(kept < closed, "the numbers of new descriptors do not rise")?;
    sys::close_range(closed as u32, u32::MAX).or_missing("close_range failed")?;
    let next = sys::duplicate(std::os::fd::AsFd::as_fd(&low)).or_missing("close_range closed too much")?;
    ensure_value(next.as_raw_fd() == closed, "close_range left it open", closed as u64)
}

/// **Symptom**: 0 for two numbers of one open file, not 0 for two openings of one file. **Sequence**: `dup`, `open`
/// twice, `kcmp(KCMP_FILE)`, also across a fork. **Kernels**: 3.5 and later with CONFIG_KCMP. **Workaround**:
/// `signal-of-open-file`. **Removable**: never.
fn compare_open_files() -> Check {
    let file = sys::open(c"/proc/self/exe", libc::O_RDONLY).or_unknown("cannot open the own program")?;
    let again = sys::open(c"/proc/self/exe", libc::O_RDONLY).or_unknown("cannot open the own program")?;
    let copy = sys::duplicate(std::os::fd::AsFd::as_fd(&file)).or_unknown("dup failed")?;
    let child = Child::parked(|| {}).or_unknown("the child did not come up")?;
    let compare = |pid, fds| sys::compare_files((pid, child.pid()), fds).or_missing("kcmp(KCMP_FILE) failed");
    let same = compare(sys::getpid(), (&file, &copy))?;
    ensure_value(same == 0, "a descriptor and its copy count as two open files", same)?;
    let other = compare(sys::getpid(), (&file, &again))?;
    ensure_value(other != 0, "two openings count as one open file", other)
}

/// **Symptom**: the signal that F_SETSIG sets through one descriptor is read through its duplicates, and through no
/// other opening of the file. **Sequence**: `dup`, `open` twice, F_SETSIG, F_GETSIG. **Kernels**: 2.6 and later.
/// **Workaround**: `compare-open-files`. **Removable**: when the profiles of all container engines allow kcmp.
fn signal_of_open_file() -> Check {
    const SIGNAL: i32 = libc::SIGURG;
    let file = sys::open(c"/proc/self/exe", libc::O_RDONLY).or_unknown("cannot open the own program")?;
    let again = sys::open(c"/proc/self/exe", libc::O_RDONLY).or_unknown("cannot open the own program")?;
    let copy = sys::duplicate(std::os::fd::AsFd::as_fd(&file)).or_unknown("dup failed")?;
    sys::set_signal(&file, SIGNAL).or_missing("F_SETSIG failed")?;
    let of = |fd| sys::signal(fd).or_missing("F_GETSIG failed");
    let same = of(&copy)?;
    ensure_value(same == SIGNAL, "a duplicate has another signal", same as u64)?;
    let other = of(&again)?;
    ensure_value(other == 0, "another opening has the signal, too", other as u64)
}

/// **Symptom**: the new descriptor reads and writes the same file, even though it has no name. **Sequence**: a file
/// without a name, `open("/proc/self/fd/N", O_RDWR)`, write, read through the first. **Kernels**: 2.6.39 and later.
/// **Workaround**: the name. **Removable**: never.
fn path_descriptor() -> Check {
    use std::os::fd::AsRawFd;
    let file = tmpfile::with_pages(1, 1)?;
    let path = crate::procfile::Path::new(format_args!("/proc/self/fd/{}", file.as_raw_fd()));
    let path = path.or_unknown("path too long")?;
    let again = sys::open(path.as_c_str(), libc::O_RDWR).or_missing("cannot open a file again by its descriptor")?;
    sys::write_at(&again, &[55], 0).or_unknown("cannot write to the file")?;
    let mut byte = [0];
    sys::read_at(&file, &mut byte, 0).or_unknown("cannot read the file")?;
    ensure_value(byte[0] == 55, "another file was opened, it has", u64::from(byte[0]))
}

/// **Symptom**: EINVAL. **Sequence**: `prctl(0x534e4150, 0)`. **Kernels**: all; a seccomp profile may answer otherwise.
/// **Workaround**: every failure counts as "ordinary run". **Removable**: never.
fn snap_prctl() -> Check {
    const SNAP: i32 = 0x534e_4150;
    ensure_refused(sys::foreign_prctl(SNAP), Errno::EINVAL, "the snapshot prctl is not refused with EINVAL")
}
