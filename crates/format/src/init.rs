//! The init data file (`fn.init`): what a program's writable segments contain before its first instruction.
//!
//! ```text
//!  InitHeader        fixed, readable alone: identity of the ELF, entry, TLS, RELRO, counts
//!  Segment × n       every PT_LOAD with memory, by address, no two in one page
//!  Run × n           non-zero bytes of `Data` segments, by address, grouped by segment
//!  HeapRun × n       pages that belong to no segment (only in files exported from a snapshot)
//!  interpreter       path and NUL, padded with zeros to 8 bytes
//!  state             the rest of the process (only in files exported from a snapshot), padded with zeros to 8 bytes
//!  run bytes         back to back in table order
//!  (zeros to a page) only where there are heap pages
//!  heap pages        back to back in table order
//! ```
//!
//! There is exactly one file for given contents. The tables before an offset imply its value, so no part can overlap
//! another, hide between two others or be named twice. [`Init::parse`] checks the whole file before the loader maps
//! anything. Its result needs no further check.

use crate::layout::{USER_END, USER_START};
use crate::{ARCH_X86_64, Checksum, Digest, FormatError, PAGE, page_down, page_up};
use core::ffi::CStr;
use core::mem::{offset_of, size_of};
use core::ops::Range;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

mod check;
mod exported;
#[cfg(feature = "alloc")]
mod write;
pub use exported::{Exported, NotPortable, Piece, Place, Places, Stored, not_portable, plan_of_state, program_file};
#[cfg(feature = "alloc")]
pub use write::{InitSource, encode, seal};

/// [`InitHeader::incompatible`]: the file is exported from a snapshot and holds the state of its process.
pub const FEATURE_EXPORTED: u64 = 1;

/// First bytes of the file.
pub const MAGIC: [u8; 8] = *b"SNAPINIT";
/// The version that this code reads and writes.
pub const VERSION: u16 = 1;
/// Most segments: the kernel loads no ELF whose program headers exceed 64 KiB.
pub const MAX_SEGMENTS: u32 = 65536 / 56;
/// Most runs of non-zero bytes.
pub const MAX_RUNS: u32 = 1 << 20;
/// Most heap runs.
pub const MAX_HEAP_RUNS: u32 = 1 << 20;
/// Longest interpreter path with its NUL (PATH_MAX).
pub const MAX_INTERP: u32 = 4096;
/// Longest state: a plan, and what debuggers read of one thread.
pub const MAX_STATE: u32 = 128 << 20;
/// `e_phentsize` of ELF64.
pub const PHENTSIZE: u16 = 56;
/// `e_type` of a program at fixed addresses.
pub const ET_EXEC: u16 = 2;
/// `e_type` of a position-independent program or shared library.
pub const ET_DYN: u16 = 3;

/// [`InitHeader::flags`]: the program marks a snapshot point (note `SNAPFN`, type 1).
pub const FLAG_READY_MARK: u32 = 1 << 0;
/// [`InitHeader::flags`]: there is a PT_GNU_STACK.
pub const FLAG_STACK: u32 = 1 << 1;
/// [`InitHeader::flags`]: the PT_GNU_STACK asks for an executable stack.
pub const FLAG_STACK_EXEC: u32 = 1 << 2;
/// [`InitHeader::flags`]: there is a PT_TLS.
pub const FLAG_TLS: u32 = 1 << 3;
/// [`InitHeader::flags`]: there is a PT_GNU_RELRO.
pub const FLAG_RELRO: u32 = 1 << 4;
/// [`InitHeader::flags`]: there is a PT_DYNAMIC.
pub const FLAG_DYNAMIC: u32 = 1 << 5;
const FLAGS_KNOWN: u32 = (1 << 6) - 1;

/// [`Segment::prot`], [`HeapRun::prot`]: as in `mmap`.
pub const PROT_READ: u32 = 1;
/// As in `mmap`.
pub const PROT_WRITE: u32 = 2;
/// As in `mmap`.
pub const PROT_EXEC: u32 = 4;
const PROT_ALL: u32 = PROT_READ | PROT_WRITE | PROT_EXEC;

