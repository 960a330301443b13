//! Descriptors: from /proc/PID/fd to records, or a blocker for each that cannot be carried.

use super::refuse::{Blocker, DumpError};
use crate::tracee::ptrace::Tid;
use crate::tracee::{TraceError, Tracer};
use snapfn_format::snap::{FD_CLOSED, FD_DUP, FD_INHERIT, FD_PATH, Fd};
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A record and the bytes that its references will name.
#[derive(Clone, Debug, Default)]
pub(super) struct FdState {
    pub(super) record: Fd,
    pub(super) path: Vec<u8>,
    pub(super) data: Vec<u8>,
}

/// What /proc tells of an open descriptor.
#[derive(Clone, Debug)]
struct OpenFd {
    fd: u32,
    target: PathBuf,
    flags: u32,
    offset: u64,
    device: u64,
    inode: u64,
    kind: fs::FileType,
}

/// Character devices that are the same whoever opens them.
const PLAIN_DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];
const O_CREAT_EXCL_TRUNC: u32 = 0o100 | 0o200 | 0o1000;

fn read_open(pid: Tid) -> Result<Vec<OpenFd>, TraceError> {
    let mut out = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).map_err(TraceError::system("/proc/PID/fd"))? {
        let entry = entry.map_err(TraceError::system("/proc/PID/fd"))?;
        let Some(fd) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).map_err(TraceError::system("fdinfo"))?;
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let metadata = fs::metadata(entry.path()).map_err(TraceError::system("/proc/PID/fd"))?;
        out.push(OpenFd {
            fd,
            target: fs::read_link(entry.path()).map_err(TraceError::system("/proc/PID/fd"))?,
            flags: field("flags:").and_then(|f| u32::from_str_radix(f, 8).ok()).unwrap_or(0) & !O_CREAT_EXCL_TRUNC,
            offset: field("pos:").and_then(|p| p.parse().ok()).unwrap_or(0),
            device: metadata.dev(),
            inode: metadata.ino(),
            kind: metadata.file_type(),
        });
    }
    out.sort_by_key(|open| open.fd);
    Ok(out)
}

/// Whether two descriptors share one open file description.
#[allow(unsafe_code)] // kcmp
fn same_description(pid_a: Tid, fd_a: u32, pid_b: Tid, fd_b: u32) -> bool {
    const KCMP_FILE: i32 = 0;
    // SAFETY: integers only.
    unsafe { libc::syscall(libc::SYS_kcmp, pid_a, pid_b, KCMP_FILE, u64::from(fd_a), u64::from(fd_b)) == 0 }
}

/// One record for each descriptor that differs from what an instance inherits.
pub(super) fn gather(tracer: &Tracer, blockers: &mut Vec<Blocker>) -> Result<Vec<FdState>, DumpError> {
    let open = read_open(tracer.pid)?;
    let own = std::process::id() as Tid;
    let mut out: Vec<FdState> = Vec::new();
    let mut sources: Vec<(u32, usize)> = Vec::new();
    for file in &open {
        let inherited = (0..3).find(|i| {
            let ours = tracer.spawned.stdio[*i].as_raw_fd() as u32;
            same_description(tracer.pid, file.fd, own, ours)
        });
        let mut state = FdState::default();
        state.record.fd = file.fd;
        state.record.flags = file.flags;
        if let Some(source) = inherited {
            state.record.kind = FD_INHERIT;
            state.record.source = source as u32;
            if source as u32 == file.fd {
                continue;
            }
        } else if let Some((_, index)) =
            sources.iter().find(|(fd, _)| same_description(tracer.pid, file.fd, tracer.pid, *fd))
        {
            state.record.kind = FD_DUP;
            state.record.source = *index as u32;
        } else {
            match carry(file, &mut state) {
                Ok(()) => sources.push((file.fd, out.len())),
                Err((what, remedy)) => {
                    blockers.push(Blocker { subject: format!("descriptor {}", file.fd), what, remedy });
                    continue;
                }
            }
        }
        out.push(state);
    }
    for fd in (0..3).filter(|fd| !open.iter().any(|file| file.fd == *fd)) {
        out.push(FdState { record: Fd { fd, kind: FD_CLOSED, ..Fd::default() }, ..FdState::default() });
    }
    // Inherited ones first: a record that moves stdio about must see it untouched. Then by number.
    let order: Vec<u32> = out.iter().map(|state| state.record.fd).collect();
    out.sort_by_key(|state| state.record.fd);
    for state in &mut out {
        if state.record.kind == FD_DUP {
            let fd = order[state.record.source as usize];
            state.record.source = 0;
            state.record.a = u64::from(fd);
        }
    }
    let position = |out: &[FdState], fd: u64| out.iter().position(|s| u64::from(s.record.fd) == fd).unwrap_or(0) as u32;
    for index in 0..out.len() {
        if out[index].record.kind == FD_DUP {
            let source = position(&out, out[index].record.a);
            out[index].record.source = source;
            out[index].record.a = 0;
        }
    }
    Ok(out)
}

fn carry(file: &OpenFd, state: &mut FdState) -> Result<(), (String, &'static str)> {
    let name = file.target.to_string_lossy().into_owned();
    let by_path = |state: &mut FdState| {
        state.record.kind = FD_PATH;
        state.record.offset = file.offset;
        state.path = file.target.as_os_str().as_bytes().to_vec();
    };
    let same_file =
        |path: &Path| fs::metadata(path).is_ok_and(|now| now.dev() == file.device && now.ino() == file.inode);
    if file.kind.is_file() || file.kind.is_dir() {
        if name.starts_with("/memfd:") {
            return Err((format!("is a memory file ({name})"), "close it before the snapshot point"));
        }
        if !same_file(&file.target) {
            return Err((
                format!("is {name}, which has been deleted or replaced"),
                "keep the file, or close it before the snapshot point",
            ));
        }
        by_path(state);
        return Ok(());
    }
    if file.kind.is_char_device() {
        if PLAIN_DEVICES.contains(&name.as_str()) && same_file(&file.target) {
            by_path(state);
            return Ok(());
        }
        return Err((format!("is the device {name}"), "close the device before the snapshot point"));
    }
    let (what, remedy) = if file.kind.is_socket() {
        ("a socket", "open sockets after the snapshot point")
    } else if file.kind.is_fifo() {
        ("a pipe", "open pipes after the snapshot point")
    } else {
        ("a kernel object", "open it after the snapshot point")
    };
    Err((format!("is {what} ({name})"), remedy))
}
