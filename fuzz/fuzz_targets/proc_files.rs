//! Files of /proc. The kernel is trusted, but the program chooses names of threads and paths. The first byte selects
//! the file.
#![no_main]
#![allow(dead_code, reason = "the snapshotter uses the rest")]

#[path = "../../snapshotter/src/proc/mod.rs"]
mod proc;

use libfuzzer_sys::fuzz_target;
use proc::status::Status;
use proc::{fdinfo, maps, timers};

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(data);
    match kind % 5 {
        0 => {
            for vma in maps::parse(data).into_iter().flatten() {
                assert!(vma.start < vma.end && vma.prot < 8 && !vma.contains(vma.end) && vma.contains(vma.start));
                let _ = (vma.has("sl"), vma.has_file(), vma.path());
            }
        }
        1 => {
            let status = Status::parse(data);
            let _ = (status.set("SigBlk"), status.has_ended(), status.seccomp(), status.get("Umask"));
            // No name of a thread may look like another field: the kernel escapes line ends.
            if !data.contains(&b'\n') && data.len() < 64 {
                let whole = [b"Name:\t", data, b"\nUmask:\t0022\n"].concat();
                assert_eq!(Status::parse(&whole).get("Umask"), "0022");
            }
        }
        2 | 3 => {
            let _ = fdinfo::field(&text, "flags:");
            for line in text.lines() {
                drop(fdinfo::pairs(line));
                if let Some(step) = fdinfo::lock(line) {
                    let is_lock = matches!(step, snapfn_format::snap::Step::Lock { start, len, .. } if start.checked_add(len).is_some());
                    assert!(is_lock);
                }
            }
        }
        _ => {
            let listed = timers::parse(&text).unwrap_or_default();
            assert!(listed.windows(2).all(|pair| pair[0].id <= pair[1].id));
        }
    }
});