/// The fixed header. Addresses are link-time addresses, as in the ELF file. The reader adds the load bias of an
/// [`ET_DYN`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct InitHeader {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: U16,
    /// `e_machine`, [`ARCH_X86_64`].
    pub arch: U16,
    /// [`ET_EXEC`] or [`ET_DYN`].
    pub elf_type: U16,
    /// `e_phnum` (AT_PHNUM).
    pub phnum: U16,
    /// Features that a reader must know: [`FEATURE_EXPORTED`].
    pub incompatible: U64,
    /// Features that a reader may ignore; none are defined.
    pub compatible: U64,
    /// Exact length of this file.
    pub file_len: U64,
    /// [`crate::checksum`] of the whole file, with this field zero.
    pub checksum: U64,
    /// SHA-256 of the executable that was split.
    pub exe_digest: Digest,
    /// SHA-256 of its code segment file.
    pub code_digest: Digest,
    /// Length of the executable.
    pub exe_size: U64,
    /// Length of the code segment file, the same number.
    pub code_size: U64,
    /// `e_entry`.
    pub entry: U64,
    /// Address of the program headers in memory (AT_PHDR), 0 if no segment holds them.
    pub phdr: U64,
    /// Address of the function `main`, 0 if the file has no such symbol.
    pub main: U64,
    /// PT_TLS: address of the template.
    pub tls_vaddr: U64,
    /// PT_TLS: initialised bytes.
    pub tls_filesz: U64,
    /// PT_TLS: size of a thread's block.
    pub tls_memsz: U64,
    /// PT_TLS: alignment, a power of two.
    pub tls_align: U64,
    /// PT_GNU_RELRO: address.
    pub relro_vaddr: U64,
    /// PT_GNU_RELRO: length in memory.
    pub relro_len: U64,
    /// PT_DYNAMIC: address.
    pub dynamic_vaddr: U64,
    /// PT_DYNAMIC: length.
    pub dynamic_len: U64,
    /// Lowest page of any segment.
    pub image_start: U64,
    /// End of the highest page of any segment.
    pub image_end: U64,
    /// Largest alignment of any segment: an [`ET_DYN`]'s load bias is a multiple of it.
    pub max_align: U64,
    /// `FLAG_*`.
    pub flags: U32,
    /// Number of [`Segment`]s.
    pub segment_count: U32,
    /// Number of [`Run`]s.
    pub run_count: U32,
    /// Number of [`HeapRun`]s.
    pub heap_count: U32,
    /// Length of the interpreter's path including its NUL, 0 if there is no PT_INTERP.
    pub interp_len: U32,
    /// Length of the state, not 0 with [`FEATURE_EXPORTED`], else 0.
    pub state_len: U32,
    /// Zero.
    pub reserved: [U32; 14],
}

/// One PT_LOAD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Segment {
    /// Address, not necessarily of a page.
    pub vaddr: U64,
    /// Bytes in memory, not 0.
    pub memsz: U64,
    /// Bytes that come from the file.
    pub filesz: U64,
    /// Offset of these bytes, in the ELF file and in the code segment file. It has the same offset in its page as
    /// `vaddr`, or is 0 if `filesz` is.
    pub offset: U64,
    /// `p_align`, raised to a page.
    pub align: U64,
    /// `PROT_*`.
    pub prot: U32,
    /// [`KIND_CODE`] or [`KIND_DATA`], which follows from `prot`.
    pub kind: U32,
    /// Index of the segment's first run.
    pub first_run: U32,
    /// Number of its runs.
    pub run_count: U32,
    /// Zero.
    pub reserved: U64,
}

/// [`Segment::kind`]: not writable: mapped from the code segment file.
pub const KIND_CODE: u32 = 1;
/// [`Segment::kind`]: writable: zeros, and the runs over them.
pub const KIND_DATA: u32 = 2;

/// What a segment's memory is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// Mapped from the code segment file; whole pages after the file's part are zero.
    Code,
    /// Anonymous memory: zeros, and the runs over them.
    Data,
}

impl Segment {
    /// What the memory is made from.
    pub fn kind(&self) -> SegmentKind {
        if self.kind.get() == KIND_DATA { SegmentKind::Data } else { SegmentKind::Code }
    }

    /// First page.
    pub fn page_start(&self) -> u64 {
        page_down(self.vaddr.get())
    }

