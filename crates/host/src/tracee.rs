//! A traced child: stopped, inspected, and made to run system calls.
#![allow(unsafe_code)] // ptrace requests that nix lacks

use std::ffi::c_long;

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::unistd::Pid;

use snapfn_format::arch::{ARGUMENTS, NO_CALL, REGS, SYSCALL_LEN, reg};

use crate::arch::{self, SYSCALL_TRAP, SYSCALL_TRAP_MASK};
use crate::child::Child;
use crate::procfile::Text;
use crate::sys;

/// A stopped tracee. It is killed when dropped.
pub(crate) struct Tracee {
    child: Child,
    gadget: u64,
}

/// `struct ptrace_rseq_configuration`, as of linux/ptrace.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct RseqConfiguration {
    pub(crate) pointer: u64,
    pub(crate) size: u32,
    pub(crate) signature: u32,
    pub(crate) flags: u32,
    pub(crate) pad: u32,
}

impl Tracee {
    /// This program, executed again after `prepare` and stopped before its first instruction.
    pub(crate) fn exec(prepare: impl FnOnce() -> Result<(), Errno>) -> Result<Self, Errno> {
        Self::exec_by(|| match prepare() {
            Ok(()) => sys::exec_self(),
            Err(errno) => errno,
        })
    }

    /// The program that `exec` executes, stopped before its first instruction. `exec` returns only if it fails.
    pub(crate) fn exec_by(exec: impl FnOnce() -> Errno) -> Result<Self, Errno> {
        let child = Child::spawn(|| match ptrace::traceme() {
            Ok(()) => exec() as i32,
            Err(errno) => errno as i32,
        })?;
        let (_, status) = sys::wait4(child.pid(), libc::__WALL)?;
        if libc::WIFEXITED(status) {
            child.release();
            return Err(Errno::from_raw(libc::WEXITSTATUS(status)));
        }
        let mut tracee = Self { child, gadget: 0 };
        // The options leave PTRACE_O_TRACEEXEC out: at its stop, execve has not returned yet, and its result would
        // overwrite the number of an injected call. The plain SIGTRAP comes after the return.
        let options = ptrace::Options::PTRACE_O_EXITKILL | ptrace::Options::PTRACE_O_TRACESYSGOOD;
        ptrace::setoptions(tracee.nix_pid(), options)?;
        tracee.gadget = tracee.registers()?[reg::PC];
        Ok(tracee)
    }

    /// Attaches to a running child and stops it.
    pub(crate) fn seize(child: Child, options: ptrace::Options) -> Result<Self, Errno> {
        let mut tracee = Self { child, gadget: 0 };
        ptrace::seize(tracee.nix_pid(), options)?;
        tracee.interrupt()?;
        tracee.gadget = tracee.registers()?[reg::PC];
        Ok(tracee)
    }

    /// Stops a seized tracee that runs. Returns the wait status.
    pub(crate) fn interrupt(&self) -> Result<i32, Errno> {
        ptrace::interrupt(self.nix_pid())?;
        Ok(sys::wait4(self.pid(), libc::__WALL)?.1)
    }

    /// Lets it run.
    pub(crate) fn resume(&self) -> Result<(), Errno> {
        ptrace::cont(self.nix_pid(), None)
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.pid()
    }

    fn nix_pid(&self) -> Pid {
        Pid::from_raw(self.pid())
    }

    pub(crate) fn registers(&self) -> Result<[u64; REGS], Errno> {
        arch::registers(self.nix_pid())
    }

    /// Its mappings.
    pub(crate) fn maps(&self) -> Result<Text, Errno> {
        Text::read(self.pid(), "maps")
    }

    pub(crate) fn peek(&self, address: u64) -> Result<u64, Errno> {
        ptrace::read(self.nix_pid(), address as *mut _).map(|word| word as u64)
    }

    pub(crate) fn poke(&self, address: u64, word: u64) -> Result<(), Errno> {
        ptrace::write(self.nix_pid(), address as *mut _, word as c_long)
    }

    /// Makes injected calls run from `address`, where eight executable bytes must be free.
    pub(crate) fn call_from(&mut self, address: u64) {
        self.gadget = address;
    }

    /// Makes the tracee run one system call. Afterwards its registers and code are as before.
    pub(crate) fn call(&self, number: c_long, arguments: &[u64]) -> Result<u64, Errno> {
        let before = self.registers()?;
        let code = self.peek(self.gadget)?;
        let status = self.enter(&before, code, number, arguments)?;
        if !libc::WIFSTOPPED(status) || libc::WSTOPSIG(status) != libc::SIGTRAP {
            return Err(Errno::ECHILD);
        }
        let result = self.registers()?[reg::RESULT] as i64;
        self.poke(self.gadget, code)?;
        arch::set_registers(self.nix_pid(), before)?;
        if (-4095..0).contains(&result) { Err(Errno::from_raw(-result as i32)) } else { Ok(result as u64) }
    }

