//! Runs the rebuilt program up to its snapshot point.

use super::boot::Booted;
use super::breakpoint::Breakpoint;
use super::inputs::{Inputs, Opening};
use super::ledger::Ledger;
use super::main_search::MainSearch;
use super::memory::Memory;
use super::nameless::Nameless;
use super::origins::Origins;
use super::point::{StopAt, Watch};
use super::protocol::{OP_READY, PROTOCOL, Registered};
use super::ptrace::{self, AUDIT_ARCH, Event, OPTION_EXITKILL, OPTIONS, Regs, Stop, SyscallEntry, SyscallStop, Tid};
use super::questions::Questions;
use super::replace::Exec;
use super::second::Second;
use super::shared::{self, Kind};
use super::spawn::Spawned;
use super::strings::Strings;
use super::surroundings::Surroundings;
use super::timeout::{Entered, Remaining};
use super::unmapping::Unmapping;
use super::watchdog::Watchdog;
use super::{Deadline, TraceError, maps, symbols};
use snapfn_format::arch::{self, ARGUMENTS, NO_CALL, reg};
use snapfn_format::snap::AT_MAIN;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Calls whose first argument is a clock.
const CLOCK_CALLS: [u64; 5] = [
    libc::SYS_clock_gettime as u64,
    libc::SYS_clock_getres as u64,
    libc::SYS_clock_settime as u64,
    libc::SYS_clock_nanosleep as u64,
    libc::SYS_timer_create as u64,
];
const SYS_PRCTL: u64 = libc::SYS_prctl as u64;

/// The state of the program at its point.
#[derive(Clone, Debug)]
pub(crate) struct Reached {
    pub(crate) tid: Tid,
    /// `AT_…`
    pub(crate) at: u32,
    /// Stopped at a system call's entry.
    pub(crate) at_entry: bool,
    /// Registers that an instance starts with.
    pub(crate) instance: Regs,
    /// Registers with which the program itself goes on.
    pub(crate) survivor: Regs,
    /// The point is `e_entry` of a program without a C library: its stack pointer names the vectors.
    pub(crate) bare_entry: bool,
    /// What is left of the timeout of a call that an instance restarts.
    pub(super) timeout: Option<Remaining>,
}

impl Reached {
    /// A task that is in no system call. Which point that is follows.
    pub(super) fn outside(tid: Tid, regs: Regs) -> Self {
        let at = AT_MAIN;
        Reached { tid, at, at_entry: false, instance: regs, survivor: regs, bare_entry: false, timeout: None }
    }
}

/// How far a run has come.
#[derive(Debug)]
pub(crate) enum Progress {
    /// To the snapshot point.
    Reached(Box<Reached>),
    /// There is no `main` to be found in this program: it must be started again to stop at its first instruction.
    NoMain,
    /// The program has executed another one, which is before its first instruction.
    Replaced,
}

/// A task of the program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Task {
    /// The result that its system call gets instead of being executed.
    pub(crate) answer: Option<u64>,
    /// The call that the task is in, if it removes memory.
    pub(super) unmapping: Option<Unmapping>,
    /// The system call that it entered last.
    pub(crate) entered: Option<Entered>,
    /// The task has made a child by vfork, and may still wait for it.
    pub(super) in_vfork: bool,
    /// It executes another program.
    pub(super) exec: Option<Exec>,
    /// The call that the task is in, if it opens a file.
    pub(super) opening: Option<Opening>,
}

impl Task {
    /// Records that the task enters system call `number`. restart_syscall continues the call before it, whose number
    /// and time stay.
    pub(super) fn enter(&mut self, memory: &Memory, number: u64, args: &[u64; 6]) {
        if number != libc::SYS_restart_syscall as u64 {
            self.entered = Some(Entered::now(memory, number, args));
        }
    }
}

