//! Checks by other means what SECURITY.md promises of an accepted plan, and what the loader relies on without a further
//! check. It uses nothing of the validation, not even the order that the validation demands. The fuzz target shares
//! this file.

use snapfn_format::PAGE;
use snapfn_format::layout::{LOADER_END, LOADER_START, USER_END, USER_START};
use snapfn_format::snap::*;

/// Panics if an accepted plan would break the loader, or a promise.
pub(crate) fn check_contract(plan: &Plan<'_>) {
    check_files(plan);
    check_operations(plan);
    let memory = Memory::of(plan);
    check_words(plan, &memory);
    check_loader(plan, &memory);
    check_references(plan);
    check_registers(plan);
}

/// The loader checks with the CPU the places of exactly the register state that frames load.
fn check_registers(plan: &Plan<'_>) {
    let Some(needs) = plan.needs else { return };
    let mut live = 0;
    for thread in plan.threads {
        let start = thread.xstate.offset as usize + 472;
        live |= u64::from_le_bytes(plan.bytes[start..start + 8].try_into().unwrap());
    }
    for number in 3..64 {
        let place = needs.places.get(number).copied().unwrap_or(0);
        assert!((live >> number & 1 == 1) == (place != 0), "place of component {number}");
        assert!(place == 0 || (576..65536).contains(&place) && place.is_multiple_of(8));
    }
}

fn end_of(op: &Op) -> u64 {
    op.addr.checked_add(op.len).expect("an operation wraps around")
}

/// Whether those bytes lie in the snapshot or a data file of the store.
fn stored(plan: &Plan<'_>, file: u16, offset: u64, len: u64) -> bool {
    let file = &plan.files[usize::from(file)];
    matches!(file.kind, FILE_SELF | FILE_DATA) && offset.checked_add(len).unwrap() <= file.size
}

fn check_files(plan: &Plan<'_>) {
    let (own, others) = plan.files.split_first().unwrap();
    assert!(own.kind == FILE_SELF && own.size == plan.header.file_size);
    assert!(others.iter().all(|file| matches!(file.kind, FILE_CODE | FILE_DATA | FILE_HOST)));
}

fn check_operations(plan: &Plan<'_>) {
    let mut last: Option<&Op> = None;
    let mut both_at_once = false;
    let (mut written, mut executed) = (false, false);
    for op in plan.ops {
        let end = end_of(op);
        assert!(op.addr < end && USER_START <= op.addr && end <= USER_END, "outside of the program's part");
        assert!(end <= LOADER_START || LOADER_END <= op.addr, "over the loader");
        assert!(op.addr % PAGE == 0 && op.len % PAGE == 0 && op.prot < 8);
        match op.kind {
            OP_MAP_FILE | OP_MAP_ANON | OP_MAP_FD => last = Some(op),
            OP_READ | OP_PROTECT | OP_ADVISE | OP_LOCK => {
                let map = last.expect("nothing is mapped yet");
                assert!(map.addr <= op.addr && end <= end_of(map), "outside of the last mapping");
            }
            kind => panic!("kind {kind}"),
        }
        check_source(plan, op);
        let writable = op.prot & PROT_WRITE != 0;
        let protects = !matches!(op.kind, OP_READ | OP_ADVISE | OP_LOCK);
        both_at_once |= protects && writable && op.prot & PROT_EXEC != 0;
        let outside = |map: &Op| match map.kind {
            OP_MAP_FD => true,
            OP_MAP_FILE => plan.files[usize::from(map.file)].kind == FILE_HOST,
            _ => false,
        };
        if protects && outside(last.unwrap()) {
            written |= writable;
            executed |= op.prot & PROT_EXEC != 0;
        }
        match op.kind {
            OP_ADVISE => assert!(ADVICE.contains(&op.offset)),
            OP_LOCK => assert!(op.offset < 2),
            _ => {}
        }
        // All instances share files of the store: none may change one.
        let map = last.unwrap();
        let of_store = map.kind == OP_MAP_FILE && plan.files[usize::from(map.file)].kind != FILE_HOST;
        assert!(!(of_store && map.flags & OP_SHARED != 0 && protects && writable), "writes to a stored file");
    }
    both_at_once |= written && executed;
    for setting in plan.settings {
        match setting.kind {
            SETTING_PRCTL => assert!(PRCTL_OPTIONS.contains(&setting.which)),
            SETTING_PERSONALITY => both_at_once |= setting.a & 0x40_0000 != 0,
            _ => {}
        }
    }
    let flagged = plan.header.incompatible & FEATURE_WX != 0;
    assert!(both_at_once == flagged, "writable and executable memory without its flag, or the flag without it");
    let mut maps: Vec<(u64, u64)> = plan.ops.iter().filter(|op| op.is_map()).map(|op| (op.addr, end_of(op))).collect();
    maps.sort_unstable();
    assert!(maps.windows(2).all(|pair| pair[0].1 <= pair[1].0), "two mappings overlap");
}

