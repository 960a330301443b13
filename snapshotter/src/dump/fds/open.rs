//! The descriptors that are open, as /proc shows them.

use super::same;
use crate::proc::fdinfo;
use crate::tracee::TraceError;
use crate::tracee::descriptor::duplicate;
use crate::tracee::ptrace::Tid;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

const O_CREAT: u32 = 0o100;
const O_EXCL: u32 = 0o200;
const O_TRUNC: u32 = 0o1000;
const O_TMPFILE: u32 = 0o20200000;
pub(super) const O_ACCMODE: u32 = 3;
pub(super) const O_RDONLY: u32 = 0;
pub(super) const O_WRONLY: u32 = 1;
pub(super) const O_DIRECT: u32 = 0o40000;
pub(super) const O_PATH: u32 = 0o10000000;

/// A descriptor of the program, or one in flight of which the snapshotter has received a duplicate.
#[derive(Debug)]
pub(super) struct OpenFd {
    /// The process that has it, and its number there.
    pub(super) at: (Tid, u32),
    /// Its number in the plan.
    pub(super) key: u32,
    /// The target of its link in /proc.
    pub(super) target: PathBuf,
    /// Flags for `open`.
    pub(super) flags: u32,
    /// O_EXCL was set, which means something for a pidfd.
    pub(super) exclusive: bool,
    pub(super) offset: u64,
    pub(super) metadata: Metadata,
    /// /proc/PID/fdinfo/FD.
    pub(super) info: String,
    /// A duplicate that this process has received: a descriptor in flight, or one that the program has sent.
    pub(super) received: Option<OwnedFd>,
}

impl OpenFd {
    /// Reads the entries of descriptor `at` in /proc; the plan will call it `key`.
    pub(super) fn read(at: (Tid, u32), key: u32) -> io::Result<Self> {
        let (pid, fd) = at;
        let link = format!("/proc/{pid}/fd/{fd}");
        let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}"))?;
        let metadata = fs::metadata(&link)?;
        let mut open = OpenFd {
            at,
            key,
            target: fs::read_link(&link)?,
            flags: 0,
            exclusive: false,
            offset: 0,
            metadata,
            info,
            received: None,
        };
        let flags = open.field("flags:").and_then(|f| u32::from_str_radix(f, 8).ok()).unwrap_or(0);
        open.exclusive = flags & O_EXCL != 0;
        open.flags = flags & !(O_CREAT | O_EXCL | O_TRUNC);
        if flags & O_TMPFILE == O_TMPFILE {
            open.flags &= !O_TMPFILE;
        }
        open.offset = open.field("pos:").and_then(|p| p.parse().ok()).unwrap_or(0);
        Ok(open)
    }

    /// The value of a line of fdinfo.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        fdinfo::field(&self.info, name)
    }

    pub(super) fn name(&self) -> String {
        self.target.to_string_lossy().into_owned()
    }

    /// Device and inode.
    pub(super) fn file(&self) -> (u64, u64) {
        (self.metadata.dev(), self.metadata.ino())
    }

    pub(super) fn access(&self) -> u32 {
        self.flags & O_ACCMODE
    }

    /// A duplicate in this process: the same open file description.
    pub(super) fn duplicate(&self) -> io::Result<OwnedFd> {
        match &self.received {
            Some(received) => received.try_clone(),
            None => duplicate(self.at.0, self.at.1),
        }
    }

    /// The same file opened once more for reading: a new open file description.
    pub(super) fn reopen(&self) -> io::Result<File> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = format!("/proc/{}/fd/{}", self.at.0, self.at.1);
        File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
    }

    /// Whether both share one open file description.
    pub(super) fn is_same_description(&self, other: &OpenFd) -> io::Result<bool> {
        if self.file() != other.file() { Ok(false) } else { same::is_pair(self, other) }
    }
}

/// All descriptors of process `pid`, in ascending order.
pub(super) fn all(pid: Tid) -> Result<Vec<OpenFd>, TraceError> {
    let mut out = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).map_err(TraceError::system("/proc/PID/fd"))? {
        let entry = entry.map_err(TraceError::system("/proc/PID/fd"))?;
        let Some(fd) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        out.push(OpenFd::read((pid, fd), fd).map_err(TraceError::system("/proc/PID/fdinfo"))?);
    }
    out.sort_by_key(|open| open.key);
    Ok(out)
}
