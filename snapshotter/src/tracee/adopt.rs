//! A program that is itself an instance: `snapshotter create -- snaprun NAME ARGS…`.
//!
//! Nothing has to be rebuilt. `snaprun` runs in the compat layout, so that later mappings of the instance lie where a
//! snapshot's must, and it copies its arguments out of the kernel's stack (`--keep-arguments`). The snapshotter reads
//! the plan from its memory just before `snaprun` unmaps itself. After `snaprun` has left through `rt_sigreturn`, the
//! instance stands where the first snapshot was taken.

use super::boot::{Booted, ElfSource, restore_limits};
use super::ledger::Ledger;
use super::maps::Vma;
use super::memory::Memory;
use super::protocol::Registered;
use super::ptrace::{self, Event, Stop, Tid};
use super::remote::Remote;
use super::run::Task;
use super::{Output, TraceError, clocks, maps};
use snapfn_format::arch::SYSCALL;
use snapfn_format::boot::BootRequest;
use snapfn_format::layout::{LOADER_END, LOADER_PLAN, LOADER_START};
use snapfn_format::snap::{
    AT_READY, BytesRef, HEADER_OFFSET, OP_MAP_FILE, PATCH_INFO, Plan, SnapHeader, reg, resident,
};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// Whether the program is `snaprun`: no other program is linked into the loader's range.
pub(crate) fn is_snaprun(program: &Path) -> bool {
    let Ok(bytes) = super::symbols::read_elf(program) else { return false };
    goblin::elf::Elf::parse(&bytes).is_ok_and(|elf| (LOADER_START..LOADER_END).contains(&elf.entry))
}

/// An instance that stands where its snapshot was taken, its other tasks, and what its program has registered.
pub(crate) struct Adopted {
    pub(crate) booted: Booted,
    pub(crate) tasks: BTreeMap<Tid, Task>,
    pub(crate) registered: Registered,
    pub(crate) ledger: Ledger,
}

/// The content of the plan, with its references resolved.
struct Origin {
    header: SnapHeader,
    exe: PathBuf,
    work_len: u64,
    /// Each `struct snap_info`.
    infos: Vec<u64>,
    /// Address of the mapping of each file's first page.
    images: Vec<(PathBuf, u64)>,
}

/// Runs `snaprun`, which is at its exec stop, until it has become the instance.
pub(crate) fn adopt(pid: Tid, output: &Output, source: &mut dyn ElfSource) -> Result<Adopted, TraceError> {
    let system = TraceError::system;
    let memory = Memory::open(pid).map_err(system("/proc/PID/mem"))?;
    let kernels = maps::read(pid).map_err(system("/proc/PID/smaps"))?;
    restore_limits(pid);
    reset_personality(pid, &memory)?;
    let mut tasks = BTreeMap::from([(pid, Task::default())]);
    let mut origin = None;
    let mut leaving = false;
    let mut ledger = Ledger::default();
    ptrace::resume_to_syscall(pid, 0).map_err(system("ptrace(PTRACE_SYSCALL)"))?;
    loop {
        let (tid, stop) = ptrace::wait(-1).map_err(system("wait4"))?;
        let mut signal = 0;
        match stop {
            Stop::Exited(status) if tid == pid => {
                return Err(TraceError::Exited { status, output: output.tail() });
            }
            Stop::Killed(number) if tid == pid => {
                return Err(TraceError::Killed { signal: ptrace::signal_name(number), output: output.tail() });
            }
            Stop::Syscall if tid == pid => match ptrace::syscall_entry(tid).map_err(system("system call"))? {
                Some((number, args)) if number == libc::SYS_munmap as u64 && args[0] == LOADER_START => {
                    origin = Some(read_plan(&memory, source)?);
                }
                Some((number, args)) => {
                    ledger.restored(number, &args);
                    leaving = origin.is_some() && number == libc::SYS_rt_sigreturn as u64;
                }
                None if leaving => break,
                None => {}
            },
            Stop::Syscall => {
                if let Some((number, args)) = ptrace::syscall_entry(tid).map_err(system("system call"))? {
                    tasks.entry(tid).or_default().enter(&memory, number, &args);
                }
            }
            Stop::NewTask(Event::Clone) => {
                let new = ptrace::event_message(tid).map_err(system("ptrace event"))? as Tid;
                tasks.entry(new).or_default();
            }
            Stop::Signal(number) => signal = number,
            _ => {}
        }
        match ptrace::resume_to_syscall(tid, signal) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            other => other.map_err(system("ptrace(PTRACE_SYSCALL)"))?,
        }
    }
    let Some(origin) = origin else {
        return Err(TraceError::Split("snaprun did not restore anything".into()));
    };
    let registered = Registered::of_instance(&memory, origin.infos.clone(), origin.header.process.at == AT_READY);
    let registered = registered.map_err(system("struct snap_info and the hooks"))?;
    let booted = booted(pid, &memory, origin, &kernels, source)?;
    Ok(Adopted { booted, tasks, registered, ledger })
}

