//! `/proc/PID/status` of a process or one of its threads.
//!
//! The crate procfs reads this file, too. It has no field for `Seccomp_filters`, `x86_Thread_features`, `untag_mask`
//! and `Kthread`, and refuses the whole file if one of its own is missing.

use super::Tid;
use std::io;

/// The fields of one reading.
#[derive(Clone, Debug, Default)]
pub(crate) struct Status(String);

impl Status {
    /// Of thread `tid` of process `pid`.
    pub(crate) fn read(pid: Tid, tid: Tid) -> io::Result<Self> {
        std::fs::read(format!("/proc/{pid}/task/{tid}/status")).map(|text| Status::parse(&text))
    }

    /// Parses the file's text. The kernel escapes only line ends in a thread's name, which may also be cut within a
    /// character.
    pub(crate) fn parse(text: &[u8]) -> Self {
        Status(String::from_utf8_lossy(text).into_owned())
    }

    /// The value of a field; empty when this kernel has no such field.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim).unwrap_or_default()
    }

    /// Whether the thread has ended and only its entry is left, as that of the first thread while others go on.
    pub(crate) fn has_ended(&self) -> bool {
        self.get("State").starts_with(['Z', 'X'])
    }

    /// Mode and number of the seccomp filters.
    pub(crate) fn seccomp(&self) -> (&str, &str) {
        (self.get("Seccomp"), self.get("Seccomp_filters"))
    }

    /// A hexadecimal set: signals, capabilities.
    pub(crate) fn set(&self, name: &str) -> u64 {
        u64::from_str_radix(self.get(name), 16).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let status = Status::parse(b"Name:\tUmask: caf\xc3\nUmask:\t0022\nSigIgn:\t0000000000001000\nSigIgnored:\t1\n");
        assert_eq!(status.get("Umask"), "0022");
        assert_eq!(status.set("SigIgn"), 1 << 12);
        assert_eq!(status.get("CapEff"), "");
    }
}