/// Checks that the source of an operation's bytes exists.
fn check_source(plan: &Plan<'_>, op: &Op) {
    if op.kind == OP_MAP_FD {
        assert!(usize::from(op.file) < plan.fds.len() && op.flags & OP_SHARED != 0);
    }
    if !matches!(op.kind, OP_MAP_FILE | OP_READ | OP_MAP_FD) {
        return;
    }
    let end = op.offset.checked_add(op.len).expect("an offset wraps around");
    assert!(op.offset % PAGE == 0);
    if op.kind == OP_MAP_FD {
        return;
    }
    let file = plan.files.get(usize::from(op.file)).expect("no such file");
    // A mapping may reach to the end of the last page.
    let pages = u128::from(file.size).next_multiple_of(u128::from(PAGE));
    match (op.kind, file.kind) {
        (OP_READ, _) => assert!(stored(plan, op.file, op.offset, op.len), "reads what is not stored"),
        // The range may also lie wholly behind the end, where an access raises SIGBUS, as in the program.
        (_, FILE_SELF) => assert!(end <= file.size || u128::from(op.offset) >= pages, "partly behind the end"),
        (_, FILE_CODE | FILE_DATA) => assert!(u128::from(end) <= pages, "behind the end"),
        // Private memory could be written, and the length of the file is unknown.
        _ => assert!(file.kind == FILE_HOST && op.flags & OP_SHARED != 0),
    }
}

/// The mappings by address.
struct Memory<'a> {
    maps: Vec<&'a Op>,
    file_size: u64,
}

impl<'a> Memory<'a> {
    fn of(plan: &Plan<'a>) -> Self {
        let mut maps: Vec<&Op> = plan.ops.iter().filter(|op| op.is_map()).collect();
        maps.sort_unstable_by_key(|op| op.addr);
        Memory { maps, file_size: plan.header.file_size }
    }

    /// Whether a mapping without a gap holds all of `[addr, addr + len)`, in which every part `suits`.
    fn covers(&self, addr: u64, len: u64, suits: impl Fn(&Op) -> bool) -> bool {
        let end = addr.checked_add(len).expect("a range wraps around");
        let mut at = addr;
        for op in &self.maps {
            if op.addr <= at && at < end_of(op) && suits(op) && self.has_bytes(op) {
                at = end_of(op);
            }
        }
        at > addr && at >= end
    }

    /// Whether the mapping has pages when the loader accesses it.
    fn has_bytes(&self, op: &Op) -> bool {
        op.kind != OP_MAP_FD && !(op.kind == OP_MAP_FILE && op.file == 0 && op.offset >= self.file_size)
    }

    fn writable(&self, addr: u64, len: u64) -> bool {
        let own = |op: &Op| op.flags & OP_SHARED == 0 || op.kind == OP_MAP_ANON;
        self.covers(addr, len, |op| op.prot & PROT_WRITE != 0 && own(op))
    }
}

/// Words that the loader writes.
fn check_words(plan: &Plan<'_>, memory: &Memory<'_>) {
    for patch in plan.patches {
        let of_thread = matches!(patch.kind, PATCH_TID | PATCH_TID_FUTEX | PATCH_CLOCK);
        let width = if of_thread || matches!(patch.kind, PATCH_ARGC_INT | PATCH_ENVC_INT) { 4 } else { 8 };
        match patch.place {
            PATCH_MEMORY if patch.kind == PATCH_INFO => {
                assert!(patch.addr % 8 == 0 && memory.writable(patch.addr, Patch::INFO_LEN))
            }
            PATCH_MEMORY if patch.kind == PATCH_VECTOR => {
                assert!(patch.addr % 8 == 0 && memory.writable(patch.addr, 8 * (u64::from(patch.arg) + 1)))
            }
            PATCH_MEMORY => assert!(patch.addr % width == 0 && memory.writable(patch.addr, width)),
            _ => assert!((patch.addr as usize) < REGS && (patch.arg as usize) < plan.threads.len()),
        }
        assert!(!of_thread || (patch.arg as usize) < plan.threads.len());
    }
    for thread in plan.threads {
        assert!(thread.tid_cache == 0 || memory.writable(thread.tid_cache, 4));
        assert!(thread.rseq == 0 || memory.writable(thread.rseq, u64::from(thread.rseq_len)));
    }
    let p = &plan.header.process;
    for (addr, len) in [(p.at_random, 16), (p.info, 48), (p.auxv, p.auxv_len.max(1))] {
        assert!(addr == 0 || memory.writable(addr, len));
    }
}

