//! A snapshot with one record of every kind, made without running a program. The tests of the format and those of the
//! tools that read snapshots share it.
#![allow(dead_code, reason = "each test binary uses its part")]

use snapfn_format::arch::{PARAMETERS, user_regs};
use snapfn_format::snap::*;
use snapfn_format::{Digest, PAGE};
use zerocopy::IntoBytes;

/// The values that differ from snapshot to snapshot.
#[derive(Clone)]
pub(crate) struct Sample {
    /// Where the program lies.
    pub(crate) program: u64,
    /// Where its libraries lie.
    pub(crate) arena: u64,
    /// Content of the stored pages, by the byte that fills each.
    pub(crate) pages: [u8; PAGES],
    /// Digests of the code segment files of the program and its library, and of a data file.
    pub(crate) digests: [Digest; 3],
    /// Paths of program, library and data file.
    pub(crate) paths: [String; 3],
    /// A file that is mapped from the host.
    pub(crate) host: String,
    /// Working directory.
    pub(crate) cwd: String,
    /// Register state that is live.
    pub(crate) xfeatures: u64,
}

/// Stored pages of the sample.
pub(crate) const PAGES: usize = 9;
/// Bytes of the program's file, of the library's and of the data file.
pub(crate) const SIZES: [u64; 3] = [5 * PAGE + 100, 9 * PAGE, 2 * PAGE];

impl Default for Sample {
    fn default() -> Self {
        Sample {
            program: 0x1700_0000_0000,
            arena: 0x2aab_0000_0000,
            pages: [1, 2, 3, 4, 5, 6, 7, 8, 9],
            digests: [1, 2, 3].map(|i| Digest([i; 32])),
            paths: ["/opt/app/fn", "/usr/lib/libdemo.so.1", "/usr/share/demo.dat"].map(String::from),
            host: "/var/cache/demo.map".into(),
            cwd: "/srv".into(),
            xfeatures: 7,
        }
    }
}

const R: u16 = PROT_READ;
const RW: u16 = PROT_READ | PROT_WRITE;
const RX: u16 = PROT_READ | PROT_EXEC;

impl Sample {
    fn heap(&self) -> u64 {
        self.program + 0x10_0000
    }

    fn stack_end(&self) -> u64 {
        self.program + 0x100_0000 + 32 * PAGE
    }

    /// Address of the resident region.
    pub(crate) fn resident(&self) -> u64 {
        self.program + 0x200_0000
    }

    fn ops(&self, first_page: u64) -> Vec<Op> {
        let (p, a, heap, resident) = (self.program, self.arena, self.heap(), self.resident());
        let stack = self.stack_end() - 32 * PAGE;
        let page = |index: u64| first_page + index * PAGE;
        let op = |kind, prot, file, addr, pages: u64, offset| Op {
            kind,
            prot,
            file,
            addr,
            len: pages * PAGE,
            offset,
            ..Op::default()
        };
        let map = |prot, file, addr, pages, offset| op(OP_MAP_FILE, prot, file, addr, pages, offset);
        let zero = |addr, pages| op(OP_MAP_ANON, RW, 0, addr, pages, 0);
        let work = resident::work_len(2, 1024) / PAGE;
        vec![
            map(RX, 1, p, 4, 0),
            map(RW, 0, p + 4 * PAGE, 2, page(0)),
            op(OP_PROTECT, R, 0, p + 4 * PAGE, 1, 0),
            zero(p + 6 * PAGE, 2),
            map(RW, 0, heap, 3, page(2)),
            zero(heap + 3 * PAGE, 5),
            Op { flags: OP_GROWSDOWN, ..zero(stack, 32) },
            op(OP_READ, 0, 0, stack + 30 * PAGE, 2, page(5)),
            map(RX, 0, resident, 1, page(7)),
            zero(resident + PAGE, 1 + work),
            map(RX, 2, a, 8, 0),
            map(RW, 0, a + 8 * PAGE, 1, page(8)),
            zero(a + 9 * PAGE, 1),
            map(R, 3, a + 0x10_0000, 2, 0),
            Op { flags: OP_SHARED, ..map(RW, 4, a + 0x20_0000, 1, 0) },
            zero(a + 0x30_0000, 64),
            op(OP_ADVISE, 0, 0, a + 0x30_0000, 64, 14),
            op(OP_LOCK, 0, 0, a + 0x30_0000, 1, 0),
            Op { flags: OP_SHARED, ..op(OP_MAP_FD, RW, 9, a + 0x40_0000, 1, 0) },
        ]
    }

