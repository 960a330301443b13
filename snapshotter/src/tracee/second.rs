//! Runs the initialisation twice, with the same layout and other vectors. A word that then differs just as the vectors
//! do holds the arguments or the environment.
//!
//! The snapshotter forks the program before its first instruction. Both processes have the same memory at the same
//! addresses, the same random bytes and the same descriptors. The copy gets standard streams from /dev/null and other
//! vectors: further down on its stack, with many more arguments and variables. When the program itself stands at
//! `main`, the copy runs up to `main` as well, is compared, and ends there.
//!
//! No other difference (PIDs, times, bytes of getrandom) counts as a vector: a count differs by [`EXTRA_ARGS`] or
//! [`EXTRA_ENV`], an address by the distance of two vectors.

use super::boot::Booted;
use super::memory::Memory;
use super::ptrace::{self, Regs, Tid};
use super::remote::Remote;
use super::run::{Reached, Task, Tracer};
use super::spawn::Spawned;
use super::{Output, Status, TraceError};
use snapfn_format::arch::{NO_CALL, PARAMETERS, reg};
use snapfn_format::boot::BootRequest;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;

/// Arguments and variables that only the copy has. Other words are unlikely to differ by these numbers.
const EXTRA_ARGS: u64 = 709;
const EXTRA_ENV: u64 = 37;
/// Bytes below the vectors that the initialisation may use itself, and that the copy's vectors may use.
const ROOM: u64 = 96 << 10;
const EXTRA_ARG: &[u8] = b"x\0";
const EXTRA_VARIABLE: &[u8] = b"SNAPFN_SECOND_RUN=1\0";
const NULL_DEVICE: &[u8] = b"/dev/null\0";

/// Where vectors lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vectors {
    pub(crate) sp: u64,
    pub(crate) argc: u64,
    pub(crate) argv: u64,
    pub(crate) envc: u64,
    pub(crate) envp: u64,
    pub(crate) auxv: u64,
    pub(crate) auxv_len: u64,
    /// The strings of all arguments but the first.
    pub(crate) args: u64,
    pub(crate) args_len: u64,
}

/// The copy.
#[derive(Debug)]
pub(crate) struct Second {
    pub(crate) tracer: Tracer,
    /// The vectors of the program itself, and of the copy.
    pub(crate) first: Vectors,
    pub(crate) other: Vectors,
    /// The copy stands at `main`.
    is_there: bool,
}

impl Second {
    /// Forks the program, which has not run its first instruction yet. `None` if its vectors are too long to be moved.
    pub(crate) fn fork(tracer: &Tracer) -> Result<Option<Self>, TraceError> {
        let system = TraceError::system;
        let first = vectors(&tracer.memory, &tracer.booted.request).map_err(system("reading the vectors"))?;
        let Some(other) = moved(&first) else { return Ok(None) };
        let regs = ptrace::get_regs(tracer.pid).map_err(system("registers"))?;
        let gadget = tracer.booted.gadget;
        let remote = Remote::new(tracer.pid, gadget, &regs, false).map_err(system("remote system call"))?;
        // The copy is a child of this process, not of the program, which must not get a signal at its end.
        let flags = (libc::CLONE_PARENT | libc::SIGCHLD) as u64;
        let pid = remote.call(libc::SYS_clone, &[flags, 0, 0, 0, 0]);
        remote.finish().map_err(system("remote system call"))?;
        let pid = pid.map_err(system("forking the program"))? as Tid;
        let copy = Self::prepare(pid, tracer, &regs, first, other);
        if copy.is_err() {
            end(pid);
        }
        copy.map(Some)
    }

    fn prepare(pid: Tid, tracer: &Tracer, regs: &Regs, first: Vectors, other: Vectors) -> Result<Self, TraceError> {
        let system = TraceError::system;
        ptrace::wait(pid).map_err(system("wait4"))?;
        let memory = Memory::open(pid).map_err(system("/proc/PID/mem"))?;
        let gadget = tracer.booted.gadget;
        let remote = Remote::new(pid, gadget, regs, false).map_err(system("remote system call"))?;
        let redirected = redirect(&remote, &memory, other.sp);
        remote.finish().map_err(system("remote system call"))?;
        redirected.map_err(system("standard streams of the second run"))?;
        write(&memory, &first, &other).map_err(system("writing the vectors"))?;
        let mut start = *regs;
        start[reg::SP] = other.sp;
        start[reg::CALL] = NO_CALL;
        ptrace::set_regs(pid, &start).map_err(system("registers"))?;
        let null = || File::open("/dev/null").map(Into::into).map_err(system("/dev/null"));
        let spawned = Spawned {
            pid,
            output: Output::elsewhere(),
            stdio: [null()?, null()?, null()?],
            initial: Status::read(pid, pid).map_err(system("/proc/PID/status"))?,
            is_instance: false,
            is_ours: true,
        };
        let booted: Booted = tracer.booted.clone();
        let tracer = Tracer::new(spawned, booted, BTreeMap::from([(pid, Task::default())]), tracer.deadline)?;
        Ok(Second { tracer, first, other, is_there: false })
    }

