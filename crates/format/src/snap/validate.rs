//! Validation of a parsed plan. After it, the loader indexes, maps and writes without further checks.

use super::fd_steps::FdStep;
use super::maps::{Maps, within};
use super::records::*;
use super::resident;
use super::space::*;
use super::{FEATURE_DESCRIPTORS, FEATURE_HIDDEN, FEATURE_KEPT_ARGS, Fd, KEPT_ARGS_MAX, Plan};
use crate::arch::{ADDRESSES, TIMEOUT_ARGUMENTS, xstate};
use crate::layout::{LOADER_END, LOADER_START, USER_END, USER_START};
use crate::{FormatError, PAGE};

/// The most files: an index must fit below the offset in a STEP_CONTENT.
const MAX_FILES: usize = PAGE as usize;
const MAX_THREADS: usize = 16384;
const MAX_ENV_CHANGES: usize = 65536;
/// The most variables of an environment that keeps its address.
const MAX_VECTOR: usize = 1 << 20;
const MAX_SIGNAL: u32 = 64;
/// Number of the component with the tiles of AMX.
const AMX_TILE_DATA: u64 = 18;

fn bad<T>(what: &'static str, index: usize) -> Result<T, FormatError> {
    Err(FormatError::InvalidRecord { what, index: index as u32 })
}

/// Whether `[addr, addr + len)` is a non-empty range of pages that a plan may touch.
fn user_range(addr: u64, len: u64) -> bool {
    let Some(end) = addr.checked_add(len) else { return false };
    len > 0
        && addr % PAGE == 0
        && len % PAGE == 0
        && addr >= USER_START
        && end <= USER_END
        && (end <= LOADER_START || addr >= LOADER_END)
}

impl<'a> Plan<'a> {
    pub(super) fn validate(&self) -> Result<(), FormatError> {
        self.validate_files()?;
        let maps = self.validate_ops()?;
        self.validate_threads(&maps)?;
        self.validate_patches()?;
        self.validate_fds()?;
        self.validate_environment(&maps)?;
        self.validate_rest()?;
        self.validate_features()?;
        self.validate_process(&maps)?;
        self.validate_needs()
    }

    pub(super) fn bytes_ok(&self, reference: BytesRef) -> bool {
        (reference.offset as usize).checked_add(reference.len as usize).is_some_and(|end| end <= self.bytes.len())
    }

    /// Whether `reference` is a path: absolute, zero-terminated, without another zero byte.
    pub(super) fn path_ok(&self, reference: BytesRef) -> bool {
        let path = self.bytes(reference);
        path.len() <= 4096
            && path.first() == Some(&b'/')
            && path.split_last().is_some_and(|(last, rest)| *last == 0 && !rest.contains(&0))
    }

    /// Whether the loader can write to the memory of the map operation, and only this instance sees the result.
    pub(super) fn is_writable(&self, op: &Op) -> bool {
        let own = op.flags & OP_SHARED == 0 || op.kind == OP_MAP_ANON;
        self.has_bytes(op) && op.prot & PROT_WRITE != 0 && own
    }

    /// Whether the mapping has bytes to read and write when everything is mapped. Descriptors come later, and behind
    /// the end of the file an access raises SIGBUS.
    fn has_bytes(&self, op: &Op) -> bool {
        op.kind != OP_MAP_FD && !(op.kind == OP_MAP_FILE && op.file == 0 && op.offset >= self.header.file_size)
    }

    fn validate_files(&self) -> Result<(), FormatError> {
        if self.files.len() > MAX_FILES {
            return Err(FormatError::TooLarge("the files table"));
        }
        for (index, file) in self.files.iter().enumerate() {
            let kind_ok = match file.kind {
                FILE_SELF => index == 0 && file.size == self.header.file_size,
                FILE_CODE | FILE_DATA => index > 0 && self.bytes_ok(file.path),
                FILE_HOST => index > 0 && self.path_ok(file.path),
                _ => false,
            };
            if !kind_ok || file.reserved != 0 || file.writable > 1 || (file.writable == 1 && file.kind != FILE_HOST) {
                return bad("file", index);
            }
        }
        match self.files.first() {
            Some(file) if file.kind == FILE_SELF => Ok(()),
            _ => Err(FormatError::Invalid("files table: the snapshot itself is missing")),
        }
    }

