//! The argument and environment strings that the program started with, at the addresses that the kernel reads for
//! /proc. Programs write their title there.

use super::memory::Memory;
use super::ptrace::Tid;
use procfs::process::Process;
use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;

/// Longest strings that are kept.
const LEN_MAX: u64 = 8 << 20;

/// The addresses of the strings, and the arguments at the start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Strings {
    pub(crate) args: Range<u64>,
    pub(crate) env: Range<u64>,
    /// The arguments, each with its zero.
    pub(crate) initial: Vec<u8>,
    /// The names of the environment variables.
    pub(crate) variables: Vec<Vec<u8>>,
}

impl Strings {
    /// Reads them; empty if the kernel does not report them.
    pub(super) fn read(pid: Tid, memory: &Memory) -> Self {
        let Ok(stat) = Process::new(pid).and_then(|process| process.stat()) else { return Strings::default() };
        let range = |start: Option<u64>, end: Option<u64>| start.unwrap_or(0)..end.unwrap_or(0);
        let (args, env) = (range(stat.arg_start, stat.arg_end), range(stat.env_start, stat.env_end));
        let bytes = |range: &Range<u64>| {
            let len = range.end.saturating_sub(range.start);
            if len <= LEN_MAX { memory.read_vec(range.start, len).unwrap_or_default() } else { Vec::new() }
        };
        let pairs = bytes(&env);
        let variables = pairs.split(|byte| *byte == 0).filter_map(|pair| {
            let (name, _) = pair.split_at_checked(pair.iter().position(|byte| *byte == b'=')?)?;
            Some(name.to_owned())
        });
        Strings { initial: bytes(&args), variables: variables.collect(), args, env }
    }

    /// The arguments of the start.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let Some(words) = self.initial.strip_suffix(&[0]) else { return Vec::new() };
        words.split(|byte| *byte == 0).map(|word| OsStr::from_bytes(word).to_owned()).collect()
    }

    /// Whether the strings have changed.
    pub(crate) fn is_titled(&self, memory: &Memory) -> bool {
        !self.initial.is_empty()
            && memory.read_vec(self.args.start, self.initial.len() as u64).is_ok_and(|now| now != self.initial)
    }
}
