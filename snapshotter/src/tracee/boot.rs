//! Rebuilds the program's image at its exec stop: maps snapboot into the tracee, which then does the work.

use super::maps::Special;
use super::memory::Memory;
use super::ptrace::{self, Stop, Tid};
use super::remote::Remote;
use super::{TraceError, clocks, maps};
use goblin::elf::Elf;
use goblin::elf::program_header::PT_LOAD;
use snapfn_format::arch::{self, NO_CALL, SYSCALL, reg};
use snapfn_format::boot::{BOOT_DONE, BOOT_MAGIC, BOOT_REQUEST, BOOT_REQUEST_LEN, BOOT_STACK_LEN, BootRequest};
use snapfn_format::init::{ET_DYN, InitHeader};
use snapfn_format::layout::{LOADER_END, LOADER_START, PROGRAM_START};
use snapfn_format::snap::resident;
use snapfn_format::{Digest, PAGE, page_down};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// Work area reserved in the tracee; the restored instance maps what its threads need.
const WORK_LEN: u64 = 16 * PAGE;
/// The kernel randomizes the distance between an executable and its heap by the same amount.
const BRK_RANDOM: u64 = 32 << 20;
/// The range of one page of each upper level of the page table. Main stack, resident region and executable lie in it
/// together, in this order, so that a start makes one such page for them and not three. Each has a part of its own, and
/// a random place in the first half of that part: behind the resident region is room for the frames of many threads. No
/// mapping lies below that the stack could grow into, and none above that brk could.
const TABLE_REACH: u64 = 1 << 30;
const TABLES_START: u64 = PROGRAM_START + (1 << 40);
const TABLES_SPAN: u64 = 0x0f00_0000_0000;
const PART: u64 = TABLE_REACH / 4;

/// The two files of an ELF, as paths that the tracee can open.
#[derive(Clone, Debug)]
pub(crate) struct ElfFiles {
    pub(crate) init: PathBuf,
    pub(crate) code: PathBuf,
    pub(crate) header: InitHeader,
    /// PT_INTERP.
    pub(crate) interp: Option<PathBuf>,
}

/// Supplies code segment and init data files for an ELF file, and splits it if necessary.
pub(crate) trait ElfSource {
    fn files(&mut self, elf: &Path) -> Result<ElfFiles, TraceError>;

    /// Registers a file of an earlier snapshot: `FILE_…`, digest, size, and the path that the program saw.
    fn know(&mut self, kind: u16, digest: Digest, size: u64, original: &Path) -> Result<(), TraceError>;
}

/// The rebuilt program, before its first instruction.
#[derive(Clone, Debug)]
pub(crate) struct Booted {
    /// /proc/PID/exe
    pub(crate) exe: PathBuf,
    pub(crate) request: BootRequest,
    pub(crate) header: InitHeader,
    /// The program's interpreter, which with musl is the C library.
    pub(crate) interp: Option<PathBuf>,
    /// Mappings of the kernel that are not part of the snapshot: its argument stack, its vDSO.
    pub(crate) kernel_ranges: Vec<(u64, u64)>,
    /// Address of a `syscall` instruction that the snapshotter may use.
    pub(crate) gadget: u64,
    /// Address that the kernel's vDSO had, if it has been unmapped.
    pub(crate) vdso: Option<u64>,
}

impl Booted {
    /// The start and the end of the executable's image.
    pub(crate) fn image(&self) -> (u64, u64) {
        let at = |addr: u64| self.request.bias.wrapping_add(addr);
        (at(self.header.image_start.get()), at(self.header.image_end.get()))
    }
}

/// `snapboot` lies beside this program or in ../libexec/snapfn.
fn find_snapboot() -> Result<PathBuf, TraceError> {
    if let Some(path) = std::env::var_os("SNAPFN_SNAPBOOT") {
        return Ok(path.into());
    }
    let own = std::env::current_exe().map_err(TraceError::system("/proc/self/exe"))?;
    let dir = own.parent().unwrap_or(Path::new("/"));
    let candidates = [dir.join("snapboot"), dir.join("../libexec/snapfn/snapboot"), dir.join("../snapboot")];
    candidates.iter().find(|path| path.is_file()).cloned().ok_or_else(|| TraceError::NoSnapboot(candidates[1].clone()))
}

