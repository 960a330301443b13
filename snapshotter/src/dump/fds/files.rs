//! Files, directories and devices by path; deleted files and memfds with their content.

use super::open::{O_PATH, O_RDONLY, O_WRONLY, OpenFd};
use super::{Gathering, Refusal, kernel, unreadable};
use crate::tracee::Status;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, Whence, lseek64};
use snapfn_format::snap::*;
use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::rc::Rc;

/// Character devices that are the same for every process that opens them.
const PLAIN_DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];
const CLOSE: &str = "close it before the snapshot point";

/// Files without a name: each once with its content, further descriptions opened from it.
pub(super) fn gather_unnamed(gathering: &mut Gathering<'_>, primary: &[&OpenFd], refused: &mut HashMap<u32, Refusal>) {
    let mut first: HashMap<(u64, u64), u32> = HashMap::new();
    for open in primary.iter().filter(|open| open.metadata.is_file() && open.metadata.nlink() == 0) {
        if let Some(source) = first.get(&open.file()) {
            gathering.record(open, Descriptor::Reopened { of: *source, offset: open.offset });
            continue;
        }
        match unnamed(gathering, open) {
            Ok(()) => drop(first.insert(open.file(), open.key)),
            Err(refusal) => drop(refused.insert(open.key, refusal)),
        }
    }
}

fn unnamed(gathering: &mut Gathering<'_>, open: &OpenFd) -> Result<(), Refusal> {
    let name = open.name();
    check_filesystem(open, &name)?;
    if open.flags & O_PATH != 0 {
        return Err((format!("is a location ({name}) whose file has been deleted"), CLOSE));
    }
    let content = Rc::new(open.reopen().map_err(unreadable("its content cannot be read"))?);
    check_owner(open, gathering.pid)?;
    let attributes = attributes(&content)?;
    let extents = extents(&content, open.metadata.len());
    let is_memfd = name.starts_with("/memfd:");
    let (offset, mut seals) = (open.offset, 0);
    let text = name.strip_suffix(" (deleted)").unwrap_or(&name);
    if is_memfd {
        const F_SEAL_SEAL: u64 = 1;
        const F_SEAL_EXEC: u64 = 0x20;
        const MFD_ALLOW_SEALING: u64 = 2;
        const MFD_NOEXEC_SEAL: u64 = 8;
        seals = open
            .duplicate()
            .and_then(|fd| kernel::fcntl(&fd, libc::F_GET_SEALS))
            .map_err(unreadable("its seals cannot be read"))? as u64;
        let no_exec = seals & F_SEAL_EXEC != 0 && open.metadata.mode() & 0o111 == 0;
        let flags = match seals {
            // Without MFD_ALLOW_SEALING that is the only seal from the start.
            F_SEAL_SEAL => 0,
            _ if no_exec => MFD_NOEXEC_SEAL,
            _ => MFD_ALLOW_SEALING,
        };
        if flags == 0 {
            seals = 0;
        }
        let state = gathering.record(open, Descriptor::Memory { flags, offset });
        state.data = text.strip_prefix("/memfd:").unwrap_or(text).as_bytes().to_vec();
        state.data.push(0);
        let mode = open.metadata.mode() & 0o7777;
        let new = if flags == MFD_NOEXEC_SEAL { 0o666 } else { 0o777 };
        if mode != new {
            gathering.step(open.key, Step::Mode(u64::from(mode)));
        }
    } else {
        let directory = Path::new(text).parent().unwrap_or(Path::new("/tmp"));
        let mode = u64::from(open.metadata.mode() & 0o7777);
        let state = gathering.record(open, Descriptor::Deleted { mode, offset });
        state.path = directory.as_os_str().as_bytes().to_vec();
    }
    if seals != 0 {
        gathering.step(open.key, Step::Seal(seals));
    }
    gathering.step(open.key, Step::Length(open.metadata.len()));
    for (start, end) in extents {
        // The place of the bytes in the snapshot is known once all parts have been laid out.
        let content_step = Step::Content { to: start, len: end - start, from: ContentSource::default() };
        let state = gathering.step(open.key, content_step);
        state.content = Some(Rc::clone(&content));
    }
    for (name, value) in attributes {
        let state = gathering.step(open.key, Step::Attribute);
        (state.data, state.extra) = (name, value);
    }
    let nanoseconds = |seconds: i64, rest: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(rest);
    let access = nanoseconds(open.metadata.atime(), open.metadata.atime_nsec());
    let modified = nanoseconds(open.metadata.mtime(), open.metadata.mtime_nsec());
    gathering.step(open.key, Step::Times { access, modified });
    Ok(())
}

