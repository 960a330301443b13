//! Threads: registers, XSAVE area, signal state, and the kernel's other records of each.

use super::refuse::{Blocker, DumpError};
use super::scheduling;
use crate::tracee::ptrace::{self, Tid};
use crate::tracee::remote::Remote;
use crate::tracee::{Frozen, Status, TraceError, Tracer};
use snapfn_format::arch::CANARY;
use snapfn_format::snap::{COMPONENTS, TIMEOUT_NONE, Thread, reg, resident};
use snapfn_host::requirements::xstate_component;

/// A thread's record and its XSAVE area as a signal frame holds it.
#[derive(Clone, Debug)]
pub(super) struct ThreadState {
    pub(super) tid: Tid,
    pub(super) record: Thread,
    pub(super) xstate: Vec<u8>,
    /// Raw, as ptrace gives it, for the core note.
    pub(super) raw_xstate: Vec<u8>,
    /// CPUs that it may run on, if the program has restricted them.
    pub(super) affinity: Vec<u8>,
    /// The stack canary of its TLS block; 0 when it has none.
    pub(super) canary: u64,
}

impl ThreadState {
    /// Whether the thread was made by musl, by where its TID is kept.
    pub(super) fn is_musl(&self) -> bool {
        let cache = self.record.tid_cache;
        cache != 0 && cache != self.record.clear_tid && cache == self.record.regs[reg::TLS] + MUSL_TID
    }
}

/// Offset of the TID in musl's `struct pthread`.
const MUSL_TID: u64 = 0x30;
/// Offset of the TID in glibc's `struct pthread` (2.4 and later), and more bytes than the part of that structure has in
/// which any glibc keeps it.
const GLIBC_TID: u64 = 0x2d0;
const STRUCTURE: u64 = 0x800;
const PR_GET_TID_ADDRESS: u64 = 40;

/// Number of the component with the tiles of AMX.
const AMX_TILE_DATA: u32 = 18;

/// The components that are in use, by the header of an XSAVE area (XSTATE_BV).
fn live_state(raw: &[u8]) -> u64 {
    raw.get(512..520).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

const PKRU: u64 = 1 << 9;
/// The value that the kernel gives a new process: no access by any key but 0.
const PKRU_DEFAULT: u32 = 0x5555_5554;

/// An XSAVE area in the form of a signal frame: the kernel's software bytes at 464 (`_fpx_sw_bytes`), a magic
/// number behind the area.
///
/// Only live components are named, and the area ends with the last of them: a kernel takes an area that is longer than
/// its own for one without AVX, and its own has no room for AMX tiles before the process has asked for them, though
/// ptrace gives an area that has (`sigreturn-long-xstate` in docs/internals/kernel.md). `portable`: protection keys,
/// which are always live where there are any, are left out while no key is in use; instances then have access by every
/// key.
fn frame_xstate(raw: &[u8], portable: bool) -> Result<Vec<u8>, TraceError> {
    const MAGIC1: u32 = 0x4650_5853;
    const MAGIC2: u32 = 0x4650_5845;
    const X87_SSE: u64 = 3;
    const HEADER_END: usize = 576;
    let too_short = || TraceError::Split("the kernel's XSAVE area is too short".into());
    let mut live =
        raw.get(512..520).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes).ok_or_else(too_short)?;
    let pkru = raw.get(xstate_component(PKRU.trailing_zeros())).and_then(|bytes| bytes.first_chunk());
    let pkru = pkru.map(|bytes| u32::from_le_bytes(*bytes));
    if portable && pkru == Some(PKRU_DEFAULT) {
        live &= !PKRU;
    }
    let mut size = HEADER_END;
    for number in (2..u64::BITS).filter(|number| live >> number & 1 != 0) {
        size = match xstate_component(number).end {
            end if end > 0 && (number as usize) < COMPONENTS => size.max(end),
            _ => {
                return Err(TraceError::Split(format!(
                    "register state of an unknown kind is live (component {number})"
                )));
            }
        };
    }
    let mut area = raw.get(..size).ok_or_else(too_short)?.to_vec();
    area[464..512].fill(0);
    area[464..468].copy_from_slice(&MAGIC1.to_le_bytes());
    area[468..472].copy_from_slice(&(size as u32 + 4).to_le_bytes());
    area[472..480].copy_from_slice(&(live | X87_SSE).to_le_bytes());
    area[480..484].copy_from_slice(&(size as u32).to_le_bytes());
    area[512..520].copy_from_slice(&live.to_le_bytes());
    area.extend_from_slice(&MAGIC2.to_le_bytes());
    Ok(area)
}