/// The traced program.
#[derive(Debug)]
pub(crate) struct Tracer {
    pub(crate) pid: Tid,
    pub(crate) booted: Booted,
    pub(crate) spawned: Spawned,
    pub(crate) memory: Memory,
    pub(crate) tasks: BTreeMap<Tid, Task>,
    pub(crate) registered: Registered,
    /// The calls of the program whose effects cannot be restored.
    pub(crate) ledger: Ledger,
    /// The files that it has opened.
    pub(crate) inputs: Inputs,
    /// Which code has asked for the process ID.
    pub(crate) origins: Origins,
    pub(crate) surroundings: Surroundings,
    pub(crate) strings: Strings,
    /// Addresses that the program has passed to `futex`.
    pub(crate) futexes: HashSet<u64>,
    /// Allocators that have asked whether MADV_DONTNEED gives zeroes, and were told that it does not.
    pub(crate) zero_questions: Questions,
    /// IDs of CPU clocks that the program has passed to the kernel.
    pub(crate) clocks: HashSet<u32>,
    /// Words of a program without symbols that its C library has set to the environment vector.
    pub(crate) nameless_environ: Nameless,
    /// Bytes that instances have in place of the program's own.
    pub(crate) edits: Vec<(u64, Vec<u8>)>,
    /// A copy of the program that has run its initialisation with other vectors.
    pub(crate) second: Option<Box<Second>>,
    /// When the command gives up.
    pub(crate) deadline: Deadline,
    /// Tasks that wait for a child made by vfork, which no stop ends.
    pub(crate) in_vfork: Vec<Tid>,
    /// Children whose first stop has come before the event of their parents. They wait for it.
    early: BTreeSet<Tid>,
    /// Processes that the program has made to share something with it, for kernels and containers without kcmp.
    pub(crate) sharing: BTreeSet<(Kind, Tid)>,
    breakpoint: Option<Breakpoint>,
    /// What has been seen of the point.
    watch: Watch,
    /// Symbol not found yet, and the files already searched.
    wanted: Option<(String, HashSet<PathBuf>)>,
}

impl Tracer {
    pub(crate) fn new(
        spawned: Spawned,
        booted: Booted,
        tasks: BTreeMap<Tid, Task>,
        deadline: Deadline,
    ) -> Result<Self, TraceError> {
        let pid = spawned.pid;
        let memory = Memory::open(pid).map_err(TraceError::system("/proc/PID/mem"))?;
        let strings = Strings::read(pid, &memory);
        let nameless_environ = Nameless::of(&spawned, &booted);
        Ok(Tracer {
            pid,
            booted,
            spawned,
            memory,
            tasks,
            registered: Registered::default(),
            ledger: Ledger::default(),
            inputs: Inputs::default(),
            origins: Origins::default(),
            surroundings: Surroundings::default(),
            strings,
            futexes: HashSet::new(),
            zero_questions: Questions::default(),
            clocks: HashSet::new(),
            nameless_environ,
            edits: Vec::new(),
            second: None,
            deadline,
            in_vfork: Vec::new(),
            early: BTreeSet::new(),
            sharing: BTreeSet::new(),
            breakpoint: None,
            watch: Watch::default(),
            wanted: None,
        })
    }

    /// The program has executed another one, `booted`. What it did to its descriptors and its process is still there.
    pub(super) fn begin_anew(&mut self, booted: Booted) -> Result<(), TraceError> {
        self.memory = Memory::open(self.pid).map_err(TraceError::system("/proc/PID/mem"))?;
        self.strings = Strings::read(self.pid, &self.memory);
        self.nameless_environ = Nameless::of(&self.spawned, &booted);
        self.booted = booted;
        self.registered = Registered::default();
        self.origins = Origins::default();
        self.futexes.clear();
        self.clocks.clear();
        self.zero_questions = Questions::default();
        self.edits.clear();
        self.second = None;
        self.breakpoint = None;
        self.wanted = None;
        Ok(())
    }

    /// Kills the program and reaps every task.
    pub(crate) fn kill(&mut self) {
        self.second = None;
        ptrace::kill(self.pid, libc::SIGKILL);
        while !self.tasks.is_empty() {
            match ptrace::wait(-1) {
                Ok((tid, Stop::Exited(_) | Stop::Killed(_))) => drop(self.tasks.remove(&tid)),
                Ok((tid, _)) => drop(ptrace::resume(tid, 0)),
                Err(_) => break,
            }
        }
    }

