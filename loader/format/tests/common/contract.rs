//! What the loader does with a parsed plan without looking again, checked once more by other means. Shared with the
//! fuzz target.

use snapfn_format::PAGE;
use snapfn_format::layout::{LOADER_END, LOADER_START, USER_END, USER_START};
use snapfn_format::snap::*;

/// Whether those bytes lie in the snapshot or a data file of the store.
fn stored(plan: &Plan<'_>, file: u16, offset: u64, len: u64) -> bool {
    let file = &plan.files[usize::from(file)];
    matches!(file.kind, FILE_SELF | FILE_DATA) && offset.checked_add(len).unwrap() <= file.size
}

/// Panics where a plan that was accepted would break the loader.
pub(crate) fn check_contract(plan: &Plan<'_>) {
    let mut end = 0;
    let mut last: Option<&Op> = None;
    for op in plan.ops {
        assert!(op.len > 0 && op.addr % PAGE == 0 && op.len % PAGE == 0);
        let op_end = op.addr.checked_add(op.len).unwrap();
        assert!(op.addr >= USER_START && op_end <= USER_END);
        assert!(op_end <= LOADER_START || op.addr >= LOADER_END);
        assert!(op.kind != OP_MAP_FILE || usize::from(op.file) < plan.files.len());
        match op.kind {
            OP_READ | OP_PROTECT | OP_ADVISE | OP_LOCK => {
                let map = last.unwrap();
                assert!(op.addr >= map.addr && op_end <= map.addr + map.len, "outside of the last mapping");
            }
            _ => {
                assert!(op.addr >= end, "maps overlap");
                end = op_end;
                last = Some(op);
            }
        }
        if op.kind == OP_READ {
            assert!(stored(plan, op.file, op.offset, op.len) && op.offset % PAGE == 0);
        }
        if op.kind == OP_MAP_FILE && op.file == 0 {
            // Or a mapping behind the end of the file, all of it.
            let behind = op.offset >= plan.header.file_size;
            let inside = || op.offset.checked_add(op.len).is_some_and(|end| end <= plan.header.file_size);
            assert!(op.offset % PAGE == 0 && (behind || inside()));
        }
    }
    // Each page of the range, in whatever mapping it is.
    let writable = |addr: u64, len: u64| {
        let pages = addr / PAGE..addr.checked_add(len).unwrap().div_ceil(PAGE);
        pages.map(|page| page * PAGE).all(|page| {
            plan.ops.iter().any(|op| {
                !matches!(op.kind, OP_READ | OP_PROTECT | OP_ADVISE | OP_LOCK)
                    && op.prot & PROT_WRITE != 0
                    && (op.addr..op.addr + op.len).contains(&page)
            })
        })
    };
    for patch in plan.patches {
        match patch.place {
            PATCH_MEMORY => {
                assert!(writable(patch.addr, if matches!(patch.kind, PATCH_TID | PATCH_TID_FUTEX) { 4 } else { 8 }))
            }
            _ => assert!((patch.addr as usize) < REGS && (patch.arg as usize) < plan.threads.len()),
        }
    }
    let p = &plan.header.process;
    for (addr, len) in [(p.at_random, 16), (p.auxv, p.auxv_len), (p.info, 48)] {
        assert!(addr == 0 || writable(addr, len));
    }
    let largest = plan.threads.iter().map(|thread| thread.xstate.len).max().unwrap();
    let work = resident::work_len(plan.threads.len() as u64, u64::from(largest));
    assert!(writable(p.resident + resident::SLOTS, PAGE + work));
    for thread in plan.threads {
        assert_eq!(plan.bytes(thread.xstate).len(), thread.xstate.len as usize);
        assert!(thread.tid_cache == 0 || writable(thread.tid_cache, 4));
        assert!(thread.rseq == 0 || writable(thread.rseq, u64::from(thread.rseq_len)));
    }
    for fd in plan.fds.iter().filter(|fd| fd.kind == FD_PATH) {
        assert!(std::ffi::CStr::from_bytes_with_nul(plan.bytes(fd.path)).is_ok());
    }
    for step in plan.fd_steps {
        assert!((step.fd as usize) < plan.fds.len());
        if step.kind == STEP_CONTENT {
            assert!(stored(plan, (step.c % PAGE) as u16, step.c / PAGE * PAGE, step.b));
        }
        if step.kind == STEP_WATCH {
            assert!(std::ffi::CStr::from_bytes_with_nul(plan.bytes(step.data)).is_ok());
        }
    }
    for signal in plan.pending {
        assert_eq!(plan.bytes(signal.info).len(), 128);
    }
}