/// Clears the layout flag, since children must not inherit it. The two bytes of code that this borrows are put back.
fn reset_personality(pid: Tid, memory: &Memory) -> Result<(), TraceError> {
    let system = TraceError::system;
    let regs = ptrace::get_regs(pid).map_err(system("registers"))?;
    let at = regs[reg::PC];
    let code = memory.read_vec(at, 2).map_err(system("reading snaprun's code"))?;
    memory.write(at, &SYSCALL).map_err(system("writing snaprun's code"))?;
    let remote = Remote::new(pid, at, &regs, false).map_err(system("remote system call"))?;
    if let Ok(personality) = remote.call(libc::SYS_personality, &[0xffff_ffff]) {
        let _ = remote.call(libc::SYS_personality, &[personality & !0x0200000]);
    }
    remote.finish().map_err(system("remote system call"))?;
    memory.write(at, &code).map_err(system("writing snaprun's code"))
}

fn read_plan(memory: &Memory, source: &mut dyn ElfSource) -> Result<Origin, TraceError> {
    let system = TraceError::system;
    let start = memory.read_vec(LOADER_PLAN, 4096).map_err(system("reading the plan"))?;
    let header = SnapHeader::read_from_prefix(&start[HEADER_OFFSET..]);
    let (header, _) = header.map_err(|_| TraceError::Split("the plan in snaprun's memory".into()))?;
    let len = header.meta_len as usize;
    let mut aligned = vec![0u64; len.div_ceil(8)];
    let bytes = &mut aligned.as_mut_bytes()[..len];
    memory.read(LOADER_PLAN, bytes).map_err(system("reading the plan"))?;
    let plan = Plan::parse(bytes, header.file_size).map_err(|error| TraceError::Split(error.to_string()))?;
    let path = |reference: BytesRef| PathBuf::from(OsStr::from_bytes(plan.bytes(reference)));
    for file in plan.files {
        source.know(file.kind, file.digest, file.size, &path(file.path))?;
    }
    let exe = path(plan.header.process.exe);
    let largest = plan.threads.iter().map(|thread| u64::from(thread.xstate.len)).max().unwrap_or(0);
    let first_pages = plan.ops.iter().filter(|op| op.kind == OP_MAP_FILE && op.file != 0 && op.offset == 0);
    let images = first_pages
        .filter_map(|op| plan.files.get(usize::from(op.file)).map(|file| (path(file.path), op.addr)))
        .collect();
    let others = plan.patches.iter().filter(|patch| patch.kind == PATCH_INFO).map(|patch| patch.addr);
    let infos = Some(header.process.info).filter(|info| *info != 0).into_iter().chain(others).collect();
    Ok(Origin { header, exe, work_len: resident::work_len(plan.threads.len() as u64, largest), infos, images })
}

fn booted(
    pid: Tid,
    memory: &Memory,
    origin: Origin,
    kernels: &[Vma],
    source: &mut dyn ElfSource,
) -> Result<Booted, TraceError> {
    let system = TraceError::system;
    let process = origin.header.process;
    let vmas = maps::read(pid).map_err(system("/proc/PID/smaps"))?;
    let work = process.resident + resident::WORK;
    let mut request = BootRequest::new_zeroed();
    request.resident = process.resident;
    request.work_len = origin.work_len;
    request.brk = process.start_brk;
    request.stack_top = vmas.iter().find(|vma| vma.contains(process.start_stack)).map_or(0, |vma| vma.end);
    request.sp = process.start_stack;
    request.argv = memory.read_u64(work + resident::WORK_ARGV).map_err(system("argument vector"))?;
    request.envp = memory.read_u64(work + resident::WORK_ENVP).map_err(system("environment vector"))?;
    request.auxv = process.auxv;
    request.auxv_len = process.auxv_len;
    request.at_random = process.at_random;
    request.start_code = process.start_code;
    request.end_code = process.end_code;
    request.start_data = process.start_data;
    request.end_data = process.end_data;
    let files = source.files(&origin.exe)?;
    let header = files.header;
    let start_of = |file: &Path| origin.images.iter().find(|(path, _)| path == file).map(|(_, addr)| *addr);
    request.bias = start_of(&origin.exe).map_or(0, |start| start.wrapping_sub(header.image_start.get()));
    // Interpreters are linked at 0.
    request.interp_base = files.interp.as_deref().and_then(start_of).unwrap_or(0);
    let gadget = request.resident + resident::STUB_SYSCALL;
    // Its slots lead to plain system calls from the beginning (--keep-arguments), in all threads.
    let regs = ptrace::get_regs(pid).map_err(system("registers"))?;
    let remote = Remote::new(pid, gadget, &regs, false).map_err(system("remote system call"))?;
    let vdso = clocks::take_away(pid, &remote).map_err(system("munmap of the vDSO"))?;
    remote.finish().map_err(system("remote system call"))?;
    let kernel_ranges = clocks::kernel_ranges(kernels, vdso);
    Ok(Booted { exe: origin.exe, gadget, request, header, interp: files.interp, kernel_ranges, vdso })
}
