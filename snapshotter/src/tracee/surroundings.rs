//! What the program has found out about its surroundings before its point: an instance has other ones, and goes by what
//! was found unless the program looks again.

use super::inputs::Opening;
use super::protocol::OP_INFO;
use super::ptrace::{SyscallEntry, Tid};
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// One thing that the program has looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Surrounding {
    /// What descriptor 0, 1 or 2 is: a terminal, a pipe, a file.
    Stream(u64),
    TimeZone,
    Locale,
    Processors,
    /// A file that it has made, whose name has the process ID in it.
    NameWithId(PathBuf),
    /// It has written to descriptor 1 or 2.
    Output(u64),
}

/// More files with the ID in their names are not recorded.
const NAMES: usize = 4;

/// Everything that was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    found: BTreeSet<Surrounding>,
    /// `snap_ready` of snap.h has begun. It looks at the streams, and does so again in each instance.
    marks: bool,
}

impl Surroundings {
    /// The program is about to make a call, by which it opens a file if there is an `opening`.
    pub(super) fn enter(&mut self, entry: &SyscallEntry, opening: Option<&Opening>, pid: Tid) {
        let args = &entry.args;
        let found = match entry.number as i64 {
            _ if looks_at_stream(entry) => (!self.marks).then_some(Surrounding::Stream(args[0])),
            libc::SYS_write | libc::SYS_writev | libc::SYS_pwritev2 | libc::SYS_sendfile
                if matches!(args[0], 1 | 2) =>
            {
                Some(Surrounding::Output(args[0]))
            }
            libc::SYS_splice if matches!(args[2], 1 | 2) => Some(Surrounding::Output(args[2])),
            libc::SYS_sched_getaffinity => Some(Surrounding::Processors),
            _ => opening.and_then(|opening| of_file(opening, pid)),
        };
        let names = || self.found.iter().filter(|known| matches!(known, Surrounding::NameWithId(_))).count();
        match found {
            Some(Surrounding::NameWithId(_)) if names() == NAMES => {}
            found => self.found.extend(found),
        }
    }

    /// The program makes call `operation` of the protocol.
    pub(super) fn protocol(&mut self, operation: u64) {
        self.marks = operation == OP_INFO;
    }

    /// In the order of [`Surrounding`].
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Surrounding> {
        self.found.iter()
    }
}

/// Whether the call asks what a standard stream is: for its size or settings as a terminal, or for its kind.
fn looks_at_stream(entry: &SyscallEntry) -> bool {
    let args = &entry.args;
    let asks = match entry.number as i64 {
        libc::SYS_ioctl => matches!(args[1], libc::TCGETS | libc::TIOCGWINSZ),
        libc::SYS_fstat => true,
        // fstat by another name: no path.
        libc::SYS_newfstatat => args[3] & libc::AT_EMPTY_PATH as u64 != 0,
        libc::SYS_statx => args[2] & libc::AT_EMPTY_PATH as u64 != 0,
        _ => false,
    };
    asks && args[0] <= 2
}

fn of_file(opening: &Opening, pid: Tid) -> Option<Surrounding> {
    const PROCESSORS: [&str; 2] = ["/proc/cpuinfo", "/proc/stat"];
    let path = &opening.path;
    if opening.writes {
        return has_id(path, pid).then(|| Surrounding::NameWithId(path.clone()));
    }
    if path == Path::new("/etc/localtime") || path.starts_with("/usr/share/zoneinfo") {
        Some(Surrounding::TimeZone)
    } else if path.starts_with("/usr/lib/locale") {
        Some(Surrounding::Locale)
    } else if path.starts_with("/sys/devices/system/cpu") || PROCESSORS.iter().any(|file| path == Path::new(file)) {
        Some(Surrounding::Processors)
    } else {
        None
    }
}

/// Whether a number in the path equals the ID. Files in /proc have it by their nature.
fn has_id(path: &Path, pid: Tid) -> bool {
    let is_number = |run: &[u8]| std::str::from_utf8(run).is_ok_and(|digits| digits.parse() == Ok(pid));
    !path.starts_with("/proc") && path.as_os_str().as_bytes().split(|byte| !byte.is_ascii_digit()).any(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_the_id() {
        for (path, has) in [
            ("/tmp/perf-1234.map", true),
            ("/run/1234/socket", true),
            ("log.1234", true),
            ("/tmp/12345", false),
            ("/tmp/x", false),
            ("/proc/1234/oom_score_adj", false),
        ] {
            assert_eq!(has_id(Path::new(path), 1234), has, "{path}");
        }
    }
}
