//! The part of a snapshot file that the store needs: its program and the files that it maps.

use crate::verify::read_some_at;
use crate::{Digest, Kind, SummaryError};
use snapfn_format::FormatError;
use snapfn_format::init::{InitHeader, plan_of_state};
use snapfn_format::snap::{FILE_CODE, FILE_DATA, Plan, peek_header};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::time::{Duration, SystemTime};
use zerocopy::IntoBytes;

/// Number of bytes that contain the fixed header.
const HEADER: u64 = 4096;

/// The properties that `snaprepo` prints of a snapshot, and the files that a garbage collection keeps for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Path of the program at the time of the snapshot.
    pub program: Option<String>,
    /// When the snapshot was made.
    pub created: Option<SystemTime>,
    /// Whether it has memory that is writable and executable at once.
    pub wx: bool,
    /// The files of the store that the snapshot maps, without repetition.
    pub files: Vec<(Kind, Digest)>,
}

/// The function that reads a snapshot file. It is a parameter, so that the store's own tests need no snapshots.
pub type Summarize<'a> = &'a dyn Fn(&File) -> Result<Summary, SummaryError>;

/// Header and plan of a snapshot file, in memory with the alignment that the format needs.
#[derive(Clone, Debug)]
pub struct SnapshotMeta {
    words: Vec<u64>,
    size: u64,
}

impl SnapshotMeta {
    /// Reads header and plan. It validates the header only.
    pub fn read(snapshot: &File) -> Result<Self, SummaryError> {
        let size = snapshot.metadata()?.len();
        let start = read_aligned(snapshot, 0..size.min(HEADER))?;
        let meta_len = peek_header(start.as_bytes(), size)?.meta_len;
        Ok(SnapshotMeta { words: read_aligned(snapshot, 0..meta_len)?, size })
    }

    /// Size of the snapshot file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The plan, validated.
    pub fn plan(&self) -> Result<Plan<'_>, FormatError> {
        Plan::parse(self.words.as_bytes(), self.size)
    }
}

/// Reads the program and the needed files of a snapshot file. It validates header and plan, but not the page contents.
pub fn summarize(snapshot: &File) -> Result<Summary, SummaryError> {
    Ok(summary(&SnapshotMeta::read(snapshot)?.plan()?))
}

/// The beginning of an exported init data file: what tells which files its snapshot maps.
#[derive(Clone, Debug)]
pub struct ExportedMeta {
    header: InitHeader,
    state: Vec<u64>,
}

impl ExportedMeta {
    /// Reads header and state. It validates the header only.
    pub fn read(init: &File) -> Result<Self, SummaryError> {
        let actual = init.metadata()?.len();
        let start = read_aligned(init, 0..actual.min(InitHeader::LEN as u64))?;
        let header = *InitHeader::read(&start.as_bytes()[..actual.min(InitHeader::LEN as u64) as usize])?;
        if !header.is_exported() {
            return Err(FormatError::Magic("an init data file that is exported from a snapshot").into());
        }
        if header.file_len.get() != actual {
            return Err(FormatError::Size { recorded: header.file_len.get(), actual }.into());
        }
        let range = header.state_range();
        if range.end > actual {
            return Err(FormatError::Truncated("the state").into());
        }
        Ok(ExportedMeta { header, state: read_aligned(init, range)? })
    }

    /// The file's header.
    pub fn header(&self) -> &InitHeader {
        &self.header
    }

    /// The plan of the snapshot that is made of it, validated.
    pub fn plan(&self) -> Result<Plan<'_>, FormatError> {
        plan_of_state(&self.state.as_bytes()[..self.header.state_len.get() as usize])
    }
}

/// As [`summarize`], for an exported init data file. It validates header and plan, but neither tables nor memory.
pub fn summarize_exported(init: &File) -> Result<Summary, SummaryError> {
    Ok(summary(&ExportedMeta::read(init)?.plan()?))
}

fn summary(plan: &Plan<'_>) -> Summary {
    let exe = plan.bytes(plan.header.process.exe);
    let exe = exe.strip_suffix(&[0]).unwrap_or(exe);
    let mut files: Vec<(Kind, Digest)> = plan
        .files
        .iter()
        .filter_map(|file| match file.kind {
            FILE_CODE => Some((Kind::Code, file.digest)),
            FILE_DATA => Some((Kind::Data, file.digest)),
            _ => None,
        })
        .collect();
    files.sort();
    files.dedup();
    Summary {
        program: (!exe.is_empty()).then(|| String::from_utf8_lossy(exe).into_owned()),
        created: SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(plan.header.process.created)),
        wx: plan.header.has_wx(),
        files,
    }
}

/// Bytes of a file, padded with zeros, in memory with the alignment that the format needs.
fn read_aligned(file: &File, range: Range<u64>) -> Result<Vec<u64>, SummaryError> {
    let len = usize::try_from(range.end - range.start).map_err(|_| FormatError::TooLarge("the plan"))?;
    let mut words = vec![0u64; len.div_ceil(8)];
    let bytes = &mut words.as_mut_bytes()[..len];
    let mut at = 0;
    while at < len {
        match read_some_at(file, &mut bytes[at..], range.start + at as u64)? {
            0 => return Err(SummaryError::Io(io::ErrorKind::UnexpectedEof.into())),
            got => at += got,
        }
    }
    Ok(words)
}