    /// End of the last page.
    pub fn page_end(&self) -> u64 {
        page_end(self.vaddr.get(), self.memsz.get()).unwrap_or(USER_END)
    }

    /// End of the last page that holds bytes of the file. In a [`SegmentKind::Code`], the mapping of the file ends here
    /// and zero pages begin. It equals [`Segment::page_start`] if the file holds no bytes of the segment.
    pub fn file_page_end(&self) -> u64 {
        match self.filesz.get() {
            0 => self.page_start(),
            filesz => page_end(self.vaddr.get(), filesz).unwrap_or(USER_END),
        }
    }
}

/// Non-zero bytes of a [`SegmentKind::Data`] segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Run {
    /// Address.
    pub vaddr: U64,
    /// Length, not 0.
    pub len: U64,
    /// Where the bytes are in the init data file.
    pub offset: U64,
}

/// Pages outside every segment. Addresses are absolute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct HeapRun {
    /// Page address.
    pub addr: U64,
    /// Whole pages, not 0.
    pub len: U64,
    /// Page-aligned offset of the bytes in the init data file.
    pub offset: U64,
    /// `PROT_*`.
    pub prot: U32,
    /// Zero.
    pub reserved: U32,
}

/// A validated init data file.
#[derive(Clone, Copy, Debug)]
pub struct Init<'a> {
    bytes: &'a [u8],
    header: &'a InitHeader,
    segments: &'a [Segment],
    runs: &'a [Run],
    heap: &'a [HeapRun],
    interp: Option<&'a CStr>,
    state: Option<&'a [u8]>,
}

impl InitHeader {
    /// Length of the header.
    pub const LEN: usize = size_of::<InitHeader>();

    /// Reads the header alone: `bytes` is the beginning of a file, which may be cut off after the header. Each field is
    /// valid by itself. The function checks neither tables nor checksum.
    pub fn read(bytes: &[u8]) -> Result<&InitHeader, FormatError> {
        let known = bytes.len().min(MAGIC.len());
        if bytes.get(..known) != MAGIC.get(..known) {
            return Err(FormatError::Magic("an init data file"));
        }
        let (header, _) = InitHeader::ref_from_prefix(bytes).map_err(|_| FormatError::Truncated("the header"))?;
        header.check()?;
        Ok(header)
    }

    /// Whether the file is exported from a snapshot.
    pub fn is_exported(&self) -> bool {
        self.incompatible.get() & FEATURE_EXPORTED != 0
    }

    /// Where the state of an exported file lies in it, with its padding.
    pub fn state_range(&self) -> Range<u64> {
        let table = |count: U32, len: usize| u64::from(count.get()) * len as u64;
        let start = InitHeader::LEN as u64
            + table(self.segment_count, size_of::<Segment>())
            + table(self.run_count, size_of::<Run>())
            + table(self.heap_count, size_of::<HeapRun>())
            + u64::from(self.interp_len.get()).next_multiple_of(8);
        start..start + u64::from(self.state_len.get()).next_multiple_of(8)
    }

    fn check(&self) -> Result<(), FormatError> {
        if self.version != VERSION {
            return Err(FormatError::Version(self.version.get()));
        }
        if self.arch != ARCH_X86_64 {
            return Err(FormatError::Architecture(self.arch.get()));
        }
        let unknown = self.incompatible.get() & !FEATURE_EXPORTED;
        if unknown != 0 {
            return Err(FormatError::Features(unknown));
        }
        if self.is_exported() != (self.state_len != 0) {
            return Err(FormatError::Invalid("length of the state"));
        }
        if self.reserved.iter().any(|word| *word != 0) {
            return Err(FormatError::Reserved("the header"));
        }
        if self.elf_type != ET_EXEC && self.elf_type != ET_DYN {
            return Err(FormatError::Invalid("ELF type"));
        }
        at_most(self.segment_count, MAX_SEGMENTS, "number of segments")?;
        at_most(self.run_count, MAX_RUNS, "number of runs")?;
        at_most(self.heap_count, MAX_HEAP_RUNS, "number of heap runs")?;
        at_most(self.interp_len, MAX_INTERP, "length of the interpreter's path")?;
        at_most(self.state_len, MAX_STATE, "length of the state")?;
        if self.segment_count == 0 || self.segment_count.get() > u32::from(self.phnum.get()) {
            return Err(FormatError::Invalid("number of segments"));
        }
        if self.exe_size != self.code_size {
            return Err(FormatError::Invalid("size of the code segment file"));
        }
        let (start, end) = (self.image_start.get(), self.image_end.get());
        let floor = if self.elf_type == ET_EXEC { USER_START } else { 0 };
        if start % PAGE != 0 || end % PAGE != 0 || start < floor || start >= end || end > USER_END {
            return Err(FormatError::Invalid("image span"));
        }
        let flags = self.flags.get();
        if flags & !FLAGS_KNOWN != 0 || (flags & FLAG_STACK_EXEC != 0 && flags & FLAG_STACK == 0) {
            return Err(FormatError::Invalid("flags"));
        }
        self.check_addresses()
    }

