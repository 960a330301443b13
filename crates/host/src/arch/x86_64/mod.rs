//! x86-64.
#![allow(unsafe_code)] // the kernel's structure of registers as words, and back

pub(crate) mod sigframe;
pub(crate) mod threads;

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::unistd::Pid;
use snapfn_format::arch::REGS;

/// `syscall; int3`, in memory order.
pub(crate) const SYSCALL_TRAP: u64 = 0xcc_050f;
/// The bits of a word that it fills.
pub(crate) const SYSCALL_TRAP_MASK: u64 = 0xff_ffff;

/// The registers of a stopped tracee, in the order of [`snapfn_format::arch::reg`].
pub(crate) fn registers(pid: Pid) -> Result<[u64; REGS], Errno> {
    // SAFETY: the structure consists of that many words, of which every value is valid.
    ptrace::getregs(pid)
        .map(|registers| unsafe { std::mem::transmute::<libc::user_regs_struct, [u64; REGS]>(registers) })
}

/// Sets them.
pub(crate) fn set_registers(pid: Pid, registers: [u64; REGS]) -> Result<(), Errno> {
    // SAFETY: as above.
    ptrace::setregs(pid, unsafe { std::mem::transmute::<[u64; REGS], libc::user_regs_struct>(registers) })
}
