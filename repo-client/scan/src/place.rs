//! Maps an offset in a snapshot file to the part of the program at it.

use serde::Serialize;
use snapfn_format::snap::{FdStep, OP_MAP_FILE, OP_READ, Plan, peek_header};
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use zerocopy::IntoBytes;

/// The part of a snapshot at an offset of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Memory of the program, at this address.
    Memory(u64),
    /// The plan: paths, names, contents of pipes, arguments; or a note for debuggers.
    Plan,
    /// The content of an open file in the snapshot.
    OpenFile,
    /// The file is no snapshot.
    File,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Memory(addr) => write!(f, "memory at {addr:#x}"),
            Place::Plan => f.write_str("the plan or the notes"),
            Place::OpenFile => f.write_str("the content of an open file"),
            Place::File => f.write_str("a mapped file"),
        }
    }
}

/// The parts of one file.
pub(crate) struct Places {
    is_snapshot: bool,
    /// Range of the file, and the address of its first byte.
    memory: Vec<(Range<u64>, u64)>,
    contents: Vec<Range<u64>>,
}

impl Places {
    /// Reads any file. A file that is not a valid snapshot has no parts.
    pub(crate) fn of(file: &File, size: u64) -> io::Result<Self> {
        let none = Places { is_snapshot: false, memory: Vec::new(), contents: Vec::new() };
        let mut start = vec![0u64; 512];
        let first = size.min(4096) as usize;
        file.read_exact_at(&mut start.as_mut_bytes()[..first], 0)?;
        let Ok(header) = peek_header(&start.as_bytes()[..first], size) else { return Ok(none) };
        // peek_header limits the length, and it is not longer than the file.
        let len = header.meta_len as usize;
        let mut meta = vec![0u64; len.div_ceil(8)];
        file.read_exact_at(&mut meta.as_mut_bytes()[..len], 0)?;
        let Ok(plan) = Plan::parse(&meta.as_bytes()[..len], size) else { return Ok(none) };
        let stored = plan.ops.iter().filter(|op| matches!(op.kind, OP_MAP_FILE | OP_READ) && op.file == 0);
        let memory = stored.map(|op| (op.offset..op.offset + op.len, op.addr)).collect();
        let contents = plan.fd_steps.iter().filter_map(FdStep::content).filter(|(_, _, from)| from.file == 0);
        let contents = contents.map(|(_, len, from)| from.offset..from.offset + len).collect();
        Ok(Places { is_snapshot: true, memory, contents })
    }

    pub(crate) fn at(&self, offset: u64) -> Place {
        if let Some((range, addr)) = self.memory.iter().find(|(range, _)| range.contains(&offset)) {
            return Place::Memory(addr + (offset - range.start));
        }
        match self.is_snapshot {
            _ if self.contents.iter().any(|range| range.contains(&offset)) => Place::OpenFile,
            true => Place::Plan,
            false => Place::File,
        }
    }
}
