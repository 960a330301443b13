//! The clocks of a program under the snapshotter: plain system calls, without the kernel's vDSO.
//!
//! A snapshot holds no code of the host's vDSO, so no thread, signal frame or return address may lie in it at the
//! point. The slots of the synthetic vDSO lead to plain system calls until an instance starts, and the kernel's own
//! image is unmapped before the program's first instruction: a program that looks for `[vdso]` in /proc/self/maps finds
//! none, as on a kernel that was started with `vdso=0`, and keeps no address of it.
//!
//! If the kernel has sealed the image (CONFIG_MSEAL_SYSTEM_MAPPINGS, Linux 6.16), it stays mapped. `dump::code` then
//! refuses a program that is in it.

use super::boot::is_kernels;
use super::maps::{Special, Vma};
use super::memory::Memory;
use super::ptrace::Tid;
use super::remote::Remote;
use super::{Frozen, Tracer, maps, ptrace};
use snapfn_format::snap::resident::{FUNCTIONS, SLOTS};
use snapfn_format::vdso;
use std::io;

/// `arch_prctl` option: maps the 64-bit vDSO again, at an address of the caller's choice (Linux 4.9).
const ARCH_MAP_VDSO_64: u64 = 0x2003;

/// Whether it is the kernel's vDSO or the data that it reads.
pub(crate) fn is_vdso(name: &str) -> bool {
    matches!(Special::of(name), Some(Special::Vdso | Special::VdsoData))
}

/// Unmaps the kernel's vDSO of process `pid`. Returns its address if it is gone.
pub(super) fn take_away(pid: Tid, remote: &Remote) -> io::Result<Option<u64>> {
    let vmas = maps::read(pid)?;
    let parts: Vec<_> = vmas.iter().filter(|vma| is_vdso(&vma.name)).collect();
    // The code goes first: if it is sealed, the data stays with it.
    let Some(code) = parts.iter().find(|vma| vma.is(Special::Vdso)) else { return Ok(None) };
    if remote.call(libc::SYS_munmap, &[code.start, code.end - code.start]).is_err() {
        return Ok(None);
    }
    for data in parts.iter().filter(|vma| !vma.is(Special::Vdso)) {
        remote.call(libc::SYS_munmap, &[data.start, data.end - data.start])?;
    }
    Ok(Some(code.start))
}

/// The kernel's mappings, without a vDSO that has been unmapped: another mapping may later lie there.
pub(super) fn kernel_ranges(vmas: &[Vma], gone: Option<u64>) -> Vec<(u64, u64)> {
    let kernels = vmas.iter().filter(|vma| is_kernels(&vma.name) && !(gone.is_some() && is_vdso(&vma.name)));
    kernels.map(|vma| (vma.start, vma.end)).collect()
}

impl Tracer {
    /// Gives a program that goes on without a snapshot the kernel's vDSO again. A failure only costs it time.
    pub(super) fn bring_clocks_back(&self, frozen: &[Frozen]) -> io::Result<()> {
        let (Some(addr), Some(task)) = (self.booted.vdso, frozen.first()) else { return Ok(()) };
        if self.is_filtered() {
            return Ok(());
        }
        let at_entry = ptrace::syscall_entry(task.tid)?.is_some();
        let remote = Remote::new(task.tid, self.booted.gadget, &task.survivor, at_entry)?;
        let mapped = remote.call(libc::SYS_arch_prctl, &[ARCH_MAP_VDSO_64, addr]);
        remote.finish()?;
        mapped?;
        self.fill_slots()
    }

    /// Makes the slots of the synthetic vDSO lead to the kernel's functions.
    fn fill_slots(&self) -> io::Result<()> {
        let vmas = maps::read(self.pid)?;
        let Some(image) = vmas.iter().find(|vma| vma.is(Special::Vdso)) else { return Ok(()) };
        let bytes = self.memory.read_vec(image.start, image.end - image.start)?;
        let mut slots = Vec::new();
        vdso::functions(&bytes, FUNCTIONS.iter().map(|(name, _)| *name), |slot, offset| slots.push((slot, offset)));
        let base = self.booted.request.resident + SLOTS;
        slots
            .iter()
            .try_for_each(|(slot, offset)| write_slot(&self.memory, base + 8 * *slot as u64, image.start + offset))
    }
}

fn write_slot(memory: &Memory, slot: u64, function: u64) -> io::Result<()> {
    memory.write(slot, &function.to_le_bytes())
}
