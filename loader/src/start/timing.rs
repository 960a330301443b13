//! `--timing`: prints where the time of a start goes, by time stamps.
//!
//! The process that the user has started stays as the parent and executes `snaprun` once more with `--timing-page`.
//! Both share a page of time stamps. The first stamp is from before `execve`. A stub of the resident region stores the
//! last one when the loader is gone. So the phases cover the whole time in between, except the final `rt_sigreturn`.
//! The parent waits and prints.
//!
//! An ordinary start reads one byte and no clock.
#![allow(unsafe_code)] // the page of time stamps, clone

use crate::runtime::arch;
use crate::runtime::auxv::InitialStack;
use crate::runtime::clock::{FAULTS, Moment, OPERATIONS};
use crate::runtime::memory::{bytes, read_u64, write_u64};
use crate::runtime::print::{Out, Text};
use crate::runtime::sys::{self, Errno, nr};
use core::ffi::CStr;
use core::fmt::{self, Write};
use snapfn_format::PAGE;

/// The phase that ends at each moment behind the first.
const PHASES: [(Moment, &str, &str); 12] = [
    (Moment::Execve, "execve", "execve of snaprun, to its first instruction"),
    (Moment::Setup, "setup", "arguments (and the page of --timing)"),
    (Moment::Open, "open", "finding and opening the snapshot"),
    (Moment::Plan, "plan", "mapping and checking the plan"),
    (Moment::Files, "files", "opening code segment and other files"),
    (Moment::Map, "map", "the address space: mmap and pread"),
    (Moment::Patch, "patch", "vDSO, vectors, canary: words of this instance"),
    (Moment::Descriptors, "descriptors", "descriptors"),
    (Moment::Process, "process", "layout, directory, dispositions"),
    (Moment::Threads, "threads", "frames, threads, their attributes"),
    (Moment::Protect, "protect", "protections, advice, locks"),
    (Moment::Leave, "leave", "signals, timers, munmap of the loader"),
];

/// Offset at which the parent writes the decimal number of the page's descriptor.
const DIGITS: u64 = 8 * 32;

fn monotonic() -> u64 {
    sys::clock_gettime(sys::CLOCK_MONOTONIC).unwrap_or(0)
}

/// How the outcome is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A table.
    Text,
    /// One line of JSON.
    Json,
}

/// What the parent knows at the end.
struct Outcome<'a> {
    name: &'a [u8],
    page: u64,
    /// Time stamps in a second.
    rate: u64,
    end: u64,
    status: i32,
    faults: u64,
}

impl Outcome<'_> {
    fn stamp(&self, moment: Moment) -> u64 {
        // SAFETY: inside the page.
        unsafe { read_u64(self.page + 8 * moment as u64) }
    }

    fn word(&self, offset: u64) -> u64 {
        // SAFETY: inside the page.
        unsafe { read_u64(self.page + offset) }
    }

    /// Nanoseconds between two time stamps.
    fn ns(&self, from: u64, to: u64) -> u64 {
        (u128::from(to.saturating_sub(from)) * 1_000_000_000 / u128::from(self.rate.max(1))) as u64
    }

    /// Phases with their nanoseconds. A moment that was not reached has none.
    fn phases(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        let mut last = self.stamp(Moment::Start);
        PHASES.iter().filter_map(move |(moment, name, what)| {
            let stamp = self.stamp(*moment);
            let from = last;
            last = last.max(stamp);
            (stamp != 0).then(|| (*name, *what, self.ns(from, stamp)))
        })
    }

    fn total(&self) -> u64 {
        self.phases().map(|(_, _, ns)| ns).sum()
    }

    fn run(&self) -> u64 {
        self.ns(self.stamp(Moment::Leave), self.end)
    }

    fn text(&self, out: &mut Out) -> fmt::Result {
        let micro = |ns: u64| Micro(ns);
        let total = self.total().max(1);
        writeln!(
            out,
            "snaprun: {}: {} us from execve to the program's first instruction",
            Text(self.name),
            micro(total)
        )?;
        for (name, what, ns) in self.phases() {
            let share = ns * 1000 / total;
            writeln!(out, "  {name:<12}{:>10}{:>5}.{} %  {what}", micro(ns), share / 10, share % 10)?;
        }
        let before = self.word(FAULTS);
        let (after, operations) = (self.faults.saturating_sub(before), self.word(OPERATIONS));
        writeln!(out, "  {before} page faults, {operations} operations of the plan")?;
        writeln!(out, "  then the program: {} us until it had ended, {after} page faults", micro(self.run()))
    }

    fn json(&self, out: &mut Out) -> fmt::Result {
        write!(out, "{{\"snapshot\":\"{}\",\"total_us\":{},\"phases_us\":{{", Text(self.name), Micro(self.total()))?;
        for (index, (name, _, ns)) in self.phases().enumerate() {
            write!(out, "{}\"{name}\":{}", if index == 0 { "" } else { "," }, Micro(ns))?;
        }
        let before = self.word(FAULTS);
        write!(out, "}},\"operations\":{},\"page_faults\":{before}", self.word(OPERATIONS))?;
        let after = self.faults.saturating_sub(before);
        writeln!(
            out,
            ",\"program_us\":{},\"program_page_faults\":{after},\"status\":{}}}",
            Micro(self.run()),
            self.status
        )
    }
}