    fn threads(&self, tables: &mut PlanTables) {
        for (index, name) in [*b"fn\0\0\0\0\0\0", *b"worker\0\0"].into_iter().enumerate() {
            let mut xstate = vec![0u8; 1024];
            xstate[464..468].copy_from_slice(&0x4650_5853u32.to_le_bytes());
            xstate[472..480].copy_from_slice(&self.xfeatures.to_le_bytes());
            let xstate = tables.add_bytes(&xstate);
            let mut regs = [0; REGS];
            regs[reg::PC] = self.arena + 0x1234 + index as u64;
            regs[reg::SP] = self.stack_end() - PAGE - 0x100 * index as u64;
            regs[reg::TLS] = self.arena + 8 * PAGE + 64;
            regs[user_regs::CS] = 0x33;
            regs[user_regs::SS] = 0x2b;
            let mut comm = [0; 16];
            comm[..8].copy_from_slice(&name);
            tables.threads.push(Thread {
                regs,
                sigmask: 1 << 9,
                tid: 100 + index as u32,
                tid_cache: self.arena + 8 * PAGE + 128 + 8 * index as u64,
                xstate,
                comm,
                ..Thread::default()
            });
        }
    }

    fn patches(&self) -> Vec<Patch> {
        let memory = |addr, kind, arg| Patch { addr, kind, place: PATCH_MEMORY, arg };
        let register = |addr, kind, arg| Patch { addr: addr as u64, kind, place: PATCH_REGISTER, arg };
        let (data, tls) = (self.program + 5 * PAGE, self.arena + 8 * PAGE);
        vec![
            memory(data, PATCH_ARGV, 0),
            memory(data + 8, PATCH_ENVP, 0),
            memory(tls + 40, PATCH_CANARY, 0),
            memory(tls + 128, PATCH_TID, 0),
            memory(tls + 136, PATCH_TID_FUTEX, 1),
            memory(tls + 144, PATCH_INFO, 0),
            register(PARAMETERS[0], PATCH_ARGC, 0),
            register(PARAMETERS[1], PATCH_ARGV, 0),
        ]
    }

