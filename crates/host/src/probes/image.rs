//! Replacing the kernel's image of a program by another, from outside.

use snapfn_format::arch::reg;
use snapfn_format::layout;

use crate::finding::{Check, Detail, Judge, ensure, ensure_value, missing, unknown};
use crate::procfile::Path;
use crate::region::PAGE;
use crate::sys;
use crate::tracee::Tracee;
use crate::{Level, Probe};

pub(crate) const PROBES: &[Probe] = &[
    Probe::new(
        "remote-syscall",
        Level::CreateNeeds,
        "all",
        "the snapshotter maps the deserializer into the program and asks it questions only it can answer",
        "ptrace is forbidden here (Yama ptrace_scope=3, seccomp): no snapshot can be made; existing ones still start",
        remote_syscall,
    ),
    Probe::new(
        "unmap-image",
        Level::CreateNeeds,
        "all",
        "the deserializer replaces the kernel's image of a program by its own",
        "the program cannot be rebuilt from its code segment file",
        unmap_image,
    ),
    Probe::new(
        "proc-mem-write",
        Level::Optional,
        "all; refused with proc_mem.force_override=never (6.12 and later)",
        "memory of the program is read and written in large pieces through /proc/PID/mem",
        "words are written one by one with PTRACE_POKEDATA",
        proc_mem_write,
    ),
    Probe::new(
        "execveat-path-descriptor",
        Level::Optional,
        "3.19 and later",
        "a program is executed by the very file that was split, even if its name points to another file by then",
        "the program is executed by name; replacing it at that moment goes unnoticed",
        execveat_descriptor,
    ),
];

fn this_program() -> Result<Tracee, crate::finding::Finding> {
    Tracee::exec(|| Ok(())).or_missing("cannot trace a child of this process")
}

/// **Symptom**: the tracee runs the call and is as before. **Sequence**: at the exec stop write `syscall; int3` at rip,
/// set the registers, continue to the SIGTRAP, put both back. **Kernels**: all. **Workaround**: orig_rax is set to −1,
/// else the kernel takes the registers for those of an interrupted call; PTRACE_O_TRACEEXEC stays off up to
/// there, since at its stop execve still has to write its result into rax. **Removable**: never.
fn remote_syscall() -> Check {
    let tracee = this_program()?;
    let before = tracee.registers().or_missing("PTRACE_GETREGS failed")?;
    let pid = tracee.call(libc::SYS_getpid, &[]).or_missing("the injected call did not return")?;
    ensure_value(pid == tracee.pid() as u64, "getpid in the tracee returned", pid)?;
    let after = tracee.registers().or_missing("PTRACE_GETREGS failed")?;
    ensure_value(
        [reg::PC, reg::SP].iter().all(|one| after[*one] == before[*one]),
        "the tracee was left at",
        after[reg::PC],
    )?;
    let refused = tracee.call(libc::SYS_close, &[u64::MAX]);
    ensure(refused == Err(nix::errno::Errno::EBADF), "an error of an injected call does not come back")
}

/// **Symptom**: only the argument stack and one own page are left, and the process still runs. **Sequence**: at the
/// exec stop map a page, run `munmap` of every other mapping from it, the vDSO included, then `exit`.
/// **Kernels**: all; where the kernel seals its own mappings (CONFIG_MSEAL_SYSTEM_MAPPINGS, 6.16 and later), vDSO and
/// vvar refuse with EPERM and stay. **Workaround**: programs never see the kernel's vDSO, so it may stay.
/// **Removable**: never.
fn unmap_image() -> Check {
    let mut tracee = this_program()?;
    let at = layout::LOADER_START;
    let protection = (libc::PROT_READ | libc::PROT_EXEC) as u64;
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE) as u64;
    let page = tracee
        .call(libc::SYS_mmap, &[at, PAGE, protection, flags, u64::MAX, 0])
        .or_missing("cannot map a page at the loader's address")?;
    tracee.call_from(page);
    let mut maps = tracee.maps().or_unknown("cannot read /proc/PID/maps")?;
    for vma in maps.vmas().filter(|vma| vma.start != page && !stays(vma.name)) {
        let done = tracee.call(libc::SYS_munmap, &[vma.start, vma.end - vma.start]);
        if !vma.name.starts_with(b"[v") {
            done.or_missing("munmap of the kernel's image failed")?;
        }
    }
    let mut maps = tracee.maps().or_unknown("cannot read /proc/PID/maps")?;
    for vma in maps.vmas().filter(|vma| vma.start != page && !stays(vma.name)) {
        ensure_value(vma.name.starts_with(b"[v"), "still mapped", vma.start)?;
    }
    let status = tracee.exit(7).or_missing("the bare process cannot run")?;
    let exited = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7;
    ensure_value(exited, "the bare process ended with wait status", status as u64)
}

/// The argument stack; and the gate page of old binaries, which is not a mapping.
fn stays(name: &[u8]) -> bool {
    name == b"[stack]" || name == b"[vsyscall]"
}

/// **Symptom**: bytes written to /proc/PID/mem are there, even in read-only text. **Sequence**: the tracer writes eight
/// bytes at the entry point and reads them with ptrace. **Kernels**: all; proc_mem.force_override (6.12) can
/// forbid it for read-only pages. **Workaround**: PTRACE_POKEDATA. **Removable**: never.
fn proc_mem_write() -> Check {
    const PATTERN: u64 = 0x1122_3344_5566_7788;
    let tracee = this_program()?;
    let entry = tracee.registers().or_unknown("PTRACE_GETREGS failed")?[reg::PC];
    let path = Path::new(format_args!("/proc/{}/mem", tracee.pid())).or_unknown("path too long")?;
    let memory = sys::open(path.as_c_str(), libc::O_RDWR).or_missing("cannot open /proc/PID/mem")?;
    sys::write_at(&memory, &PATTERN.to_le_bytes(), entry).or_missing("cannot write read-only text")?;
    let seen = tracee.peek(entry).or_unknown("PTRACE_PEEKDATA failed")?;
    ensure_value(seen == PATTERN, "the tracee has other bytes", seen)
}

/// **Symptom**: the file behind a descriptor is executed, without its name. **Sequence**: `open(O_PATH)`,
/// `execveat(fd, "", AT_EMPTY_PATH)`; /proc/PID/exe is that file. **Kernels**: 3.19 and later; the descriptor
/// must not be close-on-exec for scripts. **Workaround**: `execve` by name. **Removable**: never.
fn execveat_descriptor() -> Check {
    let file = sys::open(c"/proc/self/exe", libc::O_PATH).or_unknown("cannot open the own program")?;
    let tracee = Tracee::exec_by(|| sys::exec_fd(&file)).or_missing("execveat(AT_EMPTY_PATH) failed")?;
    let path = Path::new(format_args!("/proc/{}/exe", tracee.pid())).or_unknown("path too long")?;
    let (mut theirs, mut ours) = ([0; 4096], [0; 4096]);
    let theirs = sys::read_link(path.as_c_str(), &mut theirs).or_unknown("cannot read /proc/PID/exe")?;
    let ours = sys::read_link(c"/proc/self/exe", &mut ours).or_unknown("cannot read /proc/self/exe")?;
    if theirs.is_empty() {
        return Err(unknown("/proc/PID/exe is empty", Detail::None));
    }
    if theirs == ours { Ok(()) } else { Err(missing("another file was executed", Detail::None)) }
}
