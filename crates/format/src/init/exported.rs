//! An exported init data file: the memory of a program at its snapshot point, and the state of its process.
//!
//! ```text
//!  segments, runs   the executable's own memory: data and bss as the program left them
//!  heap runs        all other memory that the snapshot stores: heap, stack, thread block, data of the libraries
//!  state            the beginning of the snapshot file that is made of it: the plan, the notes for debuggers
//! ```
//!
//! The state names each stored page by address and by its offset in the snapshot file; its content is looked up by
//! address. Code segment files are named by their digests. [`Exported::parse`] checks that the heap runs are exactly
//! the stored pages outside of the executable's data segments, so that no page is missing and none is superfluous. The
//! page of the synthetic vDSO is not in the file, since each host makes its own.

use super::{ET_EXEC, Init, InitHeader, Segment, SegmentKind};
use crate::layout::USER_END;
use crate::snap::{
    AT_MAIN, AT_READY, Descriptor, FILE_CODE, FILE_DATA, FILE_HOST, HEADER_OFFSET, OP_MAP_ANON, OP_MAP_FD, OP_MAP_FILE,
    OP_READ, Op, Plan, Process, SETTING_ARGUMENTS, SETTING_COREDUMP_FILTER, SETTING_ENVIRONMENT, SETTING_IOPRIO,
    SETTING_MEMBARRIER, SETTING_MLOCKALL, SETTING_OOM_SCORE, SETTING_PERSONALITY, SETTING_PRCTL, SETTING_RLIMIT,
    SETTING_SETPGID, SETTING_SETSID, SETTING_XCOMP_PERM, SnapHeader,
};
use crate::{FormatError, PAGE};
use core::fmt;
use core::ops::Range;
use zerocopy::FromBytes;

/// The writer leaves at most that many bytes between two runs of pages in a snapshot file, less one.
const GAP: u64 = 4 << 20;

/// Why a snapshot is not a function of its memory alone, so that no init data file can hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotPortable {
    /// Taken neither at `main` nor at `snap_ready()`.
    Point,
    /// More than one thread.
    Threads(usize),
    /// A descriptor that is not one of the starter's standard streams.
    Descriptor(u32),
    /// Memory of a file that is not in the store.
    HostFile,
    /// A part of a snapshot in a container image.
    SplitForm,
    /// Timers, armed or not.
    Timers(usize),
    /// Signals that wait for delivery.
    Pending(usize),
    /// An attribute that the kernel keeps (`SETTING_…`).
    Setting(u32),
    /// Priority, policy, CPUs or timer slack of the thread.
    Scheduling,
    /// A working directory of its own.
    Directory,
    /// No record of the CPU features that code was selected for.
    NoRequirements,
    /// None of its files is the program.
    NoProgram,
    /// The program has moved the range that the kernel has of its code.
    Moved,
}

impl fmt::Display for NotPortable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            NotPortable::Point => f.write_str(
                "it was not taken at main or at snap_ready(); make it with --at main, or mark the point in the program",
            ),
            NotPortable::Threads(count) => {
                write!(f, "it has {count} threads; mark the point before the program starts the second")
            }
            NotPortable::Descriptor(number) => {
                write!(f, "descriptor {number} is no standard stream; close it before the point")
            }
            NotPortable::HostFile => {
                f.write_str("it maps a file of this host that is not in the store; unmap it before the point")
            }
            NotPortable::SplitForm => {
                f.write_str("it is the form that container engines unpack; export the snapshot that was pulled or made")
            }
            NotPortable::Timers(count) => write!(f, "it has {count} timers; delete them before the point"),
            NotPortable::Pending(count) => {
                write!(f, "{count} signals wait for delivery; let them come before the point")
            }
            NotPortable::Setting(kind) => {
                let what = match kind {
                    SETTING_PRCTL => "an option of prctl",
                    SETTING_RLIMIT => "a resource limit",
                    SETTING_IOPRIO => "an I/O priority",
                    SETTING_PERSONALITY => "a personality",
                    SETTING_OOM_SCORE => "an OOM score",
                    SETTING_SETSID | SETTING_SETPGID => "a session or process group of its own",
                    SETTING_COREDUMP_FILTER => "a filter for core dumps",
                    SETTING_MEMBARRIER => "a registration for membarrier",
                    SETTING_MLOCKALL => "locked future mappings",
                    SETTING_XCOMP_PERM => "a permission for register state",
                    _ => "an attribute of the process",
                };
                write!(f, "the kernel keeps {what} for it; set that after the point")
            }
            NotPortable::Scheduling => {
                f.write_str("it has a priority, CPUs or a timer slack of its own; set them after the point")
            }
            NotPortable::Directory => f.write_str(
                "it has a working directory of its own, which another host may lack; make it without --cwd, or let the \
                 program change the directory after the point",
            ),
            NotPortable::NoRequirements => {
                f.write_str("it has no record of the CPU features that it needs; make it again with this version")
            }
            NotPortable::NoProgram => {
                f.write_str("its program is not one of the code segment files that it maps; make it again")
            }
            NotPortable::Moved => {
                f.write_str("the program has changed the range that the kernel has of its code (PR_SET_MM)")
            }
        }
    }
}