    /// Makes the tracee execute this program once more. It is stopped again before the first instruction.
    pub(crate) fn exec_again(&mut self) -> Result<(), Errno> {
        let before = self.registers()?;
        // Path and argument vector go below the stack pointer, where no data is yet.
        let path = (before[reg::SP] - 256) & !15;
        self.poke(path, u64::from_le_bytes(*b"/proc/se"))?;
        self.poke(path + 8, u64::from_le_bytes(*b"lf/exe\0\0"))?;
        self.poke(path + 16, path)?;
        self.poke(path + 24, 0)?;
        let code = self.peek(self.gadget)?;
        let status = self.enter(&before, code, libc::SYS_execve, &[path, path + 16, path + 24])?;
        let after = self.registers()?;
        // A call that has failed stops right behind its instruction, or behind the trap that follows.
        let failed = [SYSCALL_LEN, SYSCALL_LEN + 1].map(|len| self.gadget + len);
        if !libc::WIFSTOPPED(status) || failed.contains(&after[reg::PC]) {
            return Err(Errno::from_raw(-(after[reg::RESULT] as i32)));
        }
        self.gadget = after[reg::PC];
        Ok(())
    }

    /// Makes the tracee exit. Returns the raw wait status.
    pub(crate) fn exit(self, status: i32) -> Result<i32, Errno> {
        let before = self.registers()?;
        let code = self.peek(self.gadget)?;
        let status = self.enter(&before, code, libc::SYS_exit_group, &[status as u64])?;
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            self.child.release();
        }
        Ok(status)
    }

    /// Starts a system call and waits for the next stop or end.
    fn enter(&self, before: &[u64; REGS], code: u64, number: c_long, arguments: &[u64]) -> Result<i32, Errno> {
        let argument = |index: usize| arguments.get(index).copied().unwrap_or(0);
        let mut registers = *before;
        registers[reg::PC] = self.gadget;
        registers[reg::NUMBER] = number as u64;
        registers[reg::CALL] = NO_CALL;
        for (index, register) in ARGUMENTS.into_iter().enumerate() {
            registers[register] = argument(index);
        }
        self.poke(self.gadget, code & !SYSCALL_TRAP_MASK | SYSCALL_TRAP)?;
        arch::set_registers(self.nix_pid(), registers)?;
        self.resume()?;
        Ok(sys::wait4(self.pid(), libc::__WALL)?.1)
    }

    /// Its registered restartable-sequences area.
    pub(crate) fn rseq(&self) -> Result<RseqConfiguration, Errno> {
        const PTRACE_GET_RSEQ_CONFIGURATION: u32 = 0x420f;
        let mut seen = RseqConfiguration::default();
        let size = size_of::<RseqConfiguration>();
        // SAFETY: a place of the size that is passed.
        let got = unsafe { libc::ptrace(PTRACE_GET_RSEQ_CONFIGURATION, self.pid(), size, &raw mut seen) };
        Errno::result(got)?;
        Ok(seen)
    }

    /// Its blocked signals.
    pub(crate) fn signal_mask(&self) -> Result<u64, Errno> {
        const PTRACE_GETSIGMASK: u32 = 0x420a;
        let mut mask = 0u64;
        // SAFETY: a place of the size that is passed.
        Errno::result(unsafe { libc::ptrace(PTRACE_GETSIGMASK, self.pid(), 8usize, &raw mut mask) })?;
        Ok(mask)
    }

    /// Reads its XSAVE area. Returns the number of bytes that the kernel filled.
    pub(crate) fn xstate(&self, area: &mut [u8]) -> Result<usize, Errno> {
        const NT_X86_XSTATE: usize = 0x202;
        let mut vector = libc::iovec { iov_base: area.as_mut_ptr().cast(), iov_len: area.len() };
        // SAFETY: the vector describes the slice.
        let got = unsafe { libc::ptrace(libc::PTRACE_GETREGSET, self.pid(), NT_X86_XSTATE, &raw mut vector) };
        Errno::result(got)?;
        Ok(vector.iov_len)
    }

    /// The kind of its stop: the entry of a system call (with its number), or another one.
    pub(crate) fn syscall_info(&self) -> Result<(u8, u64), Errno> {
        const PTRACE_GET_SYSCALL_INFO: u32 = 0x420e;
        let mut info = [0u64; 16];
        // SAFETY: a place of the size that is passed.
        let got = unsafe { libc::ptrace(PTRACE_GET_SYSCALL_INFO, self.pid(), size_of_val(&info), info.as_mut_ptr()) };
        Errno::result(got)?;
        Ok((info[0] as u8, info[3]))
    }

    /// Runs to the next entry or exit of a system call.
    pub(crate) fn run_to_syscall(&self) -> Result<i32, Errno> {
        ptrace::syscall(self.nix_pid(), None)?;
        Ok(sys::wait4(self.pid(), libc::__WALL)?.1)
    }
}
