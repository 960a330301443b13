//! System calls in the tracee that return results in memory: the unused work area of the resident region.

use crate::tracee::remote::Remote;
use crate::tracee::{Frozen, TraceError, Tracer};
use snapfn_format::snap::resident;
use std::io;

/// A remote task and memory that it may write to.
#[derive(Debug)]
pub(super) struct Scratch<'a> {
    remote: Remote,
    tracer: &'a Tracer,
    /// Where the calls put their answers.
    pub(super) addr: u64,
}

impl<'a> Scratch<'a> {
    /// The longest answer, in bytes.
    const LEN: u64 = 32;

    pub(super) fn new(tracer: &'a Tracer, task: &Frozen) -> Result<Self, TraceError> {
        let remote = Remote::new(task.tid, tracer.booted.gadget, &task.survivor, false)
            .map_err(TraceError::system("remote system call"))?;
        Ok(Scratch { remote, tracer, addr: tracer.booted.request.resident + resident::WORK + resident::WORK_SCRATCH })
    }

    /// A call whose answer is its result.
    pub(super) fn value(&self, number: i64, args: &[u64]) -> io::Result<u64> {
        self.remote.call(number, args)
    }

    /// A call that writes to [`Scratch::addr`]: the first words there.
    pub(super) fn call<const N: usize>(&self, number: i64, args: &[u64]) -> Result<[u64; N], TraceError> {
        self.try_call(number, args).map_err(TraceError::system("remote system call"))
    }

    /// As [`Scratch::call`], for calls that may fail.
    pub(super) fn try_call<const N: usize>(&self, number: i64, args: &[u64]) -> io::Result<[u64; N]> {
        const { assert!(N as u64 * 8 <= Scratch::LEN) };
        self.tracer.memory.write(self.addr, &[0; Self::LEN as usize])?;
        self.remote.call(number, args)?;
        let mut words = [0; N];
        for (i, word) in words.iter_mut().enumerate() {
            *word = self.tracer.memory.read_u64(self.addr + 8 * i as u64)?;
        }
        Ok(words)
    }

    /// Leaves memory and registers as they were.
    pub(super) fn finish(self) -> Result<(), TraceError> {
        self.tracer
            .memory
            .write(self.addr, &[0; Self::LEN as usize])
            .and_then(|()| self.remote.finish())
            .map_err(TraceError::system("remote system call"))
    }
}