/// All reasons why a snapshot with this plan cannot be exported.
pub fn not_portable<'a>(plan: &Plan<'a>) -> impl Iterator<Item = NotPortable> + 'a {
    let plan = *plan;
    let process = &plan.header.process;
    let when = |is: bool, why: NotPortable| is.then_some(why).into_iter();
    let is_of_host = |op: &Op| {
        let file = plan.files.get(usize::from(op.file));
        op.kind == OP_MAP_FD || (op.kind == OP_MAP_FILE && file.is_some_and(|file| file.kind == FILE_HOST))
    };
    let scheduled = plan.threads.first().is_some_and(|thread| {
        thread.affinity.len != 0 || thread.policy != 0 || thread.timer_slack != 0 || thread.priority != 0
    });
    when(!matches!(process.at, AT_MAIN | AT_READY), NotPortable::Point)
        .chain(when(plan.threads.len() != 1, NotPortable::Threads(plan.threads.len())))
        .chain(plan.fds.iter().filter_map(|fd| match fd.descriptor() {
            Some(Descriptor::Inherited { .. } | Descriptor::Closed) if fd.fd < 3 => None,
            _ => Some(NotPortable::Descriptor(fd.fd)),
        }))
        .chain(when(plan.ops.iter().any(is_of_host), NotPortable::HostFile))
        .chain(when(plan.files.iter().any(|file| file.kind == FILE_DATA && file.path.len == 0), NotPortable::SplitForm))
        .chain(when(!plan.timers.is_empty(), NotPortable::Timers(plan.timers.len())))
        .chain(when(!plan.pending.is_empty(), NotPortable::Pending(plan.pending.len())))
        .chain(plan.settings.iter().filter_map(|setting| match setting.kind {
            SETTING_ARGUMENTS | SETTING_ENVIRONMENT => None,
            kind => Some(NotPortable::Setting(kind)),
        }))
        .chain(when(scheduled, NotPortable::Scheduling))
        .chain(when(process.cwd.len != 0, NotPortable::Directory))
        .chain(when(plan.needs.is_none(), NotPortable::NoRequirements))
        .chain(when(program_file(&plan).is_none(), NotPortable::NoProgram))
}

/// The plan in a state, validated: that of the snapshot file that is made of it. `state` must lie at a multiple of 8.
pub fn plan_of_state(state: &[u8]) -> Result<Plan<'_>, FormatError> {
    let header = state.get(HEADER_OFFSET..).ok_or(FormatError::Truncated("the state"))?;
    let (header, _) = SnapHeader::read_from_prefix(header).map_err(|_| FormatError::Truncated("the state"))?;
    Plan::parse(state, header.file_size)
}

/// The code segment file of the program among the files of its snapshot.
pub fn program_file<'a>(plan: &Plan<'a>) -> Option<&'a crate::snap::File> {
    let path = without_zero(plan.bytes(plan.header.process.exe));
    plan.files.iter().find(|file| file.kind == FILE_CODE && without_zero(plan.bytes(file.path)) == path)
}