    fn validate_ops(&self) -> Result<Maps<'_, 'a>, FormatError> {
        let mut maps = Maps::new(self);
        let mut last: Option<&Op> = None;
        for (index, op) in self.ops.iter().enumerate() {
            if !user_range(op.addr, op.len) || op.prot & !7 != 0 || op.flags & !OP_FLAGS != 0 {
                return bad("operation", index);
            }
            let file = match op.kind {
                OP_MAP_FD => self.files.first(),
                _ => self.files.get(usize::from(op.file)),
            };
            let Some(file) = file else { return bad("file index", index) };
            let in_file = || op.offset % PAGE == 0 && op.offset.checked_add(op.len).is_some_and(|end| end <= file.size);
            let in_last = || last.is_some_and(|map| within(op.addr, op.len, map));
            let ok = match op.kind {
                OP_MAP_FILE => {
                    // A library's last page reaches beyond the end of the file, and so does a file that was grown or
                    // cut since.
                    let reach = file.size.checked_add(PAGE - 1).map(|end| end & !(PAGE - 1));
                    let inside = match file.kind {
                        // The range may also lie wholly behind the end, where an access raises SIGBUS.
                        FILE_SELF => in_file() || reach.is_some_and(|reach| op.offset >= reach),
                        FILE_HOST => op.flags & OP_SHARED != 0,
                        _ => op.offset.checked_add(op.len).is_some_and(|end| reach.is_some_and(|reach| end <= reach)),
                    };
                    op.offset % PAGE == 0
                        && op.offset.checked_add(op.len).is_some()
                        && inside
                        && op.flags & (OP_GROWSDOWN | OP_STACK | OP_DROPPABLE) == 0
                        && (op.flags & OP_SHARED == 0 || file.kind == FILE_HOST || op.prot & PROT_WRITE == 0)
                        && last.is_none_or(|map| op.addr >= map.addr + map.len)
                }
                OP_MAP_ANON => {
                    op.offset == 0
                        && op.file == 0
                        && (op.flags & OP_DROPPABLE == 0 || op.flags == OP_DROPPABLE)
                        && last.is_none_or(|map| op.addr >= map.addr + map.len)
                }
                OP_MAP_FD => {
                    usize::from(op.file) < self.fds.len()
                        && op.flags == OP_SHARED
                        && op.offset % PAGE == 0
                        && op.offset.checked_add(op.len).is_some()
                        && last.is_none_or(|map| op.addr >= map.addr + map.len)
                }
                OP_READ => {
                    file.is_content()
                        && op.flags == 0
                        && in_file()
                        && in_last()
                        && last.is_some_and(|map| {
                            map.kind == OP_MAP_ANON && map.prot & PROT_WRITE != 0 && map.flags & OP_DROPPABLE == 0
                        })
                }
                OP_PROTECT => {
                    // A shared mapping keeps its protection, so that no instance writes to a stored file.
                    let fixed = |map: &Op| {
                        let file = self.files.get(usize::from(map.file));
                        map.kind == OP_MAP_FILE
                            && map.flags & OP_SHARED != 0
                            && file.is_some_and(|file| file.kind != FILE_HOST)
                    };
                    op.file == 0
                        && op.flags == 0
                        && op.offset == 0
                        && in_last()
                        && (op.prot & PROT_WRITE == 0 || !last.is_some_and(fixed))
                }
                OP_ADVISE => op.file == 0 && op.flags == 0 && ADVICE.contains(&op.offset) && in_last(),
                // MLOCK_ONFAULT is the only flag.
                OP_LOCK => op.file == 0 && op.flags == 0 && op.offset <= 1 && in_last(),
                _ => false,
            };
            if !ok {
                return bad("operation", index);
            }
            if op.is_map() {
                last = Some(op);
                maps.push(index);
            }
        }
        // The header records this, so that a pull can see it without the whole plan.
        if has_writable_code(self.files, self.ops, self.settings) != self.header.has_wx() {
            return Err(FormatError::Invalid("writable and executable memory"));
        }
        Ok(maps)
    }

