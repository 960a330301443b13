//! Pipes and FIFOs with the data in flight in them.

use super::open::{O_DIRECT, O_RDONLY, O_WRONLY, OpenFd};
use super::{Gathering, Refusal, kernel, unreadable};
use snapfn_format::snap::*;
use std::collections::{BTreeMap, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

const DEFAULT_SIZE: i32 = 65536;
/// A path that names a FIFO.
const FIFO: Descriptor = Descriptor::Path { offset: 0, unchanged: None, fifo: true };

pub(super) fn gather(gathering: &mut Gathering<'_>, primary: &[&OpenFd], refused: &mut HashMap<u32, Refusal>) {
    let mut groups: BTreeMap<(u64, u64), Vec<&OpenFd>> = BTreeMap::new();
    for open in primary.iter().filter(|open| open.metadata.file_type().is_fifo()) {
        if open.flags & super::open::O_PATH == 0 {
            groups.entry(open.file()).or_default().push(open);
        }
    }
    for group in groups.values() {
        let named = !group[0].name().starts_with("pipe:");
        let result = if named { fifo(gathering, group) } else { pipe(gathering, group) };
        if let Err(refusal) = result {
            refused.insert(group[0].key, refusal);
        }
    }
}

/// Capacity, and what waits inside.
fn content(open: &OpenFd, packets: bool) -> Result<(i32, Vec<Vec<u8>>), Refusal> {
    let failed = "what is in flight cannot be read";
    let pipe = open.reopen().map_err(unreadable(failed))?;
    let size = kernel::fcntl(&open.duplicate().map_err(unreadable(failed))?, libc::F_GETPIPE_SZ)
        .map_err(unreadable(failed))?;
    let content = kernel::pipe_content(&pipe, size, packets).map_err(unreadable(failed))?;
    Ok((size, content))
}

fn refill(gathering: &mut Gathering<'_>, writer: u32, size: i32, content: Vec<Vec<u8>>) {
    if size != DEFAULT_SIZE {
        gathering.step(writer, Step::PipeSize(size as u64));
    }
    for data in content {
        gathering.step(writer, Step::Send).data = data;
    }
}

fn pipe(gathering: &mut Gathering<'_>, group: &[&OpenFd]) -> Result<(), Refusal> {
    // One of the standard streams, opened once more through /proc.
    let stream = gathering
        .open
        .iter()
        .take_while(|open| open.key < 3)
        .find(|open| open.file() == group[0].file() && !group.iter().any(|member| member.key == open.key));
    if let Some(stream) = stream {
        for open in group {
            let descriptor = Descriptor::Path { offset: 0, unchanged: None, fifo: false };
            gathering.record(open, descriptor).path = format!("/proc/self/fd/{}", stream.key).into_bytes();
        }
        return Ok(());
    }
    let packets = group.iter().any(|open| open.flags & O_DIRECT != 0);
    let (size, content) = content(group[0], packets)?;
    let end = |access| group.iter().find(|open| open.access() == access).copied();
    let (reader, writer) = (end(O_RDONLY), end(O_WRONLY));
    // An end that no process has is made too, and closed when everything is in place.
    let mut keys = [0; 2];
    for (key, open) in keys.iter_mut().zip([reader, writer]) {
        *key = open.map_or_else(|| gathering.temporary(), |open| open.key);
    }
    let flags =
        |open: Option<&OpenFd>, access| open.map_or(access | if packets { O_DIRECT } else { 0 }, |open| open.flags);
    let [read, write] = keys;
    for (fd, source, flags) in [(read, write, flags(reader, O_RDONLY)), (write, read, flags(writer, O_WRONLY))] {
        gathering.add(Fd::new(fd, flags, Descriptor::Pipe { other: source }));
    }
    for open in group.iter().filter(|open| !keys.contains(&open.key)) {
        gathering.record(open, Descriptor::Reopened { of: read, offset: 0 });
    }
    refill(gathering, write, size, content);
    Ok(())
}

/// A FIFO is opened again at its path; the bytes in it go back in. Instances share it.
fn fifo(gathering: &mut Gathering<'_>, group: &[&OpenFd]) -> Result<(), Refusal> {
    let path = group[0].target.as_os_str().as_bytes().to_vec();
    let same = std::fs::metadata(&group[0].target).is_ok_and(|now| (now.dev(), now.ino()) == group[0].file());
    if !same {
        let what = format!("is the FIFO {}, which has been removed or replaced", group[0].name());
        return Err((what, "keep it, or close it before the snapshot point"));
    }
    let readable = group.iter().find(|open| open.access() != O_WRONLY);
    let (size, content) = match readable {
        Some(open) => content(open, false)?,
        None => (DEFAULT_SIZE, Vec::new()),
    };
    for open in group {
        gathering.record(open, FIFO).path.clone_from(&path);
    }
    let writer = group.iter().find(|open| open.access() != O_RDONLY).map(|open| open.key);
    let writer = match writer {
        Some(key) => key,
        None if content.is_empty() => group[0].key,
        None => {
            let fd = gathering.temporary();
            gathering.add(Fd::new(fd, O_WRONLY, FIFO)).path = path;
            fd
        }
    };
    refill(gathering, writer, size, content);
    Ok(())
}