/// The part of the loader that stays in an instance: the loader reads the code there, jumps to it, and writes a frame
/// for each thread.
fn check_loader(plan: &Plan<'_>, memory: &Memory<'_>) {
    let resident = plan.header.process.resident;
    assert!(memory.covers(resident, PAGE, |op| op.prot == PROT_READ | PROT_EXEC), "no code of the resident region");
    let largest = plan.threads.iter().map(|thread| u64::from(thread.xstate.len)).max().unwrap();
    let frames = resident::work_len(plan.threads.len() as u64, largest);
    assert!(memory.writable(resident + resident::SLOTS, PAGE + frames), "no room for frames");
}

/// Every index and every range names something that exists.
fn check_references(plan: &Plan<'_>) {
    let inside = |reference: BytesRef| reference.offset as usize + reference.len as usize <= plan.bytes.len();
    let is_fd = |index: u64| index < plan.fds.len() as u64;
    let is_thread = |index: u32| (index as usize) < plan.threads.len();
    let is_path = |reference: BytesRef| std::ffi::CStr::from_bytes_with_nul(plan.bytes(reference)).is_ok();
    let p = &plan.header.process;
    assert!([p.cwd, p.exe, p.args].into_iter().all(inside) && (p.cwd.len == 0 || is_path(p.cwd)));
    for file in plan.files.iter().skip(1) {
        assert!(inside(file.path) && (file.kind != FILE_HOST || is_path(file.path)));
    }
    for thread in plan.threads {
        assert!(inside(thread.xstate) && inside(thread.affinity) && (thread.timeout_arg as usize) < REGS);
    }
    assert!(plan.fds.windows(2).all(|pair| pair[0].fd < pair[1].fd), "a descriptor twice");
    for fd in plan.fds {
        assert!(inside(fd.path) && inside(fd.data));
        assert!(!matches!(fd.kind, FD_PATH | FD_DELETED) || is_path(fd.path));
        let has_source = matches!(fd.kind, FD_DUP | FD_REOPEN | FD_PIPE | FD_SOCKETPAIR | FD_PTY);
        assert!(!has_source || is_fd(fd.source.into()));
        assert!(fd.kind != FD_OF_THREAD || is_thread(fd.source) && is_path(fd.path));
    }
    for step in plan.fd_steps {
        assert!(is_fd(step.fd.into()) && inside(step.data) && inside(step.extra));
        match step.kind {
            STEP_CONTENT => {
                // The word is an index of a file plus a multiple of the page size.
                assert!(stored(plan, (step.c % PAGE) as u16, step.c / PAGE * PAGE, step.b));
            }
            STEP_EPOLL => assert!(is_fd(step.a)),
            STEP_WATCH => assert!(is_path(step.data)),
            // Nothing is sent: a datagram socket only remembers its peer.
            STEP_CONNECT => assert!(plan.fds[step.fd as usize].b & 0xf == 2),
            STEP_SEND => {
                let indices =
                    plan.bytes(step.extra).chunks(4).map(|index| u32::from_le_bytes(index.try_into().unwrap()));
                assert!(indices.map(u64::from).all(is_fd));
            }
            _ => {}
        }
    }
    assert!(plan.timers.iter().all(|timer| is_thread(timer.thread)));
    assert!(plan.pending.iter().all(|signal| signal.thread == u32::MAX || is_thread(signal.thread)));
    assert!(plan.pending.iter().all(|signal| plan.bytes(signal.info).len() == 128));
    assert!(plan.env_changes.iter().all(|change| inside(change.name) && change.name.len > 0));
    assert!(plan.settings.iter().all(|setting| setting.kind != SETTING_IOPRIO || is_thread(setting.which)));
}