    fn validate_threads(&self, maps: &Maps<'_, '_>) -> Result<(), FormatError> {
        if self.threads.is_empty() {
            return Err(FormatError::Invalid("threads table: it is empty"));
        }
        if self.threads.len() > MAX_THREADS {
            return Err(FormatError::TooLarge("the threads table"));
        }
        let mut largest = 0;
        for (index, thread) in self.threads.iter().enumerate() {
            let xstate_len = thread.xstate.len as usize;
            largest = largest.max(xstate_len);
            let canonical = |value: u64| value < USER_END;
            let ok = self.bytes_ok(thread.xstate)
                && self.bytes_ok(thread.affinity)
                && (xstate::MIN..=xstate::MAX).contains(&xstate_len)
                && thread.xstate.offset % 8 == 0
                && thread.comm[15] == 0
                && ADDRESSES.iter().all(|register| canonical(thread.regs[*register]))
                && (thread.tid_cache == 0 || thread.tid_cache % 4 == 0 && maps.writable(thread.tid_cache, 4))
                && (thread.clear_tid == 0 || canonical(thread.clear_tid))
                && match thread.timeout_form {
                    TIMEOUT_NONE => thread.timeout == 0 && thread.timeout_arg == 0,
                    form => {
                        matches!(form & !TIMEOUT_DEAD, TIMEOUT_TIMESPEC | TIMEOUT_MILLISECONDS)
                            && TIMEOUT_ARGUMENTS.contains(&(thread.timeout_arg as usize))
                    }
                }
                && thread.rseq_len <= PAGE as u32
                && (thread.rseq == 0 || maps.writable(thread.rseq, u64::from(thread.rseq_len.max(32))));
            if !ok {
                return bad("thread", index);
            }
        }
        // The resident region has a code page, a slot page and a work area, each with the protection that the loader
        // needs.
        let base = self.header.process.resident;
        let code = maps
            .holds(base, PAGE)
            .filter(|op| op.prot == PROT_READ | PROT_EXEC && base % PAGE == 0 && self.has_bytes(op));
        let len = PAGE + resident::work_len(self.threads.len() as u64, largest as u64);
        let rest = base.checked_add(resident::SLOTS).and_then(|slots| maps.holds(slots, len));
        match (code, rest) {
            (Some(_), Some(op)) if op.kind == OP_MAP_ANON && op.prot == PROT_READ | PROT_WRITE && op.flags == 0 => {
                Ok(())
            }
            _ => Err(FormatError::Invalid("resident region")),
        }
    }

    fn validate_patches(&self) -> Result<(), FormatError> {
        let mut maps = self.ops.iter().filter(|op| op.is_map()).peekable();
        let mut previous = 0;
        let (mut registers, mut vector) = (false, false);
        for (index, patch) in self.patches.iter().enumerate() {
            let Some(width) = Patch::width(patch.kind) else { return bad("patch", index) };
            let only_in_memory = matches!(patch.kind, PATCH_INFO | PATCH_VECTOR);
            let thread_ok = (patch.arg as usize) < self.threads.len();
            let ok = match patch.place {
                PATCH_REGISTER => {
                    registers = true;
                    thread_ok && (patch.addr as usize) < REGS && width == 8 && !only_in_memory
                }
                PATCH_MEMORY => {
                    while maps.next_if(|map| map.addr + map.len <= patch.addr).is_some() {}
                    let inside = match patch.kind {
                        // These patches may reach into the next mapping.
                        PATCH_INFO => {
                            self.header.process.info != 0
                                && self.all_writable(maps.clone(), patch.addr, Patch::INFO_LEN)
                        }
                        PATCH_VECTOR => {
                            let is_first = !vector;
                            vector = true;
                            is_first && self.all_writable(maps.clone(), patch.addr, 8 * (u64::from(patch.arg) + 1))
                        }
                        _ => maps.peek().is_some_and(|map| within(patch.addr, width, map) && self.is_writable(map)),
                    };
                    let ordered = !registers && (index == 0 || patch.addr > previous);
                    previous = patch.addr;
                    let arg_ok = match patch.kind {
                        PATCH_VECTOR => (patch.arg as usize) < MAX_VECTOR,
                        _ => thread_ok || !patch.is_of_thread() && patch.arg == 0,
                    };
                    inside && ordered && patch.addr % width == 0 && arg_ok
                }
                _ => false,
            };
            if !ok {
                return bad("patch", index);
            }
        }
        Ok(())
    }