fn without_zero(path: &[u8]) -> &[u8] {
    path.strip_suffix(&[0]).unwrap_or(path)
}

/// Pages that a snapshot file stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Their address.
    pub addr: u64,
    /// Their length in bytes.
    pub len: u64,
    /// Where they are in the snapshot file.
    pub offset: u64,
    /// Their protection (`PROT_…`) when they are mapped or read.
    pub prot: u32,
}

impl Stored {
    /// All pages that the file with this plan stores, in the order of the operations.
    pub fn of<'a>(plan: &Plan<'a>) -> impl Iterator<Item = Stored> + 'a {
        let size = plan.header.file_size;
        let mut mapped = 0;
        plan.ops.iter().filter_map(move |op| {
            if matches!(op.kind, OP_MAP_FILE | OP_MAP_ANON | OP_MAP_FD) {
                mapped = op.prot;
            }
            let stored = op.file == 0 && matches!(op.kind, OP_MAP_FILE | OP_READ) && op.offset < size;
            let (addr, len, offset) = (op.addr, op.len, op.offset);
            stored.then(|| Stored { addr, len, offset, prot: u32::from(mapped) })
        })
    }
}

/// Where the content of a stored page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// In the runs of one of the executable's data segments.
    Segment(&'a Segment),
    /// Nowhere: it is the page of the synthetic vDSO, which the host makes.
    Vdso,
    /// In a heap run.
    Heap,
}

/// A part of stored pages whose content is in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Its addresses.
    pub range: Range<u64>,
    /// The place.
    pub place: Place<'a>,
}

/// What decides about the place of a page.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// The executable's segments.
    pub segments: &'a [Segment],
    /// Its load bias.
    pub bias: u64,
    /// Address of the resident region, which begins with the vDSO's page.
    pub resident: u64,
}

impl<'a> Places<'a> {
    /// Those of an executable with that init data file in a process; `None` if the process does not have it where its
    /// record says.
    pub fn new(header: &InitHeader, segments: &'a [Segment], process: &Process) -> Option<Self> {
        let lowest = segments.iter().map(|segment| segment.vaddr.get()).min()?;
        let bias = process.start_code.checked_sub(lowest)?;
        let fits = match header.elf_type == ET_EXEC {
            true => bias == 0,
            false => bias % header.max_align.get().max(PAGE) == 0,
        };
        let ends = header.image_end.get().checked_add(bias).is_some_and(|end| end <= USER_END);
        (fits && ends).then_some(Places { segments, bias, resident: process.resident })
    }

    /// The pieces of `stored`, by address.
    pub fn pieces(self, stored: Stored) -> impl Iterator<Item = Piece<'a>> {
        let end = stored.addr.saturating_add(stored.len);
        let mut at = stored.addr;
        core::iter::from_fn(move || {
            let piece = (at < end).then(|| self.first(at, end))?;
            at = piece.range.end;
            Some(piece)
        })
    }

    /// The piece that begins at `at`.
    fn first(&self, at: u64, mut end: u64) -> Piece<'a> {
        let data = self.segments.iter().filter(|segment| segment.kind() == SegmentKind::Data);
        let data = data
            .map(|segment| (segment.page_start() + self.bias..segment.page_end() + self.bias, Place::Segment(segment)));
        let vdso = (self.resident..self.resident.saturating_add(PAGE), Place::Vdso);
        for (range, place) in data.chain([vdso]) {
            if range.contains(&at) {
                return Piece { range: at..end.min(range.end), place };
            }
            if range.start > at {
                end = end.min(range.start);
            }
        }
        Piece { range: at..end, place: Place::Heap }
    }
}

/// A validated exported file.
#[derive(Clone, Copy, Debug)]
pub struct Exported<'a> {
    init: Init<'a>,
    plan: Plan<'a>,
    head: &'a [u8],
    places: Places<'a>,
}

