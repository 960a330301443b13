//! Where `main` is, in a program without symbols.

use super::TraceError;
use super::ptrace::{self, Regs, Stop};
use super::run::Tracer;
use snapfn_format::arch::{self, PARAMETERS, SYSCALL, reg};

/// Instructions between `_start` and the call that receives `main`; musl's static-pie relocates itself meanwhile.
const MAIN_STEPS: usize = 100_000;

/// Outcome of looking for `main` by single steps.
pub(super) enum MainSearch {
    Found(u64),
    /// A system call came first: the program has no start-up code of a C library.
    None,
}

impl Tracer {
    /// The code range of the executable's segments.
    fn in_program(&self, addr: u64) -> bool {
        (self.booted.request.start_code..self.booted.request.end_code).contains(&addr)
    }

    /// From the first instruction of `_start`, single-steps to the call that passes `main` as the first argument:
    /// `__libc_start_main` in glibc and musl, static or not, stripped or not.
    pub(super) fn step_to_main(&mut self) -> Result<MainSearch, TraceError> {
        let system = TraceError::system;
        let mut regs = ptrace::get_regs(self.pid).map_err(system("registers"))?;
        let mut depth = regs[reg::SP];
        for _ in 0..MAIN_STEPS {
            let mut code = [0u8; 3];
            self.memory.read(regs[reg::PC], &mut code).map_err(system("reading the program's code"))?;
            if code[..2] == SYSCALL {
                return Ok(MainSearch::None);
            }
            let is_call = arch::is_call(&code);
            ptrace::step(self.pid).map_err(system("ptrace(PTRACE_SINGLESTEP)"))?;
            match ptrace::wait(self.pid).map_err(system("wait4"))?.1 {
                Stop::Signal(libc::SIGTRAP) => {}
                stop @ (Stop::Exited(_) | Stop::Killed(_)) => return Err(self.died(stop)),
                _ => return Ok(MainSearch::None),
            }
            regs = ptrace::get_regs(self.pid).map_err(system("registers"))?;
            let called = is_call && regs[reg::SP] + 8 <= depth;
            depth = regs[reg::SP].max(depth.min(regs[reg::SP] + 8));
            let main = regs[PARAMETERS[0]];
            if called && self.in_program(main) && main != regs[reg::PC] && self.argc_matches(&regs) {
                return Ok(MainSearch::Found(main));
            }
        }
        Ok(MainSearch::None)
    }

    /// glibc: (main, argc, argv, …); musl: (main, argc, argv, …) as well.
    fn argc_matches(&self, regs: &Regs) -> bool {
        let argc = self.memory.read_u64(self.booted.request.sp).unwrap_or(u64::MAX);
        regs[PARAMETERS[1]] & 0xffff_ffff == argc && regs[PARAMETERS[2]] == self.booted.request.argv
    }
}