/// Refuses a file whose owner or group differs from the program's: an instance's file belongs to its starter.
fn check_owner(open: &OpenFd, pid: i32) -> Result<(), Refusal> {
    let status = Status::read(pid, pid).map_err(unreadable("whose it is cannot be compared"))?;
    // Real, effective, saved, and the one for files.
    let own = |field| status.get(field).split_whitespace().nth(3).and_then(|id| id.parse::<u32>().ok());
    if own("Uid") != Some(open.metadata.uid()) || own("Gid") != Some(open.metadata.gid()) {
        let (user, group) = (open.metadata.uid(), open.metadata.gid());
        let what = format!("is a file without a name that belongs to user {user} and group {group}");
        return Err((what, "change its owner after the snapshot point"));
    }
    Ok(())
}

/// Extended attributes that an instance gets. Security labels are those of its starter's files.
fn attributes(file: &File) -> Result<Vec<kernel::Attribute>, Refusal> {
    const LABELS: [&[u8]; 4] = [b"security.selinux", b"security.SMACK64", b"security.ima", b"security.evm"];
    let all = kernel::attributes(file).map_err(unreadable("its extended attributes cannot be read"))?;
    let kept: Vec<_> =
        all.into_iter().filter(|(name, _)| !LABELS.iter().any(|label| name.starts_with(label))).collect();
    match kept.iter().find(|(name, _)| !name.starts_with(b"user.") && !name.starts_with(b"system.posix_acl")) {
        Some((name, _)) => {
            let name = String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
            Err((
                format!("is a file without a name that has the extended attribute {name}"),
                "set it after the snapshot point",
            ))
        }
        None => Ok(kept),
    }
}

/// Refuses objects that look like files but are not, with a name or without.
fn check_filesystem(open: &OpenFd, name: &str) -> Result<(), Refusal> {
    const HUGETLBFS: i64 = 0x9584_58f6;
    const SECRETMEM: i64 = 0x5345_434d;
    const MQUEUE: i64 = 0x1980_0202;
    let link = format!("/proc/{}/fd/{}", open.at.0, open.at.1);
    match nix::sys::statfs::statfs(Path::new(&link)).map(|fs| fs.filesystem_type().0) {
        Ok(HUGETLBFS) => Err((format!("is memory in huge pages ({name})"), "use ordinary pages for it")),
        Ok(SECRETMEM) => Err(("is secret memory (memfd_secret)".to_owned(), CLOSE)),
        Ok(MQUEUE) => Err((format!("is the message queue {name}"), "open message queues after the snapshot point")),
        _ => Ok(()),
    }
}

/// The ranges of a file that have data; the rest are holes.
fn extents(file: &File, len: u64) -> Vec<(u64, u64)> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < len {
        let Ok(start) = lseek64(file, at as i64, Whence::SeekData) else { break };
        let end = lseek64(file, start, Whence::SeekHole).map_or(len, |end| end as u64);
        out.push((start as u64, end.min(len)));
        at = end;
    }
    out
}

/// A file, directory or device that has a name.
pub(super) fn gather(gathering: &mut Gathering<'_>, open: &OpenFd) -> Result<(), Refusal> {
    let name = open.name();
    let kind = open.metadata.file_type();
    let is_path = open.flags & O_PATH != 0;
    check_filesystem(open, &name)?;
    if let Some((namespace, _)) = name.split_once(":[") {
        return namespaced(gathering, open, namespace);
    }
    if kind.is_char_device() && !is_path && !PLAIN_DEVICES.contains(&name.as_str()) {
        let device = open.metadata.rdev();
        let (major, minor) = (libc::major(device), libc::minor(device));
        let what = match major {
            195 | 226 | 234..=254 if name.starts_with("/dev/nvidia") || name.starts_with("/dev/dri") => "the GPU",
            136..=143 => "a terminal that another program serves,",
            _ => "the device",
        };
        return Err((format!("is {what} {name} (major {major}, minor {minor})"), "open it after the snapshot point"));
    }
    if kind.is_block_device() && !is_path {
        return Err((format!("is the block device {name}"), "open it after the snapshot point"));
    }
    let same = |path: &Path| {
        let now = if kind.is_symlink() { fs::symlink_metadata(path) } else { fs::metadata(path) };
        now.is_ok_and(|now| (now.dev(), now.ino()) == open.file())
    };
    if !same(&open.target) {
        let remedy = "keep the file under that name, or close it before the snapshot point";
        return Err((format!("was opened as {name}, which has been removed or replaced"), remedy));
    }
    check_process(gathering.pid, &name)?;
    if (kind.is_file() || kind.is_dir()) && !is_path {
        check_access(open, &name)?;
    }
    let unchanging = kind.is_file()
        && !is_path
        && open.access() == O_RDONLY
        && !name.starts_with("/proc/")
        && !name.starts_with("/sys/")
        && !gathering.written.contains(&open.file());
    if let Some((thread, rest)) = of_thread(gathering, &name) {
        return thread_file(gathering, open, thread, rest);
    }
    let path = own_path(gathering.pid, &name).unwrap_or_else(|| open.target.as_os_str().as_bytes().to_vec());
    let unchanged = unchanging.then(|| Unchanged {
        size: open.metadata.len(),
        modified: (open.metadata.mtime() * 1_000_000_000 + open.metadata.mtime_nsec()) as u64,
    });
    let offset = if is_path { 0 } else { open.offset };
    gathering.record(open, Descriptor::Path { offset, unchanged, fifo: false }).path = path;
    Ok(())
}