impl<'a> Exported<'a> {
    /// Reads the state of `init` and checks it against the rest of the file. The file must lie at a multiple of 8.
    pub fn parse(init: Init<'a>) -> Result<Self, FormatError> {
        let head = init.state().ok_or(FormatError::Magic("an init data file that is exported from a snapshot"))?;
        let plan = plan_of_state(head)?;
        if not_portable(&plan).next().is_some() {
            return Err(FormatError::Invalid("state (not that of a program that is a function of its memory)"));
        }
        if program_file(&plan).is_none_or(|file| file.digest != init.header().code_digest) {
            return Err(FormatError::Invalid("state (it is of another program)"));
        }
        let places = Places::new(init.header(), init.segments(), &plan.header.process);
        let exported = Exported {
            init,
            plan,
            head,
            places: places.ok_or(FormatError::Invalid("state (the program lies elsewhere)"))?,
        };
        exported.check_offsets()?;
        exported.check_heap()?;
        exported.check_runs()?;
        Ok(exported)
    }

    /// Stored pages lie behind the state, ascend in address and offset, and have no room for hidden bytes in between.
    fn check_offsets(&self) -> Result<(), FormatError> {
        let (mut address, mut offset) = (0, self.head.len() as u64);
        let near = |from: u64, to: u64| to.checked_sub(from).is_some_and(|gap| gap < GAP);
        for (index, stored) in (0..).zip(self.stored()) {
            if stored.addr < address || stored.offset % PAGE != 0 || !near(offset, stored.offset) {
                return Err(FormatError::InvalidRecord { what: "place of stored pages in the state", index });
            }
            // Validated with the plan: neither wraps around.
            (address, offset) = (stored.addr + stored.len, stored.offset + stored.len);
        }
        match near(offset, self.plan.header.file_size) {
            true => Ok(()),
            false => Err(FormatError::Invalid("state (length of the snapshot file)")),
        }
    }

    /// The heap runs are the stored pages that belong to no data segment.
    fn check_heap(&self) -> Result<(), FormatError> {
        let mut runs = (0..).zip(self.init.heap());
        for stored in self.stored() {
            for piece in self.places.pieces(stored).filter(|piece| piece.place == Place::Heap) {
                let len = piece.range.end - piece.range.start;
                match runs.next() {
                    Some((_, run)) if run.addr == piece.range.start && run.len == len && run.prot == stored.prot => {}
                    Some((index, _)) => {
                        return Err(FormatError::InvalidRecord { what: "heap run (not one of the state)", index });
                    }
                    None => return Err(FormatError::Invalid("number of heap runs")),
                }
            }
        }
        match runs.next() {
            None => Ok(()),
            Some(_) => Err(FormatError::Invalid("number of heap runs")),
        }
    }

    /// No run has bytes that no stored page has.
    fn check_runs(&self) -> Result<(), FormatError> {
        let mut stored = self.stored().peekable();
        for (index, run) in (0..).zip(self.init.runs()) {
            let mut at = run.vaddr.get() + self.places.bias;
            let end = at + run.len.get();
            while at < end {
                while stored.peek().is_some_and(|stored| stored.addr + stored.len <= at) {
                    stored.next();
                }
                match stored.peek() {
                    Some(stored) if stored.addr <= at => at = stored.addr + stored.len,
                    _ => return Err(FormatError::InvalidRecord { what: "run (not in stored pages)", index }),
                }
            }
        }
        Ok(())
    }

    /// The file.
    pub fn init(&self) -> Init<'a> {
        self.init
    }

    /// The plan of the snapshot that is made of it.
    pub fn plan(&self) -> Plan<'a> {
        self.plan
    }

    /// The snapshot file up to its first page.
    pub fn head(&self) -> &'a [u8] {
        self.head
    }

    /// The places of pages.
    pub fn places(&self) -> Places<'a> {
        self.places
    }

    /// The pages that the snapshot stores, by address and by offset.
    pub fn stored(&self) -> impl Iterator<Item = Stored> + 'a {
        Stored::of(&self.plan)
    }
}