    /// After a release: waits until the program has ended or the deadline has passed. Returns whether it has ended.
    /// Tasks that could not be released before are released when they stop.
    pub(crate) fn wait_for_end(&mut self) -> bool {
        while !self.deadline.left().is_zero() {
            match ptrace::try_wait(-1) {
                Ok(None) => std::thread::sleep(Duration::from_millis(10)),
                Ok(Some((tid, Stop::Exited(_) | Stop::Killed(_)))) if tid != self.pid => {}
                Err(_) | Ok(Some((_, Stop::Exited(_) | Stop::Killed(_)))) => {
                    self.tasks.clear();
                    self.spawned.output.drain();
                    return true;
                }
                Ok(Some((tid, Stop::Signal(signal)))) => drop(ptrace::detach(tid, signal)),
                Ok(Some((tid, _))) => drop(ptrace::detach(tid, 0)),
            }
        }
        false
    }

    pub(super) fn died(&mut self, stop: Stop) -> TraceError {
        self.tasks.clear();
        let output = self.spawned.output.tail();
        match stop {
            Stop::Killed(signal) => TraceError::Killed { signal: ptrace::signal_name(signal), output },
            Stop::Exited(status) => TraceError::Exited { status, output },
            _ => TraceError::System { what: "the program", source: std::io::Error::other("unexpected end") },
        }
    }

    /// Runs to `stop`.
    pub(crate) fn run_to(&mut self, stop: &StopAt) -> Result<Progress, TraceError> {
        let watchdog = Watchdog::start(self.pid, self.deadline.left())?;
        let result = self.run_inner(stop);
        let expired = watchdog.stop();
        match result {
            Err(TraceError::Killed { output, .. }) if expired => {
                Err(TraceError::Timeout { seconds: self.deadline.seconds(), output })
            }
            other => other,
        }
    }

    /// Runs to `address`.
    pub(super) fn run_to_address(&mut self, address: u64, timeout: f64) -> Result<Reached, TraceError> {
        let watchdog = Watchdog::start(self.pid, Duration::try_from_secs_f64(timeout).unwrap_or(Duration::MAX))?;
        let result = self.insert(address).and_then(|()| self.event_loop(&StopAt::Entry));
        watchdog.stop();
        result?.ok_or(TraceError::Replaced)
    }

    fn run_inner(&mut self, stop: &StopAt) -> Result<Progress, TraceError> {
        match stop {
            StopAt::Entry => self.insert(self.booted.request.exe_entry)?,
            StopAt::Main => {
                let header = &self.booted.header;
                let main = match header.main.get() {
                    0 => {
                        self.insert(self.booted.request.exe_entry)?;
                        if self.event_loop(&StopAt::Entry)?.is_none() {
                            return Ok(Progress::Replaced);
                        }
                        match self.step_to_main()? {
                            MainSearch::Found(address) => address,
                            MainSearch::None => return Ok(Progress::NoMain),
                        }
                    }
                    main => main.wrapping_add(self.booted.request.bias),
                };
                self.insert(main)?;
            }
            StopAt::Symbol(name) => {
                self.wanted = Some((name.clone(), HashSet::new()));
                self.look_for_symbol()?;
            }
            _ => {}
        }
        let Some(mut reached) = self.event_loop(stop)? else { return Ok(Progress::Replaced) };
        reached.bare_entry = *stop == StopAt::Entry;
        reached.at = stop.at();
        Ok(Progress::Reached(Box::new(reached)))
    }

    fn insert(&mut self, addr: u64) -> Result<(), TraceError> {
        let breakpoint =
            Breakpoint::insert(&self.memory, addr).map_err(TraceError::system("inserting a breakpoint"))?;
        self.breakpoint = Some(breakpoint);
        Ok(())
    }