    /// Runs the copy up to where the program itself stands. False if it does not come there with its own vectors.
    pub(crate) fn run(&mut self, reached: &Reached, timeout: f64) -> bool {
        let main = reached.instance[reg::PC];
        let there = self.tracer.run_to_address(main, timeout);
        let is_main = |regs: &Regs, vectors: &Vectors| {
            regs[PARAMETERS[0]] as u32 == vectors.argc as u32
                && regs[PARAMETERS[1]] == vectors.argv
                && regs[PARAMETERS[2]] == vectors.envp
        };
        self.is_there = there.is_ok_and(|there| {
            is_main(&there.instance, &self.other)
                && is_main(&reached.instance, &self.first)
                && there.instance[reg::SP].wrapping_add(self.distance()) == reached.instance[reg::SP]
        });
        self.is_there
    }

    /// Whether there is something to compare with.
    pub(crate) fn is_there(&self) -> bool {
        self.is_there
    }

    /// Distance by which the copy's stack lies lower.
    pub(crate) fn distance(&self) -> u64 {
        self.first.sp - self.other.sp
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        // If the copy has ended by itself, it is no longer a process to kill.
        if !self.tracer.tasks.is_empty() {
            self.tracer.kill();
        }
    }
}

/// Kills a copy that has not run and waits for its end, so that later waits do not report it.
fn end(pid: Tid) {
    ptrace::kill(pid, libc::SIGKILL);
    while let Ok((_, stop)) = ptrace::wait(pid) {
        if matches!(stop, ptrace::Stop::Exited(_) | ptrace::Stop::Killed(_)) {
            break;
        }
    }
}

fn vectors(memory: &Memory, request: &BootRequest) -> io::Result<Vectors> {
    let argc = memory.read_u64(request.sp)?;
    let envc = memory.read_vector(request.envp)?.len() as u64;
    let mut args = 0;
    let mut end = 0;
    for index in 1..argc {
        let at = memory.read_u64(request.argv + 8 * index)?;
        args = if index == 1 { at } else { args };
        end = at + memory.read_c_str(at, 1 << 21)?.len() as u64 + 1;
    }
    Ok(Vectors {
        sp: request.sp,
        argc,
        argv: request.argv,
        envc,
        envp: request.envp,
        auxv: request.auxv,
        auxv_len: request.auxv_len,
        args,
        args_len: end - args,
    })
}

/// The copy's vectors: wholly below the first ones, strings last. `None` if there is not enough room.
fn moved(first: &Vectors) -> Option<Vectors> {
    let (argc, envc) = (first.argc + EXTRA_ARGS, first.envc + EXTRA_ENV);
    let words = 8 * (1 + argc + 1 + envc + 1) + first.auxv_len;
    let strings = first.args_len + (EXTRA_ARG.len() + EXTRA_VARIABLE.len()) as u64;
    let sp = first.sp.checked_sub(words + strings)? & !15;
    let argv = sp + 8;
    let envp = argv + 8 * (argc + 1);
    let auxv = envp + 8 * (envc + 1);
    let is_room = first.sp - sp <= ROOM && first.argc > 0;
    let args = auxv + first.auxv_len;
    is_room.then_some(Vectors { sp, argc, argv, envc, envp, auxv, args, ..*first })
}

fn write(memory: &Memory, first: &Vectors, other: &Vectors) -> io::Result<()> {
    let extra_arg = other.args + other.args_len;
    let extra_variable = extra_arg + EXTRA_ARG.len() as u64;
    let mut words = vec![other.argc];
    for index in 0..first.argc {
        let at = memory.read_u64(first.argv + 8 * index)?;
        // The first string stays where it is, as in an instance.
        words.push(if index == 0 { at } else { at - first.args + other.args });
    }
    words.extend((0..EXTRA_ARGS).map(|_| extra_arg));
    words.push(0);
    words.extend(memory.read_vector(first.envp)?);
    words.extend((0..EXTRA_ENV).map(|_| extra_variable));
    words.push(0);
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.extend(memory.read_vec(first.auxv, first.auxv_len)?);
    bytes.extend(memory.read_vec(first.args, first.args_len).unwrap_or_default());
    bytes.extend_from_slice(EXTRA_ARG);
    bytes.extend_from_slice(EXTRA_VARIABLE);
    memory.write(other.sp, &bytes)
}

/// Gives the copy standard streams of its own: it must neither read the program's input nor write its output once more.
fn redirect(remote: &Remote, memory: &Memory, scratch: u64) -> io::Result<()> {
    memory.write(scratch, NULL_DEVICE)?;
    let fd = remote.call(libc::SYS_openat, &[libc::AT_FDCWD as u64, scratch, libc::O_RDWR as u64])?;
    for stream in 0..3 {
        remote.call(libc::SYS_dup2, &[fd, stream])?;
    }
    if fd > 2 {
        remote.call(libc::SYS_close, &[fd])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copys_vectors_lie_below_and_differ() {
        let sp = 0x1600_0010_0000;
        let first = Vectors {
            sp,
            argc: 3,
            argv: sp + 8,
            envc: 5,
            envp: sp + 40,
            auxv: sp + 88,
            auxv_len: 320,
            args: sp + 500,
            args_len: 20,
        };
        let other = moved(&first).unwrap();
        assert!(other.sp.is_multiple_of(16) && other.args + other.args_len + 22 <= first.sp);
        assert_ne!(first.argv - other.argv, first.envp - other.envp);
        assert_ne!(first.envp - other.envp, first.auxv - other.auxv);
        assert_eq!(moved(&Vectors { args_len: 1 << 20, ..first }), None);
    }
}