/// Microseconds with one decimal.
struct Micro(u64);

impl fmt::Display for Micro {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0 + 50) / 100;
        // Padded as a whole.
        let mut text = [0u8; 24];
        let mut rest = tenths / 10;
        let mut at = text.len() - 2;
        text[at] = b'.';
        text[at + 1] = b'0' + (tenths % 10) as u8;
        loop {
            at -= 1;
            text[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 || at == 0 {
                break;
            }
        }
        f.pad(text.get(at..).and_then(|text| core::str::from_utf8(text).ok()).unwrap_or_default())
    }
}

/// Runs this command line without its `--timing` (argument `option`) as a child. Prints where the time went when the
/// child has ended. Returns only on failure.
///
/// # Safety
/// `initial` is the initial stack of this process.
pub unsafe fn observe(initial: &InitialStack, option: u64, form: Form, name: &CStr) -> Errno {
    // SAFETY: the caller's promise.
    match unsafe { run(initial, option, form, name) } {
        Ok(status) => sys::exit(status),
        Err(errno) => errno,
    }
}

unsafe fn run(initial: &InitialStack, option: u64, form: Form, name: &CStr) -> sys::Result<i32> {
    const EXECFN: u64 = crate::runtime::auxv::at::EXECFN;
    const SIGINT: u32 = 2;
    const SIGQUIT: u32 = 3;
    const SIG_IGN: u64 = 1;
    // SAFETY: the memory is live and has the sizes that the calls expect; the vectors are the kernel's; writes to new
    // mappings are inside their lengths.
    unsafe {
        let call = |number, args: [u64; 6]| sys::raw(number, args);
        let fd = call(nr::MEMFD_CREATE, [c"snaprun-timing".as_ptr() as u64, 0, 0, 0, 0, 0])? as u64;
        call(nr::FTRUNCATE, [fd, PAGE, 0, 0, 0, 0])?;
        let page = sys::mmap(0, PAGE, sys::PROT_READ_WRITE, sys::MAP_SHARED, fd as i32, 0)?;
        let mut digits = page + DIGITS + 15;
        let mut rest = fd;
        loop {
            digits -= 1;
            ((digits) as *mut u8).write(b'0' + (rest % 10) as u8);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        let len = (8 * (initial.argc + 3)).next_multiple_of(PAGE);
        let argv = sys::mmap(0, len, sys::PROT_READ_WRITE, sys::MAP_PRIVATE | sys::MAP_ANONYMOUS, -1, 0)?;
        let mut slot = argv;
        let mut put = |word: u64| {
            write_u64(slot, word);
            slot += 8;
        };
        put(read_u64(initial.argv));
        put(c"--timing-page".as_ptr() as u64);
        put(digits);
        for index in (1..initial.argc).filter(|index| *index != option) {
            put(read_u64(initial.argv + 8 * index));
        }
        let path = initial.aux_value(EXECFN).unwrap_or_else(|| c"/proc/self/exe".as_ptr() as u64);
        let (clock, begin) = (monotonic(), arch::timestamp());
        let pid = arch::spawn_exec(path, argv, initial.envp, page + 8 * Moment::Start as u64)?;
        // Signals of a terminal go to both processes; this one only waits.
        for signo in [SIGINT, SIGQUIT] {
            let _ = sys::rt_sigaction(signo, &[SIG_IGN, 0, 0, 0]);
        }
        let (mut status, mut usage) = (0u32, [0u64; 18]);
        let wait = [u64::from(pid), &raw mut status as u64, 0, usage.as_mut_ptr() as u64, 0, 0];
        while let Err(errno) = call(nr::WAIT4, wait) {
            if errno != Errno::INTR {
                return Err(errno);
            }
        }
        let end = arch::timestamp();
        // The interval is long enough for a rate with an error below a thousandth.
        while monotonic() - clock < 2_000_000 {}
        let (stamps, ns) = (arch::timestamp() - begin, monotonic() - clock);
        let rate = (u128::from(stamps) * 1_000_000_000 / u128::from(ns.max(1))) as u64;
        let exit = if status & 0x7f == 0 { status >> 8 & 0xff } else { 128 + (status & 0x7f) } as i32;
        let faults = usage[8] + usage[9];
        let outcome = Outcome {
            name: bytes(name.as_ptr() as u64, name.count_bytes() as u64),
            page,
            rate,
            end,
            status: exit,
            faults,
        };
        // If the program has no first instruction, the child has printed why.
        if outcome.stamp(Moment::Leave) != 0 {
            let mut out = Out::new(2);
            let _ = if form == Form::Json { outcome.json(&mut out) } else { outcome.text(&mut out) };
        }
        Ok(exit)
    }
}