    /// Resumes all tasks and serves their stops until one is at a breakpoint, or where `at` means. `None`: the program
    /// has been replaced by another one.
    fn event_loop(&mut self, at: &StopAt) -> Result<Option<Reached>, TraceError> {
        let system = TraceError::system;
        let go_on = |tid, signal| match ptrace::resume_to_syscall(tid, signal) {
            // The task has died meanwhile. The kernel will report its end.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other.map_err(system("ptrace(PTRACE_SYSCALL)")),
        };
        go_on(self.pid, 0)?;
        loop {
            let (tid, stop) = match at {
                StopAt::Idle(time) => match self.wait_until_idle(*time)? {
                    Some(stopped) => stopped,
                    None => return self.interrupt_first().map(Some),
                },
                _ => ptrace::wait(-1).map_err(system("wait4"))?,
            };
            match stop {
                Stop::Exited(_) | Stop::Killed(_) => {
                    if tid == self.pid {
                        return Err(self.died(stop));
                    }
                    self.tasks.remove(&tid);
                }
                Stop::Syscall => {
                    self.leave_vfork(tid)?;
                    if let Some(reached) = self.at_syscall(tid, at)? {
                        return Ok(Some(reached));
                    }
                    go_on(tid, 0)?;
                }
                Stop::Signal(libc::SIGTRAP) => {
                    if let Some(reached) = self.at_breakpoint(tid)? {
                        return Ok(Some(reached));
                    }
                    go_on(tid, libc::SIGTRAP)?;
                }
                Stop::Signal(signal) => go_on(tid, signal)?,
                Stop::Group(libc::SIGTRAP) if self.is_early_child(tid) => drop(self.early.insert(tid)),
                Stop::Group(libc::SIGTRAP) => go_on(tid, 0)?,
                Stop::Group(_) => ptrace::listen(tid).map_err(system("ptrace(PTRACE_LISTEN)"))?,
                Stop::NewTask(event) => {
                    self.new_task(tid, event)?;
                    go_on(tid, 0)?;
                }
                Stop::Exec => {
                    self.leave_exec()?;
                    return Ok(None);
                }
                Stop::Other(_) => go_on(tid, 0)?,
            }
        }
    }

    /// Task `tid` has made another one. A thread belongs to the program. A child process runs on untraced, without the
    /// breakpoint that it has inherited, unless it runs in the program's own memory.
    pub(super) fn new_task(&mut self, tid: Tid, event: Event) -> Result<(), TraceError> {
        let system = TraceError::system;
        let new = ptrace::event_message(tid).map_err(system("ptrace event"))? as Tid;
        // The event does not distinguish them: `clone` with another signal than SIGCHLD makes a process, too.
        if event == Event::Clone && self.is_thread(new) {
            self.tasks.insert(new, Task::default());
            return Ok(());
        }
        if !self.early.remove(&new) {
            ptrace::wait(new).map_err(system("wait4"))?;
        }
        let flags = self.clone_flags(tid, event)?;
        let shares = shared::is_shared(Kind::Memory, self.pid, new).unwrap_or(flags & libc::CLONE_VM as u64 != 0);
        // A child of vfork soon executes another program, with memory of its own.
        if flags & (libc::CLONE_VM | libc::CLONE_VFORK) as u64 == libc::CLONE_VM as u64 {
            self.sharing.insert((Kind::Memory, new));
        }
        if flags & libc::CLONE_FILES as u64 != 0 {
            self.sharing.insert((Kind::Descriptors, new));
        }
        if let (Some(breakpoint), Ok(memory), false) = (&self.breakpoint, Memory::open(new), shares) {
            let _ = breakpoint.remove(&memory);
        }
        match ptrace::detach(new, 0) {
            // Somebody has killed it.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            other => other.map_err(system("ptrace(PTRACE_DETACH)"))?,
        }
        if event == Event::Vfork {
            // From now on the task cannot be stopped, and so not released either. It must survive the snapshotter's end
            // by itself.
            ptrace::set_options(tid, OPTIONS & !OPTION_EXITKILL).map_err(system("ptrace(PTRACE_SETOPTIONS)"))?;
            self.tasks.entry(tid).or_default().in_vfork = true;
        }
        Ok(())
    }

    fn is_thread(&self, tid: Tid) -> bool {
        Path::new(&format!("/proc/{}/task/{tid}", self.pid)).exists()
    }

    /// Whether a task that has stopped for the first time is a child process that its parent's event has not named yet.
    ///
    /// Symptom: the child went on under the tracer, and the wait for its first stop was endless, or its detach failed
    /// with ESRCH. Sequence: `kernel_clone` wakes the child up before it stops the parent for PTRACE_EVENT_FORK, _VFORK
    /// or _CLONE, so a wait for any task may return the child first. All kernels; it stays.
    fn is_early_child(&self, tid: Tid) -> bool {
        !self.tasks.contains_key(&tid) && !self.is_thread(tid)
    }