/// The IDs of tasks, in their order.
pub(super) fn tids(frozen: &[Frozen]) -> Vec<Tid> {
    frozen.iter().map(|task| task.tid).collect()
}

pub(super) fn gather(
    tracer: &Tracer,
    frozen: &[Frozen],
    portable: bool,
    blockers: &mut Vec<Blocker>,
) -> Result<Vec<ThreadState>, DumpError> {
    frozen.iter().map(|task| thread(tracer, task, portable, blockers)).collect()
}

fn thread(
    tracer: &Tracer,
    task: &Frozen,
    portable: bool,
    blockers: &mut Vec<Blocker>,
) -> Result<ThreadState, DumpError> {
    let system = TraceError::system;
    let Frozen { tid, at_entry, instance, timeout, survivor } = *task;
    let raw_xstate = ptrace::get_xstate(tid).map_err(system("XSAVE area"))?;
    if live_state(&raw_xstate) >> AMX_TILE_DATA & 1 != 0 {
        blockers.push(Blocker {
            subject: format!("thread {tid}"),
            what: "has data in the AMX tile registers".to_owned(),
            remedy: "release them (TILERELEASE) before the snapshot point",
        });
    }
    let sigmask = ptrace::get_sigmask(tid).map_err(system("signal mask"))?;
    let rseq = ptrace::get_rseq(tid).unwrap_or_default();
    let robust_list = ptrace::get_robust_list(tid).map_err(system("get_robust_list"))?;

    let scratch = tracer.booted.request.resident + resident::WORK + resident::WORK_SCRATCH;
    let remote = Remote::new(tid, tracer.booted.gadget, &survivor, at_entry).map_err(system("remote system call"))?;
    remote.call(libc::SYS_sigaltstack, &[0, scratch]).map_err(system("sigaltstack"))?;
    let altstack = tracer.memory.read_vec(scratch, 24).map_err(system("sigaltstack"))?;
    let clear_tid = match remote.call(libc::SYS_prctl, &[PR_GET_TID_ADDRESS, scratch]) {
        Ok(_) => tracer.memory.read_u64(scratch).map_err(system("PR_GET_TID_ADDRESS"))?,
        Err(error) => return Err(system("prctl(PR_GET_TID_ADDRESS), needs CONFIG_CHECKPOINT_RESTORE")(error).into()),
    };
    tracer.memory.write(scratch, &[0; 24]).map_err(system("clearing scratch memory"))?;
    let mut scheduled = Thread::default();
    let affinity = scheduling::gather(tid, &remote, &mut scheduled, blockers).map_err(system("scheduling"))?;
    remote.finish().map_err(system("remote system call"))?;

    let word = |at: usize| altstack.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
    let fs_base = instance[reg::TLS];
    let mut record = Thread {
        regs: instance,
        sigmask,
        altstack_addr: word(0),
        altstack_flags: word(8) as u32,
        altstack_len: word(16),
        tid: tid as u32,
        clear_tid,
        tid_cache: tid_cache(tracer, tid, clear_tid, fs_base),
        robust_list,
        rseq: rseq.addr,
        rseq_len: rseq.len,
        rseq_sig: rseq.signature,
        timeout: timeout.map_or(0, |rest| rest.timeout),
        timeout_form: timeout.map_or(TIMEOUT_NONE, |rest| rest.form),
        timeout_arg: timeout.map_or(0, |rest| rest.arg as u32),
        ..scheduled
    };
    // SS_ONSTACK is a state, not a setting: a frame with it would be refused.
    record.altstack_flags &= !1;
    let comm = std::fs::read(format!("/proc/{}/task/{tid}/comm", tracer.pid)).map_err(system("/proc/PID/comm"))?;
    for (to, from) in record.comm.iter_mut().take(15).zip(comm.iter().take_while(|b| **b != b'\n')) {
        *to = *from;
    }
    // A TLS block of the ABI begins with its own address; Go has a part of its own thread structure there.
    let is_tls_block = fs_base != 0 && tracer.memory.read_u64(fs_base).is_ok_and(|own| own == fs_base);
    let canary = if is_tls_block { tracer.memory.read_u64(fs_base + CANARY).unwrap_or(0) } else { 0 };
    if record.rseq != 0 {
        // An instance is in no critical section: freezing has led the thread out of it.
        tracer.memory.write(record.rseq + 8, &[0; 8]).map_err(system("rseq area"))?;
    }
    Ok(ThreadState { tid, xstate: frame_xstate(&raw_xstate, portable)?, raw_xstate, record, affinity, canary })
}

