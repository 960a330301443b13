//! From VMAs to regions: adjacent memory of the same treatment.

use super::check::ADVICE_FLAGS;
use super::{Area, AreaKind, HostFile, Image, guards, is_ours};
use crate::dump::elf_store::ElfStore;
use crate::tracee::maps::Vma;
use crate::tracee::ptrace::Tid;
use crate::tracee::{TraceError, Tracer};
use snapfn_format::PAGE;
use snapfn_format::snap::PROT_WRITE;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;

/// How a region's pages are classified.
pub(super) enum Kind {
    /// Pages may equal those of a stored file at this offset; where its image starts in memory.
    File(usize, u64, Option<u64>),
    /// Zero or stored.
    Private,
    /// Shared with a file of the host, or with a descriptor: its content is not read.
    Host(usize, u64),
    Descriptor(u32, u64),
}

/// Memory with one treatment.
pub(super) struct Region {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) prot: u16,
    pub(super) area: Area,
    pub(super) kind: Kind,
    pub(super) has_file: bool,
    /// Its last pages lie behind the end of the file: an access is SIGBUS.
    pub(super) cut: bool,
    /// None of its pages is in memory or swapped: all zero, if anonymous.
    pub(super) untouched: bool,
}

/// The object behind shared memory.
pub(super) enum Backing {
    /// Not shared, or read-only: treated like private memory.
    Private,
    /// Only this process has it: anonymous, or a deleted file without a descriptor.
    Anonymous,
    /// A file that can be mapped again.
    Path,
    /// An open descriptor of the program.
    Descriptor(u32),
}

/// A device and an inode.
type FileId = ((u32, u32), u64);

/// Facts about all shared memory of the program, gathered once: it may have many mappings and descriptors.
pub(super) struct Backings {
    /// By inode: the paths under which the descriptors of files were opened, in ascending order of their numbers.
    descriptors: HashMap<u64, Vec<(u32, String)>>,
    /// Starts of shared areas that map bytes of their file which another one maps, too.
    twice: HashSet<u64>,
}

impl Backings {
    pub(super) fn new(vmas: &[Vma], pid: Tid) -> Self {
        let mut descriptors: HashMap<u64, Vec<(u32, String)>> = HashMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let Some(fd) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let Ok(meta) = fs::metadata(entry.path()) else { continue };
            if let Some(target) = fs::read_link(entry.path()).ok().filter(|_| meta.is_file()) {
                descriptors.entry(meta.ino()).or_default().push((fd, target.to_string_lossy().into_owned()));
            }
        }
        descriptors.values_mut().for_each(|list| list.sort_unstable());
        let mut files: HashMap<FileId, Vec<(u64, u64, u64)>> = HashMap::new();
        for vma in vmas.iter().filter(|vma| vma.shared && vma.has_file()) {
            let shown = (vma.offset, vma.offset + (vma.end - vma.start), vma.start);
            files.entry((vma.device, vma.inode)).or_default().push(shown);
        }
        Backings { descriptors, twice: files.into_values().flat_map(shown_twice).collect() }
    }

    /// The way to restore shared memory; an error names the obstacle and the remedy.
    pub(super) fn of(&self, vma: &Vma) -> Result<Backing, (String, &'static str)> {
        if !vma.shared || !vma.has_file() {
            return Ok(Backing::Private);
        }
        let path = vma.path();
        let is_same = || fs::metadata(&path).is_ok_and(|meta| meta.ino() == vma.inode && meta.is_file());
        if !vma.deleted && is_same() {
            return Ok(if vma.prot & PROT_WRITE == 0 && !vma.has("mw") { Backing::Private } else { Backing::Path });
        }
        if !vma.deleted && vma.name.starts_with("/dev/") && !vma.name.starts_with("/dev/zero") {
            return Err((format!("memory of the device {}", vma.name), "close the device before the snapshot point"));
        }
        if vma.name.starts_with("/SYSV") {
            return Err(("System V shared memory".to_owned(), "attach it after the snapshot point"));
        }
        let mut open = self.descriptors.get(&vma.inode).into_iter().flatten();
        if let Some((fd, _)) = open.find(|(_, target)| target.starts_with(&vma.name)) {
            return Ok(Backing::Descriptor(*fd));
        }
        if self.twice.contains(&vma.start) {
            return Err((
                "shared memory that is mapped twice".to_owned(),
                "unmap one of the two before the snapshot point",
            ));
        }
        // The kernel does not report which of its pages exist: another process may have written to some that this one
        // never touched.
        if vma.end - vma.start > SHARED_MAX {
            let what =
                format!("{} GiB of shared memory, all of which would have to be read", (vma.end - vma.start) >> 30);
            return Err((what, "map it privately, or from a file that stays open"));
        }
        Ok(Backing::Anonymous)
    }
}

/// More shared memory in one piece is not read.
const SHARED_MAX: u64 = 16 << 30;

/// Of ranges of one file (start, end, address), the addresses of those that overlap another one.
fn shown_twice(mut ranges: Vec<(u64, u64, u64)>) -> Vec<u64> {
    ranges.sort_unstable();
    let mut reached = 0;
    let mut found = Vec::new();
    for (index, (start, end, addr)) in ranges.iter().enumerate() {
        if *start < reached || ranges.get(index + 1).is_some_and(|next| next.0 < *end) {
            found.push(*addr);
        }
        reached = reached.max(*end);
    }
    found
}