    /// The flags (`CLONE_…`) of the call by which task `tid` has just made another one.
    fn clone_flags(&self, tid: Tid, event: Event) -> Result<u64, TraceError> {
        let system = TraceError::system;
        let regs = ptrace::get_regs(tid).map_err(system("registers"))?;
        match regs[reg::CALL] as i64 {
            libc::SYS_clone => Ok(regs[ARGUMENTS[0]]),
            libc::SYS_clone3 => self.memory.read_u64(regs[ARGUMENTS[0]]).map_err(system("the arguments of clone3")),
            // The 32-bit interface, which the ledger refuses, has other numbers.
            _ if event == Event::Vfork => Ok((libc::CLONE_VM | libc::CLONE_VFORK) as u64),
            _ => Ok(0),
        }
    }

    /// A task that is stopped at a system call no longer waits in `vfork`.
    pub(super) fn leave_vfork(&mut self, tid: Tid) -> Result<(), TraceError> {
        match self.tasks.get_mut(&tid) {
            Some(task) if task.in_vfork => {
                task.in_vfork = false;
                ptrace::set_options(tid, OPTIONS).map_err(TraceError::system("ptrace(PTRACE_SETOPTIONS)"))
            }
            _ => Ok(()),
        }
    }

    fn at_breakpoint(&mut self, tid: Tid) -> Result<Option<Reached>, TraceError> {
        let system = TraceError::system;
        let mut regs = ptrace::get_regs(tid).map_err(system("registers"))?;
        let Some(breakpoint) = self.breakpoint.take_if(|b| b.addr + 1 == regs[reg::PC]) else { return Ok(None) };
        breakpoint.remove(&self.memory).map_err(system("removing a breakpoint"))?;
        regs[reg::PC] = breakpoint.addr;
        regs[reg::CALL] = NO_CALL;
        ptrace::set_regs(tid, &regs).map_err(system("registers"))?;
        Ok(Some(Reached::outside(tid, regs)))
    }

