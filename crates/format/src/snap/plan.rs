//! Reading: from the bytes of the meta part to a validated [`Plan`].

use super::fd_steps::FdStep;
use super::fds::Fd;
use super::records::*;
use super::space::*;
use super::{FEATURE_OWN_EXE, FEATURE_WX, FEATURES, HEADER_OFFSET, MAGIC, META_MAX, NOTE_NAME, VERSION};
use crate::arch::{MACHINE, xstate};
use crate::{Checksum, FormatError};
use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The fixed header, at [`HEADER_OFFSET`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SnapHeader {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: u16,
    /// `e_machine`.
    pub arch: u16,
    /// log2 of the page size.
    pub page_shift: u16,
    /// Zero.
    pub reserved: u16,
    /// Features without which the file cannot be restored.
    pub incompatible: u64,
    /// Features that a reader may ignore.
    pub compatible: u64,
    /// Exact size of the file in bytes.
    pub file_size: u64,
    /// Length of the meta part, from the start of the file.
    pub meta_len: u64,
    /// [`crate::checksum()`] of the meta part with this field zero.
    pub checksum: u64,
    /// Where each table lies; unused slots are zero.
    pub tables: [Table; TABLES],
    /// The process as a whole.
    pub process: Process,
}

impl SnapHeader {
    /// Whether some memory is writable and executable at once.
    pub const fn has_wx(&self) -> bool {
        self.incompatible & FEATURE_WX != 0
    }

    /// Whether the program looks itself up by /proc/self/exe.
    pub const fn looks_up_itself(&self) -> bool {
        self.compatible & FEATURE_OWN_EXE != 0
    }
}

/// Offset of the checksum from the start of the file.
pub(super) const CHECKSUM_OFFSET: usize = HEADER_OFFSET + offset_of!(SnapHeader, checksum);
/// End of the fixed header.
pub(super) const HEADER_END: usize = HEADER_OFFSET + size_of::<SnapHeader>();

const _: () = assert!(size_of::<SnapHeader>() % 8 == 0 && CHECKSUM_OFFSET % 8 == 0);

/// A validated plan: every index, offset, range and overlap has been checked.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The fixed header.
    pub header: &'a SnapHeader,
    /// What the operations map from.
    pub files: &'a [File],
    /// Operations in order.
    pub ops: &'a [Op],
    /// Words to be rewritten.
    pub patches: &'a [Patch],
    /// Threads; the first is the main thread.
    pub threads: &'a [Thread],
    /// Descriptors.
    pub fds: &'a [Fd],
    /// Signal dispositions.
    pub sigactions: &'a [SigAction],
    /// Environment changes.
    pub env_changes: &'a [EnvChange],
    /// Process attributes.
    pub settings: &'a [Setting],
    /// Pending signals.
    pub pending: &'a [PendingSignal],
    /// Timers.
    pub timers: &'a [Timer],
    /// What completes the descriptors.
    pub fd_steps: &'a [FdStep],
    /// The requirements on the host; `None` if the snapshot has none recorded.
    pub needs: Option<&'a HostNeeds>,
    /// Raw bytes.
    pub bytes: &'a [u8],
}

/// Checks everything that the first bytes of a file (at least 4 KiB, or all) allow, and returns the header. `size` is
/// the size of the whole file.
pub fn peek_header(start: &[u8], size: u64) -> Result<&SnapHeader, FormatError> {
    // For a short file of another kind, the error is that it is no snapshot, not that it is truncated.
    if start.iter().zip(b"\x7fELF").any(|(byte, magic)| byte != magic) {
        return Err(FormatError::Magic("a snapshot file"));
    }
    let elf = start.get(..HEADER_OFFSET).ok_or(FormatError::Truncated("the header"))?;
    if elf[4] != 2 || elf[5] != 1 {
        return Err(FormatError::Magic("a snapshot file"));
    }
    if elf[76..88] != *NOTE_NAME {
        return Err(FormatError::Magic("a snapshot file"));
    }
    let bytes = start.get(HEADER_OFFSET..HEADER_END).ok_or(FormatError::Truncated("the header"))?;
    let header = SnapHeader::ref_from_bytes(bytes).map_err(|_| FormatError::Invalid("alignment of the header"))?;
    if header.magic != MAGIC {
        return Err(FormatError::Magic("a snapshot file"));
    }
    if header.version != VERSION {
        return Err(FormatError::Version(header.version));
    }
    if header.arch != MACHINE || u16::from_le_bytes([elf[18], elf[19]]) != MACHINE {
        return Err(FormatError::Architecture(header.arch));
    }
    if header.page_shift != 12 {
        return Err(FormatError::Invalid("page size"));
    }
    if header.incompatible & !FEATURES != 0 {
        return Err(FormatError::Features(header.incompatible & !FEATURES));
    }
    if header.reserved != 0 {
        return Err(FormatError::Reserved("the header"));
    }
    if header.file_size != size {
        return Err(FormatError::Size { recorded: header.file_size, actual: size });
    }
    if header.meta_len > META_MAX || header.meta_len % 8 != 0 {
        return Err(FormatError::TooLarge("the plan"));
    }
    if header.meta_len < HEADER_END as u64 || header.meta_len > size {
        return Err(FormatError::Truncated("the plan"));
    }
    Ok(header)
}