/// All regions of the program, in ascending order.
pub(super) fn find(
    tracer: &Tracer,
    vmas: &[Vma],
    elves: &mut ElfStore,
    image: &mut Image,
) -> Result<Vec<Region>, TraceError> {
    let mut regions: Vec<Region> = Vec::new();
    let mut bases: HashMap<&str, u64> = HashMap::new();
    let backings = Backings::new(vmas, tracer.pid);
    for vma in vmas.iter().filter(|vma| !is_ours(tracer, vma)) {
        if vma.has_file() && vma.offset == 0 {
            bases.insert(&vma.name, vma.start);
        }
        let backing = backings.of(vma).unwrap_or(Backing::Private);
        let mut region = region_of(vma, backing, bases.get(vma.name.as_str()).copied(), elves, image);
        region.area.guards = guards::within(tracer, vma.start, vma.end)?;
        region.cut = vma.has_file() && tracer.memory.read(vma.end - PAGE, &mut [0]).is_err();
        match regions.last_mut() {
            Some(last) if mergeable(last, &region) => {
                last.end = region.end;
                last.has_file &= region.has_file;
                last.untouched &= region.untouched;
                last.area.guards.append(&mut region.area.guards);
            }
            _ => regions.push(region),
        }
    }
    Ok(regions)
}

fn mergeable(last: &Region, next: &Region) -> bool {
    let same = |a: &Area, b: &Area| {
        !a.stack
            && !b.stack
            && !a.shared
            && !b.shared
            && a.advice == b.advice
            && a.lock == b.lock
            && a.droppable == b.droppable
    };
    matches!((&last.kind, &next.kind), (Kind::Private, Kind::Private))
        && last.end == next.start
        && !last.cut
        && !next.cut
        && last.prot == next.prot
        && same(&last.area, &next.area)
}

/// Index of `item` in `list`, which gets it if it is not there.
fn index_of<T>(list: &mut Vec<T>, item: T, same: impl Fn(&T) -> bool) -> usize {
    list.iter().position(same).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    })
}

fn region_of(vma: &Vma, backing: Backing, base: Option<u64>, elves: &mut ElfStore, image: &mut Image) -> Region {
    let kind = match backing {
        Backing::Path => {
            let file = HostFile { path: vma.path(), writable: vma.prot & PROT_WRITE != 0 || vma.has("mw") };
            let index = index_of(&mut image.host_files, file.clone(), |known| *known == file);
            Kind::Host(index, vma.offset)
        }
        Backing::Descriptor(fd) => Kind::Descriptor(fd, vma.offset),
        Backing::Anonymous => Kind::Private,
        Backing::Private => {
            let fixed = vma.has_file() && vma.prot & PROT_WRITE == 0 && !vma.deleted;
            match fixed.then(|| elves.lookup(&vma.path(), vma.inode)).flatten() {
                Some(file) => {
                    let digest = file.digest;
                    let index = index_of(&mut image.files, file, |known| known.digest == digest);
                    Kind::File(index, vma.offset, base)
                }
                None => Kind::Private,
            }
        }
    };
    let area = Area {
        stack: vma.has("gd"),
        shared: vma.shared && !matches!(kind, Kind::File(..)),
        droppable: vma.has("dp"),
        kind: AreaKind::of(&vma.name),
        advice: ADVICE_FLAGS.iter().filter(|(flag, _)| vma.has(flag)).map(|(_, advice)| *advice).collect(),
        lock: vma.has("lo").then(|| u64::from(vma.has("lf"))),
        guards: Vec::new(),
    };
    let untouched = vma.resident == 0 && !vma.has_file();
    Region {
        start: vma.start,
        end: vma.end,
        prot: vma.prot,
        area,
        kind,
        has_file: vma.has_file(),
        cut: false,
        untouched,
    }
}

/// Where the images of the program and its libraries lie, .bss included.
pub(super) fn elf_ranges(tracer: &Tracer, vmas: &[Vma], elves: &mut ElfStore) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = vmas
        .iter()
        .filter(|vma| vma.has_file() && vma.offset == 0 && !vma.deleted && !vma.shared && vma.prot & PROT_WRITE == 0)
        .filter_map(|vma| Some((vma.start, vma.start + elves.lookup(&vma.path(), vma.inode)?.span)))
        .collect();
    ranges.push(tracer.booted.image());
    ranges
}

#[cfg(test)]
mod tests {
    use super::shown_twice;

    #[test]
    fn overlaps() {
        assert_eq!(shown_twice(vec![(0, 10, 1), (10, 20, 2)]), [0u64; 0]);
        assert_eq!(shown_twice(vec![(5, 10, 1), (0, 6, 2), (20, 30, 3)]), [2, 1]);
        assert_eq!(shown_twice(vec![(0, 100, 1), (10, 20, 2), (30, 40, 3), (100, 101, 4)]), [1, 2, 3]);
        assert_eq!(shown_twice(vec![(0, 10, 1), (0, 10, 2)]), [1, 2]);
    }
}