    /// Everything that a flag announces lies in the image; without its flag, every field is zero.
    fn check_addresses(&self) -> Result<(), FormatError> {
        let within = |start: u64, len: u64| {
            start >= self.image_start.get() && start.checked_add(len).is_some_and(|end| end <= self.image_end.get())
        };
        let absent = |fields: &[U64]| fields.iter().all(|field| *field == 0);
        let entry = self.entry.get();
        if entry >= USER_END {
            return Err(FormatError::Invalid("entry address"));
        }
        if self.main != 0 && !within(self.main.get(), 1) {
            return Err(FormatError::Invalid("address of main"));
        }
        if self.phdr != 0 && !within(self.phdr.get(), u64::from(self.phnum.get()) * u64::from(PHENTSIZE)) {
            return Err(FormatError::Invalid("address of the program headers"));
        }
        let tls = if self.flags.get() & FLAG_TLS != 0 {
            let inside = self.tls_filesz == 0 || within(self.tls_vaddr.get(), self.tls_filesz.get());
            let block = self.tls_vaddr.get().checked_add(self.tls_memsz.get());
            inside
                && self.tls_filesz.get() <= self.tls_memsz.get()
                && block.is_some_and(|end| end <= USER_END)
                && self.tls_align.get().is_power_of_two()
        } else {
            absent(&[self.tls_vaddr, self.tls_filesz, self.tls_memsz, self.tls_align])
        };
        if !tls {
            return Err(FormatError::Invalid("TLS template"));
        }
        let relro = if self.flags.get() & FLAG_RELRO != 0 {
            within(self.relro_vaddr.get(), self.relro_len.get())
        } else {
            absent(&[self.relro_vaddr, self.relro_len])
        };
        if !relro {
            return Err(FormatError::Invalid("RELRO range"));
        }
        let dynamic = if self.flags.get() & FLAG_DYNAMIC != 0 {
            within(self.dynamic_vaddr.get(), self.dynamic_len.get())
        } else {
            absent(&[self.dynamic_vaddr, self.dynamic_len])
        };
        if !dynamic {
            return Err(FormatError::Invalid("dynamic section"));
        }
        Ok(())
    }
}

impl<'a> Init<'a> {
    /// Parses and checks a whole file.
    pub fn parse(bytes: &'a [u8]) -> Result<Init<'a>, FormatError> {
        let header = InitHeader::read(bytes)?;
        let (recorded, actual) = (header.file_len.get(), bytes.len() as u64);
        if recorded != actual {
            return Err(FormatError::Size { recorded, actual });
        }
        if whole_checksum(bytes) != Some(header.checksum.get()) {
            return Err(FormatError::Checksum("the init data file"));
        }
        let rest = bytes.get(InitHeader::LEN..).unwrap_or_default();
        let (segments, rest) = table::<Segment>(rest, header.segment_count, "the segment table")?;
        let (runs, rest) = table::<Run>(rest, header.run_count, "the run table")?;
        let (heap, rest) = table::<HeapRun>(rest, header.heap_count, "the heap table")?;
        let (interp, rest) = read_interp(rest, header.interp_len.get())?;
        let (state, rest) = padded(rest, header.state_len.get() as usize, "the state")?;
        let state = header.is_exported().then_some(state);
        check::segments(header, segments)?;
        let data = actual - rest.len() as u64;
        let data_end = check::runs(header, segments, runs, data)?;
        let end = check::heap(header, segments, heap, bytes, data_end)?;
        if end != actual {
            return Err(FormatError::Size { recorded: end, actual });
        }
        Ok(Init { bytes, header, segments, runs, heap, interp, state })
    }

    /// The fixed header.
    pub fn header(&self) -> &'a InitHeader {
        self.header
    }