fn random_pages(span: u64) -> Result<u64, TraceError> {
    let mut bytes = [0; 8];
    let mut source = std::fs::File::open("/dev/urandom").map_err(TraceError::system("/dev/urandom"))?;
    io::Read::read_exact(&mut source, &mut bytes).map_err(TraceError::system("/dev/urandom"))?;
    Ok(page_down(u64::from_le_bytes(bytes) % span))
}

/// Whether the mapping is one of the kernel's, and not part of the program's own image.
pub(super) fn is_kernels(name: &str) -> bool {
    !matches!(Special::of(name), None | Some(Special::Heap))
}

/// Rebuilds the image of `pid`, which is at its exec stop.
pub(crate) fn boot(pid: Tid, vdso_page: &[u8], source: &mut dyn ElfSource) -> Result<Booted, TraceError> {
    let system = TraceError::system;
    let exe = std::fs::read_link(format!("/proc/{pid}/exe")).map_err(system("/proc/PID/exe"))?;
    if has_other_rights(&exe) {
        return Err(TraceError::OtherRights(exe));
    }
    let files = source.files(&exe)?;
    let interp = files.interp.as_deref().map(|path| source.files(path)).transpose()?;
    let memory = Memory::open(pid).map_err(system("/proc/PID/mem"))?;
    let vmas = maps::read(pid).map_err(system("/proc/PID/smaps"))?;
    let regs = ptrace::get_regs(pid).map_err(system("registers"))?;

    restore_limits(pid);
    // The code at the entry point is unmapped with the rest of the kernel's image.
    memory.write(regs[reg::PC], &SYSCALL).map_err(system("writing the program's memory"))?;
    let remote = Remote::new(pid, regs[reg::PC], &regs, false).map_err(system("remote system call"))?;
    // Children must not inherit the layout.
    if let Ok(personality) = remote.call(libc::SYS_personality, &[0xffff_ffff]) {
        let _ = remote.call(libc::SYS_personality, &[personality & !0x0200000]);
    }
    let mut request = map_request(&remote, &files, interp.as_ref(), regs[reg::SP])?;
    let mut area = Area { next: BOOT_REQUEST + 4096, memory: &memory };
    request.exe_init = area.path(&files.init)?;
    request.exe_code = area.path(&files.code)?;
    if let Some(interp) = &interp {
        request.interp_init = area.path(&interp.init)?;
        request.interp_code = area.path(&interp.code)?;
    }
    request.vdso_page = area.bytes(vdso_page)?;
    let unmap: Vec<u8> = vmas
        .iter()
        .filter(|vma| !is_kernels(&vma.name))
        .flat_map(|vma| [vma.start, vma.end])
        .flat_map(u64::to_le_bytes)
        .collect();
    request.unmap_count = unmap.len() as u64 / 16;
    request.unmap = area.bytes(&unmap)?;
    memory.write(BOOT_REQUEST, request.as_bytes()).map_err(system("writing the boot request"))?;

    let entry = map_snapboot(&remote, &memory, regs[reg::SP])?;
    remote.finish().map_err(system("remote system call"))?;
    run_snapboot(pid, &memory, entry, &regs)?;

    let bytes = memory.read_vec(BOOT_REQUEST, size_of::<BootRequest>() as u64).map_err(system("boot request"))?;
    let answer = BootRequest::read_from_bytes(&bytes).map_err(|_| TraceError::Split("boot request".into()))?;
    if answer.status != BOOT_DONE {
        let what = answer.what.split(|b| *b == 0).next().unwrap_or_default();
        return Err(TraceError::Boot { what: String::from_utf8_lossy(what).into_owned(), errno: answer.errno });
    }
    let start = arch::at_start(&regs, answer.entry, answer.sp);
    let mut booted = Booted {
        exe,
        gadget: answer.resident + resident::STUB_SYSCALL,
        request: answer,
        header: files.header,
        interp: files.interp.clone(),
        kernel_ranges: Vec::new(),
        vdso: None,
    };
    let remote = Remote::new(pid, booted.gadget, &start, false).map_err(system("remote system call"))?;
    remote.call(libc::SYS_munmap, &[LOADER_START, LOADER_END - LOADER_START]).map_err(system("munmap of snapboot"))?;
    booted.vdso = clocks::take_away(pid, &remote).map_err(system("munmap of the vDSO"))?;
    booted.kernel_ranges = clocks::kernel_ranges(&vmas, booted.vdso);
    remote.finish().map_err(system("remote system call"))?;
    Ok(booted)
}