/// Where the C library keeps the thread's TID, in the thread structure that its FS base points to: glibc passes that
/// very word as clear_child_tid; musl has it at a fixed place (its clear_child_tid is a global lock). A program may
/// have passed another word to `set_tid_address`, and use it for something else: what is outside of the structure is
/// not looked at.
fn tid_cache(tracer: &Tracer, tid: Tid, clear_tid: u64, fs_base: u64) -> u64 {
    let holds_tid = |addr: u64| {
        let mut word = [0; 4];
        tracer.memory.read(addr, &mut word).is_ok() && i32::from_le_bytes(word) == tid
    };
    let is_structure = fs_base != 0 && tracer.memory.read_u64(fs_base).is_ok_and(|own| own == fs_base);
    if !is_structure {
        return 0;
    }
    let passed = Some(clear_tid).filter(|addr| (fs_base..fs_base + STRUCTURE).contains(addr));
    let known = [GLIBC_TID, MUSL_TID].map(|offset| fs_base + offset);
    passed.into_iter().chain(known).find(|addr| holds_tid(*addr)).unwrap_or(0)
}

/// Refuses filters: an instance could not install them before it is complete.
pub(super) fn check_seccomp(tracer: &Tracer, tids: &[Tid], blockers: &mut Vec<Blocker>) -> Result<(), TraceError> {
    let read = |pid, tid| Status::read(pid, tid).map_err(TraceError::system("/proc/PID/status"));
    let own = std::process::id() as Tid;
    let own = read(own, own)?;
    for tid in tids {
        if read(tracer.pid, *tid)?.seccomp() != own.seccomp() {
            blockers.push(Blocker {
                subject: format!("thread {tid}"),
                what: "has a seccomp filter; state that only its own system calls show is not checked".to_owned(),
                remedy: "install filters after the snapshot point",
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PKRU_NUMBER: u32 = PKRU.trailing_zeros();

    fn raw(live: u64) -> Vec<u8> {
        let mut raw = vec![0; 16 << 10];
        raw[512..520].copy_from_slice(&live.to_le_bytes());
        let at = xstate_component(PKRU_NUMBER).start;
        if at != 0 {
            raw[at..at + 4].copy_from_slice(&PKRU_DEFAULT.to_le_bytes());
        }
        raw
    }

    fn made(live: u64, portable: bool) -> (usize, u64) {
        let area = frame_xstate(&raw(live), portable).unwrap_or_default();
        (area.len(), u64::from_le_bytes(area[472..480].try_into().unwrap_or_default()))
    }

    #[test]
    fn areas_end_with_the_last_live_component() {
        assert_eq!(made(0, false), (580, 3));
        assert_eq!(made(3, false), (580, 3));
        assert!(frame_xstate(&[0; 100], false).is_err());
        if !xstate_component(2).is_empty() {
            assert_eq!(made(7, false), (836, 7));
        }
        for number in (2..u64::BITS).filter(|number| !xstate_component(*number).is_empty()) {
            let live = 1 << number | 3;
            assert_eq!(made(live, false), (xstate_component(number).end + 4, live));
        }
        let unknown = (2..u64::BITS).find(|number| xstate_component(*number).is_empty()).unwrap_or(2);
        assert!(frame_xstate(&raw(1 << unknown), false).is_err());
    }

    #[test]
    fn unused_protection_keys_are_left_out_of_what_is_to_be_portable() {
        let place = xstate_component(PKRU_NUMBER);
        if place.is_empty() {
            return;
        }
        assert_eq!(made(PKRU | 3, false), (place.end + 4, PKRU | 3));
        assert_eq!(made(PKRU | 3, true), (580, 3));
        let mut used = raw(PKRU | 3);
        used[place.start] = 0;
        assert_eq!(frame_xstate(&used, true).map(|area| area.len()).unwrap_or_default(), place.end + 4);
    }
}