    /// Whether the loader can write to `len` bytes at `addr`, from the first of `maps` on.
    fn all_writable<'p>(&self, maps: impl Iterator<Item = &'p Op>, addr: u64, len: u64) -> bool {
        let Some(end) = addr.checked_add(len) else { return false };
        let mut at = addr;
        for map in maps {
            if !within(at, 1, map) || !self.is_writable(map) {
                return false;
            }
            at = map.addr + map.len;
            if at >= end {
                return true;
            }
        }
        false
    }

    fn validate_environment(&self, maps: &Maps<'_, '_>) -> Result<(), FormatError> {
        if self.env_changes.len() > MAX_ENV_CHANGES {
            return Err(FormatError::TooLarge("the environment table"));
        }
        for (index, change) in self.env_changes.iter().enumerate() {
            let name = self.bytes(change.name);
            let ok = match change.kind {
                ENV_SET => maps.holds(change.addr, 1).is_some(),
                ENV_UNSET => change.addr == 0,
                _ => false,
            };
            if !ok || change.reserved != 0 || name.is_empty() || !self.bytes_ok(change.name) {
                return bad("environment change", index);
            }
        }
        Ok(())
    }

    fn validate_rest(&self) -> Result<(), FormatError> {
        for (index, action) in self.sigactions.iter().enumerate() {
            if action.signo == 0 || action.signo > MAX_SIGNAL || action.reserved != 0 {
                return bad("signal disposition", index);
            }
        }
        for (index, setting) in self.settings.iter().enumerate() {
            let ok = match setting.kind {
                SETTING_PRCTL => PRCTL_OPTIONS.contains(&setting.which),
                SETTING_RLIMIT => setting.which < 64 && setting.a <= setting.b,
                SETTING_IOPRIO => (setting.which as usize) < self.threads.len() && setting.b == 0,
                SETTING_PERSONALITY => setting.which == 0 && setting.a & !PERSONALITY_BITS == 0 && setting.b == 0,
                SETTING_OOM_SCORE | SETTING_COREDUMP_FILTER => setting.which == 0 && setting.b == 0,
                SETTING_MEMBARRIER => {
                    setting.which == 0
                        && setting.b == 0
                        && setting.a & !MEMBARRIER_REGISTER == 0
                        && setting.a.is_power_of_two()
                }
                SETTING_MLOCKALL => setting.which == 0 && setting.b == 0 && setting.a & !MCL_ONFAULT == MCL_FUTURE,
                // The tile data of AMX is the one component that a process must ask for.
                SETTING_XCOMP_PERM => setting.which == 0 && setting.b == 0 && setting.a == AMX_TILE_DATA,
                SETTING_ARGUMENTS | SETTING_ENVIRONMENT => {
                    setting.which == 0 && setting.a <= setting.b && setting.a >= USER_START && setting.b < USER_END
                }
                SETTING_SETSID | SETTING_SETPGID => setting.which == 0 && setting.a == 0 && setting.b == 0,
                _ => false,
            };
            if !ok {
                return bad("setting", index);
            }
        }
        for (index, signal) in self.pending.iter().enumerate() {
            let thread_ok = signal.thread == u32::MAX || (signal.thread as usize) < self.threads.len();
            let info = self.bytes(signal.info);
            if !thread_ok || signal.signo == 0 || signal.signo > MAX_SIGNAL || info.len() != 128 {
                return bad("pending signal", index);
            }
        }
        let mut previous = None;
        for (index, timer) in self.timers.iter().enumerate() {
            let kind_ok = match timer.kind {
                TIMER_ITIMER => timer.id < 3 && timer.clock == 0 && timer.notify == 0 && timer.signo == 0,
                TIMER_POSIX => timer.id <= i32::MAX as u32 && timer.notify < 8 && timer.signo <= MAX_SIGNAL,
                _ => false,
            };
            let ordered = previous.is_none_or(|previous| (timer.kind, timer.id) > previous);
            if !kind_ok || !ordered || timer.thread as usize >= self.threads.len() || timer.reserved != 0 {
                return bad("timer", index);
            }
            previous = Some((timer.kind, timer.id));
        }
        Ok(())
    }

    /// A feature bit announces kinds of records that earlier readers do not know. Without such records, the bit must be
    /// zero.
    fn validate_features(&self) -> Result<(), FormatError> {
        let hidden = self.settings.iter().any(Setting::is_hidden) || self.fd_steps.iter().any(FdStep::is_hidden);
        let later = self.fds.iter().any(Fd::is_later) || self.fd_steps.iter().any(FdStep::is_later);
        let is_announced = |feature| self.header.incompatible & feature != 0;
        if (self.header.process.kept_args != 0) != is_announced(FEATURE_KEPT_ARGS) {
            return Err(FormatError::Invalid("kept arguments"));
        }
        match hidden == is_announced(FEATURE_HIDDEN) && later == is_announced(FEATURE_DESCRIPTORS) {
            true => Ok(()),
            false => Err(FormatError::Invalid("settings, descriptors and steps of later kinds")),
        }
    }

    fn validate_process(&self, maps: &Maps<'_, '_>) -> Result<(), FormatError> {
        let p = &self.header.process;
        let ordered = p.start_code <= p.end_code && p.start_data <= p.end_data && p.start_brk <= p.brk;
        if !ordered || p.brk >= USER_END || p.kept_args > KEPT_ARGS_MAX || p.at > AT_ATTACH {
            return Err(FormatError::Invalid("process record"));
        }
        let inside = [p.exe, p.args, p.cwd].into_iter().all(|reference| self.bytes_ok(reference));
        if (p.umask > 0o777 && p.umask != u32::MAX) || !inside {
            return Err(FormatError::Invalid("process record"));
        }
        if p.cwd.len != 0 && !self.path_ok(p.cwd) {
            return Err(FormatError::Invalid("working directory"));
        }
        if p.auxv % 8 != 0 || p.auxv_len % 16 != 0 || p.info % 8 != 0 || p.auxv_len > PAGE {
            return Err(FormatError::Invalid("process record"));
        }
        let memory = [
            (p.at_random, 16, "AT_RANDOM address"),
            (p.auxv, p.auxv_len, "auxiliary vector"),
            (p.info, Patch::INFO_LEN, "snap_info address"),
        ];
        for (addr, len, name) in memory {
            if addr != 0 && !maps.writable(addr, len) {
                return Err(FormatError::Invalid(name));
            }
        }
        if p.argv0 != 0 && maps.holds(p.argv0, 1).is_none() {
            return Err(FormatError::Invalid("argv[0] address"));
        }
        // Whoever reads the vectors from its first stack pointer finds them where the kernel has put them.
        let is_bare = self.patches.iter().any(|patch| patch.kind == PATCH_STACK);
        if p.kept_args != 0 && (p.argv0 == 0 || p.at != AT_MAIN || is_bare) {
            return Err(FormatError::Invalid("kept arguments"));
        }
        Ok(())
    }

    fn validate_needs(&self) -> Result<(), FormatError> {
        if let Some(needs) = self.needs {
            let known = needs.flags & !HOST_XSAVE_RESOLVER == 0 && matches!(needs.level, 0 | 2..=4);
            let live = self.live_state() & !xstate::COMMON;
            let placed = needs.places.iter().enumerate().all(|(number, place)| match live >> number & 1 {
                0 => *place == 0,
                _ => *place % 8 == 0 && (xstate::HEADER_END..xstate::MAX).contains(&(*place as usize)),
            });
            if !known
                || !placed
                || live >> COMPONENTS != 0
                || !self.bytes_ok(needs.cpu_name)
                || !self.bytes_ok(needs.release)
            {
                return Err(FormatError::Invalid("host requirements"));
            }
        }
        Ok(())
    }
}
