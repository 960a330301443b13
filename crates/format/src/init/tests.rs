use super::write::seal;
use super::*;
use proptest::prelude::*;
use std::vec::Vec;

const TEXT: u64 = 0x40_0000;
const DATA: u64 = 0x40_2e10;

fn source<'a>() -> InitSource<'a> {
    let segment = |vaddr: u64, memsz, filesz, offset, prot, kind, runs| Segment {
        vaddr: U64::new(vaddr),
        memsz: U64::new(memsz),
        filesz: U64::new(filesz),
        offset: U64::new(offset),
        align: U64::new(0x1000),
        prot: U32::new(prot),
        kind: U32::new(kind),
        run_count: U32::new(runs),
        ..Segment::default()
    };
    InitSource {
        header: InitHeader {
            elf_type: U16::new(ET_EXEC),
            phnum: U16::new(9),
            exe_digest: Digest(core::array::from_fn(|i| i as u8)),
            code_digest: Digest(core::array::from_fn(|i| 255 - i as u8)),
            exe_size: U64::new(0x4321),
            code_size: U64::new(0x4321),
            entry: U64::new(TEXT + 0x1040),
            phdr: U64::new(TEXT + 64),
            main: U64::new(TEXT + 0x1139),
            tls_vaddr: U64::new(DATA),
            tls_filesz: U64::new(8),
            tls_memsz: U64::new(40),
            tls_align: U64::new(8),
            relro_vaddr: U64::new(DATA),
            relro_len: U64::new(0x1f0),
            dynamic_vaddr: U64::new(DATA + 16),
            dynamic_len: U64::new(0x100),
            flags: U32::new(FLAG_READY_MARK | FLAG_STACK | FLAG_TLS | FLAG_RELRO | FLAG_DYNAMIC),
            ..InitHeader::default()
        },
        segments: vec![
            segment(TEXT, 0x1234, 0x1234, 0, PROT_READ | PROT_EXEC, KIND_CODE, 0),
            segment(DATA, 0x3000, 0x400, 0x1e10, PROT_READ | PROT_WRITE, KIND_DATA, 2),
            segment(0x80_0000, 0x10, 0, 0, PROT_READ | PROT_WRITE, KIND_DATA, 0),
        ],
        runs: vec![(DATA + 8, b"first run"), (DATA + 0x300, b"and the second")],
        heap: vec![(0x100_0000, PROT_READ | PROT_WRITE, &[0x5a; 8192])],
        interp: Some(c"/lib64/ld-linux-x86-64.so.2"),
        state: None,
    }
}

#[test]
fn the_header_tells_where_the_state_is() {
    for interp in [None, Some(c"/lib64/ld-linux-x86-64.so.2")] {
        let mut exported = InitSource { interp, state: Some(b"eleven byte"), ..source() };
        exported.header.incompatible = U64::new(FEATURE_EXPORTED);
        let file = encode(&exported).unwrap();
        let range = InitHeader::read(&file).unwrap().state_range();
        assert_eq!(&file[range.start as usize..range.end as usize], b"eleven byte\0\0\0\0\0");
    }
}

#[test]
fn round_trip() {
    let file = encode(&source()).unwrap();
    let init = Init::parse(&file).unwrap();
    let header = init.header();
    assert_eq!((header.image_start.get(), header.image_end.get()), (TEXT, 0x80_1000));
    assert_eq!(header.max_align, 0x1000);
    assert_eq!(init.interp(), Some(c"/lib64/ld-linux-x86-64.so.2"));
    let [text, data, bss] = init.segments() else { panic!("{:?}", init.segments()) };
    assert_eq!((text.kind(), text.file_page_end(), text.page_end()), (SegmentKind::Code, TEXT + 0x2000, TEXT + 0x2000));
    assert_eq!((data.kind(), data.page_start(), data.page_end()), (SegmentKind::Data, 0x40_2000, 0x40_6000));
    assert_eq!((bss.file_page_end(), bss.page_end()), (0x80_0000, 0x80_1000));
    assert!(init.runs_of(text).is_empty() && init.runs_of(bss).is_empty());
    assert_eq!(init.runs_of(data), init.runs());
    assert_eq!(init.run_bytes(&init.runs()[1]), b"and the second");
    assert_eq!(init.heap_bytes(&init.heap()[0]), [0x5a; 8192]);
    assert_eq!(InitHeader::read(&file[..InitHeader::LEN]).unwrap(), header);
}