    /// All segments, by address; no two share a page.
    pub fn segments(&self) -> &'a [Segment] {
        self.segments
    }

    /// All runs, by address.
    pub fn runs(&self) -> &'a [Run] {
        self.runs
    }

    /// The runs of one of [`Init::segments`].
    pub fn runs_of(&self, segment: &Segment) -> &'a [Run] {
        let first = segment.first_run.get() as usize;
        self.runs.get(first..first.saturating_add(segment.run_count.get() as usize)).unwrap_or_default()
    }

    /// The bytes of one of [`Init::runs`].
    pub fn run_bytes(&self, run: &Run) -> &'a [u8] {
        self.slice(run.offset.get(), run.len.get())
    }

    /// Pages outside every segment, by address.
    pub fn heap(&self) -> &'a [HeapRun] {
        self.heap
    }

    /// The pages of one of [`Init::heap`].
    pub fn heap_bytes(&self, run: &HeapRun) -> &'a [u8] {
        self.slice(run.offset.get(), run.len.get())
    }

    /// The state of the process, in a file that is exported from a snapshot. [`Exported`] reads it.
    pub fn state(&self) -> Option<&'a [u8]> {
        self.state
    }

    /// The program interpreter (PT_INTERP).
    pub fn interp(&self) -> Option<&'a CStr> {
        self.interp
    }

    fn slice(&self, offset: u64, len: u64) -> &'a [u8] {
        let range = usize::try_from(offset).ok().zip(offset.checked_add(len).and_then(|end| usize::try_from(end).ok()));
        range.and_then(|(start, end)| self.bytes.get(start..end)).unwrap_or_default()
    }
}

fn at_most(value: U32, limit: u32, what: &'static str) -> Result<(), FormatError> {
    if value.get() > limit { Err(FormatError::TooLarge(what)) } else { Ok(()) }
}

fn page_end(start: u64, len: u64) -> Option<u64> {
    page_up(start.checked_add(len)?)
}

/// The checksum of the whole file, as if its own field were zero; `None` if the file has no such field.
fn whole_checksum(bytes: &[u8]) -> Option<u64> {
    const AT: usize = offset_of!(InitHeader, checksum);
    const { assert!(AT % 8 == 0) };
    let mut sum = Checksum::new();
    sum.update(bytes.get(..AT)?);
    sum.update(&[0; 8]);
    sum.update(bytes.get(AT + 8..)?);
    Some(sum.finish())
}

fn table<'a, T: FromBytes + Immutable + KnownLayout + Unaligned>(
    bytes: &'a [u8],
    count: U32,
    what: &'static str,
) -> Result<(&'a [T], &'a [u8]), FormatError> {
    <[T]>::ref_from_prefix_with_elems(bytes, count.get() as usize).map_err(|_| FormatError::Truncated(what))
}

/// The interpreter's path without its padding.
fn read_interp(bytes: &[u8], len: u32) -> Result<(Option<&CStr>, &[u8]), FormatError> {
    if len == 0 {
        return Ok((None, bytes));
    }
    let (path, rest) = padded(bytes, len as usize, "the interpreter's path")?;
    let path = CStr::from_bytes_with_nul(path).map_err(|_| FormatError::Invalid("interpreter's path"))?;
    if path.is_empty() {
        return Err(FormatError::Invalid("interpreter's path"));
    }
    Ok((Some(path), rest))
}

/// `len` bytes, which zeros pad to a multiple of 8, and what follows them.
fn padded<'a>(bytes: &'a [u8], len: usize, what: &'static str) -> Result<(&'a [u8], &'a [u8]), FormatError> {
    let (part, rest) = bytes.split_at_checked(len.next_multiple_of(8)).ok_or(FormatError::Truncated(what))?;
    let (part, padding) = part.split_at_checked(len).ok_or(FormatError::Truncated(what))?;
    if padding.iter().any(|&byte| byte != 0) {
        return Err(FormatError::Reserved(what));
    }
    Ok((part, rest))
}

#[cfg(all(test, feature = "alloc"))]
mod tests;