    fn at_syscall(&mut self, tid: Tid, at: &StopAt) -> Result<Option<Reached>, TraceError> {
        let system = TraceError::system;
        let stop = ptrace::syscall_stop(tid).map_err(system("system call information"))?;
        let SyscallStop::Entry(entry) = stop else {
            let SyscallStop::Exit(exit) = stop else { return Ok(None) };
            self.ledger.leave(tid, exit);
            if let Some(opening) = self.tasks.get_mut(&tid).and_then(|task| task.opening.take()) {
                self.inputs.left(tid, opening, exit);
            }
            self.exec_failed(tid)?;
            if let Some(value) = self.tasks.get_mut(&tid).and_then(|task| task.answer.take()) {
                let mut regs = ptrace::get_regs(tid).map_err(system("registers"))?;
                regs[reg::RESULT] = value;
                ptrace::set_regs(tid, &regs).map_err(system("registers"))?;
            }
            if let Some(call) = self.tasks.get_mut(&tid).and_then(|task| task.unmapping.take()) {
                let result = ptrace::get_regs(tid).map_err(system("registers"))?[reg::RESULT];
                call.gone(result).iter().for_each(|gone| self.registered.forget(gone));
            }
            if self.wanted.is_some() {
                self.look_for_symbol()?;
            }
            if !self.watch.leave(at, tid, exit, &self.memory) {
                return Ok(None);
            }
            let mut regs = ptrace::get_regs(tid).map_err(system("registers"))?;
            regs[reg::CALL] = NO_CALL;
            return Ok(Some(Reached::outside(tid, regs)));
        };
        if self.prepare_exec(tid, &entry)? {
            return Ok(None);
        }
        self.ledger.enter(tid, &entry, &self.memory);
        let SyscallEntry { number, args, .. } = entry;
        if entry.arch != AUDIT_ARCH {
            // Its numbers mean other calls.
            return Ok(None);
        }
        let opening = Opening::entered(&entry, &self.memory);
        self.surroundings.enter(&entry, opening.as_ref(), self.pid);
        self.origins.enter(tid, &entry, opening.as_ref(), &self.memory, &self.booted, self.pid);
        let task = self.tasks.entry(tid).or_default();
        if let Some(answer) = self.zero_questions.answer(&self.memory, task.entered.as_ref(), number, &args) {
            // The call itself is skipped.
            task.answer = Some(answer);
            let mut regs = ptrace::get_regs(tid).map_err(system("registers"))?;
            regs[reg::CALL] = NO_CALL;
            ptrace::set_regs(tid, &regs).map_err(system("registers"))?;
            return Ok(None);
        }
        task.enter(&self.memory, number, &args);
        task.opening = opening;
        self.nameless_environ.look(&self.memory, &self.booted);
        if number == libc::SYS_futex as u64 {
            self.futexes.insert(args[0]);
        }
        // Negative numbers name the CPU clock of a process or thread.
        if CLOCK_CALLS.contains(&number) && (args[0] as i32) < 0 {
            self.clocks.insert(args[0] as u32);
        }
        let wanted = self.watch.enter(at, tid, &entry, &self.memory);
        let protocol = number == SYS_PRCTL && args[0] == PROTOCOL;
        if protocol {
            self.surroundings.protocol(args[1]);
            let answer = self.registered.serve(self.pid, &self.memory, args[1], args[2], args[3]);
            if answer.is_some() {
                // The snapshotter sets the result, and the call itself is skipped.
                self.tasks.entry(tid).or_default().answer = answer;
                let mut regs = ptrace::get_regs(tid).map_err(system("registers"))?;
                regs[reg::CALL] = NO_CALL;
                ptrace::set_regs(tid, &regs).map_err(system("registers"))?;
                return Ok(None);
            }
        }
        let is_ready = *at == StopAt::Ready && protocol && args[1] == OP_READY;
        if !is_ready && !wanted {
            self.tasks.entry(tid).or_default().unmapping = Unmapping::entered(number, &args);
            return Ok(None);
        }
        let regs = ptrace::get_regs(tid).map_err(system("registers"))?;
        let again = again(&regs, number);
        let mut instance = again;
        if is_ready {
            instance[reg::PC] = regs[reg::PC];
            instance[reg::RESULT] = 1;
        }
        Ok(Some(Reached { at_entry: true, survivor: again, ..Reached::outside(tid, instance) }))
    }

    /// Looks for the wanted symbol in files mapped since the last time; sets the breakpoint when it is found.
    fn look_for_symbol(&mut self) -> Result<(), TraceError> {
        let Some((name, searched)) = &mut self.wanted else { return Ok(()) };
        let vmas = maps::read(self.pid).map_err(TraceError::system("/proc/PID/smaps"))?;
        let mut found = None;
        let exe =
            symbols::find(&self.booted.exe, &[name.as_str()]).filter(|_| searched.insert(self.booted.exe.clone()));
        if let Some(symbol) = exe {
            found = Some(self.booted.request.bias.wrapping_add(symbol.value));
        }
        for vma in vmas.iter().filter(|vma| vma.has_file() && vma.offset == 0) {
            let path = vma.path();
            if found.is_some() || !searched.insert(path.clone()) {
                continue;
            }
            if let Some(symbol) = symbols::find(&path, &[name.as_str()]) {
                found = Some(vma.start + symbol.value - symbol.image_start);
            }
        }
        let is_code = |addr: u64| vmas.iter().any(|vma| vma.contains(addr) && vma.prot & 4 != 0);
        match found {
            Some(addr) if is_code(addr) => {
                self.wanted = None;
                self.insert(addr)
            }
            // The library's code is not mapped yet: ld.so maps the file once and then its segments over it.
            Some(_) => {
                searched.clear();
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The symbol of `--at symbol:` if it has not been found.
    pub(crate) fn missing_symbol(&self) -> Option<&str> {
        self.wanted.as_ref().map(|(name, _)| name.as_str())
    }
}

/// The registers of a task at the entry of system call `number` with which it makes the call once more.
pub(super) fn again(regs: &Regs, number: u64) -> Regs {
    let mut again = *regs;
    arch::rewind(&mut again, number);
    again
}
