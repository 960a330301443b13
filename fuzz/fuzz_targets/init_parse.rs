//! Init data files. The target corrects the checksum first, so that the fuzzer reaches the checks behind it. A file
//! that is accepted must be the one that the writer makes of its contents. The reader of exported files gets it, too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use snapfn_format::init::{Exported, Init, InitSource, encode, seal};

fuzz_target!(|data: &[u8]| {
    let _ = Init::parse(data);
    let mut sealed = data.to_vec();
    seal(&mut sealed);
    let Ok(init) = Init::parse(&sealed) else { return };
    let _ = Exported::parse(init);
    for segment in init.segments() {
        assert!(segment.page_start() < segment.page_end() && segment.file_page_end() <= segment.page_end());
        for run in init.runs_of(segment) {
            assert_eq!(init.run_bytes(run).len() as u64, run.len.get());
        }
    }
    let again = InitSource {
        header: *init.header(),
        segments: init.segments().to_vec(),
        runs: init.runs().iter().map(|run| (run.vaddr.get(), init.run_bytes(run))).collect(),
        heap: init.heap().iter().map(|run| (run.addr.get(), run.prot.get(), init.heap_bytes(run))).collect(),
        interp: init.interp(),
        state: init.state(),
    };
    assert_eq!(encode(&again).as_deref(), Ok(&sealed[..]));
});