/// Refuses a file in /proc that belongs to another process. An instance would not find it, or find a stranger's.
/// The process with ID 1 is always there.
fn check_process(pid: i32, name: &str) -> Result<(), Refusal> {
    let remedy = "open it after the snapshot point";
    let of = name.strip_prefix("/proc/").and_then(|rest| rest.split('/').next()).and_then(|of| of.parse::<i32>().ok());
    match of {
        Some(of) if of != pid && of != 1 => Err((format!("is {name}, a file of process {of}"), remedy)),
        Some(of) if of == pid && ["/fdinfo/", "/map_files/"].iter().any(|part| name.contains(part)) => {
            Err((format!("is {name}, which belongs to a descriptor or mapping that an instance makes later"), remedy))
        }
        _ => Ok(()),
    }
}

/// Refuses a file that could not be opened again: its permissions or its file system have changed, or a program with
/// more rights has opened it. Opening it here would have an effect on leases.
fn check_access(open: &OpenFd, name: &str) -> Result<(), Refusal> {
    let needs = match open.access() {
        O_RDONLY => AccessFlags::R_OK,
        O_WRONLY => AccessFlags::W_OK,
        _ => AccessFlags::R_OK | AccessFlags::W_OK,
    };
    nix::unistd::faccessat(AT_FDCWD, &open.target, needs, AtFlags::AT_EACCESS).map_err(|error| {
        let what = format!("is {name}, which cannot be opened again ({})", error.desc());
        (what, "open it after the snapshot point, or make it accessible to the user who starts instances")
    })
}

/// The thread in whose directory in /proc `name` is, and the rest of the path: of every thread but the first.
fn of_thread(gathering: &Gathering<'_>, name: &str) -> Option<(u32, String)> {
    let below = name.strip_prefix(&format!("/proc/{}/task/", gathering.pid))?;
    let (tid, rest) = below.split_once('/').unwrap_or((below, ""));
    let tid = tid.parse::<i32>().ok().filter(|tid| *tid != gathering.pid)?;
    let thread = gathering.tids.iter().position(|known| *known == tid)?;
    Some((thread as u32, format!("/{rest}")))
}

/// A file of a thread is opened when the threads are there, and nothing else can refer to it before.
fn thread_file(gathering: &mut Gathering<'_>, open: &OpenFd, thread: u32, rest: String) -> Result<(), Refusal> {
    const LONGEST: usize = 63;
    let is_sent =
        gathering.late.iter().any(|state| state.extra.chunks_exact(4).any(|key| key == open.key.to_le_bytes()));
    if is_sent || open.key >= FD_TEMPORARY || open.field("lock:").is_some() || rest.len() > LONGEST {
        let what = format!("is {}, a file of a thread, and is locked, in flight or too deep", open.name());
        return Err((what, "open it after the snapshot point"));
    }
    let offset = if open.flags & O_PATH != 0 { 0 } else { open.offset };
    let state = gathering.record(open, Descriptor::OfThread { thread, offset });
    state.path = rest.into_bytes();
    Ok(())
}

/// A path below the program's own directory in /proc, as every process names its own.
fn own_path(pid: i32, name: &str) -> Option<Vec<u8>> {
    let own = format!("/proc/{pid}");
    let rest = name.strip_prefix(&own).filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
    let thread = format!("/task/{pid}");
    let path = match rest.strip_prefix(&thread).filter(|rest| rest.is_empty() || rest.starts_with('/')) {
        Some(rest) => format!("/proc/thread-self{rest}"),
        None => format!("/proc/self{rest}"),
    };
    Some(path.into_bytes())
}

/// A namespace: carried where it is the program's own.
fn namespaced(gathering: &mut Gathering<'_>, open: &OpenFd, namespace: &str) -> Result<(), Refusal> {
    let own = fs::metadata(format!("/proc/{}/ns/{namespace}", gathering.pid));
    if own.is_ok_and(|own| (own.dev(), own.ino()) == open.file()) {
        let descriptor = Descriptor::Path { offset: 0, unchanged: None, fifo: false };
        gathering.record(open, descriptor).path = format!("/proc/self/ns/{namespace}").into_bytes();
        return Ok(());
    }
    Err((format!("is another {namespace} namespace ({})", open.name()), CLOSE))
}