/// Undoes the unlimited stack that the compat layout may have needed.
pub(super) fn restore_limits(pid: Tid) {
    use nix::sys::resource::{Resource, getrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_STACK) {
        set_stack_limit(pid, soft, hard);
    }
}

/// RLIMIT_STACK of `pid`, soft and hard.
#[allow(unsafe_code)] // prlimit
pub(super) fn stack_limit(pid: Tid) -> (u64, u64) {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a live local; no new value is given.
    unsafe { libc::prlimit(pid, libc::RLIMIT_STACK, std::ptr::null(), &raw mut limit) };
    (limit.rlim_cur, limit.rlim_max)
}

/// Whether a file gives its user rights that a traced process does not get: the program would run without them.
fn has_other_rights(exe: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = exe.metadata() else { return false };
    let has = |bit: u32| metadata.mode() & bit != 0;
    has(libc::S_ISUID) && metadata.uid() != nix::unistd::geteuid().as_raw()
        || has(libc::S_ISGID) && metadata.gid() != nix::unistd::getegid().as_raw()
}

#[allow(unsafe_code)] // prlimit
pub(super) fn set_stack_limit(pid: Tid, soft: u64, hard: u64) {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the local is live; no old value is requested.
    unsafe { libc::prlimit(pid, libc::RLIMIT_STACK, &raw const limit, std::ptr::null_mut()) };
}

/// Maps the request and snapboot's stack, and chooses all addresses.
fn map_request(
    remote: &Remote,
    files: &ElfFiles,
    interp: Option<&ElfFiles>,
    initial_sp: u64,
) -> Result<BootRequest, TraceError> {
    const ANON_FIXED: u64 = 0x2 | 0x20 | 0x10_0000; // MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE
    let base = BOOT_REQUEST - BOOT_STACK_LEN;
    remote
        .call(libc::SYS_mmap, &[base, BOOT_STACK_LEN + BOOT_REQUEST_LEN, 3, ANON_FIXED, u64::MAX, 0])
        .map_err(TraceError::system("mmap of the boot request"))?;
    let header = &files.header;
    let span = header.image_end.get() - header.image_start.get();
    let tables = (TABLES_START + random_pages(TABLES_SPAN)?) / TABLE_REACH * TABLE_REACH;
    let part = |index: u64| Ok::<_, TraceError>(tables + index * PART + random_pages(PART / 2)?);
    let bias = if header.elf_type.get() == ET_DYN {
        let align = header.max_align.get().max(PAGE);
        part(2)?.next_multiple_of(align) - header.image_start.get()
    } else {
        0
    };
    let image_end = header.image_start.get() + bias + span;
    let mut request = BootRequest::new_zeroed();
    request.magic = BOOT_MAGIC;
    request.bias = bias;
    request.brk = image_end + random_pages(BRK_RANDOM)?;
    request.stack_top = part(0)? + PAGE;
    request.resident = part(1)?;
    request.work_len = WORK_LEN;
    request.initial_sp = initial_sp;
    let _ = interp;
    Ok(request)
}

/// The part of the request's mapping behind the structure.
struct Area<'a> {
    next: u64,
    memory: &'a Memory,
}

