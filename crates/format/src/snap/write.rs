//! The writer: from tables to the bytes of the meta part.

use super::fd_steps::FdStep;
use super::fds::Fd;
use super::plan::{HEADER_END, meta_checksum, note_header};
use super::records::*;
use super::space::*;
use super::{
    FEATURE_CLOCKS, FEATURE_DESCRIPTORS, FEATURE_HIDDEN, FEATURE_KEPT_ARGS, FEATURE_VECTORS, FEATURE_WX, HEADER_OFFSET,
    MAGIC, NOTE_NAME, Plan, SnapHeader, VERSION,
};
use crate::arch::MACHINE;
use alloc::vec::Vec;
use zerocopy::{Immutable, IntoBytes};

/// The tables of a plan before it is written.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct PlanTables {
    /// `FEATURE_…` bits that a reader may ignore.
    pub compatible: u64,
    pub process: Process,
    pub files: Vec<File>,
    pub ops: Vec<Op>,
    pub patches: Vec<Patch>,
    pub threads: Vec<Thread>,
    pub fds: Vec<Fd>,
    pub sigactions: Vec<SigAction>,
    pub env_changes: Vec<EnvChange>,
    pub settings: Vec<Setting>,
    pub pending: Vec<PendingSignal>,
    pub timers: Vec<Timer>,
    pub fd_steps: Vec<FdStep>,
    pub needs: Option<HostNeeds>,
    pub bytes: Vec<u8>,
}

impl From<&Plan<'_>> for PlanTables {
    /// The tables of a plan that was read, so that it can be written again with changes.
    fn from(plan: &Plan<'_>) -> Self {
        PlanTables {
            compatible: plan.header.compatible,
            process: plan.header.process,
            files: plan.files.to_vec(),
            ops: plan.ops.to_vec(),
            patches: plan.patches.to_vec(),
            threads: plan.threads.to_vec(),
            fds: plan.fds.to_vec(),
            sigactions: plan.sigactions.to_vec(),
            env_changes: plan.env_changes.to_vec(),
            settings: plan.settings.to_vec(),
            pending: plan.pending.to_vec(),
            timers: plan.timers.to_vec(),
            fd_steps: plan.fd_steps.to_vec(),
            needs: plan.needs.copied(),
            bytes: plan.bytes.to_vec(),
        }
    }
}

impl PlanTables {
    /// Appends `bytes` to the bytes table at a multiple of 8.
    pub fn add_bytes(&mut self, bytes: &[u8]) -> BytesRef {
        if bytes.is_empty() {
            return BytesRef::default();
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let offset = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        BytesRef { offset, len: bytes.len() as u32 }
    }

    /// Appends a path and its terminating zero.
    pub fn add_path(&mut self, path: &[u8]) -> BytesRef {
        let mut zero_terminated = path.to_vec();
        zero_terminated.push(0);
        self.add_bytes(&zero_terminated)
    }

    /// Length in bytes of the meta part that these tables make.
    pub fn meta_len(&self) -> u64 {
        let mut builder = MetaBuilder::new();
        builder.tables(self);
        builder.bytes.len() as u64
    }
}

/// Lays out the meta part.
#[derive(Debug)]
pub struct MetaBuilder {
    bytes: Vec<u8>,
    header: SnapHeader,
}

impl MetaBuilder {
    fn new() -> Self {
        let header =
            SnapHeader { magic: MAGIC, version: VERSION, arch: MACHINE, page_shift: 12, ..SnapHeader::default() };
        MetaBuilder { bytes: alloc::vec![0; HEADER_END], header }
    }

    fn table<T: IntoBytes + Immutable>(&mut self, id: TableId, records: &[T]) {
        if records.is_empty() {
            return;
        }
        self.header.tables[id as usize] = Table { offset: self.bytes.len() as u32, count: records.len() as u32 };
        self.bytes.extend_from_slice(records.as_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
    }

    fn tables(&mut self, tables: &PlanTables) {
        self.header.process = tables.process;
        self.table(TableId::Files, &tables.files);
        self.table(TableId::Ops, &tables.ops);
        self.table(TableId::Patches, &tables.patches);
        self.table(TableId::Threads, &tables.threads);
        self.table(TableId::Fds, &tables.fds);
        self.table(TableId::SigActions, &tables.sigactions);
        self.table(TableId::EnvChanges, &tables.env_changes);
        self.table(TableId::Settings, &tables.settings);
        self.table(TableId::PendingSignals, &tables.pending);
        self.table(TableId::Timers, &tables.timers);
        self.table(TableId::FdSteps, &tables.fd_steps);
        self.table(TableId::HostNeeds, tables.needs.as_slice());
        self.table(TableId::Bytes, &tables.bytes);
    }

    /// The bytes of the meta part: `elf_header` (64 bytes), the note header, the plan with its checksum.
    /// `file_size` is the size that the whole file will have.
    pub fn build(tables: &PlanTables, elf_header: &[u8; 64], file_size: u64) -> Vec<u8> {
        let mut builder = MetaBuilder::new();
        builder.tables(tables);
        let hidden = tables.settings.iter().any(Setting::is_hidden) || tables.fd_steps.iter().any(FdStep::is_hidden);
        builder.header.incompatible =
            if has_writable_code(&tables.files, &tables.ops, &tables.settings) { FEATURE_WX } else { 0 };
        builder.header.incompatible |= if hidden { FEATURE_HIDDEN } else { 0 };
        let vectors = tables.patches.iter().any(|patch| (PATCH_VECTOR..PATCH_CLOCK).contains(&patch.kind))
            || tables.settings.iter().any(|setting| setting.kind >= SETTING_ARGUMENTS);
        builder.header.incompatible |= if vectors { FEATURE_VECTORS } else { 0 };
        let later = tables.fds.iter().any(Fd::is_later) || tables.fd_steps.iter().any(FdStep::is_later);
        builder.header.incompatible |= if later { FEATURE_DESCRIPTORS } else { 0 };
        builder.header.incompatible |= if tables.process.kept_args != 0 { FEATURE_KEPT_ARGS } else { 0 };
        builder.header.compatible = tables.compatible;
        let clocks = tables.patches.iter().any(|patch| patch.kind >= PATCH_CLOCK);
        builder.header.incompatible |= if clocks { FEATURE_CLOCKS } else { 0 };
        builder.header.file_size = file_size;
        builder.header.meta_len = builder.bytes.len() as u64;
        let MetaBuilder { mut bytes, header } = builder;
        let note_len = (bytes.len() - HEADER_OFFSET) as u32;
        bytes[..64].copy_from_slice(elf_header);
        bytes[64..76].copy_from_slice(&note_header(note_len));
        bytes[76..88].copy_from_slice(NOTE_NAME);
        bytes[HEADER_OFFSET..HEADER_END].copy_from_slice(header.as_bytes());
        let sum = meta_checksum(&bytes).unwrap_or_default();
        let at = super::plan::CHECKSUM_OFFSET;
        bytes[at..at + 8].copy_from_slice(&sum.to_le_bytes());
        bytes
    }
}