#[cfg(feature = "alloc")]
/// The 12 bytes before the note's name, for a descriptor of `len` bytes.
pub(super) fn note_header(len: u32) -> [u8; 12] {
    let mut out = [0u8; 12];
    out[..4].copy_from_slice(&(NOTE_NAME.len() as u32).to_le_bytes());
    out[4..8].copy_from_slice(&len.to_le_bytes());
    out[8..].copy_from_slice(&super::NOTE_TYPE.to_le_bytes());
    out
}

/// The checksum that belongs into the header of `meta`.
pub(super) fn meta_checksum(meta: &[u8]) -> Option<u64> {
    let mut sum = Checksum::new();
    sum.update(meta.get(..CHECKSUM_OFFSET)?);
    sum.update(&[0; 8]);
    sum.update(meta.get(CHECKSUM_OFFSET + 8..)?);
    Some(sum.finish())
}

impl<'a> Plan<'a> {
    /// Parses and validates the meta part. `meta` holds at least its bytes (aligned to 8), `size` is the size of
    /// the file.
    pub fn parse(meta: &'a [u8], size: u64) -> Result<Self, FormatError> {
        let header = peek_header(meta, size)?;
        let meta = usize::try_from(header.meta_len)
            .ok()
            .and_then(|len| meta.get(..len))
            .ok_or(FormatError::Truncated("the plan"))?;
        if meta_checksum(meta) != Some(header.checksum) {
            return Err(FormatError::Checksum("the header and plan"));
        }
        let known = [0..=TableId::FdSteps as usize, TableId::HostNeeds as usize..=TableId::HostNeeds as usize];
        for (slot, table) in header.tables.iter().enumerate().take(TableId::Bytes as usize) {
            if *table != Table::default() && !known.iter().any(|range| range.contains(&slot)) {
                return Err(FormatError::Reserved("the table of tables"));
            }
        }
        let needs = table(meta, header, TableId::HostNeeds, "the host requirements")?;
        if needs.len() > 1 {
            return Err(FormatError::TooLarge("the host requirements"));
        }
        let plan = Plan {
            header,
            files: table(meta, header, TableId::Files, "the files table")?,
            ops: table(meta, header, TableId::Ops, "the operations table")?,
            patches: table(meta, header, TableId::Patches, "the patches table")?,
            threads: table(meta, header, TableId::Threads, "the threads table")?,
            fds: table(meta, header, TableId::Fds, "the descriptors table")?,
            sigactions: table(meta, header, TableId::SigActions, "the signals table")?,
            env_changes: table(meta, header, TableId::EnvChanges, "the environment table")?,
            settings: table(meta, header, TableId::Settings, "the settings table")?,
            pending: table(meta, header, TableId::PendingSignals, "the pending signals table")?,
            timers: table(meta, header, TableId::Timers, "the timers table")?,
            fd_steps: table(meta, header, TableId::FdSteps, "the descriptor steps table")?,
            needs: needs.first(),
            bytes: table(meta, header, TableId::Bytes, "the bytes table")?,
        };
        plan.validate()?;
        Ok(plan)
    }

    /// The components of register state that are live in some thread, as a mask like XCR0.
    pub fn live_state(&self) -> u64 {
        self.threads.iter().fold(0, |live, thread| live | xstate::live(self.bytes(thread.xstate)))
    }

    /// The bytes that `reference` names; empty if it lies outside of the table (which validation excludes).
    pub fn bytes(&self, reference: BytesRef) -> &'a [u8] {
        let start = reference.offset as usize;
        start.checked_add(reference.len as usize).and_then(|end| self.bytes.get(start..end)).unwrap_or_default()
    }
}

fn table<'a, T: FromBytes + Immutable>(
    meta: &'a [u8],
    header: &SnapHeader,
    id: TableId,
    name: &'static str,
) -> Result<&'a [T], FormatError> {
    let Table { offset, count } = header.tables[id as usize];
    if count == 0 {
        return if offset == 0 { Ok(&[]) } else { Err(FormatError::Invalid(name)) };
    }
    let start = offset as usize;
    if start < HEADER_END || start % 8 != 0 {
        return Err(FormatError::Invalid(name));
    }
    let bytes = (count as usize)
        .checked_mul(size_of::<T>())
        .and_then(|len| start.checked_add(len))
        .and_then(|end| meta.get(start..end))
        .ok_or(FormatError::Truncated(name))?;
    <[T]>::ref_from_bytes(bytes).map_err(|_| FormatError::Invalid(name))
}