impl Area<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<u64, TraceError> {
        let at = self.next;
        self.next = (at + bytes.len() as u64).next_multiple_of(16);
        if self.next > BOOT_REQUEST + BOOT_REQUEST_LEN {
            return Err(TraceError::Split("the boot request is too long".into()));
        }
        self.memory.write(at, bytes).map_err(TraceError::system("writing the boot request"))?;
        Ok(at)
    }

    fn path(&mut self, path: &Path) -> Result<u64, TraceError> {
        let path = std::path::absolute(path).map_err(TraceError::system("current directory"))?;
        let mut bytes = OsStr::as_bytes(path.as_os_str()).to_vec();
        bytes.push(0);
        self.bytes(&bytes)
    }
}

/// Maps snapboot as `execve` would. Returns its entry point.
fn map_snapboot(remote: &Remote, memory: &Memory, sp: u64) -> Result<u64, TraceError> {
    let system = TraceError::system;
    let path = find_snapboot()?;
    let bytes = std::fs::read(&path).map_err(system("reading snapboot"))?;
    let elf = Elf::parse(&bytes).map_err(|error| TraceError::Split(format!("snapboot: {error}")))?;
    let scratch = page_down(sp) - 2 * PAGE;
    let mut name = path.canonicalize().map_err(system("snapboot"))?.into_os_string().as_bytes().to_vec();
    name.push(0);
    memory.write(scratch, &name).map_err(system("writing the program's memory"))?;
    let fd = remote.call(libc::SYS_openat, &[-100i64 as u64, scratch, 0]).map_err(system("open snapboot"))?;
    for segment in elf.program_headers.iter().filter(|ph| ph.p_type == PT_LOAD) {
        let start = page_down(segment.p_vaddr);
        let file_end = segment.p_vaddr + segment.p_filesz;
        let end = (segment.p_vaddr + segment.p_memsz).next_multiple_of(PAGE);
        let prot =
            u64::from(segment.is_read()) | u64::from(segment.is_write()) << 1 | u64::from(segment.is_executable()) << 2;
        let file_pages = (file_end - start).next_multiple_of(PAGE);
        remote
            .call(libc::SYS_mmap, &[start, file_pages, prot, 0x2 | 0x10, fd, page_down(segment.p_offset)])
            .map_err(system("mmap of snapboot"))?;
        if segment.is_write() {
            let tail = file_end.next_multiple_of(PAGE).min(end) - file_end;
            memory.write(file_end, &vec![0; tail as usize]).map_err(system("clearing snapboot's .bss"))?;
        }
        if end > start + file_pages {
            remote
                .call(
                    libc::SYS_mmap,
                    &[start + file_pages, end - start - file_pages, prot, 0x2 | 0x10 | 0x20, u64::MAX, 0],
                )
                .map_err(system("mmap of snapboot's .bss"))?;
        }
    }
    remote.call(libc::SYS_close, &[fd]).map_err(system("close snapboot"))?;
    Ok(elf.entry)
}

/// Runs snapboot up to its `int3`.
fn run_snapboot(pid: Tid, memory: &Memory, entry: u64, old: &ptrace::Regs) -> Result<(), TraceError> {
    let system = TraceError::system;
    let sp = BOOT_REQUEST - 64;
    memory.write(sp, &BOOT_REQUEST.to_le_bytes()).map_err(system("snapboot's stack"))?;
    memory.write(sp + 8, &BOOT_MAGIC.to_le_bytes()).map_err(system("snapboot's stack"))?;
    let mut regs = *old;
    regs[reg::PC] = entry;
    regs[reg::SP] = sp;
    regs[reg::CALL] = NO_CALL;
    ptrace::set_regs(pid, &regs).map_err(system("registers"))?;
    ptrace::resume(pid, 0).map_err(system("ptrace(PTRACE_CONT)"))?;
    match ptrace::wait(pid).map_err(system("wait4"))?.1 {
        Stop::Signal(libc::SIGTRAP) => Ok(()),
        Stop::Signal(signal) => {
            Err(TraceError::Boot { what: format!("stopped by {}", ptrace::signal_name(signal)), errno: 0 })
        }
        other => Err(TraceError::Boot { what: format!("unexpected stop {other:?}"), errno: 0 }),
    }
}