    fn fds(&self, tables: &mut PlanTables) {
        let path = tables.add_path(b"/etc/demo.conf");
        let in_pipe = tables.add_bytes(b"waiting");
        let address = tables.add_bytes(&[2, 0, 0x1f, 0x90, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        let name = tables.add_path(b"shared");
        let fd = |fd, kind, source| Fd { fd, kind, source, ..Fd::default() };
        tables.fds = vec![
            fd(0, FD_INHERIT, 0),
            fd(1, FD_INHERIT, 1),
            fd(2, FD_INHERIT, 2),
            Fd { path, flags: 0o2000000, offset: 42, ..fd(3, FD_PATH, 0) },
            fd(4, FD_DUP, 3),
            fd(5, FD_PIPE, 6),
            Fd { flags: 1, ..fd(6, FD_PIPE, 5) },
            Fd { a: 3, ..fd(7, FD_EVENT, 0) },
            fd(8, FD_EPOLL, 0),
            Fd { data: name, ..fd(9, FD_MEMFD, 0) },
            Fd { a: 2, b: 1, data: address, ..fd(10, FD_SOCKET, 0) },
        ];
        let step = |fd, kind, a| FdStep { fd, kind, a, ..FdStep::default() };
        tables.fd_steps = vec![
            FdStep { data: in_pipe, ..step(6, STEP_SEND, 0) },
            step(10, STEP_BIND, 0),
            step(10, STEP_LISTEN, 128),
            FdStep { b: 1, c: 7, ..step(8, STEP_EPOLL, 7) },
        ];
    }

    /// All tables of the plan for a file whose pages begin at `first_page`.
    pub(crate) fn tables(&self, first_page: u64) -> PlanTables {
        let mut t = PlanTables::default();
        t.process = Process {
            start_code: self.program,
            end_code: self.program + 4 * PAGE,
            start_data: self.program + 4 * PAGE,
            end_data: self.program + 8 * PAGE,
            start_brk: self.heap(),
            brk: self.heap() + 8 * PAGE - 16,
            start_stack: self.stack_end() - PAGE,
            resident: self.resident(),
            at_random: self.stack_end() - 64,
            auxv: self.stack_end() - 1024,
            auxv_len: 320,
            argv0: self.stack_end() - 32,
            info: self.program + 5 * PAGE + 64,
            at: AT_READY,
            umask: 0o22,
            cwd: t.add_path(self.cwd.as_bytes()),
            exe: t.add_path(self.paths[0].as_bytes()),
            args: t.add_bytes(b"fn\0--port\x0080\0"),
            pid: 100,
            kept_args: 0,
            monotonic: 5_000_000_000,
            boottime: 6_000_000_000,
            created: 1_700_000_000,
        };
        t.files.push(File { kind: FILE_SELF, size: first_page + PAGES as u64 * PAGE, ..File::default() });
        for (index, size) in SIZES.into_iter().enumerate() {
            let kind = if index == 2 { FILE_DATA } else { FILE_CODE };
            let path = t.add_path(self.paths[index].as_bytes());
            t.files.push(File { digest: self.digests[index], size, kind, path, ..File::default() });
        }
        let path = t.add_path(self.host.as_bytes());
        t.files.push(File { size: PAGE, kind: FILE_HOST, writable: 1, path, ..File::default() });
        t.ops = self.ops(first_page);
        t.patches = self.patches();
        self.threads(&mut t);
        self.fds(&mut t);
        let handler = self.program + 0x500;
        t.sigactions = vec![
            SigAction { signo: 13, handler: 1, ..SigAction::default() },
            SigAction { signo: 15, handler, flags: 0x0400_0000, restorer: self.arena + 0x40, ..SigAction::default() },
        ];
        let (set, unset) = (t.add_bytes(b"DEMO_READY"), t.add_bytes(b"DEMO_TOKEN"));
        t.env_changes = vec![
            EnvChange { kind: ENV_SET, reserved: 0, name: set, addr: self.heap() + 64 },
            EnvChange { kind: ENV_UNSET, reserved: 0, name: unset, addr: 0 },
        ];
        t.settings = vec![
            Setting { kind: SETTING_PRCTL, which: 38, a: 1, b: 0 },
            Setting { kind: SETTING_RLIMIT, which: 7, a: 64, b: 64 },
        ];
        let info = t.add_bytes(&[0; 128]);
        t.pending = vec![PendingSignal { thread: u32::MAX, signo: 10, info }];
        t.timers =
            vec![Timer { kind: TIMER_ITIMER, remaining: 1_500_000_000, interval: 250_000_000, ..Timer::default() }];
        t
    }

    /// The meta part alone, and the size of its file.
    pub(crate) fn meta(&self) -> (Vec<u8>, u64) {
        build(&self.tables(self.first_page()), self.first_page() + PAGES as u64 * PAGE)
    }

    fn first_page(&self) -> u64 {
        self.tables(0).meta_len().next_multiple_of(PAGE)
    }

    /// Notes for debuggers: some registers, and NT_FILE with program, library and a file that is not in the store.
    fn notes(&self) -> Vec<u8> {
        let mut files: Vec<u8> = [3, PAGE].iter().flat_map(|word| word.to_le_bytes()).collect();
        for (addr, pages) in [(self.program, 4), (self.arena, 8), (self.arena + 0x20_0000, 1)] {
            files.extend([addr, addr + pages * PAGE, 0].iter().flat_map(|word| word.to_le_bytes()));
        }
        for path in [&self.paths[0], &self.paths[1], &self.host] {
            files.extend(path.bytes().chain([0]));
        }
        let mut notes = Vec::new();
        for (kind, content) in [(1, vec![5; 336]), (0x4649_4c45u32, files), (2, vec![6; 512])] {
            notes.extend([5, content.len() as u32, kind].iter().flat_map(|word| word.to_le_bytes()));
            notes.extend(b"CORE\0\0\0\0");
            notes.extend(content);
            notes.resize(notes.len().next_multiple_of(4), 0);
        }
        notes
    }

    /// The whole file.
    pub(crate) fn file(&self) -> Vec<u8> {
        let (mut bytes, size) = self.meta();
        let notes = self.notes();
        let meta_len = bytes.len() as u64;
        for (offset, len) in [(64, meta_len - 64), (meta_len + 112, notes.len() as u64)] {
            bytes.extend([4u32, 4].iter().flat_map(|word| word.to_le_bytes())); // PT_NOTE, PF_R
            bytes.extend([offset, 0, 0, len, 0, 4].iter().flat_map(|word: &u64| word.to_le_bytes()));
        }
        bytes.extend(notes);
        bytes.resize((size - PAGES as u64 * PAGE) as usize, 0);
        for fill in self.pages {
            bytes.resize(bytes.len() + PAGE as usize, fill);
        }
        bytes
    }
}

/// The meta part of these tables.
pub(crate) fn build(tables: &PlanTables, size: u64) -> (Vec<u8>, u64) {
    let mut elf = [0u8; 64];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    elf[16] = 4; // ET_CORE
    elf[18] = 62;
    elf[20] = 1;
    elf[32..40].copy_from_slice(&tables.meta_len().to_le_bytes()); // e_phoff
    elf[52..58].copy_from_slice(&[64, 0, 56, 0, 2, 0]);
    (MetaBuilder::build(tables, &elf, size), size)
}

/// A copy of `meta` that is aligned to 8, as [`Plan::parse`] needs it.
pub(crate) fn aligned(meta: &[u8]) -> Vec<u64> {
    let mut words = vec![0u64; meta.len().div_ceil(8)];
    words.as_mut_bytes()[..meta.len()].copy_from_slice(meta);
    words
}

/// Writes the checksum that belongs to the bytes of `meta`.
pub(crate) fn fix_checksum(meta: &mut [u8]) {
    let at = HEADER_OFFSET + std::mem::offset_of!(SnapHeader, checksum);
    meta[at..at + 8].fill(0);
    let sum = snapfn_format::checksum(meta);
    meta[at..at + 8].copy_from_slice(&sum.to_le_bytes());
}

/// A code segment file as the splitter makes it, `size` bytes long: pages of code, then a page in the hole, which grows
/// to pages of data.
pub(crate) fn code_file(code: u64, data: u64, size: u64) -> Vec<u8> {
    let mut elf = vec![0u8; size as usize];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    elf[16..20].copy_from_slice(&[3, 0, 62, 0]);
    elf[20] = 1;
    elf[32] = 64; // e_phoff
    elf[52..58].copy_from_slice(&[64, 0, 56, 0, 2, 0]);
    let header = |kind: u32, flags: u32, vaddr: u64, filesz: u64, memsz: u64| {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&kind.to_le_bytes());
        bytes.extend_from_slice(&flags.to_le_bytes());
        for word in [vaddr, vaddr, vaddr, filesz, memsz, PAGE] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes
    };
    let loads = [header(1, 5, 0, code * PAGE, code * PAGE), header(1, 6, code * PAGE, PAGE, data * PAGE)].concat();
    elf[64..64 + loads.len()].copy_from_slice(&loads);
    elf
}
