//! Files that the program has made before its point: every instance uses the same, and one that removes them takes them
//! away from the others.

use crate::tracee::Tracer;
use crate::tracee::maps::Vma;
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Where programs make files of which only they know the names.
const TEMPORARY: [&str; 4] = ["/tmp", "/var/tmp", "/dev/shm", "/run"];
/// So many files are named.
const NAMED: usize = 3;

/// A note about the files that the program still uses, by a descriptor or a mapping, or that are temporary. One run
/// makes other files for the next, such as caches. Files in the `directory` where the program started are its results.
pub(super) fn note(tracer: &Tracer, vmas: &[Vma], directory: &Path) -> Option<String> {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", tracer.pid)).into_iter().flatten().flatten();
    let open = descriptors.filter_map(|entry| fs::metadata(entry.path()).ok());
    let open: HashSet<(u64, u64)> = open.map(|about| (about.dev(), about.ino())).collect();
    let mapped: HashSet<u64> = vmas.iter().filter(|vma| vma.has_file()).map(|vma| vma.inode).collect();
    let is_temporary =
        |path: &Path| TEMPORARY.iter().any(|place| path.starts_with(place)) && !path.starts_with(directory);
    let used: Vec<String> = tracer
        .ledger
        .made_files()
        .filter(|(path, about)| {
            open.contains(&(about.dev(), about.ino())) || mapped.contains(&about.ino()) || is_temporary(path)
        })
        .map(|(path, _)| path.display().to_string())
        .collect();
    let named = used.get(..NAMED.min(used.len()))?.join(", ");
    let more = used.len().saturating_sub(NAMED);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!used.is_empty()).then(|| {
        format!(
            "the program has made {named}{rest} before its point, and all instances use the same: keep them, or let \
             the program make files after the point or without a name (O_TMPFILE, memfd_create)"
        )
    })
}