/// The golden file of version 1. A change of the format needs a new version and a new file beside it.
#[test]
fn golden_file() {
    let golden: &[u8] = include_bytes!("../../tests/golden/init-v1.init");
    assert_eq!(encode(&source()).unwrap(), golden);
    assert_eq!(Init::parse(golden).unwrap().header().version, 1);
}

/// Miri is a thousand times slower, so the test checks a few of many under it.
const STEP: usize = if cfg!(miri) { 4999 } else { 1 };

#[test]
fn every_bit_flip_and_every_cut_is_refused() {
    let mut small = source();
    small.heap.clear();
    for good in [encode(&source()).unwrap(), encode(&small).unwrap()] {
        for bit in (0..good.len() * 8).step_by(STEP) {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Init::parse(&bad).is_err(), "bit {bit}");
        }
        for len in (0..good.len()).step_by(STEP) {
            assert!(Init::parse(&good[..len]).is_err(), "cut to {len}");
        }
        let mut long = good.clone();
        long.push(0);
        assert!(Init::parse(&long).is_err());
    }
}

/// Each edit breaks one rule and then corrects the checksum. The error must name the rule.
#[test]
fn consistent_forgeries_are_refused() {
    type Edit = fn(&mut InitSource<'_>);
    let edits: &[(&str, Edit)] = &[
        ("ELF type", |s| s.header.elf_type = U16::new(1)),
        ("number of segments", |s| s.segments.clear()),
        ("number of segments", |s| s.header.phnum = U16::new(2)),
        ("size of the code segment file", |s| s.header.exe_size = U64::new(1)),
        ("entry address", |s| s.header.entry = U64::new(USER_END)),
        ("address of main", |s| s.header.main = U64::new(0x7000)),
        ("address of the program headers", |s| s.header.phdr = U64::new(0x80_0ff0)),
        ("TLS template", |s| s.header.tls_filesz = U64::new(41)),
        ("TLS template", |s| s.header.tls_align = U64::new(3)),
        ("TLS template", |s| s.header.tls_memsz = U64::new(u64::MAX)),
        ("TLS template", |s| s.header.flags &= U32::new(!FLAG_TLS)),
        ("RELRO range", |s| s.header.relro_len = U64::new(u64::MAX)),
        ("dynamic section", |s| s.header.dynamic_vaddr = U64::new(0)),
        ("flags", |s| s.header.flags = U32::new(1 << 6)),
        ("flags", |s| s.header.flags = U32::new(FLAG_STACK_EXEC)),
        ("reserved bytes in the header", |s| s.header.reserved[13] = U32::new(1 << 31)),
        ("needs unknown features 0x8", |s| s.header.incompatible = U64::new(8)),
        ("size of the segment in record 0", |s| s.segments[0].filesz = U64::new(0x1235)),
        ("size of the segment in record 2", |s| s.segments[2].memsz = U64::new(0)),
        ("order of the segments", |s| s.segments[0].memsz = U64::new(0x2001)),
        ("address range of the segment", |s| s.segments[2].memsz = U64::new(u64::MAX)),
        ("image span", |s| s.segments[0].vaddr = U64::new(0)),
        ("alignment of the segment in record 1", |s| s.segments[1].align = U64::new(0x1800)),
        ("alignment of the segment in record 1", |s| s.segments[1].align = U64::new(8)),
        ("protection or kind", |s| s.segments[0].prot = U32::new(PROT_WRITE)),
        ("protection or kind", |s| s.segments[0].prot = U32::new(8)),
        ("protection or kind", |s| s.segments[0].kind = U32::new(3)),
        ("file offset", |s| s.segments[1].offset = U64::new(0x1e11)),
        ("file offset", |s| s.segments[1].offset = U64::new(0x4e10)),
        ("file offset", |s| s.segments[2].offset = U64::new(0x1000)),
        ("reserved bytes in a segment", |s| s.segments[2].reserved = U64::new(1)),
        ("runs of the segment", |s| s.segments[0].run_count = U32::new(1)),
        ("runs of the segment", |s| s.segments[1].run_count = U32::new(3)),
        ("number of runs", |s| s.segments[1].run_count = U32::new(1)),
        ("address range of the run in record 0", |s| s.runs[0].0 = DATA - 1),
        ("address range of the run in record 1", |s| s.runs[1].0 = DATA + 0x400),
        ("address range of the run in record 1", |s| s.runs[1].0 = DATA + 16),
        ("address range of the run in record 1", |s| s.runs[1].0 = u64::MAX),
        ("address range of the run in record 1", |s| s.runs[1].1 = &[]),
        ("address range of the heap run in record 0", |s| s.heap[0].0 = 0x100_0008),
        ("address range of the heap run in record 0", |s| s.heap[0].0 = 0),
        ("address range of the heap run in record 0", |s| s.heap[0].2 = &[1; 100]),
        ("heap run (a segment's) in record 0", |s| s.heap[0].0 = 0x40_1000),
        ("protection of the heap run", |s| s.heap[0].1 = 8),
        ("interpreter's path", |s| s.interp = Some(c"")),
    ];
    for (expected, edit) in edits {
        let mut forged = source();
        edit(&mut forged);
        let error = encode(&forged).expect_err(expected).to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

/// The same for fields that the writer fills in.
#[test]
fn forged_bytes_are_refused() {
    let good = encode(&source()).unwrap();
    let heap_at = InitHeader::LEN + 3 * size_of::<Segment>() + 2 * size_of::<Run>();
    let interp_end = heap_at + size_of::<HeapRun>() + 28;
    let edits: &[(&str, usize, u8)] = &[
        ("not an init data file", 0, b'X'),
        ("format version 2", offset_of!(InitHeader, version), 2),
        ("another architecture", offset_of!(InitHeader, arch), 183),
        ("number of segments is above its limit", offset_of!(InitHeader, segment_count) + 3, 1),
        ("number of runs is above its limit", offset_of!(InitHeader, run_count) + 3, 1),
        ("number of heap runs is above its limit", offset_of!(InitHeader, heap_count) + 3, 1),
        ("path is above its limit", offset_of!(InitHeader, interp_len) + 3, 1),
        ("the run table", offset_of!(InitHeader, run_count) + 1, 0xff),
        ("image span", offset_of!(InitHeader, image_end) + 2, 0x81),
        ("alignment of the image", offset_of!(InitHeader, max_align) + 1, 0x20),
        ("runs of the segment in record 1", InitHeader::LEN + 64 + offset_of!(Segment, first_run), 1),
        ("offset of the run in record 0", heap_at - 48 + offset_of!(Run, offset), 0),
        ("offset of the heap run", heap_at + offset_of!(HeapRun, offset) + 1, 0x20),
        ("reserved bytes in a heap run", heap_at + offset_of!(HeapRun, reserved), 1),
        ("interpreter's path", interp_end - 1, b'x'),
        ("reserved bytes in the interpreter's path", interp_end, 1),
        ("padding before the heap pages", 4095, 1),
    ];
    for (expected, at, value) in edits {
        let mut bad = good.clone();
        bad[*at] = *value;
        seal(&mut bad);
        let error = Init::parse(&bad).expect_err(expected).to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

fn accepted_is_canonical(bytes: &[u8]) {
    let Ok(init) = Init::parse(bytes) else { return };
    let again = InitSource {
        header: *init.header(),
        segments: init.segments().to_vec(),
        runs: init.runs().iter().map(|run| (run.vaddr.get(), init.run_bytes(run))).collect(),
        heap: init.heap().iter().map(|run| (run.addr.get(), run.prot.get(), init.heap_bytes(run))).collect(),
        interp: init.interp(),
        state: init.state(),
    };
    assert_eq!(encode(&again).as_deref(), Ok(bytes));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 256 }))]

    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        prop_assert!(Init::parse(&bytes).is_err());
    }

    /// Random edits with a corrected checksum reach the checks behind it. If a file still passes, it must be the file
    /// that the writer makes of its contents.
    #[test]
    fn resealed_edits_never_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = encode(&source()).unwrap();
        for (at, value) in edits {
            let tables = 1024.min(bytes.len());
            bytes[at.index(tables)] = value;
        }
        seal(&mut bytes);
        accepted_is_canonical(&bytes);
    }

    #[test]
    fn any_flip_is_refused(at: prop::sample::Index, bit in 0..8u8) {
        let mut bytes = encode(&source()).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(Init::parse(&bytes).is_err());
    }
}
