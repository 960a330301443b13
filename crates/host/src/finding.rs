//! The result of an experiment. It is plain data, because it crosses a fork and must not allocate.

use nix::errno::Errno;

use crate::Outcome;

/// The result of an experiment: the behaviour is there, or a finding.
pub(crate) type Check = Result<(), Finding>;

/// Why a behaviour is not as expected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finding {
    verdict: Verdict,
    what: &'static str,
    detail: Detail,
}

#[derive(Clone, Copy, Debug)]
enum Verdict {
    Missing,
    Unknown,
}

/// A value that goes with the sentence.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Detail {
    /// The sentence needs no detail.
    None,
    /// The error number of the system call.
    Errno(Errno),
    /// An address, a word of the kernel, a size.
    Value(u64),
    /// A two-letter flag of /proc/PID/smaps.
    Flag([u8; 2]),
}

/// The kernel does not do it.
pub(crate) fn missing(what: &'static str, detail: Detail) -> Finding {
    Finding { verdict: Verdict::Missing, what, detail }
}

/// It could not be tried.
pub(crate) fn unknown(what: &'static str, detail: Detail) -> Finding {
    Finding { verdict: Verdict::Unknown, what, detail }
}

/// Fails with `what` unless `holds`.
pub(crate) fn ensure(holds: bool, what: &'static str) -> Check {
    if holds { Ok(()) } else { Err(missing(what, Detail::None)) }
}

/// Fails with `what` and the value seen unless `holds`.
pub(crate) fn ensure_value(holds: bool, what: &'static str, seen: u64) -> Check {
    if holds { Ok(()) } else { Err(missing(what, Detail::Value(seen))) }
}

/// Fails unless the call failed with this error.
pub(crate) fn ensure_refused<T>(result: Result<T, Errno>, with: Errno, what: &'static str) -> Check {
    match result {
        Err(errno) if errno == with => Ok(()),
        Err(errno) => Err(missing(what, Detail::Errno(errno))),
        Ok(_) => Err(missing(what, Detail::None)),
    }
}

/// The meaning of a failed system call for the probe.
pub(crate) trait Judge<T> {
    /// The call is the behaviour, so its failure is the finding.
    fn or_missing(self, what: &'static str) -> Result<T, Finding>;
    /// The call only prepares the experiment.
    fn or_unknown(self, what: &'static str) -> Result<T, Finding>;
}

impl<T> Judge<T> for Result<T, Errno> {
    fn or_missing(self, what: &'static str) -> Result<T, Finding> {
        self.map_err(|errno| missing(what, Detail::Errno(errno)))
    }

    fn or_unknown(self, what: &'static str) -> Result<T, Finding> {
        self.map_err(|errno| unknown(what, Detail::Errno(errno)))
    }
}

impl From<Finding> for Outcome {
    fn from(finding: Finding) -> Self {
        let what = finding.what;
        let text = match finding.detail {
            Detail::None => what.to_owned(),
            Detail::Errno(errno) => format!("{what}: {} ({errno:?})", errno.desc()),
            Detail::Value(value) => format!("{what}: {value:#x}"),
            Detail::Flag(flag) => format!("{what}: {}", String::from_utf8_lossy(&flag)),
        };
        match finding.verdict {
            Verdict::Missing => Self::Missing(text),
            Verdict::Unknown => Self::Unknown(text),
        }
    }
}
